"""From windows of a signal to a model's input: the one place for training, evaluation, prediction and serving.

What a model expects is a :class:`WindowSpec`, which travels with the saved model as an image model's
:class:`~ringlight.data.preprocess.InputSpec` does. The normalisation by channel is fitted on training data only.

Shapes: N windows, B a batch of them, T samples, C channels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, fields
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from ringlight.data.window_faults import require_channels, require_finite, wrong_length
from ringlight.data.window_store import blocks_of, require_signals
from ringlight.errors import DataError, did_you_mean
from ringlight.types import Dataset, Signals

Windows = npt.NDArray[np.float32]
Normalize = Literal["channel", "window", "none"]
WAYS = ("channel", "window", "none")

STILL = 1e-9
"""A deviation below this share of the mean is rounding, since float32 has no such digits: the channel stands still."""


@dataclass(frozen=True, slots=True)
class WindowSpec:
    """What a model expects of a window.

    Args:
        channels: their names, in order.
        length: samples in a window (T).
        sampling_rate: in hertz; None where nobody knows it.
        normalize: "channel": (value - `mean`) / `std` of its channel; "window": every channel of every window by its
            own mean and deviation, so that offset and gain of a sensor do not matter; "none": values as they are.
        mean: of each channel over the training windows, in physical units. With "none" it only tells augmentations how
            large a channel's deviation is; with "window" it has no use.
        std: of each channel, above 0, as `mean`.

    Raises:
        DataError: a value is out of range, or missing.

    Examples:
        >>> spec = WindowSpec(("p", "q"), 3, normalize="channel", mean=(1.0, 0.0), std=(2.0, 1.0))
        >>> spec.apply(np.array([[[1, 0], [3, 1], [5, 2]]], np.float32)).tolist()
        [[[0.0, 1.0, 2.0], [0.0, 1.0, 2.0]]]
    """

    channels: tuple[str, ...]
    length: int
    sampling_rate: float | None = None
    _: KW_ONLY
    normalize: Normalize
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        names = self.channels
        named = isinstance(names, tuple | list) and len(names) > 0
        _require(named and all(isinstance(name, str) and name for name in names), "channels", "names", names)
        _require(len(set(names)) == len(names), "channels", "every name once", names)
        object.__setattr__(self, "channels", tuple(names))
        whole = isinstance(self.length, int) and not isinstance(self.length, bool) and self.length >= 1
        _require(whole, "length", "a whole number above 0", self.length)
        rate = self.sampling_rate
        _require(rate is None or (_is_finite(rate) and rate > 0), "sampling_rate", "None or a number above 0", rate)
        _require(self.normalize in WAYS, "normalize", "channel, window or none", self.normalize)
        counts = (len(names),) if self.normalize == "channel" else (0, len(names))
        for name in ("mean", "std"):
            values = getattr(self, name)
            numbers = isinstance(values, Sequence) and all(_is_finite(value) for value in values)
            _require(numbers and len(values) in counts, name, f"{len(names)} finite numbers, one a channel", values)
            object.__setattr__(self, name, tuple(float(value) for value in values))
        _require(len(self.mean) == len(self.std), "std", "as many numbers as mean has", self.std)
        _require(all(value > 0 for value in self.std), "std", "numbers above 0", self.std)

    @property
    def in_chans(self) -> int:
        """The number of channels (C)."""
        return len(self.channels)

    def to_dict(self) -> dict[str, Any]:
        """Return the specification in plain JSON types; `kind` tells it from that of an image model."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        plain = {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
        return {"kind": "windows", **plain}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> WindowSpec:
        """Read what :meth:`to_dict` wrote.

        Raises:
            DataError: a key is missing or unknown, or a value is out of range.
        """
        names = ["kind", *(field.name for field in fields(cls))]
        if not isinstance(values, Mapping):
            raise DataError("a mapping", got=repr(values), where="input", fix="save the model again")
        for name in values:
            if name not in names:
                raise DataError("a known key", got=f"`{name}`", where="input", fix=did_you_mean(str(name), names))
        for name in names:
            _require(name in values, name, "a value", "none")
        _require(values["kind"] == "windows", "kind", "windows", values["kind"])
        made: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
        }
        del made["kind"]
        return cls(**made)

    @classmethod
    def fit(cls, dataset: Dataset, rows: npt.ArrayLike | None = None, *, normalize: Normalize) -> WindowSpec:
        """Describe the windows of a data set, and measure mean and deviation of each channel, block by block.

        The sums are in double precision and merged block after block (Chan et al. 1979), so that a large offset costs
        no digits. The deviation of a channel that stands still is 1: it becomes 0 everywhere.

        Args:
            dataset: windows.
            rows: those to measure: the training part. All when None.
            normalize: see the class; "window" measures nothing.

        Raises:
            DataError: the records are no windows, there are none, or a value is not finite.
        """
        signals = require_signals(dataset)
        made = (signals.channels, signals.length, signals.sampling_rate)
        if normalize == "window":
            return cls(*made, normalize=normalize)
        chosen = np.arange(len(dataset)) if rows is None else np.asarray(rows, np.int64)
        if not len(chosen):
            raise DataError(
                "at least one window", got="none", where=dataset.name, fix="check the split's training part"
            )
        mean, std = _moments(dataset, chosen)
        return cls(*made, normalize=normalize, mean=tuple(mean.tolist()), std=tuple(std.tolist()))

    def apply(self, windows: Windows) -> torch.Tensor:
        """Normalise windows float32 (B, T, C) to a model's input, float32 (B, C, T), contiguous."""
        return to_input(self.normalised(windows))

    def normalised(self, windows: Windows) -> Windows:
        """Normalise windows float32 (B, T, C) to float32 of the same shape."""
        if self.normalize == "none":
            return windows
        return self.standardised(windows) if self.normalize == "channel" else _by_themselves(windows)

    def standardised(self, windows: Windows) -> Windows:
        """Return (value - mean) / std of each channel, where they are known; float32 (B, T, C)."""
        if not self.mean:
            return windows
        return np.asarray((windows - np.array(self.mean, np.float32)) / np.array(self.std, np.float32), np.float32)

    def restored(self, windows: Windows) -> Windows:
        """Undo :meth:`standardised`."""
        if not self.mean:
            return windows
        return np.asarray(windows * np.array(self.std, np.float32) + np.array(self.mean, np.float32), np.float32)

    def require(self, signals: Signals | None, where: str) -> None:
        """Refuse windows of other channels or of another length.

        Raises:
            DataError: they differ from what the model expects.
        """
        if signals is None:
            raise DataError(
                "windows of a signal", got="images", where=where, fix="choose data of windows for this model"
            )
        require_channels(signals.channels, self.channels, where)
        if signals.length != self.length:
            raise wrong_length(signals.length, self.length, where)


def check_windows(
    windows: npt.ArrayLike, spec: WindowSpec, *, channels: Sequence[str] | None = None, where: str = "windows"
) -> Windows:
    """Check windows that a user passed against what the model expects; return them as float32 (N, T, C).

    Args:
        windows: numbers (N, T, C) in physical units: as the training data were before any normalisation.
        spec: the model's.
        channels: the names of their channels, where the caller knows them; in another order they are refused, since a
            swapped pair of sensors gives confident nonsense.
        where: what the message begins with.

    Raises:
        DataError: another rank, length or number of channels; names that differ; values that are no finite numbers.
    """
    array = np.asarray(windows)
    shape = f"(N, {spec.length}, {spec.in_chans})"
    if array.dtype.kind not in "fiub":
        raise DataError("numbers", got=f"type {array.dtype}", where=where, fix="convert the windows to float32")
    if array.ndim != 3:
        single = array.shape == (spec.length, spec.in_chans)
        fix = "pass a single window as windows[None]" if single else "stack the windows along the first axis"
        raise DataError(f"windows of shape {shape}", got=f"shape {array.shape}", where=where, fix=fix)
    if array.shape[1:] == (spec.in_chans, spec.length) and spec.in_chans != spec.length:
        fix = "time comes before channels: pass windows.transpose(0, 2, 1)"
        raise DataError(f"windows of shape {shape}", got=f"shape {array.shape}", where=where, fix=fix)
    if array.shape[2] != spec.in_chans:
        listed = ", ".join(spec.channels[:20]) + (", ..." if spec.in_chans > 20 else "")
        got = f"{array.shape[2]} (shape {array.shape})"
        fix = "pass all channels the model was trained on, in this order"
        raise DataError(f"{spec.in_chans} channels ({listed})", got=got, where=where, fix=fix)
    if array.shape[1] != spec.length:
        raise wrong_length(array.shape[1], spec.length, where)
    if channels is not None:
        require_channels(channels, spec.channels, where)
    values = np.asarray(array, np.float32)
    require_finite(values, spec.channels, where)
    return values


def to_input(windows: Windows) -> torch.Tensor:
    """Turn float32 (B, T, C) into a contiguous tensor (B, C, T)."""
    return torch.from_numpy(np.ascontiguousarray(windows.transpose(0, 2, 1), np.float32))


def _moments(dataset: Dataset, rows: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    signals = require_signals(dataset)
    count, mean, squares = 0, np.zeros(len(signals.channels)), np.zeros(len(signals.channels))
    for _, windows in blocks_of(dataset, rows):
        require_finite(windows, signals.channels, dataset.name)
        values = windows.reshape(-1, len(signals.channels))
        here = values.mean(axis=0, dtype=np.float64)
        around = np.square(values - here).sum(axis=0, dtype=np.float64)
        total = count + len(values)
        step = here - mean
        squares += around + step**2 * (count * len(values) / total)
        mean += step * (len(values) / total)
        count = total
    std = np.sqrt(squares / count)
    return mean, np.where(std > STILL * np.abs(mean), std, 1.0)


def _by_themselves(windows: Windows) -> Windows:
    """Bring every channel of every window to mean 0 and deviation 1; one that stands still becomes 0."""
    mean = windows.mean(axis=1, dtype=np.float64, keepdims=True)
    centred = windows - mean.astype(np.float32)
    std = np.sqrt(np.square(centred).mean(axis=1, dtype=np.float64, keepdims=True))
    moving = std > STILL * np.abs(mean)
    return np.asarray(np.where(moving, centred / np.where(moving, std, 1).astype(np.float32), 0), np.float32)


def _require(valid: bool, name: str, expected: str, got: object) -> None:
    if not valid:
        raise DataError(expected, got=repr(got), where=f"input.{name}", fix="correct the value")


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
