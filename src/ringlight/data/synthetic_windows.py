"""The `synthetic_windows` source: an air-leak rig that the product simulates, for the demo and the tests.

The windows (:mod:`ringlight.data.air_leak_rig`) are computed once under `root` and mapped from there afterwards: a
store of 16-bit numbers with a scale for each channel, as a converter gives them, a table of labels and recordings, and
a `spec.json` that says what they were made from.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from ringlight.data.air_leak_rig import CHANNELS, CLASSES, FULL_SCALE, draw_recording, simulate_windows
from ringlight.data.made_once import MadeOnce
from ringlight.data.synthetic import exact_counts
from ringlight.data.window_labels import WindowLabels
from ringlight.data.window_records import window_dataset
from ringlight.data.window_store import read_facts, write_store
from ringlight.errors import DataError
from ringlight.types import Dataset

FORMAT_VERSION = 1
"""Raise it when the windows change: folders of an older version are then refused, not mistaken for new ones."""
STEPS = 32_767
"""Of a 16-bit converter, either way."""
BLOCK_SAMPLES = 2**19
"""So many samples of a channel are simulated together: long windows must not fill the memory."""
CLASS_SHARES = (0.55, 0.2, 0.1, 0.15)
"""Tight, small leak, large leak, blocked: faults are rarer than none."""


@dataclass(frozen=True, slots=True)
class _Spec:
    """What the windows are a function of."""

    num_windows: int
    length: int
    sampling_rate: float
    difficulty: float
    class_shares: tuple[float, ...]
    windows_per_recording: int
    seed: int


class SyntheticWindowsSource:
    """Simulated windows of a pneumatic rig: tight, leaking a little or a lot, or blocked; made once under `root`.

    Nine channels: pressure before and behind a filter, flow, sound, ultrasound near and far, vibration along three
    axes. The windows of a recording share the state of the rig and the errors of its sensors, and so a group.

    Args:
        root: folder to write to or read from; it must not hold anything else.
        num_windows: number of windows.
        length: samples of a window, 64 to 1,000,000.
        sampling_rate: hertz, 500 to 20,000.
        difficulty: 0 (plain) to 1 (hard): how small the leaks and how partial the blocks are, noise, errors of the
            sensors, other users of compressed air.
        class_shares: parts of the recordings of `no_leak`, `small_leak`, `large_leak` and `blocked`.
        windows_per_recording: the last recording may have fewer.
        seed: the same seed and parameters give the same windows.

    Raises:
        DataError: a parameter is out of range.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     data = SyntheticWindowsSource(folder + "/rig", num_windows=8, length=64, windows_per_recording=2).load()
        ...     len(data), data.signals.channels[:3], sorted(set(data.groups))[:2]
        (8, ('pressure_upstream', 'pressure_downstream', 'flow'), ['recording_0000', 'recording_0001'])
    """

    def __init__(
        self,
        root: Path | str,
        *,
        num_windows: int = 2000,
        length: int = 1024,
        sampling_rate: float = 1000.0,
        difficulty: float = 0.5,
        class_shares: Sequence[float] = CLASS_SHARES,
        windows_per_recording: int = 10,
        seed: int = 0,
    ) -> None:
        self.root = Path(root).expanduser().absolute()
        shares = tuple(float(share) for share in class_shares)
        self._spec = _Spec(num_windows, length, float(sampling_rate), difficulty, shares, windows_per_recording, seed)
        self._check()
        values = {name: getattr(self._spec, name) for name in _Spec.__slots__}
        self._folder = MadeOnce(self.root, {**values, "format_version": FORMAT_VERSION}, what="windows")

    def _check(self) -> None:
        spec = self._spec
        shares = spec.class_shares
        fit = len(shares) == len(CLASSES) and all(math.isfinite(one) and one >= 0 for one in shares) and sum(shares) > 0
        checks = [
            ("num_windows", spec.num_windows >= 1, "1 or more", spec.num_windows),
            ("length", 64 <= spec.length <= 1_000_000, "64 to 1,000,000 samples", spec.length),
            ("sampling_rate", 500 <= spec.sampling_rate <= 20_000, "500 to 20,000 hertz", spec.sampling_rate),
            ("difficulty", 0 <= spec.difficulty <= 1, "0 to 1", spec.difficulty),
            ("class_shares", fit, f"{len(CLASSES)} shares of 0 or more, not all 0", shares),
            ("windows_per_recording", spec.windows_per_recording >= 1, "1 or more", spec.windows_per_recording),
            ("seed", spec.seed >= 0, "0 or more", spec.seed),
        ]
        for name, valid, expected, got in checks:
            if not valid:
                raise DataError(expected, got=repr(got), where=f"data.{name}", fix="correct the value")

    def load(self) -> Dataset:
        """Return the data set, simulating it first when `root` does not hold it yet.

        Raises:
            DataError: `root` holds something else, or windows made with other parameters, or files are missing.
            WorkspaceError: `root` cannot be written.
        """
        if not self._folder.present():
            self._folder.make(self._simulate)
        try:
            table = pq.read_table(self.root / "labels.parquet")
        except (OSError, pa.ArrowInvalid) as error:
            raise self._folder.refusal("a readable labels.parquet", str(error).partition("\n")[0]) from None
        facts = read_facts(self.root / "windows")
        if table.num_rows != facts.num_windows:
            raise self._folder.refusal(f"{facts.num_windows} labels, one a window", str(table.num_rows))
        labels = table["label"].to_numpy().astype(np.int64)
        return window_dataset(
            self.root / "windows",
            facts,
            WindowLabels(CLASSES, "multiclass", np.arange(len(labels)), labels),
            name="synthetic_windows",
            ids=table["id"].to_pylist(),
            groups=table["recording"].to_pylist(),
            times=table["time"].to_pylist(),
        )

    def _simulate(self, folder: Path) -> None:
        spec = self._spec
        scale = [full / STEPS for full in FULL_SCALE]
        write_store(
            folder / "windows",
            self._blocks(np.asarray(scale)),
            channels=CHANNELS,
            length=spec.length,
            sampling_rate=spec.sampling_rate,
            scale=scale,
        )
        windows = np.arange(spec.num_windows)
        recordings, places = np.divmod(windows, spec.windows_per_recording)
        table = pa.table(
            {
                "id": [f"window_{window:05d}" for window in windows],
                "label": pa.array(self._labels()[recordings], pa.int32()),
                "recording": [f"recording_{recording:04d}" for recording in recordings],
                # Recordings follow each other without a pause, as their windows do.
                "time": (windows * spec.length / spec.sampling_rate).tolist(),
                "place": pa.array(places, pa.int32()),
            }
        )
        pq.write_table(table, folder / "labels.parquet")

    def _labels(self) -> npt.NDArray[np.int64]:
        """Return the class of every recording: exact counts in a random order."""
        spec = self._spec
        count = -(-spec.num_windows // spec.windows_per_recording)
        labels = np.repeat(np.arange(len(CLASSES)), exact_counts(spec.class_shares, count))
        return np.random.default_rng([spec.seed, 0]).permutation(labels)

    def _blocks(self, scale: npt.NDArray[np.float64]) -> Iterator[npt.NDArray[np.int16]]:
        """Yield windows (B, T, C) as a converter gives them."""
        spec, labels = self._spec, self._labels()
        size = max(1, BLOCK_SAMPLES // spec.length)
        for start in range(0, spec.num_windows, size):
            windows = np.arange(start, min(start + size, spec.num_windows))
            recordings, places = np.divmod(windows, spec.windows_per_recording)
            states = {
                int(one): draw_recording(
                    int(labels[one]), spec.difficulty, np.random.default_rng([spec.seed, 1, int(one)])
                )
                for one in np.unique(recordings)
            }
            seen = simulate_windows(
                [states[int(one)] for one in recordings],
                places / max(spec.windows_per_recording - 1, 1),
                [np.random.default_rng([spec.seed, 2, int(window)]) for window in windows],
                length=spec.length,
                sampling_rate=spec.sampling_rate,
                difficulty=spec.difficulty,
            )
            yield np.clip(np.round(seen / scale), -STEPS, STEPS).astype(np.int16)
