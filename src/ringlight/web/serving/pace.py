"""How long a batch takes, learnt while serving: what admission and the size of batches go by."""

from __future__ import annotations

import bisect
import threading
import time
from collections.abc import Callable

GAIN, SPREAD_GAIN = 0.125, 0.25
"""How fast mean and deviation follow: the gains of RFC 6298, section 2, for round-trip times."""

DEVIATIONS = 2.0
"""Deviations above the mean that a careful guess allows for."""

LATE = 0.005
"""Share of the answers that may come after the budget: half of what a 99th percentile leaves."""

STEP = 0.02
"""By how much a late answer takes room away."""

LEAST, MOST = 0.5, 0.8
"""The share of the budget that is left in any case, and the one at first: a burst comes before its lesson."""

STALE = 60.0
"""Seconds after which a size that was not seen again is forgotten: a slow minute must not rule for ever."""


class Pace:
    """Seconds of a batch by its size: a smoothed mean and deviation for each size that was seen of late.

    Between two sizes the guess is on the line between them; beyond the largest it grows in proportion.

    Examples:
        >>> pace = Pace()
        >>> pace.observe(1, 0.010); pace.observe(8, 0.040)
        >>> round(pace.mean(1), 3), round(pace.mean(2), 4), round(pace.mean(16), 3)
        (0.01, 0.0143, 0.08)
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._sizes: list[int] = []
        self._seen: dict[int, tuple[float, float, float]] = {}

    def observe(self, size: int, seconds: float) -> None:
        """Learn from a batch of `size` items."""
        now = self._clock()
        with self._lock:
            mean, spread, _ = self._seen.get(size, (seconds, 0.0, now))
            if size not in self._seen:
                bisect.insort(self._sizes, size)
            spread += SPREAD_GAIN * (abs(seconds - mean) - spread)  # before the mean moves, as in RFC 6298
            self._seen[size] = (mean + GAIN * (seconds - mean), spread, now)
            for old in [one for one in self._sizes if now - self._seen[one][2] > STALE]:
                self._sizes.remove(old)
                del self._seen[old]

    def mean(self, size: int) -> float:
        """Return the seconds a batch of `size` takes, 0 before any was seen."""
        return self._at(size, 0.0)

    def careful(self, size: int) -> float:
        """Return the seconds that a batch of `size` rarely exceeds."""
        return self._at(size, DEVIATIONS)

    def _at(self, size: int, deviations: float) -> float:
        with self._lock:
            if not self._sizes or size <= 0:
                return 0.0
            place = bisect.bisect_left(self._sizes, size)
            if place == len(self._sizes):
                last = self._sizes[-1]
                return self._value(last, deviations) * size / last
            right = self._sizes[place]
            if right == size or place == 0:
                return self._value(right, deviations)
            left = self._sizes[place - 1]
            share = (size - left) / (right - left)
            return (1 - share) * self._value(left, deviations) + share * self._value(right, deviations)

    def _value(self, size: int, deviations: float) -> float:
        mean, spread, _ = self._seen[size]
        return mean + deviations * spread

    def largest_within(self, most: int, seconds: float) -> int:
        """Return the largest batch of 1 to `most` items that takes no longer than `seconds`; 1 where none does."""
        low, high = 1, most
        while low < high:  # a batch never takes less than a smaller one
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self.mean(middle) <= seconds else (low, middle - 1)
        return low


class Room:
    """The share of the budget that admission plans with, so that few answers come late for reasons no guess foresees.

    A guess of how long a request waits is off by what else the machine does. Under load every request is admitted
    whose guess just fits, and half of them would come late; so the share begins at `MOST` and follows what happened
    (Robbins & Monro 1951, Ann. Math. Statist. 22:400): a late answer takes `STEP` (1 - `LATE`) away, one in time gives
    `STEP` `LATE` back. It rests where a share `LATE` of the answers is late.

    Examples:
        >>> room = Room()
        >>> room.observe(is_late=True); round(room.share, 4)
        0.7801
        >>> room.observe(is_late=False); round(room.share, 4)
        0.7802
    """

    def __init__(self) -> None:
        self.share = MOST

    def observe(self, *, is_late: bool) -> None:
        """Learn from an answer."""
        self.share += STEP * (LATE - is_late)
        self.share = min(MOST, max(LEAST, self.share))
