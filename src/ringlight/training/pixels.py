"""A picture as a vector without any trained weights: brightness, contrast and edge directions in a grid of cells.

The edge directions are histograms of oriented gradients (Dalal and Triggs 2005, doi:10.1109/CVPR.2005.177): unsigned,
weighted by the gradient's size, shared between the two nearest bins, each cell scaled to length 1. They recognise a
part that was seen before well, and a kind of defect only roughly.

Shapes: B pictures, D features.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

SIDE, CELL, BINS = 128, 16, 8
"""Pixels a side of the gray picture; pixels a side of a cell; orientations from 0 to 180 degrees."""
NUM_FEATURES = (SIDE // CELL) ** 2 * (BINS + 2)
FLAT = 0.01
"""The gradient (share of the full range a pixel) that an edge needs to count: noise on a flat cell stays small."""


def describe_pixels(images: Sequence[npt.NDArray[np.uint8]]) -> npt.NDArray[np.float32]:
    """Return the vectors (B, D) of gray pictures uint8 (128, 128, 1).

    Examples:
        >>> describe_pixels([np.full((128, 128, 1), 51, np.uint8)])[0, -65:-62].astype(float).round(3).tolist()
        [0.2, 0.0, 0.0]
    """
    gray = np.stack(images)[..., 0].astype(np.float32) / np.float32(255)
    down, right = np.gradient(gray, axis=(1, 2))
    size = np.hypot(down, right)
    position = np.mod(np.arctan2(down, right), np.pi) * (BINS / np.pi)
    whole = np.floor(position)
    beyond = position - whole
    lower = whole.astype(np.int64) % BINS  # a direction that rounds to the end of the last bin begins the first
    upper = (lower + 1) % BINS
    shares = [np.where(lower == b, 1 - beyond, 0) + np.where(upper == b, beyond, 0) for b in range(BINS)]
    directions = np.stack([_cells(size * share).mean(axis=(2, 4)) for share in shares], axis=-1)
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True) + FLAT
    brightness, contrast = _cells(gray).mean(axis=(2, 4)), _cells(gray).std(axis=(2, 4))
    parts = [part.reshape(len(images), -1) for part in (directions, brightness, contrast)]
    return np.concatenate(parts, axis=1).astype(np.float32)


def _cells(values: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    number = SIDE // CELL
    return values.reshape(len(values), number, CELL, number, CELL)
