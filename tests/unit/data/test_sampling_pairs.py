"""Batches of pairs: every class of a batch has partners; records and classes come in passes; what is refused."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from ringlight.data.sampling import ClassPairsSampler, sampler_problems
from ringlight.errors import ConfigError

LABELS = np.repeat([0, 1, 2, 4], [30, 11, 4, 1])  # nobody carries class 3


def sampler(labels: np.ndarray = LABELS, batch_size: int = 8, **given: object) -> ClassPairsSampler:
    return ClassPairsSampler(labels, task="multiclass", seed=3, batch_size=batch_size, **given)


def batches(order: np.ndarray, size: int) -> list[np.ndarray]:
    return [order[start : start + size] for start in range(0, len(order), size)]


@pytest.mark.parametrize("per_class", [2, 3, 4])
@pytest.mark.parametrize("batch_size", [8, 9, 11])
def test_every_record_of_every_batch_has_so_many_of_its_class(per_class: int, batch_size: int) -> None:
    for epoch in range(5):
        order = sampler(batch_size=batch_size, records_per_class=per_class).rows(epoch)
        for batch in batches(order, batch_size):
            counts = Counter(LABELS[batch].tolist())
            assert min(counts.values()) >= per_class
            assert len(counts) == min(4, max(1, len(batch) // per_class))


def test_records_of_a_class_in_a_batch_are_different_ones_as_far_as_it_has_them() -> None:
    """Drawn in passes alone, the last record of one pass was the first of the next, and its own partner."""
    for epoch in range(20):
        for batch in batches(sampler().rows(epoch), 8):
            for label in (0, 1, 2):
                rows = batch[LABELS[batch] == label]
                assert len(set(rows.tolist())) == len(rows)
            assert len(set(batch[LABELS[batch] == 4].tolist())) <= 1


def test_a_single_record_comes_as_further_copies() -> None:
    keys = [key for key in sampler() if LABELS[key[1]] == 4]
    assert [copy for _, _, copy in keys] == list(range(len(keys)))
    assert len(keys) >= 2


def test_classes_are_seen_equally_often_in_changing_company() -> None:
    labels = np.repeat(np.arange(6), 20)
    order = sampler(labels, batch_size=4).rows(0)
    assert set(np.bincount(labels[order]).tolist()) == {20}
    company = {frozenset(labels[batch].tolist()) for batch in batches(order, 4)}
    assert len(company) > 6  # a fixed cycle of classes would always meet in the same three pairs
    assert sorted(order[labels[order] == 2].tolist()) == list(range(40, 60))  # each record once


def test_a_last_batch_without_room_for_a_pair_is_left_out() -> None:
    """17 records in batches of 8 would leave one alone, whose contrastive loss is undefined."""
    labels = np.repeat([0, 1], [9, 8])
    assert len(sampler(labels)) == len(list(sampler(labels))) == 16
    assert len(sampler(np.repeat([0, 1], [9, 9]))) == 18
    assert len(sampler(labels, num_replicas=2)) == 9 - 1


def test_two_ranks_have_pairs_each() -> None:
    for rank in (0, 1):
        rows = np.array([row for _, row, _ in sampler(num_replicas=2, rank=rank)])
        for batch in batches(rows, 8):
            assert min(Counter(LABELS[batch].tolist()).values()) >= 2


def test_with_several_labels_a_batch_has_partners_for_each_class_it_was_drawn_for() -> None:
    several = np.array([[1, 0, 0]] * 9 + [[1, 1, 0]] * 4 + [[0, 0, 1]] * 5 + [[0, 0, 0]] * 6)
    order = ClassPairsSampler(several, task="multilabel", seed=0, batch_size=8).rows(0)
    for batch in batches(order, 8):
        whole = np.column_stack([several, ~several.any(axis=1)])[batch]
        assert ((whole.astype(int) @ whole.astype(int).T).sum(axis=1) >= 2).all()


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"sampler\.records_per_class: expected 2 or more, a record and a partner"):
        sampler(records_per_class=1)
    with pytest.raises(
        ConfigError,
        match=r"sampler\.name: expected a batch of two classes with 4 records each for `class_pairs`, got "
        r"data\.batch_size=7; set data\.batch_size=8 or more, or lower sampler\.records_per_class",
    ):
        sampler(batch_size=7, records_per_class=4)
    assert sampler_problems("class_pairs", ["a", "b"], [1, 0], 8) == []
    assert len(sampler_problems("class_balanced", ["a", "b"], [1, 0], 8)) == 2
