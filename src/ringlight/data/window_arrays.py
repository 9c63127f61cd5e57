"""Windows of an `.npz` file: which array is what, and how the values come into a store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ringlight.data.npz import Header, NpzFile
from ringlight.data.window_store import BLOCK_VALUES
from ringlight.errors import DataError, did_you_mean

Array = npt.NDArray[Any]
Fit = Literal["crop", "pad"]

WINDOWS = ("X", "x", "windows")
LABELS = ("y", "labels", "label", "target")
GROUPS = ("group", "groups", "subject", "recording")
"""From the coarsest: recordings of one subject are alike, too."""
TIMES = ("time", "times")
SPLITS = ("split", "is_test")
CLASSES = ("class_names", "classes")
CHANNELS = ("channels", "channel_names")
RATES = ("sampling_rate", "fs_hz", "fs", "sample_rate")
SCALES = ("scale",)


@dataclass(frozen=True, slots=True)
class WindowArrays:
    """The file, the name of its array of windows, and what that array is."""

    npz: NpzFile
    key: str
    header: Header

    @classmethod
    def find(cls, npz: NpzFile, key: str | None) -> WindowArrays:
        """Find the windows: the array `key`, else `X`, else the only one with three axes.

        Raises:
            DataError: there is none, or it is not (N, T, C) of numbers.
        """
        where = npz.path.name
        if key is None:
            stacked = [name for name, header in npz.headers.items() if len(header.shape) == 3]
            key = npz.first(WINDOWS) or (stacked[0] if len(stacked) == 1 else None)
        if key is None:
            raise DataError(
                "an array `X` of windows (N, T, C)",
                got=f"arrays {', '.join(npz.keys) or '(none)'}",
                where=where,
                fix="set data.x_key to the array with the windows",
            )
        header = npz.require(key, "data.x_key")
        if header.dtype.kind not in "fiub":
            raise DataError(
                "numbers", got=f"type {header.dtype}", where=f"{where}: `{key}`", fix="save the windows as float32"
            )
        if len(header.shape) != 3 or not all(header.shape):
            fix = "save windows, samples and channels in this order"
            if len(header.shape) == 2:
                fix = "windows of a single channel need its axis, too: X[:, :, None]"
            got = f"shape {header.shape}"
            raise DataError("windows of shape (N, T, C)", got=got, where=f"{where}: `{key}`", fix=fix)
        return cls(npz, key, header)

    def column_name(self, key: str | None, usual: Sequence[str], *, strict: bool = False) -> str | None:
        """Return the array of one value a window that is asked for, else the usual one that has as many values.

        The arrays of `X_v2` are `y_v2` and so on, before the plain ones. Where `strict`, an array by the name that
        belongs to these windows counts with any number of values, for :meth:`column` to refuse: groups that are left
        aside without a word would let a split tear them apart.
        """
        if key is not None:
            return key
        suffix = self.key[1:] if self.key[0] in "Xx" else ""
        own = [name + suffix for name in usual]
        names = [*own, *(usual if suffix else ())]
        return next((name for name in names if name in self.npz and self._fits(name, strict and name in own)), None)

    def _fits(self, name: str, strict: bool) -> bool:
        shape = self.npz.headers[name].shape
        return shape[:1] == self.header.shape[:1] or name[0] == "y" or (strict and len(shape) > 0)

    def column(self, key: str, setting: str) -> Array:
        """Return the values of each window, (N,) or (N, K); `KEY.COLUMN` takes one column by number or name.

        Raises:
            DataError: no such array or column, or not a value a window.
        """
        base, _, column = (key, "", "") if key in self.npz else key.rpartition(".")
        values = self.npz.read(base or key, setting)
        where = f"{self.npz.path.name}: `{base or key}`"
        if not values.ndim or len(values) != self.header.shape[0]:
            got = f"{len(values)}" if values.ndim else "a single one"
            raise DataError(
                f"{self.header.shape[0]} values, one for each window of `{self.key}`",
                got=got,
                where=where,
                fix=f"set {setting} to the array that belongs to these windows",
            )
        if not column:
            return values
        return np.asarray(values[:, self._place(base, column, values, f"{where} ({setting})")])

    def _place(self, base: str, column: str, values: Array, where: str) -> int:
        """Return the number of a column, which is asked for by number or by its name in `<base>_names`."""
        count = values.shape[1] if values.ndim == 2 else 0
        names = self.text((f"{base}_names",)) or []
        choices = [*(names if len(names) == count else []), *(str(place) for place in range(count))]
        if column not in choices:
            raise DataError(
                "a column of it",
                got=f"`{column}`",
                where=where,
                fix=did_you_mean(column, choices) if choices else "leave the column out: there is only one",
            )
        return choices.index(column) % count

    def text(self, usual: Sequence[str]) -> list[str] | None:
        """Return the first of these arrays of names, None when there is none."""
        key = self.npz.first(usual)
        if key is None:
            return None
        return [one.decode() if isinstance(one, bytes) else str(one) for one in self.npz.read(key, "data").tolist()]

    def number(self, usual: Sequence[str]) -> float | None:
        """Return the first of these single numbers, None when there is none.

        Raises:
            DataError: it is no number above 0.
        """
        key = self.npz.first(usual)
        if key is None:
            return None
        values = self.npz.read(key, "data")
        if values.size != 1 or values.dtype.kind not in "fiu" or not 0 < float(values.reshape(-1)[0]) < np.inf:
            raise DataError(
                "a number above 0", got=f"{values.tolist()!r}", where=f"{self.npz.path.name}: `{key}`", fix="correct it"
            )
        return float(values.reshape(-1)[0])

    def channels(self, given: Sequence[str] | None) -> tuple[str, ...]:
        """Return the channels' names: those given, those in the file, or `channel_1` and so on.

        Raises:
            DataError: there are more or fewer than channels, or one stands twice.
        """
        count = self.header.shape[2]
        names = list(given) if given is not None else self.text(CHANNELS)
        if names is None:
            return tuple(f"channel_{number}" for number in range(1, count + 1))
        where = "data.channels" if given is not None else f"{self.npz.path.name}: `{self.npz.first(CHANNELS)}`"
        if len(names) != count:
            swapped = len(names) == self.header.shape[1]
            fix = "time comes before channels: save X.transpose(0, 2, 1)" if swapped else "name every channel once"
            got = f"{len(names)} (`{self.key}` has shape {self.header.shape})"
            raise DataError(f"{count} names, one a channel", got=got, where=where, fix=fix)
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise DataError("every channel once", got=f"`{twice}` twice", where=where, fix="rename one")
        if not all(name.strip() for name in names):
            raise DataError("a name for every channel", got="an empty one", where=where, fix="name it")
        return tuple(names)

    def scale(self) -> tuple[float, ...]:
        """Return the physical size of one step of each channel of whole numbers; empty for floats, or without one.

        Raises:
            DataError: another number of factors than channels, or one that is 0 or not finite.
        """
        key = self.npz.first(SCALES)
        if key is None or self.header.dtype.kind == "f":
            return ()
        count = self.header.shape[2]
        values = np.atleast_1d(self.npz.read(key, "data"))
        whole = values.dtype.kind in "fiu" and values.shape in ((1,), (count,))
        if not whole or not (np.isfinite(values) & (values != 0)).all():
            raise DataError(
                f"1 or {count} finite factors that are not 0",
                got=f"{values.tolist()!r:.80}",
                where=f"{self.npz.path.name}: `{key}`",
                fix="save one factor a channel",
            )
        return tuple(np.broadcast_to(values.astype(np.float64), (count,)).tolist())

    def keeps_int16(self) -> bool:
        """Whether the values fit the store as whole numbers."""
        dtype = self.header.dtype
        return (dtype.kind in "iub" and dtype.itemsize == 1) or (dtype.kind == "i" and dtype.itemsize == 2)

    def blocks(self, length: int, scratch: Path) -> Iterator[Array]:
        """Yield the windows block by block, int16 or float32 (B, `length`, C), cropped or padded at their end."""
        samples, channels = self.header.shape[1:]
        size = max(1, BLOCK_VALUES // (max(samples, length) * channels))
        factors = np.array(self.scale(), np.float32)
        for block in self.npz.blocks(self.key, size, scratch):
            with np.errstate(over="ignore"):  # a number beyond float32 is infinite then: the check tells of it
                values: Array = block.astype(np.int16 if self.keeps_int16() else np.float32)
            if len(factors) and not self.keeps_int16():
                values = np.asarray(values * factors, np.float32)
            yield fit_windows(values, length)


def fit_windows(windows: Array, length: int) -> Array:
    """Crop windows (B, T, C) at their end, or repeat their last sample, until they have `length` samples.

    Examples:
        >>> fit_windows(np.array([[[1], [2]]]), 4)[0, :, 0].tolist()
        [1, 2, 2, 2]
    """
    missing = length - windows.shape[1]
    if missing <= 0:
        return windows[:, :length]
    return np.pad(windows, ((0, 0), (0, missing), (0, 0)), mode="edge")


def fitted_length(samples: int, window_length: int | None, fit_length: Fit | None, where: str) -> int:
    """Return how many samples windows of `samples` get.

    Raises:
        DataError: another length is asked for, but not how it is reached.
    """
    if window_length is None or window_length == samples:
        return samples
    needed: Fit = "crop" if samples > window_length else "pad"
    if fit_length != needed:
        raise DataError(
            f"windows of {window_length} samples (data.window_length)",
            got=f"{samples} samples",
            where=where,
            fix=f"set data.fit_length={needed}, or data.window_length=null to take them as they are",
        )
    return window_length
