"""Many requests, one batch: what waits for a model goes through it together.

A thread of its own takes what waits, up to the largest batch, as soon as the model is free; it waits a moment longer
only while another request is being decoded. Admission is by the time a request would have to wait: where that is
longer than the budget (or the share of it that keeps answers within it, :class:`~ringlight.web.serving.pace.Room`) the
client is told so at once, and when to come again, so that the queue never grows beyond what can be answered in time.

Shapes: inputs are float32 (C, H, W) or (C, T) each; only equal shapes go together.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import numpy as np

from ringlight.web.serving.limits import retry_after
from ringlight.web.serving.orders import Batch, Input, Order, Outcome, hand_over
from ringlight.web.serving.pace import Pace, Room
from ringlight.web.serving.problems import RequestError

Score = Callable[[Input, Sequence[str]], Any]
"""From inputs (B, ...) and what each is called to the result of the batch."""

MAX_HELD = 1 << 30
"""Bytes of inputs that wait: pictures of a model without a size of its own may be large."""


@dataclass(eq=False, slots=True)
class Place:
    """A request's place among those that are being decoded; used in a `with` block that ends when it is queued."""

    batcher: Batcher
    count: int = 0
    is_closed: bool = False
    began: float = field(default_factory=time.monotonic)

    def grow(self, count: int) -> None:
        """Count so many items more.

        Raises:
            RequestError: 413, more than ever fit; 429, they would wait too long; 503, the model is being closed.
        """
        self.batcher.reserve(self, count)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.batcher.release(self)


class Batcher:
    """Runs a model on batches, in one thread.

    Args:
        score: runs the model.
        name: of the model, for messages.
        max_batch: items of a batch, at most.
        max_wait: seconds that the first item waits for others that are being decoded.
        queue: items that wait or are being decoded, at most.
        budget: seconds within which an item should be answered.
        observer: hears of every batch, in the model's thread: it must be quick.
        pace: what is known of the model's speed.
    """

    def __init__(
        self,
        score: Score,
        *,
        name: str,
        max_batch: int,
        max_wait: float,
        queue: int,
        budget: float,
        observer: Callable[[Batch], None] | None = None,
        pace: Pace | None = None,
    ) -> None:
        self.name = name
        self.max_batch = max_batch
        self.capacity = queue
        self.budget = budget
        self.pace = pace or Pace()
        self.room = Room()
        self._score = score
        self._max_wait = max_wait
        self._observer = observer
        self._changed = threading.Condition()
        self._queue: deque[tuple[Order, int]] = deque()
        self._held = 0
        self._arriving = 0
        self._busy_until: float | None = None
        self._decoding = 0.0
        self._limit = max_batch
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=f"model {name}", daemon=True)
        self._thread.start()

    # --- admission ------------------------------------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """Items that wait or are being decoded."""
        return len(self._queue) + self._arriving

    @property
    def is_alive(self) -> bool:
        """Whether the thread is there."""
        return self._thread.is_alive()

    def admit(self) -> Place:
        """Return a place for a request of one item; it grows as more are found.

        Raises:
            RequestError: see :meth:`Place.grow`.
        """
        place = Place(self)
        place.grow(1)
        return place

    def reserve(self, place: Place, count: int) -> None:
        """Make room for items of a request."""
        with self._changed:
            if self._closed or place.is_closed:  # a request whose time is over may still be decoding
                raise self._refusal(503, "a model that serves", "one that is being closed", 1.0)
            wanted, ahead = place.count + count, self.waiting - place.count
            if wanted > self.capacity:
                raise RequestError(
                    413, f"at most {self.capacity} images or windows in a request", got=str(wanted), where=self.name,
                    fix="send them in several requests",
                )  # fmt: skip
            self._check_wait(wanted, ahead)
            place.count = wanted
            self._arriving += count

    def require_room(self) -> None:
        """Look whether a request of one item would be admitted now.

        Raises:
            RequestError: 429, it would not.
        """
        with self._changed:
            self._check_wait(1, self.waiting)

    def _check_wait(self, wanted: int, ahead: int) -> None:
        """Refuse items that would wait too long behind `ahead` others."""
        if wanted + ahead > self.capacity:
            seconds = self._time_of(ahead + wanted - self.capacity)
            raise self._refusal(429, f"room among {self.capacity} that wait", f"{ahead} waiting", seconds)
        wait = self._wait_of(ahead, wanted)
        is_alone = ahead == 0 and self._busy_until is None  # whoever is alone is served, however slow the model is
        within = self.budget * self.room.share
        if wait > within and not is_alone:
            got = f"a wait of about {wait * 1000:.0f} ms"
            raise self._refusal(429, f"an answer within {within * 1000:.0f} ms", got, wait - within)

    def release(self, place: Place) -> None:
        """Take a place back."""
        with self._changed:
            self._arriving -= place.count
            place.count, place.is_closed = 0, True
            self._changed.notify()

    def _wait_of(self, ahead: int, count: int) -> float:
        """Return a careful guess of the seconds until items are answered that come after `ahead` others."""
        running = 0.0 if self._busy_until is None else max(0.0, self._busy_until - time.monotonic())
        return self._decoding + running + self._time_of(ahead + count)

    def _time_of(self, items: int) -> float:
        full, rest = divmod(items, self._limit)
        return full * self.pace.careful(self._limit) + self.pace.careful(rest)

    def _refusal(self, status: int, expected: str, got: str, seconds: float) -> RequestError:
        return RequestError(
            status, expected, got=got, where=self.name, fix="wait and try again", headers=retry_after(seconds)
        )

    # --- the way through ------------------------------------------------------------------------------------------

    async def submit(
        self, place: Place, inputs: Sequence[Input], ids: Sequence[str], originals: Sequence[Any] | None = None
    ) -> list[Outcome]:
        """Let inputs go through the model; return for each the result of its batch and its row there.

        `originals` are what the inputs came of, for whoever observes.

        Whoever stops waiting (a time limit, a client that left) takes what has not begun back.

        Raises:
            RequestError: 429, the inputs are too large for the memory that is set aside; 503, the model was closed.
        """
        loop = asyncio.get_running_loop()
        now = time.monotonic()
        size = sum(one.nbytes for one in inputs)
        blank: list[Outcome | None] = [None] * len(inputs)
        order = Order(inputs, ids, originals or list(blank), loop.create_future(), blank, len(inputs), now, place.began)
        with self._changed:
            if self._closed:
                raise self._refusal(503, "a model that serves", "one that is being closed", 1.0)
            if self._queue and self._held + size > MAX_HELD:
                got = f"{self._held + size}"
                raise self._refusal(429, f"at most {MAX_HELD} bytes of inputs that wait", got, self.budget)
            self._decoding += 0.125 * (now - place.began - self._decoding)
            self._arriving -= place.count
            place.count = 0
            self._held += size
            self._queue.extend((order, row) for row in range(len(inputs)))
            self._changed.notify()
        found = await order.future  # what the loop was late with counts as well: the client waits for both
        self.room.observe(is_late=time.monotonic() - order.began > self.budget)
        return found

    def close(self, *, wait: bool = True) -> None:
        """Accept nothing more, answer what waits, and end the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if wait:
            self._thread.join()

    def _run(self) -> None:
        while (batch := self._next()) is not None:
            if not batch:
                continue
            self._work(batch)
            with self._changed:
                self._busy_until = None
                self._limit = self.pace.largest_within(self.max_batch, self.budget / 2)

    def _next(self) -> list[tuple[Order, int]] | None:
        """Wait for items and take a batch of them, all of one shape; None once the model is closed and idle."""
        with self._changed:
            while not self._queue:
                if self._closed:
                    return None
                self._changed.wait()
            until = self._queue[0][0].at + self._max_wait
            while self._arriving and len(self._queue) < self._limit and not self._closed:
                left = until - time.monotonic()
                if left <= 0 or not self._changed.wait(left):
                    break
            batch = self._take()
            if batch:
                self._busy_until = time.monotonic() + self.pace.careful(len(batch))
            return batch

    def _take(self) -> list[tuple[Order, int]]:
        """Take the first item, and those behind it of its shape; items that nobody waits for any more are dropped."""
        batch: list[tuple[Order, int]] = []
        left: list[tuple[Order, int]] = []
        while self._queue and len(batch) < self._limit:
            order, row = self._queue.popleft()
            if order.future.done():
                self._held -= order.inputs[row].nbytes
            elif batch and order.inputs[row].shape != batch[0][0].inputs[batch[0][1]].shape:
                left.append((order, row))
            else:
                self._held -= order.inputs[row].nbytes
                batch.append((order, row))
        self._queue.extendleft(reversed(left))
        return batch

    def _work(self, batch: list[tuple[Order, int]]) -> None:
        inputs = np.stack([order.inputs[row] for order, row in batch])
        began = time.monotonic()
        try:
            result = self._score(inputs, [order.ids[row] for order, row in batch])
        # Whatever an engine raises, the server goes on; the fault is that request's, once it is known whose it is.
        except Exception as error:  # noqa: BLE001
            if len(batch) > 1:
                for one in batch:
                    self._work([one])
                return
            order = batch[0][0]
            order.error, order.left = error, 0
            hand_over([order])
            return
        seconds = time.monotonic() - began
        self.pace.observe(len(batch), seconds)
        done = []
        for place, (order, row) in enumerate(batch):
            order.outcomes[row] = (result, place)
            order.left -= 1
            if not order.left:
                done.append(order)
        hand_over(done)
        if self._observer is not None:
            originals = [order.originals[row] for order, row in batch]
            self._observer(Batch(result, inputs, originals, seconds))
