"""What the commands on runs ask of every database."""

from __future__ import annotations

import threading

from ringlight.store.session import Store
from ringlight.store.tables import JobRow, RunRow, SnapshotRow, SplitRow, VersionRow


def fill(store: Store) -> list[int]:
    """Three runs on one snapshot, two of them on one split; a version and two jobs of the first."""
    with store.writing() as unit:
        rows = [
            unit.runs.add(RunRow(name=name, path=f"runs/{name}", config={}, metrics=metrics))
            for name, metrics in (("a_1", {"macro_f1": 0.5}), ("a_2", {"recall/x": 1.0}), ("ab", None))
        ]
        snapshot = unit.datasets.add_snapshot(
            SnapshotRow(fingerprint="f", task="multiclass", classes=[], num_records=1, path="p", checksum="c")
        )
        unit.flush()
        split = unit.datasets.add_split(
            SplitRow(snapshot_id=snapshot.id, method="m", seed=1, sizes={}, path="runs/a_1/split.csv", checksum="c")
        )
        unit.flush()
        for row in rows[:2]:
            row.snapshot_id, row.split_id = snapshot.id, split.id
        unit.versions.add(
            VersionRow(name="v", version=1, kind="view", label="l", path="m", checksum="c", metrics={}, classes=[],
                       run_id=rows[0].id)
        )  # fmt: skip
        for state in ("completed", "paused"):
            unit.jobs.add(JobRow(kind="train", payload={}, state=state, run="a_1"))
        unit.runs.put_epochs(rows[0].id, [{"epoch": epoch, "x": 1.0} for epoch in range(3)])
        return [row.id for row in rows]


def test_what_belongs_to_a_run_is_found(store: Store) -> None:
    first, second, third = fill(store)
    with store.reading() as unit:
        assert unit.runs.metric_names() == {"macro_f1", "recall/x"}
        assert [row.name for row in unit.runs.beginning_with("a_")] == ["a_2", "a_1"]  # `_` is no wildcard
        assert [(one.name, one.version) for one in unit.runs.versions(first)] == [("v", 1)]
        assert [job.state for job in unit.runs.jobs("a_1", ended=True)] == ["completed"]
        assert [job.state for job in unit.runs.jobs("a_1", ended=False)] == ["paused"]
        assert (unit.runs.count_epochs(first), unit.runs.count_epochs(second)) == (3, 0)
        rows = [unit.runs.by_id(number) for number in (first, third)]
        assert rows[0] is not None
        assert rows[1] is not None
        assert [row.name for row in unit.runs.divided_alike(rows[0])] == ["a_2"]
        assert unit.runs.divided_alike(rows[1]) == []


def test_a_split_moves_and_goes(store: Store) -> None:
    fill(store)
    with store.writing() as unit:
        run = unit.runs.get("a_1")
        assert run is not None
        assert run.split_id is not None
        number = run.split_id
        unit.datasets.move_split(number, "runs/a_2/split.csv")
    with store.writing() as unit:
        split = unit.datasets.split_by_id(number)
        assert split is not None
        assert split.path == "runs/a_2/split.csv"
        for name in ("a_1", "a_2"):
            unit.runs.change(name, split_id=None)
        unit.datasets.delete_split(number)
    with store.reading() as unit:
        assert unit.datasets.split_by_id(number) is None


def test_a_run_that_is_held_is_seen_as_its_last_writer_left_it(store: Store) -> None:
    """Two that both found a run lost would both have noted it."""
    fill(store)
    has_begun, seen = threading.Event(), []

    def second() -> None:
        has_begun.wait(10)
        with store.writing() as unit:
            row = unit.runs.held("a_1")
            seen.append(None if row is None else row.status)

    thread = threading.Thread(target=second)
    thread.start()
    with store.writing() as unit:
        row = unit.runs.held("a_1")
        assert row is not None
        has_begun.set()
        row.status = "interrupted"
    thread.join(20)
    assert seen == ["interrupted"]
