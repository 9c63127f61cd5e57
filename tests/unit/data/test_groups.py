"""What belongs together: given, found, chained in time, remembered; and what is said when it is not to be had."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from ringlight.data.groups import GIVEN, NEAR, NO_CONTENT, NONE, grouped, joined, units_of
from ringlight.data.split import divide
from ringlight.errors import SplitError
from ringlight.types import Dataset

DatasetOf = Callable[..., Dataset]


@dataclass
class Found:
    groups: Sequence[str]
    notes: Sequence[str] = ("looked at 4 files",)


def finder(*names: str) -> Callable[[Dataset], Found]:
    return lambda _: Found(names)


def never(dataset: Dataset) -> Found:
    raise AssertionError("nothing had to be looked for")


def files(count: int) -> list[str]:
    return [f"/x/{row}.png" for row in range(count)]


def test_given_groups_are_taken_and_nothing_is_looked_for(dataset_of: DatasetOf) -> None:
    dataset = dataset_of([0, 1, 0, 1], group=["a", None, "a", None], uri=files(4))
    for kind in ("auto", "given"):
        found = grouped(dataset, groups=kind, duplicates=never)
        assert found.dataset is dataset
        assert (found.origin, found.notes, found.checked, found.whole) == (GIVEN, (), True, True)


def test_without_given_groups_auto_looks_into_the_files(dataset_of: DatasetOf) -> None:
    dataset = dataset_of([0, 1, 0, 1], uri=files(4))
    found = grouped(dataset, duplicates=finder("near:r0", "near:r0", "near:r2", "near:r3"))
    assert found.dataset.groups == ["near:r0", "near:r0", "near:r2", "near:r3"]
    assert found.origin == NEAR
    counted = "near-duplicates: 2 of 4 records share their group with another, 1 group(s)"
    assert found.notes == (counted, "looked at 4 files")
    assert dataset.groups is None


def test_labels_alone_cannot_be_checked_and_it_is_said(dataset_of: DatasetOf) -> None:
    for columns in ({}, {"uri": ["/x/0.png", None]}):
        found = grouped(dataset_of([0, 1], **columns), duplicates=never)
        assert (found.notes, found.checked) == ((NO_CONTENT,), False)
        assert found.dataset.groups is None


def test_duplicates_are_joined_with_the_given_groups(dataset_of: DatasetOf) -> None:
    """Two coils that hold the same picture, and a picture of no coil that looks like one of coil b."""
    dataset = dataset_of([0] * 6, group=["a", "a", "b", None, None, None], uri=files(6))
    found = grouped(dataset, groups="duplicates", duplicates=finder("n0", "n1", "n2", "n2", "n4", "n4"))
    assert found.dataset.groups == ["a", "a", "b", "b", "n4", "n4"]
    assert found.origin == f"{GIVEN} and {NEAR}"
    across = grouped(dataset, groups="duplicates", duplicates=finder("n0", "n1", "n1", "n3", "n4", "n5"))
    assert across.dataset.groups == ["a", "a", "a", "n3", "n4", "n5"]


def test_none_keeps_the_given_groups_for_the_leak_check_alone(dataset_of: DatasetOf) -> None:
    found = grouped(dataset_of([0, 1], group=["a", "a"]), groups="none", duplicates=never)
    assert found.dataset.groups == ["a", "a"]
    assert not found.whole


def test_none_looks_for_near_duplicates_so_that_a_divided_pair_is_a_leak(dataset_of: DatasetOf) -> None:
    """Pairs of pictures of one part were divided record by record, and the run passed for clean."""
    dataset = dataset_of([0, 1] * 10, uri=files(20))
    pairs = [f"near:r{row // 2 * 2}" for row in range(20)]
    found = grouped(dataset, groups="none", duplicates=finder(*pairs))
    assert (found.dataset.groups, found.whole) == (pairs, False)
    assert found.origin == f"{NONE}; {NEAR}"
    with pytest.raises(SplitError, match=r"expected what belongs together in one part, got \d+ groups in two parts"):
        divide(dataset, strategy="stratified_80_20", seed=0, groups="none", duplicates=finder(*pairs))
    _, split = divide(
        dataset, strategy="stratified_80_20", seed=0, groups="none", duplicates=finder(*pairs), allow_leak=True
    )
    assert split.leaky
    assert split.leak_check == f"{NEAR}: leaks found"


class TestRecordsCloseInTime:
    def test_they_chain_into_one_group(self, dataset_of: DatasetOf) -> None:
        """0, 9 and 18 s hang together at 10 s though the first and last are 18 s apart; exactly 10 s does not."""
        dataset = dataset_of([0] * 6, time=[18.0, 0.0, 9.0, 28.0, 100.0, 100.0])
        found = grouped(dataset, groups="time", time_window=10.0)
        assert found.dataset.groups == ["time:r1", "time:r1", "time:r1", "time:r3", "time:r4", "time:r4"]
        assert found.origin == "records close in time (less than 10 s apart)"

    def test_they_chain_within_a_given_group_only(self, dataset_of: DatasetOf) -> None:
        dataset = dataset_of([0] * 4, time=[0.0, 1.0, 2.0, 3.0], group=["a", "b", "a", None])
        found = grouped(dataset, groups="time", time_window=10.0)
        assert found.dataset.groups == ["time:r0", "time:r1", "time:r0", "time:r3"]
        assert found.origin.endswith("apart, within the given groups)")

    def test_they_are_what_a_naive_search_finds(self, dataset_of: DatasetOf) -> None:
        rng = np.random.default_rng(0)
        times = rng.uniform(0, 100, 60).tolist()
        streams = [["a", "b", None][number] for number in rng.integers(0, 3, 60)]
        found = grouped(dataset_of([0] * 60, time=times, group=streams), groups="time", time_window=2.0)
        reached = np.eye(60, dtype=bool)
        for one in range(60):
            for other in range(60):
                reached[one, other] |= streams[one] == streams[other] and abs(times[one] - times[other]) < 2.0
        for _ in range(60):
            reached = (reached.astype(int) @ reached.astype(int)) > 0
        names = np.array(found.dataset.groups)
        np.testing.assert_array_equal(names[:, None] == names, reached)

    @pytest.mark.parametrize(
        ("times", "window", "message"),
        [
            (
                [1.0, 2.0],
                None,
                "split.time_window: expected a length of time above 0, in seconds, got none; set split.",
            ),
            ([1.0, 2.0], 0.0, "split.time_window: expected a length of time above 0, in seconds, got 0; set"),
            (
                [1.0, None],
                5.0,
                "dataset: split.groups=time: expected a time for every record, got none for 1 (r1); set",
            ),
        ],
    )
    def test_what_is_missing_is_named(
        self, times: list[float | None], window: float | None, message: str, dataset_of: DatasetOf
    ) -> None:
        with pytest.raises(SplitError) as caught:
            grouped(dataset_of([0, 0], time=times), groups="time", time_window=window)
        assert str(caught.value).startswith(message)


class TestASavedSplit:
    def test_that_knows_every_record_is_taken_as_it_is(self, dataset_of: DatasetOf) -> None:
        """A run that is resumed after the search for duplicates was improved must still be the same run."""
        dataset = dataset_of([0, 1, 0], uri=files(3))
        saved = {"r0": "near:r0", "r1": "near:r0", "r2": "near:r2", "gone": "near:gone"}
        found = grouped(dataset, duplicates=never, saved=saved)
        assert found.dataset.groups == ["near:r0", "near:r0", "near:r2"]
        assert found.origin == f"{NEAR}, as the saved split has them"

    def test_of_fewer_records_is_joined_with_what_is_found(self, dataset_of: DatasetOf) -> None:
        dataset = dataset_of([0] * 4, uri=files(4))
        saved = {"r0": "near:r0", "r1": "near:r0"}
        found = grouped(dataset, duplicates=finder("n0", "n1", "n1", "n3"), saved=saved)
        assert found.dataset.groups == ["n0", "n0", "n0", "n3"]

    def test_does_not_replace_the_sources_own_groups(self, dataset_of: DatasetOf) -> None:
        dataset = dataset_of([0, 1], group=["a", "b"])
        assert grouped(dataset, saved={"r0": "x", "r1": "x"}).dataset.groups == ["a", "b"]


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (
            "given",
            "dataset: split.groups=given: expected records with a group, got none; set data.group_column or data.",
        ),
        ("duplicates", "dataset: split.groups=duplicates: expected a file for every record, got none for 2 (r0, r1); "),
        ("dupliactes", "split.groups: expected a known kind of group, got `dupliactes`; did you mean `duplicates`?"),
    ],
)
def test_groups_that_are_not_to_be_had_are_refused(kind: str, message: str, dataset_of: DatasetOf) -> None:
    with pytest.raises(SplitError) as caught:
        grouped(dataset_of([0, 1]), groups=kind, duplicates=never)
    assert str(caught.value).startswith(message)


def test_a_found_group_is_no_part_of_the_identity_of_the_data_as_given(dataset_of: DatasetOf) -> None:
    dataset = dataset_of([0, 1], uri=files(2))
    before = dataset.fingerprint
    found = grouped(dataset, duplicates=finder("n", "n"))
    assert dataset.fingerprint == before
    assert found.dataset.fingerprint != before


def test_chains_over_several_labellings_are_joined() -> None:
    """r0-r1 by the first, r1-r2 by the second, r2-r3 by the first again: one whole, which takes several rounds."""
    assert joined(np.array([5, 5, 1, 1, 0]), np.array([0, 2, 2, 3, 1])).tolist() == [0, 0, 0, 0, 4]


def test_joined_is_what_scipy_finds() -> None:
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    rng = np.random.default_rng(1)
    first, second = rng.integers(0, 60, 80), rng.integers(0, 60, 80)
    edges = coo_matrix((np.ones(160), (np.tile(np.arange(80), 2), np.r_[80 + first, 140 + second])), (200, 200))
    theirs = connected_components(edges, directed=False)[1][:80]
    ours = joined(first, second)
    np.testing.assert_array_equal(ours[:, None] == ours, theirs[:, None] == theirs)
    assert (ours == [np.flatnonzero(theirs == code)[0] for code in theirs]).all()


def test_identical_files_are_one_unit_though_their_groups_keep_their_names(dataset_of: DatasetOf) -> None:
    dataset = dataset_of([0] * 5, group=["a", "b", "b", None, None], content=["x", "x", "y", None, "z"])
    assert units_of(dataset).tolist() == [0, 0, 0, 1, 2]
    assert units_of(dataset_of([0, 0])).tolist() == [0, 1]
