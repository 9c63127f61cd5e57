"""What every split promises: disjoint, complete, deterministic, no group divided, no training class lost."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringlight.data.split import (
    LEAVE_ONE_GROUP_OUT,
    PREDEFINED,
    STRATEGIES,
    TIME,
    StratifiedSplitter,
    split_dataset,
    write_split,
)
from ringlight.errors import SplitError
from ringlight.types import Dataset, Split

DatasetOf = Callable[..., Dataset]
Case = tuple[np.ndarray, list[int] | None, tuple[float, ...], int]
MANY = [[0], [1], [0, 1], [], [2], [0, 2], [1], [0], [], [2]] * 6
SINGLE = [0, 1, 2, 0, 0, 1] * 8
GROUPS = [f"coil {row // 3}" for row in range(60)]


def datasets(make: DatasetOf) -> dict[str, Dataset]:
    prescribed = (["train"] * 4 + ["val"] + ["test"]) * 10
    times = [float(row % 17) for row in range(60)]
    tested = [None] * 5 + ["tested"] + [None] * 54  # one prescribed for the test, so that it may stand alone
    copied = [None] * 3 + ["tested"] * 3 + [None] * 54
    return {
        "multilabel": make(MANY, split=prescribed, time=times, group=tested),
        "multiclass": make(SINGLE, split=prescribed[:48], time=times, group=tested),
        "grouped": make(MANY, group=GROUPS, split=[prescribed[row // 3] for row in range(60)], time=times),
        "copies": make(
            MANY, content=GROUPS, split=[prescribed[row // 3] for row in range(60)], time=times, group=copied
        ),
    }


def parts_of(dataset: Dataset, strategy: str, seed: int) -> Split:
    tested = "coil 3" if "coil 3" in (dataset.groups or []) else "tested"
    return split_dataset(dataset, strategy=strategy, seed=seed, test_group=tested)


def named(dataset: Dataset, split: Split) -> dict[str, list[str]]:
    return {name: [dataset.ids[row] for row in rows] for name, rows in split.parts().items()}


@pytest.mark.parametrize("strategy", [*STRATEGIES, TIME, LEAVE_ONE_GROUP_OUT, PREDEFINED])
@pytest.mark.parametrize("kind", ["multilabel", "multiclass", "grouped", "copies"])
class TestEveryStrategy:
    def test_parts_are_disjoint_complete_sorted_and_typed(
        self, kind: str, strategy: str, dataset_of: DatasetOf
    ) -> None:
        dataset = datasets(dataset_of)[kind]
        split = parts_of(dataset, strategy, seed=0)
        everywhere = [*split.parts().values(), split.left_out]
        assert sorted(np.concatenate(everywhere).tolist()) == list(range(len(dataset)))
        assert len(split.left_out) == 0 or strategy == TIME
        for rows in split.parts().values():
            assert rows.dtype == np.int64
            assert (np.diff(rows) > 0).all()
        assert split.strategy == strategy

    def test_the_same_seed_gives_the_same_parts_in_any_order_of_records(
        self, kind: str, strategy: str, dataset_of: DatasetOf
    ) -> None:
        """A folder listed in another order on another disk must not move pictures between train and test."""
        dataset = datasets(dataset_of)[kind]
        turned = dataset.take(np.random.default_rng(3).permutation(len(dataset)))
        first, second = (parts_of(data, strategy, seed=7) for data in (dataset, turned))
        sets = [{name: set(ids) for name, ids in named(d, s).items()} for d, s in ((dataset, first), (turned, second))]
        assert sets[0] == sets[1]

    def test_no_group_is_divided(self, kind: str, strategy: str, dataset_of: DatasetOf) -> None:
        dataset = datasets(dataset_of)[kind]
        groups = np.array(dataset.groups or dataset.ids)
        split = parts_of(dataset, strategy, seed=1)
        homes = [set(groups[rows]) for rows in split.parts().values()]
        assert sum(map(len, homes)) == len(set().union(*homes))
        assert set(groups) == set().union(*homes) or strategy == TIME
        assert not split.leaky

    def test_a_saved_split_is_read_back_as_it_was(
        self, kind: str, strategy: str, dataset_of: DatasetOf, tmp_path: Path
    ) -> None:
        dataset = datasets(dataset_of)[kind]
        split = parts_of(dataset, strategy, seed=2)
        write_split(split, dataset, tmp_path / "split.csv")
        tested = "coil 3" if kind == "grouped" else "tested"
        again = split_dataset(dataset, strategy=strategy, seed=3, file=tmp_path / "split.csv", test_group=tested)
        assert named(dataset, again) == named(dataset, split)
        assert again.left_out.tolist() == split.left_out.tolist()


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_sizes_follow_the_strategy(strategy: str, dataset_of: DatasetOf) -> None:
    split = split_dataset(dataset_of(MANY * 4), strategy=strategy, seed=0)
    sizes = [len(rows) for rows in split.parts().values()]
    np.testing.assert_allclose(sizes, 240 * np.array(STRATEGIES[strategy]), atol=2)


def test_another_seed_gives_other_parts(dataset_of: DatasetOf) -> None:
    dataset = dataset_of(MANY)
    tests = {tuple(split_dataset(dataset, strategy="stratified_70_15_15", seed=seed).test) for seed in range(5)}
    assert len(tests) == 5


@st.composite
def labelled(draw: st.DrawFn) -> Case:
    count, classes = draw(st.integers(1, 40)), draw(st.integers(1, 4))
    labels = draw(
        st.lists(st.lists(st.integers(0, 1), min_size=classes, max_size=classes), min_size=count, max_size=count)
    )
    groups = draw(st.none() | st.lists(st.integers(0, 9), min_size=count, max_size=count))
    ratios = draw(st.sampled_from([(0.7, 0.15, 0.15), (0.8, 0.2), (0.2, 0.4, 0.4), (0.5, 0.5, 0.0)]))
    return np.array(labels), groups, ratios, draw(st.integers(0, 5))


@settings(max_examples=150, deadline=None)
@given(labelled())
def test_any_labels_are_split_soundly_or_refused(
    case: Case,
) -> None:
    """Disjoint, complete, no empty part that was asked for, groups whole, no class without training examples."""
    labels, groups, ratios, seed = case
    shares = (ratios[0], 0.0, ratios[1]) if len(ratios) == 2 else ratios
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # rare classes are named; here they are the rule
        try:
            parts = StratifiedSplitter(seed).split(labels, ratios, groups)
        except SplitError:
            units = len(labels) if groups is None else len(set(groups))
            # Refused: fewer units than parts, or parts that can only be filled with a class's last example.
            assert units < sum(share > 0 for share in shares) or units <= 2 * labels.shape[1] + 2
            return
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(labels)))
    assert [len(rows) > 0 for rows in parts] == [share > 0 for share in shares]
    codes = np.arange(len(labels)) if groups is None else np.array(groups)
    assert sum(len(set(codes[rows])) for rows in parts) == len(set(codes))
    carriers = [len(set(codes[labels[:, column] == 1])) for column in range(labels.shape[1])]
    alone = [column for column, number in enumerate(carriers) if number == 1]
    assert labels[parts[0]][:, alone].any(axis=0).all()
