"""How far a training is and when it ends: foreseen on simulated clocks, within the bounds that are promised."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from ringlight.training.progress import LatestMean, Progress, Stopwatch, in_a_row


class Clock:
    """Seconds that pass when somebody says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def simulated(
    *, num_epochs: int, num_steps: int, step: Callable[[int], float], validation: float = 0.0, num_judged: int = 0,
    look_at: float = 0.2, start: tuple[int, int] = (0, 0), state: dict[str, float] | None = None,
) -> tuple[float, float, Progress]:  # fmt: skip
    """Go through a training whose step number n takes step(n) seconds; the foreseen and the true rest, at a share."""
    clock = Clock()
    progress = Progress(num_epochs, clock=clock)
    if state is not None:
        progress.load_state_dict(state)
    progress.begin(epoch=start[0], step=start[1], num_steps=num_steps, num_judged=num_judged)
    told: list[tuple[float, float | None]] = []
    number = 0
    for epoch in range(start[0], num_epochs):
        if epoch > start[0] or not start[1]:
            progress.start_epoch(epoch)
        for one in range(start[1] if epoch == start[0] else 0, num_steps):
            clock.now += step(number)
            number += 1
            progress.step(epoch, one + 1)
            told.append((clock.now, progress.left))
        for _ in range(num_judged):
            clock.now += validation / num_judged
            told.append((clock.now, progress.left))
    end = clock.now
    at, left = next((at, left) for at, left in told if at - 100 >= look_at * (end - 100))
    assert left is not None
    return left, end - at, progress


NOISE = np.random.default_rng(0).uniform(0.8, 1.2, 10_000)
PATTERNS = {
    "constant": {"num_epochs": 10, "num_steps": 50, "step": lambda _: 0.5},
    "few-epochs": {"num_epochs": 2, "num_steps": 200, "step": lambda _: 0.5, "validation": 10.0, "num_judged": 40},
    "validation": {"num_epochs": 10, "num_steps": 50, "step": lambda _: 0.7, "validation": 15.0, "num_judged": 10},
    "noise": {"num_epochs": 10, "num_steps": 30, "step": lambda n: float(NOISE[n]), "validation": 3.0, "num_judged": 2},
    "slow-first-step": {"num_epochs": 5, "num_steps": 20, "step": lambda n: 0.5 if n else 6.0},
    "slow-first-of-epoch": {"num_epochs": 10, "num_steps": 20, "step": lambda n: 0.5 if n % 20 else 3.0},
    "one-step-epochs": {"num_epochs": 40, "num_steps": 1, "step": lambda _: 1.0, "validation": 0.5, "num_judged": 1},
    "resumed": {"num_epochs": 10, "num_steps": 50, "step": lambda _: 0.5, "start": (4, 37)},
}


@pytest.mark.parametrize("name", list(PATTERNS))
def test_after_a_fifth_of_a_steady_run_its_end_is_foreseen_within_fifteen_percent(name: str) -> None:
    foreseen, truth, _ = simulated(**PATTERNS[name])
    assert foreseen == pytest.approx(truth, rel=0.15)


def test_a_run_that_slows_down_is_believed_soon() -> None:
    """The mean of all steps would still foresee half of what is left."""
    foreseen, truth, _ = simulated(num_epochs=1, num_steps=1000, step=lambda n: 0.1 if n < 700 else 0.4, look_at=0.7)
    assert foreseen == pytest.approx(truth, rel=0.15)


def test_a_run_that_goes_on_knows_from_the_first_step_how_long_things_take() -> None:
    pattern = {"num_epochs": 10, "num_steps": 50, "step": lambda _: 0.5, "validation": 10.0, "num_judged": 10}
    _, _, before = simulated(**pattern)
    state = before.state_dict()
    assert state["elapsed"] == pytest.approx(350.0)
    foreseen, truth, after = simulated(**pattern, start=(5, 20), state=state, look_at=0.001)
    assert foreseen == pytest.approx(truth, rel=0.02)
    assert after.elapsed == pytest.approx(350.0 + 4 * 35 + 30 * 0.5 + 10)


def test_a_pause_is_not_counted() -> None:
    clock = Clock()
    progress = Progress(1, clock=clock)
    progress.begin(epoch=0, step=0, num_steps=10)
    for step in (1, 2, 3):
        clock.now += 1.0
        progress.step(0, step)
        clock.now += 1000.0
        progress.leave_out(1000.0)
    assert (progress.elapsed, progress.step_time, progress.left) == (3.0, 1.0, 7.0)


def test_nothing_is_foreseen_before_anything_was_measured() -> None:
    progress = Progress(3, clock=Clock())
    progress.begin(epoch=0, step=0, num_steps=10)
    assert progress.left is None
    assert progress.told() == {"elapsed": 0.0}


def test_at_the_end_nothing_is_left() -> None:
    clock = Clock()
    progress = Progress(1, clock=clock)
    progress.begin(epoch=0, step=0, num_steps=1)
    clock.now += 1.0
    progress.step(0, 1)
    assert progress.told() == {"elapsed": 1.0, "eta": 0.0}


def test_a_mean_goes_by_the_latest_values() -> None:
    mean = LatestMean(2)
    assert mean.get(7.0) == 7.0
    for value in (100.0, 1.0, 1.0, 1.0, 1.0):
        mean.add(value)
    assert mean.value == pytest.approx(1 + 49.5 / 8)


def test_trainings_in_a_row_are_foreseen_to_be_alike() -> None:
    watch = Stopwatch()
    for elapsed in (10.0, 40.0):
        watch.hear({"elapsed": elapsed})
    watch.next()
    now = {"elapsed": 10.0, "eta": 30.0}
    watch.hear(now)
    assert in_a_row(now, earlier=watch.earlier, later=3) == {"elapsed": 50.0, "eta": 150.0}
    assert in_a_row({"done": 1.0}, earlier=1.0, later=1) == {}
