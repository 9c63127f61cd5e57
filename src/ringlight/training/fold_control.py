"""How far a cross-validation is: one bar over all its folds, and a control that may stop it between two of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ringlight.errors import InterruptedRunError
from ringlight.training.progress import Stopwatch, in_a_row
from ringlight.types import RunControl, Signal

RESUME = "finished folds are kept: go on with ringlight crossval --resume RUN"


@dataclass(slots=True)
class FoldControl:
    """A control that hears of all folds as one training; `index` is the fold that is trained, from 0."""

    control: RunControl
    num_folds: int
    index: int = 0
    watch: Stopwatch = field(default_factory=Stopwatch)

    def heartbeat(self, progress: Mapping[str, float]) -> Signal:
        """Pass on how far all folds together are."""
        total = max(1.0, progress["total"])
        self.watch.hear(progress)
        return self.control.heartbeat(
            {
                **progress,
                "done": round(self.index * total + progress["done"]),
                "total": round(self.num_folds * total),
                "fold": self.index,
                "num_folds": self.num_folds,
                **in_a_row(progress, earlier=self.watch.earlier, later=self.num_folds - self.index - 1),
            }
        )

    def before(self, index: int) -> None:
        """Ask between two folds.

        Raises:
            InterruptedRunError: the control said "cancel" or "pause".
        """
        self.index = index
        self.watch.next()
        signalled = self.heartbeat(
            {"epoch": 0, "num_epochs": 1, "step": 0, "num_steps": 1, "done": 0, "total": 1, "images_per_second": 0.0}
        )
        if signalled != "go":
            raise InterruptedRunError(
                "a cross-validation to its end", got=f"`{signalled}` before fold {index + 1} of {self.num_folds}",
                where="cross-validation", fix=RESUME, signal=signalled,
            )  # fmt: skip
