"""Cross-validation and tuning on arrays, by the seed's names, over the same code as `ringlight crossval` and `tune`.

Estimators are given windows (N, T, C) as their features, standardised in each fold by its training windows, and vectors
(N, D) as they are.
"""

# ruff: noqa: N803 - X is what scikit-learn, and the whole field, calls the records
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from ringlight.data.folds_methods import cross_validation_folds
from ringlight.errors import ConfigError, DataError
from ringlight.models.adapters import PROBED, adapt
from ringlight.services.crossval_any import KEYS, Folding, cross_validate_any
from ringlight.services.crossval_data import data_of
from ringlight.trainers.arrays import windows_of
from ringlight.trainers.builders import model_of
from ringlight.training.arrays import labels_of
from ringlight.training.fold_results import CrossValidation
from ringlight.training.tune_estimators import search
from ringlight.training.tune_trials import Method

Ints = npt.NDArray[np.int64]
STEP = "model"
"""The estimator's place behind the features of windows."""


class KFoldValidator:
    """Divides arrays into folds.

    Args:
        n_splits: folds.
        method: stratified_kfold, kfold, group_kfold, stratified_group_kfold, time_series, leave_one_out,
            leave_one_group_out; auto: groups whole where there are some, else stratified_kfold.
        seed: of the division.
        allow_leak: divide what belongs together, where the method does.
    """

    def __init__(self, n_splits: int = 5, method: str = "auto", *, seed: int = 42, allow_leak: bool = False) -> None:
        self.n_splits = n_splits
        self.method = method
        self.seed = seed
        self.allow_leak = allow_leak

    def get_splits(
        self, X: Any, y: npt.ArrayLike, groups: npt.ArrayLike | None = None, time: npt.ArrayLike | None = None
    ) -> list[tuple[Ints, Ints]]:
        """Return the rows to train on and the rows to test on, for each fold.

        Args:
            X: anything with a row a record.
            y: classes (N,).
            groups: (N,) what no fold may divide.
            time: (N,) when each was recorded, for `time_series`.

        Raises:
            DataError: arrays of different lengths, labels that are none.
            SplitError: they cannot be divided so.

        Examples:
            >>> import numpy as np
            >>> splits = KFoldValidator(n_splits=2).get_splits(np.zeros((4, 3)), [0, 0, 1, 1])
            >>> [len(test) for train, test in splits]
            [2, 2]
        """
        data = data_of(X, y, groups=groups, time=time)
        if data is None or not hasattr(data, "records"):
            raise DataError("arrays X and y", got=type(X).__name__, where="get_splits", fix="pass arrays")
        division = cross_validation_folds(
            data.records(), method=self.method, n_splits=self.n_splits, val_share=0.0, seed=self.seed,
            allow_leak=self.allow_leak, keys=KEYS,
        )  # fmt: skip
        return [(split.train, split.test) for split in division.splits]


def evaluate_with_cross_validation(
    model: Any, X: Any, y: npt.ArrayLike, cv_method: str = "auto", n_splits: int = 5, scoring: str = "macro_f1",
    groups: npt.ArrayLike | None = None, time: npt.ArrayLike | None = None, *, repeats: int = 1, seed: int = 42,
    overrides: Sequence[str] = (), workspace: Path | str | None = None,
) -> CrossValidation:  # fmt: skip
    """Cross-validate a model on arrays: `results["mean"]`, `["std"]`, and the interval that knows of the overlap.

    Args:
        model: an estimator of scikit-learn, cloned for each fold; a network, of which each fold has a copy with the
            weights it has now; or a function that builds one.
        X: windows (N, T, C) or vectors (N, D).
        y: classes (N,).
        cv_method: see :class:`KFoldValidator`.
        n_splits: folds.
        scoring: the headline, by Ringlight's name (`macro_f1`) or scikit-learn's (`f1_weighted`).
        groups: (N,) what no fold may divide.
        time: (N,) when each was recorded.
        repeats: how often the records are divided anew.
        seed: of the folds and of the training.
        overrides: `key=value` as on the command line, for a network.
        workspace: where runs of networks are kept.

    Raises:
        UserError: the model, the data or the folds cannot be used.
    """
    given = model_of(model)
    made, values = (
        (given, X) if isinstance(given, nn.Module) or not hasattr(given, "fit") else behind_features(given, X)
    )
    if isinstance(given, nn.Module):
        made = _copies(given, X, y, seed)
    folding = Folding(method=cv_method, n_splits=n_splits, repeats=repeats, seed=seed)
    data = data_of(values, y, groups=groups, time=time)
    return cross_validate_any(made, data, folding, scoring=scoring, overrides=overrides, workspace=workspace)


def _copies(network: nn.Module, X: Any, y: npt.ArrayLike, seed: int) -> Callable[[], nn.Module]:
    """Return what gives a copy of a network as it is now, its soft-max taken back, once it was tried on records.

    Raises:
        ModelError: it does not take such records, or gives no score for each class.
        DataError: labels that are none.
    """
    windows = windows_of(X)[:PROBED]
    if windows.ndim != 3:
        raise DataError(
            "windows (N, T, C) or vectors (N, D)", got=f"shape {np.shape(X)}", where="X", fix="stack the windows"
        )
    _, classes, task = labels_of(y, len(X), None)
    start = deepcopy(network)
    probe = torch.from_numpy(np.ascontiguousarray(windows.transpose(0, 2, 1), np.float32))

    def copy() -> nn.Module:
        return adapt(
            deepcopy(start), probe, num_classes=len(classes), vectors=np.ndim(X) == 2, task=task, seed=seed
        ).module

    copy()  # refused before a run begins
    return copy


class _Tuner:
    """What the tuners share: a method over :func:`ringlight.training.tune_estimators.search`."""

    method: Method

    def __init__(
        self, space: Mapping[str, Any], *, cv: Any, scoring: Any, n_trials: int, seed: int, timeout: float | None
    ) -> None:
        self.space = dict(space)
        self.cv = cv
        self.scoring = scoring
        self.n_trials = n_trials
        self.seed = seed
        self.timeout = timeout

    def search(self, model: Any, X: Any, y: npt.ArrayLike, groups: npt.ArrayLike | None = None) -> dict[str, Any]:
        """Return `best_params`, `best_score`, `best_std`, `best_model` fitted on all records, and `trials`.

        Args:
            model: an estimator of scikit-learn; it stays as it is.
            X: windows (N, T, C) or vectors (N, D).
            y: classes (N,).
            groups: (N,) what no fold may divide.

        Raises:
            UserError: the space, the arrays, the folds or the score cannot be used.
            TrainingError: no trial could be finished.
        """
        estimator = model_of(model)
        if isinstance(estimator, nn.Module):
            raise ConfigError(
                "an estimator of scikit-learn", got=f"the network {type(estimator).__name__}", where="search",
                fix="its settings are a recipe's: ringlight tune RECIPE",
            )  # fmt: skip
        if np.ndim(X) != 3:
            return self._search(estimator, X, y, self.space, groups)
        piped, features = behind_features(estimator, X)
        known = estimator.get_params()
        space = {f"{STEP}__{key}" if key in known else key: axis for key, axis in self.space.items()}
        found = self._search(piped, features, y, space, groups)
        found["best_params"] = _plain(found["best_params"])
        for trial in found["trials"]:
            trial["params"] = _plain(trial["params"])
        return found

    def _search(self, model: Any, X: Any, y: npt.ArrayLike, space: Mapping[str, Any], groups: Any) -> dict[str, Any]:
        return search(
            model, X, y, space=space, method=self.method, n_trials=self.n_trials, cv=self.cv, scoring=self.scoring,
            seed=self.seed, groups=groups, timeout=self.timeout,
        )  # fmt: skip


class GridSearchTuner(_Tuner):
    """Tries every combination of `param_grid`; the arguments are scikit-learn's, the scores its bits."""

    method: Method = "grid"

    def __init__(self, param_grid: Mapping[str, Any], cv: Any = 5, scoring: Any = None) -> None:
        super().__init__(param_grid, cv=cv, scoring=scoring, n_trials=1, seed=42, timeout=None)  # a grid makes its own


class RandomSearchTuner(_Tuner):
    """Tries `n_iter` draws from `param_dist`."""

    method: Method = "random"

    def __init__(
        self, param_dist: Mapping[str, Any], n_iter: int = 50, cv: Any = 5, scoring: Any = None, *, seed: int = 42,
        timeout: float | None = None,
    ) -> None:  # fmt: skip
        super().__init__(param_dist, cv=cv, scoring=scoring, n_trials=n_iter, seed=seed, timeout=timeout)


class HyperparameterTuner(_Tuner):
    """Searches a space by `method`: bayesian, random or grid.

    The space is given as keywords, `C={"type": "float", "low": 0.1, "high": 10, "log": True}`, or as `param_space`
    where a parameter has the name of one of these arguments.
    """

    def __init__(
        self, method: Method = "bayesian", n_trials: int = 50, cv: Any = 5, scoring: Any = None, *, seed: int = 42,
        timeout: float | None = None, param_space: Mapping[str, Any] | None = None, **space: Any,
    ) -> None:  # fmt: skip
        super().__init__(
            {**(param_space or {}), **space}, cv=cv, scoring=scoring, n_trials=n_trials, seed=seed, timeout=timeout
        )
        self.method = method


def behind_features(estimator: Any, X: Any) -> tuple[Any, Any]:
    """Return an estimator with what it is fitted to: of windows a pipeline on their features, of vectors as it is.

    Raises:
        DataError: windows that are too short or not finite.
    """
    if np.ndim(X) != 3:
        return estimator, X
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler

    from ringlight.models.window_features import window_features

    features, _ = window_features(np.asarray(X))
    return Pipeline([("scale", StandardScaler()), (STEP, estimator)]), features


def _plain(params: Mapping[str, Any]) -> dict[str, Any]:
    return {key.removeprefix(f"{STEP}__"): value for key, value in params.items()}
