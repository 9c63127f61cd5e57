"""Other spellings of a key, and how a file of an older layout becomes one of today's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

ALIASES: Final[dict[str, str]] = {
    "loss.type": "loss.name",
    "model.type": "model.name",
    "optimizer.type": "optimizer.name",
    "scheduler.type": "scheduler.name",
    "data.type": "data.source",
    "data.data_dir": "data.root",
    "data.split_strategy": "split.strategy",
    "data.split_file": "split.file",
    "data.num_classes": "model.num_classes",
    "training.optimizer": "optimizer.name",
    "training.learning_rate": "optimizer.lr",
    "training.lr": "optimizer.lr",
    "training.weight_decay": "optimizer.weight_decay",
    "optimizer.learning_rate": "optimizer.lr",
    "optimizer.epsilon": "optimizer.eps",
    "optimizer.rho": "optimizer.alpha",
    "training.loss": "loss.name",
    "training.scheduler": "scheduler.name",
    "training.lr_schedule": "scheduler.name",
    "training.warmup_epochs": "scheduler.warmup_epochs",
    "training.epochs": "training.num_epochs",
    "training.patience": "training.early_stopping_patience",
    "training.batch_size": "data.batch_size",
    "training.image_size": "data.image_size",
    "training.num_workers": "data.num_workers",
    "training.tensorboard": "training.trackers",
    "training.seed": "experiment.seed",
    "training.random_state": "experiment.seed",
    "experiment.random_state": "experiment.seed",
    "experiment.device": "training.device",
}
"""Accepted spelling: the one key it means. They work on the command line and in files; no `config.yaml` holds one."""

Tree = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Migration:
    """How a file of one schema version becomes one of the next: what it does in words, and the function."""

    does: str
    apply: Callable[[Tree], Tree]


def _from_zero(tree: Tree) -> Tree:
    # The first system knew a single data set; a file of its layout that names no recipe means that one.
    return {"recipe": "severstal", **tree, "schema_version": 1}


MIGRATIONS: Final[dict[int, Migration]] = {
    0: Migration(
        "`train_config.yaml` of the first training system, which had no `schema_version`: its keys are the spellings "
        "listed above; without a `recipe` it is laid over `severstal`",
        _from_zero,
    ),
}
"""Schema version of a file: the step to the next version."""


def is_version_zero(tree: Tree) -> bool:
    """Tell whether a tree without `schema_version` has the first system's layout: it uses one of its spellings.

    Examples:
        >>> is_version_zero({"loss": {"type": "focal_loss"}})
        True
        >>> is_version_zero({"loss": {"name": "focal_loss"}})
        False
    """
    first = ("loss.type", "data.split_strategy", "training.learning_rate", "training.weight_decay")
    return any(
        isinstance(tree.get(section), dict) and key in tree[section]
        for section, _, key in (spelling.partition(".") for spelling in (*first, "training.warmup_epochs"))
    )


def canonical(key: str) -> str:
    """Return the key that a dotted key means; deeper levels follow along.

    Examples:
        >>> canonical("training.lr"), canonical("loss.type"), canonical("loss.gamma")
        ('optimizer.lr', 'loss.name', 'loss.gamma')
    """
    section, _, rest = key.partition(".")
    leaf, dot, deeper = rest.partition(".")
    return ALIASES.get(f"{section}.{leaf}", f"{section}.{leaf}") + dot + deeper if leaf else key


def resolve_aliases(tree: dict[str, Tree], where: str) -> tuple[dict[str, Tree], list[str]]:
    """Move every alias of a tree to the key it means.

    Args:
        tree: sections of plain values; not changed.
        where: the file the mistakes are reported about.

    Returns:
        The tree in canonical keys, and a line for each key that is given twice with different values.
    """
    result = {section: dict(values) for section, values in tree.items()}
    spelt: dict[str, str] = {}
    problems = []
    for alias, meant in ALIASES.items():
        section, _, key = alias.partition(".")
        if key not in result.get(section, {}):
            continue
        value = result[section].pop(key)
        to_section, _, to_key = meant.partition(".")
        target = result.setdefault(to_section, {})
        if to_key in target and target[to_key] != value:
            problems.append(twice(where, meant, (alias, value), (spelt.get(meant, meant), target[to_key])))
            continue
        target[to_key] = value
        spelt.setdefault(meant, alias)
    return result, problems


def twice(where: str, meant: str, one: tuple[str, object], other: tuple[str, object]) -> str:
    """Say that a key is given in two spellings with different values."""
    return (
        f"{where}: expected one value of {meant}, got {one[0]}={one[1]!r} and {other[0]}={other[1]!r}; "
        f"keep one of the two, best as `{meant}`"
    )
