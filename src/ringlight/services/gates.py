"""The gate before a version becomes active: no guarded class may be worse than with the version that is active now.

Both decided on the same records of one test set, so that the difference of their recalls has a paired interval. A
class is worse where that interval lies entirely below zero. Where no interval can be told, because the resamples all
have the same difference (a class that is never found any more) or the records are too few, a difference below zero
counts as worse: who guards a class wants to be convinced.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ringlight.errors import ModelError, did_you_mean
from ringlight.training.compare import Comparison
from ringlight.training.compare_pairs import Difference

MARGIN = 1e-12
"""Differences of rates are multiples of one record; what is smaller than this is rounding."""


@dataclass(frozen=True, slots=True)
class Gate:
    """What the gate found: the version it compared with, the guarded classes, and why it stays closed, if it does."""

    against: str | None
    guarded: tuple[str, ...] = ()
    classes: Mapping[str, Mapping[str, Any]] | None = None
    """By class: difference of recall, its limits, the records of the class, and whether it is worse."""
    reasons: tuple[str, ...] = ()
    note: str = ""

    @property
    def passed(self) -> bool:
        """Whether the version may become active."""
        return not self.reasons

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "passed": self.passed, "against": self.against, "guarded": list(self.guarded),
            "classes": {name: dict(row) for name, row in (self.classes or {}).items()},
            "reasons": list(self.reasons), "note": self.note or None,
        }  # fmt: skip


FIRST = Gate(None, note="no version was active")


def closed(against: str, guard: Sequence[str], why: str) -> Gate:
    """Return the gate where no comparison is possible."""
    return Gate(against, tuple(guard), reasons=(f"no comparison with {against} is possible: {why}",))


def gate_of(
    comparison: Comparison, results: Mapping[str, Any], classes: Sequence[str], guard: Sequence[str] = ()
) -> Gate:
    """Judge a comparison of the active version (its reference) with a candidate.

    Args:
        comparison: of the two.
        results: of the candidate's run.
        classes: of the candidate.
        guard: classes that may not get worse; all of them by default.

    Raises:
        ModelError: a guarded class that the model does not know.
    """
    require_known(guard, classes)
    guarded, pair = tuple(guard) or tuple(classes), comparison.pairs[0]
    if pair.refused:
        return closed(pair.reference, guarded, pair.refused)
    if pair.run in comparison.leaky:
        return closed(pair.reference, guarded, "its split leaks, so that its scores are too good")
    supports = {name: int(row.get("support") or 0) for name, row in (results["test"].get("per_class") or {}).items()}
    found, reasons = {}, []
    for name in guarded:
        difference = pair.per_class.get(name, {}).get("recall")
        support = supports.get(name, 0)
        if difference is None:
            if guard:
                reasons.append(f"no comparison of `{name}` is possible: the test set has no record of it")
            continue
        worse = _is_worse(difference)
        found[name] = {"difference": difference.value, "low": difference.low, "high": difference.high,
                       "num_records": support, "worse": worse}  # fmt: skip
        if worse:
            reasons.append(_told(name, difference, support))
    return Gate(pair.reference, guarded, found, tuple(reasons), f"{pair.num_records} records judged by both")


def require_known(guard: Sequence[str], classes: Sequence[str]) -> None:
    """Refuse to guard a class that the model does not know.

    Raises:
        ModelError: there is one.
    """
    for name in guard:
        if name not in classes:
            raise ModelError("a class of the model", got=f"`{name}`", where="--guard", fix=did_you_mean(name, classes))


def _is_worse(difference: Difference) -> bool:
    highest = difference.value if difference.high is None else difference.high
    return highest < -MARGIN


def _told(name: str, difference: Difference, support: int) -> str:
    limits = "no interval can be told"
    if difference.low is not None and difference.high is not None:
        limits = f"95 % interval {-difference.high:.3f} to {-difference.low:.3f}"
    records = "1 record" if support == 1 else f"{support} records"
    return f"recall of `{name}` is lower by {-difference.value:.3f} ({limits}) on {records}"
