"""What a request asks of a model, on its way there and back.

Shapes: inputs are float32 (C, H, W) or (C, T) each.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Input = npt.NDArray[np.float32]
Outcome = tuple[Any, int]
"""What a batch gave, and which row of it."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What went through a model together: inputs (B, ...), what they came of, the result, and how long it took."""

    result: Any
    inputs: Input
    originals: Sequence[Any]
    seconds: float


@dataclass(eq=False, slots=True)
class Order:
    """The inputs of one request on their way through the model: admitted when it `began`, queued `at`."""

    inputs: Sequence[Input]
    ids: Sequence[str]
    originals: Sequence[Any]
    future: asyncio.Future[list[Outcome]]
    outcomes: list[Outcome | None]
    left: int
    at: float
    began: float
    error: BaseException | None = None

    def settle(self) -> None:
        """Hand the outcomes over, in the loop of the request."""
        if self.future.done():
            return  # its client has gone, or its time is over
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result([outcome for outcome in self.outcomes if outcome is not None])


def hand_over(orders: Sequence[Order]) -> None:
    """Wake the requests that have all they asked for: once a loop, not once a request; from any thread."""
    for loop in {order.future.get_loop() for order in orders}:
        mine = [order for order in orders if order.future.get_loop() is loop]
        with contextlib.suppress(RuntimeError):  # the loop was closed: nobody waits any more
            loop.call_soon_threadsafe(_settle, mine)


def _settle(orders: Sequence[Order]) -> None:
    for order in orders:
        order.settle()
