# ruff: noqa: N806 - X is what scikit-learn calls the records
from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.svm import SVC
from torch import nn

from ringlight.errors import ConfigError, DataError, ModelError, Problems, SplitError
from ringlight.trainers import (
    GridSearchTuner,
    HyperparameterTuner,
    KFoldValidator,
    RandomForestModel,
    RandomSearchTuner,
    evaluate_with_cross_validation,
)

QUICK = ("training.num_epochs=1", "evaluation.num_resamples=100", "evaluation.num_mistakes=0", "split.leak_probe=false")


def test_every_row_is_tested_once_with_classes_in_proportion(vectors):
    X, y = vectors
    splits = KFoldValidator(n_splits=4).get_splits(X, y)
    assert np.array_equal(np.sort(np.concatenate([test for _, test in splits])), np.arange(48))
    for train, test in splits:
        assert not np.intersect1d(train, test).size
        assert np.bincount(y[test]).tolist() == [3, 3, 3, 3]


def test_groups_stay_whole(vectors):
    X, y = vectors
    groups = np.arange(48) // 4
    for train, test in KFoldValidator(n_splits=3).get_splits(X, y, groups=groups):
        assert not set(groups[train]) & set(groups[test])


@pytest.mark.parametrize(
    ("method", "n_splits", "y", "line"),
    [
        ("stratified_kfold", 9, np.arange(48) % 12, "n_splits"),
        ("stratfied_kfold", 2, np.arange(48) % 4, "did you mean `stratified_kfold`"),
        ("group_kfold", 5, np.arange(48) % 4, "groups"),
        ("time_series", 3, np.arange(48) % 4, "time"),
        ("kfold", 2, np.repeat([0, 1], 24)[np.newaxis].repeat(2, 0)[0], ""),
    ],
)
def test_folds_that_cannot_be_made_are_refused_in_one_line(vectors, method, n_splits, y, line):
    if not line:
        assert len(KFoldValidator(n_splits, method).get_splits(vectors[0], y)) == 2
        return
    with pytest.raises(SplitError, match=line) as raised:
        KFoldValidator(n_splits, method).get_splits(vectors[0], y)
    assert "\n" not in str(raised.value)


def test_labels_of_another_length_are_refused(vectors):
    with pytest.raises(DataError, match="y: expected 48 labels, one a row of X, got shape"):
        KFoldValidator().get_splits(vectors[0], vectors[1][:-1])


def test_an_estimator_is_cross_validated_on_vectors_and_windows(vectors, windows):
    for X, y in (vectors, windows):
        found = evaluate_with_cross_validation(
            RandomForestClassifier(5, random_state=0), X, y, cv_method="stratified_kfold", n_splits=3,
            scoring="f1_weighted",
        )  # fmt: skip
        assert 0.4 < found["mean"] <= 1
        assert found["std"] >= 0
        assert found["low"] <= found["mean"] <= found["high"]


def test_each_fold_has_a_copy_of_the_network_as_it_was(vectors, tmp_path):
    X, y = vectors
    network = nn.Sequential(nn.Linear(6, 4), nn.Softmax(dim=1))
    before = network[0].weight.detach().clone()
    found = evaluate_with_cross_validation(
        network, X, y, n_splits=2, scoring="accuracy", overrides=QUICK, workspace=tmp_path
    )
    assert 0 <= found["mean"] <= 1
    assert torch.equal(network[0].weight, before)
    with pytest.raises(ModelError, match="expected a score for each of 4 classes"):
        evaluate_with_cross_validation(nn.Linear(6, 2), X, y, n_splits=2, workspace=tmp_path)


def test_a_grid_gives_the_scores_of_scikit_learn(vectors):
    X, y = vectors
    grid = {"C": [0.1, 1.0], "gamma": ["scale", 0.01]}
    found = GridSearchTuner(param_grid=grid, cv=3).search(SVC(), X, y)
    theirs = GridSearchCV(SVC(), grid, cv=3).fit(X, y)
    assert found["best_params"] == theirs.best_params_
    assert found["best_score"] == theirs.best_score_


def test_windows_are_searched_by_their_features_under_the_estimators_own_names(windows):
    X, y = windows
    found = GridSearchTuner({"n_estimators": [2, 4]}, cv=2).search(RandomForestModel(), X, y)
    assert set(found["best_params"]) == {"n_estimators"}
    assert [trial["params"] for trial in found["trials"]] == [{"n_estimators": 2}, {"n_estimators": 4}]


def test_random_and_bayesian_search_the_same_way(vectors):
    X, y = vectors
    found = RandomSearchTuner({"C": [0.1, 1.0, 10.0]}, n_iter=2, cv=2).search(SVC(), X, y)
    assert len(found["trials"]) == 2
    space = {"C": {"type": "float", "low": 0.1, "high": 10, "log": True}}
    found = HyperparameterTuner(method="bayesian", n_trials=3, cv=2, **space).search(SVC(), X, y)
    assert 0.1 <= found["best_params"]["C"] <= 10


def test_what_cannot_be_searched_is_refused(vectors):
    X, y = vectors
    with pytest.raises(ConfigError, match="search: expected an estimator of scikit-learn, got the network Linear"):
        GridSearchTuner({"C": [1]}).search(nn.Linear(6, 4), X, y)
    with pytest.raises(Problems, match="var_smothing"):
        GridSearchTuner({"var_smothing": [1]}).search(GaussianNB(), X, y)
    with pytest.raises((Problems, ConfigError)):
        HyperparameterTuner().search(GaussianNB(), X, y)
    with pytest.raises((Problems, ConfigError), match="low"):
        HyperparameterTuner(C={"type": "float", "low": 9, "high": 1}).search(SVC(), X, y)
