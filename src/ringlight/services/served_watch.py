"""The watch of a model that is served: hears of every batch, and tells its numbers to a metrics page."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ringlight.inference.watch_reference import TAKE
from ringlight.inference.watching import Watch
from ringlight.runtime import LOGGER

if TYPE_CHECKING:
    from ringlight.inference.bundle import Bundle
    from ringlight.inference.decisions import Result

SECONDS = 1.0
"""How old the numbers may be: they are asked for after every batch, and cost as much as some records."""


class ServedWatch:
    """A :class:`Watch` as a server calls it."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        self._numbers: dict[str, float] = {}
        self._told_at = -SECONDS

    def observe(
        self,
        result: Result,
        inputs: npt.NDArray[np.float32],
        features: npt.NDArray[np.float32] | None = None,  # noqa: ARG002 - what is measured of them is in the result
    ) -> None:
        """Hear of B records: what was decided, and what the model was given, (B, C, H, W) or (B, C, T)."""
        self.watch.observe(result, inputs)

    def status(self) -> dict[str, float]:
        """Return the numbers of :meth:`WatchStatus.numbers`, at most :data:`SECONDS` old."""
        now = time.monotonic()
        if now - self._told_at >= SECONDS:
            self._numbers, self._told_at = self.watch.status().numbers(), now
        return self._numbers

    def close(self) -> None:
        """Keep the state; called when the model leaves, or the server ends."""
        self.watch.save()


def served_watch(bundle: Bundle, model: str, *, folder: Path | None = None) -> ServedWatch | None:
    """Return the watch of a model; None, and a line that says what to do, where it has no reference.

    Args:
        bundle: of the model.
        model: what it is called.
        folder: where its state is kept, one for each process; None keeps none.

    Raises:
        DataError: the reference is damaged.
    """
    if not bundle.watch:
        LOGGER.warning("%s is not watched: it has no reference; %s", model, TAKE)
        return None
    return ServedWatch(Watch.of_bundle(bundle, model=model, folder=folder))
