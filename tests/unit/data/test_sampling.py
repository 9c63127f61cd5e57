"""Samplers: what a batch and an epoch hold, by hand, by naive loops over their keys, and against torch's sampler."""

from __future__ import annotations

import csv
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare
from torch.utils.data import WeightedRandomSampler

from ringlight.data.sampling import (
    SAMPLERS,
    BalancedBatchSampler,
    ClassBalancedSampler,
    EpochSampler,
    ProgressiveSampler,
    ShuffleSampler,
    SquareRootSampler,
    StratifiedSampler,
    class_counts_of,
    sampler_problems,
)
from ringlight.errors import ConfigError, DataError

SKEWED = np.array([0] * 60 + [1] * 25 + [2] * 12 + [3] * 3)
SEVERAL = np.array([[1, 0, 0]] * 30 + [[1, 1, 0]] * 8 + [[0, 1, 0]] * 9 + [[0, 0, 1]] * 4 + [[0, 0, 0]] * 41, np.uint8)
COUNTS = st.lists(st.integers(1, 40), min_size=1, max_size=6)


def labels_of(counts: list[int]) -> np.ndarray:
    return np.repeat(np.arange(len(counts)), counts)


def batches_of(sampler: EpochSampler, batch_size: int) -> list[list[int]]:
    """The rows of each batch that a loader would cut from the keys."""
    rows = [row for _, row, _ in sampler]
    return [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]


def classes_of(labels: np.ndarray, rows: list[int]) -> Counter[int]:
    """How many of the rows carry each class, a record without a label being of class -1."""
    found: Counter[int] = Counter()
    for row in rows:
        carried = [labels[row]] if labels.ndim == 1 else (np.flatnonzero(labels[row]).tolist() or [-1])
        found.update(int(label) for label in carried)
    return found


@pytest.mark.parametrize("epoch", [0, 1, 7])
def test_shuffle_is_the_order_that_runs_have_always_had(epoch):
    """Runs made before there were samplers must come out the same."""
    sampler = ShuffleSampler(SKEWED, task="multiclass", seed=3, batch_size=8)
    plain = EpochSampler(100, seed=3, shuffle=True)
    sampler.set_epoch(epoch)
    plain.set_epoch(epoch)
    assert list(sampler) == list(plain)
    assert list(plain) == [(epoch, int(row), 0) for row in np.random.default_rng([3, epoch]).permutation(100)]


def test_the_order_of_a_seed_and_an_epoch_never_changes():
    sampler = EpochSampler(6, seed=3, shuffle=True)
    sampler.set_epoch(2)
    assert list(sampler) == [(2, 4, 0), (2, 0, 0), (2, 1, 0), (2, 2, 0), (2, 3, 0), (2, 5, 0)]


def test_no_rows_are_no_keys():
    assert list(EpochSampler(0, seed=0, shuffle=True)) == []


@pytest.mark.parametrize("name", ["shuffle", "stratified"])
def test_every_card_is_shown_once(name):
    factors = np.where(SKEWED == 3, 20, 1)
    sampler = SAMPLERS.build(name, labels=SKEWED, task="multiclass", seed=0, batch_size=8, factors=factors)
    expected = {(0, row, copy) for row in range(100) for copy in range(20 if row >= 97 else 1)}
    keys = list(sampler)
    assert len(keys) == len(sampler) == 97 + 60
    assert set(keys) == expected


def test_copies_are_numbered_as_they_come():
    sampler = ShuffleSampler([0, 0, 1], task="multiclass", seed=5, batch_size=2, factors=[1, 3, 2])
    seen: Counter[int] = Counter()
    for _, row, copy in sampler:
        assert copy == seen[row]
        seen[row] += 1


@settings(max_examples=60)
@given(COUNTS, st.integers(1, 12), st.integers(1, 3), st.integers(0, 50))
def test_stratified_batch_holds_of_every_class_its_share_rounded_down_or_up(counts, batch_size, num_replicas, epoch):
    labels = labels_of(counts)
    parts = []
    for rank in range(num_replicas):
        parts.append(
            StratifiedSampler(
                labels, task="multiclass", seed=1, batch_size=batch_size, num_replicas=num_replicas, rank=rank
            )
        )
        parts[-1].set_epoch(epoch)
    shown = classes_of(labels, [row for part in parts for _, row, _ in part])
    total = sum(shown.values())
    for part in parts:
        for batch in batches_of(part, batch_size):
            held = classes_of(labels, batch)
            for label, count in shown.items():
                ideal = len(batch) * count / total
                assert np.floor(ideal) <= held[label] <= np.ceil(ideal)


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.integers(2, 12), st.integers(1, 6))
def test_stratified_batch_holds_its_share_of_every_label_set_and_of_the_rarest(seed, batch_size, num_classes):
    labels = (np.random.default_rng(seed).random((70, num_classes)) < 0.3).astype(np.uint8)
    sampler = StratifiedSampler(labels, task="multilabel", seed=0, batch_size=batch_size)
    rarest = np.argsort(labels.sum(axis=0), kind="stable")[:2]
    sets = [tuple(row) for row in labels.tolist()]
    for batch in batches_of(sampler, batch_size):
        held = Counter(sets[row] for row in batch)
        for one, count in Counter(sets).items():
            ideal = len(batch) * count / 70
            assert np.floor(ideal) <= held[one] <= np.ceil(ideal)
        for label in rarest:
            ideal = len(batch) * labels[:, label].sum() / 70
            assert np.floor(ideal) <= labels[batch, label].sum() <= np.ceil(ideal)


def test_stratified_batches_of_many_labels_lie_closer_than_shuffled_ones():
    labels = (np.random.default_rng(0).random((2000, 4)) < [0.4, 0.15, 0.06, 0.02]).astype(np.uint8)

    def spread(name: str) -> np.ndarray:
        sampler = SAMPLERS.build(name, labels=labels, task="multilabel", seed=0, batch_size=25)
        held = np.array([labels[batch].sum(axis=0) for batch in batches_of(sampler, 25)])
        return np.sqrt(((held - 25 * labels.mean(axis=0)) ** 2).mean(axis=0))

    assert (spread("stratified") < 0.75 * spread("shuffle")).all()


@settings(max_examples=60)
@given(COUNTS, st.integers(1, 14), st.integers(1, 3), st.integers(0, 50))
def test_balanced_batch_holds_every_class_equally_often(counts, batch_size, num_replicas, epoch):
    labels = labels_of(counts)
    num_classes = len(counts)
    batch_size = max(batch_size, num_classes)
    for rank in range(num_replicas):
        sampler = BalancedBatchSampler(
            labels, task="multiclass", seed=1, batch_size=batch_size, num_replicas=num_replicas, rank=rank
        )
        sampler.set_epoch(epoch)
        for batch in batches_of(sampler, batch_size):
            held = classes_of(labels, batch)
            for label in range(num_classes):
                assert len(batch) // num_classes <= held[label] <= -(-len(batch) // num_classes)


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.integers(6, 12))
def test_balanced_batch_of_many_labels_holds_every_class_and_clean_records(seed, batch_size):
    labels = (np.random.default_rng(seed).random((50, 5)) < 0.2).astype(np.uint8)
    present = set(classes_of(labels, list(range(50))))
    sampler = BalancedBatchSampler(labels, task="multilabel", seed=0, batch_size=batch_size)
    for batch in batches_of(sampler, batch_size):
        if len(batch) >= len(present):
            assert set(classes_of(labels, batch)) == present


def test_balanced_epoch_shows_each_record_of_a_class_equally_often():
    sampler = BalancedBatchSampler(SKEWED, task="multiclass", seed=0, batch_size=8)
    times = Counter(row for _, row, _ in sampler)
    assert classes_of(SKEWED, [row for _, row, _ in sampler]) == {0: 25, 1: 25, 2: 25, 3: 25}
    assert {times[row] for row in np.flatnonzero(SKEWED == 3)} == {8, 9}
    assert {times[row] for row in np.flatnonzero(SKEWED == 2)} == {2, 3}
    assert {times[row] for row in np.flatnonzero(SKEWED == 1)} == {1}
    assert {times[row] for row in np.flatnonzero(SKEWED == 0)} == {0, 1}


def test_balanced_epochs_show_other_records_of_a_frequent_class():
    sampler = BalancedBatchSampler(SKEWED, task="multiclass", seed=0, batch_size=8)
    seen = set()
    for epoch in range(12):
        sampler.set_epoch(epoch)
        seen |= {row for _, row, _ in sampler}
    assert seen == set(range(100))


@pytest.mark.parametrize("name", ["stratified", "balanced"])
def test_half_a_batch_is_not_half_the_classes(name):
    """A batch too large for memory is computed in pieces: sorted by class, each piece would see one class only."""
    labels = labels_of([40, 40])
    sampler = SAMPLERS.build(name, labels=labels, task="multiclass", seed=0, batch_size=8)
    halves = [frozenset(classes_of(labels, batch[:4])) for batch in batches_of(sampler, 8)]
    assert Counter(halves)[frozenset({0, 1})] > 5
    assert len({tuple(labels[batch]) for batch in batches_of(sampler, 8)}) > 5


def test_odd_places_of_a_balanced_epoch_go_to_another_class_each_time():
    counts = np.zeros(4)
    for epoch in range(200):
        rows = BalancedBatchSampler(SKEWED[: 97 + 2], task="multiclass", seed=0, batch_size=8).rows(epoch)
        counts += np.bincount(SKEWED[rows]) - 24
    assert counts.sum() == 3 * 200
    assert counts.min() > 120  # 150 each, were it not for chance


def test_a_rare_class_is_not_always_in_the_same_batches():
    sampler = StratifiedSampler(labels_of([78, 2]), task="multiclass", seed=0, batch_size=8)
    found = Counter(int(at) // 8 for epoch in range(200) for at in np.flatnonzero(sampler.rows(epoch) >= 78))
    assert len(found) == 10
    assert min(found.values()) > 20  # 40 each, were it not for chance


@pytest.mark.parametrize("sampler", [ClassBalancedSampler, SquareRootSampler, ProgressiveSampler])
def test_drawn_classes_come_in_random_order(sampler):
    """An epoch sorted by class has the right counts, and teaches one class after the other."""
    built = sampler(labels_of([300, 100]), task="multiclass", seed=0, batch_size=8)
    drawn = built.rows(1) >= 300
    assert abs(drawn[:200].sum() - drawn[200:].sum()) < 40
    assert (drawn[1:] != drawn[:-1]).sum() > 100


@pytest.mark.parametrize(
    ("sampler", "expected"),
    [
        # 84 keys: thirds; roots 8 : 4 : 2; the classes as they are, half way, and thirds.
        (ClassBalancedSampler, [28, 28, 28]),
        (SquareRootSampler, [48, 24, 12]),
    ],
)
def test_classes_are_drawn_as_the_equation_says(sampler, expected):
    labels = labels_of([64, 16, 4])
    rows = [row for _, row, _ in sampler(labels, task="multiclass", seed=0, batch_size=8)]
    assert np.bincount(labels[rows]).tolist() == expected


@pytest.mark.parametrize(("epoch", "expected"), [(0, [64, 16, 4]), (1, [46, 22, 16]), (2, [28, 28, 28]), (3, [28] * 3)])
def test_progressive_goes_from_the_classes_as_they_are_to_equal_ones(epoch, expected):
    labels = labels_of([64, 16, 4])
    sampler = ProgressiveSampler(labels, task="multiclass", seed=0, batch_size=8, num_epochs=3)
    sampler.set_epoch(epoch)
    rows = [row for _, row, _ in sampler]
    assert np.bincount(labels[rows]).tolist() == expected


def test_progressive_begins_with_every_record_once():
    sampler = ProgressiveSampler(SKEWED, task="multiclass", seed=0, batch_size=8, num_epochs=9)
    assert sorted(row for _, row, _ in sampler) == list(range(100))


def test_progressive_of_one_epoch_shows_every_record_once():
    sampler = ProgressiveSampler(SKEWED, task="multiclass", seed=0, batch_size=8, num_epochs=1)
    assert sorted(row for _, row, _ in sampler) == list(range(100))


def record_shares(labels: np.ndarray, power: float) -> np.ndarray:
    """Kang's equation 1 record by record: the class's share, divided evenly among its records."""
    carried = [[label] if labels.ndim == 1 else np.flatnonzero(label).tolist() or [-1] for label in labels]
    sizes = Counter(label for one in carried for label in one)
    total = sum(size**power for size in sizes.values())
    return np.array([sum(sizes[label] ** power / total / sizes[label] for label in one) for one in carried])


@pytest.mark.parametrize(("name", "power"), [("class_balanced", 0.0), ("square_root", 0.5), ("progressive", 1.0)])
@pytest.mark.parametrize(("labels", "task"), [(SKEWED, "multiclass"), (SEVERAL, "multilabel")])
def test_records_are_drawn_as_often_as_by_torch(name, power, labels, task):
    """Two samples of one distribution: torch's independent draws, and ours without the luck."""
    shares = record_shares(labels, power)
    # So long a run that progressive stays at its beginning, where q is 1.
    sampler = SAMPLERS.build(name, labels=labels, task=task, seed=0, batch_size=8, num_epochs=10**6)
    ours = sum(np.bincount(sampler.rows(epoch), minlength=len(labels)) for epoch in range(400)) / 400
    np.testing.assert_allclose(ours, shares * len(labels), atol=0.1)
    torchs = WeightedRandomSampler(shares.tolist(), 60 * len(labels), generator=torch.Generator().manual_seed(0))
    counts = np.bincount(list(torchs), minlength=len(labels))
    assert chisquare(counts, ours * 60).pvalue > 0.01
    # The same test tells a sampler that draws records evenly from it, so it can fail.
    assert power == 1.0 or chisquare(counts).pvalue < 1e-6


def test_factor_lengthens_the_epoch_and_shows_a_record_more_often_within_its_class():
    """Whatever decides how often a class is seen, the cards decide whom of it one sees."""
    factors = np.ones(100, np.int64)
    factors[97] = 3
    for sampler in (BalancedBatchSampler, ClassBalancedSampler):
        built = sampler(SKEWED, task="multiclass", seed=0, batch_size=8, factors=factors)
        rows = [row for _, row, _ in built]
        assert len(rows) == len(built) == 102
        assert max(classes_of(SKEWED, rows).values()) - min(classes_of(SKEWED, rows).values()) <= 1
        times = Counter(rows)
        assert times[97] == pytest.approx(3 * times[98], abs=3)


def test_square_root_and_progressive_count_cards():
    labels = labels_of([64, 4])
    factors = np.where(labels == 1, 4, 1)
    rows = SquareRootSampler(labels, task="multiclass", seed=0, batch_size=8, factors=factors).rows(0)
    np.testing.assert_allclose(np.bincount(labels[rows]), [80 * 8 / 12, 80 * 4 / 12], atol=1)
    first = ProgressiveSampler(labels, task="multiclass", seed=0, batch_size=8, factors=factors, num_epochs=9)
    assert np.bincount(labels[first.rows(0)]).tolist() == [64, 16]


def test_fewer_records_than_ranks_are_shown_to_every_rank():
    """A rank without a batch would leave the others waiting for its gradients for ever."""
    parts = [ShuffleSampler([0, 1], task="multiclass", seed=0, batch_size=4, num_replicas=5, rank=r) for r in range(5)]
    keys = [key for part in parts for key in part]
    assert [len(part) for part in parts] == [1] * 5
    assert len(set(keys)) == 5
    assert {row for _, row, _ in keys} == {0, 1}


@pytest.mark.parametrize("name", list(SAMPLERS))
@pytest.mark.parametrize(("labels", "task"), [(SKEWED, "multiclass"), (SEVERAL, "multilabel")])
def test_class_counts_are_those_of_the_first_epoch_of_all_ranks(name, labels, task):
    num_classes = 4 if task == "multiclass" else 3
    parts = [
        SAMPLERS.build(name, labels=labels, task=task, seed=2, batch_size=8, num_replicas=2, rank=rank, num_epochs=5)
        for rank in range(2)
    ]
    expected = [0] * num_classes
    for part in parts:
        for _, row, _ in part:
            for label in range(num_classes):
                expected[label] += int(labels[row] == label if labels.ndim == 1 else labels[row, label])
        part.set_epoch(4)
    assert [class_counts_of(part, labels, num_classes) for part in parts] == [expected, expected]


def test_class_counts_name_a_class_without_records():
    assert class_counts_of(EpochSampler(3, seed=0, shuffle=True), [0, 2, 2], 4) == [1, 0, 2, 0]


@pytest.mark.parametrize("name", ["balanced", "class_balanced", "square_root", "progressive"])
def test_class_with_one_record_or_none_is_refused_where_it_would_be_drawn_again_and_again(name):
    assert sampler_problems(name, ["OK", "PASS", "DENT"], [50, 1, 0], 8) == [
        f"sampler.name: expected at least 2 training records of every class for `{name}`, got a single one of class "
        "`PASS`; add records, leave the class out, or set sampler.name=stratified",
        f"sampler.name: expected at least 2 training records of every class for `{name}`, got none of class "
        "`DENT`; add records, leave the class out, or set sampler.name=stratified",
    ]
    assert sampler_problems(name, ["OK", "PASS"], [50, 2], 8) == []


def test_a_single_record_without_a_label_is_refused_too():
    (line,) = sampler_problems("class_balanced", ["DENT"], [9], 8, num_clean=1)
    assert "got a single one of records without a label;" in line


@pytest.mark.parametrize("name", ["shuffle", "stratified", "unheard_of"])
def test_nothing_is_refused_where_every_record_is_shown_once(name):
    assert sampler_problems(name, ["OK", "PASS"], [50, 0], 1) == []


def test_batch_smaller_than_the_number_of_classes_is_refused():
    assert sampler_problems("balanced", ["a", "b", "c"], [5, 5, 5], 2) == [
        "sampler.name: expected a batch that can hold every class for `balanced`, got data.batch_size=2 for 3 classes; "
        "set data.batch_size=3 or more, or sampler.name=class_balanced"
    ]
    assert sampler_problems("class_balanced", ["a", "b", "c"], [5, 5, 5], 2) == []
    (line,) = sampler_problems("balanced", ["a", "b", "c"], [5, 5, 5], 3, num_clean=9)
    assert "got data.batch_size=3 for 4 classes (records without a label are one); set data.batch_size=4" in line


def test_balanced_sampler_does_not_promise_what_its_batch_cannot_hold():
    with pytest.raises(ConfigError, match=r"got data\.batch_size=2 for 4 classes; set data\.batch_size=4 or more"):
        BalancedBatchSampler(SKEWED, task="multiclass", seed=0, batch_size=2)
    with pytest.raises(ConfigError, match=r"for 4 classes \(records without a label are one\)"):
        BalancedBatchSampler(SEVERAL, task="multilabel", seed=0, batch_size=3)


@pytest.mark.parametrize(
    ("labels", "task", "message"),
    [
        (
            [],
            "multiclass",
            r"labels: expected \(N,\) class indices of one record or more, got float64 of shape \(0,\);",
        ),
        ([0, -1], "multiclass", r"got int64 of shape \(2,\) from -1 to 0; pass dataset.targets\(\)"),
        ([0.5, 1.0], "multiclass", r"got float64 of shape \(2,\) from 0.5 to 1.0"),
        ([[0, 1]], "multiclass", r"got int64 of shape \(1, 2\)"),
        ([0, 1], "multilabel", r"expected an \(N, K\) matrix of 0 and 1 of one record or more, got int64 of shape"),
        ([[0, 2]], "multilabel", r"got int64 of shape \(1, 2\) from 0 to 2"),
    ],
)
def test_labels_of_another_kind_are_refused(labels, task, message):
    with pytest.raises(DataError, match=message):
        ShuffleSampler(labels, task=task, seed=0, batch_size=2)


@pytest.mark.parametrize("factors", [[1, 1], [1, 1, 0], [1.0, 1.0, 1.5], 2])
def test_factors_of_another_kind_are_refused(factors):
    with pytest.raises(DataError, match="factors: expected a whole number of 1 or more for each of 3 records, got "):
        ShuffleSampler([0, 0, 1], task="multiclass", seed=0, batch_size=2, factors=factors)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "data.batch_size: expected 1 or more, got 0"),
        ({"rank": 2, "num_replicas": 2}, "sampler: expected a rank from 0 to num_replicas - 1, got rank 2 of 2"),
        ({"rank": -1}, "got rank -1 of 1"),
    ],
)
def test_a_cut_that_cannot_be_is_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        ShuffleSampler([0, 0, 1], **{"task": "multiclass", "seed": 0, "batch_size": 2, **arguments})


def test_stratified_batches_of_real_strips_hold_every_class_as_expected(real_data):
    """Four defect classes of 247 to 5,150 strips, some with two or three, and 5,902 clean ones."""
    with (real_data("severstal-sample") / "image_labels_full.csv").open(newline="") as stream:
        labels = np.array([row[1:] for row in csv.reader(stream)][1:]).astype(np.uint8)
    sampler = StratifiedSampler(labels, task="multilabel", seed=0, batch_size=32)
    whole = np.column_stack([labels, ~labels.any(axis=1)])
    held = np.array([whole[batch].sum(axis=0) for batch in batches_of(sampler, 32)][:-1])
    farthest = np.abs(held - 32 * whole.mean(axis=0)).max(axis=0)
    # The classes by number; class 2 is the rarest, then 4, 1 and 3; clean strips last.
    assert (farthest < [2, 1, 3, 1, 1]).all()
