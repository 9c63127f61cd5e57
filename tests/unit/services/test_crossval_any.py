"""`rl.cross_validate` on arrays: against scikit-learn itself, and one line for everything that cannot be."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import LinearSVC
from torch import nn

import ringlight as rl
from ringlight.errors import UserError
from ringlight.types import Dataset, History, Prediction

X, Y = load_iris(return_X_y=True)
NAMES = np.array(["setosa", "versicolor", "virginica"])


class Bare(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """An estimator that only decides."""

    def fit(self, rows: Any, labels: Any) -> Self:
        self.classes_ = np.unique(labels)
        self.model_ = GaussianNB().fit(rows, labels)
        return self

    def predict(self, rows: Any) -> Any:
        return self.model_.predict(rows)


@pytest.mark.parametrize("name", ["accuracy", "f1_macro", "f1_weighted", "balanced_accuracy", "neg_log_loss"])
def test_the_scores_are_scikit_learns_to_the_last_digit(name: str) -> None:
    folds = StratifiedKFold(5, shuffle=True, random_state=42)
    found = rl.cross_validate(GaussianNB(), X, Y, scoring=name)
    assert found.scores == pytest.approx(cross_val_score(GaussianNB(), X, Y, cv=folds, scoring=name))
    assert found["mean"] == pytest.approx(np.mean(found.scores))
    assert found["std"] == pytest.approx(np.std(found.scores, ddof=1))
    assert found.low is not None
    assert found.low < found["mean"] < found.high


def test_nothing_is_fitted_but_clones() -> None:
    model = GaussianNB()
    rl.cross_validate(model, X, Y, n_splits=2)
    assert not hasattr(model, "classes_")


def test_labels_may_be_text_and_rows_sparse() -> None:
    found = rl.cross_validate(KNeighborsClassifier(), csr_matrix(X), NAMES[Y], scoring="recall/virginica")
    assert found["mean"] > 0.8
    assert found.prediction is not None
    assert found.prediction.classes == tuple(NAMES)
    np.testing.assert_array_equal(found.prediction.targets, Y)


def test_whole_numbers_as_floats_are_classes() -> None:
    assert rl.cross_validate(GaussianNB(), X, Y.astype(float)).scores == rl.cross_validate(GaussianNB(), X, Y).scores


def test_several_labels_a_row() -> None:
    labels = np.stack([Y == 0, Y > 0, X[:, 0] > 5.8], axis=1).astype(int)
    found = rl.cross_validate(RandomForestClassifier(10, random_state=0), X, labels, scoring="samples_f1")
    assert found["mean"] > 0.85
    assert found.prediction is not None
    assert found.prediction.task == "multilabel"


def test_groups_stay_whole() -> None:
    found = rl.cross_validate(GaussianNB(), X, Y, groups=np.arange(150) // 5)
    assert found.method == "stratified_group_kfold"
    assert sum(card["test"]["num_groups"] for card in found.folds) == 30
    assert not found.leaky
    leaky = rl.cross_validate(GaussianNB(), X, Y, groups=np.arange(150) // 5, cv_method="kfold", allow_leak=True)
    assert leaky.leaky
    assert leaky.notes[0].startswith("leak in cv_method=kfold, fold 1: ")


def test_unordered_times_are_put_in_order() -> None:
    times = np.random.default_rng(0).permutation(150)
    order = np.argsort(times)
    turned = rl.cross_validate(GaussianNB(), X, Y, cv_method="time_series", time=times)
    straight = rl.cross_validate(GaussianNB(), X[order], Y[order], cv_method="time_series", time=times[order])
    dates = np.datetime64("2026-01-01") + times.astype("timedelta64[h]")
    dated = rl.cross_validate(GaussianNB(), X, Y, cv_method="time_series", time=dates)
    assert turned.scores == straight.scores == dated.scores
    assert [card["train"]["num_records"] for card in turned.folds] == [25, 50, 75, 100, 125]


def test_one_record_a_fold_has_the_score_of_all_together() -> None:
    found = rl.cross_validate(GaussianNB(), X[::5], Y[::5], cv_method="leave_one_out")
    assert found.mean == found.out_of_fold
    assert found.std is None
    assert any("a fold tests on one record" in note for note in found.notes)


def test_decisions_alone_are_judged_by_scores_of_decisions() -> None:
    found = rl.cross_validate(Bare(), X, Y, scoring="accuracy")
    assert found.scores == rl.cross_validate(GaussianNB(), X, Y, scoring="accuracy").scores
    assert found.prediction is None
    assert "auroc" not in found.summaries
    ranked = rl.cross_validate(LinearSVC(), X, Y, scoring="auroc")
    assert ranked["mean"] > 0.9
    assert "log_loss" not in ranked.summaries


def test_a_class_that_a_fold_never_saw_has_no_probability() -> None:
    labels = np.array([0] * 20 + [1] * 19 + [2])
    rows = np.random.default_rng(0).normal(size=(40, 2)) + labels[:, None]
    found = rl.cross_validate(GaussianNB(), rows, labels, n_splits=3, scoring="accuracy")
    assert found.prediction is not None
    assert found.prediction.probabilities[39, 2] == pytest.approx(0.0, abs=1e-6)


class Constant:
    """A `Learner` that scores every record alike."""

    def fit(self, train: Dataset, val: Dataset | None, **_: Any) -> History:
        assert val is not None
        self.share = train.label_matrix().mean(axis=0)
        return History()

    def predict(self, data: Dataset) -> Prediction:
        logits = np.tile(np.log(self.share), (len(data), 1)).astype(np.float32)
        return Prediction(data.ids, logits, data.classes, data.task, data.targets())

    def save(self, folder: Path) -> None:
        raise NotImplementedError

    @classmethod
    def load(cls, folder: Path) -> Self:
        raise NotImplementedError


def test_a_learner_is_made_anew_for_each_fold(dataset_of: Any) -> None:
    found = rl.cross_validate(Constant, dataset_of([0] * 32 + [1] * 8), n_splits=4, scoring="accuracy")
    assert found.scores == [0.8] * 4
    assert (found.std, found.low, found.high) == (0.0, None, None)


def test_it_prints_and_is_read_by_name() -> None:
    found = rl.cross_validate(GaussianNB(), X, Y, repeats=2, n_splits=2, scoring="accuracy")
    lines = str(found).splitlines()
    assert lines[0] == "accuracy, stratified_kfold"
    assert lines[1].startswith("repeat 1, fold 1  0.")
    assert lines[-1].startswith(f"accuracy {found['mean']:.3f} ± {found['std']:.3f} over 4 folds, 95% interval [")
    assert found["macro_f1"] == found.summaries["macro_f1"].mean
    assert found.to_dict()["scores"]["accuracy"]["num_scores"] == 4
    with pytest.raises(KeyError, match="did you mean `mean`"):
        found["maen"]


def call(**changes: Any) -> dict[str, Any]:
    return {"model": GaussianNB(), "X": X, "y": Y, **changes}


REFUSED = [
    (call(y=Y[:-1]), "y: expected 150 labels, one a row of X, got shape (149,)"),
    (call(y=None), "cross_validate: expected y with one label a row of X, got none; pass y"),
    (call(X=None), "cross_validate: expected X with them, got y beside no X; pass X"),
    (call(groups=[1, 2]), "groups: expected 150 values, got shape (2,)"),
    (call(time=np.arange(3)), "time: expected 150 values, got shape (3,)"),
    (call(y=Y + 0.5), "y: expected classes, got numbers with a fraction or NaN"),
    (call(cv_method="stratified"), "cv_method: expected a known method, got `stratified`; did you mean"),
    (call(scoring="acuracy"), "scoring: expected a score, got `acuracy`; did you mean `accuracy`?"),
    (call(n_splits=51), "n_splits: expected at most 50, the members of the largest class, 0, got 51; use n_splits=50"),
    (
        call(groups=np.arange(150) // 50, n_splits=5),
        "n_splits: expected at most 3, the groups of arrays, got 5; use n_splits=3",
    ),
    (
        call(groups=(Y > 0), cv_method="leave_one_group_out"),
        "cv_method=leave_one_group_out, fold 2: expected training records of two classes or more, got only `0`",
    ),
    (call(cv_method="group_kfold"), "cv_method=group_kfold: expected groups in arrays, got none; pass groups="),
    (
        call(cv_method="time_series"),
        "cv_method=time_series: expected a time for every row, got none: the order of rows is not taken for one; pass",
    ),
    (
        call(cv_method="time_series", time=["monday"] * 150),
        "time: expected numbers or dates, which have an order, got type <U6; pass seconds, or numpy datetimes",
    ),
    (
        call(cv_method="time_series", time=[1.0, np.nan] * 75),
        "time: expected a time for every row, got none for 75 (first: row 1); leave these rows out",
    ),
    (
        call(model=Bare(), scoring="auroc"),
        "cross_validate: expected an estimator with predict_proba or decision_function for scoring=auroc, got one "
        "without; use a score of decisions such as macro_f1",
    ),
    (
        call(model=LinearSVC(), scoring="log_loss"),
        "cross_validate: expected an estimator with predict_proba for scoring=log_loss, got one without",
    ),
    (
        call(model=nn.Linear(4, 3)),
        "cross_validate: expected a function that builds a new model for each fold, got a model; pass lambda: ",
    ),
    (call(model=Constant()), "cross_validate: expected a function that builds a new Learner for each fold, got a"),
    (call(model=Constant), "cross_validate: expected a Dataset as X for a Learner, got arrays"),
    (
        call(model=3),
        "cross_validate: expected a recipe, a function that builds a network or a Learner, or an estimator",
    ),
    (call(model=GaussianNB, X=None, y=None), "cross_validate: expected X and y for an estimator, got none"),
    (call(model=lambda: nn.Linear(4, 3), X=None, y=None), "cross_validate: expected X and y for a network, got none"),
    (call(overrides=["data.batch_size=2"]), "overrides: expected overrides for a recipe or a network, got some"),
]


@pytest.mark.parametrize(("arguments", "message"), REFUSED)
def test_what_cannot_be_cross_validated_is_one_line(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        rl.cross_validate(**arguments)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["windows", "vectors"])
def test_a_network_is_trained_by_the_engine(kind: str, tmp_path: Path) -> None:
    labels = np.repeat([0, 1], 15)
    rows = np.random.default_rng(0).normal(size=(30, 16, 2)).astype(np.float32) + 4 * labels[:, None, None]
    windows = kind == "windows"
    found = rl.cross_validate(
        (lambda: nn.Sequential(*([nn.AvgPool1d(16), nn.Flatten()] if windows else []), nn.Linear(2, 2))),
        rows if windows else rows[:, 0], labels, n_splits=2, scoring="accuracy", workspace=tmp_path,
        groups=np.arange(30) // 2,
        overrides=[
            "training.num_epochs=5", "data.batch_size=4", "scheduler.warmup_epochs=0", "training.num_threads=1",
            "training.device=cpu", "training.precision=32", "optimizer.lr=0.1", "evaluation.num_resamples=100",
            "split.leak_probe=false",
        ],
    )  # fmt: skip
    assert found["mean"] > 0.8
    assert found.folder is not None
    assert (found.folder / "report.html").is_file()


@pytest.mark.slow
def test_a_network_of_several_labels_gets_their_loss(tmp_path: Path) -> None:
    """The default cross-entropy refused the labels, though nobody had asked for it."""
    labels = np.random.default_rng(1).integers(0, 2, (24, 2))
    rows = np.random.default_rng(0).normal(size=(24, 2)).astype(np.float32) + 4 * labels
    found = rl.cross_validate(
        lambda: nn.Linear(2, 2), rows, labels, n_splits=2, workspace=tmp_path,
        overrides=["training.num_epochs=2", "data.batch_size=4", "training.num_threads=1", "training.device=cpu"],
    )  # fmt: skip
    assert found.results["loss"]["name"] == "bce_with_logits"


class Regressor(Bare):
    """Predicts what is no class."""

    def predict(self, rows: Any) -> Any:
        return super().predict(rows) + 0.25


MORE_REFUSED = [
    (call(y=np.zeros(150, int)), "y: expected two classes or more, got only `0`"),
    (call(y=[None, *Y[1:].tolist()]), "y: expected a class for every row, got none for 1 (first: row 0)"),
    (call(X=3.0), "X: expected rows of records, got a single value"),
    (call(n_splits=2.5), "n_splits: expected a whole number, 0 or more, got 2.5"),
    (call(n_splits="5"), "n_splits: expected a whole number, 0 or more, got '5'"),
    (call(seed=-1), "seed: expected a whole number, 0 or more, got -1"),
    (call(groups=[None] * 75 + [1] * 75), "groups: expected a group for every row, got none for 75 (first: row 0)"),
    (
        call(groups=np.where(Y > 1, np.nan, Y)),
        "groups: expected a group for every row, got none for 50 (first: row 100)",
    ),
    (call(val_share=0.2), "val_share: expected 0 for an estimator, which stops, calibrates and decides by itself, got"),
    (call(model=Regressor()), "Regressor: expected predictions that are classes of y, got `"),
    (
        call(X=np.where(X > 7, np.nan, X)),
        "GaussianNB: expected an estimator that takes this X and y, shape (150, 4) and shape (150,), got ValueError: "
        "Input X contains NaN.",
    ),
    (
        call(model=lambda: nn.Linear(7, 3)),
        "model: expected a model that takes vectors (2, 4), got RuntimeError: mat1 and mat2 shapes cannot be",
    ),
    (call(model=lambda: nn.Linear(4, 5)), "model: expected a score for each of 3 classes: (2, 3), got (2, 5)"),
    (
        call(model=lambda: nn.Linear(4, 3), cv_method="time_series"),
        "cv_method=time_series: expected a time for every row, got none: the order of rows is not taken for one; pass",
    ),
]


@pytest.mark.parametrize(("arguments", "message"), MORE_REFUSED)
def test_what_used_to_end_in_a_traceback_or_another_split_is_one_line(
    arguments: dict[str, Any], message: str, tmp_path: Path
) -> None:
    """Errors of NumPy and scikit-learn came through as they were, `None` became the name of a class or of one group.

    `val_share` took records away from an estimator that has no use for them, which lowered its score in silence; a
    network of the wrong width was found out in the middle of a run, whose folder stayed behind.
    """
    with pytest.raises(UserError) as caught:
        rl.cross_validate(**arguments, workspace=tmp_path)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("runs/*"))


def test_every_kind_of_sparse_matrix_has_rows() -> None:
    """A matrix of coordinates has none that can be taken: it ended in a TypeError."""
    found = rl.cross_validate(KNeighborsClassifier(), csr_matrix(X).tocoo(), Y)
    assert found.scores == rl.cross_validate(KNeighborsClassifier(), csr_matrix(X), Y).scores


def test_several_labels_are_whole_numbers_with_a_sign() -> None:
    """A ridge classifier writes -1 for 0, which the records' unsigned bytes cannot hold: it ended in OverflowError."""
    labels = np.stack([Y == 0, Y > 0, X[:, 0] > 5.8], axis=1).astype(int)
    assert rl.cross_validate(RidgeClassifier(), X, labels)["mean"] > 0.8
