"""Every form a request may have gives the same answer; every wrong one gets its status and one line."""

from __future__ import annotations

import base64
import json
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from served_models import npy, npz, picture

PREDICT = "/v1/models/grey/predict"
SIGNAL = "/v1/models/signal/predict"
WINDOW = [[0.1, 1.0], [0.2, 1.0], [0.3, 1.0]]


def encoded(*contents: bytes) -> list[str]:
    return [base64.b64encode(content).decode() for content in contents]


def post(client: TestClient, content: bytes, kind: str = "application/octet-stream", path: str = PREDICT) -> Any:
    return client.post(path, content=content, headers={"content-type": kind})


def test_every_form_of_a_picture_gives_the_same_decision(client: TestClient) -> None:
    white = picture(255)
    answers = [
        post(client, white, "image/png"),
        post(client, white),
        client.post(PREDICT, files={"images": ("a.png", white, "image/png")}),
        client.post(PREDICT, json={"images": encoded(white)}),
        post(client, npy(np.full((8, 8), 255, np.uint8)), "application/x-npy"),
        client.post(PREDICT, json={"images": encoded(npy(np.full((8, 8, 3), 255, np.uint8)))}),
    ]
    assert [answer.status_code for answer in answers] == [200] * len(answers)
    found = [answer.json()["results"][0] for answer in answers]
    assert {(one["verdict"], tuple(one["labels"]), one["to_human"], one["unknown"]) for one in found} == {
        ("defect", ("scratch",), False, None)
    }
    assert len({one["probabilities"]["scratch"] for one in found}) == 1


def test_an_answer_names_the_model_the_version_and_the_request(client: TestClient) -> None:
    answer = client.post(
        PREDICT, content=picture(0), headers={"x-request-id": "line-2.17", "content-type": "image/png"}
    )
    body = answer.json()
    assert {key: body[key] for key in ("model", "version", "checksum", "engine", "operating_point", "request_id")} == {
        "model": "grey", "version": 1, "checksum": "c" * 64, "engine": "torch", "operating_point": "default",
        "request_id": "line-2.17",
    }  # fmt: skip
    assert answer.headers["x-request-id"] == "line-2.17"
    assert body["results"][0]["verdict"] == "ok"
    assert body["results"][0]["score"] == pytest.approx(max(body["results"][0]["probabilities"].values()))
    assert client.post("/v1/models/grey@1/predict", content=picture(0)).status_code == 200


def test_many_images_are_answered_in_order_with_their_names(client: TestClient) -> None:
    forms = [("images", (f"{row}.png", picture(255 * (row % 2)), "image/png")) for row in range(12)]
    results = client.post(PREDICT, files=forms).json()["results"]
    assert [one["id"] for one in results] == [f"{row}.png" for row in range(12)]
    assert [one["verdict"] for one in results] == ["ok", "defect"] * 6
    several = post(client, npy(np.stack([np.zeros((8, 8, 1)), np.ones((8, 8, 1))])), "application/x-npy").json()
    assert [(one["id"], one["verdict"]) for one in several["results"]] == [
        ("image: image 0", "ok"), ("image: image 1", "defect"),
    ]  # fmt: skip
    named = client.post(PREDICT, json={"images": encoded(picture(0)), "ids": ["part 17"]}).json()
    assert named["results"][0]["id"] == "part 17"


def test_an_unsure_picture_is_for_a_human(client: TestClient) -> None:
    (one,) = post(client, picture(128), "image/png").json()["results"]
    assert (one["verdict"], one["to_human"]) == ("human", True)


def test_pictures_of_different_sizes_share_a_request(client: TestClient) -> None:
    """A model without a size of its own cannot stack them: each shape is a batch."""
    sizes = ((8, 8), (6, 10), (8, 8), (5, 5))
    forms = [("images", ("a.png", picture(255, size=size), "image/png")) for size in sizes]
    results = client.post("/v1/models/free/predict", files=forms).json()["results"]
    assert [one["verdict"] for one in results] == ["defect"] * 4


def test_windows_come_as_npy_npz_and_json(client: TestClient) -> None:
    array = np.array([WINDOW, WINDOW], np.float32)
    answers = [
        post(client, npy(array), "application/x-npy", SIGNAL),
        post(client, npy(np.asfortranarray(array, np.float64)), path=SIGNAL),
        post(client, npz(X=array, channels=np.array(["flow", "t"])), "application/x-npz", SIGNAL),
        client.post(SIGNAL, json={"windows": [WINDOW, WINDOW], "channels": ["flow", "t"]}),
        client.post(SIGNAL, files={"windows": ("w.npz", npz(windows=array))}),
    ]
    assert [answer.status_code for answer in answers] == [200] * len(answers)
    assert len({json.dumps([one["probabilities"] for one in answer.json()["results"]]) for answer in answers}) == 1
    one = post(client, npy(array[0]), path=SIGNAL).json()["results"]
    assert [row["id"] for row in one] == ["window 0"]


def huge_png(width: int, height: int) -> bytes:
    """A picture that claims to be large: its header is whole, its pixels are a few bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def eps() -> bytes:
    return b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n"


ARRAYS = "application/x-npy"


@pytest.mark.parametrize(
    ("path", "content", "kind", "status", "told"),
    [
        (PREDICT, b"", "image/png", 400, "request: expected at least one image or window, got an empty body"),
        (PREDICT, b"{", "application/json", 400, "Invalid JSON"),
        (PREDICT, b"[" * 100_000, "application/json", 400, "recursion limit exceeded"),
        (PREDICT, b'{"images": ["@@"]}', "application/json", 400, "body.images.0: expected base64"),
        (PREDICT, b'{"images": []}', "application/json", 400, "an empty list"),
        (PREDICT, b'{"images": ["aaaa"], "x": 1}', "application/json", 422, "body.x: expected"),
        (PREDICT, b"{}", "application/json", 422, "expected `images` or `windows`, got neither"),
        (PREDICT, b'{"images": ["aaaa"], "ids": []}', "application/json", 422, "body.ids: expected 1 ids, got 0"),
        (PREDICT, b'{"windows": [[[1.0, 2.0]]]}', "application/json", 415, "this model takes images"),
        (PREDICT, b"x", "multipart/form-data", 400, "Content-Type: expected a boundary"),
        (PREDICT, b"x", "multipart/form-data; boundary=b", 400, "a whole form"),
        (PREDICT, b"--b--\r\n", "multipart/form-data; boundary=b", 400, "form"),
        (PREDICT, b"x", "text/plain", 415, "Content-Type: expected multipart/form-data"),
        (PREDICT, b"no picture", "image/png", 415, "image: expected an image, got bytes that are not a picture"),
        (PREDICT, eps(), "image/x-eps", 415, "not a picture of a known format"),
        (PREDICT, picture(size=(50, 50), form="BMP")[:200], "image/bmp", 400, "expected a whole image, got a damaged"),
        (PREDICT, huge_png(101, 100), "image/png", 413, "expected at most 10000 pixels in a request, got 10100 so far"),
        (PREDICT, huge_png(60_000, 60_000), "image/png", 413, "expected at most 10000 pixels in a request"),
        (PREDICT, huge_png(100, 100), "image/png", 400, "expected a whole image"),
        (PREDICT, npy(np.zeros((8, 8, 2), np.uint8)), ARRAYS, 422, "expected an array of shape (H, W)"),
        (PREDICT, npy(np.full((8, 8), np.nan)), ARRAYS, 422, "expected floats from 0 to 1, got NaN"),
        (PREDICT, npy(np.zeros((0, 8, 8, 1))), ARRAYS, 400, "at least one image"),
        (PREDICT, npy(np.zeros((65, 8, 8, 1))), ARRAYS, 413, "at most 64 images or windows in a request, got 65"),
        (PREDICT, npy(np.array([None])), ARRAYS, 422, "got Python objects, which could run code"),
        (PREDICT, npy(np.zeros((8, 8)))[:-1], ARRAYS, 400, "expected 512 bytes for shape (8, 8), got 511"),
        (PREDICT, b"\x93NUMPY\x01\x00\x10\x00{'descr': 'x'}  ", ARRAYS, 400, "got a header that NumPy does not write"),
        (PREDICT, b"PK\x03\x04 no zip", ARRAYS, 400, "an .npy or .npz file that is whole"),
        (SIGNAL, npz(X=np.zeros((50_000, 3, 2), np.float32)), ARRAYS, 413, "at most 100000 bytes unpacked"),
        (SIGNAL, npz(a=np.zeros(1), b=np.zeros(1)), ARRAYS, 422, "expected an array `X`, got arrays a, b"),
        (SIGNAL, picture(0), "image/png", 415, "expected windows as .npy, .npz or JSON"),
        (SIGNAL, npy(np.zeros((1, 3, 5))), ARRAYS, 422, "expected 2 channels (flow, t), got 5 (shape (1, 3, 5))"),
        (SIGNAL, npy(np.zeros((1, 4, 2))), ARRAYS, 422, "expected windows of 3 samples, got 4 samples"),
        (SIGNAL, npy(np.zeros((0, 3, 2))), ARRAYS, 400, "expected at least one window, got none"),
        (SIGNAL, npy(np.full((1, 3, 2), np.nan)), ARRAYS, 422, "expected finite values, got NaN"),
        (SIGNAL, npy(np.full((1, 3, 2), 1e300)), ARRAYS, 422, "expected finite values, got an infinite value"),
        (SIGNAL, npy(np.zeros((1, 3, 2), "S3")), ARRAYS, 422, "an array of numbers, got type |S3"),
        (
            SIGNAL, npz(X=np.zeros((1, 3, 2)), channels=np.array(["t", "flow"])), ARRAYS, 422,
            "got another order: `t` at place 1 instead of `flow`",
        ),
        (SIGNAL, b'{"windows": [[[1.0], [1.0, 2.0]]]}', "application/json", 422, "lists of unequal lengths"),
        (SIGNAL, b'{"windows": [[[NaN, 1], [1, 1], [1, 1]]]}', "application/json", 422, "got NaN"),
    ],
    ids=lambda value: "" if isinstance(value, bytes) else None,
)  # fmt: skip
def test_bad_input_gets_its_status_and_one_line(
    client: TestClient, path: str, content: bytes, kind: str, status: int, told: str
) -> None:
    answer = post(client, content, kind, path)
    body = answer.json()
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert told in body["detail"]
    assert "\n" not in body["detail"]
    assert (body["status"], body["request_id"]) == (status, answer.headers["x-request-id"])


def test_a_body_that_is_too_large_is_refused_before_it_is_read(client: TestClient) -> None:
    answer = post(client, bytes(100_001))
    assert answer.status_code == 413
    assert "expected a body of at most 100000 bytes, got 100001" in answer.json()["detail"]
    assert answer.headers["connection"] == "close"
    chunked = client.post(PREDICT, content=(bytes(60_000) for _ in range(2)))
    assert chunked.status_code == 413
    many = [("images", (f"{row}.png", picture(0))) for row in range(65)]
    assert client.post(PREDICT, files=many).status_code == 413


def test_what_is_not_there_is_told(client: TestClient) -> None:
    assert "did you mean `grey`?" in client.post("/v1/models/gray/predict", content=b"x").json()["detail"]
    other = client.post("/v1/models/grey@7/predict", content=b"x")
    assert other.status_code == 404
    assert "expected the version that serves, grey@1, got `7`" in other.json()["detail"]
    wrong = client.get(PREDICT)
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")
    assert client.get("/docs").status_code == 404


def test_models_are_listed_with_what_they_take(client: TestClient) -> None:
    grey, _, signal = client.get("/v1/models").json()["models"]
    assert (grey["name"], grey["version"], grey["classes"]) == ("grey", 1, ["good", "scratch", "dent"])
    assert (grey["good_class"], grey["fault"], signal["input"]["channels"]) == ("good", None, ["flow", "t"])


def test_every_answer_has_safe_headers(client: TestClient) -> None:
    for answer in (client.get("/healthz"), client.get("/nowhere"), post(client, b"")):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    odd = client.get("/healthz", headers={"x-request-id": "a b\t<script>"})
    assert odd.headers["x-request-id"] != "a b\t<script>"


def test_the_description_has_examples_that_are_answered(client: TestClient) -> None:
    described = client.get("/openapi.json").json()
    content = described["paths"]["/v1/models/{name}/predict"]["post"]["requestBody"]["content"]
    examples = content["application/json"]["examples"]
    assert client.post(PREDICT, json=examples["image"]["value"]).status_code == 200
    assert client.post(SIGNAL, json=examples["window"]["value"]).status_code == 200
    assert "multipart/form-data" in content
