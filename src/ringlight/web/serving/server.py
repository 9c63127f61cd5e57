"""The processes of a server: one, or several behind one socket; they end when what they were asked is answered."""

from __future__ import annotations

import math
import multiprocessing
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.context import SpawnProcess
from pathlib import Path
from types import FrameType

import uvicorn

from ringlight.errors import RinglightError, UserError
from ringlight.runtime import LOGGER, cpu_count
from ringlight.web.serving.logs import log_as_json
from ringlight.web.serving.protocol import CuttingProtocol
from ringlight.web.serving.settings import Settings

BACKLOG = 512
CONNECTIONS = 1000
"""Connections of a worker, at most; more are told 503 at once."""

HEAD_BYTES = 16 * 1024
"""Of the head of a request, at most."""

REFUSED = 3
"""Exit code of a worker that could not begin: another would fail the same way."""

SHARED = "PROMETHEUS_MULTIPROC_DIR"


class DrainingServer(uvicorn.Server):
    """A server that is asked to end says so on `/readyz`, still answers for a while, and then finishes what it has.

    Args:
        config: uvicorn's.
        drain: seconds between the two.
        on_drain: is called when it is asked to end.
    """

    def __init__(self, config: uvicorn.Config, *, drain: float, on_drain: Callable[[], None]) -> None:
        super().__init__(config)
        self._drain = drain
        self._on_drain = on_drain
        self._until: float | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - a signal handler's arguments
        """Hear a signal to end; a second one shortens the wait."""
        if self._until is None:
            self._until = time.monotonic() + self._drain
            self._on_drain()
        else:
            self.should_exit = True
            self.force_exit = sig == signal.SIGINT

    async def on_tick(self, counter: int) -> bool:
        """Look every tenth of a second whether it is time to end."""
        if self._until is not None and time.monotonic() >= self._until:
            self.should_exit = True
        return await super().on_tick(counter)


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or Ctrl-C.

    Raises:
        UserError: the address cannot be used, or a model or key cannot; a server that others reach without keys.
        RinglightError: a worker could not begin.
    """
    log_as_json()
    with listening(settings.host, settings.port) as listener:
        host, port = listener.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        LOGGER.info(
            "http://%s:%d, %d worker(s), keys: %s", shown, port, settings.workers, settings.keys or "none asked"
        )
        if settings.workers == 1:
            run_worker(settings, listener)
        else:
            Supervisor(settings, listener).run()
    LOGGER.info("ended")


def listening(host: str, port: int) -> socket.socket:
    """Return a socket that listens.

    Raises:
        UserError: the address is taken, or not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named, or asyncio does not see that these are TCP connections and leaves Nagle's algorithm on: the
    # end of an answer then waits up to 40 ms for the client's delayed acknowledgement of its beginning.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except (OSError, OverflowError) as error:
        listener.close()
        got = getattr(error, "strerror", None) or str(error)
        raise UserError(
            "an address that is free", got=got, where=f"{host}:{port}", fix="choose another --port, or --host"
        ) from error
    listener.set_inheritable(True)
    return listener


def run_worker(settings: Settings, listener: socket.socket) -> None:
    """Serve in this process.

    Raises:
        UserError: a model or the file of keys cannot be used.
    """
    threads = settings.threads or max(1, cpu_count() // settings.workers)
    # Before torch and OpenMP are loaded: a worker has its share of the cores, not all of them.
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    import torch

    from ringlight.web.serving.app import create_app

    torch.set_num_threads(threads)
    warnings.filterwarnings("ignore", module=r"PIL\b")  # it warns of damaged pictures: a line for each that is sent
    app = create_app(settings)
    config = uvicorn.Config(
        app, http=CuttingProtocol, ws="none", lifespan="on", log_config=None, access_log=False, server_header=False,
        proxy_headers=False, backlog=BACKLOG, limit_concurrency=CONNECTIONS, timeout_keep_alive=15,
        timeout_graceful_shutdown=math.ceil(settings.timeout) + 1, h11_max_incomplete_event_size=HEAD_BYTES,
    )  # fmt: skip
    # Loaded before the server begins: what is wrong with a model is then one line, and nobody connects in vain.
    app.state.house.start()
    DrainingServer(config, drain=settings.drain, on_drain=app.state.house.drain).run(sockets=[listener])


def _worker(settings: Settings, listener: socket.socket) -> None:
    """Be a worker process."""
    log_as_json()
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()
    try:
        run_worker(settings, listener)
    except RinglightError as error:
        LOGGER.error("%s", error)
        sys.exit(REFUSED)


def _end_with_parent() -> None:
    """End as by a signal when the supervisor is gone: killed, it can tell nobody, and its workers would stay."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


class Supervisor:
    """Starts workers, starts one anew that died, and ends them all when it is asked to.

    Args:
        settings: the options of the server.
        listener: what they all listen on.
    """

    def __init__(self, settings: Settings, listener: socket.socket) -> None:
        self._settings = settings
        self._listener = listener
        self._spawn = multiprocessing.get_context("spawn")  # a fork would copy locks that torch's threads hold
        self._workers: list[SpawnProcess] = []
        self._signal: int | None = None

    def run(self) -> None:
        """Supervise until SIGTERM or Ctrl-C.

        Raises:
            RinglightError: a worker could not begin; its own line says why.
        """
        shared = Path(tempfile.mkdtemp(prefix="ringlight-metrics-"))
        os.environ[SHARED] = str(shared)
        former = {number: signal.signal(number, self._heard) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            self._workers = [self._start(number) for number in range(self._settings.workers)]
            while self._signal is None:
                time.sleep(0.2)
                self._look(shared)
        finally:
            self._end()
            for number, handler in former.items():
                signal.signal(number, handler)
            del os.environ[SHARED]
            shutil.rmtree(shared, ignore_errors=True)

    def _heard(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - a signal handler's arguments
        self._signal = number

    def _start(self, number: int) -> SpawnProcess:
        worker = self._spawn.Process(
            target=_worker, args=(replace(self._settings, worker=number), self._listener), name="ringlight worker"
        )
        worker.start()
        return worker

    def _look(self, shared: Path) -> None:
        """Start a worker anew that died."""
        for place, worker in enumerate(self._workers):
            if worker.exitcode is None:
                continue
            if worker.exitcode == REFUSED:
                raise RinglightError(
                    f"{self._settings.workers} workers", got="one that could not begin", where="ringlight serve",
                    fix="its own line says why",
                )  # fmt: skip
            from ringlight.web.serving.metrics import forget_process

            LOGGER.error("worker %s died with exit code %s, another begins", worker.pid, worker.exitcode)
            forget_process(int(worker.pid or 0), shared)
            self._workers[place] = self._start(place)

    def _end(self) -> None:
        """End the workers; one that does not listen is killed."""
        for worker in self._workers:
            if worker.exitcode is None:
                worker.terminate()
        patience = time.monotonic() + self._settings.drain + self._settings.timeout + 15
        for worker in self._workers:
            worker.join(max(0.1, patience - time.monotonic()))
            if worker.exitcode is None:
                worker.kill()
                worker.join()
