"""The metrics by name: which there are, which way is better, which need more classes than there are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from ringlight.errors import ConfigError, did_you_mean
from ringlight.evaluation.custom_metrics import METRICS, Metric
from ringlight.types import Task

TOP_K = (2, 3, 5)
"""How many classes may be named in the top-k accuracies."""

METRIC_NAMES = (
    "accuracy", "balanced_accuracy", "subset_accuracy", "hamming_loss",
    "macro_precision", "macro_recall", "macro_f1",
    "micro_precision", "micro_recall", "micro_f1",
    "weighted_precision", "weighted_recall", "weighted_f1",
    "samples_precision", "samples_recall", "samples_f1",
    "cohen_kappa", "weighted_kappa", "mcc",
    *(f"top_{k}" for k in TOP_K),
    "auroc", "ap", "log_loss", "brier", "ece", "ece_mass",
)  # fmt: skip
"""The scalars of :class:`ringlight.evaluation.metrics.Metrics`, in order."""

CLASS_METRICS = (
    "precision", "recall", "f1", "specificity", "mcc",
    "support", "support_groups", "predicted",
    "auroc", "ap", "brier", "ece",
)  # fmt: skip
"""What is measured for each class; `support` counts its examples, `support_groups` the groups these come from,
`predicted` the records given to it."""

LOWER_IS_BETTER = frozenset({"loss", "hamming_loss", "log_loss", "brier", "ece", "ece_mass"})
"""The metrics that a better model has less of."""

ONLY_MULTILABEL = frozenset({"samples_precision", "samples_recall", "samples_f1"})
"""Undefined in multi-class data, where they would all be the accuracy."""

ONLY_MULTICLASS = frozenset({"weighted_kappa", *(f"top_{k}" for k in TOP_K)})
"""Undefined in multi-label data."""

_COUNTS = frozenset({"support", "support_groups", "predicted"})
_RATES = tuple(name for name in CLASS_METRICS if name not in _COUNTS)


def monitor_mode(
    name: str,
    classes: Sequence[str] | None = None,
    task: Task | None = None,
    *,
    where: str = "training.monitor",
    metrics: Mapping[str, Metric] | None = None,
) -> Literal["min", "max"]:
    """Return whether a monitored metric is better when lower or when higher.

    Args:
        name: `loss`, one of :data:`METRIC_NAMES`, a rate of a class such as `recall/defect_1`, or one of `metrics`.
        classes: when given, the class of such a rate has to be one of them, and top-k needs more than k of them.
        task: when given, the metric has to be defined for it.
        where: the key an error names.
        metrics: what is computed beside the metrics of every run; None knows the whole catalogue.

    Raises:
        ConfigError: there is no such metric here; the message suggests the nearest.

    Examples:
        >>> monitor_mode("loss"), monitor_mode("macro_f1"), monitor_mode("brier/scratch"), monitor_mode("g_mean")
        ('min', 'max', 'min', 'max')
    """
    further = METRICS if metrics is None else metrics
    if name in further:
        return "max" if further[name].higher_is_better else "min"
    rate, slash, label = name.partition("/")
    names = ["loss", *(metric for metric in METRIC_NAMES if _defined(metric, classes, task))]
    rates = tuple(metric for metric in _RATES)
    per_class = slash and rate in rates and (label in classes if classes is not None else label)
    if name in names or per_class:
        return "min" if rate in LOWER_IS_BETTER else "max"
    if name in METRICS:
        raise ConfigError(
            "a validation metric that is computed", got=f"`{name}`", where=where, fix="add it to training.metrics"
        )
    known = [*names, *(metrics or ()), *(f"{key}/{label}" for key in rates for label in classes or ["CLASS"])]
    raise ConfigError("a validation metric", got=f"`{name}`", where=where, fix=did_you_mean(name, known))


def _defined(metric: str, classes: Sequence[str] | None, task: Task | None) -> bool:
    if (task == "multiclass" and metric in ONLY_MULTILABEL) or (task == "multilabel" and metric in ONLY_MULTICLASS):
        return False
    k = next((k for k in TOP_K if metric == f"top_{k}"), 0)
    return classes is None or not k or len(classes) > k
