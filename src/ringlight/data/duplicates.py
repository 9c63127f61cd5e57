"""Near-duplicates from content alone: which pictures show the same part, so that no split puts it on both sides.

Every image becomes a small high-passed picture (:mod:`~ringlight.data.fingerprints`); the nearest few of each are found
by a short vector (:mod:`~ringlight.data.candidates`), compared at the shift at which they agree best
(:mod:`~ringlight.data.aligned`), and linked where they agree better than pictures of different things in the same data
set do (:mod:`~ringlight.data.background`). Links are closed transitively into groups (:mod:`~ringlight.data.links`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from ringlight.data.aligned import aligned_similarities, alignments
from ringlight.data.background import measure_background
from ringlight.data.candidates import describe, nearest, nearest_vectors
from ringlight.data.duplicate_sheet import duplicate_sheet
from ringlight.data.duplicate_windows import near_duplicate_windows
from ringlight.data.fingerprints import Fingerprints, Progress, Thumb, fingerprints
from ringlight.data.links import Duplicates, Link, components, unchained
from ringlight.data.preprocess import read_image
from ringlight.errors import DataError
from ringlight.types import Dataset

Embed = Callable[[Sequence[npt.NDArray[np.uint8]]], npt.NDArray[np.float32]]

FEW = 64
"""Fewer images have no background that says anything about its tail; only copies are linked then."""
COPY = 0.5
"""Copies (encoded again, resized, brighter, cropped by a few percent) are more alike than this."""
FLOOR = 0.3
"""Where the background is so plain that its tail ends below this, no link starts below it."""
ALLOWED = 0.05
"""Links between different things that may be expected in the whole data set: one would merge two groups."""
MIN_OVERLAP = 0.9
"""Share of the frame that two pictures of one part have in common at least."""
EMBED_BLOCK = 64


def near_duplicates(
    dataset: Dataset,
    *,
    embed: Embed | None = None,
    min_overlap: float = MIN_OVERLAP,
    num_threads: int | None = None,
    progress: Progress | None = None,
) -> Duplicates:
    """Group the images that show the same thing; the same files give the same answer.

    Identical files (column `content`) and identical pixels always share a group. Beyond these, images are linked by
    their texture, which needs some: plain ones of different brightness are not linked. In fewer than :data:`FEW` images
    only copies are linked. Mirrored or turned copies are not looked for. Pictures that agree, but share less than
    `min_overlap` of their frame, are neighbouring cut-outs of one surface: they are counted in a note and not linked.

    Args:
        dataset: the records; all need a file.
        embed: a model's features (N, D) of RGB images (H, W, 3); its nearest neighbours are looked at beside those
            found in the pixels. What is linked is decided by the pixels alone.
        min_overlap: share of the smaller frame, above 0 to 1; 0.65 links every overlap that can be found.
        num_threads: one a processor, at most 8, when None.
        progress: called with (images read, images in all).

    Raises:
        DataError: a record has no file, a file cannot be read, or `embed` answers with another shape.
        Problems: several files cannot be read.
    """
    uris = [uri for uri in dataset.uris if uri is not None]
    if len(uris) < len(dataset):
        row = dataset.uris.index(None)
        raise DataError(
            "a file for every record",
            got="none",
            where=f"{dataset.name}: record `{dataset.ids[row]}`",
            fix="give groups in a column instead: without content near-duplicates cannot be found",
        )
    prints = fingerprints(uris, name=dataset.name, num_threads=num_threads, progress=progress)
    exact = _identical(prints.pixels, dataset.table.column("content").to_pylist())
    first = np.array(components(len(uris), exact))
    # One image stands for all that are identical to it: copies must not use up each other's candidates.
    rows = np.flatnonzero((first == np.arange(len(uris))) & ~prints.flat)
    extra = None if embed is None else _embedded(embed, [uris[row] for row in rows])
    links, notes = _search(prints, rows, extra, min_overlap, num_threads)
    links = {pair: similarity for pair, similarity in links.items() if first[pair[0]] != first[pair[1]]}
    links, chained = unchained(len(uris), exact, links, copy=COPY, what="images")
    found = [Link(a, b, 1.0) for a, b in exact]
    found += [Link(a, b, similarity) for (a, b), similarity in links.items()]
    if prints.flat.any():
        notes.append(f"{int(prints.flat.sum())} plain images without texture: only identical ones are linked")
    return Duplicates.from_links(dataset.ids, found, [*notes, *chained])


def _identical(pixels: Sequence[str], contents: Sequence[str | None]) -> list[tuple[int, int]]:
    """Link every image to the first one with the same pixels or the same bytes."""
    pairs: dict[tuple[int, int], None] = {}
    for kind in (pixels, contents):
        rows: dict[str, int] = {}
        for row, digest in enumerate(kind):
            if digest is not None and rows.setdefault(digest, row) != row:
                pairs[(rows[digest], row)] = None
    return sorted(pairs)


def _search(
    prints: Fingerprints,
    rows: npt.NDArray[np.int64],
    extra: npt.NDArray[np.int64] | None,
    min_overlap: float,
    num_threads: int | None,
) -> tuple[dict[tuple[int, int], float], list[str]]:
    """Return the links found at any scale (the best similarity of each), and how they were decided."""
    links: dict[tuple[int, int], float] = {}
    apart: set[tuple[int, int]] = set()
    notes = []
    for scale, all_thumbs in prints.scales.items() if len(rows) > 1 else ():
        thumbs = [all_thumbs[row] for row in rows]
        pairs, similarities, threshold = score_pairs(thumbs, extra, num_threads)
        kept = pairs[similarities >= threshold]
        for (a, b), (similarity, overlap) in zip(
            rows[kept].tolist(), alignments(thumbs, thumbs, kept, num_threads=num_threads).tolist(), strict=True
        ):
            if overlap < min_overlap:
                apart.add((a, b))
            else:
                links[(a, b)] = max(links.get((a, b), 0.0), min(1.0, similarity))
        background = "the data's own background" if threshold > FLOOR else "the floor: the background ends below it"
        reason = f"fewer than {FEW} images: copies only" if len(rows) < FEW else background
        notes.append(f"linked from a similarity of {threshold:.2f} on ({scale} scale; {reason})")
    apart -= set(links)
    if apart:
        notes.append(
            f"{len(apart)} pairs of pictures show overlapping cut-outs of one surface (less than {min_overlap:.0%} of "
            "the frame) and are not linked: split.min_overlap=0.65 keeps them together, too"
        )
    return links, notes


def score_pairs(
    thumbs: list[Thumb], extra: npt.NDArray[np.int64] | None, num_threads: int | None
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32], float]:
    """Return the pairs that were looked at, how alike they are, and from where on they are linked."""
    if len(thumbs) < FEW:
        pairs = np.stack(np.triu_indices(len(thumbs), 1), axis=1).astype(np.int64)
        return pairs, aligned_similarities(thumbs, thumbs, pairs, num_threads=num_threads), COPY
    descriptors = describe(thumbs)
    found = nearest(descriptors, thumbs, np.arange(len(thumbs)), num_threads=num_threads)
    pairs = np.unique(np.sort(found if extra is None else np.concatenate([found, extra]), axis=1), axis=0)
    similarities = aligned_similarities(thumbs, thumbs, pairs, num_threads=num_threads)
    background = measure_background(thumbs, descriptors, num_threads=num_threads)
    return pairs, similarities, max(FLOOR, background.threshold(ALLOWED))


def _embedded(embed: Embed, uris: Sequence[str]) -> npt.NDArray[np.int64]:
    """Return the pairs of nearest neighbours by a model's features, reading the images a block at a time."""
    blocks = []
    for start in range(0, len(uris), EMBED_BLOCK):
        images = [read_image(uri, in_chans=3) for uri in uris[start : start + EMBED_BLOCK]]
        features = np.asarray(embed(images), np.float32)
        if features.ndim != 2 or len(features) != len(images) or not np.isfinite(features).all():
            raise DataError(
                f"finite features of shape ({len(images)}, D)",
                got=f"shape {features.shape}" if features.shape[:1] != (len(images),) else "others",
                where="near_duplicates: embed",
                fix="return one row a picture",
            )
        blocks.append(features)
    return nearest_vectors(np.concatenate(blocks)) if len(uris) > 1 else np.zeros((0, 2), np.int64)


__all__ = ["Duplicates", "Link", "duplicate_sheet", "near_duplicate_windows", "near_duplicates"]
