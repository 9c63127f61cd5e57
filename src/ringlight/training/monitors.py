"""The validation metrics that a training follows: which it computes, and which way each is better."""

from __future__ import annotations

from collections.abc import Mapping

from ringlight.config.schema import Config
from ringlight.errors import ConfigError, Problems
from ringlight.evaluation.custom_metrics import Metric, MetricFunction, as_metrics, named_metrics
from ringlight.evaluation.metrics import METRIC_NAMES, monitor_mode
from ringlight.types import Task


def further_metrics(
    config: Config, given: Mapping[str, MetricFunction | Metric], task: Task | None = None
) -> dict[str, Metric]:
    """Return the metrics to compute beside those of every run: the configured ones and a Python caller's.

    Raises:
        ConfigError: an unknown name, or a caller's name that is taken.
    """
    named = named_metrics(config.training.metrics, METRIC_NAMES, task)
    return {**named, **as_metrics(given, ("loss", *METRIC_NAMES, *named))}


def monitors(config: Config) -> dict[str, str]:
    """Return the metrics that are followed, by the key that names them."""
    own = config.scheduler.params().get("monitor")
    asked = {
        "training.monitor": config.training.monitor,
        "training.early_stopping_monitor": config.training.early_stopping_monitor,
        "scheduler.monitor": own if isinstance(own, str) else None,
    }
    return {key: name for key, name in asked.items() if name is not None}


def check_monitors(config: Config, classes: tuple[str, ...], task: Task, *, validates: bool = True) -> None:
    """Refuse metrics that are unknown, or that these classes do not have; without validation only unknown ones.

    Raises:
        ConfigError: one that cannot be computed.
        Problems: several.
    """
    faults: list[ConfigError] = []
    try:
        metrics = further_metrics(config, {}, task)
    except ConfigError as error:
        faults.append(error)
        metrics = {}
    for key, name in monitors(config).items() if validates and not faults else ():
        try:
            monitor_mode(name, classes, task, where=key, metrics=metrics)
        except ConfigError as error:
            faults.append(error)
    if len(faults) == 1:
        raise faults[0]
    if faults:
        raise Problems([str(fault) for fault in faults])
