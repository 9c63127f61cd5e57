# ruff: noqa: N806 - X is what scikit-learn calls the records
from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import (
    AdaBoostClassifier,
    GradientBoostingClassifier,
    RandomForestClassifier,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier
from torch import nn

from ringlight.errors import BundleError, ModelError
from ringlight.models.adapters import CustomNetwork, adapt, as_scores, rebuilt
from ringlight.models.estimators_io import from_bytes, to_bytes
from ringlight.models.scikit_adapters import ScikitOnFeatures, ScikitOnVectors
from ringlight.models.window_features import window_features

PROBE = torch.randn(6, 3, 16, generator=torch.Generator().manual_seed(0))
VECTORS = torch.randn(6, 5, 1, generator=torch.Generator().manual_seed(0))


def records():
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(3), 12)
    X = rng.normal(size=(36, 5))
    X[np.arange(36), y] += 3.0
    return X.astype(np.float32), y


class Windows(nn.Module):
    """A network (B, 3, T) -> (B, 4); `end` is its last layer."""

    def __init__(self, end=None, outputs=4):
        super().__init__()
        self.body = nn.Conv1d(3, outputs, 3)
        self.end = end or nn.Identity()

    def forward(self, x):
        return self.end(self.body(x).mean(dim=-1))


def test_a_network_of_windows_is_given_channels_before_time():
    network = Windows()
    made = adapt(network, PROBE, num_classes=4)
    assert made.params == {"kind": "CustomNetwork", "module": "Windows", "vectors": False, "outputs": "scores"}
    assert made.notes == ()
    torch.testing.assert_close(made.module(PROBE), network(PROBE))


def test_a_network_of_vectors_is_given_vectors():
    network = nn.Linear(5, 4)
    made = adapt(network, VECTORS, num_classes=4, vectors=True)
    torch.testing.assert_close(made.module(VECTORS), network(VECTORS[:, :, 0]))


def test_a_soft_max_is_taken_back_and_a_note_says_so():
    """Cross-entropy of probabilities taken for scores learns next to nothing, and nothing says so."""
    network = Windows(nn.Softmax(dim=1))
    made = adapt(network, PROBE, num_classes=4)
    assert made.params["outputs"] == "probabilities"
    assert made.notes == ("Windows gives probabilities, whose logarithm the loss is given",)
    torch.testing.assert_close(made.module(PROBE).softmax(dim=1), network(PROBE))
    plain = nn.functional.log_softmax(network.body(PROBE).mean(dim=-1), dim=1)
    torch.testing.assert_close(made.module(PROBE), plain)


def test_log_probabilities_are_scores_already():
    assert adapt(Windows(nn.LogSoftmax(dim=1)), PROBE, num_classes=4).params["outputs"] == "scores"


def test_of_several_labels_a_sigmoid_at_the_end_gives_log_odds():
    network = nn.Sequential(nn.Linear(5, 4), nn.Sigmoid())
    made = adapt(network, VECTORS, num_classes=4, vectors=True, task="multilabel")
    assert made.params["outputs"] == "probabilities"
    torch.testing.assert_close(made.module(VECTORS), network[0](VECTORS[:, :, 0]), rtol=1e-4, atol=1e-4)


def test_a_sure_model_has_finite_scores():
    assert torch.isfinite(as_scores(torch.tensor([[1.0, 0.0]]), "probabilities", "multiclass")).all()


def test_trying_a_model_changes_nothing_in_it():
    network = nn.Sequential(nn.Conv1d(3, 4, 3), nn.BatchNorm1d(4), nn.AdaptiveAvgPool1d(1), nn.Flatten()).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    adapt(network, PROBE, num_classes=4)
    assert network.training
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


@pytest.mark.parametrize(
    ("model", "line"),
    [
        (
            nn.Linear(7, 4),
            r"expected a model that takes windows \(6, 3, 16\), got RuntimeError: .*; \(B, C, T\) is what",
        ),
        (
            Windows(outputs=2),
            r"expected a score for each of 4 classes: \(6, 4\), got \(6, 2\); end the model in 4 outputs",
        ),
        (nn.LSTM(16, 4), r"expected a score for each of 4 classes: \(6, 4\), got tuple"),
    ],
)
def test_a_network_that_does_not_fit_the_records_is_refused_in_one_line(model, line):
    with pytest.raises(ModelError, match=f"^model: {line}") as raised:
        adapt(model, PROBE, num_classes=4)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("model", "line"),
    [
        (
            RandomForestClassifier,
            "expected a torch.nn.Module, or an estimator of scikit-learn, got the class RandomForest",
        ),
        ("cnn1d", "expected a torch.nn.Module, or an estimator of scikit-learn, got str"),
        (
            VotingClassifier([("a", GaussianNB())]),
            "expected an estimator with predict_proba or decision_function, got VotingClassifier, which has neither; "
            "pass CalibratedClassifierCV",
        ),
    ],
)
def test_what_gives_no_scores_is_refused_in_one_line(model, line):
    with pytest.raises(ModelError, match=f"^model: {line}"):
        adapt(model, VECTORS, num_classes=3, vectors=True)


@pytest.mark.parametrize(
    "estimator",
    [
        RandomForestClassifier(5, random_state=0), LogisticRegression(), SVC(), LinearSVC(), GaussianNB(),
        RidgeClassifier(), GradientBoostingClassifier(n_estimators=3), AdaBoostClassifier(n_estimators=3),
        DecisionTreeClassifier(), KNeighborsClassifier(3, algorithm="brute"),
        make_pipeline(StandardScaler(), RandomForestClassifier(3)),
        VotingClassifier([("a", LogisticRegression()), ("b", DecisionTreeClassifier())], voting="soft"),
        StackingClassifier([("a", GaussianNB()), ("b", DecisionTreeClassifier())], cv=2),
        CalibratedClassifierCV(LinearSVC(), cv=2),
    ],
    ids=lambda estimator: type(estimator).__name__,
)  # fmt: skip
def test_an_estimator_says_what_scikit_learn_says_and_survives_saving_bit_for_bit(estimator):
    from sklearn.base import clone

    X, y = records()
    windows = torch.from_numpy(X)[:, :, None]
    made = adapt(estimator, windows, num_classes=3, vectors=True)
    made.module.fit_features(made.module.describe(windows).numpy(), y)
    mine = clone(estimator)
    mine.set_params(
        **{key: 0 for key, value in mine.get_params().items() if key.endswith("random_state") and value is None}
    )
    expected = mine.fit(X, y).predict(X)
    scores = made.module(windows)
    np.testing.assert_array_equal(scores.argmax(dim=1).numpy(), expected)
    if hasattr(mine, "predict_proba"):
        np.testing.assert_allclose(scores.double().softmax(dim=1).numpy(), mine.predict_proba(X), atol=1e-6)
    again = rebuilt(made.params, None, num_classes=3, shape=(1, 5), task="multiclass", where="bundle.json")
    again.load_state_dict(made.module.state_dict())
    assert torch.equal(again(windows), scores)
    assert not hasattr(estimator, "classes_"), "the caller's estimator was fitted"


def test_of_windows_an_estimator_sees_the_documented_features():
    made = adapt(GaussianNB(), PROBE, num_classes=2).module
    assert isinstance(made, ScikitOnFeatures)
    expected, _ = window_features(PROBE.numpy().transpose(0, 2, 1))
    np.testing.assert_array_equal(made.describe(PROBE).numpy(), expected)


def test_an_estimator_that_only_a_pickle_could_hold_is_refused_by_name():
    X, y = records()
    made = ScikitOnVectors(3, 5, estimator=KNeighborsClassifier(3, algorithm="kd_tree"))
    with pytest.raises(
        ModelError, match=r"model: expected an estimator that can be saved without pickle, got KNeighbors"
    ):
        made.fit_features(X, y)


def test_class_weights_reach_an_estimator_or_are_refused():
    X, y = records()
    y = (y == 1).astype(int)
    shares = []
    for weight in (1.0, 50.0):
        made = ScikitOnVectors(2, 5, estimator=LogisticRegression(C=0.001), class_weight={1: weight})
        made.fit_features(X, y)
        shares.append(made.scores(X).argmax(axis=1).mean())
    assert shares[1] > shares[0]
    made = ScikitOnVectors(2, 5, estimator=KNeighborsClassifier(3, algorithm="brute"), class_weight={1: 2.0})
    with pytest.raises(
        ModelError, match="expected an estimator whose fit takes sample_weight, as classes have weights"
    ):
        made.fit_features(X, y)


def test_several_labels_are_an_estimator_each():
    X, y = records()
    targets = np.stack([y == 0, y > 0], axis=1).astype(int)
    made = ScikitOnVectors(2, 5, task="multilabel", estimator=LogisticRegression())
    made.fit_features(X, targets)
    expected = LogisticRegression().fit(X, targets[:, 0]).decision_function(X)
    np.testing.assert_allclose(made.scores(X)[:, 0], expected, atol=1e-4)


def test_a_network_of_ones_own_must_be_passed_to_take_its_weights():
    made = adapt(Windows(), PROBE, num_classes=4)
    settings = {"num_classes": 4, "shape": (16, 3), "task": "multiclass", "where": "bundle.json"}
    with pytest.raises(
        BundleError, match=r"bundle.json: expected the module it was trained with, Windows, which is in no"
    ):
        rebuilt(made.params, None, **settings)
    again = rebuilt(made.params, Windows(), **settings)
    assert isinstance(again, CustomNetwork)
    again.load_state_dict(made.module.state_dict())
    assert torch.equal(again(PROBE), made.module(PROBE))


def test_an_edited_tree_deep_inside_an_estimator_is_refused():
    """Only forests were looked into: a tree in a pipeline or in boosting could have read anywhere in memory."""
    X, y = records()
    for estimator in (
        make_pipeline(StandardScaler(), DecisionTreeClassifier()),
        GradientBoostingClassifier(n_estimators=2),
    ):
        fitted = estimator.fit(X, y)
        tree = (fitted[-1] if hasattr(fitted, "steps") else fitted.estimators_[0, 0]).tree_
        assert from_bytes(to_bytes({"heads": [fitted]}), "here")
        tree.feature[0] = 99
        with pytest.raises(ModelError, match="here: expected trees over 5 features, got one that asks for others"):
            from_bytes(to_bytes({"heads": [fitted]}), "here")
