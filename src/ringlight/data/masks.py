"""Run lengths, masks and boxes of steel-strip labels.

A run-length text is pairs `start length`, 1-based, along the columns of the image: pixel (y, x) of an image of height H
has the number `x * H + y + 1` (Kaggle "Severstal: Steel Defect Detection", data description). Masks are (H, W) uint8, 1
inside the defect. Boxes are pixels, half-open: a single pixel (y, x) is the box x..x+1, y..y+1.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from ringlight.errors import DataError
from ringlight.types import Box

Runs = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]


def parse_rle(text: str, height: int, width: int, *, where: str = "run lengths") -> Runs:
    """Return the 0-based starts and the lengths of a run-length text, checked.

    Args:
        text: the pairs, separated by white space; empty for an empty mask.
        height: of the image, pixels.
        width: of the image, pixels.
        where: what an error names: the file and the row.

    Raises:
        DataError: not whole positive numbers, an odd count, a run beyond the last pixel, or runs that overlap or are
            not in ascending order.
    """
    words = text.split()
    wrong = next((word for word in words if not _is_count(word)), None)
    if wrong is not None:
        raise _fault("whole numbers above 0, separated by spaces", f"`{wrong}`", where)
    if len(words) % 2:
        raise _fault("pairs of start and length", f"{len(words)} numbers, the last `{words[-1]}` alone", where)
    numbers = np.array([int(word) for word in words], np.int64)
    starts, lengths = numbers[0::2] - 1, numbers[1::2]
    beyond = starts + lengths > height * width
    if beyond.any():
        pair = _pair(numbers, int(np.argmax(beyond)))
        raise _fault(f"runs within the {height * width} pixels of a {height}x{width} image", pair, where)
    crossing = starts[1:] < starts[:-1] + lengths[:-1]
    if crossing.any():
        row = int(np.argmax(crossing))
        pairs = f"{_pair(numbers, row)} before {_pair(numbers, row + 1)}"
        raise _fault("runs in ascending order that do not overlap", pairs, where)
    return starts, lengths


def _is_count(word: str) -> bool:
    """Whether a word is a positive number; int() alone would take `1_0`, and eighteen digits fit 64 bits."""
    return word.isascii() and word.isdigit() and len(word) <= 18 and int(word) > 0


def _pair(numbers: npt.NDArray[np.int64], run: int) -> str:
    return f"`{numbers[2 * run]} {numbers[2 * run + 1]}`"


def _fault(expected: str, got: str, where: str) -> DataError:
    return DataError(expected, got=got, where=where, fix="correct the run lengths of this row or remove it")


def _fill(starts: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64], pixels: int) -> npt.NDArray[np.uint8]:
    """Lay runs out flat: a stretch of zeros, a run of ones, and so on, in one call."""
    ends = starts + lengths
    stretches = np.empty(2 * len(starts) + 1, np.int64)
    stretches[1::2] = lengths
    stretches[0::2] = np.append(starts, pixels) - np.append(0, ends)
    values = np.zeros(len(stretches), np.uint8)
    values[1::2] = 1
    return np.repeat(values, stretches)


def decode_rle(text: str, height: int, width: int, *, where: str = "run lengths") -> npt.NDArray[np.uint8]:
    """Return the mask (H, W), uint8 0 or 1, of a run-length text; empty text gives an empty mask.

    Examples:
        >>> decode_rle("2 1 4 2", height=2, width=3).tolist()
        [[0, 0, 1], [1, 1, 0]]

    Raises:
        DataError: the text is malformed or leaves the image (see :func:`parse_rle`).
    """
    starts, lengths = parse_rle(text, height, width, where=where)
    return np.ascontiguousarray(_fill(starts, lengths, height * width).reshape(width, height).T)


def encode_rle(mask: npt.NDArray[Any]) -> str:
    """Return the run lengths of a mask (H, W), whose defect is whatever is not zero; the shortest such text.

    Examples:
        >>> encode_rle(np.array([[0, 0, 1], [1, 1, 0]]))
        '2 1 4 2'
    """
    flat = np.zeros(mask.size + 2, np.bool_)
    flat[1:-1] = np.ascontiguousarray(mask.T).reshape(-1) != 0
    edges = np.flatnonzero(flat[1:] != flat[:-1])
    starts, ends = edges[0::2], edges[1::2]
    return " ".join(map(str, np.stack([starts + 1, ends - starts], axis=1).reshape(-1).tolist()))


def boxes_of_mask(mask: npt.NDArray[Any], label: int) -> list[Box]:
    """Return one box per connected part of a mask (H, W), left to right; pixels that touch at a corner are connected.

    Examples:
        >>> boxes_of_mask(np.array([[0, 0, 1], [1, 0, 0]]), label=2)[0]
        {'label': 2, 'x_min': 0.0, 'y_min': 1.0, 'x_max': 1.0, 'y_max': 2.0}
    """
    found = cv2.connectedComponentsWithStats(np.ascontiguousarray(mask != 0).view(np.uint8), connectivity=8)[2][1:]
    corners = sorted((x, y, x + w, y + h) for x, y, w, h, _area in found.tolist())
    return [_box(label, *map(float, corner)) for corner in corners]


def boxes_of_rle(text: str, height: int, width: int, label: int, *, where: str = "run lengths") -> list[Box]:
    """Return `boxes_of_mask(decode_rle(text, ...), label)`, looking only at the columns that the runs touch.

    Raises:
        DataError: the text is malformed or leaves the image (see :func:`parse_rle`).
    """
    starts, lengths = parse_rle(text, height, width, where=where)
    if not len(starts):
        return []
    first, last = int(starts[0]) // height, int(starts[-1] + lengths[-1] - 1) // height
    columns = last - first + 1
    mask = _fill(starts - first * height, lengths, columns * height).reshape(columns, height)
    # The mask lies on its side (that is how it was written), which spares a copy: x and y change places again below.
    found = [(b["y_min"] + first, b["x_min"], b["y_max"] + first, b["x_max"]) for b in boxes_of_mask(mask, label)]
    return [_box(label, *corner) for corner in sorted(found)]


def _box(label: int, x_min: float, y_min: float, x_max: float, y_max: float) -> Box:
    return Box(label=label, x_min=x_min, y_min=y_min, x_max=x_max, y_max=y_max)
