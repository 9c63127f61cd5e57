"""What machines ask: does it live, should requests come, and how is it doing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, Response

from ringlight.web.serving.auth import require_client
from ringlight.web.serving.described import refusals
from ringlight.web.serving.metrics import CONTENT_TYPE
from ringlight.web.serving.schemas import Health

if TYPE_CHECKING:
    from ringlight.web.serving.house import House

router = APIRouter(tags=["operation"])
UNWELL: dict[int | str, dict[str, Any]] = {503: {"model": Health, "description": "It does not."}}


@router.get("/healthz", response_model=Health, responses=UNWELL, summary="Whether the process is worth keeping")
async def healthz(request: Request) -> JSONResponse:
    """Tell whether the models have their threads; a process where one has not should be started again."""
    house: House = request.app.state.house
    is_alive = house.is_alive()
    return JSONResponse({"status": "ok" if is_alive else "dead", "detail": {}}, 200 if is_alive else 503)


@router.get("/readyz", response_model=Health, responses=UNWELL, summary="Whether requests should come")
async def readyz(request: Request) -> JSONResponse:
    """Tell whether requests should come; `detail` says by model why an activated version does not serve."""
    house: House = request.app.state.house
    is_ready, detail = house.readiness()
    return JSONResponse({"status": "ready" if is_ready else "draining", "detail": detail}, 200 if is_ready else 503)


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {}}}, **refusals(401, 429)},
    summary="Numbers for Prometheus",
)
def metrics(request: Request, client: Annotated[str, Depends(require_client)]) -> Response:  # noqa: ARG001 - let in
    """Return the numbers of all workers; outside the event loop, for they may lie in files."""
    house: House = request.app.state.house
    house.status()
    return Response(house.metrics.text(), media_type=CONTENT_TYPE)
