"""The value types every room shares, and the protocols the engine speaks.

Shapes: N records, B batch, C channels, H x W pixels, T time steps, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, Self, TypedDict, runtime_checkable

import numpy as np
import numpy.typing as npt

from ringlight.records import BOX, SCHEMA, Box, Dataset, Record, Signals, Split, Task

Signal = Literal["go", "pause", "cancel"]

__all__ = [
    "BOX", "SCHEMA", "Batch", "Box", "Dataset", "History", "Keeping", "Learner", "Prediction", "Record", "RunControl",
    "Signal", "Signals", "Source", "Split", "Task", "Tracker", "keeps_checkpoint",
]  # fmt: skip


class Batch(TypedDict):
    """What a loader yields.

    `input` is float32, normalised: images (B, C, H, W) or windows (B, C, T); or it is uint8 images (B, H, W, C) where
    the device makes input of them. `target` is int64 (B,) or float32 (B, K), `index` the rows, int64 (B,), `copy` int64
    (B,): 0 where an epoch shows a row for the first time and 1, 2, ... where it comes again, so that it is augmented
    differently.
    """

    input: Any
    target: Any
    index: Any
    copy: Any


@dataclass(frozen=True, slots=True)
class Prediction:
    """Raw scores of records: `logits` (N, K) float32 before any sigmoid or soft-max.

    `targets` is (N,) class indices or an (N, K) binary matrix, None for unlabelled records.
    """

    ids: Sequence[str]
    logits: npt.NDArray[np.float32]
    classes: tuple[str, ...]
    task: Task
    targets: npt.NDArray[Any] | None = None

    @property
    def probabilities(self) -> npt.NDArray[np.float64]:
        """Sigmoid (multi-label) or soft-max (multi-class) of the logits, (N, K), in double precision."""
        logits = self.logits.astype(np.float64)
        if self.task == "multilabel":
            return np.asarray(np.exp(-np.logaddexp(0.0, -logits)))
        shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))


@dataclass(slots=True)
class History:
    """One row of numbers per epoch, in order: `{"epoch": 0, "train/loss": ..., "val/macro_f1": ...}`.

    Of a run in phases each row also has its `phase`, from 0, and the epochs are counted on.
    """

    rows: list[dict[str, float]] = field(default_factory=list)

    def phases(self) -> list[History]:
        """Return the history of each phase; of a run without phases the one it has.

        Examples:
            >>> rows = [{"epoch": 0, "phase": 0}, {"epoch": 1, "phase": 1}, {"epoch": 2, "phase": 1}]
            >>> [len(phase.rows) for phase in History(rows).phases()], len(History([{"epoch": 0}]).phases())
            ([1, 2], 1)
        """
        places = dict.fromkeys(row.get("phase") for row in self.rows)
        return [History([row for row in self.rows if row.get("phase") == place]) for place in places]

    def best(self, metric: str, mode: Literal["min", "max"]) -> dict[str, float] | None:
        """Return the row with the best `metric` (the earliest of equals), None when no row has it."""
        rows = [row for row in self.rows if metric in row and not np.isnan(row[metric])]
        if not rows:
            return None
        return (min if mode == "min" else max)(rows, key=lambda row: row[metric])


@runtime_checkable
class Source(Protocol):
    """A format of labelled data: reads it into a :class:`Dataset`."""

    def load(self) -> Dataset: ...


@runtime_checkable
class Tracker(Protocol):
    """Where a training reports to; several may stand behind one."""

    def log_params(self, params: Mapping[str, Any]) -> None: ...
    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None: ...
    def log_figure(self, name: str, figure: Any, step: int) -> None: ...
    def log_artifact(self, path: Path) -> None: ...
    def set_status(self, status: str) -> None: ...


@runtime_checkable
class RunControl(Protocol):
    """What may stop a training: asked after every step with `progress` (epoch, step, total steps, images/s, ...).

    "pause" stops it within a step; what it goes on from is kept, to the bit. "cancel" stops it for good: its
    checkpoints are removed, unless the control is :class:`Keeping`.
    """

    def heartbeat(self, progress: Mapping[str, float]) -> Signal: ...


@runtime_checkable
class Keeping(Protocol):
    """A control that says whether a run that it cancels keeps its last whole checkpoint; read when it is cancelled."""

    keep_checkpoint: bool


def keeps_checkpoint(control: object) -> bool:
    """Say whether a run that this control cancels keeps its last whole checkpoint; without being asked it does not."""
    return isinstance(control, Keeping) and control.keep_checkpoint


@runtime_checkable
class Learner(Protocol):
    """Anything that can be trained: a Lightning task, a scikit-learn estimator, a detector."""

    def fit(
        self, train: Dataset, val: Dataset | None, *, tracker: Tracker, control: RunControl, resume: Path | None
    ) -> History: ...
    def predict(self, data: Dataset) -> Prediction: ...
    def save(self, folder: Path) -> None: ...
    @classmethod
    def load(cls, folder: Path) -> Self: ...
