"""HTTP over a socket: heads that drip are cut, uploads that break off leave nothing, the end is in order."""

from __future__ import annotations

import asyncio
import http.client
import json
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from ringlight.web.serving import protocol
from ringlight.web.serving.app import create_app
from ringlight.web.serving.protocol import CuttingProtocol
from ringlight.web.serving.server import DrainingServer, listening
from ringlight.web.serving.settings import Settings
from served_models import FakeModels, picture, predictor_of

PREDICT = "/v1/models/grey/predict"


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket: no network."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=10)
        self.path = path

    def connect(self) -> None:
        self.sock = raw(self.path)


OPEN: list[socket.socket] = []


@pytest.fixture(autouse=True)
def _no_socket_is_left() -> Iterator[None]:
    yield
    while OPEN:
        OPEN.pop().close()


def raw(path: Path) -> socket.socket:
    made = socket.socket(socket.AF_UNIX)
    OPEN.append(made)
    made.settimeout(10)
    made.connect(str(path))
    return made


@contextmanager
def running(path: Path, *, drain: float = 0.0, **options: Any) -> Iterator[DrainingServer]:
    """Serve a gray model on a Unix socket, in a thread."""
    settings = Settings(models=(), poll=3600.0, **options)
    app = create_app(settings, FakeModels(grey=predictor_of()), watch_of=lambda _: None)
    config = uvicorn.Config(app, http=CuttingProtocol, ws="none", log_config=None, access_log=False, lifespan="on")
    server = DrainingServer(config, drain=drain, on_drain=app.state.house.drain)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(16)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])))
    thread.start()
    until(lambda: server.started)
    try:
        yield server
    finally:
        server.should_exit = True
        thread.join(10)
        assert not thread.is_alive()
        listener.close()


def until(condition: Callable[[], bool]) -> None:
    limit = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.01)


def ask(connection: http.client.HTTPConnection, method: str, path: str, body: bytes | None = None) -> tuple[int, Any]:
    connection.request(method, path, body)
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())


def closed(client: socket.socket) -> bool:
    try:
        return client.recv(1000) == b""
    except ConnectionResetError:
        return True


def test_a_head_that_drips_is_cut_and_a_quick_one_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few hundred connections that send a byte now and then would take every place there is."""
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.3)
    with running(tmp_path / "s") as server:
        silent, drips = raw(tmp_path / "s"), raw(tmp_path / "s")
        drips.sendall(b"POST / HT")
        connection = UnixConnection(tmp_path / "s")
        assert ask(connection, "POST", PREDICT, picture())[0] == 200
        drips.sendall(b"TP/1.1\r\nx: ")
        assert closed(silent)
        assert closed(drips)
        assert ask(connection, "POST", PREDICT, picture())[0] == 200
        connection.close()
        until(lambda: not server.server_state.connections)


def test_an_upload_that_breaks_off_leaves_nothing_behind(tmp_path: Path) -> None:
    with running(tmp_path / "s") as server:
        house = server.config.app.state.house
        for _ in range(3):
            client = raw(tmp_path / "s")
            client.sendall(f"POST {PREDICT} HTTP/1.1\r\nhost: x\r\ncontent-length: 5000\r\n\r\n".encode() + b"x" * 1000)
            until(lambda: house.memory.held >= 5000)
            client.close()
            until(lambda: house.memory.held == 0)
        until(lambda: not server.server_state.tasks)
        assert ask(UnixConnection(tmp_path / "s"), "POST", PREDICT, picture())[0] == 200


def test_garbage_and_heads_without_end_are_refused(tmp_path: Path) -> None:
    with running(tmp_path / "s"):
        client = raw(tmp_path / "s")
        client.sendall(b"\x16\x03\x01\x02\x00 no HTTP\r\n\r\n")
        assert client.recv(1000).startswith(b"HTTP/1.1 400")
        client = raw(tmp_path / "s")
        client.sendall(b"GET / HTTP/1.1\r\n" + b"x: " + b"y" * 200_000)
        assert client.recv(1000).startswith(b"HTTP/1.1 400")


def test_a_server_that_is_asked_to_end_says_so_answers_and_ends(tmp_path: Path) -> None:
    with running(tmp_path / "s", drain=0.5) as server:
        connection = UnixConnection(tmp_path / "s")
        assert ask(connection, "GET", "/readyz") == (200, {"status": "ready", "detail": {}})
        server.handle_exit(signal.SIGTERM, None)
        assert ask(connection, "GET", "/readyz")[0] == 503
        assert ask(connection, "POST", PREDICT, picture())[0] == 200
        until(lambda: server.should_exit)
        assert closed(connection.sock)
        with pytest.raises(OSError, match="refused"):
            raw(tmp_path / "s")


def test_a_second_signal_ends_the_wait(tmp_path: Path) -> None:
    with running(tmp_path / "s", drain=3600.0) as server:
        server.handle_exit(signal.SIGTERM, None)
        assert not server.should_exit
        server.handle_exit(signal.SIGTERM, None)
        assert server.should_exit


@pytest.mark.enable_socket
def test_an_answer_does_not_wait_for_the_clients_acknowledgement() -> None:
    """With Nagle's algorithm on, the end of each answer waited 40 ms for a client that delays acknowledgements."""
    found: list[int] = []

    async def look(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        found.append(writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()

    async def ask_once(listener: socket.socket) -> None:
        async with await asyncio.start_server(look, sock=listener):
            _, writer = await asyncio.open_connection(*listener.getsockname())
            while not found:
                await asyncio.sleep(0.01)
            writer.close()

    with listening("127.0.0.1", 0) as listener:
        asyncio.run(ask_once(listener))
    assert found == [1]
