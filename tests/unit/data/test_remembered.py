"""Found duplicates: read back instead of searched again, rebuilt when the file is of no use, whatever the order."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ringlight.data.links import Duplicates, Link
from ringlight.data.remembered import WORTH_IT, remembered_duplicates
from ringlight.types import Dataset

DatasetOf = Callable[..., Dataset]
COUNT = WORTH_IT + 10


class Search:
    """Links each record to the next with the same content, and counts how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, dataset: Dataset) -> Duplicates:
        self.asked += 1
        contents = dataset.table.column("content").to_pylist()
        links = [
            Link(a, b, 0.5 + a / 1000)
            for a in range(len(contents))
            for b in range(a + 1, len(contents))
            if contents[a] is not None and contents[a] == contents[b]
        ]
        return Duplicates.from_links(dataset.ids, links, ["how it was decided"])


@pytest.fixture
def dataset(dataset_of: DatasetOf) -> Dataset:
    return dataset_of([0, 1] * (COUNT // 2), content=[f"{row // 2}" for row in range(COUNT)])


def names(dataset: Dataset, found: Duplicates) -> dict[str, str]:
    return dict(zip(dataset.ids, found.groups, strict=True))


def pairs(dataset: Dataset, found: Duplicates) -> set[tuple[frozenset[str], float]]:
    return {(frozenset((dataset.ids[link.a], dataset.ids[link.b])), link.similarity) for link in found.links}


def test_the_second_look_is_not_a_search(dataset: Dataset, tmp_path: Path) -> None:
    search = Search()
    first = remembered_duplicates(dataset, find=search, cache=tmp_path / "cache")
    second = remembered_duplicates(dataset, find=search, cache=tmp_path / "cache")
    assert search.asked == 1
    assert second == first
    assert first.num_groups == COUNT // 2
    assert first.notes == ("how it was decided",)
    assert all(link.a < link.b for link in first.links)


def test_the_answer_does_not_depend_on_the_order_of_the_records(dataset: Dataset, tmp_path: Path) -> None:
    turned = dataset.take(np.random.default_rng(0).permutation(COUNT))
    search = Search()
    first = remembered_duplicates(dataset, find=search, cache=tmp_path)
    for cache in (tmp_path, tmp_path / "empty"):
        second = remembered_duplicates(turned, find=search, cache=cache)
        assert names(turned, second) == names(dataset, first)
        assert pairs(turned, second) == pairs(dataset, first)
    assert search.asked == 2


def test_corrected_labels_need_no_new_search_and_other_files_do(dataset: Dataset, tmp_path: Path) -> None:
    search = Search()
    remembered_duplicates(dataset, find=search, cache=tmp_path)
    remembered_duplicates(dataset.with_column("labels", [[1]] * COUNT), find=search, cache=tmp_path)
    assert search.asked == 1
    for column in ("content", "id"):
        values = dataset.table.column(column).to_pylist()
        remembered_duplicates(dataset.with_column(column, ["new", *values[1:]]), find=search, cache=tmp_path)
    assert search.asked == 3


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda _: "[]",
        lambda _: "\x00",
        lambda text: json.dumps({**json.loads(text), "ringlight": "0.0.0"}),
        lambda text: json.dumps({**json.loads(text), "format": 0}),
        lambda text: json.dumps({**json.loads(text), "groups": ["near:r0"]}),
        lambda text: json.dumps({**json.loads(text), "groups": [7] * COUNT}),
        lambda text: json.dumps({**json.loads(text), "links": [[0, COUNT, 1.0]]}),
        lambda text: json.dumps({**json.loads(text), "links": [[0, 1]]}),
        lambda text: json.dumps({**json.loads(text), "links": None}),
    ],
)
def test_a_file_that_is_of_no_use_is_rebuilt(dataset: Dataset, tmp_path: Path, damage: Callable[[str], str]) -> None:
    search = Search()
    first = remembered_duplicates(dataset, find=search, cache=tmp_path)
    (file,) = tmp_path.iterdir()
    whole = file.read_text()
    file.write_text(damage(whole))
    assert remembered_duplicates(dataset, find=search, cache=tmp_path) == first
    assert search.asked == 2
    assert file.read_text() == whole


def test_a_folder_that_cannot_be_written_costs_time_alone(dataset: Dataset, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file, not a folder")
    search = Search()
    first = remembered_duplicates(dataset, find=search, cache=tmp_path / "cache")
    assert remembered_duplicates(dataset, find=search, cache=tmp_path / "cache") == first
    assert search.asked == 2


def test_few_files_or_unknown_contents_leave_nothing_behind(dataset: Dataset, tmp_path: Path) -> None:
    """Without their digests two data sets with the same names would share an answer."""
    search = Search()
    small = dataset.take(range(WORTH_IT - 1))
    unknown = dataset.with_column("content", [None, *dataset.table.column("content").to_pylist()[1:]])
    for data in (small, unknown):
        assert len(remembered_duplicates(data, find=search, cache=tmp_path).groups) == len(data)
    assert list(tmp_path.iterdir()) == []
