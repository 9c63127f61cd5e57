"""Search over estimators on arrays: scikit-learn's numbers where it has them, and the seed's own snippets."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, LeaveOneGroupOut, StratifiedKFold
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from ringlight.config.load import compose
from ringlight.errors import ConfigError, DataError, Problems, SplitError, TrainingError
from ringlight.training.tune_estimators import search

X, Y = load_iris(return_X_y=True)
GRID = {"C": [0.01, 0.1, 1, 10], "gamma": ["scale", "auto", 0.1, 1e-5]}


@pytest.mark.parametrize("cv", [3, StratifiedKFold(4, shuffle=True, random_state=1)])
@pytest.mark.parametrize("scoring", [None, "f1_macro"])
def test_a_grid_is_grid_search_cv_to_the_bit(cv: Any, scoring: str | None) -> None:
    theirs = GridSearchCV(SVC(), GRID, cv=cv, scoring=scoring).fit(X, Y)
    ours = search(SVC(), X, Y, space=GRID, method="grid", cv=cv, scoring=scoring)
    assert ours["best_params"] == theirs.best_params_
    assert ours["best_score"] == theirs.best_score_
    assert ours["best_index"] == theirs.best_index_
    assert [trial["score"] for trial in ours["trials"]] == theirs.cv_results_["mean_test_score"].tolist()
    assert [trial["std"] for trial in ours["trials"]] == theirs.cv_results_["std_test_score"].tolist()
    assert [trial["params"] for trial in ours["trials"]] == theirs.cv_results_["params"]
    assert (ours["best_model"].predict(X) == theirs.predict(X)).all()


def test_the_order_of_the_dict_does_not_choose_among_equals() -> None:
    turned = dict(reversed(GRID.items()))
    assert search(SVC(), X, Y, space=turned, method="grid", cv=3)["best_params"] == (
        GridSearchCV(SVC(), turned, cv=3).fit(X, Y).best_params_
    )


def test_the_seeds_mixed_list_is_searched_at_random() -> None:
    space = {"C": [0.001, 0.01, 0.1, 1, 10, 100], "gamma": ["scale", "auto", *np.logspace(-5, 2, 20)]}
    found = search(SVC(), X, Y, space=space, method="random", n_trials=12, cv=3)
    assert len(found["trials"]) == 12
    assert all(trial["params"]["gamma"] in space["gamma"] for trial in found["trials"])
    assert found == {**search(SVC(), X, Y, space=space, method="random", n_trials=12, cv=3), **_not_compared(found)}


def test_lists_are_drawn_from_without_putting_anything_back() -> None:
    """Five trials of two values tried one of them four times; scikit-learn tries each once."""
    found = search(SVC(), X, Y, space={"C": [0.1, 10]}, method="random", n_trials=5, cv=3)
    assert sorted(trial["params"]["C"] for trial in found["trials"]) == [0.1, 10]
    more = search(SVC(), X, Y, space={"C": list(range(1, 9))}, method="random", n_trials=5, cv=3, seed=3)
    assert len({trial["params"]["C"] for trial in more["trials"]}) == 5


def _not_compared(found: dict[str, Any]) -> dict[str, Any]:
    return {"best_model": found["best_model"], "trials": found["trials"]}


def test_the_seeds_ranges_are_searched_by_what_earlier_trials_scored() -> None:
    space = {
        "C": {"type": "float", "low": 0.001, "high": 100, "log": True},
        "gamma": {"type": "float", "low": 0.0001, "high": 10, "log": True},
    }
    found = search(SVC(), X, Y, space=space, method="bayesian", n_trials=15, cv=3)
    assert found["best_score"] > 0.95
    assert all(0.001 <= trial["params"]["C"] <= 100 for trial in found["trials"])


def test_parameters_of_a_pipeline_and_conditions_are_searched() -> None:
    space = {"svc__kernel": ["linear", "rbf"], "svc__gamma": {"choices": [0.1, 1.0], "when": {"svc__kernel": "rbf"}}}
    found = search(make_pipeline(StandardScaler(), SVC()), X, Y, space=space, method="grid", cv=3)
    assert len(found["trials"]) == 3


def test_the_model_that_is_given_stays_as_it_is() -> None:
    model = RandomForestClassifier(n_estimators=3, random_state=0)
    found = search(model, X, Y, space={"max_depth": [1, 3]}, method="grid", cv=2)
    assert model.max_depth is None
    assert not hasattr(model, "estimators_")
    assert found["best_model"].max_depth == found["best_params"]["max_depth"]


def test_groups_are_kept_whole() -> None:
    """Copies of a record on both sides would score a nearest neighbour's memory."""
    seen: list[Any] = []

    class Spy(LogisticRegression):
        def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:  # noqa: N803
            seen.append({tuple(row) for row in X})
            return super().fit(X, y)

    rows = np.repeat(X[::5], 2, axis=0)
    labels, groups = np.repeat(Y[::5], 2), np.repeat(np.arange(30), 2)
    search(Spy(max_iter=500), rows, labels, space={"C": [1.0]}, method="grid", cv=3, groups=groups, refit=False)
    assert [len(part) for part in seen] == [20, 20, 20]  # 20 of 30 groups, both copies of each


def test_parameters_that_cannot_be_trained_are_failures_with_a_reason() -> None:
    found = search(SVC(), X, Y, space={"C": [-1.0, 1.0]}, method="grid", cv=2)
    assert [trial["state"] for trial in found["trials"]] == ["failed", "complete"]
    assert "The 'C' parameter of SVC must be" in found["trials"][0]["reason"]
    with pytest.raises(TrainingError, match=r"expected a trial that was finished, got 1 that failed, the last with: "):
        search(SVC(), X, Y, space={"C": [-1.0]}, method="grid", cv=2)


@pytest.mark.parametrize(
    ("given", "kind", "line"),
    [
        ({"space": {}}, Problems, "space: expected keys to search, got none"),
        (
            {"space": {"gama": [1]}},
            Problems,
            "space.gama: expected a parameter of SVC, got `gama`; did you mean `gamma`",
        ),
        ({"space": {"C": {"type": "float", "low": 2, "high": 1}}}, Problems, "space.C: expected low <= high"),
        ({"space": [1]}, ConfigError, "space: expected a dict of parameters, got list"),
        ({"scoring": "f1_mcro"}, ConfigError, "scoring: expected a scikit-learn score, got `f1_mcro`; did you mean"),
        ({"method": "gird"}, ConfigError, "method: expected a method of search, got `gird`; did you mean `grid`?"),
        (
            {"cv": 60},
            SplitError,
            r"cv: expected at most as many folds as the rarest class has members \(0: 50\), got 60",
        ),
        ({"cv": 1}, SplitError, "cv: expected at least 2 folds, got 1"),
        ({"groups": [0] * 150}, SplitError, r"cv: expected at most as many folds as groups \(1\), got 5"),
        ({"groups": [0]}, DataError, "groups: expected a group for each of 150 records, got 1"),
        (
            {"y": Y[:9]},
            DataError,
            r"expected records X with 2 or more axes and a label for each in y, got shapes \(150, 4\)",
        ),
        (
            {"model": object()},
            ConfigError,
            "model: expected an estimator with get_params, set_params and fit, got object",
        ),
    ],
)
def test_what_cannot_be_searched_is_refused_in_one_line(given: dict[str, Any], kind: Any, line: str) -> None:
    usual: dict[str, Any] = {"model": SVC(), "X": X, "y": Y, "space": {"C": [1.0]}, "method": "grid"}
    with pytest.raises(kind, match=line):
        search(**{**usual, **given})


def test_a_recipe_is_searched_on_arrays_over_grouped_folds() -> None:
    """The same call takes a recipe: its keys are the space, its model is one for windows."""
    rng = np.random.default_rng(0)
    windows, labels = rng.normal(size=(40, 32, 2)), np.repeat(["quiet", "loud"], 20)
    windows[20:] *= 3
    found = search(
        compose("windows", ["model.name=logistic_regression"]), windows, labels, space={"model.C": [0.5, 1.0]},
        method="grid", cv=2, groups=np.arange(40) // 2,
    )  # fmt: skip
    assert found["best_score"] == 1.0
    assert found["best_config"].model.params()["C"] == found["best_params"]["model.C"]
    assert [len(trial["scores"]) for trial in found["trials"]] == [2, 2]


def test_a_recipe_takes_a_number_of_folds_only() -> None:
    with pytest.raises(SplitError, match="cv: expected a number of folds, for a recipe, got StratifiedKFold; use cv=5"):
        search("windows", X, Y, space={"model.C": [1.0]}, cv=StratifiedKFold(3))


def test_rows_may_be_sparse() -> None:
    """A sparse matrix became an array without axes, and was refused as one of another length than its labels."""
    dense = search(LogisticRegression(max_iter=500), X, Y, space={"C": [0.1, 1.0]}, method="grid", cv=3)
    for rows in (csr_matrix(X), csr_matrix(X).tocoo()):
        found = search(LogisticRegression(max_iter=500), rows, Y, space={"C": [0.1, 1.0]}, method="grid", cv=3)
        assert found["best_params"] == dense["best_params"]
        assert found["best_score"] == pytest.approx(dense["best_score"])


class Columns:
    """The rows and names of a data frame, with as much of its interface as is asked for."""

    def __init__(self, rows: Any) -> None:
        self.rows = rows
        self.shape = rows.shape

    @property
    def iloc(self) -> Any:
        return _Rows(self)


class _Rows:
    def __init__(self, table: Columns) -> None:
        self.table = table

    def __getitem__(self, rows: Any) -> Columns:
        return Columns(self.table.rows[rows])


class ByName(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Takes tables only."""

    def __init__(self, smoothing: float = 1e-9) -> None:
        self.smoothing = smoothing

    def fit(self, table: Columns, labels: Any) -> Any:
        self.classes_ = np.unique(labels)
        self.model_ = GaussianNB(var_smoothing=self.smoothing).fit(table.rows, labels)
        return self

    def predict(self, table: Columns) -> Any:
        return self.model_.predict(table.rows)


def test_a_data_frame_stays_one() -> None:
    """It was made an array, so that a pipeline that picks columns by name failed in every trial."""
    found = search(ByName(), Columns(X), Y, space={"smoothing": [1e-9, 1.0]}, method="grid", cv=3, scoring="accuracy")
    assert found["best_score"] > 0.9


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"cv": LeaveOneGroupOut()}, "cv: expected a number of folds, a scikit-learn splitter that can divide these"),
        ({"cv": "5"}, "cv: expected a number of folds, a scikit-learn splitter that can divide these"),
        ({"cv": 2.5}, "cv: expected a number of folds, a scikit-learn splitter that can divide these"),
        ({"cv": True}, "cv: expected at least 2 folds, got True"),
        ({"n_trials": 0}, "n_trials: expected a whole number, 1 or more, got 0"),
        ({"n_trials": "3"}, "n_trials: expected a whole number, 1 or more, got '3'"),
        ({"seed": "x"}, "seed: expected a whole number, 0 or more, got 'x'"),
    ],
)
def test_a_call_that_used_to_end_in_a_traceback_is_one_line(changes: dict[str, Any], line: str) -> None:
    """Scikit-learn's and NumPy's own errors came through; no trials at all were blamed on the time."""
    with pytest.raises((SplitError, ConfigError)) as error:
        search(SVC(), X, Y, space={"C": [1.0]}, **changes)
    assert str(error.value).startswith(line)
    assert "\n" not in str(error.value)
