"""A worker: claims jobs, runs each in a process of its own, and gives back what it does not bring to an end.

It keeps nothing that would be lost with it. Every job is held by a lease that a thread extends; where the worker dies,
its jobs' processes end, the leases run out, and the next worker goes on from the last checkpoints. A database that is
locked or away is asked again, later; nothing that it answers ends the worker.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from types import FrameType
from typing import Literal

from ringlight.errors import LeaseLostError, RinglightError, WorkspaceError
from ringlight.runtime import LOGGER, workspace_folder
from ringlight.services.app_log import application_log
from ringlight.services.job_child import COMMAND, Child
from ringlight.services.job_runs import stopped
from ringlight.services.stores import open_store
from ringlight.services.worker_slots import Slots, free_memory_gib
from ringlight.store.jobs import Jobs, Order
from ringlight.store.session import Store
from ringlight.store.tables import JobRow
from ringlight.store.types import now as this_moment

TICK = 0.1
"""Seconds between two looks at the processes."""

CLAIM_EVERY = 1.0
"""Seconds between two looks into the queue."""

ASK_EVERY = 0.5
"""Seconds between two looks at what is asked of the jobs at work; every second look extends their leases."""

LONGEST_WAIT = 10.0
"""Seconds between two tries of a database that does not answer, at most."""

Mode = Literal["serve", "once", "drain"]


class Worker:
    """Runs jobs of a workspace.

    Args:
        workspace: whose queue.
        slots: its devices.
        lease_seconds: how long its jobs stay its own when nothing is heard of it.
        grace_seconds: how long a job may take to stop before it is made to.
        command: starts the process of a job.
        clock: the time that leases are counted in.
    """

    def __init__(
        self,
        workspace: Path | str | None,
        slots: Slots,
        *,
        lease_seconds: float = 60.0,
        grace_seconds: float = 30.0,
        command: Sequence[str] = COMMAND,
        clock: Callable[[], datetime] = this_moment,
    ) -> None:
        self.root = workspace_folder(workspace)
        self.name = f"{socket.gethostname()}:{os.getpid()}"
        self._slots = slots
        self._lease_seconds = lease_seconds
        self._grace_seconds = grace_seconds
        self._command = tuple(command)
        self._clock = clock
        self._children: list[Child] = []
        self._stopping = False
        self._ended = threading.Event()
        self._wait = 0.0
        self._silent_since: float | None = None
        self._count = 0

    def run(self, mode: Mode = "serve") -> int:
        """Work until asked to stop (`serve`), for one job (`once`), or until none waits that fits (`drain`).

        Returns how many jobs were run. SIGTERM and Ctrl-C stop the jobs and put them back; a second one kills them.

        Raises:
            WorkspaceError: the store cannot be opened.
        """
        with open_store(self.root) as store, application_log(self.root, f"worker {self.name}"), self._signals():
            LOGGER.info("worker %s: devices %s, workspace %s", self.name, ", ".join(self._slots.devices), self.root)
            # The thread's units of work have connections of their own.
            beat = threading.Thread(target=self._beat, args=(store,), name="heartbeat", daemon=True)
            beat.start()
            try:
                self._work(store, mode)
            finally:
                self._give_back(store)
                self._ended.set()
                beat.join()
                LOGGER.info("worker %s: ended after %d job(s)", self.name, self._count)
        return self._count

    def stop(self) -> None:
        """Stop at the next look; jobs at work are put back."""
        self._stopping = True

    # --- the loop --------------------------------------------------------------------------------------------------

    def _work(self, store: Store, mode: Mode) -> None:
        claim_at = 0.0
        while not self._stopping:
            if self._look(store):
                claim_at = 0.0
            if mode == "once" and self._count and not self._children:
                return
            if time.monotonic() >= claim_at and not (mode == "once" and self._count):
                claimed = self._patiently(lambda: self._claim(store))
                claim_at = 0.0 if claimed else time.monotonic() + max(CLAIM_EVERY, self._wait)
                if mode == "drain" and claimed is False and not self._children:
                    return
            time.sleep(TICK)

    def _look(self, store: Store) -> bool:
        """Write what the processes said, end those that do not listen; return whether one has ended."""
        ended = False
        for child in list(self._children):
            if child.run is not None and not child.is_noted:
                self._patiently(lambda child=child: self._note(store, child))  # type: ignore[misc]
            if child.has_ended():
                if self._patiently(lambda child=child: self._settle(store, child)) is not None:  # type: ignore[misc]
                    self._children.remove(child)
                    ended = True
                continue
            sent = child.press(min(self._grace_seconds, 10.0) if child.is_lost else self._grace_seconds)
            if sent is not None:
                LOGGER.warning("job %d does not stop: sent %s", child.id, sent)
        return ended

    def _claim(self, store: Store) -> bool:
        """Put back what dead workers held, and take the next job that fits; return whether there was one."""
        now = self._clock()
        with store.reading() as unit:
            if not unit.jobs.is_due(now):
                return False
        with store.writing() as unit:
            for row in unit.jobs.put_back_expired(now):
                LOGGER.warning("job %d: %s, now %s", row.id, row.error or "its worker is gone", row.state)
                stopped(unit, row, self.root, now)
        free = self._slots.free([child.device for child in self._children])
        if not free:
            return False
        memory = free_memory_gib([(child.asked_memory_gib, child.held_memory_gib) for child in self._children])
        with store.writing() as unit:
            claimed = unit.jobs.claim(
                worker=self.name, lease=secrets.token_hex(16), devices=self._slots.wishes(free), memory_gib=memory,
                now=now, until=now + timedelta(seconds=self._lease_seconds),
            )  # fmt: skip
        if claimed is None:
            return False
        self._begin(store, claimed, self._slots.place(claimed.device, free))
        return True

    def _begin(self, store: Store, row: JobRow, device: str) -> None:
        self._count += 1
        try:
            self._children.append(Child(row, device, self.root, self._command))
        except WorkspaceError as error:  # a full disk, a log that cannot be written: another worker may have room
            LOGGER.warning("job %d could not begin: %s", row.id, error)
            with store.writing() as unit:
                unit.jobs.let_go(row.id, str(row.lease), now=self._clock(), why=str(error), failed_try=True)
            return
        LOGGER.info("job %d, %s: begins on %s (log %s)", row.id, row.kind, device, row.log)

    def _note(self, store: Store, child: Child) -> bool:
        with contextlib.suppress(LeaseLostError), store.writing() as unit:
            unit.jobs.note(child.id, child.lease, run=child.run)
        child.noted()
        return True

    def _settle(self, store: Store, child: Child) -> bool:
        """Write what came of a process that is gone."""
        now = self._clock()
        child.is_settled = True
        try:
            with store.writing() as unit:
                until = now + timedelta(seconds=self._lease_seconds)
                unit.jobs.heartbeat(child.id, child.lease, now=now, until=until, progress=child.progress)
                if child.run is not None:
                    unit.jobs.note(child.id, child.lease, run=child.run)
                row = self._conclude(unit.jobs, child, now)
                if row.state != "completed":
                    stopped(unit, row, self.root, now)
        except LeaseLostError as error:
            LOGGER.warning("%s", error)
            return True
        LOGGER.info("job %d: %s%s", row.id, row.state, f" ({row.error})" if row.error else "")
        return True

    def _conclude(self, jobs: Jobs, child: Child, now: datetime) -> JobRow:
        end = child.end or {}
        how = end.get("end")
        row: JobRow
        if how == "completed":
            row = jobs.finish(child.id, child.lease, "completed", now=now, result=end.get("result"))
        elif how == "failed":
            row = jobs.finish(child.id, child.lease, "failed", now=now, error=str(end.get("error")))
        elif how == "stopped" or child.is_forced:
            why = "its worker was ended" if self._stopping else str(end.get("why") or "it had to be ended by force")
            row = jobs.let_go(child.id, child.lease, now=now, why=why, failed_try=False)
        else:
            row = jobs.let_go(child.id, child.lease, now=now, why=child.death(), failed_try=True)
        return row

    def _give_back(self, store: Store) -> None:
        """Stop what is at work, and put it back; what cannot be written is left to the leases."""
        for child in self._children:
            child.hear("pause")
        patience = time.monotonic() + self._grace_seconds + 2 * LONGEST_WAIT
        while self._children:
            self._look(store)
            if time.monotonic() > patience:
                for child in self._children:
                    child.kill()
                LOGGER.warning("%d job(s) are left to their leases", len(self._children))
                return
            time.sleep(TICK)

    # --- leases ----------------------------------------------------------------------------------------------------

    def _beat(self, store: Store) -> None:
        """Extend leases, and pass on what is asked of the jobs, until the worker has ended."""
        turn = 0
        while not self._ended.wait(min(ASK_EVERY, self._lease_seconds / 8)):
            children = [child for child in self._children if not (child.is_lost or child.is_settled)]
            if not children:
                continue
            try:
                orders = self._heartbeats(store, children) if turn % 2 == 0 else self._orders(store, children)
            # Without this thread the leases would run out: whatever a driver raises when its server goes, ask again.
            except Exception as error:  # noqa: BLE001
                self._unanswered(error)
                continue
            turn += 1
            for child in children:
                order = orders[child.id]
                if child.is_settled:  # meanwhile
                    continue
                if order is None:
                    child.is_lost = True
                    LOGGER.warning("job %d has passed to another worker", child.id)
                child.hear(order or "pause")

    def _orders(self, store: Store, children: Sequence[Child]) -> dict[int, Order | None]:
        with store.reading() as unit:
            return unit.jobs.orders({child.id: child.lease for child in children})

    def _heartbeats(self, store: Store, children: Sequence[Child]) -> dict[int, Order | None]:
        now = self._clock()
        until = now + timedelta(seconds=self._lease_seconds)
        orders: dict[int, Order | None] = {}
        with store.writing() as unit:
            for child in children:
                try:
                    orders[child.id] = unit.jobs.heartbeat(
                        child.id, child.lease, now=now, until=until, progress=child.progress
                    )
                except LeaseLostError:
                    orders[child.id] = None
        return orders

    # --- patience --------------------------------------------------------------------------------------------------

    def _patiently(self, action: Callable[[], bool]) -> bool | None:
        """Do something with the store; None where it does not answer: it is tried again, after a growing wait."""
        if self._silent_since is not None and time.monotonic() < self._silent_since + self._wait:
            return None
        try:
            done = action()
        except (WorkspaceError, OSError) as error:  # a driver hands on what a broken socket answers
            self._unanswered(error)
            self._wait = min(LONGEST_WAIT, max(0.2, 2 * self._wait))
            self._silent_since = time.monotonic()
            return None
        if self._silent_since is not None:
            LOGGER.info("the store answers again")
        self._wait, self._silent_since = 0.0, None
        return done

    def _unanswered(self, error: Exception) -> None:
        told = str(error) if isinstance(error, RinglightError) else f"{type(error).__name__}: {error}"
        LOGGER.warning("the store does not answer, trying again: %s", told)

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        former = {number: signal.signal(number, self._heard) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)

    def _heard(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - a signal handler's arguments
        if self._stopping:
            for child in self._children:
                child.kill()
        self._stopping = True
