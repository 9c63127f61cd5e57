"""Search over the parameters of an estimator on arrays: scikit-learn's interface, this package's studies behind it.

Every trial is scored on the same folds, so that a grid gives the numbers of scikit-learn's `GridSearchCV` to the bit
where its folds are the same ones.
"""

# ruff: noqa: N803, N806 - X is what scikit-learn, and the whole field, calls the records
from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from ringlight.config.schema import Config
from ringlight.config.spaces import Space, read_space
from ringlight.errors import ConfigError, DataError, Problems, SplitError, TrainingError, did_you_mean
from ringlight.training.fold_estimators import rows_of
from ringlight.training.tune_trials import METHODS, FailedTrial, Method, Report, Scored, StudySettings

WHERE = "space"


def search(
    model: Any, X: Any, y: Any, *, space: Mapping[str, Any], method: Method = "bayesian", n_trials: int = 50,
    cv: Any = 5, scoring: Any = None, seed: int = 42, groups: Any = None, timeout: float | None = None,
    refit: bool = True,
) -> dict[str, Any]:  # fmt: skip
    """Search the parameters with which an estimator scores best on average over folds.

    Args:
        model: a scikit-learn estimator, or whatever has `get_params`, `set_params` and `fit`; it stays as it is. Or a
            recipe's name, or a configuration: then `space` has the keys of a configuration, and `scoring` is a metric.
        X: records, first axis N: an array, a sparse matrix, a data frame.
        y: their labels, (N,) or (N, K).
        space: by parameter a list of choices, or `{"type": "float", "low": 0.1, "high": 10}` and the like.
        method: grid (every combination), random or bayesian.
        n_trials: trials in all; a grid makes as many as it has points.
        cv: number of folds, a scikit-learn splitter, or a list of (train, test) rows.
        scoring: name of a scikit-learn score, a function (estimator, X, y), or None: the estimator's own.
        seed: of choices; the folds of a number are in order, as scikit-learn's are.
        groups: (N,) what belongs together, for splitters that keep groups whole. With a number of folds,
            `StratifiedGroupKFold` keeps them.
        timeout: seconds after which no trial begins.
        refit: whether `best_model` is fitted, on all records.

    Returns:
        `best_params`, `best_score`, `best_index`, `best_std`, `trials` (a dict each, in order), and `best_model`
        (None without `refit`). For a recipe `best_config` is in the place of `best_model`.

    Raises:
        Problems: a space with mistakes, a line each.
        DataError: arrays that do not fit each other.
        SplitError: more folds than a class has members.
        ConfigError: an unknown score, method or parameter.
        TrainingError: no trial could be finished.

    Examples:
        >>> from sklearn.linear_model import LogisticRegression
        >>> X, y = [[0.0], [1.0], [2.0], [3.0], [4.0], [5.0]], [0, 1, 0, 1, 1, 1]
        >>> search(LogisticRegression(), X, y, space={"C": [0.01, 1.0]}, method="grid", cv=2)["best_params"]
        {'C': 0.01}
    """
    from ringlight.training.tune import Study

    if isinstance(model, str | Config):
        from ringlight.training.tune_arrays import search_recipe

        return search_recipe(
            model, X, y, space=space, method=method, n_trials=n_trials, cv=cv, scoring=scoring, seed=seed,
            groups=groups, timeout=timeout,
        )  # fmt: skip
    if method not in METHODS:
        raise ConfigError("a method of search", got=f"`{method}`", where="method", fix=did_you_mean(method, METHODS))
    for name, number, least in (("n_trials", n_trials, 1), ("seed", seed, 0)):
        if not (isinstance(number, int | np.integer) and least <= number < 2**32):
            raise ConfigError(f"a whole number, {least} or more", got=repr(number), where=name, fix="correct the value")
    axes = _space(model, space)
    X, y = _arrays(X, y)
    objective = _CrossValidated(model, X, y, folds=_folds(model, X, y, cv, groups), scorer=_scorer(model, scoring))
    settings = StudySettings(
        name="search", method=method, direction="maximize", seed=seed, timeout=timeout,
        n_trials=n_trials if method != "grid" else 10**9,
    )  # fmt: skip
    study = Study(settings, axes)
    study.run(objective)
    rows, best = study.rows(), study.best()
    if best is None:
        told = f"{len(rows)} that failed, the last with: {rows[-1].reason}" if rows else "none in that time"
        fix = "correct the space or the data" if rows else "raise timeout"
        raise TrainingError("a trial that was finished", got=told, where="search", fix=fix)
    trials = [
        {"params": dict(row.values), "score": row.value, "std": row.details.get("std"), "state": row.state,
         "scores": row.details.get("scores", []), "seconds": row.seconds, "reason": row.reason}
        for row in rows
    ]  # fmt: skip
    return {
        "best_params": dict(best.values),
        "best_score": best.value,
        "best_std": best.details["std"],
        "best_index": best.number,
        "best_model": objective.fitted(best.values, np.arange(len(y))) if refit else None,
        "trials": trials,
        "method": method,
    }


class _CrossValidated:
    """Scores parameters by the mean over folds."""

    def __init__(self, model: Any, X: Any, y: Any, *, folds: list[tuple[Any, Any]], scorer: Any) -> None:
        self._model = model
        self._X = X
        self._y = y
        self._folds = folds
        self._scorer = scorer

    def __call__(self, values: Mapping[str, Any], number: int, report: Report) -> Scored:  # noqa: ARG002 - Objective's
        try:
            scores = [
                float(self._scorer(self.fitted(values, train), rows_of(self._X, test), self._y[test]))
                for train, test in self._folds
            ]
        except (ValueError, TypeError, RuntimeError, ArithmeticError, MemoryError, AttributeError) as error:
            raise FailedTrial(f"{type(error).__name__}: {error}") from error
        return Scored(value=float(np.mean(scores)), details={"std": float(np.std(scores)), "scores": scores})

    def fitted(self, values: Mapping[str, Any], rows: Any) -> Any:
        """Return a fresh estimator with these parameters, fitted to rows."""
        from sklearn.base import clone

        # Values are cloned, too, as GridSearchCV does: an estimator among them is fitted anew for every fold.
        chosen = {key: clone(value, safe=False) for key, value in values.items()}
        return clone(self._model).set_params(**chosen).fit(rows_of(self._X, rows), self._y[rows])


def _space(model: Any, space: Mapping[str, Any]) -> Space:
    if not all(hasattr(model, name) for name in ("get_params", "set_params", "fit")):
        raise ConfigError(
            "an estimator with get_params, set_params and fit", got=type(model).__name__, where="model",
            fix="pass scikit-learn's interface, or tune a recipe (ringlight tune RECIPE)",
        )  # fmt: skip
    if not isinstance(space, Mapping):
        raise ConfigError(
            "a dict of parameters", got=type(space).__name__, where=WHERE, fix='write {"C": [0.1, 1.0, 10.0]}'
        )
    # A dotted name is no parameter of an estimator, but `svc__C` is one; NumPy's arrays are lists of choices, too.
    # In the order of scikit-learn's ParameterGrid, so that of equal points the same one is the best.
    entries = sorted(space.items(), key=lambda pair: str(pair[0]))
    plain = {key: list(entry) if isinstance(entry, np.ndarray | range) else entry for key, entry in entries}
    known = list(model.get_params(deep=True))
    lines = [
        f"{WHERE}.{key}: expected a parameter of {type(model).__name__}, got `{key}`; {did_you_mean(str(key), known)}"
        for key in plain
        if key not in known
    ]
    if lines:
        raise Problems(lines)
    return read_space(plain, where=WHERE)


def _arrays(X: Any, y: Any) -> tuple[Any, Any]:
    if not hasattr(X, "iloc"):  # a data frame stays one: an estimator may ask for its columns by name
        X = X.tocsr() if hasattr(X, "tocsr") else np.asarray(X)
    y = np.asarray(y)
    if len(X.shape) < 2 or y.ndim < 1 or X.shape[0] != len(y):
        raise DataError(
            "records X with 2 or more axes and a label for each in y",
            got=f"shapes {X.shape} and {y.shape}", where="search", fix="pass rows that belong together",
        )  # fmt: skip
    return X, y


def _scorer(model: Any, scoring: Any) -> Any:
    from sklearn.metrics import check_scoring, get_scorer_names

    if isinstance(scoring, str) and scoring not in get_scorer_names():
        fix = did_you_mean(scoring, get_scorer_names())
        raise ConfigError("a scikit-learn score", got=f"`{scoring}`", where="scoring", fix=fix)
    if scoring is None and not hasattr(model, "score"):
        raise ConfigError(
            "a score, as the estimator has none of its own", got="none", where="scoring", fix='pass scoring="f1_macro"'
        )
    return check_scoring(model, scoring)


def _folds(model: Any, X: Any, y: Any, cv: Any, groups: Any) -> list[tuple[Any, Any]]:
    """Return the folds, made once for all trials; a number with groups keeps these whole."""
    from sklearn.base import is_classifier
    from sklearn.model_selection import GroupKFold, StratifiedGroupKFold, check_cv

    if isinstance(cv, int) and cv < 2:
        raise SplitError("at least 2 folds", got=str(cv), where="cv", fix="use 5")
    single = is_classifier(model) and y.ndim == 1
    if isinstance(cv, int) and single:
        names, counts = np.unique(y, return_counts=True)
        if counts.min() < cv:
            raise SplitError(
                f"at most as many folds as the rarest class has members ({names[counts.argmin()]}: {counts.min()})",
                got=str(cv), where="cv", fix=f"use cv={max(2, int(counts.min()))}, or merge or drop that class",
            )  # fmt: skip
    if groups is not None:
        groups = np.asarray(groups)
        if len(groups) != len(y):
            raise DataError(
                f"a group for each of {len(y)} records", got=str(len(groups)), where="groups", fix="pass them"
            )
        if isinstance(cv, int):
            known = len(np.unique(groups))
            if known < cv:
                raise SplitError(
                    f"at most as many folds as groups ({known})", got=str(cv), where="cv", fix=f"cv={known}"
                )
            cv = StratifiedGroupKFold(cv) if single else GroupKFold(cv)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The least populated class", UserWarning)
            return list(check_cv(cv, y, classifier=is_classifier(model)).split(X, y, groups))
    except (ValueError, TypeError) as error:  # what scikit-learn's splitters refuse by
        raise SplitError(
            "a number of folds, a scikit-learn splitter that can divide these records, or a list of (train, test) rows",
            got=f"{cv!r:.60} ({str(error).partition('. ')[0].rstrip('.')})", where="cv",
            fix="use cv=5; a splitter of groups needs groups=",
        ) from error  # fmt: skip
