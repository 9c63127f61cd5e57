"""The outermost layer: every request has an id, a line in the log, its place in the metrics, and safe headers."""

from __future__ import annotations

import re
import secrets
import time
from typing import TYPE_CHECKING

from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ringlight.runtime import LOGGER
from ringlight.web.serving.logs import FIELDS
from ringlight.web.serving.problems import problem

if TYPE_CHECKING:
    from ringlight.web.serving.metrics import Metrics

REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
CLIENT_GONE = 499
"""The status in log and metrics of a request whose client left before it was answered (nginx's number for it)."""

SAFE_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
QUIET = ("/healthz", "/readyz", "/metrics")
"""Asked every few seconds by machines: not worth a line in the log."""


class Gate:
    """Wraps an ASGI app.

    Args:
        app: what answers.
        metrics: what Prometheus is told.
        log_requests: whether every request has a line in the log.
    """

    def __init__(self, app: ASGIApp, *, metrics: Metrics, log_requests: bool) -> None:
        self.app = app
        self._metrics = metrics
        self._log_requests = log_requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; whatever goes wrong inside, the client gets a status and the server goes on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = time.monotonic()
        request_id = _id_of(scope)
        state = scope.setdefault("state", {})
        state.update(request_id=request_id, began=began, model="", client="", items=0)
        status = 0

        async def answered(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in SAFE_HEADERS.items():
                    headers.setdefault(name, value)
                headers["X-Request-ID"] = request_id
            await send(message)

        try:
            await self.app(scope, receive, answered)
        except ClientDisconnect:
            status = CLIENT_GONE
        # The last line of defence: what nobody foresaw is a 500 to one client and a traceback in the log, never the end
        # of the server, and never a traceback in an answer.
        except Exception as error:  # noqa: BLE001
            LOGGER.exception("request %s failed: %s", request_id, type(error).__name__)
            if status == 0:
                told = "server: expected an answer, got a fault of its own; its log knows more under this request id"
                await problem(500, told, request_id)(scope, receive, answered)
            status = 500
        finally:
            self._note(scope, status, time.monotonic() - began)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        state = scope["state"]
        self._metrics.requests.labels(state["model"], str(status or CLIENT_GONE)).inc()
        if state["model"]:
            self._metrics.seconds.labels(state["model"]).observe(seconds)
        if self._log_requests and scope["path"] not in QUIET:
            fields = {
                "request_id": state["request_id"], "method": scope["method"], "path": scope["path"][:200],
                "status": status or CLIENT_GONE, "ms": round(1000 * seconds, 2), "client": state["client"],
                "model": state["model"], "items": state["items"],
            }  # fmt: skip
            LOGGER.info("request", extra={FIELDS: fields})


def _id_of(scope: Scope) -> str:
    """Return the id a client gave its request, where it can stand in a header and a log; else a new one."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and REQUEST_ID.fullmatch(value):
            return str(value.decode("ascii"))
    return secrets.token_hex(8)
