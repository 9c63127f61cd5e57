"""Cross-validate whatever can be trained: a recipe, a network, a learner, an estimator."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ringlight.config.schema import Config
from ringlight.data.folds_methods import Division, Keys, cross_validation_folds
from ringlight.errors import ConfigError, DataError, ModelError, SplitError, UserError
from ringlight.evaluation.scoring import scoring_of
from ringlight.models.adapters import tried
from ringlight.runtime import seed_everything
from ringlight.services import crossval
from ringlight.services.crossval_data import Arrays
from ringlight.services.runs import configure
from ringlight.training.arrays import OnVectors, labels_of
from ringlight.training.fold_estimators import (
    cross_validate_with,
    estimator_scorer,
    headed,
    learner_scorer,
)
from ringlight.training.fold_results import CrossValidation
from ringlight.training.imbalance import plain
from ringlight.types import Dataset, Learner, RunControl

KEYS = Keys(
    "cv_method", "n_splits", "repeats", "val_share", "allow_leak=True", "pass groups=", "pass time="
)  # fmt: skip
"""What the settings are called in a call."""
CONFIDENCE = 0.95
BASE = "windows"
"""The recipe whose settings a network of one's own is trained with, beside `overrides`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Folding:
    """How to divide; None leaves it to the recipe, or to its default."""

    method: str | None = None
    n_splits: int | None = None
    repeats: int | None = None
    val_share: float | None = None
    seed: int | None = None
    allow_leak: bool | None = None

    def keys(self) -> dict[str, Any]:
        """Return what is set as configuration keys."""
        values = {
            "cv.method": self.method, "cv.n_splits": self.n_splits, "cv.repeats": self.repeats,
            "cv.val_share": self.val_share, "experiment.seed": self.seed, "split.allow_leak": self.allow_leak,
        }  # fmt: skip
        return {key: value for key, value in values.items() if value is not None}

    def divide(self, data: Dataset, *, val_share: float) -> Division:
        """Divide records that no configuration describes.

        Raises:
            ConfigError: a number of folds, of repeats or a seed that is no whole number.
            SplitError: they cannot be divided as asked, or a fold leaks.
        """
        for name, number in (("n_splits", self.n_splits), ("repeats", self.repeats), ("seed", self.seed)):
            if number is not None and not (isinstance(number, int | np.integer) and 0 <= number < 2**32):
                raise ConfigError("a whole number, 0 or more", got=repr(number), where=name, fix="correct the value")
        return cross_validation_folds(
            data, method=self.method or "auto", n_splits=5 if self.n_splits is None else self.n_splits,
            repeats=1 if self.repeats is None else self.repeats,
            val_share=val_share if self.val_share is None else self.val_share,
            seed=42 if self.seed is None else self.seed, allow_leak=bool(self.allow_leak), keys=KEYS,
        )  # fmt: skip


def cross_validate_any(
    model: Any, data: Dataset | Arrays | None, folding: Folding, *, scoring: str, overrides: Sequence[str] = (),
    workspace: Path | str | None = None, control: RunControl | None = None,
) -> CrossValidation:  # fmt: skip
    """Cross-validate a recipe, a configuration, a factory or an estimator; see :func:`ringlight.cross_validate`.

    Raises:
        UserError: a model that cannot be trained a fold at a time, or data that is missing.
    """
    if isinstance(model, str | Config):
        return _configured(model, data, folding, scoring, overrides, workspace, control, None)
    if isinstance(model, nn.Module):
        raise ModelError(
            "a function that builds a new model for each fold", got="a model", where="cross_validate",
            fix="pass lambda: MyModel()",
        )  # fmt: skip
    made = model
    if not hasattr(model, "fit") or isinstance(model, type):
        if not callable(model):
            raise _unknown(model)
        made = model()
    if isinstance(made, nn.Module):
        return _configured(None, data, folding, scoring, overrides, workspace, control, model)
    if overrides:
        raise UserError(
            "overrides for a recipe or a network", got="some for another model", where="overrides", fix="leave them out"
        )
    if isinstance(made, Learner):
        if made is model:
            raise ModelError(
                "a function that builds a new Learner for each fold", got="a Learner", where="cross_validate",
                fix="pass lambda: MyLearner()",
            )  # fmt: skip
        if not isinstance(data, Dataset):
            raise DataError(
                "a Dataset as X for a Learner", got="arrays" if data else "none", where="cross_validate",
                fix="pass the records a source loads",
            )  # fmt: skip
        division = folding.divide(data, val_share=0.15)
        return cross_validate_with(
            learner_scorer(model, data), division, scoring_of(scoring, data.classes, data.task), confidence=CONFIDENCE
        )
    if not hasattr(made, "fit") or not hasattr(made, "predict"):
        raise _unknown(made)
    return _estimated(made, data, folding, scoring)


def _unknown(model: object) -> ModelError:
    return ModelError(
        "a recipe, a function that builds a network or a Learner, or an estimator with fit and predict",
        got=f"{type(model).__name__}", where="cross_validate", fix="see docs/how-to/cross-validation.md",
    )  # fmt: skip


def _estimated(estimator: Any, data: Dataset | Arrays | None, folding: Folding, scoring: str) -> CrossValidation:
    if not isinstance(data, Arrays):
        raise DataError(
            "X and y for an estimator", got="none" if data is None else "a Dataset", where="cross_validate",
            fix="pass arrays with one row a record",
        )  # fmt: skip
    records = data.records()
    _needs_time(data, folding)
    if folding.val_share:
        raise ConfigError(
            "0 for an estimator, which stops, calibrates and decides by itself", got=f"{folding.val_share:g}",
            where="val_share", fix="leave it out: it is fitted to all training records of a fold",
        )  # fmt: skip
    if len(records.classes) < 2:
        raise DataError(
            "two classes or more", got=f"only `{records.classes[0]}`", where="y", fix="add examples of another class"
        )
    asked = scoring_of(scoring, records.classes, records.task)
    given = np.asarray(data.y)
    # Whole numbers with a sign: some estimators turn the zeros of a binary matrix into -1.
    y = given if given.ndim == 1 else np.asarray(records.targets(), np.int64)
    scorer = estimator_scorer(estimator, data.X, y, records)
    return cross_validate_with(scorer, folding.divide(records, val_share=0.0), asked, confidence=CONFIDENCE)


def _needs_time(data: Arrays, folding: Folding) -> None:
    if folding.method == "time_series" and data.time is None:
        raise SplitError(
            "a time for every row", got="none: the order of rows is not taken for one", where="cv_method=time_series",
            fix="pass time=",
        )  # fmt: skip


def _configured(
    model: str | Config | None, data: Dataset | Arrays | None, folding: Folding, scoring: str,
    overrides: Sequence[str], workspace: Path | str | None, control: RunControl | None,
    factory: Callable[[], nn.Module] | None,
) -> CrossValidation:  # fmt: skip
    """Cross-validate on the engine: the call goes before the recipe, `overrides` before both."""
    if factory is not None and data is None:
        raise DataError("X and y for a network", got="none", where="cross_validate", fix="pass arrays")
    values = [f"{key}={_written(value)}" for key, value in folding.keys().items()]
    if isinstance(model, Config):
        config = model.replacing(_alone(folding.keys(), overrides))
    else:
        config = configure(model or BASE, [*values, *overrides])
        if isinstance(data, Arrays) and not any(one.startswith("loss") for one in overrides):
            config = plain(config, labels_of(data.y, len(data.X), None)[2])
    if isinstance(data, Arrays) and np.ndim(data.X) == 2:
        config = config.replacing({"split.leak_probe": False})  # it looks at windows, and vectors have no course
    make = None if factory is None else _seeded(factory, data, config.experiment.seed)
    source = None
    if isinstance(data, Arrays):
        _needs_time(data, folding)
        source = data.windows
    elif data is not None:
        records = data

        def source(cache: Path) -> Dataset:  # noqa: ARG001 - the records are there
            return records

    def known(records: Dataset) -> None:
        scoring_of(scoring, records.classes, records.task)
        if make is not None and records.signals is not None:
            shape = (2, len(records.signals.channels), records.signals.length)
            tried(make(), torch.zeros(shape), len(records.classes))

    found = crossval.cross_validate_config(
        config, dataset=source, make_module=make, check=known, workspace=workspace, control=control
    )
    classes, task = tuple(found.results["dataset"]["classes"]), found.results["dataset"]["task"]
    pooled = _flat(found.results["test"])
    return headed(found, scoring_of(scoring, classes, task), pooled)


def _flat(test: Mapping[str, Any]) -> dict[str, float]:
    flat = {name: value for name, value in test["scalars"].items() if value is not None}
    for label, row in test["per_class"].items():
        flat |= {f"{name}/{label}": value for name, value in row.items() if value is not None}
    return flat


def _written(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _alone(values: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    if overrides:
        raise UserError(
            "overrides for a recipe's name", got="a Config and overrides", where="overrides",
            fix="change the Config with config.replacing({...})",
        )  # fmt: skip
    return dict(values)


def _seeded(
    factory: Callable[[], nn.Module], data: Dataset | Arrays | None, seed: int
) -> Callable[[], nn.Module]:  # fmt: skip
    """Return the factory with its random numbers from the seed; a model of vectors behind the interface of windows."""
    flat = isinstance(data, Arrays) and np.ndim(data.X) == 2

    def make() -> nn.Module:
        seed_everything(seed)
        made = factory()
        return OnVectors(made) if flat else made

    return make
