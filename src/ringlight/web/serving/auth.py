"""Who asks: a key in `Authorization: Bearer` or `X-API-Key`, compared in constant time; then how often."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import APIKeyHeader, HTTPBearer
from fastapi.security.http import HTTPAuthorizationCredentials

from ringlight.errors import UserError
from ringlight.runtime import LOGGER
from ringlight.services.api_keys import KeyRing, read_keys
from ringlight.web.serving.limits import RateLimit
from ringlight.web.serving.problems import RequestError

BEARER = HTTPBearer(auto_error=False, description="An API key, as `ringlight keys add NAME` printed it.")
HEADER = APIKeyHeader(name="X-API-Key", auto_error=False, description="The same key, for clients without bearers.")


class Doorkeeper:
    """Lets clients with a key in, as often as they may; without a file of keys, everybody.

    Args:
        keys: the file of keys.
        rate: requests a second for each client; None for no limit.

    Raises:
        UserError: the file cannot be read, or holds no key.
    """

    def __init__(self, keys: Path | None, rate: float | None) -> None:
        self._file = keys
        self._ring = KeyRing([] if keys is None else read_keys(keys))
        self._stamp = _stamp(keys)
        self._limit = None if rate is None else RateLimit(rate)

    @property
    def asks(self) -> bool:
        """Whether a key is needed."""
        return self._file is not None

    def look_again(self) -> None:
        """Read the file of keys anew where it has changed; one that cannot be read changes nothing, and is logged."""
        stamp = _stamp(self._file)
        if self._file is None or stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._ring = KeyRing(read_keys(self._file))
        except UserError as error:
            LOGGER.warning("the former API keys stay: %s", error)
        else:
            LOGGER.info("%d API key(s) read anew", len(self._ring))

    def admit(self, key: str | None, host: str) -> str:
        """Return what a client is called: its key's name, else its address.

        Raises:
            RequestError: 401, no key or a wrong one; 429, too many requests.
        """
        owner = self._ring.owner(key) if key is not None and self.asks else None
        client = host if owner is None else owner
        if self._limit is not None:
            self._limit.require(client)  # also of those who guess keys
        if self.asks and owner is None:
            raise RequestError(
                401, "an API key", got="none" if key is None else "a wrong one", where="Authorization",
                fix="send `Authorization: Bearer KEY`; ringlight keys add NAME makes one",
                headers={"WWW-Authenticate": "Bearer"},
            )  # fmt: skip
        return client


def _stamp(file: Path | None) -> tuple[int, int, int] | None:
    try:
        state = None if file is None else file.stat()
    except OSError:
        return None
    return None if state is None else (state.st_mtime_ns, state.st_size, state.st_ino)


async def require_client(
    request: Request,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(BEARER)],
    header: Annotated[str | None, Depends(HEADER)],
) -> str:
    """Let a client in, before its body is read; the log knows it by the name that is returned."""
    doorkeeper: Doorkeeper = request.app.state.house.doorkeeper
    host = request.client.host if request.client is not None else "unknown"
    client = doorkeeper.admit(header if bearer is None else bearer.credentials, host)
    request.state.client = client
    return client
