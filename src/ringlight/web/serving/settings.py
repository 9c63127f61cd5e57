"""What a server is asked to be; plain values that reach its worker processes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

MEGA = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The options of `ringlight serve`.

    Args:
        models: what is served, each a run, a bundle, a version or an export, or `NAME=` one of these.
        workspace: where runs and versions are looked up; None for the usual one.
        workers: processes; each has the models, and its share of the cores.
        threads: of the engine, in each worker; None for the cores divided by the workers.
        max_batch: images or windows that go through a model together, at most; None for 8 images or 256 windows.
        max_wait_ms: how long the first of a batch waits for those that are being decoded.
        queue: images or windows that wait for a model, at most, and in one request; None for eight full batches.
        p99_budget_ms: a request that would wait longer is refused at once.
        max_bytes: of a request's body, and of the arrays in it once they are unpacked.
        max_pixels: of the pictures of a request together.
        timeout: seconds from a request's first byte to its answer.
        rate: requests a second that one client may make; None for no limit.
        keys: the file of API keys; None for a server that asks for none.
        drain: seconds that a server which is asked to end still accepts requests, so that a balancer can notice.
        samples: where images worth labelling are kept, a folder for each model; None keeps none.
        max_samples: files in such a folder, at most.
        max_sample_bytes: bytes in such a folder, at most.
        worker: the number of the process, from 0.
        poll: seconds between two looks for another active version, and other keys.
        log_requests: whether every request has a line in the log.
    """

    models: tuple[str, ...]
    workspace: Path | None = None
    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 1
    threads: int | None = None
    engine: str | None = None
    max_batch: int | None = None
    max_wait_ms: float = 2.0
    queue: int | None = None
    p99_budget_ms: float = 1000.0
    max_bytes: int = 32 * MEGA
    max_pixels: int = 32_000_000
    timeout: float = 10.0
    rate: float | None = None
    keys: Path | None = None
    drain: float = 0.0
    samples: Path | None = None
    max_samples: int = 1000
    max_sample_bytes: int = 1 << 30
    worker: int = 0
    poll: float = 2.0
    log_requests: bool = True
