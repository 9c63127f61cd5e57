"""What an epoch shows, from the configuration: the sampler, the copies of a class, and what a loss is told.

Shapes: N records, K classes.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ringlight.config.schema import Config
from ringlight.data.augment_base import SectionAugmenter
from ringlight.data.sampling import SAMPLERS, ClassSampler, EpochSampler, class_counts_of, sampler_problems
from ringlight.errors import Problems
from ringlight.training.rules import good_class
from ringlight.types import Dataset, Task

if TYPE_CHECKING:
    from torch import nn


def sampler_of(config: Config, train: Dataset, augmenter: SectionAugmenter | None) -> EpochSampler:
    """Build the configured sampler over the training records.

    Raises:
        Problems: it cannot keep its promise on these records, a line each.
    """
    batch_size = int(config.data.batch_size)
    labels = train.targets()
    num_clean = int((~train.label_matrix().any(axis=1)).sum()) if train.task == "multilabel" else 0
    lines = sampler_problems(
        config.sampler.name, train.classes, list(train.class_counts().values()), batch_size, num_clean=num_clean
    )
    if lines:
        raise Problems(lines)
    return SAMPLERS.build(
        config.sampler.name,
        labels=labels,
        task=train.task,
        seed=config.experiment.seed,
        batch_size=batch_size,
        factors=None if augmenter is None or not augmenter.class_factors else augmenter.factors(train),
        num_epochs=config.training.num_epochs,
        num_replicas=1,
        rank=0,
        **config.sampler.params(),
    )


@dataclass(frozen=True, slots=True)
class Seen:
    """What the first epoch shows: how many records of each class, and how many in all.

    A loss that weighs classes is told this and not the bare counts: a class that is drawn 20 times as often must not
    be weighted 20 times as well. `classes` are their names, for losses whose parameters name some.
    """

    class_counts: tuple[int, ...]
    num_records: int
    classes: tuple[str, ...] = field(default=(), compare=False)


def seen_by(sampler: EpochSampler, train: Dataset) -> Seen:
    """Count what epoch 0 shows."""
    counts = class_counts_of(sampler, train.targets(), len(train.classes))
    return Seen(tuple(counts), len(sampler.rows(0)), train.classes)


def record_weights(
    sampler: EpochSampler, num_rows: int, num_epochs: int, *, labels: npt.ArrayLike | None = None
) -> npt.NDArray[np.float64] | None:
    """Return how often each record (N,) is seen in an epoch, None where all are seen equally often.

    For a fit that takes all records at once instead of drawing them: the mean over the ten epochs that would follow the
    run, by which a progressive sampler has arrived. With the `labels`, (N,) or (N, K), it is also the mean over records
    of the same labels and factor, which a sampler does not tell apart: without them the luck of the draw remains, and
    one record counts several times as much as its neighbour.
    """
    if not (isinstance(sampler, ClassSampler) and sampler.draws):
        return None
    epochs = range(num_epochs, num_epochs + 10)
    times = sum(np.bincount(sampler.rows(epoch), minlength=num_rows).astype(np.float64) for epoch in epochs)
    weights = np.asarray(times / len(epochs))
    if labels is None:
        return weights
    _, alike = np.unique(np.column_stack([np.asarray(labels), sampler.factors]), axis=0, return_inverse=True)
    return np.asarray((np.bincount(alike, weights) / np.bincount(alike))[alike])


def shown(sampler: EpochSampler, train: Dataset, config: Config) -> npt.NDArray[np.float64] | None:
    """Return how often an epoch shows each record (N,), its copies included; None where all are shown equally often.

    For a fit to the records without their copies, which :func:`record_weights` leaves to copies of their own.
    """
    weights = record_weights(sampler, len(train), config.training.num_epochs, labels=train.targets())
    if weights is None and isinstance(sampler, ClassSampler) and sampler.factors.max() > 1:
        weights = sampler.factors.astype(np.float64)
    return weights


def last_criterion(config: Config, task: Task, seen: Seen, **changed: Any) -> nn.Module:
    """Build the configured loss as it is at the end of a run: for a fit that takes all records at once."""
    criterion = criterion_of(config, task, seen, **changed)
    set_progress = getattr(criterion, "set_progress", None)
    if set_progress is not None:
        set_progress(config.training.num_epochs - 1, config.training.num_epochs)
    return criterion


def criterion_of(
    config: Config, task: Task, seen: Seen, classes: tuple[str, ...] | None = None, **changed: Any
) -> nn.Module:
    """Build the configured loss; `classes` are by default those seen, `changed` replaces parameters of its own."""
    from ringlight.losses import LOSSES

    names = seen.classes if classes is None else classes
    supplied: dict[str, Any] = {
        "num_classes": len(seen.class_counts),
        "task": task,
        "class_counts": list(seen.class_counts),
        "num_records": seen.num_records,
        "classes": names,
        "good_class": good_class(config.evaluation, names, task) if names else None,
    }
    # Few losses ask for names, and one of another package may know nothing of the number of records.
    taken = inspect.signature(LOSSES.factory(config.loss.name)).parameters
    supplied = {key: value for key, value in supplied.items() if key in taken}
    loss: nn.Module = LOSSES.build(config.loss.name, **supplied, **{**config.loss.params(), **changed})
    return loss
