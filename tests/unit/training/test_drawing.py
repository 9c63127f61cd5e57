"""What an epoch shows, from the configuration: the sampler, how often each record counts, what a loss is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ringlight.config.schema import Config
from ringlight.data.augment import Augmenter
from ringlight.data.sampling import ClassBalancedSampler, EpochSampler, ShuffleSampler
from ringlight.errors import Problems
from ringlight.losses import LOSSES
from ringlight.training.drawing import Seen, criterion_of, record_weights, sampler_of, seen_by, shown
from ringlight.types import Dataset

LABELS = [0] * 20 + [1] * 8 + [2] * 4
MakeData = Callable[..., Dataset]


def config_of(sampler: str = "shuffle", loss: dict[str, Any] | None = None, **training: Any) -> Config:
    return Config.model_validate(
        {
            "sampler": {"name": sampler},
            "loss": loss or {"name": "cross_entropy"},
            "data": {"batch_size": 4},
            "training": {"num_epochs": 20, **training},
            "experiment": {"seed": 3},
        }
    )


# --- the sampler ------------------------------------------------------------------------------------------------------


def test_the_configured_sampler_gets_labels_seed_batch_size_and_epochs(dataset_of: MakeData) -> None:
    sampler = sampler_of(config_of("progressive"), dataset_of(LABELS), None)
    assert type(sampler).__name__ == "ProgressiveSampler"
    assert (sampler.seed, sampler.batch_size, sampler.num_epochs) == (3, 4, 20)
    assert len(sampler) == 32


def test_the_factors_of_the_augmenter_are_the_copies_of_an_epoch(dataset_of: MakeData) -> None:
    data = dataset_of(LABELS)
    augmenter = Augmenter({"per_class_factor": {"c2": 5}}, seed=0, class_names=data.classes)
    sampler = sampler_of(config_of(), data, augmenter)
    assert len(sampler) == 20 + 8 + 5 * 4
    assert seen_by(sampler, data) == Seen((20, 8, 20), 48)
    without = Augmenter({"horizontal_flip": True}, seed=0, class_names=data.classes)
    assert len(sampler_of(config_of(), data, without)) == 32


def test_what_a_sampler_cannot_keep_is_told_in_one_go(dataset_of: MakeData) -> None:
    data = dataset_of([0] * 9 + [1, 2, 3, 4])
    with pytest.raises(Problems) as caught:
        sampler_of(config_of("balanced"), data, None)
    lines = caught.value.problems
    assert len(lines) == 5
    assert lines[0] == (
        "sampler.name: expected at least 2 training records of every class for `balanced`, got a single one of class "
        "`c1`; add records, leave the class out, or set sampler.name=stratified"
    )
    assert lines[4] == (
        "sampler.name: expected a batch that can hold every class for `balanced`, got data.batch_size=4 for 5 classes; "
        "set data.batch_size=5 or more, or sampler.name=class_balanced"
    )


def test_records_without_a_label_are_a_class_of_their_own(dataset_of: MakeData) -> None:
    data = dataset_of([[0], [0], [1], [1], []], classes=["a", "b"])
    with pytest.raises(Problems, match="got a single one of records without a label;"):
        sampler_of(config_of("class_balanced"), data, None)


def test_an_unknown_sampler_is_one_line(dataset_of: MakeData) -> None:
    with pytest.raises(Problems) as caught:
        sampler_of(config_of("balancd"), dataset_of(LABELS), None)
    assert caught.value.problems == ["sampler.name: expected a known sampler, got `balancd`; did you mean `balanced`?"]


# --- what is seen -----------------------------------------------------------------------------------------------------


def test_a_balanced_epoch_shows_the_classes_equally_often(dataset_of: MakeData) -> None:
    data = dataset_of(LABELS)
    assert seen_by(sampler_of(config_of(), data, None), data) == Seen((20, 8, 4), 32)
    seen = seen_by(sampler_of(config_of("class_balanced"), data, None), data)
    assert sorted(seen.class_counts) == [10, 11, 11]
    assert seen.num_records == 32


def test_labels_of_a_multi_label_epoch_are_counted_each(dataset_of: MakeData) -> None:
    data = dataset_of([[0, 1], [1], [], [0, 1]], classes=["a", "b"])
    assert seen_by(sampler_of(config_of(), data, None), data) == Seen((2, 3), 4)


@pytest.mark.parametrize("name", ["shuffle", "stratified"])
def test_a_sampler_that_shows_every_card_once_needs_no_weights(name: str, dataset_of: MakeData) -> None:
    assert record_weights(sampler_of(config_of(name), dataset_of(LABELS), None), 32, 20) is None


def test_a_sampler_of_rows_alone_needs_no_weights() -> None:
    assert record_weights(EpochSampler(5, seed=0, shuffle=True), 5, 20) is None


@pytest.mark.parametrize("name", ["balanced", "class_balanced", "square_root", "progressive"])
@pytest.mark.parametrize("num_epochs", [1, 2, 20])
def test_weights_are_how_often_a_record_is_seen_at_the_end_of_a_run(
    name: str, num_epochs: int, dataset_of: MakeData
) -> None:
    """A progressive sampler begins with the classes as they are; the mean of a whole short run fitted neither end."""
    data = dataset_of(LABELS)
    config = config_of(name, num_epochs=num_epochs)
    weights = record_weights(sampler_of(config, data, None), 32, num_epochs, labels=LABELS)
    assert weights is not None
    assert weights.shape == (32,)
    assert weights.sum() == pytest.approx(32)
    shares = [weights[np.asarray(LABELS) == k].sum() / 32 for k in range(3)]
    roots = np.sqrt([20, 8, 4])
    expected = roots / roots.sum() if name == "square_root" else np.full(3, 1 / 3)
    np.testing.assert_allclose(shares, expected, atol=0.02)
    assert [np.ptp(weights[np.asarray(LABELS) == k]) for k in range(3)] == [0, 0, 0], "records of a class count alike"


def test_weights_by_a_plain_count(dataset_of: MakeData) -> None:
    sampler = ClassBalancedSampler(LABELS, task="multiclass", seed=1, batch_size=4)
    counts = [0] * 32
    for epoch in range(20, 30):
        sampler.set_epoch(epoch)
        for _, row, _ in sampler:
            counts[row] += 1
    weights = record_weights(sampler, 32, 20)
    assert weights is not None
    assert weights.tolist() == [count / 10 for count in counts]


def test_what_an_epoch_shows_of_records_without_their_copies(dataset_of: MakeData) -> None:
    data = dataset_of(LABELS)
    augmenter = Augmenter({"per_class_factor": {"c2": 5}}, seed=0, class_names=data.classes)
    assert shown(sampler_of(config_of(), data, None), data, config_of()) is None
    weights = shown(sampler_of(config_of(), data, augmenter), data, config_of())
    assert weights is not None
    assert weights.tolist() == [1.0] * 28 + [5.0] * 4
    config = config_of("class_balanced")
    drawn = shown(sampler_of(config, data, None), data, config)
    assert drawn is not None
    np.testing.assert_allclose(np.bincount(LABELS, drawn), 32 / 3, atol=0.5)


def test_a_record_with_a_factor_counts_more_than_its_class_and_so_do_all_of_its_labels() -> None:
    """Records of the same labels and factor count alike; three cards to one, or two labels to one, count more."""
    labels = np.array([[1, 0]] * 12 + [[0, 1]] * 6 + [[1, 1]] * 2, np.uint8)
    factors = np.array([3] * 4 + [1] * 16)
    sampler = ClassBalancedSampler(labels, task="multilabel", seed=0, batch_size=4, factors=factors)
    weights = record_weights(sampler, 20, 1, labels=labels)
    assert weights is not None
    assert weights.sum() == pytest.approx(28)
    three, one, other, both = weights[0], weights[4], weights[12], weights[18]
    assert weights.tolist() == [three] * 4 + [one] * 8 + [other] * 6 + [both] * 2
    assert three / one == pytest.approx(3, rel=0.3)
    # A deck of 28: 14 keys to each class. The first has 22 cards, the second 8: 14 / 22 and 14 / 8 a card.
    assert both == pytest.approx(14 / 22 + 14 / 8, rel=0.1)


# --- the loss ---------------------------------------------------------------------------------------------------------


def test_the_loss_is_told_what_is_seen(dataset_of: MakeData) -> None:
    data = dataset_of(LABELS)
    config = config_of("class_balanced", {"name": "weighted_cross_entropy", "weights": "balanced"})
    plain = criterion_of(config, "multiclass", Seen((20, 8, 4), 32))
    np.testing.assert_allclose(plain.weight, [32 / 60, 32 / 24, 32 / 12], rtol=1e-6)
    drawn = criterion_of(config, "multiclass", seen_by(sampler_of(config, data, None), data))
    np.testing.assert_allclose(drawn.weight, [1, 1, 1], atol=0.07)


def test_parameters_are_the_configurations_unless_changed() -> None:
    config = config_of(loss={"name": "focal_loss", "gamma": 3.0})
    loss = criterion_of(config, "multiclass", Seen((2, 2), 4))
    assert (loss.gamma, loss.reduction) == (3.0, "mean")
    changed = criterion_of(config, "multiclass", Seen((2, 2), 4), reduction="none", gamma=1.0)
    assert (changed.gamma, changed.reduction) == (1.0, "none")
    assert changed(torch.zeros(4, 2), torch.tensor([0, 1, 0, 1])).shape == (4,)


def test_a_multi_label_loss_is_told_the_number_of_records() -> None:
    config = config_of(loss={"name": "bce_with_logits", "pos_weight": "balanced"})
    loss = criterion_of(config, "multilabel", Seen((2, 5), 10))
    np.testing.assert_allclose(loss.pos_weight, [4.0, 1.0])


class OldLoss(nn.Module):
    """A loss of another package, written before a loss was told the number of records."""

    def __init__(self, num_classes: int, *, class_counts: list[int], sharpness: float = 1.0) -> None:
        super().__init__()
        self.known = (num_classes, class_counts, sharpness)

    def forward(self, logits_bk: Tensor, _targets: Tensor) -> Tensor:
        """Return a number."""
        return logits_bk.mean()


def test_a_loss_of_another_package_is_supplied_with_what_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LOSSES.parts, "old", OldLoss)
    loss = criterion_of(config_of(loss={"name": "old", "sharpness": 2.0}), "multiclass", Seen((3, 1), 4))
    assert isinstance(loss, OldLoss)
    assert loss.known == (2, [3, 1], 2.0)


def test_an_unknown_loss_or_parameter_is_one_line() -> None:
    with pytest.raises(Problems, match=r"loss.gama: expected a parameter of loss `focal_loss`.*did you mean `gamma`"):
        criterion_of(config_of(loss={"name": "focal_loss", "gama": 1.0}), "multiclass", Seen((2, 2), 4))


def test_shuffling_is_what_the_configuration_begins_with(dataset_of: MakeData) -> None:
    assert isinstance(sampler_of(Config(), dataset_of(LABELS), None), ShuffleSampler)
