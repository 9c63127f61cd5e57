"""A request's body: read within limits of size and time, and taken apart into pieces."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError
from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from ringlight.web.serving.limits import Held
from ringlight.web.serving.problems import RequestError
from ringlight.web.serving.schemas import PredictRequest

JSON, FORM = "application/json", "multipart/form-data"
BINARY = ("application/octet-stream", "application/x-npy", "application/x-npz", "application/zip")
Parsed = TypeVar("Parsed", bound=BaseModel)
MAX_NAME = 200
"""Characters of what a piece is called."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a body: one picture, or arrays; `content` is empty for windows that came as JSON."""

    name: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Body:
    """A body that was taken apart: pieces, or windows as nested lists with the names of their channels."""

    pieces: list[Piece]
    windows: list[list[list[float]]] | None = None
    channels: list[str] | None = None
    ids: list[str] | None = None


async def read_body(request: Request, held: Held, limit: int) -> bytes:
    """Read a body of at most `limit` bytes; what is held counts against the server's memory.

    Raises:
        RequestError: 413, it is larger; 503, too much is held; 400, its length is no number.
    """
    told = request.headers.get("content-length")
    if told is not None:
        if not (told.isascii() and told.isdigit()):
            raise RequestError(
                400, "a number of bytes", got=repr(told[:40]), where="Content-Length", fix="leave it out"
            )
        if len(told) > 18 or int(told) > limit:
            raise _too_large(told[:18], limit)
        held.grow(int(told))
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise _too_large("more", limit)
        if len(body) > held.bytes:
            held.grow(len(body) - held.bytes)
    return bytes(body)


def _too_large(got: str, limit: int) -> RequestError:
    return RequestError(
        413, f"a body of at most {limit} bytes", got=got, where="request", fix="send less at a time",
        headers={"Connection": "close"},
    )  # fmt: skip


def kind_of(content_type: str) -> str:
    """Return the kind of a body by its `Content-Type`: `json`, `form`, or `binary` (also where none is told).

    Raises:
        RequestError: 415, another.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if kind == JSON:
        return "json"
    if kind == FORM:
        return "form"
    if not kind or kind in BINARY or kind.startswith("image/"):
        return "binary"
    raise RequestError(
        415, f"{FORM}, {JSON}, image/* or {BINARY[0]}", got=kind[:80], where="Content-Type", fix="send one of these"
    )


def take_apart(body: bytes, content_type: str, *, most: int) -> Body:
    """Take a body apart.

    Args:
        body: what was sent.
        content_type: what it says it is.
        most: pieces, at most.

    Raises:
        RequestError: 400, damaged; 413, too many pieces; 415, of another type; 422, other fields than are known.
    """
    kind = kind_of(content_type)
    if kind == "json":
        return _of_json(body, most)
    if kind == "form":
        return Body(_of_form(body, content_type, most))
    if not body:
        raise _nothing("an empty body")
    return Body([Piece("image", body)])


def _nothing(got: str) -> RequestError:
    return RequestError(400, "at least one image or window", got=got, where="request", fix="send one")


def _too_many(most: int) -> RequestError:
    return RequestError(
        413, f"at most {most} images in a request", got="more", where="request", fix="send several requests"
    )


# --- JSON -------------------------------------------------------------------------------------------------------------


def _of_json(body: bytes, most: int) -> Body:
    asked = parsed(PredictRequest, body, '{"images": [BASE64, ...]} or {"windows": [[[...]]]}')
    if (asked.images is None) == (asked.windows is None):
        got = "neither" if asked.images is None else "both"
        raise RequestError(422, "`images` or `windows`", got=got, where="body", fix="send one of them")
    texts = asked.images or []
    count = len(texts or asked.windows or [])
    if not count:
        raise _nothing("an empty list")
    if len(texts) > most:
        raise _too_many(most)
    if asked.ids is not None and len(asked.ids) != count:
        raise RequestError(422, f"{count} ids", got=str(len(asked.ids)), where="body.ids", fix="send one for each")
    pieces = [Piece(f"image {row}", _decoded(text, f"body.images.{row}")) for row, text in enumerate(texts)]
    return Body(pieces, asked.windows, asked.channels, asked.ids)


def parsed(kind: type[Parsed], body: bytes, expected: str) -> Parsed:
    """Read a JSON body.

    Raises:
        RequestError: 400, no JSON; 422, other fields than are known.
    """
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(["body", *(str(part) for part in first["loc"])])
        status = 400 if first["type"] == "json_invalid" else 422
        told = first["msg"].splitlines()[0]
        raise RequestError(
            status, expected, got=told, where=where[:200], fix="see the examples of GET /openapi.json"
        ) from None


def _decoded(text: str, where: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise RequestError(
            400, "base64", got=str(error), where=where, fix="send the file's bytes in base64, without a prefix"
        ) from None


# --- multipart --------------------------------------------------------------------------------------------------------


class _Parts:
    """What the parser calls while it reads a form."""

    def __init__(self, most: int) -> None:
        self.pieces: list[Piece] = []
        self.has_ended = False
        self._most = most
        self._headers: dict[bytes, bytes] = {}
        self._field, self._value, self._data = bytearray(), bytearray(), bytearray()

    def callbacks(self) -> Any:
        return {
            "on_part_begin": self._begin, "on_part_data": self._adding("_data"), "on_part_end": self._end,
            "on_header_field": self._adding("_field"), "on_header_value": self._adding("_value"),
            "on_header_end": self._header, "on_end": self._all,
        }  # fmt: skip

    def _adding(self, name: str) -> Callable[[bytes, int, int], None]:
        def add(data: bytes, start: int, end: int) -> None:
            getattr(self, name).extend(data[start:end])

        return add

    def _begin(self) -> None:
        if len(self.pieces) == self._most:
            raise _too_many(self._most)
        self._headers = {}
        self._data = bytearray()

    def _header(self) -> None:
        self._headers[bytes(self._field).lower()] = bytes(self._value)
        self._field, self._value = bytearray(), bytearray()

    def _end(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        told = options.get(b"filename") or options.get(b"name") or b""
        name = "".join(sign for sign in told.decode("utf-8", "replace") if sign.isprintable())[:MAX_NAME]
        self.pieces.append(Piece(name or f"image {len(self.pieces)}", bytes(self._data)))

    def _all(self) -> None:
        self.has_ended = True


def _of_form(body: bytes, content_type: str, most: int) -> list[Piece]:
    _, options = parse_options_header(content_type)
    boundary = options.get(b"boundary")
    if not boundary or len(boundary) > 256:
        raise RequestError(400, "a boundary", got="none", where="Content-Type", fix="let your client make the form")
    parts = _Parts(most)
    try:
        parser = MultipartParser(boundary, parts.callbacks())
        parser.write(body)
        parser.finalize()
    except (FormParserError, ValueError) as error:
        raise RequestError(400, "a whole form", got=str(error)[:120], where="body", fix="send it again") from None
    if not parts.has_ended:
        raise RequestError(400, "a whole form", got="one that ends too early", where="body", fix="send it again")
    if not parts.pieces:
        raise _nothing("a form without files")
    return parts.pieces
