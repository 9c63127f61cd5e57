"""The queue of jobs, on every database: who gets a job, for how long, and what may follow what."""

from __future__ import annotations

import threading
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ringlight.errors import JobError, LeaseLostError, RinglightError
from ringlight.store.jobs import AT_WORK, ENDED, TRANSITIONS
from ringlight.store.session import Store
from ringlight.store.tables import JOB_STATES, JobRow

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SOON, LATER = NOW + timedelta(seconds=30), NOW + timedelta(seconds=31)
ANY = {"worker": "w", "devices": ("auto", "cpu"), "memory_gib": None, "now": NOW, "until": SOON}


def job(**values: Any) -> JobRow:
    return JobRow(**{"kind": "train", "payload": {"recipe": "demo"}, **values})


def add(store: Store, *rows: JobRow) -> list[int]:
    with store.writing() as unit:
        for row in rows:
            unit.jobs.add(row)
            unit.flush()
        return [row.id for row in rows]


def claim(store: Store, lease: str, **values: Any) -> int | None:
    with store.writing() as unit:
        row = unit.jobs.claim(lease=lease, **{**ANY, **values})
        return None if row is None else row.id


def seen(store: Store, number: int) -> JobRow:
    with store.reading() as unit:
        row = unit.jobs.get(number)
        assert row is not None
        return row


def test_the_table_of_transitions_knows_every_state() -> None:
    assert set(TRANSITIONS) == set(JOB_STATES)
    assert {after for states in TRANSITIONS.values() for after in states} <= set(JOB_STATES)
    assert all(set(TRANSITIONS[state]) & set(ENDED) for state in AT_WORK)


def test_every_transition_that_is_not_in_the_table_is_refused(store: Store) -> None:
    pairs = [(before, after) for before in JOB_STATES for after in JOB_STATES]
    numbers = add(store, *(job(state=before) for before, _ in pairs))
    with store.writing() as unit:
        for number, (before, after) in zip(numbers, pairs, strict=True):
            row = unit.jobs.locked(number)
            if after in TRANSITIONS[before]:
                unit.jobs.move(row, after, NOW)
                assert row.state == after
                continue
            with pytest.raises(JobError) as refused:
                unit.jobs.move(row, after, NOW)
            assert f"got one that is {before}; ringlight jobs show {number}" in str(refused.value)
            assert row.state == before


def test_a_job_that_is_not_there_is_told_in_one_line(store: Store) -> None:
    with store.reading() as unit, pytest.raises(JobError, match=r"expected the number of a job, got 9; there is none"):
        unit.jobs.locked(9)
    add(store, job())
    with store.reading() as unit, pytest.raises(JobError, match=r"got 9; the latest is 1: see ringlight jobs list"):
        unit.jobs.locked(9)


def test_the_most_urgent_job_that_fits_goes_first_the_oldest_of_equals(store: Store) -> None:
    plain, second, urgent, big, gpu = add(
        store, job(), job(), job(priority=5), job(priority=9, memory_gib=64.0), job(priority=9, device="cuda:1")
    )
    assert [claim(store, f"l{turn}", memory_gib=8.0) for turn in range(4)] == [urgent, plain, second, None]
    assert claim(store, "a", devices=("auto", "cuda", "cuda:0"), memory_gib=80.0) == big
    assert claim(store, "b", devices=("auto", "cuda", "cuda:1")) == gpu
    row = seen(store, urgent)
    assert (row.state, row.worker, row.lease, row.lease_until, row.started) == ("running", "w", "l0", SOON, NOW)


def test_a_heartbeat_extends_the_lease_and_hears_what_is_asked(store: Store) -> None:
    (number,) = add(store, job())
    assert claim(store, "mine") == number
    with store.writing() as unit:
        assert unit.jobs.heartbeat(number, "mine", now=SOON, until=LATER, progress={"epoch": 2}) == "go"
    assert seen(store, number).lease_until == LATER
    assert seen(store, number).progress == {"epoch": 2}
    for state, order in (("pausing", "pause"), ("cancelling", "cancel")):
        with store.writing() as unit:
            unit.jobs.move(unit.jobs.locked(number), state, NOW)
            assert unit.jobs.orders({number: "mine"}) == {number: order}
            assert unit.jobs.heartbeat(number, "mine", now=SOON, until=LATER) == order
    with store.writing() as unit:
        unit.jobs.locked(number).keep_checkpoint = True
        unit.flush()
        assert unit.jobs.heartbeat(number, "mine", now=SOON, until=LATER) == "cancel_keep"
    assert seen(store, number).progress == {"epoch": 2}


def test_a_worker_without_the_lease_writes_nothing(store: Store) -> None:
    (number,) = add(store, job())
    claim(store, "mine")
    writes = (
        lambda jobs: jobs.heartbeat(number, "other", now=NOW, until=LATER),
        lambda jobs: jobs.note(number, "other", run="r"),
        lambda jobs: jobs.finish(number, "other", "completed", now=NOW),
        lambda jobs: jobs.let_go(number, "other", now=NOW, why="", failed_try=False),
    )
    for write in writes:
        refused = pytest.raises(LeaseLostError, match=f"job {number}: expected a job that this worker holds")
        with refused, store.writing() as unit:
            write(unit.jobs)
    row = seen(store, number)
    assert (row.state, row.lease, row.lease_until, row.run) == ("running", "mine", SOON, None)
    with store.reading() as unit:
        assert unit.jobs.orders({number: "other", 99: "mine"}) == {number: None, 99: None}


def test_a_worker_sets_only_what_it_may(store: Store) -> None:
    (number,) = add(store, job())
    claim(store, "mine")
    with store.writing() as unit:
        unit.jobs.note(number, "mine", run="demo-1", log="logs/jobs/1.log")
    with store.writing() as unit, pytest.raises(ValueError, match="no column that a worker sets: state"):
        unit.jobs.note(number, "mine", state="completed")
    assert seen(store, number).run == "demo-1"


def test_a_lease_that_ran_out_puts_the_job_back_until_its_tries_are_used_up(store: Store) -> None:
    (number,) = add(store, job(max_attempts=2))
    claim(store, "first")
    with store.reading() as unit:
        assert [unit.jobs.is_due(moment) for moment in (NOW, SOON, LATER)] == [False, False, True]
    with store.writing() as unit:
        assert unit.jobs.put_back_expired(SOON) == []  # it runs out after, not at, its last moment
        assert [row.id for row in unit.jobs.put_back_expired(LATER)] == [number]
        assert unit.jobs.is_due(NOW)
    row = seen(store, number)
    assert (row.state, row.attempts, row.lease) == ("queued", 1, None)
    assert row.error == "put back: worker w was not heard of any more (try 1 of 2)"
    with store.writing() as unit, pytest.raises(LeaseLostError):
        unit.jobs.heartbeat(number, "first", now=LATER, until=LATER)
    claim(store, "second")
    with store.writing() as unit:
        unit.jobs.put_back_expired(LATER)
    row = seen(store, number)
    assert (row.state, row.finished) == ("failed", LATER)
    assert row.error == "worker w was not heard of any more (try 2 of 2)"


@pytest.mark.parametrize(("asked", "becomes"), [("pausing", "paused"), ("cancelling", "cancelled")])
def test_what_was_asked_of_a_job_holds_when_its_worker_is_lost(store: Store, asked: str, becomes: str) -> None:
    first, second = add(store, job(max_attempts=1), job(max_attempts=1))
    claim(store, "a")
    claim(store, "b")
    with store.writing() as unit:
        for number in (first, second):
            unit.jobs.move(unit.jobs.locked(number), asked, NOW)
        unit.jobs.put_back_expired(LATER)
        assert [unit.jobs.locked(number).state for number in (first, second)] == [becomes] * 2


def test_a_job_that_was_given_back_on_purpose_has_used_no_try(store: Store) -> None:
    (number,) = add(store, job(max_attempts=1))
    claim(store, "mine")
    with store.writing() as unit:
        unit.jobs.let_go(number, "mine", now=NOW, why="the worker was ended", failed_try=False)
    row = seen(store, number)
    assert (row.state, row.attempts, row.error) == ("queued", 0, "the worker was ended")


def test_the_events_tell_the_story_of_a_job(store: Store) -> None:
    (number,) = add(store, job())
    claim(store, "mine")
    with store.writing() as unit:
        unit.jobs.finish(number, "mine", "failed", now=SOON, error="a loss that is not finite")
    with store.reading() as unit:
        story = [(event.what, event.who, event.data, event.at) for event in unit.events.of("job", number)]
    assert story == [
        ("running", "w", None, NOW), ("failed", "w", {"why": "a loss that is not finite"}, SOON)
    ]  # fmt: skip


def test_jobs_are_listed_the_latest_first(store: Store) -> None:
    first, second, third = add(store, job(), job(kind="tune"), job(state="completed"))
    with store.reading() as unit:
        assert [row.id for row in unit.jobs.find()] == [third, second, first]
        assert [row.id for row in unit.jobs.find(states=("queued",), kind="train")] == [first]
        assert [row.id for row in unit.jobs.find(limit=1)] == [third]
        assert unit.jobs.count(("queued", "completed")) == 3


@pytest.mark.slow
def test_four_workers_run_each_of_200_jobs_once(store: Store) -> None:
    """One shared table, no lock but the database's own: a job that two workers got would be counted twice."""
    with store.writing() as unit:
        for _ in range(200):
            unit.jobs.add(job())
    taken: list[list[int]] = [[] for _ in range(4)]
    faults: list[RinglightError] = []

    def work(place: int) -> None:
        try:
            with Store(store.root, store.url.render_as_string(hide_password=False)) as own:
                while (number := claim(own, f"{place}", worker=f"w{place}")) is not None:
                    with own.writing() as unit:
                        unit.jobs.finish(number, f"{place}", "completed", now=NOW)
                    taken[place].append(number)
        except RinglightError as error:
            faults.append(error)

    threads = [threading.Thread(target=work, args=(place,)) for place in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    counted = Counter(number for numbers in taken for number in numbers)
    assert len(counted) == 200
    assert set(counted.values()) == {1}
    with store.reading() as unit:
        assert unit.jobs.count(("completed",)) == 200
        assert [row.attempts for row in unit.jobs.find(limit=3)] == [0, 0, 0]
