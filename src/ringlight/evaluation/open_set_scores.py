"""How well a class that was held out of training is told from the known ones: AUROC, FPR, and the fixed limit.

    AUROC       probability that a stranger looks stranger than a known record; equal scores count half
    FPR at 95   share of strangers accepted where the limit accepts 95 % of the judged known records
                (Liu et al. 2020, arXiv:2010.03759, section 4.1)

Both look at the judged records to place the limit. What the limit fixed on validation does to them is told apart:
`reached`. Intervals: the bootstrap over groups for AUROC and FPR, Wilson's on the effective number of trials for rates;
an AUROC of 0 or 1 counts as many rightly ordered pairs as there are units of the rarer side.

Shapes: N known records, M strangers, U units, C resamples.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ringlight.errors import DataError
from ringlight.evaluation.curves import areas
from ringlight.evaluation.inputs import BoolArray, FloatArray
from ringlight.evaluation.nearest import Groups
from ringlight.evaluation.open_set import OpenSetRule
from ringlight.evaluation.percentiles import percentile_interval
from ringlight.evaluation.ranking import Ranking, running_sum
from ringlight.evaluation.rates import Interval, check_confidence, rate_interval, wilson
from ringlight.evaluation.units import Units, find_units, resamples

ACCEPT = 0.95
"""The share of judged known records at which the literature tells the strangers accepted."""

NUM_BINS = 40


def open_set_scores(
    rule: OpenSetRule, known: Mapping[str, FloatArray], strangers: Mapping[str, FloatArray] | None, *,
    groups: Groups | None = None, stranger_groups: Groups | None = None, num_resamples: int = 2000,
    confidence: float = 0.95, seed: int = 0,
) -> dict[str, Any]:  # fmt: skip
    """Judge a rule on known records and on strangers, as plain values for JSON.

    Args:
        rule: fixed on validation.
        known: scores (N,) of judged records of known classes, by the rule's names.
        strangers: scores (M,) of records of no known class; None where there are none.
        groups: (N,) of the known records; None counts each for itself.
        stranger_groups: (M,) of the strangers.
        num_resamples: of the bootstrap.
        confidence: of the intervals, between 0 and 1.
        seed: of the resamples.

    Returns:
        `reached` (`known_accepted`, `unknown_flagged`, each with `value`, `low`, `high`), and `scores`: for each score
        `threshold`, `auroc` and `fpr_at_95` (None without strangers) and the histogram's `edges`, `known`, `unknown`.

    Raises:
        DataError: no record, or settings that cannot be.
    """
    check_confidence(confidence)
    if num_resamples < 1:
        raise DataError("1 resample or more", got=str(num_resamples), where="num_resamples", fix="use 2000")
    accepted = rate_interval(~rule.strange(known), groups=groups, confidence=confidence)
    flagged = None
    if strangers is not None:
        flagged = rate_interval(rule.strange(strangers), groups=stranger_groups, confidence=confidence)
    found: dict[str, Any] = {}
    for name, limit in rule.thresholds.items():
        told: dict[str, Any] = {"threshold": limit, "auroc": None, "fpr_at_95": None}
        if strangers is not None:
            pair = _Pair(known[name], strangers[name], groups, stranger_groups)
            told |= pair.judged(num_resamples, confidence, seed)
        found[name] = told | _histogram(known[name], None if strangers is None else strangers[name])
    return {"reached": {"known_accepted": _plain(accepted), "unknown_flagged": _plain(flagged)}, "scores": found}


class _Pair:
    """One score of known records and strangers, with the units of both."""

    def __init__(
        self, known: FloatArray, strangers: FloatArray, groups: Groups | None, stranger_groups: Groups | None
    ) -> None:
        self.known, self.strangers = np.asarray(known, float), np.asarray(strangers, float)
        self.units = _units(groups, len(known), stranger_groups, len(strangers))
        self.strange = np.repeat([False, True], [len(known), len(strangers)])
        self.values = np.concatenate([self.known, self.strangers])

    def judged(self, num_resamples: int, confidence: float, seed: int) -> dict[str, Any]:
        """Return AUROC and FPR at 95 with their intervals."""
        ranking = Ranking(self.strange, self.values, self.units.codes)
        drawn = [
            (ranking(weights)[0], self.accepted_strangers(weights))
            for weights in resamples(self.units.num_units, num_resamples, seed)
        ]
        once = np.ones((self.units.num_units, 1))
        area, _ = areas(self.values, self.strange)
        fpr = float(self.accepted_strangers(once)[0])
        columns = [np.concatenate(part) for part in zip(*drawn, strict=True)]
        size = self.units.num_units
        auroc = percentile_interval(columns[0], float(area or 0.0), num_units=size, confidence=confidence)
        if auroc is None and area in (0.0, 1.0):
            pairs = min(self._count(self.strange), self._count(~self.strange))
            auroc = Interval(area, *wilson(area * pairs, pairs, confidence), "pairs")
        spread = percentile_interval(columns[1], fpr, num_units=size, confidence=confidence)
        if spread is None and self._count(self.strange):
            count = self._count(self.strange)
            spread = Interval(fpr, *wilson(fpr * count, count, confidence), "wilson")
        return {"auroc": _plain(auroc, area), "fpr_at_95": _plain(spread, fpr)}

    def accepted_strangers(self, weights: FloatArray) -> FloatArray:
        """Return the share of strangers within the limit that accepts 95 % of the known, (C,), under weights (U, C)."""
        size = len(self.known)
        order, other = np.argsort(self.known, kind="stable"), np.argsort(self.strangers, kind="stable")
        known = running_sum(weights[self.units.codes[:size][order]])
        strange = running_sum(weights[self.units.codes[size:][other]])
        with np.errstate(invalid="ignore"):
            limits = self.known[order][(known >= ACCEPT * known[-1] - 1e-9).argmax(axis=0)]
            ends = np.searchsorted(self.strangers[other], limits, "right")
            within = np.take_along_axis(strange, np.maximum(ends - 1, 0)[None], axis=0)[0] * (ends > 0)
            share = within / strange[-1]
        return np.where((known[-1] > 0) & (strange[-1] > 0), share, np.nan)

    def _count(self, rows: BoolArray) -> int:
        return len(np.unique(self.units.codes[rows]))


def _units(groups: Groups | None, size: int, others: Groups | None, num_others: int) -> Units:
    """Number the units of known records and strangers together; a side without groups counts each record."""
    if groups is None and others is None:
        return find_units(None, size + num_others)
    sides = [
        [None] * count if side is None else list(side) for side, count in ((groups, size), (others, num_others))
    ]  # fmt: skip
    return find_units([*sides[0], *sides[1]], size + num_others)


def _histogram(known: FloatArray, strangers: FloatArray | None) -> dict[str, Any]:
    everything = known if strangers is None else np.concatenate([known, strangers])
    edges = np.histogram_bin_edges(everything, NUM_BINS)
    return {
        "edges": edges.tolist(),
        "known": np.histogram(known, edges)[0].tolist(),
        "unknown": None if strangers is None else np.histogram(strangers, edges)[0].tolist(),
    }


def _plain(interval: Interval | None, value: float | None = None) -> dict[str, float | None] | None:
    if interval is None:
        return None if value is None else {"value": value, "low": None, "high": None}
    return {"value": interval.value, "low": interval.low, "high": interval.high}
