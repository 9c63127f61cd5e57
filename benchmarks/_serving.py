"""What the benchmarks of the server share: a model, a server process, and clients in processes of their own."""

from __future__ import annotations

import asyncio
import io
import json
import multiprocessing
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from PIL import Image

CLASSES = ("crazing", "inclusion", "patches", "pitted", "rolled", "scratches")


def make_bundle(folder: Path, model: str, size: tuple[int, int]) -> Path:
    """Write a bundle of a catalogue model with random weights: speed does not depend on them."""
    from ringlight.data.preprocess import InputSpec
    from ringlight.inference.bundle import Bundle, write_bundle
    from ringlight.models import build_model

    module = build_model(
        model, num_classes=len(CLASSES), in_chans=3, drop_rate=0.0, pretrained=False, image_size=size, params={}
    ).module
    spec = InputSpec(in_chans=3, image_size=size, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    architecture = {"name": model, "in_chans": 3, "drop_rate": 0.0, "params": {}}
    write_bundle(folder, Bundle(architecture=architecture, task="multiclass", classes=CLASSES, input_spec=spec), module)
    return folder


def export_bundle(bundle: Path, out: Path, format: str) -> Path:
    """Export a bundle, checked on noise."""
    from ringlight.inference.bundle import read_bundle
    from ringlight.inference.export import ExportOptions, export_model
    from ringlight.inference.export_parity import Sample

    told, module = read_bundle(bundle)
    height, width = told.input_spec.size
    inputs = np.random.default_rng(0).normal(size=(12, 3, height, width)).astype(np.float32)
    sample = Sample(
        ids=[str(row) for row in range(12)], targets=np.arange(12) % len(CLASSES), source="noise",
        batches=lambda: iter([inputs[:8], inputs[8:]]),
    )  # fmt: skip
    export_model(told, module, sample, out, ExportOptions(format=format))
    return out


def jpeg(size: tuple[int, int], seed: int = 0) -> bytes:
    """Return a picture (height, width) of smoothed noise, as a camera's JPEG."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (size[0] // 4, size[1] // 4, 3), np.uint8))
    stream = io.BytesIO()
    small.resize((size[1], size[0]), Image.Resampling.BICUBIC).save(stream, "JPEG", quality=90)
    return stream.getvalue()


@dataclass(slots=True)
class Server:
    """A server in a process of its own."""

    process: subprocess.Popen[str]
    host: str
    port: int

    @property
    def memory(self) -> int:
        """Resident bytes of the process and its children."""
        mine = psutil.Process(self.process.pid)
        return sum(one.memory_info().rss for one in [mine, *mine.children(recursive=True)])

    @property
    def processor(self) -> float:
        """Seconds of processor time that the process has taken so far."""
        times = psutil.Process(self.process.pid).cpu_times()
        return float(times.user + times.system)


@contextmanager
def serving(*models: str, workspace: Path, options: Sequence[str] = (), log: Path) -> Iterator[Server]:
    """Run `ringlight serve` on a free port until the block ends."""
    command = [sys.executable, "-m", "ringlight", "serve", *models, "--port", "0", "--workspace", str(workspace)]
    with log.open("w", encoding="utf-8") as written:
        process = subprocess.Popen([*command, *options], stderr=written, text=True)
    try:
        yield Server(process, "127.0.0.1", _port_of(process, log))
    finally:
        process.send_signal(signal.SIGTERM)
        if process.wait(60) != 0:
            raise SystemExit(f"the server ended with {process.returncode}; {log} says why")


def _port_of(process: subprocess.Popen[str], log: Path) -> int:
    """Wait until a server is ready, and return its port."""
    import urllib.request

    while process.poll() is None:
        first = log.read_text(encoding="utf-8").partition("\n")[0]
        if first.endswith("}"):
            port = int(json.loads(first)["message"].partition(",")[0].rpartition(":")[2])
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=60):
                    return port
            except OSError:  # it still loads
                time.sleep(0.5)
        time.sleep(0.1)
    raise SystemExit(f"the server did not begin: {log.read_text(encoding='utf-8')}")


@dataclass(slots=True)
class Load:
    """What clients saw: the seconds of every answer, and how many had each status (0: no answer)."""

    seconds: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    lasted: float = 0.0
    processor: float = 0.0
    """Seconds of processor time that the clients took."""

    @property
    def throughput(self) -> float:
        """Answers a second."""
        return self.statuses[200] / self.lasted

    def percentile(self, share: float) -> float:
        """Return milliseconds within which so large a share of the answers came."""
        return 1000 * float(np.percentile(self.seconds, share)) if self.seconds else float("nan")


def ask_for(server: Server, path: str, body: bytes, *, seconds: float, clients: int, rate: float | None = None) -> Load:
    """Ask from a second process: each client again at once, or all of them together `rate` times a second."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(_load, (server.host, server.port, path, body, seconds, clients, rate))


def _load(host: str, port: int, path: str, body: bytes, seconds: float, clients: int, rate: float | None) -> Load:
    head = f"POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: image/jpeg\r\ncontent-length: {len(body)}\r\n\r\n"
    return asyncio.run(_all(host, port, head.encode() + body, seconds, clients, rate))


async def _all(host: str, port: int, request: bytes, seconds: float, clients: int, rate: float | None) -> Load:
    load = Load()
    began = time.perf_counter()
    end = began + seconds
    turns = iter(range(sys.maxsize))

    async def client() -> None:
        reader = writer = None
        while time.perf_counter() < end:
            if rate is not None:
                due = began + next(turns) / rate
                if due >= end:
                    break
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
            if writer is None:
                reader, writer = await asyncio.open_connection(host, port)
            at = time.perf_counter()
            writer.write(request)
            try:
                status, stays = await _answer(reader)
            except (OSError, EOFError, asyncio.IncompleteReadError):
                status, stays = 0, False
            load.statuses[status] += 1
            if status == 200:
                load.seconds.append(time.perf_counter() - at)
            elif status == 429:
                await asyncio.sleep(0.05)
            if not stays:
                writer.close()
                writer = None
        if writer is not None:
            writer.close()

    await asyncio.gather(*(client() for _ in range(clients)))
    load.lasted = time.perf_counter() - began
    load.processor = time.process_time()
    return load


async def _answer(reader: Any) -> tuple[int, bool]:
    """Read an answer; return its status, and whether the connection stays."""
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.decode("latin-1").lower().split("\r\n")
    length = next(int(line.partition(":")[2]) for line in lines if line.startswith("content-length:"))
    await reader.readexactly(length)
    return int(lines[0].split()[1]), "connection: close" not in lines
