"""Splitting by time: the past is trained on, the future tested, groups stay whole, and a gap lies between."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringlight.data.chronology import cut_in_time
from ringlight.data.split import split_dataset
from ringlight.errors import SplitError
from ringlight.types import Dataset, Split

DatasetOf = Callable[..., Dataset]


def by_time(dataset: Dataset, gap: float = 0.0) -> Split:
    return split_dataset(dataset, strategy="time_70_15_15", seed=0, time_gap=gap)


def test_the_oldest_are_trained_on_and_the_newest_tested(dataset_of: DatasetOf) -> None:
    times = np.random.default_rng(0).permutation(100).astype(float)
    split = by_time(dataset_of([0, 1] * 50, time=times.tolist()))
    assert sorted(times[split.train]) == list(range(70))
    assert sorted(times[split.val]) == list(range(70, 85))
    assert sorted(times[split.test]) == list(range(85, 100))
    assert len(split.left_out) == 0
    assert split.warnings == ()


def test_boundaries_move_to_the_edges_of_recordings(dataset_of: DatasetOf) -> None:
    """Recordings of 8: 70 % of 96 is in the middle of the ninth, and no record need be left out."""
    groups = [f"rec {row // 8}" for row in range(96)]
    split = by_time(dataset_of([0] * 96, time=[float(row) for row in range(96)], group=groups))
    assert [len(rows) for rows in split.parts().values()] == [64, 16, 16]
    assert len(split.left_out) == 0


def test_a_group_across_a_boundary_goes_where_most_of_it_is(dataset_of: DatasetOf) -> None:
    """A coil that came back for rework a month later: its late pictures are in no part."""
    groups = [None] * 40
    for row in (1, 2, 3, 39):
        groups[row] = "coil 7"
    split = by_time(dataset_of([0] * 40, time=[float(row) for row in range(40)], group=groups))
    assert {1, 2, 3} <= set(split.train.tolist())
    assert split.left_out.tolist() == [39]
    assert split.warnings == (
        "left out at the boundaries in time: 1 (r39); their group is in another part, or the next part is nearer than "
        "split.time_gap",
    )


def test_the_gap_before_each_boundary_is_left_out(dataset_of: DatasetOf) -> None:
    split = by_time(dataset_of([0] * 100, time=[float(row) for row in range(100)]), gap=3.0)
    assert split.left_out.tolist() == [68, 69, 83, 84]
    assert split.train.max() == 67
    assert split.val.tolist() == list(range(70, 83))


@st.composite
def moments(draw: st.DrawFn) -> tuple[list[float], list[str | None], float]:
    count = draw(st.integers(5, 40))
    times = draw(st.lists(st.integers(0, 30).map(float), min_size=count, max_size=count))
    groups = draw(st.lists(st.sampled_from(["a", "b", "c", None, None, None]), min_size=count, max_size=count))
    return times, groups, float(draw(st.integers(0, 3)))


@settings(max_examples=150, deadline=None)
@given(moments())
def test_any_times_are_divided_soundly_or_refused(case: tuple[list[float], list[str | None], float]) -> None:
    times, groups, gap = case
    from ringlight.types import Record

    records = [Record(id=f"r{row}", labels=(0,), group=groups[row], time=times[row]) for row in range(len(times))]
    dataset = Dataset.from_records(records, ["x"], "multiclass")
    try:
        split = by_time(dataset, gap)
    except SplitError:
        return
    rows = [*split.train, *split.val, *split.test, *split.left_out]
    assert sorted(rows) == list(range(len(times)))
    moment, names = np.array(times), np.array(dataset.groups or dataset.ids)
    ends = [(moment[part].min(), moment[part].max()) for part in split.parts().values()]
    assert ends[1][0] - ends[0][1] >= gap
    assert ends[2][0] - ends[1][1] >= gap
    assert ends[0][1] < ends[1][0]
    assert ends[1][1] < ends[2][0]
    homes = [set(names[part]) for part in split.parts().values()]
    assert sum(map(len, homes)) == len(set().union(*homes))


@pytest.mark.parametrize(
    ("columns", "gap", "message"),
    [
        (
            {"time": [1.0, None, 2.0, None, 3.0]},
            0.0,
            "dataset: split.strategy=time_70_15_15: expected a time for every record, got none for 2 (r1, r3)",
        ),
        (
            {"time": [1.0, 1.0, 2.0, 2.0, 2.0]},
            0.0,
            "expected at least 3 different times for 3 parts, got 2; check data.",
        ),
        (
            {"time": [1.0, 2.0, 3.0, 4.0, 5.0]},
            9.0,
            "got none for train and val once groups across a boundary and split.",
        ),
        (
            {"time": [1.0, 2.0, 3.0, 4.0, 5.0], "group": ["a"] * 5},
            0.0,
            "shorten split.time_gap, use groups that end in time (split.groups=time), or another strategy",
        ),
        (
            {"time": [1.0, 2.0, 3.0, 4.0, 5.0]},
            -1.0,
            "split.time_gap: expected seconds from 0, got -1; set split.time_gap",
        ),
    ],
)
def test_times_that_cannot_be_divided_are_refused(
    columns: dict[str, list[float]], gap: float, message: str, dataset_of: DatasetOf
) -> None:
    with pytest.raises(SplitError) as caught:
        by_time(dataset_of([0] * 5, **columns), gap)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_spans_of_time_are_equal_without_ties_and_never_divide_one_time() -> None:
    rng = np.random.default_rng(0)
    assert np.bincount(cut_in_time(rng.permutation(60).astype(float), 6)).tolist() == [10] * 6
    for _ in range(50):
        times = rng.integers(0, 12, 40).astype(float)
        spans = cut_in_time(times, 5)
        assert set(spans.tolist()) == set(range(5))
        order = np.argsort(times)
        assert (np.diff(spans[order]) >= 0).all()
        assert all(len(set(spans[times == time])) == 1 for time in times)
