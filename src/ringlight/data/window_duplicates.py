"""Near-duplicate groups of a data set of windows, with bounded memory: the search of `duplicate_windows`, in parts.

Windows that overlap were cut from one recording, and stand near each other in the data set's order. So of many windows,
each part of neighbouring rows is searched, and a part shares rows with the next; identical windows are found wherever
they stand. Long windows are thinned first.

Shapes: N windows, T samples, C channels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from ringlight.data.content import hash_contents
from ringlight.data.duplicate_windows import near_duplicate_windows
from ringlight.data.links import Duplicates, Link
from ringlight.data.window_store import WindowReader, require_signals
from ringlight.types import Dataset

PART = 12_000
"""Rows that are searched together; the time of a search grows with their square."""
SHARED = 1_000
"""Rows that a part shares with the next."""
VALUES = 100_000_000
"""Numbers that are searched together: 0.4 GB, and about as much again while they are compared."""
LEAST = 64
"""Windows are not thinned below so many samples."""
SHORTEST = 8
"""Shorter windows are too short to be told apart by a part of them."""

Progress = Callable[[int, int], None]


def window_duplicates(
    dataset: Dataset, *, num_threads: int | None = None, progress: Progress | None = None
) -> Duplicates:
    """Group windows that are identical or overlap in time by two fifths of their length or more.

    Args:
        dataset: windows.
        num_threads: one a processor, at most 8, when None.
        progress: called with (windows searched, windows in all).

    Raises:
        DataError: the records are no windows, their store is gone, or a value is not finite.
    """
    signals = require_signals(dataset)
    hashed = dataset if dataset.table.column("content").null_count == 0 else hash_contents(dataset)
    exact = _identical(hashed.table.column("content").to_pylist())
    links = dict.fromkeys(exact, 1.0)
    if signals.length < SHORTEST:
        note = f"windows of {signals.length} samples are too short to compare: only identical ones are linked"
        return Duplicates.from_links(dataset.ids, [Link(a, b, 1.0) for a, b in exact], [note])
    reader, notes = WindowReader.of(dataset), list[str]()
    factor = _thinned(len(dataset), signals.length, len(signals.channels))
    parts = _parts(len(dataset), signals.length // factor * len(signals.channels))
    for rows in parts:
        windows = _read(reader, rows, factor)
        names = list(dataset.table.column("id").take(rows).to_pylist())
        found = near_duplicate_windows(windows, ids=names, num_threads=num_threads)
        for link in found.links:
            pair = (int(rows[link.a]), int(rows[link.b]))
            links[pair] = max(links.get(pair, 0.0), link.similarity)
        notes += found.notes
        if progress is not None:
            progress(int(rows[-1]) + 1, len(dataset))
    return Duplicates.from_links(
        dataset.ids, [Link(a, b, similarity) for (a, b), similarity in links.items()], _told(notes, parts, factor)
    )


def _identical(contents: Sequence[str | None]) -> list[tuple[int, int]]:
    seen: dict[str, int] = {}
    firsts = [row if content is None else seen.setdefault(content, row) for row, content in enumerate(contents)]
    return [(first, row) for row, first in enumerate(firsts) if first != row]


def _thinned(count: int, length: int, channels: int) -> int:
    """Return how many samples become one, so that a part of the data set fits."""
    room = VALUES // (min(count, PART) * channels)
    return max(1, min(-(-length // max(room, 1)), length // LEAST))


def _parts(count: int, values: int) -> list[npt.NDArray[np.int64]]:
    """Return the rows of each part: neighbours, overlapping by :data:`SHARED` rows, of about one size."""
    size = max(2 * SHARED, min(PART, VALUES // max(values, 1)))
    if count <= size:
        return [np.arange(count)]
    number = -(-(count - SHARED) // (size - SHARED))
    starts = np.linspace(0, count - size, number).astype(np.int64)
    return [np.arange(start, start + size) for start in starts]


def _read(reader: WindowReader, rows: npt.NDArray[np.int64], factor: int) -> npt.NDArray[np.float32]:
    """Read windows, `factor` neighbouring samples averaged into one."""
    blocks = []
    for start in range(0, len(rows), 1000):
        windows = reader.read(rows[start : start + 1000])
        whole = windows[:, : windows.shape[1] // factor * factor]
        shape = (len(windows), -1, factor, windows.shape[2])
        blocks.append(windows if factor == 1 else whole.reshape(shape).mean(axis=2, dtype=np.float32))
    return np.concatenate(blocks)


def _told(notes: Sequence[str], parts: Sequence[npt.NDArray[np.int64]], factor: int) -> list[str]:
    told = list(dict.fromkeys(notes))[:5]
    if len(parts) > 1:
        size = len(parts[0])
        told.insert(0, f"searched among {size} neighbouring windows at a time; give groups where that is not enough")
    if factor > 1:
        told.append(f"compared at {factor} samples averaged into one")
    return told
