"""Slices: the share of right records by group, folder, size and time, the certainly worst first."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ringlight.evaluation.rates import wilson
from ringlight.training.slices import FEWEST, MOST, slices
from ringlight.types import Dataset, Record

DatasetOf = Callable[..., Dataset]


def told(rows: list[dict[str, Any]], by: str) -> dict[str, tuple[int, float]]:
    return {row["name"]: (row["num_records"], row["value"]) for row in rows if row["by"] == by}


def test_groups_are_judged_one_by_one_the_worst_first(dataset_of: DatasetOf) -> None:
    groups = ["line 1"] * 10 + ["line 2"] * 6 + ["line 3"] * 4
    right = np.array([True] * 10 + [True, True, False, False, False, False] + [False] * 4)
    rows = slices(dataset_of([0] * 20, group=groups), right)
    assert [row["name"] for row in rows] == ["line 2", "line 1"]  # line 3 has four records: they say nothing
    assert told(rows, "group") == {"line 1": (10, 1.0), "line 2": (6, 2 / 6)}
    assert (rows[0]["low"], rows[0]["high"]) == pytest.approx(wilson(2, 6))
    assert rows[0]["metric"] == "accuracy"


def test_the_confidence_moves_the_interval(dataset_of: DatasetOf) -> None:
    data = dataset_of([0] * 10, group=["a"] * 5 + ["b"] * 5)
    (narrow, *_), (wide, *_) = (slices(data, np.arange(10) % 2 == 0, confidence=share) for share in (0.8, 0.99))
    assert wide["low"] < narrow["low"] < narrow["value"] < narrow["high"] < wide["high"]


def test_several_labels_are_judged_by_whole_records(dataset_of: DatasetOf) -> None:
    rows = slices(dataset_of([[0, 1]] * 10, group=["a"] * 5 + ["b"] * 5), np.ones(10, bool))
    assert {row["metric"] for row in rows} == {"subset_accuracy"}


@pytest.mark.parametrize("count", [1, FEWEST - 1])
def test_a_few_records_say_nothing(dataset_of: DatasetOf, count: int) -> None:
    groups = [f"g{row % 2}" for row in range(count)]
    assert slices(dataset_of([0] * count, group=groups), np.ones(count, bool)) == []


def test_records_that_are_all_alike_are_no_slices(dataset_of: DatasetOf) -> None:
    assert slices(dataset_of([0] * 20, group=["a"] * 20, time=[5.0] * 20), np.ones(20, bool)) == []


def test_records_without_a_group_are_in_no_slice(dataset_of: DatasetOf) -> None:
    rows = slices(dataset_of([0] * 12, group=["a"] * 6 + [None] * 6), np.ones(12, bool))
    assert told(rows, "group") == {"a": (6, 1.0)}


def test_folders_are_told_below_what_all_have_in_common(tmp_path: Path, make_image: Callable[..., Path]) -> None:
    records = []
    for folder, height in (("day/cam_1", 20), ("day/cam_2", 30), ("night", 20)):
        for number in range(5):
            path = make_image(tmp_path / "plant" / folder / f"{number}.png", size=(height, 24))
            records.append(Record(id=f"{folder}/{number}", uri=str(path), labels=(0,)))
    data = Dataset.from_records(records, ["a"], "multiclass")
    rows = slices(data, np.arange(15) >= 5)
    assert told(rows, "folder") == {"day/cam_1": (5, 0.0), "day/cam_2": (5, 1.0), "night": (5, 1.0)}
    assert told(rows, "size") == {"20x24": (10, 0.5), "30x24": (5, 1.0)}
    assert told(rows, "group") == told(rows, "time") == {}


def test_a_file_that_is_gone_costs_its_slice_and_nothing_else(tmp_path: Path, make_image: Callable[..., Path]) -> None:
    """The training is over; a share of the network that went away must not take its results along."""
    paths = [make_image(tmp_path / f"{number}.png", size=(20 + 4 * (number % 2), 24)) for number in range(11)]
    data = Dataset.from_records(
        [Record(id=path.name, uri=str(path), labels=(0,)) for path in paths], ["a"], "multiclass"
    )  # fmt: skip
    paths[0].unlink()
    assert told(slices(data, np.ones(11, bool)), "size") == {"20x24": (5, 1.0), "24x24": (5, 1.0)}


def test_time_is_cut_in_quarters_of_the_records(dataset_of: DatasetOf) -> None:
    times = [float(row) for row in range(40)]
    rows = slices(dataset_of([0] * 40, time=times), np.arange(40) >= 10)
    assert {name: count for name, (count, _) in told(rows, "time").items()} == {
        "0 to 9.75": 10, "9.75 to 19.5": 10, "19.5 to 29.25": 10, "29.25 to 39": 10,
    }  # fmt: skip
    assert (rows[0]["name"], rows[0]["value"]) == ("0 to 9.75", 0.0)


def test_quarters_of_an_hour_in_seconds_since_1970_stay_apart(dataset_of: DatasetOf) -> None:
    """With six digits all four quarters were called `1.7e+09 to 1.7e+09`: one slice, in which nothing could be seen."""
    times = [1_700_000_000.0 + 90 * row for row in range(40)]
    rows = slices(dataset_of([0] * 40, time=times), np.arange(40) >= 10)
    found = told(rows, "time")
    assert [count for count, _ in found.values()] == [10] * 4
    assert found["1700000000 to 1700000878"] == (10, 0.0)


def test_too_few_times_make_no_quarters_and_records_without_a_time_are_in_none(dataset_of: DatasetOf) -> None:
    few = [float(row) for row in range(19)]
    assert slices(dataset_of([0] * 19, time=few), np.ones(19, bool)) == []
    some = [float(row) if row < 20 else None for row in range(30)]
    rows = slices(dataset_of([0] * 30, time=some), np.ones(30, bool))
    assert sum(count for count, _ in told(rows, "time").values()) == 20


def test_pictures_of_one_part_are_one_trial_in_a_slice_by_time(dataset_of: DatasetOf) -> None:
    """Ten pictures of two parts are two trials, whatever the slice they lie in; within a group its pictures count."""
    data = dataset_of([0] * 40, time=[float(row) for row in range(40)], group=[f"part {row // 5}" for row in range(40)])
    rows = slices(data, np.ones(40, bool))
    by_time = next(row for row in rows if row["by"] == "time")
    by_group = next(row for row in rows if row["by"] == "group")
    assert (by_time["low"], by_time["high"]) == pytest.approx(wilson(2, 2))
    assert (by_group["low"], by_group["high"]) == pytest.approx(wilson(5, 5))


def test_no_more_slices_than_a_page_holds_and_the_worst_are_kept(dataset_of: DatasetOf) -> None:
    groups = [f"g{row // 5:02d}" for row in range(5 * (MOST + 5))]
    right = np.array([row // 5 >= 3 for row in range(len(groups))])
    rows = slices(dataset_of([0] * len(groups), group=groups), right)
    assert len(rows) == MOST
    assert [row["name"] for row in rows[:4]] == ["g00", "g01", "g02", "g03"]


def test_a_group_for_every_record_costs_no_time(dataset_of: DatasetOf) -> None:
    """Near-duplicates give every record a group, mostly of its own: asking each record about each took minutes."""
    number = 30_000
    data = dataset_of([0] * number, group=[f"near:{row}" for row in range(number)])
    started = time.perf_counter()
    assert slices(data, np.ones(number, bool)) == []
    assert time.perf_counter() - started < 10
