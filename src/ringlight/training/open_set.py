"""Open set: a class held out of training, the limit fixed on validation, and how well the rule tells strangers.

Where `split.held_out_class` names a class, its records leave the data before anything else is done: they are in no part
and the model has no column for them. They come back once, when the test part has been judged, as the strangers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ringlight.config.schema import Config
from ringlight.errors import ConfigError, Problems, did_you_mean
from ringlight.evaluation.inputs import FloatArray
from ringlight.evaluation.open_set import SCORES, class_means, fix_open_set, strangeness
from ringlight.evaluation.open_set_scores import open_set_scores
from ringlight.runtime import LOGGER
from ringlight.training.embedding import Embeds, embeddings_of
from ringlight.training.rules import Rules
from ringlight.types import Dataset, Learner, Prediction

if TYPE_CHECKING:
    from ringlight.training.judge import Verdict
    from ringlight.training.plan import Plan

NEEDS_VALIDATION = "no open-set rule: there is no validation part to fix its limit on"
NEVER_CHECKED = "no class was held out of training (split.held_out_class), so that nobody knows what the limit finds"


def hold_out(data: Dataset, name: str | None) -> tuple[Dataset, Dataset | None]:
    """Divide records into those of known classes and those of the class that is held out; None where none is.

    Raises:
        Problems: multi-label records, an unknown class, one without a record, or one whose loss leaves fewer than two
            classes.
    """
    if name is None:
        return data, None
    where = "split.held_out_class"
    error = None
    if data.task != "multiclass":
        fix = "set it to null, or data.task=multiclass where each record has one label"
        error = ConfigError("records of one class each", got=f"{data.task} data", where=where, fix=fix)
    elif name not in data.classes:
        error = ConfigError(
            "a class of the data set", got=f"`{name}`", where=where, fix=did_you_mean(name, data.classes)
        )
    elif not data.class_counts()[name]:
        error = ConfigError("a class with records", got=f"none of `{name}`", where=where, fix="name another class")
    elif len(data.classes) < 3:
        got = f"{len(data.classes)}"
        error = ConfigError("three classes or more, to keep two", got=got, where=where, fix="set it to null")
    if error is not None:
        raise Problems([str(error)])
    labels = np.asarray(data.targets())
    number = data.classes.index(name)
    kept = data.take(np.flatnonzero(labels != number))
    renumbered = [[label - (label > number)] for label in kept.targets().tolist()]
    boxes = [
        row and [{**box, "label": box["label"] - (box["label"] > number)} for box in row if box["label"] != number]
        for row in kept.table.column("boxes").to_pylist()
    ]
    classes = tuple(one for one in data.classes if one != name)
    known = replace(kept.with_column("labels", renumbered).with_column("boxes", boxes), classes=classes)
    return known, data.take(np.flatnonzero(labels == number))


def open_set_problems(config: Config, data: Dataset) -> list[str]:
    """Return why an open-set rule that is asked for cannot be fixed, a line each."""
    if config.evaluation.open_set == "none":
        if config.split.held_out_class is None:
            return []
        fix = "set evaluation.open_set=both, or split.held_out_class=null"
        error = ConfigError("an open-set rule to judge by the class", got="none", where="evaluation.open_set", fix=fix)
        return [str(error)]
    if data.task == "multilabel":
        error = ConfigError(
            "records of one class each", got="multilabel data, where a part without a label is known to be good",
            where="evaluation.open_set", fix="set evaluation.open_set=none",
        )  # fmt: skip
        return [str(error)]
    return []


def require_validation(config: Config, num_validation: int) -> None:
    """Refuse an open-set rule whose limit has nothing to be fixed on.

    Raises:
        ConfigError: the split has no validation part.
    """
    if config.evaluation.open_set != "none" and not num_validation:
        raise ConfigError(
            "a validation part to fix the limit on", got="none", where="evaluation.open_set",
            fix="use split.strategy=stratified_70_15_15, or evaluation.open_set=none",
        )  # fmt: skip


def with_open_set(rules: Rules, plan: Plan, learner: Learner, validation: Prediction | None) -> Rules:
    """Return the rules with the open-set rule that the configuration asks for, its limit fixed on validation."""
    settings = plan.config.evaluation
    names = SCORES[settings.open_set]
    if not names:
        return rules
    if validation is None:
        return replace(rules, notes=(*rules.notes, NEEDS_VALIDATION))
    means = embedded = None
    if "distance" in names:
        train = plan.part("train")
        means = class_means(_embedded(learner, train), train.targets(), plan.dataset.classes)
        embedded = _embedded(learner, plan.part("val"))
    scores = strangeness(names, validation.logits, embedded, means)
    rule = fix_open_set(scores, settings.open_set_accept, means=means)
    limits = ", ".join(f"{name} {limit:.4g}" for name, limit in rule.thresholds.items())
    LOGGER.info("open set: %s accepts %.1f %% of the validation part", limits, 100 * rule.accepted)
    notes = rules.notes if plan.unknown is not None else (*rules.notes, NEVER_CHECKED)
    return replace(rules, open_set=rule, notes=notes)


def open_set_of(plan: Plan, learner: Learner, verdict: Verdict) -> dict[str, Any]:
    """Judge the open-set rule on the judged part and the class that was held out; return what results hold of it."""
    from ringlight.training.judge import scored

    rule, unknown = verdict.rules.open_set, plan.unknown
    if rule is None:
        return {}

    def scores_of(data: Dataset, prediction: Prediction) -> dict[str, FloatArray]:
        return rule.scores(prediction.logits, _embedded(learner, data) if rule.needs_embeddings else None)

    known = scores_of(verdict.data, verdict.prediction)
    strangers = None if unknown is None else scores_of(unknown, scored(learner, unknown, verdict.rules.tta))
    settings = plan.config.evaluation
    judged = open_set_scores(
        rule, known, strangers, groups=_groups(verdict.data), stranger_groups=_groups(unknown),
        num_resamples=settings.num_resamples, confidence=settings.confidence, seed=plan.config.experiment.seed,
    )  # fmt: skip
    section = {
        "kind": settings.open_set,
        "held_out_class": plan.config.split.held_out_class,
        "accept": rule.accept,
        "thresholds": dict(rule.thresholds),
        "validation": {"num_records": rule.num_records, "accepted": rule.accepted},
        "part": verdict.part,
        "num_known": len(verdict.data),
        "num_unknown": 0 if unknown is None else len(unknown),
        "confidence": settings.confidence,
        **judged,
    }
    return {"open_set": section}


def _embedded(learner: Any, data: Dataset) -> FloatArray:
    embeds: Embeds = learner
    return np.asarray(embeddings_of(embeds, data), np.float64)


def _groups(data: Dataset | None) -> Sequence[str] | None:
    return None if data is None else data.groups
