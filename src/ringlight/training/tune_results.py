"""What a study leaves behind: its trials, its best configuration and its numbers as plain values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ringlight.config.load import vary
from ringlight.config.schema import Config
from ringlight.config.spaces import Space, label
from ringlight.config.studies import TuneConfig
from ringlight.evaluation.metrics import monitor_mode
from ringlight.models import MODELS
from ringlight.training.plan import part_problems
from ringlight.training.tune_trials import Direction, TrialRow, best_of

SCHEMA_VERSION = 1
"""The layout of `study.json`."""

FAMILIES = ("images", "frozen", "networks")
"""Shipped spaces that suit many models."""


def direction_of(metric: str) -> Direction:
    """Return which way a metric is better.

    Examples:
        >>> direction_of("macro_f1"), direction_of("loss")
        ('maximize', 'minimize')
    """
    return "maximize" if monitor_mode(metric) == "max" else "minimize"


def family_of(config: Config) -> str:
    """Return the shipped space that suits a configuration whose model has none of its own.

    Raises:
        ConfigError: there is no such model.
    """
    if getattr(MODELS.factory(config.model.name), "takes", "images") == "windows":
        return "networks"
    return "frozen" if config.training.mode == "frozen" else "images"


def best_configuration(config: Config, values: Mapping[str, Any]) -> Config:
    """Return the recipe of a trial: what was tried in its place, paths that mean the same wherever it is used, and
    nothing of the study.
    """
    found = vary(config, values, check_parts=part_problems)
    paths = {
        "data.root": found.data.root, "split.file": found.split.file, "weights.folder": found.weights.folder
    }  # fmt: skip
    placed = {key: str(Path(path).expanduser().absolute()) for key, path in paths.items() if path is not None}
    return found.replacing(placed).model_copy(update={"tune": TuneConfig()})


def study_values(
    config: Config, space: Space, rows: Sequence[TrialRow], *, name: str, status: str, num_trials: int,
    importances: Mapping[str, Mapping[str, float]], about: Mapping[str, Any],
) -> dict[str, Any]:  # fmt: skip
    """Return what `study.json` holds.

    Args:
        config: of the study.
        space: what is searched.
        rows: the trials.
        name: of the study.
        status: running, completed, interrupted, paused or cancelled.
        num_trials: how many trials the study has in all.
        importances: by method, of each key.
        about: what else is told: the data, the environment.
    """
    tune = config.tune
    direction = direction_of(tune.metric)
    best = best_of(rows, direction)
    states = Counter(row.state for row in rows)
    return {
        "schema_version": SCHEMA_VERSION,
        "name": name,
        "status": status,
        "recipe": config.recipe,
        "model": config.model.name,
        "seed": config.experiment.seed,
        "metric": tune.metric,
        "direction": direction,
        "objective": tune.objective,
        "method": tune.method,
        "pruner": tune.pruner,
        "num_epochs": config.training.num_epochs,
        "num_trials": num_trials,
        "states": {state: states.get(state, 0) for state in ("complete", "pruned", "failed", "running")},
        "epochs": sum(row.epochs for row in rows),
        "seconds": sum(row.seconds or 0.0 for row in rows),
        "space": {axis.key: axis.to_dict() for axis in space},
        "best": None if best is None else best.to_dict(),
        "importances": {method: dict(scores) for method, scores in importances.items()},
        "trials": [row.to_dict() for row in rows],
        **about,
    }


def trial_table(rows: Sequence[TrialRow], space: Space) -> list[dict[str, Any]]:
    """Return the trials as rows of `trials.csv`, a column for each key."""
    return [
        {
            "trial": row.number + 1, "state": row.state, "value": row.value, "epochs": row.epochs,
            "seconds": None if row.seconds is None else round(row.seconds, 3),
            **{axis.key: label(row.values[axis.key]) if axis.key in row.values else None for axis in space},
            "reason": row.reason,
        }
        for row in rows
    ]  # fmt: skip
