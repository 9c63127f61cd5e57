"""Cutting recordings into windows: where each begins, and what it shows.

Shapes: S samples, T samples in a window, C channels.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ringlight.data.recordings import Recording
from ringlight.data.tabular import read_sheet
from ringlight.data.window_arrays import Fit, fit_windows
from ringlight.errors import DataError, did_you_mean

Samples = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Cut:
    """A window (T, C): the sample it begins at, how many of its samples were recorded, and its time if known."""

    values: Samples
    start: int
    samples: int
    time: float | None = None


def cut(recording: Recording, *, length: int, hop: int, fit_length: Fit | None) -> Iterator[Cut]:
    """Yield the windows of a recording, one every `hop` samples; little more than a window is held in memory.

    What is left at the end, less than a window, is padded with its last sample where `fit_length` is "pad", and dropped
    otherwise.

    Raises:
        DataError: the file cannot be read, or is shorter than a window and `fit_length` is None.
    """
    held, times = np.empty((0, len(recording.channels)), np.float32), np.empty(0)
    first = start = end = 0  # of what is held, of the next window, and of what was read
    timed = recording.time_column is not None
    for block, moments in recording.blocks():
        held = np.concatenate([held, block]) if len(held) else block
        times = times if moments is None else np.concatenate([times, moments])
        end += len(block)
        while start + length <= end:
            at = start - first
            yield Cut(held[at : at + length], start, length, float(times[at]) if timed else None)
            start += hop
        past = min(start, end) - first
        held, times, first = held[past:], times[past:] if timed else times, first + past
    covered = start - hop + length if start else 0
    if fit_length == "pad" and end > max(covered, start):
        at = start - first
        time = float(times[at]) if timed else None
        yield Cut(fit_windows(held[None, at:], length)[0], start, end - start, time)
    elif not start and fit_length != "crop":
        raise DataError(
            f"{length} samples or more (data.window_length)",
            got=f"{end}",
            where=recording.path.name,
            fix="set data.fit_length=pad to fill it up or data.fit_length=crop to leave it out, or cut shorter windows",
        )


def count_samples(recording: Recording) -> int:
    """Return how many samples a recording has.

    Raises:
        DataError: the file cannot be read.
    """
    return sum(len(block) for block, _ in recording.blocks())


class Intervals:
    """What a table says of recordings: from where to where each label holds.

    The columns are `file`, `label`, and `start`, `end` in seconds or `start_sample`, `end_sample`; the end is not part
    of the interval. A window carries the label of the interval that it lies in wholly, and none where it crosses into
    another: what it shows cannot be said.

    Args:
        path: the table, CSV or Parquet.
        sampling_rate: in hertz; needed where the table is in seconds.

    Raises:
        DataError: a column is missing, a cell is no number, an interval is empty or overlaps another of its file.
    """

    def __init__(self, path: Path, *, sampling_rate: float | None) -> None:
        sheet = read_sheet(path)
        in_samples = "start_sample" in sheet.columns
        if not in_samples and sampling_rate is None:
            raise DataError(
                "the sampling rate, since the intervals are in seconds",
                got="none",
                where=path.name,
                fix="set data.sampling_rate=HERTZ, or name the columns start_sample and end_sample",
            )
        factor = 1.0 if in_samples else sampling_rate or 1.0
        names = ("start_sample", "end_sample") if in_samples else ("start", "end")
        columns = [sheet.cells(sheet.require(name, "data.intervals")) for name in ("file", *names, "label")]
        self.path = path
        self._found: dict[str, list[tuple[float, float, str]]] = {}
        for row, (file, start, end, label) in enumerate(zip(*columns, strict=True)):
            bounds = _bound(start) * factor, _bound(end) * factor
            if file is None or label is None or not bounds[0] < bounds[1]:
                raise DataError(
                    f"file, {names[0]} below {names[1]}, and label",
                    got=f"{file}, {start}, {end}, {label}",
                    where=sheet.where(row),
                    fix="correct the row",
                )
            self._found.setdefault(file, []).append((*bounds, label))
        for file, intervals in self._found.items():
            intervals.sort()
            for (_, end, label), (start, _, other) in itertools.pairwise(intervals):
                if start < end:
                    raise DataError(
                        "intervals that do not overlap",
                        got=f"`{label}` until {end / factor:g} and `{other}` from {start / factor:g}",
                        where=f"{path.name}: `{file}`",
                        fix="correct one of the two",
                    )

    @property
    def files(self) -> list[str]:
        """The recordings that are named."""
        return list(self._found)

    def require(self, names: Sequence[str]) -> None:
        """Refuse a table that names a recording which is not among `names`.

        Raises:
            DataError: there is one.
        """
        lost = next((file for file in self._found if file not in names), None)
        if lost is not None:
            raise DataError("a recording", got=f"`{lost}`", where=self.path.name, fix=did_you_mean(lost, names))

    def label(self, file: str, start: int, samples: int) -> str | None:
        """Return the label of the interval that samples lie in wholly, None when there is none."""
        found = self._found.get(file, ())
        # Half a sample of tolerance: seconds times hertz are seldom whole.
        return next((name for low, high, name in found if low <= start + 0.5 and start + samples <= high + 0.5), None)


def _bound(cell: str | None) -> float:
    try:
        return float(cell or "")
    except ValueError:
        return float("nan")
