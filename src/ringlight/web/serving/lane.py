"""A loaded model with its thread: warmed up, so that the first request is as quick as the next."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from ringlight.runtime import LOGGER
from ringlight.web.serving.batching import Batcher
from ringlight.web.serving.inputs import Limits
from ringlight.web.serving.orders import Batch
from ringlight.web.serving.pace import Pace
from ringlight.web.serving.settings import Settings

if TYPE_CHECKING:
    from ringlight.inference.decisions import Result
    from ringlight.services.serving import Served

Inputs = npt.NDArray[np.float32]

ANY_SIZE = (224, 224)
"""What a model without a size of its own is warmed up with, (height, width)."""

BATCHES_THAT_WAIT = 8
"""Full batches that wait for a model, at most, where nothing else is asked for."""


class Watching(Protocol):
    """What looks on, as :class:`ringlight.services.serving_watch.Onlooker` does."""

    def observe(self, result: Result, inputs: Inputs, originals: Sequence[Any]) -> None:
        """Hear of a batch."""

    def confirm(self, record: str, labels: Sequence[str]) -> bool:
        """Hear what a record really was."""

    def numbers(self) -> dict[str, float]:
        """Return what is known so far, by name."""

    def close(self) -> None:
        """Keep what is known."""


class Lane:
    """A model on its own thread.

    Args:
        served: the model.
        settings: the options of the server.
        watch: looks on, where there is one.
        observer: hears of every batch in the model's thread, and of this lane.
    """

    def __init__(
        self,
        served: Served,
        settings: Settings,
        *,
        watch: Watching | None,
        observer: Callable[[Lane, Batch], None],
    ) -> None:
        from ringlight.data.window_spec import WindowSpec
        from ringlight.inference.predictor import IMAGES_AT_ONCE, WINDOWS_AT_ONCE

        self.served = served
        self.watch = watch
        self.holders = 0
        self.is_retired = False
        self.spec = served.predictor.bundle.input_spec
        most = settings.max_batch or (WINDOWS_AT_ONCE if isinstance(self.spec, WindowSpec) else IMAGES_AT_ONCE)
        capacity = settings.queue or BATCHES_THAT_WAIT * most
        self.limits = Limits(settings.max_bytes, settings.max_pixels, capacity)
        pace = Pace()
        self._warm_up(pace, min(most, capacity))
        budget = settings.p99_budget_ms / 1000
        if pace.mean(1) > budget:
            told = f"{served.name}: one image takes {1000 * pace.mean(1):.0f} ms alone, longer than the budget of"
            LOGGER.warning("%s %.0f ms: only who is alone is answered", told, settings.p99_budget_ms)
        self.batcher = Batcher(
            self._score, name=served.name, max_batch=most, max_wait=settings.max_wait_ms / 1000, queue=capacity,
            budget=budget, pace=pace,
            observer=lambda batch: observer(self, batch),
        )  # fmt: skip

    def leave(self) -> None:
        """Answer what waits, in the model's own thread, and keep what the watch knows."""
        self.batcher.close(wait=False)
        if self.watch is not None:
            self.watch.close()

    def _score(self, inputs: Inputs, ids: Sequence[str]) -> Result:
        return self.served.predictor.predict_prepared(inputs, ids)

    def _warm_up(self, pace: Pace, most: int) -> None:
        """Run batches of one and of the largest size: once to allocate, then to learn the best time of three."""
        shape = self._shape()
        for size in sorted({1, most}):
            inputs = np.zeros((size, *shape), np.float32)
            ids = ["warm-up"] * size
            self._score(inputs, ids)
            seconds = []
            for _ in range(3):
                began = time.monotonic()
                self._score(inputs, ids)
                seconds.append(time.monotonic() - began)
            pace.observe(size, min(seconds))

    def _shape(self) -> tuple[int, ...]:
        from ringlight.data.window_spec import WindowSpec

        if isinstance(self.spec, WindowSpec):
            return self.spec.in_chans, self.spec.length
        return self.spec.in_chans, *(self.spec.size or ANY_SIZE)
