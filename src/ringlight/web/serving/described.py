"""What the OpenAPI description says of a request's body and of its refusals, with examples."""

from __future__ import annotations

from typing import Any

from ringlight.web.serving.schemas import PredictRequest, Problem

BYTES = {"type": "string", "format": "binary"}
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
"""A gray picture of one pixel, PNG in base64."""


def request_body() -> dict[str, Any]:
    """Return the forms a request may have."""
    form = {
        "type": "object", "required": ["images"],
        "properties": {"images": {"type": "array", "minItems": 1, "items": BYTES}},
    }  # fmt: skip
    return {
        "required": True,
        "content": {
            "application/json": {
                "schema": PredictRequest.model_json_schema(),
                "examples": {
                    "image": {"summary": "One image in base64", "value": {"images": [PIXEL], "ids": ["part 17"]}},
                    "window": {
                        "summary": "One window of three samples and two channels",
                        "value": {"windows": [[[0.1, 20.0], [0.2, 20.1], [0.1, 20.1]]], "channels": ["flow", "t"]},
                    },
                },
            },
            "multipart/form-data": {"schema": form},
            "image/jpeg": {"schema": BYTES},
            "image/png": {"schema": BYTES},
            "application/octet-stream": {"schema": BYTES},
            "application/x-npy": {"schema": BYTES},
        },
    }


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the description of refusals with these statuses."""
    told = {
        400: "Damaged: no JSON, no base64, a picture that is not whole",
        401: "No API key, or a wrong one",
        404: "No such model, or another version of it serves",
        408: "The body came too slowly",
        413: "Too many bytes, pixels, or images in one request",
        415: "Of a kind the model does not take",
        422: "Of another shape, other channels, or not finite",
        429: "Too much waits already: come again after `Retry-After` seconds",
        500: "A fault of the server's own; its log knows more under the request id",
        503: "The server is full, or ending",
        504: "No answer in time",
    }
    content = {"application/problem+json": {"schema": Problem.model_json_schema()}}
    return {status: {"description": told[status], "content": content} for status in statuses}
