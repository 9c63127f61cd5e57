"""The arithmetic of an epoch's order, each piece against a loop that does the same one record at a time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringlight.data.sampling_order import Layout, deal, draw, fill, members, occurrences, quotas, strata

MATRICES = st.integers(1, 12).flatmap(
    lambda k: st.lists(st.lists(st.integers(0, 1), min_size=k, max_size=k), min_size=1, max_size=40)
)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@given(MATRICES, st.integers(0, 9))
def test_members_of_a_class_are_the_records_that_carry_it_as_often_as_their_factor_says(matrix, seed):
    factors = rng(seed).integers(1, 4, len(matrix))
    expected = []
    for label in [*range(len(matrix[0])), None]:
        rows = []
        for row, labels in enumerate(matrix):
            if (label is None and not any(labels)) or (label is not None and labels[label]):
                rows += [row] * int(factors[row])
        if rows:
            expected.append(rows)
    assert [rows.tolist() for rows in members(np.array(matrix, np.uint8), factors)] == expected


def test_members_of_single_labels_leave_out_a_class_that_nobody_carries():
    assert [rows.tolist() for rows in members(np.array([4, 0, 4]), np.array([1, 2, 1]))] == [[1, 1], [0, 2]]


def gray_code(digits: int) -> list[tuple[int, ...]]:
    """The reflected Gray code as the book builds it: the list of one digit fewer, then the same list backwards."""
    if digits == 0:
        return [()]
    shorter = gray_code(digits - 1)
    return [(0, *word) for word in shorter] + [(1, *word) for word in reversed(shorter)]


@given(MATRICES)
def test_strata_are_the_label_sets_in_the_order_of_a_gray_code_with_the_rarest_class_first(matrix):
    labels = np.array(matrix, np.uint8)
    columns = sorted(range(labels.shape[1]), key=lambda k: (labels[:, k].sum(), k))
    place = {word: position for position, word in enumerate(gray_code(labels.shape[1]))}
    places = [place[tuple(row)] for row in labels[:, columns].tolist()]
    dense = {position: number for number, position in enumerate(sorted(set(places)))}
    assert strata(labels).tolist() == [dense[position] for position in places]


def test_strata_of_more_classes_than_a_machine_word_has_bits():
    labels = np.zeros((4, 150), np.uint8)
    labels[1, 149] = labels[2, 0] = labels[3, 0] = 1
    found = strata(labels)
    assert found[2] == found[3]
    assert sorted(set(found.tolist())) == [0, 1, 2]
    assert found[0] == 0


@given(st.integers(1, 60), st.integers(1, 9), st.integers(1, 4))
def test_layout_gives_every_rank_its_batches_in_turn(num_keys, batch_size, num_replicas):
    layout = Layout.of(num_keys, batch_size=batch_size, num_replicas=num_replicas)
    order = np.arange(num_keys * num_replicas)
    expected = [[] for _ in range(num_replicas)]
    at = done = 0
    while done < num_keys:
        size = min(batch_size, num_keys - done)
        for rank in range(num_replicas):
            expected[rank] += order[at : at + size].tolist()
            at += size
        done += size
    for rank in range(num_replicas):
        assert layout.part(order, num_replicas=num_replicas, rank=rank).tolist() == expected[rank]


@settings(max_examples=60)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=6), st.integers(1, 9), st.integers(1, 3), st.integers(0, 99))
def test_any_run_of_neighbours_is_dealt_evenly(sizes, batch_size, num_replicas, seed):
    """Each batch has the share of every run of neighbours, also of one that spans several strata."""
    num_keys = -(-sum(sizes) // num_replicas)
    layout = Layout.of(num_keys, batch_size=batch_size, num_replicas=num_replicas)
    entries = np.arange(num_keys * num_replicas)
    order = deal(entries, layout, rng(seed))
    assert sorted(order.tolist()) == entries.tolist()
    edges = [0, *np.cumsum(sizes).tolist()]
    full, short = layout.blocks(order)
    for batch in [*full, *short]:
        for first in range(len(sizes)):
            for last in range(first + 1, len(edges)):
                ideal = len(batch) * (edges[last] - edges[first]) / len(entries)
                held = ((batch >= edges[first]) & (batch < edges[last])).sum()
                assert np.floor(ideal) <= held <= np.ceil(ideal)


def test_short_batch_takes_every_record_equally_often():
    """Who is in the last batch may be left out of an epoch (a lone image is): it must not always be the same."""
    layout = Layout.of(9, batch_size=4, num_replicas=1)
    last = [int(deal(np.arange(9), layout, rng(seed))[-1]) for seed in range(900)]
    assert np.bincount(last, minlength=9).min() > 60


@given(st.lists(st.floats(0.001, 1), min_size=1, max_size=8), st.integers(1, 500), st.integers(0, 99))
def test_quotas_are_shares_rounded_down_or_up(shares, total, seed):
    counts = quotas(np.array(shares), total, rng(seed))
    ideal = np.array(shares) / sum(shares) * total
    assert counts.sum() == total
    assert (np.abs(counts - ideal) < 1 + 1e-5).all()


def test_quotas_are_right_on_average():
    counts = np.mean([quotas(np.array([0.62, 0.31, 0.07]), 5, rng(seed)) for seed in range(4000)], axis=0)
    np.testing.assert_allclose(counts, [3.1, 1.55, 0.35], atol=0.03)


@pytest.mark.parametrize(("sizes", "total"), [([1, 1, 1], 3), ([1, 1, 1], 99_999), ([1, 2, 4], 7), ([1] * 10, 70)])
def test_quotas_of_shares_that_divide_are_exact(sizes, total):
    """A third of three is one, though three thirds do not add up to one in floating point."""
    weights = np.array(sizes, np.float64)
    for seed in range(20):
        np.testing.assert_array_equal(quotas(weights / weights.sum(), total, rng(seed)), weights * total / sum(sizes))


@given(st.integers(1, 20), st.integers(0, 70), st.integers(0, 99))
def test_draws_take_each_row_once_before_one_comes_again(size, count, seed):
    drawn = draw(np.arange(100, 100 + size), count, rng(seed)).tolist()
    assert len(drawn) == count
    for start in range(0, count, size):
        turn = drawn[start : start + size]
        assert len(set(turn)) == len(turn)


def test_slots_are_filled_with_rows_of_their_class():
    pools = [np.array([0, 1]), np.array([2]), np.array([3, 4, 5])]
    slots = np.array([2, 0, 1, 1, 2, 2, 2, 0])
    rows = fill(slots, pools, rng())
    assert all(row in pools[slot] for row, slot in zip(rows, slots, strict=True))
    assert sorted(rows[slots == 0].tolist()) == [0, 1]


@given(st.lists(st.integers(0, 6), max_size=40))
def test_occurrences_count_what_stood_before(rows):
    expected = [rows[:position].count(row) for position, row in enumerate(rows)]
    assert occurrences(np.array(rows, np.int64)).tolist() == expected
