"""A recipe trained once a fold: divided as the section `cv` asks, on the groups a run's split would keep whole.

Each fold is an ordinary training. Its calibration and thresholds are fixed on records held out from its own training
part, so that nobody has seen its test records before they are scored. The calibrated scores of all folds are put
together into the out-of-fold prediction, in which every record was scored by a model that did not know it.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ringlight.config.schema import Config
from ringlight.data.folds_methods import Division, cross_validation_folds, derived_seed
from ringlight.errors import InterruptedRunError
from ringlight.runtime import LOGGER
from ringlight.training.fold_control import RESUME, FoldControl
from ringlight.training.fold_files import FoldResult, fold_folder, read_fold, write_fold
from ringlight.training.fold_training import train_fold
from ringlight.training.plan import Plan, Prepared, plan_on
from ringlight.training.splitting import grouped_as_configured
from ringlight.types import Dataset, RunControl, Split, Tracker

_TRAINING = 1
"""Keeps the seed of a fold's training apart from that of its held out records."""


def divided(prepared: Prepared) -> Division:
    """Divide prepared data into the folds of the section `cv`.

    Raises:
        SplitError: the records cannot be divided as asked, or a fold leaks.
    """
    config, cv = prepared.config, prepared.config.cv
    found = grouped_as_configured(config, prepared.inspection.dataset, prepared.cache)
    division = cross_validation_folds(
        found.dataset, method=cv.method, n_splits=cv.n_splits, repeats=cv.repeats, val_share=cv.val_share,
        seed=config.experiment.seed, keep_groups=found.whole, allow_leak=config.split.allow_leak, origin=found.origin,
    )  # fmt: skip
    return replace(division, notes=(*found.notes, *division.notes))


def grouped_folds(prepared: Prepared) -> tuple[Dataset, list[Split]]:
    """Return the records with their groups filled in, and a split (train, val, test) for each fold.

    The folds of the first repeat come first. `val` is held out from the fold's training records.

    Raises:
        SplitError: the records cannot be divided as asked, or a fold leaks.
    """
    division = divided(prepared)
    return division.dataset, list(division.splits)


def reference_plan(prepared: Prepared, division: Division) -> Plan:
    """Build the parts of the fold with the most training records, which makes the automatic choices for all.

    Raises:
        ConfigError: a choice that cannot be met.
    """
    largest = max(division.splits, key=lambda split: len(split.train))
    return plan_on(prepared, division.dataset, largest)


def with_choices(config: Config, resolved: Config) -> Config:
    """Return a configuration with the engine's choices of another written out, the same for every fold.

    Batch size, precision, layout and whatever else was timed or measured are the same in all folds, and again when the
    cross-validation is resumed. What is chosen from a fold's own training records (class weights, the method against
    imbalance) stays open.
    """
    tree, chosen = config.model_dump(), resolved.model_dump()
    for section in ("training", "data", "weights"):
        tree[section] = chosen[section]
    for section, key in (("model", "num_classes"), ("model", "pretrained"), ("split", "groups")):
        tree[section][key] = chosen[section][key]
    return Config.model_validate(tree)


def fold_plan(prepared: Prepared, division: Division, index: int) -> Plan:
    """Build the parts of one fold.

    It gets a seed of its own, unless its features come from a network that is not trained: all folds share that one's
    first weights, and so one pass over the data.
    """
    config = prepared.config
    if config.training.mode != "frozen":
        seed = derived_seed(config.experiment.seed, *division.place(index), _TRAINING)
        prepared = replace(prepared, config=config.replacing({"experiment.seed": seed}))
    return plan_on(prepared, division.dataset, division.splits[index])


def train_folds(
    prepared: Prepared, division: Division, run: Path, *, tracker: Tracker, control: RunControl,
    on_fold: Callable[[FoldResult], None] | None = None,
) -> list[FoldResult]:  # fmt: skip
    """Train every fold that is not finished yet; all of them lie in the folder `run` afterwards.

    Args:
        prepared: data and configuration, with the choices of :func:`with_choices`.
        division: the folds.
        run: folder of the cross-validation.
        tracker: is told the scores of each fold, the fold's number as the step.
        control: may stop it, also between two folds.
        on_fold: is told every fold as it is finished, those that were finished before included.

    Raises:
        InterruptedRunError: it was stopped; the finished folds are kept.
    """
    number = len(division.splits)
    asked = FoldControl(control, number)
    found: list[FoldResult] = []
    for index, split in enumerate(division.splits):
        folder = fold_folder(run, *division.place(index))
        result = read_fold(folder, division.dataset.take(split.test))
        if result is None:
            asked.before(index)
            try:
                result = train_fold(fold_plan(prepared, division, index), division.place(index), folder, asked)
            except InterruptedRunError as error:
                raise error.retold(
                    "a cross-validation to its end", got=f"{error.got}, fold {index + 1} of {number}",
                    where="cross-validation", fix=RESUME,
                ) from error  # fmt: skip
            write_fold(folder, result)
            shutil.rmtree(folder / "checkpoints", ignore_errors=True)  # the scores are what a fold is for
        scores = {f"fold/{name}": value for name, value in result.card["scores"].items() if "/" not in name}
        tracker.log_metrics(scores, index)
        found.append(result)
        LOGGER.info("%s", fold_line(result.card, number, index))
        if on_fold is not None:
            on_fold(result)
    return found


def fold_line(card: Mapping[str, Any], number: int, index: int) -> str:
    """Say in one line what a fold came to."""
    scores = card["scores"]
    told = "  ".join(f"{name} {scores[name]:.3f}" for name in ("macro_f1", "accuracy") if name in scores)
    sizes = f"{card['train']['num_records']} trained, {card['test']['num_records']} tested"
    return f"fold {index + 1} of {number}  {told}  ({sizes}, {card['seconds']:.1f} s)"
