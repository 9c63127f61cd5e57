"""`imbalance.method=auto`: what is tried, on which records, when plain cross-entropy stays, and what is said."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from ringlight.config.schema import Config
from ringlight.errors import ConfigError
from ringlight.evaluation.metrics import classification_metrics
from ringlight.training import imbalance_choice
from ringlight.training.drawing import Seen
from ringlight.training.imbalance import METHODS
from ringlight.training.imbalance_choice import LEAST_GAIN, SHORT_LIST, TAUS, Choice, Tried, choose_method
from ringlight.types import Dataset, Task

DatasetOf = Callable[..., Dataset]
Features = npt.NDArray[np.float32]


def config_of(**sections: Any) -> Config:
    return Config.model_validate({"training": {"num_epochs": 5}, **sections})


def features_of(labels: Sequence[int], *, gap: float, seed: int = 0) -> Features:
    """Return six numbers a record: noise of deviation 1, the number of its class higher by `gap`."""
    features = np.random.default_rng(seed).normal(size=(len(labels), 6)).astype(np.float32)
    features[np.arange(len(labels)), list(labels)] += gap
    return features


def skewed(dataset_of: DatasetOf, gap: float = 1.8) -> tuple[Dataset, Features]:
    """Two frequent classes and one that is ten times as rare; they overlap."""
    labels = [0] * 120 + [1] * 120 + [2] * 12
    return dataset_of(labels), features_of(labels, gap=gap)


# --- what is chosen ---------------------------------------------------------------------------------------------------


def test_where_a_rare_class_is_drowned_a_method_takes_the_place_of_plain_cross_entropy(dataset_of: DatasetOf) -> None:
    choice = choose_method(config_of(), *skewed(dataset_of))
    assert choice.method != "none"
    assert choice.rarest == "c2"
    plain, chosen = choice.tried[0], next(one for one in choice.tried if one.method == choice.method)
    assert plain.method == "none"
    assert plain.gain is None
    assert chosen.gain == pytest.approx(chosen.macro_f1 - plain.macro_f1)
    assert chosen.gain >= LEAST_GAIN
    assert chosen.low is not None
    assert chosen.high is not None
    assert chosen.low <= chosen.gain <= chosen.high
    assert (chosen.recall_of_rarest or 0) > (plain.recall_of_rarest or 0)
    assert choice.sentence.startswith(f"imbalance: auto chose {choice.method}")
    assert f"macro-F1 {plain.macro_f1:.3f} -> {chosen.macro_f1:.3f}" in choice.sentence
    assert f"recall of `c2` {plain.recall_of_rarest:.2f} -> {chosen.recall_of_rarest:.2f}" in choice.sentence
    assert choice.sentence.endswith("on held-out training records, 3 times 5 grouped folds of frozen features")


def test_several_labels_one_of_them_rare(dataset_of: DatasetOf) -> None:
    rng = np.random.default_rng(3)
    labels = [[0] * bool(index % 2) + [1] * (index % 12 == 0) for index in range(240)]
    features = rng.normal(size=(240, 4)).astype(np.float32)
    for row, found in enumerate(labels):
        features[row, found] += 1.5
    choice = choose_method(config_of(loss={"name": "bce_with_logits"}), dataset_of(labels), features)
    assert [one.method for one in choice.tried] == ["none", "class_weights", "asymmetric", "post_hoc", "post_hoc"]
    assert choice.rarest == "c1"
    assert choice.method != "none"


@pytest.mark.parametrize("gap", [0.5, 1.8])
def test_balanced_classes_keep_it(gap: float, dataset_of: DatasetOf) -> None:
    labels = [0] * 40 + [1] * 40 + [2] * 40
    choice = choose_method(config_of(), dataset_of(labels), features_of(labels, gap=gap))
    assert (choice.method, choice.tau) == ("none", None)
    assert choice.sentence.startswith("imbalance: auto keeps plain cross-entropy (macro-F1 ")


def test_classes_that_are_told_apart_anyway_keep_it_however_skewed(dataset_of: DatasetOf) -> None:
    choice = choose_method(config_of(), *skewed(dataset_of, gap=12.0))
    assert choice.method == "none"
    assert choice.tried[0].macro_f1 == 1.0


def test_one_seed_gives_one_choice_and_another_draws_other_folds(dataset_of: DatasetOf) -> None:
    data, features = skewed(dataset_of)
    first, again = (choose_method(config_of(), data, features) for _ in range(2))
    assert first == again
    other = choose_method(config_of(experiment={"seed": 43}), data, features)
    assert other.tried[0].macro_f1 != first.tried[0].macro_f1


def test_the_order_of_the_records_changes_nothing_but_rounding(dataset_of: DatasetOf) -> None:
    data, features = skewed(dataset_of)
    order = np.random.default_rng(0).permutation(len(data))
    first, second = (
        choose_method(config_of(), data, features),
        choose_method(config_of(), data.take(order), features[order]),
    )
    assert (second.method, second.tau) == (first.method, first.tau)
    assert second.tried[0].macro_f1 == pytest.approx(first.tried[0].macro_f1, abs=0.02)


@pytest.mark.parametrize(("gain", "method"), [(LEAST_GAIN, "focal"), (0.9 * LEAST_GAIN, "none"), (-0.1, "none")])
def test_a_gain_too_small_to_speak_of_is_a_tie_which_plain_cross_entropy_wins(gain: float, method: str) -> None:
    plain = Tried(method="none", tau=None, macro_f1=0.8, recall_of_rarest=None)
    other = Tried(
        method="focal", tau=None, macro_f1=0.8 + gain, recall_of_rarest=0.25, gain=gain, low=gain - 0.01, high=0.02
    )
    choice = imbalance_choice._decide((plain, other), "c1")
    assert choice.method == method
    told = f"{100 * gain:+.1f} points [{100 * gain - 1:+.1f}, +2.0]"
    assert told in choice.sentence
    if method == "focal":
        assert "recall of `c1` unknown -> 0.25" in choice.sentence


# --- what an epoch shows ----------------------------------------------------------------------------------------------


def test_a_sampler_that_balances_leaves_no_prior_to_take_out(dataset_of: DatasetOf) -> None:
    """Classes that are shown equally often have no prior: taking the bare counts' out would overshoot."""
    data, features = skewed(dataset_of)
    weights = np.where(np.asarray(data.targets()) == 2, 10.0, 1.0)
    choice = choose_method(config_of(), data, features, seen=Seen((120, 120, 120), 360), weights=weights)
    assert choice.method == "none"
    bare = choose_method(config_of(), data, features)
    assert (choice.tried[0].recall_of_rarest or 0) > (bare.tried[0].recall_of_rarest or 0)
    for one in choice.tried[1:]:
        assert one.gain == 0.0


# --- leakage ----------------------------------------------------------------------------------------------------------


def test_a_group_is_never_on_both_sides_of_a_fold(dataset_of: DatasetOf, monkeypatch: pytest.MonkeyPatch) -> None:
    groups = [f"g{index // 4}" for index in range(96)]
    labels = [int(index // 4 % 3 == 0) for index in range(96)]
    data = dataset_of(labels, group=groups)
    seen: list[tuple[set[str], set[str]]] = []
    make = imbalance_choice.make_folds

    def spying(*arguments: Any, **named: Any) -> Any:
        folds = make(*arguments, **named)
        seen.extend(({groups[row] for row in fit}, {groups[row] for row in held}) for fit, held in folds)
        return folds

    monkeypatch.setattr(imbalance_choice, "make_folds", spying)
    choose_method(config_of(), data, features_of(labels, gap=1.0))
    assert len(seen) == 15
    assert all(not fit & held for fit, held in seen)


def test_a_record_copied_often_promises_nothing(dataset_of: DatasetOf) -> None:
    """Copies in one group are resampled together: the doubt about a gain is that of the groups, not of the records."""
    labels = [0] * 40 + [1] * 8
    features = features_of(labels, gap=1.5, seed=5)
    single = choose_method(config_of(), dataset_of(labels), features)
    copied = dataset_of(labels * 6, group=[f"g{index}" for index in range(48)] * 6)
    many = choose_method(config_of(), copied, np.tile(features, (6, 1)))

    def widths(choice: Choice) -> list[float]:
        return [float(one.high or 0) - float(one.low or 0) for one in choice.tried[1:]]

    assert np.mean(widths(many)) > 0.5 * np.mean(widths(single)) > 0


# --- nothing can be tried ---------------------------------------------------------------------------------------------


def test_a_class_of_too_few_groups_leaves_it_undecided_and_says_why(dataset_of: DatasetOf) -> None:
    labels = [0] * 30 + [1] * 12
    data = dataset_of(labels, group=[f"r{index}" for index in range(30)] + [f"s{index // 4}" for index in range(12)])
    choice = choose_method(config_of(), data, features_of(labels, gap=2.0))
    assert choice == Choice(
        method="none", tau=None, rarest="c1",
        sentence="imbalance: auto keeps plain cross-entropy, as nothing can be tried: "
        "`c1` has 3 independent training records, 4 needed",
    )  # fmt: skip


def test_fewer_groups_than_folds_leave_it_undecided(dataset_of: DatasetOf) -> None:
    labels = [[0, 1] if index < 16 else [] for index in range(32)]
    data = dataset_of(labels, group=[f"g{index // 4}" for index in range(16)] * 2)
    choice = choose_method(config_of(loss={"name": "bce_with_logits"}), data, np.zeros((32, 2), np.float32))
    assert choice.method == "none"
    assert "as nothing can be tried: " in choice.sentence
    assert choice.tried == ()


def test_a_label_on_every_record_leaves_it_undecided(dataset_of: DatasetOf) -> None:
    """`auto` stopped the run there once: class weights need a record without the class."""
    labels = [[0] + [1] * (index % 8 == 0) for index in range(80)]
    choice = choose_method(
        config_of(loss={"name": "bce_with_logits"}), dataset_of(labels), np.ones((80, 3), np.float32)
    )
    assert choice.method == "none"
    assert choice.sentence.endswith("`c0` is absent from 0 independent training records, 4 needed")


# --- candidates -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_the_short_list_is_defined_for_the_task(task: Task) -> None:
    assert all(METHODS[name].suits(task) for name in SHORT_LIST[task])


def test_plain_comes_first_and_what_takes_a_share_of_the_prior_is_tried_at_two(dataset_of: DatasetOf) -> None:
    tried = choose_method(config_of(), *skewed(dataset_of)).tried
    assert [(one.method, one.tau) for one in tried] == [
        ("none", None), ("class_weights", None), ("post_hoc", TAUS[0]), ("post_hoc", TAUS[1]),
    ]  # fmt: skip


def test_candidates_take_the_place_of_the_short_list(dataset_of: DatasetOf) -> None:
    names = ["focal", "none", "ldam_drw", "effective_number", "focal"]
    tried = choose_method(config_of(imbalance={"candidates": names}), *skewed(dataset_of)).tried
    assert [one.method for one in tried] == ["none", "focal", "ldam_drw", "effective_number"]


@pytest.mark.parametrize(
    ("mode", "head", "tried"),
    [
        ("frozen", "knn", ["none", "post_hoc", "post_hoc"]),
        ("frozen", "ridge", ["none", "post_hoc", "post_hoc"]),
        ("frozen", "cosine", ["none", "class_weights", "post_hoc", "post_hoc"]),
        ("finetune", "knn", ["none", "class_weights", "post_hoc", "post_hoc"]),
    ],
)
def test_a_head_without_ears_for_the_loss_is_offered_no_other_loss(
    mode: str, head: str, tried: list[str], dataset_of: DatasetOf
) -> None:
    """Class weights were once chosen for a k-NN, with the gain they had brought a linear layer; it never saw them."""
    config = config_of(training={"num_epochs": 5, "mode": mode}, head={"name": head})
    assert [one.method for one in choose_method(config, *skewed(dataset_of)).tried] == tried


@pytest.mark.parametrize("name", ["balanced_batches", "crt", "asymmetric"])
def test_a_candidate_that_cannot_be_tried_is_refused_in_one_line(name: str, dataset_of: DatasetOf) -> None:
    with pytest.raises(ConfigError) as caught:
        choose_method(config_of(imbalance={"candidates": ["class_weights", name]}), *skewed(dataset_of))
    assert str(caught.value) == (
        "imbalance.candidates: expected a method for multiclass data that changes loss or scores, which can be tried "
        f"on frozen features, got {name}; choose from: class_weights, effective_number, balanced_softmax, "
        "logit_adjustment, post_hoc, ldam_drw, focal"
    )


def test_in_a_linear_layer_balanced_softmax_and_all_of_the_prior_taken_out_afterwards_agree(
    dataset_of: DatasetOf,
) -> None:
    """Why the short list holds one of them: a free bias takes the prior up, before or after."""
    config = config_of(imbalance={"candidates": ["balanced_softmax", "logit_adjustment", "post_hoc"]})
    tried = {(one.method, one.tau): one.macro_f1 for one in choose_method(config, *skewed(dataset_of)).tried}
    assert tried["balanced_softmax", None] == pytest.approx(tried["post_hoc", 1.0], abs=0.01)
    assert tried["logit_adjustment", None] == pytest.approx(tried["post_hoc", 1.0], abs=0.01)


# --- the numbers ------------------------------------------------------------------------------------------------------


def test_scores_are_those_of_the_records_pooled_over_the_repeats(
    dataset_of: DatasetOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, features = skewed(dataset_of)
    kept: list[npt.NDArray[np.float32]] = []
    held_out = imbalance_choice._held_out

    def spying(*arguments: Any) -> npt.NDArray[np.float32]:
        kept.append(held_out(*arguments))
        return kept[-1]

    monkeypatch.setattr(imbalance_choice, "_held_out", spying)
    tried = choose_method(config_of(), data, features).tried
    counts = np.array([120, 120, 12])
    for one, logits in (
        (tried[0], kept[0]), (tried[1], kept[1]), (tried[2], kept[0] - 0.5 * np.log(counts / counts.sum())),
        (tried[3], kept[0] - np.log(counts / counts.sum())),
    ):  # fmt: skip
        scored = logits.reshape(-1, 3)
        weights = np.exp(scored - scored.max(1, keepdims=True))
        truth = np.tile(np.asarray(data.targets()), 3)
        metrics = classification_metrics(truth, weights / weights.sum(1, keepdims=True), data.classes, "multiclass")
        assert one.macro_f1 == pytest.approx(metrics.scalars["macro_f1"])
        assert one.recall_of_rarest == pytest.approx(metrics.per_class["c2"]["recall"])
    assert kept[0].shape == (3, 252, 3)


def test_it_is_told_as_plain_values() -> None:
    one = Tried(method="post_hoc", tau=0.5, macro_f1=0.8, recall_of_rarest=0.6, gain=0.1, low=0.05, high=0.15)
    assert one.title == "post_hoc (tau 0.5)"
    assert Tried(method="none", tau=None, macro_f1=0.7, recall_of_rarest=None).title == "plain cross-entropy"
    choice = Choice(method="post_hoc", tau=0.5, rarest="a", sentence="s", tried=(one,))
    assert choice.to_dict() == {
        "method": "post_hoc", "tau": 0.5, "rarest": "a", "sentence": "s",
        "tried": [
            {
                "method": "post_hoc", "tau": 0.5, "macro_f1": 0.8, "recall_of_rarest": 0.6, "gain": 0.1, "low": 0.05,
                "high": 0.15,
            }
        ],
    }  # fmt: skip
