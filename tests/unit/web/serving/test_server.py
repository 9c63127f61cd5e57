"""A real server, two workers on loopback: nothing a client or an operator does to it loses an answer."""

from __future__ import annotations

import http.client
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from PIL import Image

from ringlight.models import build_model
from ringlight.services.activations import activate
from ringlight.services.versions import register

PATIENCE = 300.0
PREDICT = "/v1/models/strips/predict"


def picture() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (32, 32), (200, 100, 50)).save(stream, "PNG")
    return stream.getvalue()


def until(condition: Callable[[], bool], told: str) -> None:
    limit = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < limit, told
        time.sleep(0.05)


def ask(port: int, method: str, path: str, body: bytes | None = None) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request(method, path, body)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


class Clients:
    """Ask again and again until they are told to stop; remember every answer."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.answers: list[tuple[int, int | None, str]] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(3)]
        for thread in self._threads:
            thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                status, text = ask(self.port, "POST", PREDICT, picture())
                values = json.loads(text)
                self.answers.append((status, values.get("version"), text))
            except (OSError, http.client.HTTPException) as error:
                self.answers.append((0, None, repr(error)))

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


@contextmanager
def serving(workspace: Path, log: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    command = [
        sys.executable, "-m", "ringlight", "serve", "strips", "--port", "0", "--workers", "2", "--workspace",
        str(workspace), "--p99-budget-ms", "60000", "--timeout", "60",
    ]  # fmt: skip
    with log.open("wb") as written:
        process = subprocess.Popen(command, stderr=written, env={**os.environ, "OMP_NUM_THREADS": "1"})
    try:
        until(lambda: log.read_text().count("\n") >= 1 or process.poll() is not None, "it never listened")
        assert process.poll() is None, log.read_text()
        first = json.loads(log.read_text().splitlines()[0])["message"]
        yield process, int(first.partition(",")[0].rpartition(":")[2])
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


@pytest.mark.slow(minutes=0.4)
@pytest.mark.enable_socket
def test_versions_files_clients_and_workers_come_and_go_without_a_lost_answer(
    tmp_path: Path, make_finished: Any
) -> None:
    shape = {"num_classes": 3, "in_chans": 3, "drop_rate": 0.0, "pretrained": False, "image_size": (32, 32)}
    for name in ("strips-1", "strips-2"):
        make_finished(tmp_path, name, module=build_model("resnet10t", params={}, **shape).module)
        register(name, name="strips", workspace=tmp_path)
    activate("strips", 1, workspace=tmp_path)
    log = tmp_path / "serve.log"
    with serving(tmp_path, log) as (process, port):
        until(lambda: log.read_text().count("serves strips@1") == 2, "the workers never began")
        clients = Clients(port)
        activate("strips", 2, workspace=tmp_path)
        until(lambda: log.read_text().count("strips@2 serves instead of strips@1") == 2, "it never changed over")
        before = ask(port, "POST", PREDICT, picture())[1]
        weights = tmp_path / "models" / "defect" / "strips" / "v2" / "model.safetensors"
        with weights.open("r+b") as file:
            file.write(bytes(4096))
            file.truncate(100)
        after = ask(port, "POST", PREDICT, picture())[1]
        # Other clients share the batches, whose size moves the last digits.
        former, latter = (json.loads(text)["results"][0]["probabilities"] for text in (before, after))
        assert latter == pytest.approx(former, abs=1e-6)
        for _ in range(5):
            with socket.create_connection(("127.0.0.1", port)) as cut:
                cut.sendall(f"POST {PREDICT} HTTP/1.1\r\nhost: x\r\ncontent-length: 9999\r\n\r\nxx".encode())
        clients.stop()
        assert {status for status, _, _ in clients.answers} == {200}, clients.answers[-3:]
        assert {version for _, version, _ in clients.answers} == {1, 2}
        answered = sum(
            float(line.rpartition(" ")[2])
            for line in ask(port, "GET", "/metrics")[1].splitlines()
            if line.startswith("ringlight_requests_total") and 'model="strips"' in line and 'status="200"' in line
        )
        assert answered == len(clients.answers) + 2, "the numbers of both workers are added up"
        # A worker that dies is replaced; what it held on the disk is broken, so the former version is asked for again.
        activate("strips", 1, workspace=tmp_path)
        workers = [
            child for child in psutil.Process(process.pid).children() if "spawn_main" in " ".join(child.cmdline())
        ]
        workers[0].kill()
        until(lambda: "another begins" in log.read_text(), "nobody noticed")
        until(lambda: log.read_text().count("serves strips@1 with torch") == 3, "no other worker began")
        assert ask(port, "POST", PREDICT, picture())[0] == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
        assert not [worker for worker in workers if worker.is_running()]
        assert "Traceback" not in log.read_text()
