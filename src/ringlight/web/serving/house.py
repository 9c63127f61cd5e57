"""The models of one process: each in a lane of its own, exchanged while it serves when another version is activated."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import psutil

from ringlight.errors import RinglightError, WorkspaceError, did_you_mean
from ringlight.runtime import LOGGER
from ringlight.web.serving.auth import Doorkeeper
from ringlight.web.serving.lane import Lane, Watching
from ringlight.web.serving.limits import Memory
from ringlight.web.serving.metrics import Metrics
from ringlight.web.serving.orders import Batch
from ringlight.web.serving.problems import RequestError
from ringlight.web.serving.settings import Settings

if TYPE_CHECKING:
    from ringlight.services.serving import Served

BODIES_AT_ONCE = 8
"""Bodies of the largest size that are held in memory at a time, at most."""

TRY_AGAIN = 30.0
"""Seconds until a version that could not be loaded is tried again."""

BATCHES_TO_WATCH = 64
"""Batches that wait for the watch, at most; more are counted, and left out."""


class Models(Protocol):
    """Where the models come from; :class:`ringlight.services.serving.Shelf`, or a test's own."""

    @property
    def names(self) -> list[str]:
        """What the models are called."""

    def open(self, name: str) -> Served:
        """Load a model."""

    def moved(self, serving: Mapping[str, int | None]) -> dict[str, int | None]:
        """Return the versions that are active where others serve."""

    def close(self) -> None:
        """Let go of the store."""


class House:
    """Loads the models, hands out their lanes, looks for other active versions and keys, and drains.

    Args:
        settings: the options of the server.
        models: where the models come from.
        metrics: what Prometheus is told.
        watch_of: makes the watch of a model, None where it has none.
        decoders: threads that decode bodies.

    Raises:
        UserError: the file of keys cannot be used.
    """

    def __init__(
        self,
        settings: Settings,
        models: Models,
        metrics: Metrics,
        *,
        watch_of: Callable[[Served], Watching | None] | None = None,
        decoders: int = 2,
    ) -> None:
        self.settings = settings
        self.metrics = metrics
        rate = None if settings.rate is None else settings.rate / settings.workers
        self.doorkeeper = Doorkeeper(settings.keys, rate)
        self.memory = Memory(BODIES_AT_ONCE * settings.max_bytes)
        self.pool = ThreadPoolExecutor(decoders, thread_name_prefix="decode")
        self.is_draining = False
        self._models = models
        self._watch_of = watch_of
        self._lanes: dict[str, Lane] = {}
        self._faults: dict[str, str] = {}
        self._tried: dict[str, tuple[int | None, float]] = {}
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._seen: queue.Queue[tuple[Lane, Batch]] = queue.Queue(BATCHES_TO_WATCH)
        self._threads = [
            threading.Thread(target=self._poll_for_ever, name="poll", daemon=True),
            threading.Thread(target=self._watch_for_ever, name="watch", daemon=True),
        ]

    # --- from beginning to end ------------------------------------------------------------------------------------

    def start(self) -> None:
        """Load every model and warm it up; then look for changes until the end. Once: a second call does nothing.

        Raises:
            RinglightError: one of them cannot be loaded.
        """
        if self._lanes:
            return
        for name in self._models.names:
            lane = self._open(name)
            self._lanes[name] = lane
            self.metrics.serves(None, lane.served)
            self.metrics.faults.labels(name).set(0)
            LOGGER.info("%s serves %s with %s", name, lane.served.reference, lane.served.engine)
        self.metrics.ready.set(1)
        for thread in self._threads:
            thread.start()

    def drain(self) -> None:
        """Say that no more requests should come; those that do are still answered."""
        self.is_draining = True
        self.metrics.ready.set(0)

    def close(self) -> None:
        """Answer what waits, and end every thread."""
        self.drain()
        self._ended.set()
        for lane in self._lanes.values():
            lane.batcher.close()
            lane.leave()
        for thread in self._threads:
            if thread.is_alive():
                thread.join()
        self.pool.shutdown(wait=True, cancel_futures=True)
        self._models.close()

    # --- what is asked of it --------------------------------------------------------------------------------------

    @contextmanager
    def hold(self, name: str) -> Iterator[Lane]:
        """Give the lane of a model, `NAME` or `NAME@3`; it stays open inside the block, whatever is activated.

        Raises:
            RequestError: 404, there is no such model, or another version of it serves.
        """
        plain, at, version = name.partition("@")
        with self._lock:
            lane = self._lanes.get(plain)
            if lane is None:
                fix = did_you_mean(plain[:100], self._lanes)
                raise RequestError(404, "a model that is served", got=f"`{plain[:100]}`", where="models", fix=fix)
            if at and version not in ("active", str(lane.served.version)):
                raise RequestError(
                    404, f"the version that serves, {lane.served.reference}", got=f"`{version[:40]}`", where=plain,
                    fix=f"ask for {plain} without a version, or activate that one",
                )  # fmt: skip
            lane.holders += 1
        try:
            yield lane
        finally:
            with self._lock:
                lane.holders -= 1
                is_left = lane.is_retired and not lane.holders
            if is_left:
                lane.leave()

    def lane_of(self, name: str) -> Lane | None:
        """Return the lane of a model, for a look that may be over when the lane leaves."""
        with self._lock:
            return self._lanes.get(name)

    def shown(self) -> list[dict[str, Any]]:
        """Return every model as a client is told of it, with what keeps an activated version from serving."""
        with self._lock:
            return [{**lane.served.to_dict(), "fault": self._faults.get(name)} for name, lane in self._lanes.items()]

    def readiness(self) -> tuple[bool, dict[str, str]]:
        """Return whether requests should come, and what an operator should know beside."""
        with self._lock:
            detail = dict(self._faults)
        if self.is_draining:
            detail["server"] = "draining: no more requests should come"
        return not self.is_draining, detail

    def is_alive(self) -> bool:
        """Return whether every model still has its thread."""
        with self._lock:
            return all(lane.batcher.is_alive for lane in self._lanes.values())

    def status(self) -> None:
        """Bring the numbers up to date that nobody else tells the metrics."""
        for name, lane in list(self._lanes.items()):
            self.metrics.waiting.labels(name).set(lane.batcher.waiting)
            if lane.watch is not None:
                self.metrics.tell_watch(name, lane.watch.numbers())
        self.metrics.memory.set(psutil.Process().memory_info().rss)

    # --- other versions -------------------------------------------------------------------------------------------

    def _open(self, name: str) -> Lane:
        served = self._models.open(name)
        return Lane(
            served,
            self.settings,
            watch=None if self._watch_of is None else self._watch_of(served),
            observer=self._observed,
        )

    def _poll_for_ever(self) -> None:
        while not self._ended.wait(self.settings.poll):
            self.poll()

    def poll(self) -> None:
        """Look once for other keys and other active versions; no fault ends what serves."""
        self.doorkeeper.look_again()
        self.status()
        serving = {name: lane.served.version for name, lane in self._lanes.items()}
        try:
            moved = self._models.moved(serving)
        except (WorkspaceError, OSError) as error:
            LOGGER.warning("the store does not answer, what serves stays: %s", error)
            return
        for name in set(self._faults) - set(moved):  # activated back to what serves
            self._clear(name)
        for name, version in moved.items():
            before, at = self._tried.get(name, (0, -TRY_AGAIN))
            if version is None:
                self._blame(name, "no version is active any more; the former one still serves")
            elif version != before or time.monotonic() >= at + TRY_AGAIN:
                self._tried[name] = (version, time.monotonic())
                self._switch(name)

    def _switch(self, name: str) -> None:
        """Load the version that is active now beside the one that serves, and exchange them."""
        began = time.monotonic()
        try:
            lane = self._open(name)
        # Files, an engine, a library: whatever a new version fails at, the old one goes on serving.
        except Exception as error:  # noqa: BLE001
            told = str(error) if isinstance(error, RinglightError) else f"{type(error).__name__}: {error}"
            self.metrics.switches.labels(name, "failed").inc()
            self._blame(name, told)
            return
        with self._lock:
            former = self._lanes[name]
            self._lanes[name] = lane
            former.is_retired = True
            is_left = not former.holders
        if is_left:
            former.leave()
        self._clear(name)
        self.metrics.serves(former.served, lane.served)
        self.metrics.switches.labels(name, "done").inc()
        seconds = time.monotonic() - began
        LOGGER.info(
            "%s: %s serves instead of %s, %.1f s after it was noticed", name, lane.served.reference,
            former.served.reference, seconds,
        )  # fmt: skip

    def _blame(self, name: str, why: str) -> None:
        with self._lock:
            is_new = self._faults.get(name) != why
            self._faults[name] = why
        self.metrics.faults.labels(name).set(1)
        if is_new:
            LOGGER.error("%s: the version that was activated does not serve: %s", name, why)

    def _clear(self, name: str) -> None:
        with self._lock:
            self._faults.pop(name, None)
        self._tried.pop(name, None)
        self.metrics.faults.labels(name).set(0)

    # --- the watch ------------------------------------------------------------------------------------------------

    def _observed(self, lane: Lane, batch: Batch) -> None:
        """Hear of a batch in the model's thread: count it, and leave the rest to the watch's own."""
        name = lane.served.name
        self.metrics.batch.labels(name).observe(len(batch.inputs))
        self.metrics.engine.labels(name).observe(batch.seconds)
        if lane.watch is None:
            return
        try:
            self._seen.put_nowait((lane, batch))
        except queue.Full:
            self.metrics.unseen.labels(name).inc()

    def _watch_for_ever(self) -> None:
        while not self._ended.is_set():
            try:
                lane, batch = self._seen.get(timeout=0.2)
            except queue.Empty:
                continue
            try:
                if lane.watch is not None:
                    lane.watch.observe(batch.result, batch.inputs, batch.originals)
            # The watch looks on: whatever it fails at, requests are answered.
            except Exception as error:  # noqa: BLE001
                LOGGER.warning("%s: the watch failed on a batch: %s: %s", lane.served.name, type(error).__name__, error)
