"""Thousands of malformed bodies: each is read, or refused with a status of the client's and one line."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringlight.web.serving.bodies import Body, Piece, take_apart
from ringlight.web.serving.inputs import Limits, decode
from ringlight.web.serving.problems import RequestError
from served_models import IMAGES, WINDOWS, npy, npz, picture

pytestmark = pytest.mark.filterwarnings("ignore:::PIL")  # it warns of damage, then raises, or reads what is left

LIMITS = Limits(max_bytes=50_000, max_pixels=10_000, max_items=4)
BOUNDARY = "b"
FORM = f"multipart/form-data; boundary={BOUNDARY}"
WINDOW = np.zeros((2, 3, 2), np.float32)


def form(*contents: bytes) -> bytes:
    parts = [
        f'--{BOUNDARY}\r\ncontent-disposition: form-data; name="images"; filename="{row}.png"\r\n\r\n'.encode()
        + content
        for row, content in enumerate(contents)
    ]
    return b"\r\n".join([*parts, f"--{BOUNDARY}--\r\n".encode()])


def as_json(**values: Any) -> bytes:
    return json.dumps(values).encode()


SEEDS = [
    (picture(), "image/png"), (picture(form="JPEG"), "image/jpeg"), (picture(form="TIFF"), "image/tiff"),
    (picture(form="BMP"), ""), (npy(np.zeros((8, 8), np.uint8)), "application/x-npy"), (npy(WINDOW), ""),
    (npz(X=WINDOW, channels=np.array(["flow", "t"])), ""), (form(picture(), picture()), FORM),
    (as_json(images=[base64.b64encode(picture()).decode()], ids=["a"]), "application/json"),
    (as_json(windows=WINDOW.tolist()), "application/json; charset=utf-8"),
]  # fmt: skip


def check(body: bytes, kind: str) -> None:
    """Read a body for both kinds of model; any other exception than a refusal is a fault of the decoder."""
    for spec in (IMAGES, WINDOWS):
        grown: list[int] = []
        refusal = found = None
        try:
            found = decode(body, kind, spec, LIMITS, grown.append)
        except RequestError as error:
            refusal = error
        if found is not None:
            assert len(found.ids) == len(found.inputs) == len(found.originals) == grown[0] + 1
            assert all(one.dtype == np.float32 for one in found.inputs)
        else:
            assert refusal is not None
            assert 400 <= refusal.status < 500
            assert "\n" not in str(refusal)
            assert len(str(refusal)) < 1000


@settings(max_examples=500, deadline=None)
@given(st.sampled_from(SEEDS), st.data())
def test_damaged_bodies(seed: tuple[bytes, str], data: st.DataObject) -> None:
    body, kind = seed
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(body)))
        body = body[:at] + data.draw(st.binary(max_size=6)) + body[at + data.draw(st.integers(0, 6)) :]
    check(body, kind)


@settings(max_examples=300, deadline=None)
@given(
    st.binary(max_size=200), st.sampled_from(["", "application/json", FORM, "image/png", "text/x", "application/zip"])
)
def test_random_bodies(body: bytes, kind: str) -> None:
    check(body, kind)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.sampled_from(["images", "windows", "channels", "ids", "x"]), JSON, max_size=3))
def test_other_json(values: dict[str, Any]) -> None:
    check(json.dumps(values).encode(), "application/json")


@settings(max_examples=100, deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=40).filter(lambda one: b"--b" not in one), min_size=1, max_size=4))
def test_what_goes_into_a_form_comes_out(contents: list[bytes]) -> None:
    expected = [Piece(f"{row}.png", content) for row, content in enumerate(contents)]
    assert take_apart(form(*contents), FORM, most=4) == Body(expected)


def test_names_of_files_lose_what_no_line_holds() -> None:
    body = form(b"x").replace(b"0.png", b"a\x07\xe2\x80\xa8b.png")
    assert take_apart(body, FORM, most=4).pieces[0].name == "ab.png"
    with pytest.raises(RequestError, match="one that ends too early"):
        take_apart(form(b"x")[:-8], FORM, most=4)
    with pytest.raises(RequestError, match="a form without files"):
        take_apart(b"--b--\r\n", FORM, most=4)
