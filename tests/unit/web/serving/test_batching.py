"""Requests share batches, each gets its own rows; what cannot be answered in time is refused at once."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from ringlight.web.serving.batching import Batcher
from ringlight.web.serving.pace import MOST, Pace
from ringlight.web.serving.problems import RequestError


class Model:
    """Returns its inputs' sums; waits at a gate, so that a test says when the model is busy."""

    def __init__(self) -> None:
        self.batches: list[tuple[int, ...]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.begun = threading.Event()
        self.poison: float | None = None

    def __call__(self, inputs: Any, ids: Sequence[str]) -> list[float]:
        self.batches.append(inputs.shape)
        self.begun.set()
        assert self.gate.wait(10)
        sums = [float(one.sum()) for one in inputs]
        if self.poison in sums:
            raise ValueError("poison")
        return sums


@contextmanager
def batcher_of(model: Callable[..., Any], **options: Any) -> Iterator[Batcher]:
    options = {"max_batch": 4, "max_wait": 0.0, "queue": 16, "budget": 100.0, **options}
    made = Batcher(model, name="m", **options)
    try:
        yield made
    finally:
        made.close()


def inputs_of(*values: float, shape: tuple[int, ...] = (1, 1, 1)) -> list[Any]:
    return [np.full(shape, value, np.float32) for value in values]


async def ask(batcher: Batcher, *values: float, **more: Any) -> list[float]:
    with batcher.admit() as place:
        place.grow(len(values) - 1)
        outcomes = await batcher.submit(place, inputs_of(*values, **more), [str(value) for value in values])
    return [result[row] for result, row in outcomes]


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.005)
    pytest.fail("it never came so")


async def occupy(batcher: Batcher, model: Model) -> asyncio.Task[list[float]]:
    """Keep the model busy with one item until the gate opens."""
    model.gate.clear()
    model.begun.clear()
    task = asyncio.create_task(ask(batcher, 0.0))
    await until(model.begun.is_set)
    return task


def test_what_waits_goes_through_together_and_everybody_gets_their_own() -> None:
    async def scene() -> None:
        with batcher_of(model := Model()) as batcher:
            first = await occupy(batcher, model)
            others = [asyncio.create_task(ask(batcher, *values)) for values in ((1.0, 2.0), (3.0,), (4.0, 5.0, 6.0))]
            await until(lambda: batcher.waiting == 6)
            model.gate.set()
            assert await asyncio.gather(first, *others) == [[0.0], [1.0, 2.0], [3.0], [4.0, 5.0, 6.0]]
            assert [shape[0] for shape in model.batches] == [1, 4, 2]

    asyncio.run(scene())


def test_only_equal_shapes_share_a_batch_and_none_is_left_behind() -> None:
    async def scene() -> None:
        with batcher_of(model := Model()) as batcher:
            first = await occupy(batcher, model)
            shapes = [(1, 2, 2), (1, 1, 1), (1, 2, 2)]
            others = []
            for row, shape in enumerate(shapes):
                others.append(asyncio.create_task(ask(batcher, 1.0, shape=shape)))
                await until(lambda row=row: batcher.waiting == row + 1)  # type: ignore[misc]
            model.gate.set()
            assert await asyncio.gather(first, *others) == [[0.0], [4.0], [1.0], [4.0]]
            assert model.batches[1:] == [(2, 1, 2, 2), (1, 1, 1, 1)]

    asyncio.run(scene())


def test_a_batch_waits_a_moment_for_what_is_being_decoded() -> None:
    async def scene() -> None:
        with batcher_of(model := Model(), max_wait=5.0) as batcher, batcher.admit() as decoding:
            first = asyncio.create_task(ask(batcher, 1.0))
            await until(lambda: batcher.waiting == 2)
            await batcher.submit(decoding, inputs_of(2.0), ["2"])
            assert await first == [1.0]
            assert [shape[0] for shape in model.batches] == [2]

    asyncio.run(scene())


def test_nothing_waits_when_nobody_else_is_coming() -> None:
    async def scene() -> None:
        with batcher_of(Model(), max_wait=60.0) as batcher:
            assert await asyncio.wait_for(ask(batcher, 1.0), 5) == [1.0]

    asyncio.run(scene())


def test_a_full_queue_is_refused_with_a_time_to_come_again() -> None:
    async def scene() -> None:
        pace = Pace()
        pace.observe(4, 8.0)
        with batcher_of(model := Model(), queue=4, pace=pace) as batcher:
            first = await occupy(batcher, model)
            waiting = asyncio.create_task(ask(batcher, 1.0, 2.0, 3.0))
            await until(lambda: batcher.waiting == 3)
            with pytest.raises(RequestError, match="expected room among 4 that wait, got 3 waiting") as caught:
                await ask(batcher, 4.0, 5.0)
            assert (caught.value.status, caught.value.headers) == (429, {"Retry-After": "8"})
            with pytest.raises(RequestError, match="at most 4 images or windows in a request, got 5") as caught:
                await ask(batcher, *range(5))
            assert caught.value.status == 413
            model.gate.set()
            await asyncio.gather(first, waiting)
            assert batcher.waiting == 0

    asyncio.run(scene())


def test_a_wait_beyond_the_budget_is_refused_before_it_begins() -> None:
    async def scene() -> None:
        pace = Pace()
        for size in (1, 4):
            pace.observe(size, 1.0)
        with batcher_of(model := Model(), budget=3.0, pace=pace) as batcher:
            first = await occupy(batcher, model)  # about a second
            second = asyncio.create_task(ask(batcher, 1.0, 2.0, 3.0))  # and another: within the budget
            await until(lambda: batcher.waiting == 3)
            with pytest.raises(
                RequestError, match="m: expected an answer within 2400 ms, got a wait of about "
            ) as caught:
                await ask(batcher, 4.0, 5.0, 6.0)
            assert caught.value.status == 429
            model.gate.set()
            await asyncio.gather(first, second)

    asyncio.run(scene())


def test_late_answers_leave_less_of_the_budget_to_plan_with() -> None:
    """Guesses that were right on the average let a 99th percentile of 1.4 s through a budget of one."""

    async def scene() -> None:
        with batcher_of(model := Model(), budget=0.02) as batcher:
            first = await occupy(batcher, model)
            await asyncio.sleep(0.05)
            model.gate.set()
            await first
            assert batcher.room.share < MOST
        pace = Pace()
        for size in (1, 4):
            pace.observe(size, 1.0)
        with batcher_of(model := Model(), budget=2.5, pace=pace) as batcher:
            batcher.room.share = 0.5
            first = await occupy(batcher, model)
            with pytest.raises(
                RequestError, match=r"m: expected an answer within 1250 ms, got a wait of about (1[3-9]|20)\d\d ms"
            ) as caught:
                await ask(batcher, 1.0, 2.0, 3.0)
            assert caught.value.headers["Retry-After"] == "1"
            model.gate.set()
            await first

    asyncio.run(scene())


def test_a_loop_that_is_late_makes_an_answer_late() -> None:
    """Only the model's end was looked at; refusing thousands kept the loop from handing answers over, unnoticed."""

    async def scene() -> None:
        with batcher_of(model := Model(), budget=0.1) as batcher:
            first = await occupy(batcher, model)
            model.gate.set()
            time.sleep(0.3)  # the loop stands still, not the model
            await first
            assert batcher.room.share < MOST

    asyncio.run(scene())


def test_who_is_alone_is_served_however_slow_the_model_is() -> None:
    """A budget below the time of one image would otherwise refuse everybody for ever."""

    async def scene() -> None:
        pace = Pace()
        pace.observe(1, 50.0)
        with batcher_of(Model(), budget=0.001, pace=pace) as batcher:
            assert await ask(batcher, 1.0) == [1.0]

    asyncio.run(scene())


def test_batches_are_no_larger_than_half_the_budget_allows() -> None:
    async def scene() -> None:
        pace = Pace()
        for size in (1, 4):
            pace.observe(size, 0.1 * size)
        with batcher_of(model := Model(), budget=0.4, pace=pace, max_batch=4) as batcher:
            await ask(batcher, 1.0)
            pace.observe(1, 0.1)
            first = await occupy(batcher, model)
            assert batcher._limit == 2
            model.gate.set()
            await first

    asyncio.run(scene())


def test_who_left_costs_no_work() -> None:
    async def scene() -> None:
        with batcher_of(model := Model()) as batcher:
            first = await occupy(batcher, model)
            gone, stays = (asyncio.create_task(ask(batcher, value)) for value in (1.0, 2.0))
            await until(lambda: batcher.waiting == 2)
            gone.cancel()
            await asyncio.gather(gone, return_exceptions=True)
            model.gate.set()
            assert await asyncio.gather(first, stays) == [[0.0], [2.0]]
            assert [shape[0] for shape in model.batches] == [1, 1]

    asyncio.run(scene())


def test_an_input_that_breaks_the_model_harms_no_other() -> None:
    async def scene() -> None:
        with batcher_of(model := Model()) as batcher:
            first = await occupy(batcher, model)
            model.poison = 7.0
            tasks = []
            for row, value in enumerate((1.0, 7.0, 2.0)):
                tasks.append(asyncio.create_task(ask(batcher, value)))
                await until(lambda row=row: batcher.waiting == row + 1)  # type: ignore[misc]
            model.gate.set()
            found = await asyncio.gather(first, *tasks, return_exceptions=True)
            assert (found[0], found[1], found[3]) == ([0.0], [1.0], [2.0])
            assert str(found[2]) == "poison"
            assert await ask(batcher, 3.0) == [3.0]

    asyncio.run(scene())


def test_closing_answers_what_waits_and_refuses_the_rest() -> None:
    async def scene() -> None:
        model = Model()
        with batcher_of(model) as batcher:
            first = await occupy(batcher, model)
            second = asyncio.create_task(ask(batcher, 1.0))
            await until(lambda: batcher.waiting == 1)
            batcher.close(wait=False)
            with pytest.raises(RequestError, match="got one that is being closed") as caught:
                await ask(batcher, 2.0)
            assert caught.value.status == 503
            model.gate.set()
            assert await asyncio.gather(first, second) == [[0.0], [1.0]]
        assert not batcher.is_alive

    asyncio.run(scene())


def test_a_request_whose_time_is_over_takes_no_place_any_more() -> None:
    """Its decoder goes on in a thread: it counted itself in after everybody else had counted it out."""
    with batcher_of(Model()) as batcher:
        with batcher.admit() as place:
            assert batcher.waiting == 1
        with pytest.raises(RequestError):
            place.grow(3)
        assert batcher.waiting == 0


def test_the_observer_hears_of_batches() -> None:
    heard: list[Any] = []

    async def scene() -> None:
        with batcher_of(Model(), observer=heard.append) as batcher:
            await ask(batcher, 1.0, 2.0)

    asyncio.run(scene())
    (batch,) = heard
    assert (batch.result, batch.inputs.shape, batch.originals) == ([1.0, 2.0], (2, 1, 1, 1), [None, None])
    assert batch.seconds >= 0
