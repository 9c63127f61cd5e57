"""Scores and pictures of a trained model: the rules are fixed on validation, then the test part is touched, once."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ringlight.config.schema import EvaluationConfig
from ringlight.data.groups import units_of
from ringlight.errors import DataError
from ringlight.evaluation.decided import decided
from ringlight.evaluation.metrics import Metrics, flatten
from ringlight.evaluation.paired import paired_differences
from ringlight.files import whole_file
from ringlight.inference.tta import Tta
from ringlight.runtime import LOGGER
from ringlight.training.assess import Assessment, assess
from ringlight.training.features import embedder as best_embedder
from ringlight.training.leakage import LeakProbe, measure_leak, probe_obstacle
from ringlight.training.mistakes import mistake_pictures, mistake_rows, worst_mistakes
from ringlight.training.open_set import with_open_set
from ringlight.training.rules import Rules, fix_rules, truth_of
from ringlight.training.slices import slices
from ringlight.types import Dataset, Learner, Prediction

if TYPE_CHECKING:
    from torch import nn

    from ringlight.training.plan import Plan

HEADLINE = "macro_f1"
"""The score in which a gain is told."""

OWN_PART = "calibration and operating points were fixed on the very records they are judged on: there is no test part"

WORTH_PROBING = 0.05
"""Share of records in groups of several from which on a run measures what a random split would pretend."""


@runtime_checkable
class Viewer(Protocol):
    """A learner that can score several views of an image."""

    def predict_views(self, data: Dataset, tta: Tta) -> Prediction:
        """Return raw scores averaged over the views of each image."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is known of a model on one part (`test`, or `val` where a source prescribes no test part).

    `prediction` holds raw scores; `pictures` the worst mistakes as PNG.
    """

    part: str
    data: Dataset
    prediction: Prediction
    validation: Prediction | None
    rules: Rules
    assessment: Assessment
    loss: float | None
    tta: dict[str, Any] | None = None
    slices: tuple[dict[str, Any], ...] = ()
    mistakes: tuple[dict[str, Any], ...] = ()
    pictures: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def metrics(self) -> Metrics:
        """The scores of the decisions."""
        return self.assessment.metrics

    def scores(self) -> dict[str, float]:
        """Return the loss and every defined metric by its flat name."""
        return {**({} if self.loss is None else {"loss": self.loss}), **flatten(self.metrics)}

    def sections(self) -> dict[str, Any]:
        """Return what `results.json` holds of the judged part."""
        return {
            "judged_part": self.part,
            "test": {"loss": self.loss, **self.assessment.test},
            **self.assessment.sections,
            "slices": list(self.slices),
            "mistakes": list(self.mistakes),
            "tta": self.tta,
        }


def judge(plan: Plan, learner: Learner) -> Verdict:
    """Fix the rules on the validation part and score the test part; without one, the validation part.

    Raises:
        DataError: the split leaves neither.
    """
    settings, seed = plan.config.evaluation, plan.config.experiment.seed
    part = next((name for name in ("test", "val") if len(plan.split.parts()[name])), None)
    if part is None:
        raise DataError(
            "a test or validation part", got="only training records", where="split", fix="use another strategy"
        )
    tta = Tta(runs=settings.tta_runs, space=settings.tta_space)
    validation = scored(learner, plan.part("val"), tta) if len(plan.split.val) else None
    rules = fix_rules(
        validation, plan.part("val").groups, settings, task=plan.dataset.task, classes=plan.dataset.classes, seed=seed
    )
    rules = with_open_set(rules, plan, learner, validation)
    if part == "val" and (rules.calibration is not None or rules.points):
        rules = replace(rules, notes=(*rules.notes, OWN_PART))
    return verdict_on(
        part, plan.part(part), learner, rules, settings, seed=seed, in_chans=plan.spec.in_chans,
        validation=validation, criterion=plan.criterion,
    )  # fmt: skip


def probe_of(plan: Plan) -> LeakProbe | None:
    """Measure what a random split of the run's data would have pretended.

    None where groups hold one record each, where fewer than :data:`WORTH_PROBING` of the records share theirs (minutes
    for a difference that cannot be large; `ringlight data check --leaks` measures it all the same), or when it is off.
    """
    if not plan.config.split.leak_probe or probe_obstacle(plan.dataset) is not None:
        return None
    _, unit, sizes = np.unique(units_of(plan.dataset), return_inverse=True, return_counts=True)
    if (sizes[unit] > 1).mean() < WORTH_PROBING:
        return None
    settings = plan.config.evaluation
    LOGGER.info("measuring what a random split would pretend (split.leak_probe=false leaves it out)")
    embedder = None
    if plan.dataset.signals is None:
        embedder = best_embedder(plan.config.weights.folder, plan.device.device)
    return measure_leak(
        plan.dataset, embedder=embedder, cache=plan.cache, seed=plan.config.experiment.seed,
        num_resamples=settings.num_resamples, confidence=settings.confidence,
    )  # fmt: skip


def verdict_on(
    part: str, data: Dataset, learner: Learner, rules: Rules, settings: EvaluationConfig, *, seed: int, in_chans: int,
    validation: Prediction | None = None, criterion: nn.Module | None = None,
) -> Verdict:  # fmt: skip
    """Score records under rules that are fixed.

    Args:
        part: what the records are called in the results.
        data: the records, labelled.
        learner: the trained model.
        rules: from the validation part, or from a bundle.
        settings: the section `evaluation`.
        seed: of the bootstrap.
        in_chans: channels in which mistakes are shown.
        validation: raw scores of the validation part, to be kept beside the test part's.
        criterion: the training's loss, to be told for this part; None tells none.
    """
    started = time.perf_counter()
    prediction = learner.predict(data)
    plain_seconds = time.perf_counter() - started
    gain = None
    if rules.tta.runs > 1 and isinstance(learner, Viewer):
        started = time.perf_counter()
        views = learner.predict_views(data, rules.tta)
        cost = (time.perf_counter() - started) / plain_seconds
        gain = {**rules.tta.to_dict(), "gain": gain_of(prediction, views, data, settings, seed), "cost": cost}
        prediction = views
    return verdict_of(
        part, data, prediction, rules, settings, seed=seed, in_chans=in_chans, validation=validation,
        loss=None if criterion is None else mean_loss(criterion, prediction), tta=gain,
    )  # fmt: skip


def verdict_of(
    part: str, data: Dataset, prediction: Prediction, rules: Rules, settings: EvaluationConfig, *, seed: int,
    in_chans: int, validation: Prediction | None = None, loss: float | None = None, tta: dict[str, Any] | None = None,
) -> Verdict:  # fmt: skip
    """Judge scores that are there already; the arguments are those of :func:`verdict_on`."""
    assessment = assess(prediction, rules, settings, groups=data.groups, seed=seed)
    mistakes = worst_mistakes(assessment.decided, settings.num_mistakes) if data.has_content else []
    return Verdict(
        part, data, prediction, validation, rules, assessment, loss, tta,
        slices=tuple(slices(data, assessment.decided.right, confidence=settings.confidence)),
        mistakes=tuple(mistake_rows(mistakes, assessment.decided, data)),
        pictures=mistake_pictures(mistakes, data, in_chans=in_chans),
    )  # fmt: skip


def scored(learner: Learner, data: Dataset, tta: Tta) -> Prediction:
    """Score records in the views that are asked for; a learner without views (an estimator) scores them as they are."""
    if tta.runs > 1 and isinstance(learner, Viewer):
        return learner.predict_views(data, tta)
    return learner.predict(data)


def gain_of(
    before: Prediction, after: Prediction, data: Dataset, settings: EvaluationConfig, seed: int
) -> dict[str, Any]:
    """Return the difference in the headline score with its paired interval, both decided by the default rule.

    `low` and `high` are None where no interval can be given: one group only, or a score that most resamples leave
    undefined.
    """
    sides = [
        decided(truth_of(one), one.probabilities, one.classes, one.task, groups=data.groups) for one in (before, after)
    ]
    value, bounds = paired_differences(
        *sides, num_resamples=settings.num_resamples, confidence=settings.confidence, seed=seed
    ).get(HEADLINE, (None, None))
    limits = (None, None) if bounds is None else (bounds.low, bounds.high)
    return {"metric": HEADLINE, "value": value, "low": limits[0], "high": limits[1]}


def mean_loss(criterion: nn.Module, prediction: Prediction) -> float:
    """Return the training's loss over a whole part at once, on the CPU."""
    import torch

    kind = torch.int64 if prediction.task == "multiclass" else torch.float32
    targets = torch.tensor(prediction.targets, dtype=kind)
    with torch.inference_mode():
        return float(criterion.to("cpu").eval()(torch.tensor(prediction.logits), targets))


def write_predictions(folder: Path, verdict: Verdict) -> None:
    """Write `predictions.parquet`: id, group, truth, raw scores and calibrated probabilities, one row a record."""
    prediction = verdict.prediction
    truth = prediction.targets
    columns: dict[str, Any] = {"id": list(prediction.ids), "group": verdict.data.table.column("group")}
    if truth is not None:
        rows = truth[:, None] if truth.ndim == 1 else None
        columns["truth"] = rows.tolist() if rows is not None else [np.flatnonzero(row).tolist() for row in truth]
    probabilities = verdict.assessment.decided.probabilities
    for column, name in enumerate(prediction.classes):
        columns[f"logit/{name}"] = prediction.logits[:, column]
        columns[f"probability/{name}"] = probabilities[:, column]
    with whole_file(folder / "predictions.parquet") as part:
        pq.write_table(pa.table(columns).replace_schema_metadata({"part": verdict.part}), part)
