"""Estimators as modules: scores equal scikit-learn's, saving keeps every bit, edited bytes are refused."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import pickle
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression as Regression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.utils.class_weight import compute_sample_weight

from ringlight.errors import ModelError, Problems
from ringlight.models import MODELS, build_sequence_model, is_estimator, takes_of
from ringlight.models.classical import FeatureModel
from ringlight.models.estimator import EstimatorModel
from ringlight.models.estimators_io import DIGEST, from_bytes, to_bytes
from ringlight.models.window_features import window_features

SMALL: dict[str, dict[str, Any]] = {
    "random_forest": {"n_estimators": 9},
    "extra_trees": {"n_estimators": 9},
    "svm": {},
    "logistic_regression": {},
    "gradient_boosting": {"n_estimators": 4, "min_samples_leaf": 5},
}
CLASSES = 3


def build(name: str, *, num_classes: int = CLASSES, task: Any = "multiclass", seed: int = 0, **params: Any):
    built = build_sequence_model(
        name, num_classes=num_classes, in_chans=2, length=32, task=task, seed=seed,
        params={"feature_groups": ["statistics"], **SMALL.get(name, {}), **params},
    )  # fmt: skip
    assert isinstance(built.module, EstimatorModel)
    return built.module


@pytest.fixture(scope="module")
def windows() -> torch.Tensor:
    """Windows (45, 2, 32) of three classes, told apart by their deviation."""
    rng = np.random.default_rng(0)
    scale = np.repeat([0.5, 1.0, 2.0], 15)[:, None, None]
    return torch.from_numpy((rng.normal(size=(45, 2, 32)) * scale).astype(np.float32))


TARGETS = np.repeat(np.arange(3), 15)


def fitted(name: str, windows: torch.Tensor, targets: Any = TARGETS, *, weight: Any = None, **options: Any):
    model = build(name, **options)
    model.fit_features(model.describe(windows).numpy(), targets, weight)
    return model


def labels_of(task: str, num_classes: int) -> np.ndarray:
    if task == "multiclass":
        return TARGETS % num_classes
    return np.random.default_rng(1).integers(0, 2, (45, num_classes))


@pytest.mark.parametrize("num_classes", [2, 3])
@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
@pytest.mark.parametrize("name", SMALL)
def test_a_fresh_model_loads_the_state_strictly_and_predicts_the_same_bits(name, task, num_classes, windows):
    options = {"task": task, "num_classes": num_classes}
    model = fitted(name, windows, labels_of(task, num_classes), **options)
    fresh = build(name, seed=5, **options)
    state = model.state_dict()
    assert list(state) == ["estimator"]
    assert state["estimator"].dtype == torch.uint8
    fresh.load_state_dict({key: value.clone() for key, value in state.items()}, strict=True)
    logits = model(windows)
    assert logits.shape == (45, num_classes)
    assert logits.dtype == torch.float32
    assert torch.isfinite(logits).all()
    assert torch.equal(fresh(windows), logits)
    assert torch.equal(torch.cat([fresh(windows[:1]), fresh(windows[1:7]), fresh(windows[7:])]), logits)
    assert torch.equal(torch.from_numpy(model.scores(model.describe(windows).numpy())), logits)


@pytest.mark.parametrize("name", SMALL)
def test_it_learns_and_repeats_with_its_seed(name, windows):
    model = fitted(name, windows)
    assert (model(windows).argmax(1).numpy() == TARGETS).mean() > 0.9
    assert torch.equal(fitted(name, windows)(windows), model(windows))


def test_one_thread_or_two_give_the_same_bits(windows):
    """The votes of a forest were once added up by threads, in the order in which these were done."""
    one = fitted("random_forest", windows)(windows)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        two = fitted("random_forest", windows)
        assert torch.equal(two(windows), one)
    finally:
        torch.set_num_threads(threads)


def test_a_forests_scores_are_its_shares_with_one_more_vote(windows):
    model = fitted("random_forest", windows)
    features = model.describe(windows).numpy()
    forest = RandomForestClassifier(9, random_state=0).fit(features, TARGETS)
    expected = (forest.predict_proba(features) * 9 + 1 / 3) / 10
    np.testing.assert_allclose(torch.softmax(model(windows), 1).numpy(), expected, rtol=1e-5)


def test_of_a_label_a_forests_score_is_the_log_odds_with_half_a_vote_more_on_either_side(windows):
    labels = labels_of("multilabel", 3)
    model = fitted("random_forest", windows, labels, task="multilabel")
    features = model.describe(windows).numpy()
    for column in range(3):
        forest = RandomForestClassifier(9, random_state=0).fit(features, labels[:, column])
        expected = (forest.predict_proba(features)[:, 1] * 9 + 0.5) / 10
        np.testing.assert_allclose(torch.sigmoid(model(windows)[:, column]).numpy(), expected, rtol=1e-5)


@pytest.mark.parametrize("num_classes", [2, 3])
def test_the_soft_max_of_logistic_regression_is_its_probability(num_classes, windows):
    labels = TARGETS % num_classes
    model = fitted("logistic_regression", windows, labels, num_classes=num_classes, C=0.3)
    features = model.describe(windows).numpy().astype(np.float64)
    other = make_pipeline(StandardScaler(), Regression(C=0.3, max_iter=500)).fit(features, labels)
    np.testing.assert_allclose(torch.softmax(model(windows), 1).numpy(), other.predict_proba(features), atol=1e-5)


@pytest.mark.parametrize("num_classes", [2, 3])
def test_scores_of_the_svm_are_its_decision_values_two_columns_for_two_classes(num_classes, windows):
    labels = TARGETS % num_classes
    model = fitted("svm", windows, labels, num_classes=num_classes)
    features = model.describe(windows).numpy().astype(np.float64)
    decision = make_pipeline(StandardScaler(), SVC(C=10.0)).fit(features, labels).decision_function(features)
    found = model(windows).numpy()
    if num_classes == 2:
        np.testing.assert_allclose(found[:, 1] - found[:, 0], decision, atol=1e-5)
        np.testing.assert_allclose(found.sum(axis=1), 0, atol=1e-6)
    else:
        np.testing.assert_allclose(found, decision, atol=1e-5)


@pytest.mark.parametrize("class_weight", ["balanced", {0: 1.0, 2: 4.0}])
def test_class_weights_are_scikit_learns(class_weight, windows):
    few = np.r_[0:15, 15:20, 30:33]
    model = fitted("logistic_regression", windows[few], TARGETS[few], class_weight=class_weight)
    features = model.describe(windows[few]).numpy().astype(np.float64)
    own = compute_sample_weight(class_weight if class_weight == "balanced" else {1: 1.0, **class_weight}, TARGETS[few])
    standard = StandardScaler().fit(features)
    other = Regression(max_iter=500).fit(standard.transform(features), TARGETS[few], own / own.mean())
    np.testing.assert_allclose(
        torch.softmax(model(windows), 1).numpy(),
        other.predict_proba(standard.transform(model.describe(windows).numpy().astype(np.float64))),
        atol=1e-4,
    )


def test_of_several_labels_the_rarest_weighs_a_record_and_a_clean_one_counts_once():
    labels = np.array([[1, 0], [1, 1], [1, 0], [1, 0], [0, 0]])
    weights = build("svm", num_classes=2, task="multilabel", class_weight="balanced")._weights_of_classes(labels)
    np.testing.assert_allclose(weights, [5 / (2 * 4), 5 / 2, 5 / 8, 5 / 8, 1])


def test_weights_of_records_are_scikit_learns(windows):
    twice = np.where(TARGETS == 1, 2.0, 1.0)
    model = fitted("logistic_regression", windows, weight=twice, C=1.0)
    features = model.describe(windows).numpy().astype(np.float64)
    standard = StandardScaler().fit(features)
    other = Regression(max_iter=500, C=1.0).fit(
        standard.transform(features), TARGETS, twice / twice.mean()
    )  # the weights' mean is 1, so that C means the same with and without them
    np.testing.assert_allclose(
        model(windows).softmax(1).numpy(), other.predict_proba(standard.transform(features)), atol=1e-4
    )


def test_a_record_of_weight_zero_is_not_there(windows):
    without = fitted("extra_trees", windows[:30], TARGETS[:30])
    model = fitted("extra_trees", windows, weight=(TARGETS < 2).astype(float))
    assert torch.equal(model(windows), without(windows))


@pytest.mark.parametrize("name", SMALL)
def test_a_class_that_the_training_records_lack_scores_lowest(name, windows):
    """A fold may lack a rare class: the columns of the others once moved up into its place."""
    model = fitted(name, windows[15:], TARGETS[15:])
    logits = model(windows)
    assert logits.shape == (45, 3)
    assert (logits[:, 0] < logits[:, 1:].min(dim=1).values - 5).all()
    assert (logits[15:].argmax(1).numpy() == TARGETS[15:]).mean() > 0.8


@pytest.mark.parametrize("name", ["svm", "random_forest"])
def test_one_class_alone_is_always_right(name, windows):
    model = fitted(name, windows[:15], TARGETS[:15] + 2)
    assert model(windows).argmax(1).tolist() == [2] * 45
    labels = np.stack([np.ones(45), np.zeros(45), TARGETS == 1], axis=1).astype(int)
    several = fitted(name, windows, labels, task="multilabel")(windows)
    assert (several[:, 0] > 5).all()
    assert (several[:, 1] < -5).all()


def test_a_solver_that_stops_early_says_so_in_the_log(windows, caplog):
    with caplog.at_level(logging.WARNING, "ringlight"):
        fitted("logistic_regression", windows, C=1000.0, max_iter=1)
    assert "LogisticRegression: lbfgs failed to converge" in caplog.text


def test_features_are_those_of_the_documented_function(windows):
    model = build("svm", feature_groups=["correlation", "statistics"], invariance="offset")
    expected, _ = window_features(
        windows.numpy().transpose(0, 2, 1), groups=["statistics", "correlation"], invariance="offset"
    )
    np.testing.assert_array_equal(model.describe(windows).numpy(), expected)
    assert model.description != build("svm").description
    assert build("svm").description == build("random_forest").description  # one pass serves both


# --- Saving


def test_nothing_is_pickled_and_a_pickle_is_not_read(windows):
    data = fitted("random_forest", windows).estimator.numpy().tobytes()
    names = zipfile.ZipFile(io.BytesIO(data[DIGEST:])).namelist()
    assert all(name.endswith((".npy", ".json")) for name in names)
    with pytest.raises(ModelError, match="expected an estimator as it was written, got another checksum"):
        from_bytes(pickle.dumps([1]), "state")


def test_a_changed_byte_is_refused_wherever_it_stands(windows):
    model = fitted("svm", windows)
    state = model.state_dict()
    size = len(state["estimator"])
    for place in [0, DIGEST, size // 2, size - 1]:
        edited = state["estimator"].clone()
        edited[place] ^= 1
        with pytest.raises(ModelError, match="estimator: expected an estimator as it was written, got another checks"):
            build("svm").load_state_dict({"estimator": edited})


def signed(data: bytes) -> bytes:
    return hashlib.sha256(data).digest() + data


def rewritten(data: bytes, change: Callable[[dict[str, Any]], None]) -> bytes:
    """Edit the schema inside and give it a right checksum, as an attacker would."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data[DIGEST:])) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "schema.json":
                schema = json.loads(content)
                change(schema)
                content = json.dumps(schema).encode()
            new.writestr(name, content)
    return signed(out.getvalue())


def test_a_type_outside_the_list_is_refused_before_anything_is_built():
    data = to_bytes({"heads": [np.arange(3)]})

    def change(schema: dict[str, Any]) -> None:
        schema["__module__"], schema["__class__"] = "os", "system"

    with pytest.raises(ModelError, match=r"state: expected only types of fitted estimators, got os\.system"):
        from_bytes(rewritten(data, change), "state")


@pytest.mark.parametrize("data", [b"", b"x" * 10, signed(b""), signed(b"PK\x03\x04"), signed(b"x" * 1000)])
def test_bytes_that_are_no_archive_are_refused_in_one_line(data):
    with pytest.raises(ModelError, match="state: expected an estimator as it was written") as caught:
        from_bytes(data, "state")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("child", [0, 10**6])
def test_a_tree_that_points_out_of_itself_is_refused(child, windows):
    """Compiled code follows the numbers of a tree without a look: into other memory, or in a circle for ever."""
    model = fitted("random_forest", windows)
    forest = model._fitted["heads"][0]["estimator"]
    forest.estimators_[3].tree_.children_left[0] = child
    with pytest.raises(ModelError, match="expected trees whose nodes point behind themselves"):
        from_bytes(to_bytes(model._fitted), "state")


def test_a_tree_that_asks_for_a_feature_that_is_not_there_is_refused(windows):
    model = fitted("gradient_boosting", windows)
    booster = model._fitted["heads"][0]["estimator"]
    booster._predictors[0][0].nodes["feature_idx"][0] = 999
    with pytest.raises(ModelError, match="expected trees over 38 features, got one that asks for others"):
        from_bytes(to_bytes(model._fitted), "state")


def test_a_machine_whose_arrays_do_not_fit_is_refused(windows):
    model = fitted("svm", windows)
    machine = model._fitted["heads"][0]["estimator"]
    machine._n_support = machine._n_support + 50
    with pytest.raises(ModelError, match="expected a support-vector machine whose arrays fit together"):
        from_bytes(to_bytes(model._fitted), "state")


@pytest.mark.parametrize("other", [("svm", {"num_classes": 2}), ("svm", {"task": "multilabel"}), ("extra_trees", {})])
def test_the_state_of_another_model_is_refused(other, windows):
    name, options = other
    with pytest.raises(ModelError, match="load it into the model it was saved from"):
        build(name, **options).load_state_dict(fitted("svm", windows).state_dict())


def test_an_unfitted_model_saves_and_loads_as_one(windows):
    fresh = build("svm")
    fresh.load_state_dict(build("svm").state_dict())
    assert not fresh.is_fitted
    loaded = fitted("svm", windows)
    loaded.load_state_dict(fresh.state_dict())
    assert not loaded.is_fitted  # what it knew before is gone


def test_moving_it_changes_nothing(windows):
    model = fitted("svm", windows)
    expected = model(windows)
    assert torch.equal(model.to("cpu").eval().train().half()(windows), expected)


# --- What is refused


def test_parameters_are_spelt_out_and_checked():
    with pytest.raises(
        Problems, match=r"model\.n_estimator: expected a parameter of model `random_forest`, got unknown"
    ):
        build("random_forest", n_estimator=5)
    with pytest.raises(Problems, match=r"model\.C: expected a valid number, got 'high'"):
        build("svm", C="high")
    assert {entry.name for entry in MODELS.parameters("random_forest")} == {
        "n_estimators", "max_depth", "min_samples_split", "min_samples_leaf", "max_features", "bootstrap",
        "class_weight", "feature_groups", "invariance",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "params", "told"),
    [
        ("random_forest", {"n_estimators": 0}, "model.n_estimators: expected a number of at least 1, got 0; correct"),
        ("random_forest", {"max_depth": 0}, "model.max_depth: expected a number of at least 1"),
        ("extra_trees", {"min_samples_split": 1}, "model.min_samples_split: expected a number of at least 2, got 1"),
        ("extra_trees", {"min_samples_leaf": 0}, "model.min_samples_leaf: expected a number of at least 1"),
        ("extra_trees", {"max_features": 1.5}, "model.max_features: expected sqrt, log2, null, or a share above 0"),
        ("svm", {"C": 0.0}, "model.C: expected a number above 0, got 0"),
        ("svm", {"gamma": -1.0}, "model.gamma: expected a number above 0, got -1"),
        ("logistic_regression", {"max_iter": 0}, "model.max_iter: expected a number of at least 1"),
        ("gradient_boosting", {"learning_rate": 0.0}, "model.learning_rate: expected a number above 0"),
        ("gradient_boosting", {"max_features": 2.0}, "model.max_features: expected a share up to 1, got 2"),
        ("svm", {"feature_groups": []}, r"model.feature_groups: expected one or more groups of features, got \[\]"),
        ("svm", {"class_weight": {3: 1.0}}, r"model.class_weight: expected `balanced`, null, or weights above 0 by cl"),
        ("svm", {"class_weight": {0: 0.0}}, r"\(0 to 2\), got {0: 0.0}; write model.class_weight={1: 5.0}"),
    ],
)
def test_values_that_make_no_sense_are_refused(name, params, told):
    with pytest.raises(ModelError, match=told):
        build(name, **params)


def test_one_channel_has_no_correlations():
    with pytest.raises(ModelError, match="groups of features that one channel has, got"):
        build_sequence_model(
            "svm", num_classes=2, in_chans=1, length=32, params={"feature_groups": ["correlation"]}
        )  # fmt: skip


def test_weights_by_class_survive_the_way_through_a_bundles_json(windows):
    """JSON has no numbers for keys: {1: 5.0} comes back as {"1": 5.0}."""
    params = json.loads(json.dumps({"class_weight": {1: 5.0}}))
    assert build("svm", **params).class_weight == {1: 5.0}


@pytest.mark.parametrize(
    ("features", "targets", "weight", "told"),
    [
        (np.zeros((4, 3)), np.zeros(5, int), None, r"SVM: expected features \(N, D\) and targets \(N,\), got"),
        (np.zeros(4), np.zeros(4, int), None, r"got shapes \(4,\) and \(4,\); give one target a window"),
        (np.full((4, 3), np.nan), np.zeros(4, int), None, "SVM: expected finite features, got 4 records with others"),
        (np.zeros((4, 3)), np.full(4, 7), None, r"SVM: expected targets from 0 to 2, got \[7, 7\]"),
        (np.zeros((4, 3)), np.full(4, 0.5), None, r"SVM: expected targets from 0 to 2, got \[0.5, 0.5\]"),
        (np.zeros((4, 3)), np.zeros(4, int), np.zeros(4), "sample_weight: expected 4 weights of 0 or more, not all 0"),
        (np.zeros((4, 3)), np.zeros(4, int), -np.ones(4), "sample_weight: expected 4 weights of 0 or more"),
        (np.zeros((4, 3)), np.zeros(4, int), np.ones(1), r"got shape \(1,\); give how often each record counts"),
    ],
)  # fmt: skip
def test_what_cannot_be_fitted_is_refused(features, targets, weight, told):
    with pytest.raises(ModelError, match=told):
        build("svm").fit_features(features, targets, weight)


def test_what_cannot_be_scored_is_refused(windows):
    with pytest.raises(ModelError, match="RandomForest: expected a fitted estimator, got one that was not fitted; tra"):
        build("random_forest")(windows)
    model = fitted("random_forest", windows)
    with pytest.raises(ModelError, match=r"RandomForest: expected features \(N, 38\), as it was fitted to, got shape"):
        model.scores(np.zeros((2, 5), np.float32))
    with pytest.raises(ModelError, match=r"expected windows \(B, 2, T\): 2 channels, then time, got \(2, 3, 32\)"):
        model(torch.zeros(2, 3, 32))
    with pytest.raises(ModelError, match=r"got \(2, 32\)"):
        model(torch.zeros(2, 32))


def test_the_catalogue_lists_them_as_models_of_windows():
    assert all(takes_of(MODELS.parts[name]) == "windows" and is_estimator(MODELS.parts[name]) for name in SMALL)
    assert all(issubclass(MODELS.parts[name], FeatureModel) for name in SMALL)  # type: ignore[arg-type]
    assert MODELS.describe()["svm"].startswith("Support-vector machine with a Gaussian kernel")


@pytest.mark.slow
def test_people_it_has_never_seen_are_recognised(real_data):
    """HAR windows, official test subjects: 97.3 % were measured."""
    har = np.load(real_data.file("har9.npz"), allow_pickle=False)
    signals = torch.from_numpy((har["X"].astype(np.float32) * har["scale"]).transpose(0, 2, 1).copy())
    test = har["is_official_test_subject"]
    model = build_sequence_model("svm", num_classes=6, in_chans=9, length=128).module
    model.fit_features(model.describe(signals[~test]).numpy(), har["y"][~test])
    assert (model(signals[test]).argmax(1).numpy() == har["y"][test]).mean() > 0.96
