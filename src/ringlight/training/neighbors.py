"""Sheets of nearest neighbours: what the model takes for alike, the most misleading queries first and some at random.

A query whose neighbours all have another class is a mislabelled record, a defect nobody described, or two classes that
the embedding does not tell apart; a random one shows whether the usual case is found for the right reason.
"""

from __future__ import annotations

import io
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from ringlight.data.preprocess import read_image
from ringlight.evaluation.inputs import BoolArray, IntArray
from ringlight.evaluation.nearest import Nearest
from ringlight.evaluation.plots_embedding import Neighbor, NeighborRow, neighbors_figure
from ringlight.evaluation.units import find_units
from ringlight.types import Dataset

NUM_NEIGHBORS = 5
NUM_WORST = 6
NUM_RANDOM = 4

LONGEST_SIDE = 320
"""Pixels of a picture on the sheet, where sixty stand side by side."""


def choose_queries(
    right: BoolArray, found: Nearest, *, groups: Sequence[Hashable] | None = None, num_worst: int = NUM_WORST,
    num_random: int = NUM_RANDOM, seed: int = 0,
) -> IntArray:  # fmt: skip
    """Return the rows of queries to show: the most misleading ones, worst first, then some others at random, in order.

    Worst is the query with the fewest neighbours of its own class; among equals, the one whose nearest wrong neighbour
    is nearest. Of a group one query is shown: its others tell the same. A query without a neighbour is left out, and
    one whose neighbours are all right is never a worst one.

    Args:
        right: (Q, k) whether each neighbour has the query's class.
        found: the neighbours.
        groups: (Q,) the group of each query; None: each stands for itself.
        num_worst: at most so many.
        num_random: at most so many, in addition.
        seed: of the random ones.
    """
    seen = found.rows >= 0
    wrong = seen & ~right
    nearest_wrong = np.where(wrong, found.cosines, -np.inf).max(axis=1, initial=-np.inf)
    hits = (seen & right).sum(axis=1)
    order = np.lexsort((np.arange(len(hits)), -nearest_wrong, hits))
    codes = find_units(groups, len(hits)).codes
    worst = _one_each([row for row in order.tolist() if wrong[row].any()], codes)[:num_worst]
    shuffled = np.random.default_rng(seed).permutation(np.flatnonzero(seen.any(axis=1)))
    others = [row for row in shuffled.tolist() if codes[row] not in codes[worst]]
    return np.array([*worst, *sorted(_one_each(others, codes)[:num_random])], np.int64)


def _one_each(rows: list[int], codes: IntArray) -> list[int]:
    """Return the first row of each group, in order."""
    first: dict[int, int] = {}
    for row in rows:
        first.setdefault(int(codes[row]), row)
    return list(first.values())


def neighbor_rows(
    queries: IntArray, data: Dataset, gallery: Dataset, found: Nearest, right: BoolArray
) -> list[dict[str, Any]]:
    """Describe chosen queries for the results: id, truth, and the nearest records with id, truth and cosine."""
    names, truth, known = data.classes, data.targets(), gallery.targets()
    return [
        {
            "id": data[row].id,
            "group": data[row].group,
            "truth": names[truth[row]],
            "num_right": int((right[row] & (found.rows[row] >= 0)).sum()),
            "neighbors": [
                {"id": gallery[other].id, "truth": names[known[other]], "cosine": round(float(cosine), 6)}
                for other, cosine in zip(found.rows[row].tolist(), found.cosines[row], strict=True)
                if other >= 0
            ],
        }
        for row in queries.tolist()
    ]


def neighbors_sheet(
    queries: IntArray, data: Dataset, gallery: Dataset, found: Nearest, right: BoolArray, *, in_chans: int
) -> bytes:
    """Return a PNG of chosen queries, a row each, beside their nearest records, framed by whether the class is right.

    Args:
        queries: rows of `data`, at least one, each with a neighbour.
        data: where the queries are from, images of one label each.
        gallery: what was searched.
        found: the neighbours of every record of `data`.
        right: (Q, k) whether each neighbour has the query's class.
        in_chans: channels in which pictures are shown.

    Raises:
        DataError: no query, or a picture that cannot be read.
    """
    names, truth, known = data.classes, data.targets(), gallery.targets()
    rows = []
    for row in queries.tolist():
        near = [(place, other) for place, other in enumerate(found.rows[row].tolist()) if other >= 0]
        neighbors = tuple(
            Neighbor(
                _picture(gallery, other, in_chans), names[known[other]], float(found.cosines[row, place]),
                bool(right[row, place]),
            )
            for place, other in near
        )  # fmt: skip
        hits = sum(one.right for one in neighbors)
        told = f"{hits} of {len(neighbors)} right"
        rows.append(NeighborRow(_picture(data, row, in_chans), names[truth[row]], told, neighbors))
    drawn = io.BytesIO()
    neighbors_figure(rows).savefig(drawn, format="png", dpi=110)
    return drawn.getvalue()


def _picture(data: Dataset, row: int, in_chans: int) -> npt.NDArray[np.uint8]:
    pixels = read_image(str(data[row].uri), in_chans=1 if in_chans == 1 else 3)
    image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    image.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    return np.asarray(image, np.uint8)
