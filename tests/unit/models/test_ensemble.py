"""An ensemble as a module: votes by hand and against scikit-learn, normalisation to the bit, one state dict."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.ensemble import VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.tree import DecisionTreeClassifier

from ringlight.data import window_spec
from ringlight.data.window_spec import WindowSpec
from ringlight.errors import ModelError, Problems
from ringlight.models import MODELS, EnsembleModel, build_sequence_model
from ringlight.models import ensemble as module_of_ensembles
from ringlight.models.ensemble import FLOOR, Normaliser, stacking_features
from ringlight.models.ensemble_members import DEFAULT_MEMBERS
from ringlight.models.estimator import EstimatorModel

NETWORK = {"name": "cnn1d", "filters": [4, 4]}
FOREST = {"name": "random_forest", "n_estimators": 5, "feature_groups": ["statistics"]}


def built(*, members=(NETWORK, NETWORK), task="multiclass", voting="soft", num_classes=3):
    torch.manual_seed(0)
    return build_sequence_model(
        "ensemble", num_classes=num_classes, in_chans=2, length=16, task=task,
        params={"members": list(members), "voting": voting},
    ).module.eval()  # fmt: skip


def windows(count=6):
    rng = np.random.default_rng(3)
    return (rng.normal(size=(count, 16, 2)) * [1.0, 40.0] + [5.0, -300.0]).astype(np.float32)


def fit_forest(model, task="multiclass"):
    forest = next(member.model for member in model.parts if isinstance(member.model, EstimatorModel))
    values = torch.from_numpy(windows(12).transpose(0, 2, 1).copy())
    targets = np.arange(12) % 3 if task == "multiclass" else (np.arange(12)[:, None] >> np.arange(3)) & 1
    forest.fit_features(forest.describe(values), targets)
    return values


# --- voting -----------------------------------------------------------------------------------------------------------


def test_a_vote_is_the_weighted_mean_of_probabilities_by_hand():
    """One member says 0.8, the other 0.5; at weights 3 to 1 that is 0.725."""
    model = built(num_classes=2)
    model.weights.copy_(torch.tensor([0.75, 0.25]))
    logits = torch.tensor([[[math.log(0.8), math.log(0.2)]], [[7.0, 7.0]]])
    np.testing.assert_allclose(model.combine(logits).exp(), [[0.725, 0.275]], rtol=1e-6)


def test_scores_are_divided_by_their_members_temperature_before_the_vote():
    model = built(num_classes=2)
    model.weights.copy_(torch.tensor([1.0, 0.0]))
    model.temperatures.copy_(torch.tensor([0.5, 1.0]))
    logits = torch.tensor([[[0.5 * math.log(0.8), 0.5 * math.log(0.2)]], [[7.0, 7.0]]])
    np.testing.assert_allclose(model.combine(logits).exp(), [[0.8, 0.2]], rtol=1e-6)


def test_a_vote_on_several_labels_is_the_mean_of_each_labels_probability():
    model = built(task="multilabel", num_classes=2)
    model.weights.copy_(torch.tensor([0.75, 0.25]))
    logits = torch.tensor([[[math.log(4.0), -40.0]], [[0.0, -40.0]]])
    np.testing.assert_allclose(model.combine(logits).sigmoid(), [[0.725, math.exp(-40.0)]], rtol=1e-5)


def test_votes_are_those_of_scikit_learn_to_the_eighth_digit():
    rng = np.random.default_rng(0)
    inputs, truth = rng.normal(size=(60, 4)), np.arange(60) % 3
    inputs[:, 0] += truth
    parts = [LogisticRegression(), DecisionTreeClassifier(max_depth=2, random_state=0), KNeighborsClassifier(7)]
    weights = [0.2, 0.5, 0.3]
    voting = VotingClassifier(list(zip("abc", parts, strict=True)), voting="soft", weights=weights).fit(inputs, truth)
    model = built(members=(NETWORK, NETWORK, NETWORK))
    model.weights.copy_(torch.tensor(weights))
    with np.errstate(divide="ignore"):  # a leaf or a neighbourhood without a class
        logits = [np.log(np.maximum(part.predict_proba(inputs), 1e-30)) for part in voting.estimators_]
    found = model.combine(torch.from_numpy(np.stack(logits)))
    np.testing.assert_allclose(torch.softmax(found.double(), -1), voting.predict_proba(inputs), atol=1e-8)


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_a_naive_loop_votes_alike(task):
    model = built(task=task, members=(NETWORK, NETWORK, NETWORK))
    model.weights.copy_(torch.tensor([0.6, 0.0, 0.4]))
    logits = torch.randn(3, 5, 3, generator=torch.Generator().manual_seed(1)) * 4
    found = model.combine(logits).double()
    for row in range(5):
        mean = torch.zeros(3, dtype=torch.float64)
        for member in range(3):
            one = logits[member, row].double()
            mean += model.weights[member] * (one.softmax(-1) if task == "multiclass" else one.sigmoid())
        said = found[row].softmax(-1) if task == "multiclass" else found[row].sigmoid()
        torch.testing.assert_close(said, mean, rtol=1e-5, atol=1e-8)


def test_members_that_are_certain_and_opposed_give_finite_scores():
    """Probabilities of exactly 0 and 1 have no logarithm in single precision."""
    model = built(num_classes=2)
    logits = torch.tensor([[[3e4, -3e4]], [[-3e4, 3e4]]])
    np.testing.assert_allclose(model.combine(logits).exp(), [[0.5, 0.5]], rtol=1e-6)
    model.weights.copy_(torch.tensor([1.0, 0.0]))
    assert torch.isfinite(model.combine(logits)).all()


# --- stacking ---------------------------------------------------------------------------------------------------------


def test_stacking_regresses_on_floored_log_probabilities_member_by_member():
    logits = torch.tensor([[[0.0, 0.0]], [[99.0, 0.0]]])
    expected = [[math.log(0.5), math.log(0.5), 0.0, math.log(FLOOR)]]
    np.testing.assert_allclose(stacking_features(logits, "multiclass"), expected, atol=1e-6)
    found = stacking_features(torch.tensor([[[2.0, -99.0]], [[99.0, 0.5]]]), "multilabel")
    np.testing.assert_allclose(found, [[2.0, math.log(FLOOR), -math.log(FLOOR), 0.5]], atol=1e-5)


def test_a_stack_that_was_not_fitted_is_the_mean_of_the_members_scores():
    model = built(voting="stacking")
    logits = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(model.combine(logits), logits.log_softmax(-1).mean(0))


# --- members and their input ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("normalize", ["channel", "window", "none"])
def test_members_normalise_as_the_specification_does(normalize):
    """A model in an ensemble must see what it saw alone; a still channel and an offset are the hard cases."""
    values = np.concatenate([windows(40), np.full((1, 16, 2), 1e6, np.float32)])
    values[3, :, 0] = 7.5
    statistics = {"mean": (5.1, -297.3), "std": (1.03, 39.7)} if normalize == "channel" else {}
    spec = WindowSpec(("p", "q"), 16, normalize=normalize, **statistics)
    normaliser = Normaliser(normalize, 2)
    normaliser.set_statistics(spec.mean, spec.std)
    found = normaliser(torch.from_numpy(values.transpose(0, 2, 1).copy()))
    if normalize == "window":  # sums in double precision, in another order
        torch.testing.assert_close(found, spec.apply(values), rtol=0, atol=1e-6)
    else:
        assert torch.equal(found, spec.apply(values))


def test_a_channel_is_still_at_the_same_share_as_in_the_specification():
    assert window_spec.STILL == module_of_ensembles.STILL


def test_each_member_gets_physical_units_and_its_own_normalisation():
    model = built(members=(FOREST, {**NETWORK, "normalize": "window"}, NETWORK))
    assert [member.normaliser.normalize for member in model.parts] == ["none", "window", "channel"]
    assert {key for key in model.state_dict() if "normaliser" in key} == {
        "members.2.normaliser.mean", "members.2.normaliser.std",
    }  # fmt: skip


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
@pytest.mark.parametrize("voting", ["soft", "stacking"])
def test_one_state_dict_holds_all_and_loads_to_the_bit(task, voting):
    """The estimator inside lies in it as bytes, which a fresh ensemble does not know the length of."""
    model = built(members=(FOREST, NETWORK), task=task, voting=voting)
    values = fit_forest(model, task)
    model.parts[1].normaliser.set_statistics([5.0, -300.0], [1.0, 40.0])
    torch.manual_seed(5)
    twin = build_sequence_model(
        "ensemble", num_classes=3, in_chans=2, length=16, task=task,
        params={"members": model.architecture, "voting": voting},
    ).module.eval()  # fmt: skip
    twin.load_state_dict(model.state_dict())
    with torch.no_grad():
        assert torch.equal(twin(values), model(values))
    assert twin.architecture == model.architecture


def test_known_features_give_the_scores_of_the_windows_themselves():
    model = built(members=(FOREST, NETWORK))
    values = fit_forest(model)
    features = model.parts[0].model.describe(values).numpy()
    with torch.no_grad():
        assert torch.equal(model.member_logits(values, {0: features}), model.member_logits(values))


def test_an_ensemble_that_was_not_fitted_says_so():
    with pytest.raises(ModelError, match="RandomForest: expected a fitted estimator"):
        built(members=(FOREST, NETWORK))(torch.zeros(1, 2, 16))


def test_windows_of_other_channels_are_refused_in_one_line():
    with pytest.raises(ModelError) as caught:
        built()(torch.zeros(2, 4, 16))
    assert str(caught.value) == (
        "input of EnsembleModel: expected windows (B, 2, T): 2 channels, then time, got (2, 4, 16); "
        "give the channels it was built for, in their order"
    )


# --- bad input --------------------------------------------------------------------------------------------------------


def test_an_ensemble_without_named_members_has_the_default_ones():
    model = MODELS.build("ensemble", num_classes=2, in_chans=2, length=16)
    assert isinstance(model, EnsembleModel)
    assert tuple(one["name"] for one in model.architecture) == DEFAULT_MEMBERS


@pytest.mark.parametrize(
    ("params", "line"),
    [
        ({"num_folds": 1}, "model.num_folds: expected a number of at least 2, got 1; correct the value"),
        ({"penalty": 0.0}, "model.penalty: expected a number above 0, got 0; correct the value"),
        (
            {"members": ["svm", {"name": "svm", "C": -1.0}]},
            "model.members[1].C: expected a number above 0, got -1; correct the value",
        ),
    ],
)
def test_numbers_out_of_range_are_refused_in_one_line(params, line):
    with pytest.raises(ModelError) as caught:
        build_sequence_model("ensemble", num_classes=2, in_chans=2, length=16, params=params)
    assert str(caught.value) == line


def test_the_path_of_a_run_is_refused_where_nobody_reads_it():
    with pytest.raises(Problems, match=r"^model.members\[1\]: expected a model, got a run; `ringlight train windows"):
        EnsembleModel(2, 2, length=16, members=["svm", {"run": "runs/a"}])
