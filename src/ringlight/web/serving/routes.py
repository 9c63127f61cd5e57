"""The addresses under `/v1`: which models there are, and what they make of images and windows."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends, Path, Request
from fastapi.responses import JSONResponse

from ringlight.web.serving.answers import answer_of, count
from ringlight.web.serving.auth import require_client
from ringlight.web.serving.bodies import kind_of, parsed, read_body
from ringlight.web.serving.described import refusals, request_body
from ringlight.web.serving.inputs import decode
from ringlight.web.serving.problems import RequestError, request_id_of
from ringlight.web.serving.schemas import Answer, Confirmed, Models, Truth

if TYPE_CHECKING:
    from ringlight.web.serving.house import House
    from ringlight.web.serving.lane import Lane

Client = Annotated[str, Depends(require_client)]
Name = Annotated[str, Path(description="A model that is served: NAME, or NAME@3 to be sure of its version.")]
router = APIRouter(prefix="/v1", tags=["models"])


@router.get("/models", response_model=Models, responses=refusals(401, 429), summary="Which models are served")
async def models(request: Request, client: Client) -> dict[str, Any]:  # noqa: ARG001 - the client is let in
    """List the models with their versions, classes, and what they take."""
    house: House = request.app.state.house
    return {"models": house.shown()}


@router.post(
    "/models/{name}/predict",
    response_model=Answer,
    responses=refusals(400, 401, 404, 408, 413, 415, 422, 429, 500, 503, 504),
    openapi_extra={"requestBody": request_body()},
    summary="Decide on images or windows",
)
async def predict(name: Name, request: Request, client: Client) -> JSONResponse:  # noqa: ARG001 - the client is let in
    """Send one image or several, or windows of a signal; get scores, labels and a verdict for each."""
    house: House = request.app.state.house
    left = house.settings.timeout - (time.monotonic() - request.state.began)
    is_reading = True
    with house.hold(name) as lane:
        request.state.model = lane.served.name
        try:
            async with asyncio.timeout(left):
                content_type = request.headers.get("content-type", "")
                kind_of(content_type)  # what is refused anyway need not be read
                with house.memory.hold() as held:
                    body = await read_body(request, held, house.settings.max_bytes)
                    is_reading = False
                    answer = await _answer(house, lane, request, body, content_type)
        except TimeoutError:
            raise _overdue(is_reading, house.settings.timeout, lane.served.name) from None
    return JSONResponse(answer)


@router.post(
    "/models/{name}/confirm",
    response_model=Confirmed,
    responses=refusals(400, 401, 404, 408, 413, 422, 429, 503),
    openapi_extra={
        "requestBody": {"required": True, "content": {"application/json": {"schema": Truth.model_json_schema()}}}
    },
    summary="Tell what parts really were",
)
async def confirm(name: Name, request: Request, client: Client) -> JSONResponse:  # noqa: ARG001 - the client is let in
    """Tell the watch the truth of parts that were decided on: escapes and overkills are counted from it."""
    house: House = request.app.state.house
    with house.hold(name) as lane, house.memory.hold() as held:
        request.state.model = lane.served.name
        try:
            async with asyncio.timeout(house.settings.timeout):
                body = await read_body(request, held, house.settings.max_bytes)
        except TimeoutError:
            raise _overdue(True, house.settings.timeout, lane.served.name) from None
        truth = parsed(Truth, body, '{"labels": {ID: [CLASS, ...]}}')
        found = await asyncio.get_running_loop().run_in_executor(house.pool, _told, lane, truth)
    return JSONResponse({"confirmed": len(truth.labels) - len(found), "unknown": found})


def _told(lane: Lane, truth: Truth) -> list[str]:
    """Tell the watch of a lane, and return the ids that it does not remember."""
    watch = lane.watch
    return [key for key, labels in truth.labels.items() if watch is None or not watch.confirm(key, labels)]


async def _answer(house: House, lane: Lane, request: Request, body: bytes, content_type: str) -> dict[str, Any]:
    loop = asyncio.get_running_loop()
    with lane.batcher.admit() as place:
        job = functools.partial(decode, body, content_type, lane.spec, lane.limits, place.grow)
        found = await loop.run_in_executor(house.pool, job)
        request.state.items = len(found.ids)
        async with _while_connected(request):
            outcomes = await lane.batcher.submit(place, found.inputs, found.ids, found.originals)
    answer = answer_of(lane.served, outcomes, found.ids, request_id_of(request))
    count(house.metrics, lane.served.name, answer["results"])
    return answer


@contextlib.asynccontextmanager
async def _while_connected(request: Request) -> AsyncIterator[None]:
    """Give the block up when the client leaves, so that no model works for nobody.

    Raises:
        ClientDisconnect: it has left.
    """
    from starlette.requests import ClientDisconnect

    work = asyncio.current_task()
    has_left = False

    async def wait() -> None:
        nonlocal has_left
        while (await request.receive())["type"] != "http.disconnect":
            continue
        has_left = True
        if work is not None:
            work.cancel()

    waiter = asyncio.create_task(wait())
    try:
        yield
    except asyncio.CancelledError:
        if not has_left or work is None:
            raise
        work.uncancel()
        raise ClientDisconnect from None
    finally:
        waiter.cancel()


def _overdue(is_reading: bool, seconds: float, model: str) -> RequestError:
    if is_reading:
        return RequestError(
            408, f"the whole body within {seconds:g} s", got="a part of it", where="request",
            fix="send less, or over a faster line", headers={"Connection": "close"},
        )  # fmt: skip
    return RequestError(504, f"an answer within {seconds:g} s", got="none", where=model, fix="try again, or send less")
