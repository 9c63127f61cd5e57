"""What is fixed on validation before the test part is looked at: calibration, operating points, and which one decides.

The same rules judge the test part, travel in the bundle, serve, and judge again later on new data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from ringlight.config.schema import EvaluationConfig, PointConfig
from ringlight.errors import ConfigError, DataError, did_you_mean
from ringlight.evaluation.calibration import AUTOMATIC, Calibration, fit_calibration
from ringlight.evaluation.open_set import OpenSetRule
from ringlight.evaluation.plant import find_good_class
from ringlight.evaluation.reject import reject_curve, reject_threshold
from ringlight.evaluation.thresholds import OperatingPoint, decision_confidence, fix_point, point_problems
from ringlight.inference.bundle import DEFAULT_POINT, Bundle
from ringlight.inference.tta import Tta
from ringlight.types import Prediction, Task

NO_VALIDATION = "there is no validation part to fix it on"

LINE = ("prevalence", "escape_cost", "overkill_cost")
"""What a point may say of the line for itself; else the section says it."""


@dataclass(frozen=True, slots=True)
class Ruling:
    """A prediction under rules: `probabilities` (N, K) after calibration, `decisions` (N, K), one-hot when multi-class.

    `prediction` holds the calibrated logits.
    """

    prediction: Prediction
    probabilities: npt.NDArray[np.float64]
    decisions: npt.NDArray[np.bool_]

    @property
    def right(self) -> npt.NDArray[np.bool_]:
        """Whether every decision about a record is right, (N,); only for records whose truth is known."""
        return np.asarray((self.decisions == truth_matrix(self.prediction)).all(axis=1))


def truth_of(prediction: Prediction) -> npt.NDArray[Any]:
    """Return the targets of a prediction: class numbers (N,), or a binary matrix (N, K) when multi-label.

    Raises:
        DataError: the records have no labels.
    """
    if prediction.targets is None:
        raise DataError("labelled records", got="none with a label", where="evaluation", fix="label them first")
    return np.asarray(prediction.targets)


def truth_matrix(prediction: Prediction) -> npt.NDArray[np.bool_]:
    """Return the truth as a binary matrix (N, K).

    Raises:
        DataError: the records have no labels.
    """
    targets = truth_of(prediction)
    matrix = np.eye(len(prediction.classes), dtype=bool)[targets] if targets.ndim == 1 else targets.astype(bool)
    return np.asarray(matrix)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What was fixed on validation; `point` names the operating point that decides.

    `good_class` is the class of good parts in multi-class data, None when there is none. A decision less sure than
    `reject_threshold` is for a human, and so is a record that `open_set` takes for one of no known class.
    """

    task: Task
    classes: tuple[str, ...]
    calibration: Calibration | None = None
    points: Mapping[str, OperatingPoint] = field(default_factory=dict)
    point: str = DEFAULT_POINT
    good_class: str | None = None
    tta: Tta = field(default_factory=Tta)
    reject_threshold: float | None = None
    open_set: OpenSetRule | None = None
    notes: tuple[str, ...] = ()

    def decide(self, prediction: Prediction) -> Ruling:
        """Calibrate raw scores and decide by the active point."""
        calibrated = self.calibrated(prediction)
        probabilities = calibrated.probabilities
        return Ruling(calibrated, probabilities, self.active.decide(probabilities))

    def calibrated(self, prediction: Prediction) -> Prediction:
        """Return the prediction with calibrated logits; as it is where no calibration was accepted."""
        if self.calibration is None or not self.calibration.accepted:
            return prediction
        logits = self.calibration.calibrator.apply(prediction.logits)
        return Prediction(prediction.ids, logits, prediction.classes, prediction.task, prediction.targets)

    @property
    def active(self) -> OperatingPoint:
        """The operating point that decides."""
        return self.points.get(self.point) or OperatingPoint.default(self.task, self.classes)

    def in_views(self, runs: int) -> Self:
        """Return the rules for so many views of an image; a note says what was fixed in other views."""
        changed = replace(self, tta=Tta(runs=runs, space=self.tta.space))
        fixed = bool(self.points) or (self.calibration is not None and self.calibration.accepted)
        if not fixed or runs == self.tta.runs:
            return changed
        note = (
            f"judged in {runs} view(s) of an image; calibration, thresholds and certificates were fixed in "
            f"{self.tta.runs} and prove nothing for these"
        )
        return replace(changed, notes=(*self.notes, note))

    def for_bundle(self) -> dict[str, Any]:
        """Return what a bundle stores of them."""
        return {
            "calibration": {} if self.calibration is None else self.calibration.to_dict(),
            "operating_points": {name: point.to_dict() for name, point in self.points.items()},
            "operating_point": self.point,
            "good_class": self.good_class,
            "tta": self.tta.to_dict(),
            "reject_threshold": self.reject_threshold,
            "open_set": {} if self.open_set is None else self.open_set.to_dict(),
        }

    @classmethod
    def of_bundle(cls, bundle: Bundle) -> Self:
        """Take the rules a bundle was saved with."""
        return cls(
            task=bundle.task,
            classes=bundle.classes,
            calibration=Calibration.from_dict(bundle.calibration) if bundle.calibration else None,
            points={name: OperatingPoint.from_dict(values) for name, values in bundle.operating_points.items()},
            point=bundle.operating_point,
            good_class=bundle.good_class,
            tta=Tta.from_dict(bundle.tta, "bundle"),
            reject_threshold=bundle.reject_threshold,
            open_set=OpenSetRule.from_dict(bundle.open_set) if bundle.open_set else None,
        )


def fix_rules(
    validation: Prediction | None, groups: Sequence[str] | None, settings: EvaluationConfig, *, task: Task,
    classes: tuple[str, ...], seed: int,
) -> Rules:  # fmt: skip
    """Fit calibration and operating points on the validation part; without one, none is fitted and notes say so.

    Args:
        validation: raw scores of the validation part.
        groups: what its records belong to, (N,).
        settings: the section `evaluation`.
        task: of the data set.
        classes: of the data set.
        seed: of the folds behind the held-out likelihood.
    """
    good = good_class(settings, classes, task)
    tta = Tta(runs=settings.tta_runs, space=settings.tta_space)
    bare = Rules(task=task, classes=classes, good_class=good, tta=tta)
    if validation is None or validation.targets is None:
        wanted = settings.calibration != "none" or settings.operating_points
        return replace(bare, notes=(f"no calibration and no operating point: {NO_VALIDATION}",)) if wanted else bare
    calibration = None
    if settings.calibration != "none":
        calibration = fit_calibration(
            validation.logits, validation.targets, task, kind=settings.calibration, classes=classes, seed=seed,
            groups=groups,
        )  # fmt: skip
    calibrated = Rules(task=task, classes=classes, calibration=calibration).calibrated(validation)
    points = {
        name: _fixed(name, point, calibrated, groups, settings, bare)
        for name, point in settings.operating_points.items()
    }
    notes: list[str] = []
    if calibration is not None and not calibration.accepted:
        notes.append(f"calibration refused: {calibration.reason}")
    notes += [f"operating point {name} refused: {point.reason}" for name, point in points.items() if point.refused]
    fixed = Rules(
        task=task, classes=classes, calibration=calibration, points=points, point=settings.operating_point,
        good_class=good, tta=tta, notes=tuple(notes),
    )  # fmt: skip
    return fixed if settings.reject_error is None else _with_reject(fixed, validation, settings.reject_error)


def _with_reject(rules: Rules, validation: Prediction, max_error: float) -> Rules:
    """Fix the confidence below which a part goes to a human."""
    decided = rules.decide(validation)
    confidence = decision_confidence(decided.probabilities, rules.active)
    limit = reject_threshold(reject_curve(confidence, decided.right), max_error=max_error)
    if limit is not None:
        return replace(rules, reject_threshold=limit)
    note = f"no reject option: no share of the validation part has an error of at most {max_error:g}"
    return replace(rules, notes=(*rules.notes, note))


def _fixed(
    name: str, point: PointConfig, validation: Prediction, groups: Sequence[str] | None, settings: EvaluationConfig,
    bare: Rules,
) -> OperatingPoint:  # fmt: skip
    line = line_of(settings, point)
    return fix_point(
        name,
        point.kind,
        truth_of(validation),
        validation.probabilities,
        bare.classes,
        bare.task,
        label=point.label,
        target=point.target,
        good_class=bare.good_class,
        escape_cost=line.escape_cost,
        overkill_cost=line.overkill_cost,
        prevalence=line.prevalence,
        confidence=settings.confidence,
        groups=groups,
    )


def line_of(settings: EvaluationConfig, point: PointConfig | None) -> EvaluationConfig:
    """Return the settings with the prevalence and the costs that a point has of its own, each for itself.

    Examples:
        >>> section = EvaluationConfig(escape_cost=50.0, overkill_cost=1.0)
        >>> line_of(section, PointConfig(kind="min_cost", escape_cost=80.0)).model_dump(include={*LINE})
        {'prevalence': None, 'escape_cost': 80.0, 'overkill_cost': 1.0}
    """
    own = {} if point is None else {key: getattr(point, key) for key in LINE if getattr(point, key) is not None}
    return settings.model_copy(update=own)


def good_class(settings: EvaluationConfig, classes: Sequence[str], task: Task) -> str | None:
    """Return the class of good parts; None in multi-label data, where a good part carries no label.

    Raises:
        ConfigError: the named class is not one of the data set's.
    """
    named = settings.good_class
    if task == "multilabel" or named is None:
        return None
    if named == "auto":
        return find_good_class(classes)
    if named not in classes:
        raise ConfigError(
            "a class of the data set, auto or null", got=f"`{named}`", where="evaluation.good_class",
            fix=did_you_mean(named, classes),
        )  # fmt: skip
    return named


def resolved_rules(
    settings: EvaluationConfig, classes: Sequence[str], task: Task, *, shifted: bool = False
) -> dict[str, object]:
    """Return the automatic choices of the section `evaluation` as configuration keys with their values.

    `shifted` says that the scores were moved on purpose, in favour of rare classes. Platt's calibration has an offset
    for each class and would move them back; a temperature keeps every decision at 0.5.
    """
    automatic = "temperature" if shifted else AUTOMATIC[task]
    kind = settings.calibration
    return {
        "evaluation.good_class": good_class(settings, classes, task),
        "evaluation.calibration": automatic if kind == "auto" else kind,
    }


def rule_problems(settings: EvaluationConfig, classes: Sequence[str], task: Task) -> list[str]:
    """Return what cannot be met in the section `evaluation`, a line each: asked before anything is trained."""
    try:
        good = good_class(settings, classes, task)
    except ConfigError as error:
        return [str(error)]
    lines = _lone_cost("evaluation", settings)
    for name, point in settings.operating_points.items():
        line, where = line_of(settings, point), f"evaluation.operating_points.{name}"
        lines += [
            f"{where}: {problem}"
            for problem in point_problems(
                point.kind, label=point.label, target=point.target, escape_cost=line.escape_cost,
                overkill_cost=line.overkill_cost, prevalence=line.prevalence, classes=classes, task=task,
                good_class=good,
            )
        ]  # fmt: skip
        if point.kind != "min_cost" and (point.escape_cost, point.overkill_cost) != (None, None):
            lines += _lone_cost(where, line)
    known = [DEFAULT_POINT, *settings.operating_points]
    if DEFAULT_POINT in settings.operating_points:
        lines.append(
            f"evaluation.operating_points: expected names other than {DEFAULT_POINT}, got it; rename the point"
        )
    if settings.operating_point not in known:
        wrong = ConfigError(
            "an operating point", got=f"`{settings.operating_point}`", where="evaluation.operating_point",
            fix=did_you_mean(settings.operating_point, known),
        )  # fmt: skip
        lines.append(str(wrong))
    return lines


def _lone_cost(where: str, line: EvaluationConfig) -> list[str]:
    """Say that one of the two costs is missing: a cost per part needs both."""
    costs = {"escape_cost": line.escape_cost, "overkill_cost": line.overkill_cost}
    missing = [key for key, value in costs.items() if value is None]
    if len(missing) != 1:
        return []
    return [f"{where}.{missing[0]}: expected both costs or none, got one; set it too; 0 is a cost"]
