"""What a stream is compared with: the reference's statistics, small enough for a bundle, and the limits they allow.

Three kinds of quantities, each with its tests; S is a new record's value, X_1 ... X_n the reference's:

    value   `higher`     x = the mid-rank of S among the X           limit 1/2 + √(log(1/δ) / 6n)
            `lower`      x = 1 - mid-rank                            the same
            `high tail`  x = 1 if S > X_(n-k), the last 5 %          limit: Clopper-Pearson's upper one of k among n
            `low tail`   x = 1 if S < X_(k+1), the first 5 %         the same
    rate    `higher`     x = S, which is 0 or 1                      limit: Clopper-Pearson's upper one of the hits
            `lower`      x = 1 - S                                   1 - Clopper-Pearson's lower one
    fault   `higher`     as of a rate: fewer faults than before are no alarm

**A reference is finite, and a test that never ends would find that out.** The limits therefore hold the true mean with
probability 1 - δ over the draw of the reference, δ divided by the number of tests. Given the reference the mean of the
mid-rank is Σ_i P(S > X_i) / n: a mean of n independent numbers that are uniform (or, with ties, less spread), and a
uniform one is sub-Gaussian with its own variance, 1/12 (Arbel, Marchal & Nguyen 2020, ESAIM: PS 24:39, "On strict
sub-Gaussianity", for the Beta(1, 1) distribution), whence the square root. P(S > X_(n-k)) has the distribution
Beta(k + 1, n - k), whose quantile is Clopper and Pearson's limit.

**Records of one group are no independent ones**: n is then N² / Σ m_g², the number of groups of equal size that say as
much (for the mid-rank exact by Hölder's inequality; for the rates an approximation).

To every limit comes a `tolerance`, since a change may be real and nobody's business; it is also what is left for the
order of a stream that is not quite random.

Shapes: N records, Q quantities, J tests, B records of a batch.
"""

from __future__ import annotations

import base64
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import isfinite, log, sqrt
from typing import Any, Literal, Self, get_args

import numpy as np
import numpy.typing as npt
from scipy import stats

from ringlight.errors import DataError
from ringlight.evaluation.inputs import FloatArray, IntArray
from ringlight.evaluation.units import find_units, unit_sums

Kind = Literal["value", "rate", "fault"]
Side = Literal["higher", "lower", "high tail", "low tail"]
SIDES: dict[Kind, tuple[Side, ...]] = {
    "value": ("higher", "lower", "high tail", "low tail"),
    "rate": ("higher", "lower"),
    "fault": ("higher",),
}
"""The tests of each kind of quantity."""

TAIL = 0.05
"""The share of the reference in each tail."""
MOST_QUANTILES = 256
"""Values that are kept of a quantity: all of them, or so many quantiles."""
NUM_BINS = 10
"""Bins of the population stability index."""
TOLERANCE = 0.03
"""How far a mean may move that is in [0, 1] before it matters to anybody."""


@dataclass(frozen=True, kw_only=True)  # no slots: what is looked up for every record is worked out once
class Quantity:
    """What is kept of one quantity of the reference.

    `num_records` records were measured, which say as much as `effective` independent ones. Of a value, `quantiles` are
    sorted (all the values of a small reference), and at most 5 % of its records lie below `low` and above `high`; of a
    rate or fault, `mean` is the share of ones.
    """

    name: str
    kind: Kind
    num_records: int
    effective: float
    mean: float
    quantiles: tuple[float, ...] = ()
    low: float = 0.0
    high: float = 1.0

    @classmethod
    def of(cls, name: str, kind: Kind, values: npt.ArrayLike, *, groups: Sequence[Hashable] | None = None) -> Self:
        """Describe the reference's values (N,), finite; of a rate or a fault they are 0 and 1.

        Args:
            name: what the quantity is called.
            kind: how it is watched.
            values: of the reference's records.
            groups: what each record belongs to, (N,).

        Raises:
            DataError: no record, values that are not finite, or a rate's that are not 0 and 1.
        """
        column = np.asarray(values, np.float64)
        if column.ndim != 1 or not len(column) or not np.isfinite(column).all():
            raise _wrong(name, "finite numbers (N,), at least one", f"shape {column.shape}", "check the model for NaN")
        if kind != "value" and not np.isin(column, (0, 1)).all():
            raise _wrong(name, "0 and 1", "other numbers", "watch it as a value")
        size, effective = len(column), effective_records(groups, len(column))
        mean = float(column.mean())
        if kind != "value":
            return cls(name=name, kind=kind, num_records=size, effective=effective, mean=mean)
        ordered = np.sort(column)
        few = int(TAIL * size)
        low, high = float(ordered[few]), float(ordered[size - 1 - few])
        kept = ordered
        if size > MOST_QUANTILES:
            places = (np.arange(MOST_QUANTILES) + 0.5) / MOST_QUANTILES
            kept = ordered[(places * size).astype(int)]
        return cls(
            name=name, kind=kind, num_records=size, effective=effective, mean=mean, quantiles=tuple(kept.tolist()),
            low=low, high=high,
        )  # fmt: skip

    def ranks(self, values: npt.ArrayLike) -> FloatArray:
        """Return the mid-ranks of values among the reference, from 0 (below all) to 1 (above all); NaN stays."""
        column, table = np.asarray(values, np.float64), self._table
        below, within = np.searchsorted(table, column, "left"), np.searchsorted(table, column, "right")
        return np.where(np.isnan(column), np.nan, (below + within) / (2 * len(table)))

    def observe(self, values: npt.ArrayLike) -> FloatArray:
        """Return what the tests of :data:`SIDES` see of new values (B,): numbers (B, sides) from 0 to 1; NaN stays."""
        column = np.asarray(values, np.float64)
        if self.kind != "value":
            return np.stack([column, 1 - column], axis=1)[:, : len(SIDES[self.kind])]
        missing = np.isnan(column)
        ranks = self.ranks(column)
        tails = [np.where(missing, np.nan, column > self.high), np.where(missing, np.nan, column < self.low)]
        return np.stack([ranks, 1 - ranks, *tails], axis=1)

    def limits(self, risk: float, *, tolerance: float = TOLERANCE) -> FloatArray:
        """Return the largest means (sides,) that a stream like the reference has, each but with probability `risk`.

        A limit of 1 or more says that the reference is too small for this test.
        """
        if self.kind != "value":
            hits = (self.mean * self.effective, (1 - self.mean) * self.effective)[: len(SIDES[self.kind])]
            return np.array([upper_limit(count, self.effective, risk) for count in hits]) + tolerance
        rough = 1 / len(self.quantiles) if self.num_records > len(self.quantiles) else 0.0
        middle = 0.5 + sqrt(log(1 / risk) / (6 * self.effective)) + rough
        share = self.effective / self.num_records
        tail = upper_limit(int(TAIL * self.num_records) * share, self.effective, risk)
        return np.array([middle, middle, tail, tail]) + tolerance

    @cached_property
    def _table(self) -> FloatArray:
        return np.array(self.quantiles)

    @cached_property
    def edges(self) -> FloatArray:
        """The inner edges of the bins of the population stability index: the reference's deciles, each once."""
        if self.kind != "value":
            return np.array([0.5])
        return np.unique(np.quantile(self._table, np.arange(1, NUM_BINS) / NUM_BINS, method="inverted_cdf"))

    def bins(self, values: npt.ArrayLike) -> IntArray:
        """Return the bin (B,) of each value, from 0; -1 where there is none."""
        column = np.asarray(values, np.float64)
        return np.where(np.isnan(column), -1, np.searchsorted(self.edges, column, "left"))

    @cached_property
    def expected(self) -> FloatArray:
        """The reference's records in each bin."""
        if self.kind != "value":
            return np.array([1 - self.mean, self.mean]) * self.num_records
        counts = np.bincount(self.bins(self.quantiles), minlength=len(self.edges) + 1)
        return np.asarray(counts * (self.num_records / len(self.quantiles)))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; the quantiles as base64 of little-endian double precision."""
        values: dict[str, Any] = {
            "name": self.name, "kind": self.kind, "num_records": self.num_records, "effective": self.effective,
            "mean": self.mean,
        }  # fmt: skip
        if self.kind == "value":
            # In full: a constant must still be equal to itself when it comes back.
            packed = np.array(self.quantiles, "<f8").tobytes()
            kept = base64.b64encode(packed).decode("ascii")
            values |= {"quantiles": kept, "low": self.low, "high": self.high}
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build from what :meth:`to_dict` returns.

        Raises:
            DataError: values that no quantity has.
        """
        fix = "export the model again, or take the reference again"
        try:
            packed = base64.b64decode(values.get("quantiles", ""), validate=True)
            made = cls(**{**values, "quantiles": tuple(np.frombuffer(packed, "<f8").tolist())})
            numbers = (made.num_records, made.effective, made.mean, made.low, made.high, *made.quantiles)
            sound = made.kind in get_args(Kind) and all(isfinite(number) for number in numbers)
            sound = sound and 0 < made.effective <= made.num_records
            sound = sound and (len(made.quantiles) > 0 if made.kind == "value" else 0 <= made.mean <= 1)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise _wrong("watch", "a quantity as Ringlight writes it", str(error), fix) from error
        if not sound or list(made.quantiles) != sorted(made.quantiles):
            raise _wrong("watch", "a quantity as Ringlight writes it", f"`{made.name}` with impossible values", fix)
        return made


def effective_records(groups: Sequence[Hashable] | None, num_records: int) -> float:
    """Return N² / Σ m_g²: how many groups of equal size say as much as these; N without groups.

    Examples:
        >>> effective_records(["coil 1"] * 6 + ["coil 2"] * 6, 12), effective_records(None, 12)
        (2.0, 12.0)
    """
    sizes = unit_sums(np.ones(num_records), find_units(groups, num_records))
    return float(num_records**2 / (sizes**2).sum())


def upper_limit(hits: float, trials: float, risk: float) -> float:
    """Return Clopper and Pearson's one-sided upper limit of a rate, exceeded with probability `risk` at the most.

    Examples:
        >>> round(upper_limit(0, 59, 0.05), 4)  # the rule of 59: no failure among 59 shows 95 % with confidence 95 %
        0.0495
    """
    return 1.0 if hits >= trials else float(stats.beta.isf(risk, hits + 1, trials - hits))


def _wrong(where: str, expected: str, got: str, fix: str) -> DataError:
    return DataError(expected, got=got, where=where, fix=fix)
