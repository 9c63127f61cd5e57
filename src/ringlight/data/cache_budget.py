"""The folder of the caches: who builds, who is in use, and what must go when the budget is used up.

One process at a time builds in a folder (a lock file). A cache that is open holds a shared lock on its own file, which
goes when the process ends however it ends; only a cache that nobody holds is evicted, the one longest unused first.
When it was last used is its time of modification.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from filelock import FileLock, Timeout

from ringlight.runtime import LOGGER

try:
    import fcntl
except ImportError:  # Windows, where an open file cannot be removed anyway
    fcntl = None  # type: ignore[assignment]

PATTERN = "pixels-*.bin"
LOCK = "pixels.lock"


def hold(stream: IO[bytes]) -> None:
    """Hold a cache file until `stream` is closed, here and in every process forked meanwhile."""
    if fcntl is not None:
        with contextlib.suppress(OSError):  # a file system without locks: then it is not protected
            fcntl.flock(stream.fileno(), fcntl.LOCK_SH)  # waits while somebody considers evicting it


def touch(path: Path) -> None:
    """Note that a cache is used now."""
    with contextlib.suppress(OSError):  # a read-only folder
        os.utime(path)


@contextlib.contextmanager
def building(folder: Path) -> Iterator[None]:
    """Wait until no other process builds in `folder`, then keep the others waiting.

    Raises:
        OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        LOGGER.info("%s: another process builds a cache; waiting for it", folder)
        lock.acquire()
    try:
        for left in folder.glob(f".{PATTERN}.part"):  # of a build that was killed: whoever builds holds the lock
            left.unlink(missing_ok=True)
        yield
    finally:
        lock.release()


def make_room(folder: Path, needed: int, budget: int) -> str | None:
    """Evict caches, longest unused first, until `needed` bytes fit the budget and the disk.

    Returns:
        None when they fit, else in words why they cannot; then nothing was evicted.
    """
    if needed > budget:
        return f"{gib(needed)} are more than the budget of {gib(budget)} (data.cache_budget_gib)"
    states = {path: path.stat() for path in folder.glob(PATTERN)}
    used, free = sum(state.st_size for state in states.values()), shutil.disk_usage(folder).free
    short = max(used + needed - budget, needed - free)
    with contextlib.ExitStack() as locks:
        chosen: list[Path] = []
        for path in sorted(states, key=lambda path: states[path].st_mtime_ns):
            if short <= 0:
                break
            if _seize(path, locks):
                chosen.append(path)
                short -= states[path].st_size
        if short > 0:
            if needed > free:
                return f"{gib(needed)} are needed and the disk has {gib(free)} left"
            return f"{gib(needed)} are needed and other runs use the budget of {gib(budget)} (data.cache_budget_gib)"
        for path in chosen:
            path.unlink(missing_ok=True)
            LOGGER.info("%s: evicted to make room (%s)", path, gib(states[path].st_size))
    return None


def _seize(path: Path, locks: contextlib.ExitStack) -> bool:
    """Lock a cache for its eviction; False when a process uses it."""
    try:
        stream = locks.enter_context(path.open("rb"))
        if fcntl is not None:
            fcntl.flock(stream.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def gib(nbytes: int) -> str:
    """Say a number of bytes.

    Examples:
        >>> gib(3 * 2**29), gib(5 * 2**20)
        ('1.50 GiB', '5.0 MiB')
    """
    return f"{nbytes / 2**30:.2f} GiB" if nbytes >= 2**29 else f"{nbytes / 2**20:.1f} MiB"
