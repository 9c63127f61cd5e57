"""What a running app does besides answering: other versions, faults, time limits, clients that leave, the end."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from ringlight.errors import BundleError, WorkspaceError
from ringlight.web.serving.house import House
from ringlight.web.serving.logs import FIELDS, JsonFormatter
from served_models import IMAGES, FakeModels, Grey, picture, predictor_of

PREDICT = "/v1/models/grey/predict"


class Slow(Grey):
    """Waits at a gate, once it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.gate.set()
        self.begun = threading.Event()

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        self.begun.set()
        assert self.gate.wait(10)
        return super().forward(inputs)


def slow_models() -> tuple[FakeModels, Slow]:
    predictor = predictor_of()
    slow = Slow()
    predictor.engine.module = slow
    return FakeModels(grey=predictor), slow


def house_of(client: Any) -> House:
    return client.app.state.house


def wait_until(condition: Callable[[], bool]) -> None:
    limit = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.005)


def number(client: Any, name: str) -> float:
    found = re.search(rf"^ringlight_{re.escape(name)} (\S+)$", client.get("/metrics").text, re.MULTILINE)
    return float(found[1]) if found else 0.0


# --- overload ---------------------------------------------------------------------------------------------------------


def test_without_room_a_request_is_refused_before_it_is_read(make_client) -> None:
    """A refusal was routed and read first: those who came again at once took the model's cores, and slowed it down."""
    client = make_client(FakeModels(grey=predictor_of()))
    batcher = house_of(client)._lanes["grey"].batcher
    batcher._busy_until = time.monotonic() + 60.0
    for name in ("grey", "grey@1"):
        answer = client.post(
            f"/v1/models/{name}/predict", content=b"no picture", headers={"content-type": "text/plain"}
        )
        assert (answer.status_code, answer.headers["content-type"]) == (429, "application/problem+json")
        assert int(answer.headers["Retry-After"]) >= 1
        told = answer.json()
        assert re.match(
            r"grey: expected an answer within \d+ ms, got a wait of about \d+ ms; wait and try", told["detail"]
        )
        assert told["request_id"] == answer.headers["X-Request-ID"]
    assert number(client, 'requests_total{model="grey",status="429"}') == 2
    assert client.post("/v1/models/gray/predict", content=picture()).status_code == 404
    assert client.get(PREDICT).status_code == 405
    batcher._busy_until = None
    assert client.post(PREDICT, content=picture()).status_code == 200


# --- other versions ---------------------------------------------------------------------------------------------------


def test_another_active_version_serves_without_a_gap(make_client) -> None:
    models = FakeModels(grey=predictor_of())
    client = make_client(models)
    house = house_of(client)
    former = house._lanes["grey"]
    with house.hold("grey") as lane:  # a request that is being decoded
        models.active["grey"] = 2
        house.poll()
        assert client.post(PREDICT, content=picture()).json()["version"] == 2
        with lane.batcher.admit():  # the former one still takes what it was asked before
            assert lane is former
    wait_until(lambda: not former.batcher.is_alive)
    assert client.get("/v1/models").json()["models"][0]["reference"] == "grey@2"
    assert number(client, 'switches_total{model="grey",outcome="done"}') == 1
    assert number(client, f'model_info{{checksum="{"c" * 12}",engine="torch",model="grey",version="2"}}') == 1
    assert number(client, f'model_info{{checksum="{"c" * 12}",engine="torch",model="grey",version="1"}}') == 0


def test_a_broken_version_leaves_the_former_one_serving_and_is_told(make_client, caplog) -> None:
    models = FakeModels(grey=predictor_of())
    client = make_client(models)
    house = house_of(client)
    models.active["grey"] = 2
    models.broken["grey"] = BundleError("a whole file", got="half", where="grey@2", fix="register it again")
    for _ in range(3):
        house.poll()
    assert client.post(PREDICT, content=picture()).json()["version"] == 1
    ready = client.get("/readyz")
    assert (ready.status_code, ready.json()["status"]) == (200, "ready")
    assert ready.json()["detail"] == {"grey": "grey@2: expected a whole file, got half; register it again"}
    assert client.get("/v1/models").json()["models"][0]["fault"].startswith("grey@2: expected")
    assert number(client, 'model_fault{model="grey"}') == 1
    assert number(client, 'switches_total{model="grey",outcome="failed"}') == 1, "it is not tried every two seconds"
    assert caplog.text.count("does not serve") == 1
    models.broken.clear()
    models.active["grey"] = 3  # mended
    house.poll()
    assert client.get("/readyz").json()["detail"] == {}
    assert client.post(PREDICT, content=picture()).json()["version"] == 3
    assert number(client, 'model_fault{model="grey"}') == 0


def test_going_back_to_what_serves_takes_the_fault_away(make_client) -> None:
    models = FakeModels(grey=predictor_of())
    client = make_client(models)
    models.active["grey"] = None
    house_of(client).poll()
    assert "no version is active any more" in client.get("/readyz").json()["detail"]["grey"]
    models.active["grey"] = 1
    house_of(client).poll()
    assert client.get("/readyz").json()["detail"] == {}


def test_a_store_that_does_not_answer_changes_nothing(make_client, caplog) -> None:
    models = FakeModels(grey=predictor_of())
    client = make_client(models)
    models.unanswered = WorkspaceError("a database", got="none", where="ws", fix="wait")
    house_of(client).poll()
    assert client.post(PREDICT, content=picture()).status_code == 200
    assert "the store does not answer, what serves stays" in caplog.text


# --- faults -----------------------------------------------------------------------------------------------------------


def test_a_fault_of_the_model_is_a_500_with_an_id_and_no_traceback(make_client, caplog) -> None:
    predictor = predictor_of()
    client = make_client(FakeModels(grey=predictor))

    def broken(inputs: Any) -> Any:
        raise ValueError("secret path /opt/x")

    predictor.engine.run = broken
    answer = client.post(PREDICT, content=picture(), headers={"x-request-id": "r1"})
    assert (answer.status_code, answer.json()["request_id"]) == (500, "r1")
    assert "secret" not in answer.text
    assert "request r1 failed: ValueError" in caplog.text
    assert client.get("/healthz").status_code == 200


def test_an_answer_that_takes_too_long_is_a_504(make_client) -> None:
    models, slow = slow_models()
    client = make_client(models, timeout=0.3)
    slow.gate.clear()
    answer = client.post(PREDICT, content=picture())
    slow.gate.set()
    assert answer.status_code == 504
    assert "grey: expected an answer within 0.3 s, got none" in answer.json()["detail"]
    wait_until(lambda: house_of(client)._lanes["grey"].batcher.waiting == 0)
    assert client.post(PREDICT, content=picture()).status_code == 200


def speak(app: Any, messages: list[dict[str, Any]], *, then: float | None = None) -> list[dict[str, Any]]:
    """Send ASGI messages to the app, then nothing more, or after `then` seconds that the client has left."""

    async def scene() -> list[dict[str, Any]]:
        left, sent = list(messages), []

        async def receive() -> dict[str, Any]:
            if left:
                return left.pop(0)
            await asyncio.sleep(3600 if then is None else then)
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        scope = {
            "type": "http", "method": "POST", "path": PREDICT, "raw_path": PREDICT.encode(), "query_string": b"",
            "headers": [(b"content-type", b"image/png")], "client": ("10.0.0.7", 1), "root_path": "",
            "http_version": "1.1", "scheme": "http", "server": ("line", 80),
        }  # fmt: skip
        await app(scope, receive, send)
        return sent

    return asyncio.run(scene())


def test_a_client_that_drips_its_body_is_cut(make_client) -> None:
    client = make_client(timeout=0.2)
    drip = {"type": "http.request", "body": b"x", "more_body": True}
    sent = speak(client.app, [drip, drip])
    assert sent[0]["status"] == 408
    assert (b"connection", b"close") in sent[0]["headers"]
    assert b"expected the whole body within 0.2 s, got a part of it" in sent[1]["body"]
    assert house_of(client).memory.held == 0


def test_a_client_that_leaves_in_mid_upload_leaves_nothing_behind(make_client) -> None:
    client = make_client()
    sent = speak(client.app, [{"type": "http.request", "body": b"x" * 1000, "more_body": True}], then=0.0)
    assert sent == []
    assert house_of(client).memory.held == 0
    assert number(client, 'requests_total{model="grey",status="499"}') == 1


def test_a_client_that_leaves_while_it_waits_costs_the_model_nothing(make_client) -> None:
    models, slow = slow_models()
    client = make_client(models)
    batcher = house_of(client)._lanes["grey"].batcher
    slow.gate.clear()
    slow.begun.clear()
    first = threading.Thread(target=client.post, args=(PREDICT,), kwargs={"content": picture()})
    first.start()
    assert slow.begun.wait(10)
    assert speak(client.app, [{"type": "http.request", "body": picture()}], then=0.05) == []
    slow.gate.set()
    first.join()
    wait_until(lambda: batcher.waiting == 0)
    assert number(client, 'batch_size_count{model="grey"}') == 1


# --- beginning and end ------------------------------------------------------------------------------------------------


def test_a_server_that_drains_is_not_ready_and_still_answers(make_client) -> None:
    client = make_client()
    house_of(client).drain()
    ready = client.get("/readyz")
    assert (ready.status_code, ready.json()["status"]) == (503, "draining")
    assert client.get("/healthz").status_code == 200
    assert client.post(PREDICT, content=picture()).status_code == 200
    assert number(client, "ready") == 0


def test_closing_ends_every_thread_and_lets_go_of_the_store(make_client) -> None:
    models = FakeModels(grey=predictor_of())
    client = make_client(models)
    house = house_of(client)
    house.close()
    assert models.closed
    assert not house.is_alive()
    assert client.get("/healthz").status_code == 503
    assert client.post(PREDICT, content=picture()).status_code == 503


def test_a_model_slower_than_the_budget_is_told_when_it_is_loaded(make_client, caplog) -> None:
    make_client(p99_budget_ms=0.0001)
    assert "longer than the budget of 0 ms: only who is alone is answered" in caplog.text


# --- watch, metrics, log ----------------------------------------------------------------------------------------------


class FakeWatch:
    def __init__(self) -> None:
        self.seen: list[Any] = []

    def observe(self, result: Any, inputs: Any, originals: Any) -> None:
        self.seen.append((result.labels, inputs.shape, originals))
        if len(self.seen) == 2:
            raise RuntimeError("no room")

    def confirm(self, record: str, labels: Any) -> bool:
        return record == "known"

    def numbers(self) -> dict[str, float]:
        return {"records": len(self.seen), "psi.good": 0.25}

    def close(self) -> None:
        self.closed = True


def test_the_watch_hears_of_batches_and_is_shown(make_client, caplog) -> None:
    watch = FakeWatch()
    client = make_client(watch_of=lambda _: watch)
    for count in (1, 2, 3):
        client.post(PREDICT, content=picture())
        wait_until(lambda count=count: len(watch.seen) == count)  # type: ignore[misc]
    assert watch.seen[0] == ([["scratch"]], (1, 1, 8, 8), [picture()])
    wait_until(lambda: number(client, 'watch{model="grey",name="records"}') == 3)
    assert number(client, 'watch{model="grey",name="psi.good"}') == 0.25
    assert "grey: the watch failed on a batch: RuntimeError: no room" in caplog.text
    house_of(client).close()
    assert watch.closed


def test_the_metrics_count_what_was_decided(make_client) -> None:
    client = make_client()
    for brightness in (0, 255, 255):
        client.post(PREDICT, content=picture(brightness))
    client.post(PREDICT, content=b"x")
    assert number(client, 'decisions_total{model="grey",verdict="ok"}') == 1
    assert number(client, 'labels_total{label="scratch",model="grey"}') == 2
    assert number(client, 'requests_total{model="grey",status="200"}') == 3
    assert number(client, 'requests_total{model="grey",status="415"}') == 1
    assert number(client, 'request_seconds_count{model="grey"}') == 4
    assert number(client, "resident_bytes") > 1e6


def test_a_line_of_the_log_is_json_without_secrets() -> None:
    record = logging.LogRecord("ringlight", logging.INFO, "x", 1, "to %s", ("http://me:pw@host",), None)
    setattr(record, FIELDS, {"status": 200})
    line = json.loads(JsonFormatter().format(record))
    assert (line["message"], line["status"], line["level"]) == ("to http://***@host", 200, "info")
    assert line["time"].endswith("Z")


def test_answers_equal_the_predictor_bit_for_bit(make_client) -> None:
    rng = np.random.default_rng(0)
    array = rng.integers(0, 256, (5, 8, 8, 1), np.uint8)
    predictor = predictor_of(IMAGES)
    client = make_client(FakeModels(grey=predictor))
    expected = predictor.predict(list(array))
    for row, one in enumerate(array):
        content = picture_of(one[..., 0])
        (found,) = client.post(PREDICT, content=content).json()["results"]
        assert list(found["probabilities"].values()) == pytest.approx(expected.probabilities[row].tolist(), abs=1e-12)


def picture_of(pixels: Any) -> bytes:
    import io

    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def test_the_truth_of_a_part_reaches_the_watch(make_client) -> None:
    client = make_client(watch_of=lambda _: FakeWatch())
    path = "/v1/models/grey/confirm"
    answer = client.post(path, json={"labels": {"known": ["scratch"], "other": []}})
    assert answer.json() == {"confirmed": 1, "unknown": ["other"]}
    assert client.post(path, content=b"{").status_code == 400
    wrong = client.post(path, json={"labels": {"known": "scratch"}})
    assert wrong.status_code == 422
    assert "body.labels.known: expected" in wrong.json()["detail"]
    unwatched = make_client().post(path, json={"labels": {"known": []}})
    assert unwatched.json() == {"confirmed": 0, "unknown": ["known"]}
