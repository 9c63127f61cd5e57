"""May a changed model (quantised, pruned) stand in for its original? Decided by paired records, never by two scores.

**Macro-F1.** The loss (original minus changed) has a paired interval: both are scored on the same resamples of the
units (:mod:`ringlight.evaluation.paired`), and each limit holds with the stated confidence by itself, as in a test of
non-inferiority (Schuirmann 1987, J. Pharmacokin. Biopharm. 15:657: a two-sided interval at 2 · confidence - 1).

    accepted    the upper limit is within the bound: a larger loss is ruled out
    refused     the lower limit is beyond it: the loss is larger
    undecided   the bound lies between: too few records to tell

A bootstrap knows nothing of what did not happen: two models that decide alike on 50 records would have a loss of
[0, 0]. No worsened decision in U units still allows a share of s = 1 - (1 - confidence)^(1/U) that are worse (Clopper &
Pearson 1934 at zero; about 3/U at 95 %, as much as the bootstrap makes of one). The upper limit is then raised by the
loss of the original with a share s of each class's right decisions turned wrong (:func:`loss_if_changed`): 1,497 units
without a change rule out 0.2 points.

**Recall of a guarded class.** Of the b + c positive units that just one of the models finds, each is as likely to be
the one's as the other's if their recalls are equal (McNemar 1947, the exact and one-sided form): p = P(Bin(b + c, 1/2)
>= b). A group counts as its worst record: it is found when all its positives are.

Shapes: N records, K classes, U units.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
from scipy import stats

from ringlight.errors import DataError, did_you_mean
from ringlight.evaluation.certificates import group_extremes
from ringlight.evaluation.decided import Decided
from ringlight.evaluation.inputs import BoolArray
from ringlight.evaluation.paired import paired_differences
from ringlight.evaluation.rates import check_confidence
from ringlight.evaluation.score_error import ScoreError

Verdict = Literal["accepted", "undecided", "refused"]

MAX_LOSS = 0.002
"""Macro-F1 that a changed model may lose: 0.2 points."""
METRIC = "macro_f1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """Macro-F1 lost, 0.01 is a point; negative where the changed model is the better one.

    Each limit holds with the confidence it was asked for by itself. `changed` of `num_records` are decided otherwise;
    the interval counts `num_units`. `reference` is the original's macro-F1.
    """

    value: float
    low: float
    high: float
    reference: float
    changed: int
    num_records: int
    num_units: int
    unit: Literal["record", "group"] = "record"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecallChange:
    """Positive units of a class: found by the original alone (`lost`), by the changed model alone (`gained`).

    `p_value` is the chance of so many lost ones between models of equal recall.
    """

    label: str
    reference: float
    changed: float
    lost: int
    gained: int
    num_positives: int
    p_value: float
    unit: Literal["record", "group"] = "record"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Acceptance:
    """The verdict with what it rests on; `reasons` are sentences, none where it is accepted."""

    verdict: Verdict
    reasons: tuple[str, ...]
    max_loss: float
    confidence: float
    loss: Loss
    guarded: tuple[RecallChange, ...] = ()
    score_error: ScoreError | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self) | {"reasons": list(self.reasons), "guarded": [one.to_dict() for one in self.guarded]}


def judge(
    reference: Decided,
    changed: Decided,
    *,
    max_loss: float = MAX_LOSS,
    guarded: Sequence[str] = (),
    confidence: float = 0.95,
    num_resamples: int = 2000,
    seed: int = 0,
) -> Acceptance:
    """Judge a changed model against its original on labelled records that neither was fitted to.

    Args:
        reference: truth and decisions of the original.
        changed: of the changed model, on the same records in the same order.
        max_loss: of macro-F1, 0 to 1.
        guarded: classes whose recall may not fall.
        confidence: of each limit and each test, between 0 and 1.
        num_resamples: of the bootstrap.
        seed: of the resamples.

    Raises:
        DataError: other records, a bound or a confidence that cannot be, or a guarded class that is none.
    """
    _check_pair(reference, changed, max_loss, guarded)
    loss = macro_f1_loss(reference, changed, confidence=confidence, num_resamples=num_resamples, seed=seed)
    recalls = tuple(recall_change(reference, changed, label) for label in guarded)
    found = [_of_loss(reference, loss, max_loss, confidence), *(_of_recall(one, confidence) for one in recalls)]
    return combined(Acceptance(
        verdict="accepted", reasons=(), max_loss=max_loss, confidence=confidence, loss=loss, guarded=recalls
    ), found)  # fmt: skip


def combined(acceptance: Acceptance, found: Sequence[tuple[Verdict, str]]) -> Acceptance:
    """Return the acceptance with further verdicts: the worst counts, and only its reasons and worse ones are told."""
    order: tuple[Verdict, ...] = ("accepted", "undecided", "refused")
    worst = max([acceptance.verdict, *(verdict for verdict, _ in found)], key=order.index)
    reasons = [*acceptance.reasons, *(reason for verdict, reason in found if verdict != "accepted")]
    return replace(acceptance, verdict=worst, reasons=tuple(reasons))


def macro_f1_loss(
    reference: Decided, changed: Decided, *, confidence: float = 0.95, num_resamples: int = 2000, seed: int = 0
) -> Loss:
    """Return the loss of macro-F1 with its limits (the formulas at the top of this module).

    Args:
        reference: truth and decisions of the original.
        changed: of the changed model, on the same records in the same order.
        confidence: of each limit, in (0.5, 1).
        num_resamples: of the bootstrap.
        seed: of the resamples.

    Raises:
        DataError: a confidence outside (0.5, 1).
    """
    check_confidence(confidence)
    if confidence <= 0.5:
        raise DataError("a number between 0.5 and 1", got=str(confidence), where="confidence", fix="use 0.95")
    found = paired_differences(
        reference, changed, num_resamples=num_resamples, confidence=2 * confidence - 1, seed=seed
    )  # fmt: skip
    difference, interval = found[METRIC]
    num_units = reference.units.num_units
    different = int((reference.chosen != changed.chosen).any(axis=1).sum())
    if interval is not None:
        low, high = -interval.high, -interval.low
    elif different == 0 or _same_counts(reference, changed):
        low, high = -difference, -difference
    else:
        low, high = -1.0, 1.0  # too few units, or a class that most resamples lose: nothing is known
    if not _right_but(reference, changed).any():
        high += loss_if_changed(reference, 1.0 - (1.0 - confidence) ** (1.0 / num_units))
    return Loss(
        value=0.0 - difference, low=low, high=min(high, 1.0), reference=macro_f1(reference), changed=different,
        num_records=len(reference.actual), num_units=num_units, unit=reference.units.kind,
    )  # fmt: skip


def macro_f1(data: Decided) -> float:
    """Return the mean over the classes of F1; a class that is neither there nor predicted counts 0."""
    return _macro_f1(*_counts(data))


def loss_if_changed(data: Decided, share: float) -> float:
    """Return the macro-F1 that would be lost if `share` of each class's right decisions were wrong.

    Right hits become misses; right rejections become false alarms, in multi-class data a K - 1st part of them, since a
    wrong record is said to be of one other class.

    Args:
        data: truth and decisions.
        share: 0 to 1.
    """
    tp, fp, fn = _counts(data)
    tn = len(data.actual) - tp - fp - fn
    alarms = share * tn
    if data.task == "multiclass":
        alarms = alarms / max(len(data.classes) - 1, 1)
    return _macro_f1(tp, fp, fn) - _macro_f1((1 - share) * tp, fp + alarms, fn + share * tp)


def recall_change(reference: Decided, changed: Decided, label: str) -> RecallChange:
    """Return how the recall of a class moved, with the exact one-sided test of a fall.

    Args:
        reference: truth and decisions of the original.
        changed: of the changed model, on the same records in the same order.
        label: the class.
    """
    column = reference.classes.index(label)
    rows = np.flatnonzero(reference.actual[:, column])
    codes = reference.units.codes[rows]
    first, second = (
        group_extremes(one.chosen[rows, column].astype(np.float64), codes, np.minimum) > 0
        for one in (reference, changed)
    )
    lost, gained = int((first & ~second).sum()), int((second & ~first).sum())
    return RecallChange(
        label=label,
        reference=float(first.mean()) if len(first) else float("nan"),
        changed=float(second.mean()) if len(second) else float("nan"),
        lost=lost,
        gained=gained,
        num_positives=len(first),
        p_value=float(stats.binom.sf(lost - 1, lost + gained, 0.5)) if lost + gained else 1.0,
        unit=reference.units.kind,
    )


def needed_units(data: Decided, max_loss: float, confidence: float) -> int | None:
    """Return how many units, none of them decided otherwise, rule out a larger loss; None when no number does.

    Examples:
        >>> from ringlight.evaluation.decided import decided
        >>> data = decided([0, 1], [[1.0, 0.0], [0.0, 1.0]], ("a", "b"), "multiclass")
        >>> needed_units(data, 0.002, 0.95)  # a loss of s itself: 0.998^1497 <= 0.05
        1497
    """
    low, high = 0.0, 1.0
    if max_loss <= 0.0:
        return None
    for _ in range(60):  # the loss rises with the share: halve until it is found
        middle = (low + high) / 2
        low, high = (middle, high) if loss_if_changed(data, middle) <= max_loss else (low, middle)
    return None if low == 0.0 else int(np.ceil(np.log(1.0 - confidence) / np.log1p(-low) - 1e-9))


def _of_loss(data: Decided, loss: Loss, max_loss: float, confidence: float) -> tuple[Verdict, str]:
    unit = f"{loss.unit}s"
    told = (
        f"macro-F1 {_moved(loss.value)} ({loss.changed} of {loss.num_records} records decided otherwise), with "
        f"{confidence * 100:g} % confidence by at most {100 * loss.high:.2f}; the bound is {100 * max_loss:g}"
    )
    if loss.high <= max_loss:
        return "accepted", told
    if loss.low > max_loss:
        return "refused", (
            f"macro-F1 {_moved(loss.value)}, with {confidence * 100:g} % confidence by at least "
            f"{100 * loss.low:.2f}; the bound is {100 * max_loss:g}"
        )
    needed = needed_units(data, max_loss, confidence)
    hint = f" ({needed:,} {unit} without a changed decision would show it)" if needed is not None else ""
    return "undecided", f"too few {unit} to tell: {told}{hint}"


def _moved(value: float) -> str:
    points = 100 * abs(value)
    return f"fell by {points:.2f} points" if value > 0 else f"rose by {points:.2f} points" if value < 0 else "is equal"


def _of_recall(one: RecallChange, confidence: float) -> tuple[Verdict, str]:
    if not one.num_positives:
        return "undecided", f"validation has no example of the guarded class {one.label}"
    if one.lost <= one.gained:
        return "accepted", ""
    told = (
        f"recall of {one.label} fell from {one.reference:.3f} to {one.changed:.3f}: of {one.num_positives} "
        f"{one.unit}s {one.lost} found by the original alone, {one.gained} by the changed model alone "
        f"(p = {one.p_value:.2g})"
    )
    if one.p_value <= 1.0 - confidence:
        return "refused", told
    return "undecided", f"{told}; too few to rule out chance"


def _counts(data: Decided) -> tuple[Any, Any, Any]:
    tp = (data.actual & data.chosen).sum(axis=0).astype(np.float64)
    return tp, data.chosen.sum(axis=0) - tp, data.actual.sum(axis=0) - tp


def _macro_f1(tp: Any, fp: Any, fn: Any) -> float:
    whole = 2 * tp + fp + fn
    return float(np.divide(2 * tp, whole, out=np.zeros_like(whole), where=whole > 0).mean())


def _right_but(reference: Decided, changed: Decided) -> BoolArray:
    """Return the decisions (N, K) that are right in the original alone."""
    right, still = (one.chosen == one.actual for one in (reference, changed))
    return np.asarray(right & ~still)


def _same_counts(reference: Decided, changed: Decided) -> bool:
    """Whether what changed is wrong either way, unit by unit: the loss is then exactly what it is."""
    return all(bool(np.array_equal(a, b)) for a, b in zip(_counts(reference), _counts(changed), strict=True))


def _check_pair(reference: Decided, changed: Decided, max_loss: float, guarded: Sequence[str]) -> None:
    if reference.classes != changed.classes or not np.array_equal(reference.actual, changed.actual):
        raise DataError(
            "two predictions of the same labelled records", got="other records or classes", where="acceptance",
            fix="score the same part with both models",
        )  # fmt: skip
    if not 0 <= max_loss <= 1:
        raise DataError(
            "a loss of macro-F1 from 0 to 1", got=repr(max_loss), where="max_loss", fix="use 0.002: 0.2 points"
        )  # fmt: skip
    for label in guarded:
        if label not in reference.classes:
            raise DataError(
                "a class of the model", got=f"`{label}`", where="guarded",
                fix=did_you_mean(label, reference.classes),
            )  # fmt: skip
