"""Under overload refusing must be cheap: whoever cannot be answered in time is told so before anything else happens.

Routing, keys and body of a request cost more than the refusal itself; clients that come again at once would take the
model's cores away, which makes it slower, which refuses more of them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from starlette.types import ASGIApp, Receive, Scope, Send

from ringlight.web.serving.problems import RequestError, refusal

if TYPE_CHECKING:
    from ringlight.web.serving.house import House

PREDICT = re.compile(r"/v1/models/([^/]+)/predict")


class Shed:
    """Wraps an ASGI app: a prediction that one item alone has no room for is refused here; the rest passes.

    Args:
        app: what answers.
        house: the models.
    """

    def __init__(self, app: ASGIApp, *, house: House) -> None:
        self.app = app
        self._house = house

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        found = PREDICT.fullmatch(scope["path"]) if scope["type"] == "http" and scope["method"] == "POST" else None
        try:
            if found is not None:
                self._require_room(found[1], scope)
        except RequestError as error:
            await refusal(error, scope["state"]["request_id"])(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def _require_room(self, name: str, scope: Scope) -> None:
        """Look whether a model has room; whoever asks for what is not there is told by the route.

        Raises:
            RequestError: 429, it has none.
        """
        lane = self._house.lane_of(name.partition("@")[0])
        if lane is not None:
            scope["state"]["model"] = lane.served.name
            lane.batcher.require_room()
