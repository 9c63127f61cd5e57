"""The `windows` source: windows of multichannel signals from an `.npz` file or a folder of recordings.

Either is converted once into a memory-mapped store in the workspace's cache (:mod:`ringlight.data.window_store`), block
by block, so that memory does not grow with the number of windows.

Shapes: N windows, T samples, C channels, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow.parquet as pq

from ringlight.data import window_arrays as usual
from ringlight.data.content import parallel
from ringlight.data.faults import Faults, first_of
from ringlight.data.files import require_folder
from ringlight.data.folder import compile_pattern
from ringlight.data.labels import checked_classes
from ringlight.data.npz import NpzFile
from ringlight.data.recording_cuts import Intervals
from ringlight.data.recording_windows import INTERVALS, ONCE, Recordings, common_length, find_recordings, write_windows
from ringlight.data.window_arrays import WindowArrays, fitted_length
from ringlight.data.window_cache import prepared
from ringlight.data.window_labels import WindowLabels, read_names, read_parts, read_times, read_window_labels
from ringlight.data.window_records import window_dataset
from ringlight.data.window_store import ROWS, write_store
from ringlight.errors import ConfigError, DataError
from ringlight.files import file_sha256
from ringlight.types import Dataset, Task

FOR_ARRAYS = ("x_key", "label_key", "group_key", "time_key", "split_key")
FOR_RECORDINGS = ("hop", "label_regex", "group_regex", "intervals", "time_column")


class WindowsSource:
    r"""Windows of multichannel signals: an `.npz` file, or a folder of CSV, Parquet or WAV recordings.

    An `.npz` file holds `X` (N, T, C) and, where known, `y` (class numbers, names, or a binary matrix), `group`,
    `subject` or `recording`, `time`, `split`, `class_names`, `channels`, `sampling_rate` (or `fs_hz`), and `scale`, the
    size of one step of whole numbers in each channel; other names are given as keys. `KEY.COLUMN` takes one column of a
    table by its number or its name in `KEY_names`. Nothing is ever unpickled.

    Recordings are cut into windows of `window_length` samples, one every `hop`; without `window_length` each is one
    window. Windows of one recording share its group. The label is the first folder's name, or the file name's
    (`label_regex`), or an interval's (`intervals`).

    Args:
        root: the `.npz` file, or the folder.
        cache: the folder of the converted windows; the workspace's when None.
        task: found out from the labels when None.
        class_names: in order of the class numbers; those in the file, or sorted names, when None.
        channels: names of the channels; of tables, the columns to take.
        sampling_rate: in hertz; the file's when None.
        x_key: the array of windows; `X`, or the only one with three axes, when None.
        label_key: the labels; `y` (for `X_v2`: `y_v2`), `labels`, `label` or `target` when None.
        group_key: what no split may divide; `group`, `subject` or `recording` when None.
        time_key: a number or date a window; `time` when None.
        split_key: train, val or test, or flags that are true for the test; `split`, or the only flags whose name holds
            "test", when None.
        window_length: samples in a window (T); as they are when None.
        hop: samples from one window's beginning to the next; `window_length` when None: no overlap.
        fit_length: how other lengths become `window_length`: "crop" at the end, "pad" with the last sample; refused
            when None.
        label_regex: searched in the file name; its group `label`, or else its first group, is the class.
        group_regex: searched in the path; its group `group`, or else its first group, is what no split may divide; the
            recording itself when None.
        intervals: a table relative to the folder: `file`, `start` and `end` in seconds (or `start_sample` and
            `end_sample`), `label`; `intervals.csv` when None and it is there.
        time_column: a column of tables that is no channel; `time`, `timestamp` or `t` when None.

    Raises:
        ConfigError: a pattern is malformed or has no group, a number is below 1, or `class_names` names one twice.
    """

    def __init__(
        self,
        root: Path | str,
        *,
        cache: Path | None = None,
        task: Task | None = None,
        class_names: Sequence[str] | None = None,
        channels: Sequence[str] | None = None,
        sampling_rate: float | None = None,
        x_key: str | None = None,
        label_key: str | None = None,
        group_key: str | None = None,
        time_key: str | None = None,
        split_key: str | None = None,
        window_length: int | None = None,
        hop: int | None = None,
        fit_length: Literal["crop", "pad"] | None = None,
        label_regex: str | None = None,
        group_regex: str | None = None,
        intervals: str | None = None,
        time_column: str | None = None,
    ) -> None:
        self.root = Path(root).expanduser()
        self.cache = cache
        self.task = task
        self.class_names = None if class_names is None else checked_classes(class_names)
        self.channels = channels
        self.sampling_rate = sampling_rate
        self.x_key, self.label_key, self.group_key = x_key, label_key, group_key
        self.time_key, self.split_key = time_key, split_key
        self.window_length, self.hop, self.fit_length = window_length, hop, fit_length
        self.label_regex = compile_pattern(label_regex, "data.label_regex")
        self.group_regex = compile_pattern(group_regex, "data.group_regex")
        self.intervals = intervals
        self.time_column = time_column
        for key, value in (("window_length", window_length), ("hop", hop), ("sampling_rate", sampling_rate)):
            if value is not None and not value > 0:
                raise ConfigError("a number above 0", got=str(value), where=f"data.{key}", fix="correct the value")

    def load(self) -> Dataset:
        """Read labels and groups, and convert the windows unless that was done before.

        Raises:
            DataError: nothing is there, or it cannot be used.
            Problems: several recordings cannot.
            WorkspaceError: the cache cannot be written.
        """
        if self.root.suffix.lower() == ".npz":
            self._refuse(FOR_RECORDINGS, "a folder of recordings", "an .npz file")
            return self._of_arrays()
        if self.root.is_file():
            raise DataError(
                "an .npz file or a folder of recordings",
                got=f"a file `{self.root.suffix or self.root.name}`",
                where=str(self.root),
                fix="set data.root to the folder the recording lies in, or save X and y with numpy.savez",
            )
        root = require_folder(self.root, "data.root")
        self._refuse(FOR_ARRAYS, "an .npz file", "a folder")
        return self._of_recordings(root)

    def _refuse(self, keys: Sequence[str], belongs: str, got: str) -> None:
        for key in keys:
            if getattr(self, key) is not None:
                raise ConfigError(
                    f"data.{key} with {belongs} only", got=got, where=f"data.{key}", fix="leave it out (null)"
                )

    def _of_arrays(self) -> Dataset:
        path = self.root.absolute()
        arrays = WindowArrays.find(NpzFile(path), self.x_key)
        where = f"{path.name}: `{arrays.key}`"
        length = fitted_length(arrays.header.shape[1], self.window_length, self.fit_length, where)
        channels, scale = arrays.channels(self.channels), arrays.scale()
        rate = self.sampling_rate or arrays.number(usual.RATES)
        notes: list[str] = []
        labels = self._labels(arrays, notes)
        columns = self._columns(arrays, notes)
        settings = {
            "sha256": file_sha256(path), "x_key": arrays.key, "length": length, "channels": channels, "rate": rate,
        }  # fmt: skip

        def make(folder: Path) -> None:
            write_store(
                folder,
                arrays.blocks(length, folder.parent),
                channels=channels,
                length=length,
                sampling_rate=rate,
                scale=scale if arrays.keeps_int16() else (),
            )

        folder, facts = prepared(self.cache, settings, make)
        if length != arrays.header.shape[1]:
            notes.append(f"windows of {arrays.header.shape[1]} samples brought to {length} (data.fit_length)")
        return window_dataset(folder, facts, labels, name=path.stem, notes=notes, **columns)

    def _labels(self, arrays: WindowArrays, notes: list[str]) -> WindowLabels | None:
        key = arrays.column_name(self.label_key, usual.LABELS)
        if key is None:
            notes.append("no labels: set data.label_key to the array that holds them")
            return None
        names: Sequence[str] | None = self.class_names
        if names is None and key == arrays.column_name(None, usual.LABELS):  # they name the classes of no other array
            names = arrays.text(usual.CLASSES)
        labels = read_window_labels(
            arrays.column(key, "data.label_key"),
            classes=names,
            task=self.task,
            where=f"{arrays.npz.path.name}: `{key}`",
        )
        notes.append(f"labels: {key}; task {labels.task}")
        return labels

    def _columns(self, arrays: WindowArrays, notes: list[str]) -> dict[str, Any]:
        """Return groups, times and parts, where there are any."""
        where = arrays.npz.path.name
        found: dict[str, Any] = {}
        group = arrays.column_name(self.group_key, usual.GROUPS, strict=True)
        if group is not None:
            found["groups"] = read_names(_single(arrays, group, "data.group_key"), f"{where}: `{group}`")
            notes.append(f"groups: {group}")
        time = arrays.column_name(self.time_key, usual.TIMES)
        if time is not None:
            found["times"] = read_times(_single(arrays, time, "data.time_key"), f"{where}: `{time}`")
        split = arrays.column_name(self.split_key, (*usual.SPLITS, *_test_flags(arrays)))
        if split is not None:
            found["parts"] = read_parts(_single(arrays, split, "data.split_key"), f"{where}: `{split}`")
            notes.append(f"split: {split} (split=predefined divides by it)")
        return found

    def _of_recordings(self, root: Path) -> Dataset:
        table = root / (self.intervals or INTERVALS)
        with_table = self.intervals is not None or table.is_file()
        found = find_recordings(
            root,
            leave_out=table if with_table else None,
            channels=self.channels,
            sampling_rate=self.sampling_rate,
            time_column=self.time_column,
        )
        labels: dict[str, str] | Intervals
        if with_table:
            labels = Intervals(table, sampling_rate=found.sampling_rate)
            labels.require(list(found.found))
        else:
            labels = self._labels_by_name(root, list(found.found))
        once = self.window_length is None
        length = common_length(found, self.fit_length) if self.window_length is None else self.window_length
        hop = ONCE if once else self.hop or length
        groups = self._groups(root, found, once=once)
        settings = {
            "files": dict(zip(found.found, _digests(found), strict=True)),
            "labels": file_sha256(table) if with_table else labels, "groups": groups, "length": length, "hop": hop,
            "fit": self.fit_length, "rate": found.sampling_rate, "channels": found.channels,
            "read": [[*recording.channels, recording.time_column] for recording in list(found.found.values())[:1]],
        }  # fmt: skip
        folder, facts = prepared(
            self.cache,
            settings,
            lambda folder: write_windows(
                folder, found, length=length, hop=hop, fit_length=self.fit_length, labels=labels, groups=groups
            ),
        )
        rows = pq.read_table(folder / ROWS)
        dropped = int(rows.schema.metadata[b"dropped"])
        notes = [*found.notes, f"windows of {length} samples from {len(found.found)} recordings"]
        if dropped:
            notes.append(f"left out windows that lie in no interval, or in two: {dropped}")
        names = rows.column("label").to_numpy(zero_copy_only=False).astype(np.str_)
        where = table.name if with_table else root.name
        found_labels = read_window_labels(names, classes=self.class_names, task=self.task, where=where)
        optional = {"groups": rows.column("group"), "times": rows.column("time")}
        columns = {
            name: column.to_pylist() for name, column in optional.items() if column.null_count < facts.num_windows
        }
        return window_dataset(
            folder, facts, found_labels, name=root.name, ids=rows.column("id").to_pylist(), notes=notes, **columns
        )

    def _labels_by_name(self, root: Path, keys: Sequence[str]) -> dict[str, str]:
        labels: dict[str, str] = {}
        for key in keys:
            folder, _, name = key.rpartition("/")
            if self.label_regex is None:
                labels[key] = folder.partition("/")[0]
                continue
            match = self.label_regex.search(name)
            if match is not None:
                labels[key] = (match["label"] if "label" in self.label_regex.groupindex else match[1]) or ""
        lost = [key for key in keys if not labels.get(key)]
        if lost:
            pattern = None if self.label_regex is None else self.label_regex.pattern
            raise DataError(
                "a class for every recording: its folder" if pattern is None else f"names that `{pattern}` matches",
                got=f"recordings without one: {first_of(lost)}",
                where=str(root),
                fix="set data.label_regex or data.intervals" if pattern is None else "correct data.label_regex",
            )
        return labels

    def _groups(self, root: Path, found: Recordings, *, once: bool) -> dict[str, str | None]:
        if self.group_regex is None:
            return {key: None if once else key for key in found.found}
        groups: dict[str, str | None] = {}
        faults = Faults(str(root))
        for key in found.found:
            match = self.group_regex.search(key)
            name = None if match is None else match["group" if "group" in self.group_regex.groupindex else 1]
            groups[key] = name
            if not name:
                faults.add(
                    f"a path that data.group_regex `{self.group_regex.pattern}` matches",
                    got=f"`{key}`",
                    where=str(root),
                    fix="correct the pattern: a recording without its group can leak from training into the test",
                )
        faults.raise_if_any()
        return groups


def _single(arrays: WindowArrays, key: str, setting: str) -> Any:
    values = arrays.column(key, setting)
    if values.ndim > 1:
        raise DataError(
            "one value a window",
            got=f"shape {values.shape}",
            where=f"{arrays.npz.path.name}: `{key}`",
            fix=f"choose a column: {setting}={key}.0",
        )
    return values


def _test_flags(arrays: WindowArrays) -> tuple[str, ...]:
    """Return the flags whose name says that they are true for the test, if there are only ones of one kind."""
    flags = [
        name
        for name, header in arrays.npz.headers.items()
        if header.dtype.kind == "b" and header.shape == arrays.header.shape[:1] and "test" in name.lower()
    ]
    return tuple(flags) if len(flags) == 1 else ()


def _digests(found: Recordings) -> list[str]:
    return parallel(file_sha256, [recording.path for recording in found.found.values()])
