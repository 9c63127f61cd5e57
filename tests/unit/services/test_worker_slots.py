"""Devices and memory that a worker has to give."""

from __future__ import annotations

from types import SimpleNamespace

import psutil
import pytest

from ringlight.errors import ConfigError
from ringlight.services import worker_slots
from ringlight.services.worker_slots import Slots, free_memory_gib, slots_of, visible, visible_environment


def test_a_device_takes_as_many_jobs_as_its_capacity() -> None:
    slots = Slots(("cuda:0", "cuda:1", "cpu"))
    assert slots.free([]) == ["cuda:0", "cuda:1", "cpu"]
    assert slots.free(["cuda:0", "cpu"]) == ["cuda:1"]
    assert Slots(("cpu",), capacity=2).free(["cpu"]) == ["cpu"]


def test_who_leaves_the_choice_gets_a_gpu_where_there_is_one() -> None:
    slots = Slots(("cuda:0", "cuda:1", "cpu"))
    assert slots.wishes(["cuda:1", "cpu"]) == ["auto", "cpu", "cuda", "cuda:1"]
    assert slots.wishes(["cpu"]) == ["cpu"]  # it waits for a GPU, rather than for days on the CPU
    assert Slots(("cpu",)).wishes(["cpu"]) == ["auto", "cpu"]
    assert [slots.place(wish, ["cuda:1", "cpu"]) for wish in ("auto", "cuda", "cuda:1", "cpu")] == [
        "cuda:1", "cuda:1", "cuda:1", "cpu"
    ]  # fmt: skip


def test_devices_are_named_or_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_slots, "count_gpus", lambda: 2)
    assert slots_of(None, 1).devices == ("cuda:0", "cuda:1", "cpu")
    assert slots_of("cuda:1, cpu,cpu", 3) == Slots(("cuda:1", "cpu"), 3)
    with pytest.raises(ConfigError, match=r"--devices: expected cpu, cuda:0, cuda:1, \.\.\., .*, got `gpu`"):
        slots_of("cpu,gpu", 1)
    with pytest.raises(ConfigError, match="got `nothing`"):
        slots_of(" ,", 1)
    with pytest.raises(ConfigError, match=r"got `cuda:2` and 2 CUDA device\(s\)"):
        slots_of("cuda:2", 1)


def test_gpus_are_counted_in_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter(["3\n", "no such driver\n"])
    monkeypatch.setattr(worker_slots.subprocess, "run", lambda *_, **__: SimpleNamespace(stdout=next(answers)))
    assert [worker_slots.count_gpus(), worker_slots.count_gpus()] == [3, 0]


def test_a_job_sees_its_device_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert visible("cuda:1", {"CUDA_VISIBLE_DEVICES": "GPU-a, GPU-b"}) == "GPU-b"
    monkeypatch.setenv("RINGLIGHT_WORKSPACE", "/w")
    found = visible_environment("cpu")
    assert (found["CUDA_VISIBLE_DEVICES"], found["RINGLIGHT_WORKSPACE"]) == ("", "/w")


def test_memory_that_a_job_will_yet_take_is_not_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=10 * 2**30))
    assert free_memory_gib([]) == 10.0
    assert free_memory_gib([(4.0, 1.0), (None, 2.0), (1.0, 3.0)]) == 7.0
