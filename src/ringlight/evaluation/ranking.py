"""AUROC, average precision and the equal-mass calibration error, under many weightings at once.

A bootstrap resample is nothing but a weighting of the records. The order of the scores stays, so each class is sorted
once, and a resample costs one pass over the sorted weights instead of a sort of its own.

With records in falling order of score, blocks b of equal scores, positives P_b and all records A_b in them (weighted):

    AUROC = Σ_b P_b (N - (N_before + N_through) / 2) / (P N)      N_through = Σ_{a≤b} (A_a - P_a)
    AP    = Σ_b P_b / P · (Σ_{a≤b} P_a) / (Σ_{a≤b} A_a)

Blocks without positives add nothing and are skipped. Both equal scikit-learn's on the resampled rows.

Shapes: N records, U units, C resamples, L positive records.
"""

from __future__ import annotations

import math

import numpy as np

from ringlight.evaluation.inputs import BoolArray, FloatArray, IntArray
from ringlight.evaluation.probabilities import NUM_BINS


class Ranking:
    """One class's records in order of score.

    Args:
        actual: (N,) which records are of the class; at least one is.
        scores: (N,) higher is more likely of the class.
        codes: (N,) unit of each record.
    """

    def __init__(self, actual: BoolArray, scores: FloatArray, codes: IntArray) -> None:
        order = np.argsort(-scores, kind="stable")
        ranked, positive = scores[order], np.flatnonzero(actual[order])
        self.codes = codes[order]
        last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
        block = np.searchsorted(last, positive)  # the block of each positive
        held, self.first_positive = np.unique(block, return_index=True)
        self.positive = positive
        self.through = last[held]
        self.before = np.where(held > 0, last[held - 1], -1)

    def __call__(self, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return AUROC and average precision (C,) under weights (U, C); NaN where a side has no weight."""
        weighted = weights[self.codes]
        positives = np.add.reduceat(weighted[self.positive], self.first_positive, axis=0)
        found = running_sum(positives.copy())
        records = running_sum(weighted)
        through = records[self.through]
        before = np.where((self.before >= 0)[:, None], records[self.before], 0.0)
        total, negatives = found[-1], records[-1] - found[-1]
        with np.errstate(invalid="ignore", divide="ignore"):
            beaten = negatives - (before + through - 2 * found + positives) / 2
            auroc = (positives * beaten).sum(axis=0) / (total * negatives)
            precision = np.divide(found, through, out=np.zeros_like(found), where=through > 0)
            ap = (positives * precision).sum(axis=0) / total
        return auroc, ap


class MassBins:
    """Gaps between right and believed in bins of equal mass: the bins follow the quantiles of each resample.

    The quantiles are those of numpy's `percentile` on the resampled confidences (linear, between the order statistics
    floor and ceiling of q (n - 1)); a bin holds what is above one of them and not above the next.

    Args:
        believed: (N,) confidences.
        right: (N,) whether what was believed is so.
        codes: (N,) unit of each record.
    """

    def __init__(self, believed: FloatArray, right: BoolArray, codes: IntArray) -> None:
        order = np.argsort(believed, kind="stable")
        self.codes, self.believed = codes[order], believed[order]
        self.gap = (right - believed)[order]
        self.shares = np.linspace(0.0, 1.0, NUM_BINS + 1)[1:-1] * 100 / 100

    def __call__(self, weights: FloatArray) -> FloatArray:
        """Return the gap of each bin (B, C) under whole weights (U, C); the calibration error is their absolute sum."""
        weighted = weights[self.codes]
        gaps = running_sum(weighted * self.gap[:, None])
        counts = running_sum(weighted)
        total = counts[-1]
        ends = np.empty((len(self.shares), len(total)), np.int64)
        for column, size in enumerate(total):
            place = self.shares * (size - 1)
            lower = np.floor(place)
            ranks = np.concatenate([lower, np.minimum(lower + 1, size - 1)])
            low, high = self.believed[np.searchsorted(counts[:, column], ranks, "right")].reshape(2, -1)
            ends[:, column] = np.searchsorted(self.believed, _between(low, high, place - lower), "right")
        through = np.take_along_axis(gaps, np.maximum(ends - 1, 0), axis=0) * (ends > 0)
        steps = np.diff(np.concatenate([np.zeros_like(total)[None], through, gaps[-1:]]), axis=0)
        return np.asarray(steps / total)


def _between(low: FloatArray, high: FloatArray, share: FloatArray) -> FloatArray:
    """Return the point between two order statistics, rounded as numpy's `percentile` rounds it."""
    near_low = low + (high - low) * share
    near_high = high - (high - low) * (1 - share)
    return np.where(share >= 0.5, near_high, near_low)


def running_sum(values: FloatArray) -> FloatArray:
    """Sum up the rows of an array (N, C), in place, and return it.

    numpy's `cumsum` goes element by element; √N blocks that advance together take a fifth of its time.
    """
    step = max(1, math.isqrt(len(values)))
    whole = len(values) // step * step
    blocks = values[:whole].reshape(-1, step, values.shape[1])
    for row in range(1, step):
        blocks[:, row] += blocks[:, row - 1]
    for block in range(1, len(blocks)):
        blocks[block] += blocks[block - 1, -1]
    for row in range(max(1, whole), len(values)):
        values[row] += values[row - 1]
    return values
