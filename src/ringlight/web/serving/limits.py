"""What one client, and all of them together, may ask for: requests a second, bytes in memory."""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ringlight.web.serving.problems import RequestError

CLIENTS = 10_000
"""Clients that are remembered; the one that was silent longest is forgotten, and starts anew."""


class RateLimit:
    """A token bucket for each client: `rate` requests a second, twice as many in one go after a pause.

    Args:
        rate: requests a second, above 0.
        clock: seconds that only grow.

    Examples:
        >>> limit = RateLimit(1.0, clock=lambda: 0.0)
        >>> [limit.wait_for("line 2") for _ in range(3)]
        [0.0, 0.0, 1.0]
    """

    def __init__(self, rate: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.rate = rate
        self.burst = max(1.0, 2 * rate)
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait_for(self, client: str) -> float:
        """Take a token; return 0, or the seconds until there is one."""
        now = self._clock()
        tokens, at = self._buckets.pop(client, (self.burst, now))
        tokens = min(self.burst, tokens + (now - at) * self.rate)
        allowed = tokens >= 1
        self._buckets[client] = (tokens - 1 if allowed else tokens, now)
        if len(self._buckets) > CLIENTS:
            self._buckets.popitem(last=False)
        return 0.0 if allowed else (1 - tokens) / self.rate

    def require(self, client: str) -> None:
        """Take a token.

        Raises:
            RequestError: 429, there is none.
        """
        wait = self.wait_for(client)
        if wait > 0:
            raise RequestError(
                429, f"at most {self.rate:g} requests a second", got="more", where=client, fix="wait and try again",
                headers=retry_after(wait),
            )  # fmt: skip


class Held:
    """The bytes of one request that count against the whole server's memory."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self.bytes = 0

    def grow(self, count: int) -> None:
        """Hold so many bytes more.

        Raises:
            RequestError: 503, all requests together hold too many.
        """
        self._memory.take(count)
        self.bytes += count


class Memory:
    """How many bytes of requests are in memory at a time, at most."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held = 0
        self._lock = threading.Lock()

    @contextmanager
    def hold(self) -> Iterator[Held]:
        """Give what the block held back when it ends."""
        held = Held(self)
        try:
            yield held
        finally:
            with self._lock:
                self.held -= held.bytes

    def take(self, count: int) -> None:
        """Hold bytes.

        Raises:
            RequestError: 503, there is no room for them.
        """
        with self._lock:
            if self.held + count > self.limit:
                raise RequestError(
                    503, f"at most {self.limit} bytes of requests at a time", got=f"{self.held + count}",
                    where="server", fix="wait and try again, or send smaller requests",
                    headers={**retry_after(1), "Connection": "close"},
                )  # fmt: skip
            self.held += count


def retry_after(seconds: float) -> dict[str, str]:
    """Return the header that says when to try again: whole seconds, rounded up.

    Examples:
        >>> retry_after(0.2)
        {'Retry-After': '1'}
    """
    return {"Retry-After": str(max(1, math.ceil(seconds)))}
