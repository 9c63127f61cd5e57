"""Names of scores as Ringlight and as scikit-learn write them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ringlight.errors import ConfigError, did_you_mean
from ringlight.evaluation.metric_names import CLASS_METRICS, METRIC_NAMES, monitor_mode
from ringlight.types import Task

THEIRS = {
    **{f"{rate}_{mean}": f"{mean}_{rate}" for rate in ("precision", "recall", "f1")
       for mean in ("macro", "micro", "weighted", "samples")},
    "roc_auc": "auroc", "roc_auc_ovr": "auroc", "average_precision": "ap", "matthews_corrcoef": "mcc",
    "top_k_accuracy": "top_2", "neg_log_loss": "log_loss",
}  # fmt: skip
"""What scikit-learn calls a score, and what Ringlight does; both compute the same."""

OF_ONE_CLASS = ("precision", "recall", "f1")
"""Scikit-learn's scores of the second of two classes."""

FROM_PROBABILITIES = frozenset({"log_loss", "brier", "ece", "ece_mass"})
"""Scores that need probabilities: a decision function is none."""

FROM_SCORES = FROM_PROBABILITIES | {"auroc", "ap", "top_2", "top_3", "top_5"}
"""Scores that need more than a decision for each record."""


@dataclass(frozen=True, slots=True)
class Scoring:
    """A score as it was asked for: Ringlight's `metric`, times `sign`."""

    name: str
    metric: str
    sign: int = 1

    @property
    def needs_scores(self) -> bool:
        """Whether decisions alone do not give it."""
        return self.metric.partition("/")[0] in FROM_SCORES

    @property
    def needs_probabilities(self) -> bool:
        """Whether scores without a unit do not give it."""
        return self.metric.partition("/")[0] in FROM_PROBABILITIES


def scoring_of(name: str, classes: Sequence[str], task: Task) -> Scoring:
    """Return what a name asks for.

    Args:
        name: one of :data:`METRIC_NAMES`, a rate of a class (`recall/leak`), or scikit-learn's name.
        classes: of the data.
        task: of the data.

    Raises:
        ConfigError: there is no such score here.

    Examples:
        >>> scoring_of("f1_weighted", ["ok", "leak"], "multiclass").metric
        'weighted_f1'
        >>> scoring_of("recall", ["ok", "leak"], "multiclass").metric
        'recall/leak'
    """
    metric = THEIRS.get(name, name)
    if name in OF_ONE_CLASS:
        if len(classes) != 2 or task != "multiclass":
            raise ConfigError(
                "a score of several classes", got=f"`{name}`, that of the second of two classes", where="scoring",
                fix=f"use {name}_macro, or {name}/CLASS",
            )  # fmt: skip
        metric = f"{name}/{classes[1]}"
    try:
        monitor_mode(metric, classes, task)
    except ConfigError as error:
        known = [*METRIC_NAMES, *THEIRS, *(f"{rate}/{label}" for rate in CLASS_METRICS for label in classes)]
        raise ConfigError(
            "a score", got=f"`{name}`", where="scoring",
            fix=did_you_mean(name, known) if metric not in METRIC_NAMES else "it is not defined for these classes",
        ) from error  # fmt: skip
    if metric == "loss":
        raise ConfigError("a score", got="`loss`", where="scoring", fix="use log_loss")
    return Scoring(name, metric, -1 if name.startswith("neg_") else 1)
