"""Decisions that are remembered until somebody says what was true.

Shapes: B records, K classes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ringlight.errors import DataError
from ringlight.inference.watch_reference import CONFIRMED, Measured, outcomes
from ringlight.types import Task

if TYPE_CHECKING:
    from ringlight.inference.decisions import Result

MOST = 20_000
"""Decisions that are remembered; the oldest is forgotten first."""


class Remembered:
    """The last decisions by record id, and how those turned out whose truth became known.

    `counts` holds (faults, records they were possible on) of `error`, `escape` and `overkill`.
    """

    def __init__(self, classes: tuple[str, ...], task: Task, good_class: str | None, *, most: int = MOST) -> None:
        self.classes, self.task, self.good_class, self.most = classes, task, good_class, most
        self.counts: dict[str, tuple[int, int]] = {}
        self._decisions: OrderedDict[str, list[int]] = OrderedDict()  # the classes decided; -1: went to a human

    def add(self, result: Result) -> None:
        """Remember what was decided; a record that comes again counts as it was decided last."""
        rejected = np.zeros(len(result.labels), bool) if result.rejected is None else result.rejected
        for key, row, human in zip(result.prediction.ids, result.decisions, rejected.tolist(), strict=True):
            self._decisions.pop(key, None)
            self._decisions[key] = [*np.flatnonzero(row).tolist(), *([-1] if human else [])]
        while len(self._decisions) > self.most:
            self._decisions.popitem(last=False)

    def confirm(self, record: str, labels: Sequence[str]) -> Measured | None:
        """Return how a decision turned out, each outcome (1,); None where it is not remembered."""
        decided = self._decisions.pop(record, None)
        if decided is None:
            return None
        decision, truth = (np.zeros((1, len(self.classes)), bool) for _ in range(2))
        decision[0, [number for number in decided if number >= 0]] = True
        known = [self.classes.index(label) for label in labels if label in self.classes]
        truth[0, known] = True
        stranger = len(known) < len(labels)
        found = outcomes(
            decision, truth, np.array([stranger]), np.array([-1 in decided]), classes=self.classes, task=self.task,
            good_class=self.good_class,
        )  # fmt: skip
        for name, values in found.items():
            faults, possible = self.counts.get(name.removeprefix(CONFIRMED), (0, 0))
            if not np.isnan(values[0]):
                faults, possible = faults + int(values[0]), possible + 1
            self.counts[name.removeprefix(CONFIRMED)] = faults, possible
        return found

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "decisions": dict(self._decisions), "counts": {name: list(pair) for name, pair in self.counts.items()}
        }  # fmt: skip

    def restore(self, values: Mapping[str, Any]) -> None:
        """Go on from what :meth:`to_dict` returned.

        Raises:
            DataError: decisions for classes there are not.
        """
        decisions = {str(key): list(map(int, row)) for key, row in values["decisions"].items()}
        if any(not -1 <= number < len(self.classes) for row in decisions.values() for number in row):
            fix = "begin a new watch"
            raise DataError(f"classes below {len(self.classes)}", got="others", where="remembered decisions", fix=fix)
        self._decisions = OrderedDict(decisions)
        self.counts = {str(name): (int(pair[0]), int(pair[1])) for name, pair in values["counts"].items()}
