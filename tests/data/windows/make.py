"""Fake data for the source of windows: `python make.py FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.io import wavfile

CHANNELS = ("pressure", "flow")


def signal(seed: int, samples: int = 100) -> npt.NDArray[np.float64]:
    """Noise around two offsets, (samples, 2)."""
    return np.random.default_rng(seed).normal((5, -1), 1, (samples, 2))


def write_csv(path: Path, values: npt.NDArray[Any], *, rate: float = 10.0) -> None:
    """A recording with a column of seconds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [f"{place / rate:.3f},{row[0]:.5f},{row[1]:.5f}" for place, row in enumerate(values)]
    path.write_text("\n".join([f"time,{','.join(CHANNELS)}", *rows]) + "\n", encoding="utf-8")


def write_wav(path: Path, values: npt.NDArray[Any], *, rate: int = 8000) -> None:
    """Sound; the format is that of the values."""
    path.parent.mkdir(parents=True, exist_ok=True)
    wavfile.write(path, rate, values)


def make(root: Path) -> None:
    """Two recordings of 100 samples in a folder for each of two classes."""
    for number, name in enumerate(("leak", "leak", "tight", "tight")):
        write_csv(root / name / f"{name}_{number}.csv", signal(number))


def make_npz(path: Path, **arrays: Any) -> Path:
    """Twelve windows (8, 2) of three recordings; `arrays` replaces or, with None, leaves some out."""
    windows = np.random.default_rng(0).normal(size=(12, 8, 2)).astype(np.float32)
    usual: dict[str, Any] = {
        "X": windows,
        "y": np.arange(12) % 2,
        "class_names": np.array(["tight", "leak"]),
        "channels": np.array(CHANNELS),
        "fs_hz": np.float32(10),
        "group": np.repeat([7, 8, 9], 4),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **{key: value for key, value in {**usual, **arrays}.items() if value is not None})
    return path


if __name__ == "__main__":
    make(Path(sys.argv[1]))
