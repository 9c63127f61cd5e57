"""A prediction as truth and decisions of each class, checked: what intervals and comparisons are computed from.

Shapes: N records, K classes.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ringlight.evaluation.inputs import BoolArray, FloatArray, checked_decisions, checked_inputs
from ringlight.evaluation.units import Units, find_units
from ringlight.types import Task


@dataclass(frozen=True, slots=True)
class Decided:
    """Truth, decisions and probabilities (N, K) with the unit of each record."""

    classes: tuple[str, ...]
    task: Task
    actual: BoolArray
    chosen: BoolArray
    probabilities: FloatArray
    units: Units


def decided(
    targets: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    classes: Sequence[str],
    task: Task,
    *,
    threshold: float | Sequence[float] = 0.5,
    decisions: npt.ArrayLike | None = None,
    groups: Sequence[Hashable] | npt.NDArray[np.generic] | None = None,
) -> Decided:
    """Check a prediction and decide: by `decisions` where given, else the best class or the thresholds.

    Raises:
        DataError: arrays that do not fit each other or hold impossible values.
    """
    names = tuple(classes)
    truth, scores, thresholds = checked_inputs(targets, probabilities, names, task, threshold)
    one_hot = np.eye(len(names), dtype=bool)
    actual = one_hot[truth] if task == "multiclass" else truth.astype(bool)
    if decisions is not None:
        chosen = checked_decisions(decisions, scores.shape, task)
    else:
        chosen = one_hot[scores.argmax(axis=1)] if task == "multiclass" else scores >= thresholds
    return Decided(names, task, actual, chosen, scores.astype(np.float64), find_units(groups, len(scores)))
