"""What a step needs is counted without computing, and comes near what a process really takes."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ringlight.runtime import DeviceChoice
from ringlight.training import memory
from ringlight.training.memory import (
    MARGIN,
    StepMemory,
    choose_batch_size,
    free_bytes,
    images_at_once,
    step_memory,
)

CPU = DeviceChoice("cpu", "test")
GIB = 2**30


def network() -> nn.Module:
    """Two layers whose activations can be counted by hand: 16 x 16 pixels, 8 and 16 channels."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.Sigmoid(), nn.Conv2d(8, 16, 3, padding=1), nn.Flatten(), nn.Linear(4096, 2)
    )


def test_a_small_network_is_counted_as_by_hand() -> None:
    module = network()
    weights = 4 * sum(part.numel() for part in module.parameters())
    # kept: the image, the sigmoid's output (which is the second convolution's input), the linear layer's input, scores
    kept = 4 * 16 * 16 * (3 + 8 + 16) + 4 * 2
    working = 2 * 4 * 16 * 16 * 16 + 4 * 3 * 16 * 16
    need = step_memory(module, (16, 16), optimizer_states=2)
    assert need.fixed == pytest.approx(4 * weights, rel=0.01)
    assert need.per_image == pytest.approx(kept + working, rel=0.01)
    assert need.step(10) == need.fixed + 10 * need.per_image


def test_frozen_weights_need_neither_gradients_nor_states_and_keep_fewer_activations() -> None:
    module = network()
    whole = step_memory(module, (16, 16))
    for part in list(module.parameters())[:-2]:
        part.requires_grad = False
    frozen = step_memory(module, (16, 16))
    assert frozen.fixed < whole.fixed
    assert frozen.per_image < whole.per_image


def test_half_the_precision_keeps_about_half_the_bytes() -> None:
    single, half = (step_memory(network(), (16, 16), precision=precision) for precision in ("32", "bf16"))
    assert 0.4 < half.per_image / single.per_image < 0.75
    assert step_memory(network(), (16, 16), precision="16") == half


def test_counting_touches_neither_the_module_nor_the_random_state() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Flatten(), nn.Linear(4 * 36, 2))
    module.eval()
    before, random = {name: part.clone() for name, part in module.state_dict().items()}, torch.get_rng_state()
    assert step_memory(module, (8, 8)).per_image > 0
    assert all(torch.equal(part, before[name]) for name, part in module.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert not module.training


def test_the_largest_batch_is_a_power_of_two_within_the_margin() -> None:
    need = StepMemory(fixed=GIB, per_image=GIB // 16)
    assert need.largest(8 * GIB) == 64
    assert need.step(64) <= MARGIN * 8 * GIB < need.step(128)
    assert need.largest(1.4 * GIB) == 0
    assert need.largest((1 + 1 / 16) * GIB / MARGIN + 8) == 1


@pytest.mark.parametrize(
    ("records", "free", "chosen", "why"),
    [
        (10_000, 100 * GIB, 64, "the largest that is chosen by itself"),
        (200, 100 * GIB, 16, "200 training records"),
        (7, 100 * GIB, 2, "7 training records"),
        (10_000, 600_000, 4, "what fits in memory"),
        (10_000, 1000, 1, "what fits in memory"),
    ],
)
def test_memory_records_and_learning_bound_the_batch(records: int, free: int, chosen: int, why: str) -> None:
    choice = choose_batch_size(network(), (16, 16), num_records=records, device=CPU, free=free)
    assert choice.batch_size == chosen
    assert choice.note.startswith(f"batch size: {chosen} ({why}; a step takes about ")


def test_free_memory_is_asked_of_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    assert free_bytes(CPU) > 0
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (123, 456))
    assert free_bytes(DeviceChoice("cuda:0", "test")) == 123


def test_a_step_that_would_not_fit_is_divided_before_the_system_ends_the_process(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Linux hands out memory that is not there and kills who uses it: no error ever comes to be caught."""
    need = step_memory(network(), (16, 16))
    assert images_at_once(network(), (16, 16), batch_size=32, free=need.step(32)) is None
    assert images_at_once(network(), (16, 16), batch_size=32) is None
    with caplog.at_level(logging.WARNING, logger="ringlight"):
        assert images_at_once(network(), (16, 16), batch_size=32, free=need.step(32) - 1) == 16
        assert images_at_once(network(), (16, 16), batch_size=32, free=1) == 1
    assert "steps are divided into 16 images at a time, the batch stays" in caplog.text
    assert len(caplog.records) == 2


def test_a_batch_that_does_not_fit_after_all_is_halved_until_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """The count knows nothing of a library's workspaces: on a GPU one step is tried."""

    class Tight(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last = nn.Linear(768, 2)
            self.calls: list[int] = []

        def forward(self, images: Tensor) -> Tensor:
            if type(images) is Tensor:  # not the fake tensors of the count
                self.calls.append(len(images))
                if len(images) > 10:
                    raise torch.OutOfMemoryError("CUDA out of memory.")
            return self.last(images.flatten(1))  # type: ignore[no-any-return]

    class Stand(DeviceChoice):
        """A card that is the CPU in truth."""

        @property
        def kind(self) -> Any:
            return "cuda"

    module = Tight()
    choice = choose_batch_size(module, (16, 16), num_records=10_000, device=Stand("cpu", "test"), free=100 * GIB)
    assert module.calls == [64, 32, 16, 8]
    assert choice.batch_size == 8
    assert "what fits in memory" in choice.note
    assert module.last.weight.grad is None


MEASURED = """
import gc
from pathlib import Path
import torch
from torch import nn
from ringlight.training.memory import step_memory

torch.manual_seed(0)
torch.set_num_threads(1)
stages = ((nn.Conv2d(width, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU()) for width in (3, 32, 32, 32))
layers = [layer for stage in stages for layer in stage]
module = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 2))

def peak(batch_size):
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak starts anew
    module(torch.zeros(batch_size, 3, 128, 128)).square().mean().backward()
    line = next(row for row in Path("/proc/self/status").read_text().splitlines() if row.startswith("VmHWM"))
    return 1024 * int(line.split()[1])

peak(4)
small, large = peak(4), peak(20)
print(step_memory(module, (128, 128)).per_image, (large - small) / 16)
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux tells a process its peak")
def test_the_count_is_near_what_a_process_really_takes() -> None:
    """The peak of the resident memory grows with the batch as counted, within a factor of 1.6 either way.

    In a process of its own: one that has run thousands of tests has memory at hand that a larger batch takes first.
    """
    done = subprocess.run([sys.executable, "-c", MEASURED], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    counted, taken = map(float, done.stdout.split())
    assert 1 / 1.6 < counted / taken < 1.6


def test_the_bounds_are_those_of_the_documentation() -> None:
    assert (memory.MAX_BATCH, memory.MIN_STEPS, memory.MARGIN) == (64, 10, 0.7)
