"""Iterative stratification of groups: against single records, by hand, and its measure never worse."""

from __future__ import annotations

import numpy as np
import pytest

from ringlight.data import stratify as room
from ringlight.data.stratify import group_codes, stratify

RATIOS = np.array([0.6, 0.2, 0.2])


def distance(labels: np.ndarray, part: np.ndarray) -> float:
    """Return E by naive loops over parts and columns (classes, numbers of labels that are not one, size)."""
    number = labels.sum(axis=1)
    columns = [labels[:, k] for k in range(labels.shape[1])] + [number == n for n in set(number.tolist()) - {1}]
    columns.append(np.ones(len(labels)))
    total = 0.0
    for index, ratio in enumerate(RATIOS):
        for column in columns:
            if column.sum():
                total += (column[part == index].sum() / column.sum() - ratio) ** 2 / ratio
    return total


def test_groups_of_one_class_by_hand() -> None:
    """Class 0 in groups of 6, 2, 2 and class 1 in groups of 3, 1, 1: each fits its share exactly."""
    labels = np.repeat([[1, 0]] * 3 + [[0, 1]] * 3, [6, 2, 2, 3, 1, 1], axis=0).astype(bool)
    groups = np.repeat(np.arange(6), [6, 2, 2, 3, 1, 1])
    part = stratify(labels, RATIOS, seed=0, groups=groups)
    assert [np.bincount(part[labels[:, k]]).tolist() for k in range(2)] == [[6, 2, 2], [3, 1, 1]]


def test_swaps_never_leave_the_parts_worse(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    measured = []
    for seed in range(5):
        labels = rng.random((120, 3)) < (0.5, 0.2, 0.1)
        groups = group_codes(rng.integers(0, 20, 120).tolist())
        refined = distance(labels, stratify(labels, RATIOS, seed=seed, groups=groups))
        with monkeypatch.context() as patch:
            patch.setattr(room, "_REFINE_UP_TO", 0)
            greedy = distance(labels, stratify(labels, RATIOS, seed=seed, groups=groups))
        assert refined <= greedy + 1e-9
        measured.append((refined, greedy))
    refined, greedy = np.mean(measured, axis=0)
    assert refined < 0.9 * greedy


def test_no_single_move_or_swap_would_still_help() -> None:
    """The refinement stops at a state that a naive search over all moves and swaps cannot better."""
    rng = np.random.default_rng(1)
    labels = rng.random((60, 2)) < (0.6, 0.3)
    groups = group_codes(rng.integers(0, 12, 60).tolist())
    part = stratify(labels, RATIOS, seed=0, groups=groups)
    home = np.array([part[groups == group][0] for group in range(groups.max() + 1)])
    best = distance(labels, home[groups])
    for first in range(len(home)):
        for index in range(3):
            moved = home.copy()
            moved[first] = index
            assert distance(labels, moved[groups]) >= best - 1e-9
        for second in range(first):
            swapped = home.copy()
            swapped[[first, second]] = home[[second, first]]
            assert distance(labels, swapped[groups]) >= best - 1e-9


def test_groups_of_one_record_are_split_as_records() -> None:
    labels = np.random.default_rng(2).random((50, 3)) < 0.3
    alone = stratify(labels, RATIOS, seed=4)
    np.testing.assert_array_equal(stratify(labels, RATIOS, seed=4, groups=np.arange(50)), alone)


def test_the_number_of_labels_is_stratified_too() -> None:
    """Without it the parts' sizes drifted: images with two defects count twice towards the shares."""
    labels = np.array([[1, 1]] * 20 + [[1, 0]] * 30 + [[0, 1]] * 30 + [[0, 0]] * 20, bool)
    part = stratify(labels, RATIOS, seed=0)
    both, clean = labels.all(axis=1), ~labels.any(axis=1)
    assert np.bincount(part).tolist() == [60, 20, 20]
    assert np.bincount(part[both]).tolist() == np.bincount(part[clean]).tolist() == [12, 4, 4]


def test_more_groups_than_are_refined_are_balanced_all_the_same() -> None:
    rng = np.random.default_rng(3)
    groups = group_codes(rng.integers(0, 2500, 5000).tolist())
    labels = rng.random((5000, 3)) < (0.4, 0.1, 0.02)
    assert groups.max() + 1 > room._REFINE_UP_TO
    part = stratify(labels, RATIOS, seed=0, groups=groups)
    for index in range(3):
        np.testing.assert_allclose(labels[part == index].mean(axis=0), labels.mean(axis=0), atol=0.006)
