"""Judging again with rules that are fixed: records made to fit a saved model, members of an ensemble put together."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ringlight.config.schema import EvaluationConfig
from ringlight.data.faults import first_of
from ringlight.errors import DataError, RunError
from ringlight.evaluation.metrics import classification_metrics
from ringlight.inference.tta import Space, mean_scores
from ringlight.training.judge import HEADLINE, gain_of, scored
from ringlight.training.rules import Rules, truth_of
from ringlight.types import Dataset, Learner, Prediction, Task


def conform(data: Dataset, classes: Sequence[str], task: Task, *, where: str) -> Dataset:
    """Return the records with their labels numbered as the model knows them.

    Args:
        data: labelled records; classes that no record carries are dropped.
        classes: of the model, in its order.
        task: of the model.
        where: what to name in an error.

    Raises:
        DataError: another task, or a label that the model never saw in training.
    """
    if not data.classes:
        raise DataError(
            "labelled records", got="none with a label", where=where,
            fix="name what holds the labels (of an .npz file: data.label_key), or score them with ringlight predict",
        )  # fmt: skip
    if data.task != task:
        raise DataError(
            f"{task} records, as the model was trained on", got=data.task, where=where, fix=f"set data.task={task}"
        )
    counts = data.class_counts()
    unseen = [name for name in data.classes if counts[name] and name not in classes]
    if unseen:
        raise DataError(
            f"labels the model was trained on ({', '.join(classes)})",
            got=f"labels unseen in training: {first_of([f'{name} on {counts[name]} records' for name in unseen])}",
            where=where,
            fix="rename them, leave those records out, or train a model that knows them",
        )
    number = {old: list(classes).index(name) for old, name in enumerate(data.classes) if name in classes}
    labels = [sorted(number[label] for label in row) for row in data.table.column("labels").to_pylist()]
    boxes = [
        row and [{**box, "label": number[box["label"]]} for box in row if box["label"] in number]
        for row in data.table.column("boxes").to_pylist()
    ]
    return replace(data.with_column("labels", labels).with_column("boxes", boxes), classes=tuple(classes))


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One model of an ensemble: its name, the trained model, and the rules it was saved with."""

    name: str
    learner: Learner
    rules: Rules


@dataclass(frozen=True, slots=True)
class Joined:
    """An ensemble's raw scores and what `results.json` tells of it: members, gain and cost."""

    prediction: Prediction
    card: dict[str, Any]


def join(members: Sequence[Member], data: Dataset, settings: EvaluationConfig, *, space: Space, seed: int) -> Joined:
    """Average the calibrated scores of several models.

    The gain is told against the member that is best on these very records: the strictest comparison there is. The cost
    is the time of all members over the time of that one.

    Raises:
        RunError: fewer than two members, or members that do not know the same classes.
    """
    check_members(members)
    classes = members[0].rules.classes
    data = data_for(members[0], data)
    scores, seconds = [], []
    for member in members:
        started = time.perf_counter()
        found = member.rules.calibrated(scored(member.learner, data_for(member, data), member.rules.tta))
        seconds.append(time.perf_counter() - started)
        scores.append(found.logits[:, [member.rules.classes.index(name) for name in classes]])
    each = [Prediction(data.ids, logits, classes, data.task, data.targets()) for logits in scores]
    mean = Prediction(data.ids, mean_scores(np.stack(scores), data.task, space), classes, data.task, data.targets())
    singles = [_headline(one) for one in each]
    best = int(np.argmax(singles))
    card = {
        "members": [{"name": one.name, HEADLINE: value} for one, value in zip(members, singles, strict=True)],
        "space": space,
        "against": members[best].name,
        "gain": gain_of(each[best], mean, data, settings, seed),
        "cost": sum(seconds) / seconds[best],
    }
    return Joined(mean, card)


def data_for(member: Member, data: Dataset) -> Dataset:
    """Return the records with labels as this member numbers them; the images are the same."""
    return conform(data, member.rules.classes, data.task, where=member.name)


def check_members(members: Sequence[Member]) -> None:
    """Check that models can be averaged.

    Raises:
        RunError: fewer than two, or another task or other classes than the first.
    """
    if len(members) < 2:
        raise RunError("two runs or more", got=str(len(members)), where="--ensemble", fix="name the members: A B C")
    first = members[0]
    for other in members[1:]:
        if other.rules.task != first.rules.task or set(other.rules.classes) != set(first.rules.classes):
            raise RunError(
                f"the classes of {first.name} ({first.rules.task}: {', '.join(first.rules.classes)})",
                got=f"{other.rules.task}: {', '.join(other.rules.classes)}",
                where=other.name,
                fix="only runs with the same classes can be averaged",
            )


def overlap(data: Dataset, trained_on: Mapping[str, str]) -> list[str]:
    """Name the records whose files, byte for byte, the model was trained or tuned on.

    Args:
        data: the records, with their content digests.
        trained_on: id by the beginning of the content digest, of the training and validation parts.
    """
    if not trained_on:
        return []
    length = len(next(iter(trained_on)))
    pairs = zip(data.ids, data.table.column("content").to_pylist(), strict=True)
    return [key for key, content in pairs if content is not None and content[:length] in trained_on]


def _headline(prediction: Prediction) -> float:
    metrics = classification_metrics(
        truth_of(prediction), prediction.probabilities, prediction.classes, prediction.task
    )  # fmt: skip
    return float(metrics.scalars[HEADLINE] or 0.0)
