"""What a client is told that gets no answer: a status and one line, as problem details (RFC 9457)."""

from __future__ import annotations

import http
from collections.abc import Mapping
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from ringlight.errors import RinglightError, UserError

PROBLEM = "application/problem+json"


class RequestError(UserError):
    """A request that gets no answer, with its HTTP status and what else its response says."""

    def __init__(
        self, status: int, expected: str, *, got: str, where: str, fix: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(expected, got=got, where=where, fix=fix)
        self.status = status
        self.headers = dict(headers or {})


def refused(status: int, error: RinglightError) -> RequestError:
    """Return an error of another room with the status it means to a client."""
    return RequestError(status, error.expected, got=error.got, where=error.where, fix=error.fix)


def problem(
    status: int, detail: str, request_id: str, *, headers: Mapping[str, str] | None = None, **more: Any
) -> JSONResponse:
    """Return the response to a request that is refused or has failed."""
    body = {
        "type": "about:blank", "title": http.HTTPStatus(status).phrase, "status": status, "detail": detail,
        "request_id": request_id, **more,
    }  # fmt: skip
    return JSONResponse(body, status, headers=dict(headers or {}), media_type=PROBLEM)


def refusal(error: RequestError, request_id: str) -> JSONResponse:
    """Return the response to a request that a room refused."""
    parts = {"expected": error.expected, "got": error.got, "where": error.where, "fix": error.fix}
    return problem(error.status, str(error), request_id, headers=error.headers, **parts)


def request_id_of(request: Request) -> str:
    """Return what a request is called in the log and in its answer."""
    return str(getattr(request.state, "request_id", ""))


async def on_refusal(request: Request, error: Exception) -> JSONResponse:
    """Answer a request that a room refused."""
    if not isinstance(error, RequestError):
        raise error
    return refusal(error, request_id_of(request))


async def on_http(request: Request, error: Exception) -> JSONResponse:
    """Answer a request for what is not there, or with a method that is not known here."""
    if not isinstance(error, HTTPException):
        raise error
    where = request.url.path
    told = {
        404: f"{where}: expected a path of this server, got none of them; GET /openapi.json lists them",
        405: f"{where}: expected another method, got {request.method}; GET /openapi.json tells which",
    }
    detail = told.get(error.status_code, f"{where}: {error.detail}")
    return problem(error.status_code, detail, request_id_of(request), headers=error.headers)


async def on_invalid(request: Request, error: Exception) -> JSONResponse:
    """Answer a request whose parameters are not as the description says."""
    if not isinstance(error, RequestValidationError):
        raise error
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return problem(422, f"{where}: {first['msg']}; GET /openapi.json says what is expected", request_id_of(request))
