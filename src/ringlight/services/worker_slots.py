"""What a worker has to give: devices with places on them, and the machine's free memory."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ringlight.errors import ConfigError

VISIBLE = "CUDA_VISIBLE_DEVICES"
"""Which GPUs a process sees; a job sees the one it was given, as its first."""

_COUNT = "import torch; print(torch.cuda.device_count() if torch.cuda.is_available() else 0)"


@dataclass(frozen=True, slots=True)
class Slots:
    """The devices of a worker, by name, and how many jobs each of them takes at a time."""

    devices: tuple[str, ...]
    capacity: int = 1

    def free(self, taken: Sequence[str]) -> list[str]:
        """Return the devices with a place left; `taken` names the device of every job at work."""
        return [device for device in self.devices if taken.count(device) < self.capacity]

    def wishes(self, free: Sequence[str]) -> list[str]:
        """Return what may be asked for so that a free device fulfils it."""
        found = {wish for device in free for wish in ("auto", "cuda", device) if self._fulfils(device, wish)}
        return sorted(found)

    def place(self, wish: str, free: Sequence[str]) -> str:
        """Return the free device that a wish gets."""
        return next(device for device in free if self._fulfils(device, wish))

    def _fulfils(self, device: str, wish: str) -> bool:
        if wish == "auto":
            # Where there is a GPU, nobody who leaves the choice waits for days beside it on a CPU.
            return device != "cpu" or all(one == "cpu" for one in self.devices)
        return wish == device or (wish == "cuda" and device.startswith("cuda"))


def slots_of(named: str | None, capacity: int) -> Slots:
    """Return the devices that were named (`cpu`, `cuda:0,cuda:1`); without a name every GPU there is, and the CPU.

    Raises:
        ConfigError: no such device.
    """
    if named is None:
        return Slots((*(f"cuda:{index}" for index in range(count_gpus())), "cpu"), capacity)
    devices = tuple(word.strip() for word in named.split(",") if word.strip())
    for device in devices or ("nothing",):
        if device != "cpu" and not (device.startswith("cuda:") and device[5:].isdigit()):
            raise ConfigError(
                "cpu, cuda:0, cuda:1, ..., with commas between them", got=f"`{device}`", where="--devices",
                fix="leave it out to use every GPU there is, and the CPU",
            )  # fmt: skip
    gpus = [device for device in devices if device != "cpu"]
    count = count_gpus() if gpus else 0
    for device in gpus:
        if int(device[5:]) >= count:
            raise ConfigError(
                "a device that is there", got=f"`{device}` and {count} CUDA device(s)", where="--devices",
                fix="leave it out to use every GPU there is, and the CPU",
            )  # fmt: skip
    return Slots(tuple(dict.fromkeys(devices)), capacity)


def count_gpus() -> int:
    """Count CUDA devices in another process: a worker holds no GPU and does not load torch."""
    try:
        done = subprocess.run([sys.executable, "-P", "-c", _COUNT], capture_output=True, text=True, timeout=120)
    except subprocess.TimeoutExpired:  # a driver that hangs serves no job
        return 0
    answer = done.stdout.strip()
    return int(answer) if answer.isdigit() else 0


def visible(device: str, environment: Mapping[str, str]) -> str:
    """Return what a job on this device may see of the GPUs, in the numbers of the worker's own `CUDA_VISIBLE_DEVICES`.

    Examples:
        >>> visible("cuda:1", {}), visible("cuda:1", {"CUDA_VISIBLE_DEVICES": "2,5"}), visible("cpu", {})
        ('1', '5', '')
    """
    if device == "cpu":
        return ""
    index = int(device.partition(":")[2])
    mine = [name.strip() for name in environment.get(VISIBLE, "").split(",") if name.strip()]
    return mine[index] if index < len(mine) else str(index)


def free_memory_gib(promised: Sequence[tuple[float | None, float]]) -> float:
    """Return the memory that is free for another job.

    Args:
        promised: of each job at work the GiB it asked for, and those it holds already; what it will yet take is not
            free.
    """
    import psutil

    owed = sum(max(0.0, (asked or 0.0) - held) for asked, held in promised)
    return float(psutil.virtual_memory().available) / 2**30 - owed


def visible_environment(device: str) -> dict[str, str]:
    """Return the environment of a job's process on a device."""
    return {**os.environ, VISIBLE: visible(device, os.environ), "PYTHONUNBUFFERED": "1"}
