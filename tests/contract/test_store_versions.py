"""What every database must do the same for versions of models."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from ringlight.errors import WorkspaceError
from ringlight.store.session import Store
from ringlight.store.tables import ActivationRow, JobRow, RunRow, SnapshotRow, VersionRow
from ringlight.store.versions import REGISTERED, SUBJECT


def version(number: int, name: str = "strips", **values: object) -> VersionRow:
    given = {"name": name, "version": number, "kind": "defect", "label": f"v{number}", "path": f"m/{name}/{number}",
             "checksum": "0" * 64, "metrics": {"macro_f1": 0.5}, "classes": ["a", "b"]}  # fmt: skip
    return VersionRow(**{**given, **values})


def test_versions_are_found_by_name_kind_and_standing(store: Store) -> None:
    with store.writing() as unit:
        for row in (version(1), version(2, is_active=True), version(1, "views", kind="view")):
            unit.versions.add(row)
    with store.reading() as unit:

        def found(**wanted: object) -> list[tuple[str, int]]:
            return [(row.name, row.version) for row in unit.versions.find(**wanted)]  # type: ignore[arg-type]

        assert found() == [("strips", 2), ("strips", 1), ("views", 1)]
        assert found(name="strips") == [("strips", 2), ("strips", 1)]
        assert found(kind="view") == [("views", 1)]
        assert found(active=True) == [("strips", 2)]
        assert unit.versions.get("views", 2) is None
        assert unit.versions.active("views") is None


def test_a_number_and_a_place_are_taken_once(store: Store) -> None:
    with store.writing() as unit:
        unit.versions.add(version(1))
    for second in (version(1, path="elsewhere"), version(2, path="m/strips/1"), version(0), version(1, kind="other")):
        with pytest.raises(WorkspaceError), store.writing() as unit:
            unit.versions.add(second)


def test_a_number_stays_taken_when_its_version_is_gone(store: Store) -> None:
    """The number of the latest version was given to the next one once it was deleted."""
    with store.writing() as unit:
        assert unit.versions.next_number("strips") == 1
        for number in (1, 2):
            unit.versions.add(version(number))
            unit.events.add(SUBJECT, "strips", REGISTERED, version=number)
        unit.events.add(SUBJECT, "views", REGISTERED, version=7)
        unit.events.add(SUBJECT, "strips", "deleted", version=9)
    with store.writing() as unit:
        for number in (1, 2):
            row = unit.versions.get("strips", number)
            assert row is not None
            unit.versions.delete(row)
    with store.reading() as unit:
        assert unit.versions.find(name="strips") == []
        assert [unit.versions.next_number(name) for name in ("strips", "views")] == [3, 8]


def test_two_that_take_a_number_at_once_get_two(store: Store, tmp_path: Path) -> None:
    address, ready = store.url.render_as_string(hide_password=False), threading.Barrier(3)
    failures: list[BaseException] = []

    def register() -> None:
        try:
            with Store(tmp_path, address) as own:
                ready.wait(10)
                with own.writing() as unit:
                    unit.versions.lock("strips")
                    number = unit.versions.next_number("strips")
                    unit.versions.add(version(number))
                    unit.events.add(SUBJECT, "strips", REGISTERED, version=number)
                with own.writing() as unit:
                    unit.versions.lock("strips")
                    unit.versions.make_active("strips", number)
        except BaseException as error:  # noqa: BLE001 - a thread's failure is the test's
            failures.append(error)

    threads = [threading.Thread(target=register) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    with store.reading() as unit:
        assert [row.version for row in unit.versions.find(name="strips")] == [3, 2, 1]
        assert len(unit.versions.find(name="strips", active=True)) == 1


def test_none_may_be_active(store: Store) -> None:
    with store.writing() as unit:
        unit.versions.add(version(1, is_active=True))
        unit.flush()
        unit.versions.make_active("strips", None)
    with store.reading() as unit:
        assert unit.versions.active("strips") is None


def test_what_a_version_came_of_and_who_uses_it(store: Store) -> None:
    with store.writing() as unit:
        snapshot = unit.datasets.add_snapshot(
            SnapshotRow(fingerprint="f" * 64, task="multiclass", classes=["a"], num_records=1, path="s", checksum="c")
        )
        run = unit.runs.add(RunRow(name="a-1", path="runs/a-1", config={}))
        unit.flush()
        first = unit.versions.add(version(1, run_id=run.id, snapshot_id=snapshot.id))
        unit.versions.add(version(2))
        unit.flush()
        for state in ("queued", "paused", "completed", "failed"):
            unit.jobs.add(JobRow(kind="predict", payload={}, state=state, version_id=first.id))
        numbers = run.id, snapshot.id
    with store.writing() as unit:
        row = unit.versions.get("strips", 1)
        assert row is not None
        assert unit.versions.runs() == {numbers[0]: "a-1"}
        assert unit.versions.snapshots() == {numbers[1]: "f" * 64}
        unit.versions.hold(row)
        assert [job.state for job in unit.versions.jobs(row, ended=False)] == ["queued", "paused"]
        assert [job.state for job in unit.versions.jobs(row, ended=True)] == ["completed", "failed"]
        unit.runs.delete(numbers[0])
        unit.versions.delete(row)
    with store.reading() as unit:
        assert [unit.jobs.get(number).version_id for number in (1, 2)] == [None, None]  # type: ignore[union-attr]


def test_activations_are_told_the_latest_first_and_outlive_versions(store: Store) -> None:
    with store.writing() as unit:
        row = unit.versions.add(version(1))
        for action, before, after in (("activate", None, 1), ("deactivate", 1, None)):
            unit.activations.add(
                ActivationRow(name="strips", action=action, from_version=before, to_version=after, who="kim")
            )
            unit.flush()
        unit.versions.delete(row)
    with store.reading() as unit:
        assert [(row.from_version, row.to_version) for row in unit.activations.of("strips")] == [(1, None), (None, 1)]
    with pytest.raises(WorkspaceError), store.writing() as unit:
        unit.activations.add(ActivationRow(name="strips", action="forget", who="kim"))
