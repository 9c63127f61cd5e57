"""Small pictures of pictures, in which two views of the same part can be recognised.

A thumbnail is high-passed and normalised by its local contrast, so that exposure, lighting and vignetting drop out and
the texture of the part stays (the local normalisation of Jarrett et al., "What is the best multi-stage architecture for
object recognition?", ICCV 2009, equations 1 and 2, with wider windows). It is kept in eight bits: about 5 KB an image.

Two scales are useful. `native`: every image is reduced by the same factor, for views that were cut out differently.
`frame`: every image is reduced to the same area, for copies that were resized. They are the same where all images are
of one size.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from ringlight.data.content import parallel, read_header
from ringlight.data.faults import Faults
from ringlight.data.preprocess import read_image
from ringlight.errors import DataError

Thumb = npt.NDArray[np.int8]
Progress = Callable[[int, int], None]
A = TypeVar("A")
B = TypeVar("B")

SIDE = 74
"""Side of a square thumbnail in pixels; others have its area. 95 gains nothing on real parts, 60 loses one percent."""
DETAIL = 2.0
"""Width of the Gaussian, in thumbnail pixels, above which everything counts as lighting."""
CONTRAST = 8.0
"""Width of the window in which contrast is made equal."""
NOISE = 1.0
"""Gray levels of detail that count as noise: where there is less, nothing is made out of it."""
FLAT = 0.5
"""Less detail than this (standard deviation in gray levels) is no texture."""
SPARSE = 0.25
"""An image with texture on a smaller share of itself is plain: a lone scratch or disc looks the same on any part."""
CELLS = 8
STEP = 40.0
"""Eight-bit steps per unit of local contrast."""
SAME_SIZE = 0.03
"""Images whose sides differ by less than this share count as being of one size."""
BLOCK = 256
"""Images between two calls of a progress function."""
COMMON = 32
"""From this many thumbnails of one shape on, what all of them show (a fixture, a frame) is subtracted."""


@dataclass(frozen=True, slots=True)
class Fingerprints:
    """The thumbnails of N images at one or two scales.

    Args:
        pixels: digest of each image's decoded pixels and size: equal ones are the same picture.
        scales: name of the scale -> the thumbnails.
        flat: (N,) True where an image has no texture to compare.
    """

    pixels: tuple[str, ...]
    scales: dict[str, list[Thumb]]
    flat: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class _Look:
    """One image as it was read: digest of its pixels, thumbnail at each scale, share that has texture."""

    pixels: str
    thumbs: tuple[Thumb, ...]
    textured: float


def fingerprints(
    uris: Sequence[str], *, name: str, num_threads: int | None = None, progress: Progress | None = None
) -> Fingerprints:
    """Read every image once and return the thumbnails of all.

    Args:
        uris: the files.
        name: what the data set is called in an error.
        num_threads: how many images are decoded at once; one a processor, at most 8, when None.
        progress: called with (images read, images in all).

    Raises:
        DataError: a file cannot be read.
        Problems: several cannot.
    """
    sizes = np.array(_gathered(_size, uris, name, num_threads, None), np.float64)
    factors = _factors(sizes)
    items = [(uri, tuple(scale[row] for scale in factors.values())) for row, uri in enumerate(uris)]
    looks = _gathered(_look, items, name, num_threads, progress)
    scales = {scale: _without_common([look.thumbs[place] for look in looks]) for place, scale in enumerate(factors)}
    flat = np.array([look.textured < SPARSE for look in looks])
    return Fingerprints(tuple(look.pixels for look in looks), scales, flat)


def _gathered(
    function: Callable[[A], B | DataError],
    items: Sequence[A],
    name: str,
    num_threads: int | None,
    progress: Progress | None,
) -> list[B]:
    """Apply a function to all in threads and raise every fault at once."""
    faults, results = Faults(name), []
    for start in range(0, len(items), BLOCK):
        for result in parallel(function, items[start : start + BLOCK], num_threads):
            if isinstance(result, DataError):
                faults.catch(result)
            else:
                results.append(result)
        if progress is not None:
            progress(min(start + BLOCK, len(items)), len(items))
    faults.raise_if_any()
    return results


def _factors(sizes: npt.NDArray[np.float64]) -> dict[str, npt.NDArray[np.float64]]:
    """Return the factors by which images of these (height, width) are reduced at each scale."""
    lengths = np.sqrt(sizes.prod(axis=1))
    middle = float(np.median(lengths))
    side = min(float(SIDE), middle)
    factors = {"frame": side / lengths}
    if (np.ptp(sizes, axis=0) > SAME_SIZE * sizes.max(axis=0)).any():
        # An image far larger or smaller than the others is compared as a whole.
        usual = (lengths < 2 * middle) & (lengths > middle / 2)
        factors["native"] = np.where(usual, side / middle, factors["frame"])
    return factors


def _size(uri: str) -> tuple[int, int] | DataError:
    try:
        return read_header(uri).size
    except DataError as error:
        return error


def _look(item: tuple[str, tuple[float, ...]]) -> _Look | DataError:
    uri, factors = item
    try:
        pixels = read_image(uri, in_chans=1)[..., 0]
    except DataError as error:
        return error
    digest = hashlib.blake2b(pixels.tobytes(), digest_size=16, person=b"%d" % pixels.shape[1]).hexdigest()
    normalised = [_normalised(pixels, factor) for factor in factors]
    return _Look(digest, tuple(thumb for thumb, _ in normalised), max(textured for _, textured in normalised))


def _normalised(pixels: npt.NDArray[np.uint8], factor: float) -> tuple[Thumb, float]:
    """Return the thumbnail at a scale, and the share of it that has texture."""
    height, width = (max(1, round(side * factor)) for side in pixels.shape)
    method = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    reduced = cv2.resize(pixels, (width, height), interpolation=method).astype(np.float32)
    detail = reduced - cv2.GaussianBlur(reduced, (0, 0), DETAIL)
    contrast = np.sqrt(cv2.GaussianBlur(detail * detail, (0, 0), CONTRAST)) + NOISE
    return np.rint(np.clip(detail / contrast, -3, 3) * STEP).astype(np.int8), _textured(detail)


def _textured(detail: npt.NDArray[np.float32]) -> float:
    """Return over how much of a picture its detail is spread, from 0 to 1: the participation ratio of its contrast.

    That is (sum e)^2 / (n sum e^2) over n cells of equal size with a contrast of e each.
    """
    energy = cv2.resize(detail * detail, (CELLS, CELLS), interpolation=cv2.INTER_AREA)
    contrast = np.maximum(np.sqrt(energy) - FLAT, 0) / (np.sqrt(energy) + NOISE)
    return float(contrast.sum() ** 2 / (contrast.size * np.square(contrast).sum() + 1e-12))


def _without_common(thumbs: list[Thumb]) -> list[Thumb]:
    """Subtract what all thumbnails of one shape have in common: pictures from a fixed camera show the same fixture."""
    rows: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for row, thumb in enumerate(thumbs):
        rows[thumb.shape].append(row)
    for shape, found in rows.items():
        if len(found) < COMMON:
            continue
        total = np.zeros(shape, np.int64)
        for row in found:
            total += thumbs[row]
        common = total / len(found)
        for row in found:
            thumbs[row] = np.clip(np.rint(thumbs[row] - common), -127, 127).astype(np.int8)
    return thumbs
