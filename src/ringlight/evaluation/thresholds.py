"""Operating points: the rule that turns probabilities into decisions, fixed on validation and nowhere else.

A point has one threshold per class and a rule that says how they are used:

- `default`: the best class (multi-class); every class with p_k >= 0.5 (multi-label)
- `each`, multi-label: every class with p_k >= t_k
- `scaled`, multi-class: the class with the highest p_k / t_k
- `gate`, multi-class: the class of the point when its p >= t, else the best of the others
- `good`, multi-class: the class of good parts when 1 - p_good < t, else the best of the others

A point that cannot be met is refused: it says why, and decides as `default` does.

Shapes: N records, K classes.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

from ringlight.errors import DataError, Problems
from ringlight.evaluation.certificates import Certificate
from ringlight.evaluation.inputs import checked_inputs
from ringlight.evaluation.point_kinds import FIXERS, Case, Fixed, cost_measures, label_measures
from ringlight.evaluation.point_problems import KINDS, point_problems
from ringlight.evaluation.units import find_units
from ringlight.types import Task

__all__ = ["KINDS", "OperatingPoint", "Rule", "decision_confidence", "fix_point", "point_problems"]

Rule = Literal["default", "each", "scaled", "gate", "good"]
_TASK_OF_RULE: dict[str, Task] = {
    "each": "multilabel", "scaled": "multiclass", "gate": "multiclass", "good": "multiclass",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatingPoint:
    """A named rule with its thresholds.

    `thresholds` has one entry per class, None where the rule needs none. `validation` holds what the point reaches on
    the part it was fixed on, `certificate` what that proves. `reason` says why it was refused, or what to know.
    """

    name: str
    kind: str
    task: Task
    classes: tuple[str, ...]
    rule: Rule
    thresholds: tuple[float | None, ...]
    label: str | None = None
    target: float | None = None
    certificate: Certificate | None = None
    validation: Mapping[str, Any] = field(default_factory=dict)
    status: Literal["ok", "refused"] = "ok"
    reason: str = ""

    @classmethod
    def default(cls, task: Task, classes: Sequence[str], *, threshold: float = 0.5) -> Self:
        """Return the point that is always there: the best class, or every label with at least `threshold`."""
        common = threshold if task == "multilabel" else None
        names = tuple(classes)
        return cls(
            name="default", kind="default", task=task, classes=names, rule="default", thresholds=(common,) * len(names)
        )

    @property
    def refused(self) -> bool:
        """Whether the point could not be met; it then decides as the default does."""
        return self.status == "refused"

    def decide(self, probabilities: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Return the decisions (N, K), one-hot when multi-class.

        Raises:
            DataError: there is not one column per class, or a score is not finite: no decision is better than one that
                calls a broken model's parts good.

        Examples:
            >>> point = OperatingPoint(name="careful", kind="recall_at_least", task="multiclass", rule="gate",
            ...                        classes=("good", "scratch"), thresholds=(None, 0.2), label="scratch")
            >>> point.decide([[0.9, 0.1], [0.7, 0.3]]).tolist()
            [[True, False], [False, True]]
        """
        scores = np.asarray(probabilities, np.float64)
        if scores.ndim != 2 or scores.shape[1] != len(self.classes):
            fix = "pass one column per class"
            raise DataError(f"shape (N, {len(self.classes)})", got=str(scores.shape), where="probabilities", fix=fix)
        broken = ~np.isfinite(scores).all(axis=1)
        if broken.any():
            got = f"NaN or infinity in row {int(np.argmax(broken))}"
            raise DataError("finite numbers", got=got, where="probabilities", fix="check the model's weights for NaN")
        if self.task == "multilabel":
            return np.asarray(scores >= self._filled())
        chosen = self._chosen(scores)
        decisions = np.zeros(scores.shape, bool)
        decisions[np.arange(len(scores)), chosen] = True
        return decisions

    def _filled(self) -> npt.NDArray[np.float64]:
        return np.array([0.5 if value is None else value for value in self.thresholds])

    def _chosen(self, scores: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
        if self.rule == "scaled":
            return np.asarray((scores / self._filled()).argmax(axis=1))
        if self.rule == "default":
            return np.asarray(scores.argmax(axis=1))
        column, threshold = next((k, value) for k, value in enumerate(self.thresholds) if value is not None)
        own = scores[:, column]
        taken = own >= threshold if self.rule == "gate" else 1.0 - own < threshold
        others = scores.copy()
        others[:, column] = -np.inf
        return np.asarray(np.where(taken, column, others.argmax(axis=1)))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        values = asdict(replace(self, certificate=None))
        values["classes"], values["thresholds"] = list(self.classes), list(self.thresholds)
        return values | {"certificate": None if self.certificate is None else self.certificate.to_dict()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build from what :meth:`to_dict` returns; keys beside those are left aside.

        Raises:
            DataError: a key is missing, or a rule and its thresholds do not fit each other.
        """
        try:
            known = {name: values[name] for name in cls.__dataclass_fields__}
            certificate = known["certificate"]
            known["certificate"] = None if certificate is None else Certificate.from_dict(certificate)
            known["classes"], known["thresholds"] = tuple(known["classes"]), tuple(known["thresholds"])
        except (KeyError, TypeError) as error:
            raise _unknown(f"{type(error).__name__}: {error}") from error
        point = cls(**known)
        point._check()
        return point

    def _check(self) -> None:
        numbers = [value for value in self.thresholds if value is not None]
        if len(self.thresholds) != len(self.classes):
            raise _unknown(f"{len(self.thresholds)} thresholds for {len(self.classes)} classes")
        if not all(isinstance(value, float | int) and 0 <= value <= 1 for value in numbers):
            raise _unknown(f"thresholds {numbers}")
        if self.rule != "default" and _TASK_OF_RULE.get(self.rule) != self.task:
            raise _unknown(f"the rule {self.rule!r} in a {self.task} model")
        if self.rule in ("gate", "good") and len(numbers) != 1:
            raise _unknown(f"{len(numbers)} thresholds for the rule {self.rule!r}, which has one")
        if self.rule == "scaled" and (len(numbers) != len(self.classes) or min(numbers) <= 0):
            raise _unknown(f"scales {self.thresholds}")


def _unknown(got: str) -> DataError:
    return DataError("an operating point as Ringlight writes it", got=got, where="operating point", fix="fix it again")


def fix_point(
    name: str,
    kind: str,
    targets: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    classes: Sequence[str],
    task: Task,
    *,
    label: str | None = None,
    target: float | None = None,
    good_class: str | None = None,
    escape_cost: float | None = None,
    overkill_cost: float | None = None,
    prevalence: float | None = None,
    confidence: float = 0.95,
    groups: Sequence[Hashable] | npt.NDArray[Any] | None = None,
) -> OperatingPoint:
    """Fix an operating point on validation.

    Args:
        name: what the point is called.
        kind: `max_f1` (of every class, or of `label`), `recall_at_least`, `precision_at_least` (`target` of `label`;
            without a label, of every class of a multi-label set), or `min_cost`.
        targets: class numbers (N,) when multi-class, a binary matrix (N, K) when multi-label.
        probabilities: (N, K), calibrated as they will be when the point decides.
        classes: the K class names.
        task: of the data set.
        label: the class it is about.
        target: recall or precision to prove, in (0, 1).
        good_class: `min_cost` in multi-class data: the class of good parts.
        escape_cost: `min_cost`: of a defective part let through.
        overkill_cost: `min_cost`: of a good part thrown away.
        prevalence: `min_cost`: share of defective parts on the line; None takes the validation part's.
        confidence: of a certificate, in (0, 1).
        groups: what each record belongs to, (N,); a certificate then counts groups, never records.

    Returns:
        The point; refused, with the reason and the number of examples it would need, when validation cannot bear it.

    Raises:
        Problems: the point makes no sense as configured (:func:`point_problems`).
        DataError: probabilities or targets that cannot be, or a confidence outside (0, 1).
    """
    names = tuple(classes)
    faults = point_problems(
        kind, label=label, target=target, escape_cost=escape_cost, overkill_cost=overkill_cost, classes=names,
        task=task, good_class=good_class, prevalence=prevalence,
    )  # fmt: skip
    if faults:
        raise Problems([f"{name}.{line}" for line in faults])
    if not 0 < confidence < 1:
        raise DataError("a number in (0, 1)", got=str(confidence), where="confidence", fix="use 0.95")
    default = replace(OperatingPoint.default(task, names), name=name, kind=kind, label=label, target=target)
    if np.shape(probabilities)[:1] == (0,):
        return replace(default, status="refused", reason="the validation part is empty: nothing to fix it on")
    numbers, checked, _ = checked_inputs(targets, probabilities, names, task, 0.5)
    scores = np.asarray(checked, np.float64)
    truth = np.eye(len(names), dtype=bool)[numbers] if task == "multiclass" else numbers.astype(bool)
    case = Case(
        scores=scores, truth=truth, classes=names, task=task, label=label, target=target or 0.0, good_class=good_class,
        escape_cost=escape_cost or 0.0, overkill_cost=overkill_cost or 0.0, prevalence=prevalence,
        confidence=confidence, units=find_units(groups, len(scores)),
    )  # fmt: skip
    found = FIXERS[kind](case)
    if isinstance(found, Fixed):
        point = replace(
            default, rule=found.rule, thresholds=found.thresholds, certificate=found.certificate, reason=found.note
        )
    else:
        point = replace(default, status="refused", reason=found)
    return replace(point, validation=_reached(point, case))


def _reached(point: OperatingPoint, case: Case) -> dict[str, Any]:
    decisions = point.decide(case.scores)
    measures = label_measures(decisions, case)
    return measures | cost_measures(decisions, case) if point.kind == "min_cost" else measures


def decision_confidence(probabilities: npt.ArrayLike, point: OperatingPoint) -> npt.NDArray[np.float64]:
    """Return how sure each decision is, (N,), from 0 to 1: below a limit a part goes to a human.

    Multi-class: the highest probability, whatever the point. Multi-label: the distance of the label that is nearest
    to its threshold, in shares of the way to certainty: (p - t) / (1 - t) above a threshold, (t - p) / t below it. 0
    stands at a threshold, 1 where every label is certain.

    Examples:
        >>> point = OperatingPoint.default("multilabel", ["scratch", "dent"])
        >>> decision_confidence([[1.0, 0.25], [0.5, 0.0]], point).tolist()
        [0.5, 0.0]
    """
    scores = np.asarray(probabilities, np.float64)
    if point.task == "multiclass":
        return np.asarray(scores.max(axis=1))
    limits = np.broadcast_to(point._filled(), scores.shape)
    above = scores >= limits
    way = np.where(above, 1.0 - limits, limits)
    distance = np.divide(np.abs(scores - limits), way, out=np.ones_like(scores), where=way > 0)
    return np.asarray(distance.min(axis=1))
