"""What a watch will compare the line with, taken from the validation part at the end of a training.

The same functions measure here and on the line (:mod:`ringlight.inference.watch_reference`). Validation records had a
say in when the training stopped and where the limits lie, so that a model is a little surer of them than of new ones;
the tolerance of the watch's limits is wider than that.

Shapes: N records, C channels, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from ringlight.data.input_statistics import input_statistics
from ringlight.data.window_spec import WindowSpec
from ringlight.inference.bundle import Bundle
from ringlight.inference.decisions import Decider
from ringlight.inference.watch_reference import FEWEST, Measured, WatchReference, measure, outcomes
from ringlight.runtime import LOGGER
from ringlight.training.embedding import Embeds, embeddings_of
from ringlight.training.rules import truth_matrix
from ringlight.types import Dataset, Prediction

if TYPE_CHECKING:
    from ringlight.training.feeding import Feeder

MOST_INPUTS = 2000
"""Records whose inputs are looked at again; more would make a long pass and hardly narrower limits."""


class Fed(Protocol):
    """A learner whose records come through a feeder."""

    feeder: Feeder


def with_watch(bundle: Bundle, learner: Any, data: Dataset, validation: Prediction | None) -> Bundle:
    """Return the bundle with the reference of its validation part; as it is where that is missing or too small.

    Args:
        bundle: complete but for the reference: its rules decide.
        learner: the trained model.
        data: the validation records.
        validation: their raw scores, in the views the bundle serves in.
    """
    if validation is None or len(data) < FEWEST:
        LOGGER.info("no reference for a watch: fewer than %d validation records", FEWEST)
        return bundle
    decider = Decider(bundle)
    features = None
    if decider.needs_features:
        embeds: Embeds = learner
        features = embeddings_of(embeds, data)
    result = decider.decide(data.ids, validation.logits, features)
    decided = measure(result)
    if validation.targets is not None:
        decided |= outcomes(
            result.decisions, truth_matrix(validation), np.zeros(len(data), bool), result.rejected,
            classes=bundle.classes, task=bundle.task, good_class=bundle.good_class,
        )  # fmt: skip
    rows = np.arange(len(data))
    if len(data) > MOST_INPUTS:
        rows = np.sort(np.random.default_rng(0).permutation(len(data))[:MOST_INPUTS])
    part = data if len(rows) == len(data) else data.take(rows)
    channels = bundle.input_spec.channels if isinstance(bundle.input_spec, WindowSpec) else None
    found = WatchReference.of([(decided, data.groups), (_inputs(learner, part, channels), part.groups)])
    return bundle if found is None else replace(bundle, watch=found.to_dict())


def _inputs(learner: Fed, data: Dataset, channels: Sequence[str] | None) -> Measured:
    """Return the statistics of the inputs, batch by batch, so that memory stays flat."""
    parts: list[dict[str, npt.NDArray[np.float64]]] = [
        input_statistics(batch["input"].numpy(), channels) for batch in learner.feeder.loader(data)
    ]
    return {f"input/{name}": np.concatenate([part[name] for part in parts]) for name in parts[0]}
