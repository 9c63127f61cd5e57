"""What a study is told and what it tells: settings, trials, and how a trial ends. Plain data, no library behind it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from ringlight.training.trackers import EndTraining

Method = Literal["bayesian", "random", "grid"]
Pruner = Literal["none", "median", "successive_halving", "hyperband"]
Direction = Literal["minimize", "maximize"]
State = Literal["complete", "pruned", "failed", "running"]

METHODS: tuple[Method, ...] = ("bayesian", "random", "grid")
LONGEST_REASON = 300
"""Characters of a failure's reason that are kept."""


class PrunedTrial(EndTraining):
    """The pruner stops the trial, for good or until it is chosen to go on; who scores it notes its epochs so far."""

    epochs: int = 0


class FailedTrial(Exception):  # noqa: N818 - it is recorded, the study goes on
    """The trial cannot be judged; its text is the reason, in one line."""

    def __init__(self, reason: str, *, epochs: int = 0) -> None:
        super().__init__(" ".join(reason.split())[:LONGEST_REASON])
        self.epochs = epochs


class Report(Protocol):
    """Told a trial's score after each step of it, an epoch or a fold; `done` steps were told before it waited."""

    done: int

    def __call__(self, step: int, value: float, *, final: bool = False) -> None:
        """Take a score; steps count from 1, and the `final` one has nothing left to stop.

        Raises:
            PrunedTrial: the trial is to be stopped.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """A trial's score, and the epochs that were spent on it; `details` are kept beside them, plain values."""

    value: float
    epochs: int = 0
    details: Mapping[str, Any] = field(default_factory=dict)


Objective = Callable[[Mapping[str, Any], int, Report], Scored]
"""Scores values: called with them, the trial's number, and what is told the score of each step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StudySettings:
    """How a study chooses and stops its trials.

    Args:
        name: of the study in its storage.
        method: how the next trial is chosen.
        direction: whether a lower or a higher score is better.
        n_trials: trials in all, those that failed among them.
        timeout: seconds after which no trial begins.
        pruner: which trials are stopped by their steps.
        min_steps: steps of a trial before it may be stopped.
        max_steps: steps of a whole trial; the brackets of hyperband.
        reduction_factor: successive halving and hyperband let one in so many go on.
        seed: of every choice; that of a trial depends on it and on the trial's number alone.
        storage: an SQLAlchemy address; None keeps the study in memory.
        lock: a file that processes on one storage take turns by.
    """

    name: str
    method: Method
    direction: Direction
    n_trials: int
    timeout: float | None = None
    pruner: Pruner = "none"
    min_steps: int = 1
    max_steps: int = 1
    reduction_factor: int = 4
    seed: int = 0
    storage: str | None = None
    lock: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialRow:
    """One trial: its values by key and what became of it. `steps` are the scores after each step."""

    number: int
    state: State
    values: Mapping[str, Any]
    value: float | None = None
    reason: str = ""
    epochs: int = 0
    seconds: float | None = None
    order: int = 0
    steps: tuple[tuple[int, float], ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON: a score that is not finite is None."""
        found = asdict(self)
        found.pop("order")
        found["value"] = _finite(self.value)
        found["steps"] = [[step, _finite(value)] for step, value in self.steps]
        return found


def best_of(rows: Sequence[TrialRow], direction: Direction) -> TrialRow | None:
    """Return the best finished trial, the first of equals; None when none has finished.

    Examples:
        >>> rows = [TrialRow(number=n, state="complete", values={}, value=value) for n, value in enumerate([1, 3, 3])]
        >>> best_of(rows, "maximize").number
        1
    """
    sign = 1 if direction == "minimize" else -1
    done = [row for row in rows if row.state == "complete" and _finite(row.value) is not None]
    return min(done, key=lambda row: (sign * (row.value or 0.0), row.order, row.number), default=None)


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
