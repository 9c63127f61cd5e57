"""A quantised model before it is written: its rules are fixed again, and it is judged by them against the original.

INT8 moves probabilities by a third even where labels agree, so that a temperature, a threshold or a reject limit of
the original means something else: all are **fixed again** on the quantised model's own validation scores. To judge a
model on the records that its thresholds were fixed on would flatter it, so the validation part is halved (groups
whole, classes in proportion): what is fixed on one half decides the other, both ways round, for both models alike.
The two are then compared on all records (:mod:`ringlight.evaluation.acceptance`). What is written are the rules fixed
on the whole part, with certificates that hold for the quantised model.

A point that a half cannot bear (a certificate needs its 149 examples) is fixed on the whole part for the comparison,
for both models alike; a note says so.

Shapes: N records, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ringlight.config.schema import EvaluationConfig
from ringlight.data.stratify import stratify
from ringlight.errors import DataError, ModelError
from ringlight.evaluation.acceptance import MAX_LOSS, Acceptance, Verdict, combined, judge
from ringlight.evaluation.decided import Decided, decided
from ringlight.evaluation.score_error import score_error
from ringlight.evaluation.units import find_units
from ringlight.inference.bundle import Bundle
from ringlight.inference.quantize import MAX_DRIFT, LayerError
from ringlight.training.rules import Rules, fix_rules, truth_matrix, truth_of
from ringlight.types import Prediction

BoolArray = npt.NDArray[np.bool_]
Layers = Callable[[], Sequence[LayerError]] | Sequence[LayerError]


@dataclass(frozen=True, slots=True, kw_only=True)
class Int8:
    """A judged quantised model: the verdict, and the rules that go with it.

    `notes` say how it was judged where that is not as usual.
    """

    acceptance: Acceptance
    rules: Rules
    max_drift: float
    notes: tuple[str, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """accepted, undecided or refused."""
        return self.acceptance.verdict

    def require(self, *, where: str, accept_undecided: bool = False) -> None:
        """Refuse to go on with a model that was not accepted; `accept_undecided` lets one pass that may be good.

        Raises:
            ModelError: it says why, and what can be done.
        """
        if self.verdict == "accepted" or (self.verdict == "undecided" and accept_undecided):
            return
        fix = "export it without --int8, or keep layers in single precision: --keep-float LAYER"
        if self.verdict == "undecided":
            fix = "validate on more records, or accept it as it is with --accept-undecided"
        raise ModelError(
            "an INT8 model as good as its original", got=f"{self.verdict}: {'; '.join(self.acceptance.reasons)}",
            where=where, fix=fix,
        )  # fmt: skip

    def bundle(self, original: Bundle) -> Bundle:
        """Return the original's index with the rules of the quantised model; its open-set rule is the original's."""
        own = {key: value for key, value in self.rules.for_bundle().items() if key not in ("tta", "open_set")}
        return replace(original, **own)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON: the report of an export."""
        return {**self.acceptance.to_dict(), "max_drift": self.max_drift, "notes": [*self.notes, *self.rules.notes]}

    def lines(self) -> list[str]:
        """Return the report in a few lines of text."""
        loss, error = self.acceptance.loss, self.acceptance.score_error
        sure = f"{100 * self.acceptance.confidence:g} %"
        lines = [
            f"INT8 {self.verdict}: macro-F1 {loss.reference:.4f} -> {loss.reference - loss.value:.4f}, loss "
            f"{100 * loss.low:+.2f} to {100 * loss.high:+.2f} points ({sure} each way), "
            f"{loss.changed} of {loss.num_records} records decided otherwise"
        ]
        if error is not None:
            lines.append(
                f"scores {100 * error.relative:.1f} % off, probabilities by up to {error.max_probability:.2f} "
                f"(`{error.worst_record}`); operating points fixed again"
            )
        return lines + [f"  {reason}" for reason in (*self.acceptance.reasons, *self.notes)]


def accept_int8(
    reference: Prediction,
    quantized: Prediction,
    settings: EvaluationConfig,
    *,
    groups: Sequence[str] | None = None,
    guarded: Sequence[str] | None = None,
    layers: Layers = (),
    max_loss: float = MAX_LOSS,
    max_drift: float = MAX_DRIFT,
    confidence: float = 0.95,
    seed: int = 0,
) -> Int8:
    """Fix the rules of a quantised model and judge it.

    Args:
        reference: raw scores of the original on labelled validation records; none of them was calibrated on.
        quantized: raw scores of the quantised model on the same records in the same order.
        settings: the section `evaluation` of the run: which calibration and points to fix.
        groups: what the records belong to, (N,).
        guarded: classes whose recall may not fall; None takes those that a point of `recall_at_least` is about.
        layers: the worst layers, or how to find them (asked only where the scores drift too far).
        max_loss: of macro-F1, 0 to 1.
        max_drift: relative error of the logits that is refused whatever the labels say.
        confidence: of each limit and test.
        seed: of halves, folds and resamples.

    Raises:
        DataError: fewer than four records, none with a label, or scores that do not fit each other or are not finite.
    """
    error = score_error(reference, quantized)
    if reference.targets is None or len(reference.ids) < 4:
        raise DataError(
            "four labelled records or more to judge an INT8 model on", got=str(len(reference.ids)),
            where="validation", fix="name labelled records that were not trained on",
        )  # fmt: skip
    quantized = replace(quantized, targets=reference.targets)
    task, classes = reference.task, reference.classes
    rules = fix_rules(quantized, groups, settings, task=task, classes=classes, seed=seed)
    own = fix_rules(reference, groups, settings, task=task, classes=classes, seed=seed)
    labels = _guarded(settings) if guarded is None else guarded
    codes = find_units(groups, len(reference.ids)).codes
    half = stratify(truth_matrix(reference), np.array([0.5, 0.5]), seed=seed, groups=codes)
    pair, notes = [], list[str]()
    for prediction, whole in ((reference, own), (quantized, rules)):
        decisions, note = _decisions(prediction, whole, half, groups, settings, seed)
        pair.append((prediction, whole, decisions, note))
    if any(note for *_, note in pair):
        notes.append(next(note for *_, note in pair if note))
        pair = [(prediction, whole, whole.decide(prediction).decisions, "") for prediction, whole, *_ in pair]
    first, second = (_decided(prediction, whole, decisions, groups) for prediction, whole, decisions, _ in pair)
    judged = judge(
        first, second, max_loss=max_loss, guarded=labels, confidence=confidence, seed=seed,
    )  # fmt: skip
    found: list[tuple[Verdict, str]] = []
    if error.relative > max_drift:
        found.append(("refused", _drifted(error.relative, max_drift, layers)))
    if rules.active.refused and not own.active.refused:
        found.append(("refused", f"the operating point {rules.point} cannot be fixed for it: {rules.active.reason}"))
    acceptance = combined(replace(judged, score_error=error), found)
    return Int8(acceptance=acceptance, rules=rules, max_drift=max_drift, notes=tuple(notes))


def _decisions(
    prediction: Prediction, whole: Rules, half: npt.NDArray[np.int64], groups: Sequence[str] | None,
    settings: EvaluationConfig, seed: int,
) -> tuple[BoolArray, str]:  # fmt: skip
    """Return what rules fixed on one half decide about the other (N, K), and a note where a half cannot bear them."""
    decisions = np.zeros(prediction.logits.shape, bool)
    if len(np.unique(half)) < 2:
        return decisions, "judged by rules fixed on the same records: they cannot be halved without dividing a group"
    for part in (0, 1):
        fixed_on, decided_on = np.flatnonzero(half != part), np.flatnonzero(half == part)
        names = None if groups is None else [groups[int(row)] for row in fixed_on]
        rules = fix_rules(
            _rows(prediction, fixed_on), names, settings, task=prediction.task, classes=prediction.classes, seed=seed
        )
        if rules.active.refused and not whole.active.refused:
            return decisions, (
                f"judged by rules fixed on the same records: half of them cannot bear {rules.point} "
                f"({rules.active.reason})"
            )
        decisions[decided_on] = rules.decide(_rows(prediction, decided_on)).decisions
    return decisions, ""


def _rows(prediction: Prediction, rows: npt.NDArray[np.int64]) -> Prediction:
    return replace(
        prediction, ids=[prediction.ids[int(row)] for row in rows], logits=prediction.logits[rows],
        targets=truth_of(prediction)[rows],
    )  # fmt: skip


def _decided(
    prediction: Prediction, rules: Rules, decisions: BoolArray, groups: Sequence[str] | None
) -> Decided:  # fmt: skip
    probabilities = rules.calibrated(prediction).probabilities
    return decided(
        truth_of(prediction), probabilities, prediction.classes, prediction.task, decisions=decisions, groups=groups
    )


def _guarded(settings: EvaluationConfig) -> list[str]:
    points = settings.operating_points.values()
    return list(dict.fromkeys(one.label for one in points if one.kind == "recall_at_least" and one.label is not None))


def _drifted(relative: float, max_drift: float, layers: Layers) -> str:
    named = layers() if callable(layers) else layers
    worst = f"; the worst layers by themselves: {', '.join(map(str, named))}" if named else ""
    return f"its scores are {100 * relative:.1f} % off, the bound is {100 * max_drift:g} %{worst}"
