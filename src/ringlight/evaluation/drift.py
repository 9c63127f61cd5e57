"""Has a stream left its reference? Tests that may be looked at after every record, for ever.

Every quantity that is watched becomes numbers x in [0, 1] whose mean, as long as nothing changes, is at most a known
limit m (:mod:`ringlight.evaluation.drift_reference` says which). A game is played against that claim (Waudby-Smith &
Ramdas 2024, JRSSB 86:1, arXiv:2010.09686, section 4): a capital is multiplied, record by record, by

    L = 1 + f (x / m - 1),      0 < f < 1

which is at least 0 and has a mean of at most 1 if the claim holds, whatever happened before and whatever the
distribution. A change may come at any time, so a new game is begun at each step and the capitals are added up
(Shiryaev-Roberts; as an *e-detector* by Shin, Ramdas & Rinaldo 2022, arXiv:2203.03532):

    M_t = (M_{t-1} + 1) L_t,    averaged over several fractions f, since nobody knows how large a change will be

Then E[M_τ] <= E[τ] for every stopping time τ, so that without a change

    E[time to the first alarm] >= A     and     P(an alarm within T steps) <= T / A

when an alarm is raised at M >= A. With J tests the mean of the M is such a detector too: each alarms at J A. Nothing is
assumed of the distribution, and of the order of records only that the claim holds *given what came before*. Records
that come in runs of similar ones (a coil) break that; :class:`Detectors` therefore takes the mean of `block` records
for one observation. M counts in blocks, A in records: the threshold is J A / block.

Shapes: J tests, F fractions, B records.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ringlight.errors import DataError
from ringlight.evaluation.inputs import BoolArray, FloatArray, IntArray

FRACTIONS = (0.05, 0.1, 0.2, 0.4, 0.8)
"""The shares of a capital that are put at stake: small ones find small changes, large ones find large changes soon."""


class Detectors:
    """J tests side by side, each of whether the mean of its numbers has risen above its limit.

    Args:
        limits: (J,), the means that are allowed, above 0 and below 1.
        run_length: records between two false alarms of all tests together, on average, at the least.
        block: records whose mean is one observation.

    Raises:
        DataError: limits, a run length or a block that cannot be.

    Examples:
        >>> detectors = Detectors([0.5], run_length=1000, block=1)
        >>> for _ in range(20):
        ...     detectors.update(np.array([[1.0]]))
        >>> int(detectors.since[0])  # the record at which the alarm was raised
        13
    """

    def __init__(self, limits: npt.ArrayLike, *, run_length: float = 1e6, block: int = 1) -> None:
        self.limits: FloatArray = np.asarray(limits, np.float64)
        if self.limits.ndim != 1 or not ((self.limits > 0) & (self.limits < 1)).all():
            raise _wrong("limits", "numbers (J,) above 0 and below 1", str(limits), "leave such a test out")
        if not (np.isfinite(run_length) and block >= 1 and run_length >= block):
            got = f"{run_length:g} and {block}"
            raise _wrong("run_length, block", "at least 1 record, and no block longer", got, "use 1000000 and 10")
        self.run_length = float(run_length)
        self.block = int(block)
        number = len(self.limits)
        self.threshold = max(number, 1) * run_length / block
        self.capital: FloatArray = np.zeros((number, len(FRACTIONS)))
        self.sums: FloatArray = np.zeros(number)
        self.counts: IntArray = np.zeros(number, np.int64)
        self.seen: IntArray = np.zeros(number, np.int64)
        self.since: IntArray = np.full(number, -1)
        self._fractions = np.array(FRACTIONS)

    def update(self, values: npt.NDArray[np.floating[Any]]) -> None:
        """Take B records in order: numbers (B, J) from 0 to 1; NaN where a record has none for a test.

        Raises:
            DataError: another shape, or numbers outside [0, 1].
        """
        table = np.asarray(values, np.float64)
        if table.ndim != 2 or table.shape[1] != len(self.limits):
            got = f"{table.shape}"
            raise _wrong("values", f"shape (B, {len(self.limits)})", got, "pass a number for each test")
        known = ~np.isnan(table)
        if ((table < 0) | (table > 1)).any():
            raise _wrong("values", "numbers from 0 to 1", "others", "take ranks or rates")
        filled = np.where(known, table, 0.0)
        for row, there in zip(filled, known, strict=True):
            self.sums += row
            self.counts += there
            self.seen += there
            full = self.counts >= self.block
            if full.any():
                self._bet(full)

    def _bet(self, full: BoolArray) -> None:
        gain = self.sums[full] / self.counts[full] / self.limits[full] - 1
        grown = (self.capital[full] + 1) * (1 + self._fractions * gain[:, None])
        # More is not needed for an alarm. It must not overflow, and not take as long to fall again as it has risen.
        self.capital[full] = np.minimum(grown, len(FRACTIONS) * self.threshold)
        self.sums[full], self.counts[full] = 0.0, 0
        new = full & (self.since < 0) & (self.evidence >= 1)
        self.since[new] = self.seen[new]

    @property
    def evidence(self) -> FloatArray:
        """How near each test is to its alarm (J,): log(1 + M) over the same of the threshold; 1 and more is an alarm.

        It is the present state: an alarm that was raised stands in `since` even when this has fallen again.
        """
        return np.asarray(np.log1p(self.capital.mean(axis=1)) / np.log1p(self.threshold))

    @property
    def alarms(self) -> BoolArray:
        """Which tests (J,) have raised an alarm that nobody has taken back."""
        return np.asarray(self.since >= 0)

    def reset(self, which: npt.NDArray[np.bool_] | None = None) -> None:
        """Take alarms back and begin again, for the tests `which` (J,); None: for all."""
        chosen = np.ones(len(self.limits), bool) if which is None else which
        self.capital[chosen] = 0.0
        self.sums[chosen], self.counts[chosen] = 0.0, 0
        self.since[chosen] = -1

    def to_dict(self) -> dict[str, Any]:
        """Return the state as plain values for JSON."""
        return {
            "capital": self.capital.tolist(), "sums": self.sums.tolist(), "counts": self.counts.tolist(),
            "seen": self.seen.tolist(), "since": self.since.tolist(),
        }  # fmt: skip

    def restore(self, values: Mapping[str, Any]) -> None:
        """Go on from what :meth:`to_dict` returned.

        Raises:
            DataError: it is of other tests, or no such state.
        """
        shapes = {name: getattr(self, name).shape for name in ("capital", "sums", "counts", "seen", "since")}
        try:
            found = {name: np.asarray(values[name], getattr(self, name).dtype) for name in shapes}
        except (KeyError, TypeError, ValueError) as error:
            raise _wrong("state", "a state as the watch writes it", str(error), "begin a new watch") from error
        for name, array in found.items():
            if array.shape != shapes[name] or not np.isfinite(array).all():
                got = f"{name} of shape {array.shape}"
                raise _wrong("state", f"finite numbers of shape {shapes[name]}", got, "begin a new watch")
        for name, array in found.items():
            setattr(self, name, array)


def _wrong(where: str, expected: str, got: str, fix: str) -> DataError:
    return DataError(expected, got=got, where=where, fix=fix)
