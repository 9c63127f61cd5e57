"""Leaks: named with their number and an example; a split that has one stops, or goes on and is marked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from ringlight.data.content import hash_contents
from ringlight.data.folder import FolderSource
from ringlight.data.groups import NO_CONTENT
from ringlight.data.leaks import find_leaks
from ringlight.data.split import divide, split_dataset
from ringlight.errors import SplitError
from ringlight.types import Dataset

DatasetOf = Callable[..., Dataset]

ALLOW = "or set split.allow_leak=true: the run is then marked leaky"


def test_groups_and_identical_files_are_counted_with_the_first_example(dataset_of: DatasetOf) -> None:
    dataset = dataset_of([0] * 7, group=["a", "a", "b", "b", None, None, None], content=[*"12345", "5", None])
    assert find_leaks(dataset, np.array([0, 2, 1, 0, 0, 1, 2])) == (
        "2 groups in two parts (first: `a`, r0 in train and r1 in test)",
        "1 identical file in two parts (first: r4 in train and r5 in val)",
    )


def test_identical_files_of_a_divided_group_are_told_once(dataset_of: DatasetOf) -> None:
    dataset = dataset_of([0, 0], group=["a", "a"], content=["x", "x"])
    assert len(find_leaks(dataset, np.array([0, 1]))) == 1


def test_what_is_left_out_or_not_placed_yet_leaks_nothing(dataset_of: DatasetOf) -> None:
    dataset = dataset_of([0] * 3, group=["a"] * 3, content=["x"] * 3)
    assert find_leaks(dataset, np.array([0, 3, -1])) == ()


def test_leaks_are_what_a_naive_search_over_pairs_finds(dataset_of: DatasetOf) -> None:
    rng = np.random.default_rng(0)
    for seed in range(30):
        groups = [f"g{number}" for number in rng.integers(0, 12, 14)]
        part = rng.integers(0, 3, 14) if seed % 3 else np.array([int(name[1:]) % 3 for name in groups])
        pairs = {
            a for a, p in zip(groups, part, strict=True) for b, q in zip(groups, part, strict=True) if a == b and p != q
        }
        lines = find_leaks(dataset_of([0] * 14, group=groups), part)
        assert [int(line.split()[0]) for line in lines] == ([len(pairs)] if pairs else [])


class TestASplitThatLeaks:
    def split(self, dataset: Dataset, **arguments: Any) -> Any:
        return split_dataset(dataset, **{"strategy": "predefined", "seed": 0, **arguments})

    def prescribed(self, dataset_of: DatasetOf) -> Dataset:
        return dataset_of([0] * 4, group=["a", "a", "b", "c"], split=["train", "test", "train", "val"])

    def test_stops_in_one_line(self, dataset_of: DatasetOf) -> None:
        with pytest.raises(SplitError) as caught:
            self.split(self.prescribed(dataset_of))
        assert str(caught.value) == (
            "dataset: expected what belongs together in one part, got 1 group in two parts (first: `a`, r0 in train "
            f"and r1 in test); put them into one part or split anew, {ALLOW}"
        )

    def test_goes_on_when_it_may_and_is_marked(self, dataset_of: DatasetOf) -> None:
        split = self.split(self.prescribed(dataset_of), allow_leak=True, groups="given groups")
        line = "1 group in two parts (first: `a`, r0 in train and r1 in test)"
        assert split.leaky
        assert split.leaks == (line,)
        assert f"leak: {line}; the run is marked leaky (split.allow_leak=true)" in split.warnings
        assert split.leak_check == "given groups: leaks found"

    def test_identical_files_in_two_prescribed_parts_are_a_leak(self, dataset_of: DatasetOf) -> None:
        """NEU ships a picture twice; under one name it was trained on, under the other it was tested on."""
        dataset = dataset_of([0] * 3, split=["train", "val", "test"], content=["x", "y", "x"])
        with pytest.raises(
            SplitError, match=r"got 1 identical file in two parts \(first: r0 in train and r2 in test\)"
        ):
            self.split(dataset)

    def test_records_divided_one_by_one_divide_groups(self, dataset_of: DatasetOf) -> None:
        dataset = dataset_of([0, 1] * 10, group=[f"g{row // 4}" for row in range(20)])
        with pytest.raises(SplitError) as caught:
            self.split(dataset, strategy="stratified_70_15_15", keep_groups=False)
        assert str(caught.value).endswith(f"; keep them together with split.groups=auto, {ALLOW}")
        assert not self.split(dataset, strategy="stratified_70_15_15").leaky

    def test_a_copy_of_the_tested_group_in_another_group_is_a_leak(self, dataset_of: DatasetOf) -> None:
        dataset = dataset_of([0] * 6, group=[*"aabbcc"], content=["x", "1", "x", "2", "3", "4"])
        with pytest.raises(
            SplitError, match=r"remove the copies or give them one group, or set split\.allow_leak=true"
        ):
            self.split(dataset, strategy="leave_one_group_out", test_group="b")


class TestTheLeakCheckSays:
    @pytest.mark.parametrize(
        ("columns", "groups", "said"),
        [
            ({}, "auto", NO_CONTENT),
            ({"group": [f"g{row // 2}" for row in range(12)]}, "auto", "given groups: no leak found"),
            (
                {"content": [str(row) for row in range(12)]},
                "none",
                "identical files: no leak found; near-duplicates were",
            ),
        ],
    )
    def test_what_it_looked_at(
        self, columns: dict[str, list[str]], groups: str, said: str, dataset_of: DatasetOf
    ) -> None:
        _, split = divide(dataset_of([0, 1] * 6, **columns), strategy="stratified_80_20", seed=0, groups=groups)
        assert split.leak_check.startswith(said)

    def test_that_files_were_not_hashed(self, dataset_of: DatasetOf) -> None:
        dataset = dataset_of([0] * 9, uri=[f"/x/{row}" for row in range(9)])
        said = split_dataset(dataset, strategy="stratified_80_20", seed=0).leak_check
        assert said == "files not hashed: no leak check"


def test_the_copy_in_neu_stays_on_one_side_or_stops_the_split(real_data: Any) -> None:
    """`patches_101` and `patches_105` are the same file with different boxes."""
    folder = next(path.parent for path in real_data("neu-det").rglob("patches_101.jpg"))
    source = FolderSource(folder, label_regex=r"^(.+)_\d+\.jpg$")
    dataset = source.load()
    patches = hash_contents(dataset.take([row for row, key in enumerate(dataset.ids) if "patches" in key]))
    copies = [patches.ids.index(name) for name in ("patches_101.jpg", "patches_105.jpg")]
    for seed in range(8):
        _, split = divide(patches, strategy="stratified_70_15_15", seed=seed)
        assert sum(bool(set(copies) & set(rows.tolist())) for rows in split.parts().values()) == 1
        assert "identical files: no leak found" in split.leak_check
    parts = ["test" if row == copies[0] else "train" for row in range(len(patches))]
    with pytest.raises(SplitError, match=r"first: patches_101.jpg in test and patches_105.jpg in train"):
        divide(patches.with_column("split", parts), strategy="predefined", seed=0)
