"""A few timed training steps of copies of a model, each copy trained another way, taking turns."""

from __future__ import annotations

import copy
import math
import time
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ringlight.runtime import DeviceChoice
from ringlight.training.chunks import free_memory
from ringlight.training.compiling import autocast, compile_in_place
from ringlight.training.device_faults import is_out_of_memory
from ringlight.types import Task

TIMED_STEPS = 3
"""Timed steps of a variant, after one that warms up."""
HOPELESS = 1.5
"""A variant whose first timed step takes so many times the plain one's is not timed further."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One way to train and the seconds a step took; infinite when it did not fit in memory, or gave no finite loss."""

    precision: str
    memory_format: str
    compile: bool
    seconds: float = math.inf

    def __str__(self) -> str:
        name = f"{self.precision} {self.memory_format}{' compiled' if self.compile else ''}"
        return f"{name} {1000 * self.seconds:.0f} ms" if math.isfinite(self.seconds) else f"{name} failed"


def lay_out(module: nn.Module, memory_format: str, device: str) -> None:
    """Put a module on a device with its convolutions' weights in `memory_format`; inputs follow the first of them."""
    wanted = torch.channels_last if memory_format == "channels_last" else torch.contiguous_format
    module.to(device=torch.device(device)).to(memory_format=wanted)


class Bench:
    """Times training steps of copies of a model on a made-up batch."""

    def __init__(
        self,
        module: nn.Module,
        criterion: nn.Module,
        shape: tuple[int, int, int, int],
        task: Task,
        device: DeviceChoice,
        seed: int,
    ) -> None:
        self.module, self.criterion, self.task, self.shape = module, criterion, task, shape
        self.device = torch.device(device.device)
        self.generator = torch.Generator().manual_seed(seed)
        self.images = torch.randn(shape, generator=self.generator).to(self.device)

    def run(self, variants: list[Trial]) -> tuple[Trial, ...]:
        """Time every variant; they take turns, so that what else the machine does falls on all of them alike."""
        cards = [self.device.index or 0] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=cards), torch.enable_grad():
            times: dict[Trial, list[float]] = {}
            runners = {variant: runner for variant in variants if (runner := self._prepared(variant)) is not None}
            for turn in range(TIMED_STEPS):
                for variant, runner in list(runners.items()):
                    times.setdefault(variant, []).append(runner.step())
                    slow = times[variant][0] > HOPELESS * times[next(iter(runners))][0]
                    if turn == 0 and slow:
                        del runners[variant]
            runners.clear()
        free_memory()
        # The best of a few, as timeit does: whatever else the machine does only ever adds time.
        timed = {variant: min(seconds) for variant, seconds in times.items()}
        return tuple(Trial(one.precision, one.memory_format, one.compile, timed.get(one, math.inf)) for one in variants)

    def _prepared(self, variant: Trial) -> _Runner | None:
        """Return what runs a variant, warmed up; None where it does not fit, compile or give a finite loss."""
        try:
            runner = _Runner(self, variant)
            fine = runner.ready and runner.warm_up()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return None
        return runner if fine else None


class _Runner:
    """A copy of the model and its loss, trained one way."""

    def __init__(self, bench: Bench, variant: Trial) -> None:
        self.bench, self.variant = bench, variant
        self.module = copy.deepcopy(bench.module).train()
        lay_out(self.module, variant.memory_format, str(bench.device))
        self.criterion = copy.deepcopy(bench.criterion).to(bench.device)
        self.optimizer = torch.optim.AdamW(self.module.parameters(), lr=1e-6)
        self.targets: Tensor | None = None
        self.ready = not variant.compile or compile_in_place(self.module, bench.images, precision=variant.precision)

    def warm_up(self) -> bool:
        """Run the step that is not timed; return whether its loss is finite."""
        self.step()
        return math.isfinite(self.loss)

    def step(self) -> float:
        """Train one step and return its seconds."""
        self._wait()
        started = time.perf_counter()
        self.optimizer.zero_grad()
        with autocast(self.bench.device, self.variant.precision):
            scores = self.module(self.bench.images)
            loss = self.criterion(scores, self._truth(scores))
        torch.autograd.backward(loss)
        self.optimizer.step()
        self._wait()
        self.loss = float(loss.detach())
        return time.perf_counter() - started

    def _truth(self, scores: Tensor) -> Tensor:
        """Make up targets once the number of classes is known."""
        if self.targets is None:
            count, classes = scores.shape
            drawn = torch.randint(0, classes, (count,), generator=torch.Generator().manual_seed(0))
            several = nn.functional.one_hot(drawn, classes).float()
            self.targets = (drawn if self.bench.task == "multiclass" else several).to(self.bench.device)
        return self.targets

    def _wait(self) -> None:
        if self.bench.device.type == "cuda":
            torch.cuda.synchronize(self.bench.device)
