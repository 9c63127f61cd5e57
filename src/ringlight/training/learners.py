"""Which learner a plan asks for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ringlight.models.ensemble import EnsembleModel
from ringlight.training.ensembles import EnsembleLearner
from ringlight.training.estimators import EstimatorLearner
from ringlight.training.frozen import FrozenLearner
from ringlight.training.learner import DeepLearner
from ringlight.training.phases import PhasesLearner
from ringlight.training.plan import Plan
from ringlight.types import History, Prediction


def learner_of(plan: Plan, folder: Path, on_epoch: Callable[[History, Prediction | None], None]) -> DeepLearner:
    """Return the learner of a plan.

    Args:
        plan: the checked parts.
        folder: of its checkpoints.
        on_epoch: called after every epoch with the history and the scores of the validation part.
    """
    kind = FrozenLearner if plan.config.training.mode == "frozen" else DeepLearner
    if hasattr(plan.module, "fit_features"):
        kind = EstimatorLearner
    if isinstance(plan.module, EnsembleModel):
        kind = EnsembleLearner
    if plan.config.phases.order:
        kind = PhasesLearner
    return kind.from_plan(plan, folder, on_epoch)
