"""Windows cut from a folder of recordings: files found, labels read, windows written to a store.

Shapes: T samples in a window, C channels.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ringlight.data.faults import Faults, first_of
from ringlight.data.files import find_images
from ringlight.data.recording_cuts import Cut, Intervals, count_samples, cut
from ringlight.data.recordings import EXTENSIONS, Recording, open_recording
from ringlight.data.window_arrays import Fit
from ringlight.data.window_store import BLOCK_VALUES, write_store
from ringlight.errors import DataError, did_you_mean

INTERVALS = "intervals.csv"
ONCE = 1 << 62
"""The hop that makes one window of a recording."""


@dataclass(frozen=True, slots=True)
class Recordings:
    """The recordings of a folder: POSIX path relative to it -> what its header says; all have the same channels."""

    found: dict[str, Recording]
    channels: tuple[str, ...]
    sampling_rate: float | None
    notes: tuple[str, ...]

    @property
    def scale(self) -> float | None:
        """The physical size of one step, where all are int16 with the same; None where they become floats."""
        scales = {recording.scale for recording in self.found.values()}
        return scales.pop() if len(scales) == 1 else None


def find_recordings(
    root: Path,
    *,
    leave_out: Path | None,
    channels: Sequence[str] | None,
    sampling_rate: float | None,
    time_column: str | None,
) -> Recordings:
    """Find the recordings under a folder and read their headers.

    Args:
        root: the folder.
        leave_out: a file that is no recording: the table of intervals.
        channels: columns to take, in this order, or names for channels that have none.
        sampling_rate: in hertz; that of WAV files when None.
        time_column: a column that is no channel.

    Raises:
        DataError: there is none, or they differ in their channels or sampling rates.
        Problems: several faults.
    """
    files = find_images(root, extensions=EXTENSIONS)
    paths = {key: path for key, path in files.images.items() if path != leave_out}
    if not paths:
        raise DataError(
            "recordings (.csv, .parquet, .wav)", got="none", where=str(root), fix="set data.root to their folder"
        )
    faults = Faults(str(root))
    opened: dict[str, Recording] = {}
    for key, path in paths.items():
        try:
            opened[key] = _chosen(open_recording(path, time_column=time_column), channels)
        except DataError as error:
            faults.catch(error)
    faults.raise_if_any()
    first, head = next(iter(opened.items()))
    for key, recording in opened.items():
        if recording.channels != head.channels:
            faults.add(
                f"the channels of `{first}`: {', '.join(head.channels[:12])}",
                got=", ".join(recording.channels[:12]),
                where=key,
                fix="name those that all recordings have: data.channels=[...]",
            )
        elif recording.sampling_rate not in (None, sampling_rate or head.sampling_rate):
            faults.add(
                f"a sampling rate of {sampling_rate or head.sampling_rate:g} Hz, as `{first}`",
                got=f"{recording.sampling_rate:g} Hz",
                where=key,
                fix="resample the recordings to one rate",
            )
    faults.raise_if_any()
    others = [name for name in files.other if not name.endswith((".md", ".json"))]
    notes = [f"left out files that are no recordings: {first_of(sorted(others))}"] if others else []
    renamed = _renamed(head, channels)
    names = tuple(channels or ()) if renamed else head.channels
    return Recordings(opened, names, sampling_rate or head.sampling_rate, tuple(notes))


def _renamed(recording: Recording, channels: Sequence[str] | None) -> bool:
    """Whether `channels` are names for channels that have none: those of a WAV file, or of columns without a header."""
    if channels is None or len(channels) != len(recording.channels):
        return False
    nameless = all(re.fullmatch(r"channel_\d+|sound", name) for name in recording.channels)
    return nameless and tuple(channels) != recording.channels


def _chosen(recording: Recording, channels: Sequence[str] | None) -> Recording:
    if channels is None or tuple(channels) == recording.channels or _renamed(recording, channels):
        return recording
    lost = next((name for name in channels if name not in recording.channels), None)
    if lost is not None or len(set(channels)) < len(channels):
        raise DataError(
            "channels that are there, each once (data.channels)",
            got=f"`{lost}`" if lost is not None else "a name twice",
            where=recording.path.name,
            fix=did_you_mean(lost or "", recording.channels),
        )
    if recording.path.suffix.lower() == ".wav":
        raise DataError(
            f"{len(recording.channels)} channels in their order",
            got=", ".join(channels),
            where=recording.path.name,
            fix="name all channels of the WAV files with data.channels",
        )
    return replace(recording, channels=tuple(channels))


@dataclass(slots=True)
class Rows:
    """What is known of the windows that were cut, a list a column; `dropped` are those without a label."""

    ids: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    groups: list[str | None] = field(default_factory=list)
    times: list[float | None] = field(default_factory=list)
    dropped: int = 0

    def table(self) -> pa.Table:
        """Return them as a table; the dropped are in its metadata."""
        columns = {
            "id": pa.array(self.ids, pa.string()),
            "label": pa.array(self.labels, pa.string()),
            "group": pa.array(self.groups, pa.string()),
            "time": pa.array(self.times, pa.float64()),
        }
        return pa.table(columns).replace_schema_metadata({"dropped": str(self.dropped)})


def common_length(recordings: Recordings, fit_length: Fit | None) -> int:
    """Return the length of windows that are whole recordings: the shortest when cropped, the longest when padded.

    Raises:
        DataError: they differ and `fit_length` does not say what to do, or one cannot be read.
    """
    lengths = {key: count_samples(recording) for key, recording in recordings.found.items()}
    short, long = min(lengths, key=lengths.__getitem__), max(lengths, key=lengths.__getitem__)
    if lengths[short] != lengths[long] and fit_length is None:
        raise DataError(
            "recordings of one length, each a window",
            got=f"{lengths[short]} samples (`{short}`) to {lengths[long]} (`{long}`)",
            where="data.fit_length",
            fix="set data.fit_length=crop or pad, or cut them into windows with data.window_length=SAMPLES",
        )
    if not lengths[short]:
        raise DataError("samples", got="none", where=short, fix="leave the file out")
    return lengths[short] if fit_length == "crop" else lengths[long]


def write_windows(
    folder: Path,
    recordings: Recordings,
    *,
    length: int,
    hop: int,
    fit_length: Fit | None,
    labels: Mapping[str, str] | Intervals,
    groups: Mapping[str, str | None],
) -> None:
    """Cut all recordings and write the store; a recording is never held whole.

    Args:
        folder: the store.
        recordings: the files.
        length: T.
        hop: samples from one window's beginning to the next; :data:`ONCE` for a single window.
        fit_length: what is done with what is shorter than a window.
        labels: of each recording, or intervals in them.
        groups: of each recording; None where it has none.

    Raises:
        DataError: a recording cannot be read or cut, or no window is left.
        WorkspaceError: the folder cannot be written.
    """
    rows = Rows()
    scale = recordings.scale
    # A generator: the rows are complete when the last block was written.
    cuts = _labelled(recordings, length, hop, fit_length, labels, groups, rows)
    write_store(
        folder,
        _stacked(cuts, max(1, BLOCK_VALUES // (length * len(recordings.channels)))),
        channels=recordings.channels,
        length=length,
        sampling_rate=recordings.sampling_rate,
        scale=() if scale is None else [scale] * len(recordings.channels),
        rows=rows.table,
    )


def _labelled(
    recordings: Recordings,
    length: int,
    hop: int,
    fit_length: Fit | None,
    labels: Mapping[str, str] | Intervals,
    groups: Mapping[str, str | None],
    rows: Rows,
) -> Iterator[npt.NDArray[Any]]:
    """Yield the values of the windows that have a label, and note what is known of each."""
    keep = recordings.scale is not None
    for key, recording in recordings.found.items():
        for window in cut(recording, length=length, hop=hop, fit_length=fit_length):
            label = labels.label(key, window.start, window.samples) if isinstance(labels, Intervals) else labels[key]
            if label is None:
                rows.dropped += 1
                continue
            rows.ids.append(key if hop == ONCE else f"{key}@{window.start}")
            rows.labels.append(label)
            rows.groups.append(groups[key])
            rows.times.append(window.time)
            yield _as_stored(window, recording, keep)


def _as_stored(window: Cut, recording: Recording, keep: bool) -> npt.NDArray[Any]:
    if keep or recording.scale is None:
        return window.values
    return (window.values * np.float32(recording.scale)).astype(np.float32)


def _stacked(windows: Iterator[npt.NDArray[Any]], size: int) -> Iterator[npt.NDArray[Any]]:
    held: list[npt.NDArray[Any]] = []
    for window in windows:
        held.append(window)
        if len(held) == size:
            yield np.stack(held)
            held = []
    if held:
        yield np.stack(held)
