"""How alike two thumbnails are at the shift at which they are most alike.

The correlation is taken at all shifts at once through the Fourier transform, of spectra that are partly whitened:
each amplitude is raised to the power 1 - :data:`WHITENING`. Without whitening the coarse structure that all parts of a
kind share (edges, grinding lines) outweighs what tells one part from another; with full whitening (the phase
correlation of Kuglin and Hines, 1975) the camera's noise counts as much as the part.

    similarity(i, j) = max over shifts of <w(i), shifted w(j)> / (|w(i)| |w(j)|)

where `w` is the whitened thumbnail: 1 for identical pictures, about 0 for unrelated ones; a picture of
which a tenth was cut off still has about 0.9.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import fft

from ringlight.data.content import parallel
from ringlight.data.fingerprints import Thumb

WHITENING = 0.7
SHIFT = 0.2
"""The largest shift that is allowed for, as a share of a side."""
BLOCK = 24
"""Pairs per transform."""


def aligned_similarities(
    left: list[Thumb], right: list[Thumb], pairs: npt.NDArray[np.int64], *, num_threads: int | None = None
) -> npt.NDArray[np.float32]:
    """Return the similarity of each pair (P, 2): row of `left`, row of `right`.

    Pairs are cheapest in the order of their first row: its transform is then computed once.
    """
    return alignments(left, right, pairs, num_threads=num_threads)[:, 0]


def alignments(
    left: list[Thumb], right: list[Thumb], pairs: npt.NDArray[np.int64], *, num_threads: int | None = None
) -> npt.NDArray[np.float32]:
    """Return (P, 2): the similarity of each pair, and the share of the smaller frame that both show at that shift."""
    blocks = [pairs[start : start + BLOCK] for start in range(0, len(pairs), BLOCK)]
    results = parallel(lambda block: _block(left, right, block), blocks, num_threads)
    return np.concatenate([np.zeros((0, 2), np.float32), *results])


def _block(left: list[Thumb], right: list[Thumb], pairs: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    first, place = np.unique(pairs[:, 0], return_inverse=True)
    others, other_place = np.unique(pairs[:, 1], return_inverse=True)
    chosen = [*(left[row] for row in first), *(right[row] for row in others)]
    height, width = (max(thumb.shape[axis] for thumb in chosen) for axis in (0, 1))
    reach = (max(1, int(SHIFT * height)), max(1, int(SHIFT * width)))
    canvas = (fft.next_fast_len(height + reach[0], True), fft.next_fast_len(width + reach[1], True))
    padded = np.zeros((len(chosen), *canvas), np.float32)
    for row, thumb in enumerate(chosen):
        padded[row, : thumb.shape[0], : thumb.shape[1]] = thumb - thumb.mean(dtype=np.float32)
    spectra, norms = _whitened(padded)
    other_place = other_place + len(first)
    surface = fft.irfft2(spectra[place] * np.conj(spectra[other_place]), canvas)
    rows = np.r_[0 : reach[0] + 1, -reach[0] : 0]
    columns = np.r_[0 : reach[1] + 1, -reach[1] : 0]
    near = surface[:, rows][:, :, columns].reshape(len(pairs), -1)
    best = near.argmax(axis=1)
    similarities = near[np.arange(len(pairs)), best] / (norms[place] * norms[other_place])
    down, right_by = rows[best // len(columns)], columns[best % len(columns)]
    overlaps = [
        _shared(left[a].shape, right[b].shape, (int(dy), int(dx)))
        for (a, b), dy, dx in zip(pairs, down, right_by, strict=True)
    ]
    return np.stack([similarities, overlaps], axis=1).astype(np.float32)


def _shared(one: tuple[int, ...], other: tuple[int, ...], shift: tuple[int, int]) -> float:
    """Return the share of the smaller of two frames (H, W) that lies in both, the second one moved by `shift`.

    Examples:
        >>> _shared((10, 10), (10, 10), (0, -2)), _shared((10, 10), (5, 5), (1, 1))
        (0.8, 1.0)
    """
    common = 1
    for length, other_length, moved in zip(one, other, shift, strict=True):
        common *= max(0, min(length, moved + other_length) - max(0, moved))
    return common / min(one[0] * one[1], other[0] * other[1])


def _whitened(pictures: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.complex64], npt.NDArray[np.float32]]:
    """Return the whitened half spectra of pictures (B, H, W) and the lengths of the pictures they stand for (B,)."""
    spectra = fft.rfft2(pictures)
    power = spectra.real**2 + spectra.imag**2
    spectra *= np.power(power + 1e-6, -WHITENING / 2)
    # Parseval: every column of a half spectrum stands for two, but for the first and (of an even width) the last.
    columns = np.full(power.shape[2], 2.0, np.float32)
    columns[0] = 1
    if pictures.shape[2] % 2 == 0:
        columns[-1] = 1
    energy = ((spectra.real**2 + spectra.imag**2).sum(axis=1) @ columns) / (pictures.shape[1] * pictures.shape[2])
    return spectra, np.asarray(np.sqrt(energy) + 1e-6, np.float32)
