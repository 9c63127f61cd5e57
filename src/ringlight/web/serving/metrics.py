"""What Prometheus is told. With several workers the numbers of all of them are added up, whichever answers."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

if TYPE_CHECKING:
    from ringlight.services.serving import Served

SHARED = "PROMETHEUS_MULTIPROC_DIR"
"""The environment variable by which the client library knows that there are several processes, and where they meet."""

CONTENT_TYPE = CONTENT_TYPE_LATEST
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """The server's numbers; each app has its own, so that two of them can live in one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()

        def counter(name: str, told: str, *labels: str) -> Counter:
            return Counter(f"ringlight_{name}", told, labels, registry=self.registry)

        def gauge(name: str, told: str, *labels: str, mode: Any = "livesum") -> Gauge:
            return Gauge(f"ringlight_{name}", told, labels, registry=self.registry, multiprocess_mode=mode)

        def histogram(name: str, told: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
            return Histogram(f"ringlight_{name}", told, labels, registry=self.registry, buckets=buckets)

        self.requests = counter(
            "requests", "Requests by the model they asked and the status they got", "model", "status"
        )
        self.seconds = histogram("request_seconds", "Seconds from a request's headers to its answer", SECONDS, "model")
        self.decisions = counter("decisions", "Images or windows by their verdict", "model", "verdict")
        self.labels = counter("labels", "Images or windows by the classes they were given", "model", "label")
        self.unknown = counter("unknown", "Images or windows of no known class", "model")
        self.batch = histogram("batch_size", "Images or windows that went through a model together", SIZES, "model")
        self.engine = histogram("engine_seconds", "Seconds a batch took in the engine", SECONDS, "model")
        self.waiting = gauge("waiting", "Images or windows that wait for a model", "model")
        self.ready = gauge("ready", "Workers that accept requests")
        self.memory = gauge("resident_bytes", "Memory of a worker", mode="liveall")
        self.info = gauge(
            "model_info", "1 for the version that serves", "model", "version", "checksum", "engine", mode="liveall"
        )
        self.faults = gauge("model_fault", "1 where an activated version could not be loaded", "model", mode="livemax")
        self.switches = counter("switches", "Changes to another active version, by outcome", "model", "outcome")
        self.unseen = counter("watch_dropped", "Batches the watch had no time for", "model")
        self.watch = gauge("watch", "What the watch says, by name", "model", "name", mode="livemax")

    def serves(self, former: Served | None, now: Served) -> None:
        """Say which version serves."""
        if former is not None:
            self.info.labels(*_labels(former)).set(0)  # several processes cannot take a line back
        self.info.labels(*_labels(now)).set(1)

    def tell_watch(self, model: str, numbers: Mapping[str, float]) -> None:
        """Show what a watch knows."""
        for name, value in numbers.items():
            self.watch.labels(model, name).set(value)

    def text(self) -> bytes:
        """Return everything as Prometheus reads it."""
        if os.environ.get(SHARED):
            everybody = CollectorRegistry()
            MultiProcessCollector(everybody)  # type: ignore[no-untyped-call]
            return generate_latest(everybody)
        return generate_latest(self.registry)


def _labels(served: Served) -> tuple[str, str, str, str]:
    version = "" if served.version is None else str(served.version)
    return served.name, version, served.checksum[:12], served.engine


def forget_process(pid: int, folder: Path) -> None:
    """Take a worker that has ended out of the numbers of those that live."""
    from prometheus_client.multiprocess import mark_process_dead

    mark_process_dead(pid, str(folder))  # type: ignore[no-untyped-call]
