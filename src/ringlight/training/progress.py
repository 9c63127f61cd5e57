"""How far a training is and when it will end, from what was measured: no torch here.

An epoch is its steps, its first step (workers start, caches warm up), and what follows the last one: validation, the
checkpoint, pictures. Each is measured apart, as a mean of the latest times, so that neither a slow first step nor a
long validation spoils what is told of the rest. The very first step of a process counts for nothing: kernels are
chosen and models compiled in it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

STEPS, EPOCHS = 50, 10
"""How many of the latest steps, and of the latest epochs, a mean goes by."""
FORWARD = 1 / 3
"""Guessed time of a validation batch as a share of a training step, until a validation was measured."""
HELD = 1.0
"""Seconds after which a control that does not answer has paused the run rather than looked something up."""


@dataclass(slots=True)
class LatestMean:
    """Mean of the latest values: of all, as long as there are at most `horizon`; older ones fade.

    Examples:
        >>> mean = LatestMean(3)
        >>> for value in (1.0, 2.0, 3.0): mean.add(value)
        >>> mean.value
        2.0
    """

    horizon: int
    count: int = 0
    value: float = 0.0

    def add(self, value: float) -> None:
        """Take a value in."""
        self.count += 1
        self.value += (value - self.value) / min(self.count, self.horizon)

    def get(self, otherwise: float | None) -> float | None:
        """Return the mean, `otherwise` before the first value."""
        return self.value if self.count else otherwise


class Progress:
    """Measures a training and foresees its end; times are seconds.

    Args:
        num_epochs: of the whole run, at most: one that stops early ends sooner.
        clock: seconds that only go up.

    Examples:
        >>> now = 0.0
        >>> progress = Progress(2, clock=lambda: now)
        >>> progress.begin(epoch=0, step=0, num_steps=4)
        >>> for step in (1, 2, 3): now += 1.0; progress.step(0, step)
        >>> progress.elapsed, progress.left
        (3.0, 5.0)
    """

    def __init__(self, num_epochs: int, *, clock: Callable[[], float] = time.perf_counter) -> None:
        self.num_epochs = num_epochs
        self._clock = clock
        self._num_steps = 1
        self._num_judged = 0
        self._place = (0, 0)
        self._began = self._mark = clock()
        self._earlier = 0.0
        self._is_first = True
        self._warm_up: float | None = None
        self._steps, self._firsts, self._ends = LatestMean(STEPS), LatestMean(EPOCHS), LatestMean(EPOCHS)

    def begin(self, *, epoch: int, step: int, num_steps: int, num_judged: int = 0) -> None:
        """Start the clock: `step` of the `num_steps` batches of `epoch` are behind, as where a run goes on.

        `num_judged` is the number of batches of a validation.
        """
        self._num_steps, self._num_judged = num_steps, num_judged
        self._place, self._is_first = (epoch, step), True
        self._began = self._mark = self._clock()

    def start_epoch(self, epoch: int) -> None:
        """Say that an epoch begins; what passed since the last step of the one before was its end."""
        now = self._clock()
        if self._place == (epoch - 1, self._num_steps):
            self._ends.add(now - self._mark)
        self._place, self._mark = (epoch, 0), now

    def step(self, epoch: int, step: int) -> None:
        """Say that a step is done; `step` is how many of the epoch are."""
        now = self._clock()
        took = now - self._mark
        if self._is_first:
            self._warm_up, self._is_first = took, False
        else:
            (self._firsts if step == 1 else self._steps).add(took)
        self._place, self._mark = (epoch, step), now

    def leave_out(self, seconds: float) -> None:
        """Do not count a pause."""
        self._began += seconds
        self._mark += seconds

    @property
    def elapsed(self) -> float:
        """How long the run has worked, over all its processes; pauses are not counted."""
        return self._earlier + self._clock() - self._began

    @property
    def step_time(self) -> float | None:
        """How long a step takes; None before the first one."""
        return self._steps.get(self._firsts.get(self._warm_up))

    @property
    def left(self) -> float | None:
        """How long the training will still take; None before anything was measured."""
        each = self.step_time
        if each is None:
            return None
        first = self._firsts.get(each) or 0.0
        epoch, step = self._place
        spent = self._clock() - self._mark
        end = self._ends.get(max(self._num_judged * each * FORWARD, spent if step == self._num_steps else 0.0)) or 0.0
        if step < self._num_steps:
            here = (self._num_steps - step) * each + (0.0 if step else first - each) - min(spent, each) + end
        else:
            here = max(0.0, end - spent)
        return here + max(0, self.num_epochs - epoch - 1) * (first + (self._num_steps - 1) * each + end)

    def told(self) -> dict[str, float]:
        """Return what a heartbeat tells: `elapsed`, and `eta` as soon as it is known."""
        left = self.left
        return {"elapsed": self.elapsed, **({} if left is None else {"eta": left})}

    def state_dict(self) -> dict[str, float]:
        """Return what a run that goes on later knows from the start: how long it worked, how long things took."""
        means = {"step": self.step_time, "first": self._firsts.get(None), "end": self._ends.get(None)}
        return {"elapsed": self.elapsed, **{name: value for name, value in means.items() if value is not None}}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Take it back, each mean as a single value: on another machine what is measured there soon counts for more."""
        self._earlier = state["elapsed"]
        for name, mean in (("step", self._steps), ("first", self._firsts), ("end", self._ends)):
            if name in state:
                mean.count, mean.value = 1, state[name]


def in_a_row(progress: Mapping[str, float], *, earlier: float, later: float) -> dict[str, float]:
    """Return `elapsed` and `eta` of trainings one after the other, from what the present one tells of itself.

    Args:
        progress: what a heartbeat was told.
        earlier: seconds that those before it took.
        later: how many are still to come, each as long as the present one.

    Examples:
        >>> in_a_row({"elapsed": 2.0, "eta": 3.0}, earlier=10.0, later=2)
        {'elapsed': 12.0, 'eta': 13.0}
    """
    if "elapsed" not in progress:
        return {}
    elapsed, told = progress["elapsed"], {"elapsed": earlier + progress["elapsed"]}
    if "eta" in progress:
        told["eta"] = progress["eta"] + later * (elapsed + progress["eta"])
    return told


class Stopwatch:
    """Adds up how long trainings took that follow each other, from what each tells of itself last."""

    def __init__(self) -> None:
        self.earlier = 0.0
        self._latest = 0.0

    def hear(self, progress: Mapping[str, float]) -> None:
        """Note how long the present one has worked."""
        self._latest = progress.get("elapsed", self._latest)

    def next(self) -> None:
        """Begin the next one."""
        self.earlier, self._latest = self.earlier + self._latest, 0.0


def clock(seconds: float) -> str:
    """Return a duration as h:mm:ss.

    Examples:
        >>> clock(3725)
        '1:02:05'
    """
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"
