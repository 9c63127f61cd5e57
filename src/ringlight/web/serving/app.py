"""The server as an ASGI app."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from ringlight import __version__
from ringlight.runtime import cpu_count
from ringlight.web.serving import health, routes
from ringlight.web.serving.gate import Gate
from ringlight.web.serving.house import House, Models
from ringlight.web.serving.lane import Watching
from ringlight.web.serving.metrics import Metrics
from ringlight.web.serving.problems import RequestError, on_http, on_invalid, on_refusal
from ringlight.web.serving.settings import Settings
from ringlight.web.serving.shed import Shed

if TYPE_CHECKING:
    from ringlight.services.serving import Served

ABOUT = (
    "Send images or windows of a signal, get scores, labels at the operating point, and a verdict. "
    "Errors are problem details (RFC 9457)."
)


def create_app(
    settings: Settings,
    models: Models | None = None,
    *,
    watch_of: Callable[[Served], Watching | None] | None = None,
) -> FastAPI:
    """Return the app of one process; its models are loaded when it starts.

    Args:
        settings: the options of the server.
        models: where the models come from; the workspace when None.
        watch_of: makes what looks on a model; None for the watch that the model carries.

    Raises:
        UserError: a model or the file of keys cannot be used.
    """
    from ringlight.services.serving import Shelf
    from ringlight.services.serving_watch import onlooker_of

    threads = settings.threads or max(1, cpu_count() // settings.workers)
    if models is None:
        models = Shelf(settings.models, engine=settings.engine, threads=threads, workspace=settings.workspace)
    if watch_of is None:
        watch_of = functools.partial(
            onlooker_of, samples=settings.samples, max_files=settings.max_samples, worker=settings.worker,
            max_bytes=settings.max_sample_bytes, workspace=settings.workspace,
        )  # fmt: skip
    metrics = Metrics()
    house = House(
        settings,
        models,
        metrics,
        watch_of=watch_of,
        decoders=max(2, threads),
    )

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:  # noqa: ARG001 - FastAPI passes it
        await asyncio.to_thread(house.start)
        try:
            yield
        finally:
            await asyncio.to_thread(house.close)

    # The pages that FastAPI makes of the description load scripts from a network: the description itself is enough.
    app = FastAPI(
        title="Ringlight", description=ABOUT, version=__version__, docs_url=None, redoc_url=None, lifespan=lifespan
    )
    app.state.house = house
    app.include_router(routes.router)
    app.include_router(health.router)
    app.add_exception_handler(RequestError, on_refusal)
    app.add_exception_handler(HTTPException, on_http)
    app.add_exception_handler(RequestValidationError, on_invalid)
    app.add_middleware(Shed, house=house)
    app.add_middleware(Gate, metrics=metrics, log_requests=settings.log_requests)
    return app
