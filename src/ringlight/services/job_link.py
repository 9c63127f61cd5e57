"""A job's process and its worker talk over two pipes: orders come in, reports go out, a line each.

The worker alone writes to the queue. That the pipe of orders ends says that the worker is gone: then the job stops at
its next step, and by force soon after, before another worker takes it up.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from ringlight.runtime import LOGGER
from ringlight.types import Signal

REPORT_EVERY = 0.5
"""Seconds between two reports of progress; a step only leaves its numbers and looks at a flag."""

ORPHAN_SECONDS = 10.0
"""How long a process may live without its worker: less than a lease."""

MAX_NOTES = 20
"""Warnings kept for `ringlight jobs show`; the log has them all."""

NOTED_SECONDS = 60.0
"""How long a run waits until its name stands in the queue; a database that is away for longer does not stop it."""


class Link:
    """The job's end of the pipes. It is the run's `RunControl` as well: what was ordered is told at the next step.

    Args:
        orders: what the worker says: `pause`, `cancel`, `cancel_keep` (its checkpoint), `noted`.
        reports: what the worker reads.
        listens: whether the job asks its control after every step; one that does not is interrupted like by Ctrl-C.
        end_by_force: ends a process whose worker is gone and that does not stop by itself.
    """

    def __init__(
        self,
        orders: BinaryIO,
        reports: BinaryIO,
        *,
        listens: bool = True,
        end_by_force: Callable[[int], Any] = os._exit,
    ) -> None:
        self.order: Signal = "go"
        self.is_orphan = False
        self.keep_checkpoint = False
        self._orders = orders
        self._reports = reports
        self._listens = listens
        self._end_by_force = end_by_force
        self._noted = threading.Event()
        self._ended = threading.Event()
        self._writing = threading.Lock()
        self._step: Mapping[str, float] = {}
        self._facts: dict[str, Any] = {}
        self._notes: list[str] = []
        self._told: dict[str, Any] = {}

    def start(self) -> None:
        """Begin to listen and to report."""
        threading.Thread(target=self._listen, name="orders", daemon=True).start()
        threading.Thread(target=self._report, name="reports", daemon=True).start()

    def heartbeat(self, progress: Mapping[str, float]) -> Signal:
        """Leave how far the run is, and return what was ordered: no file, no database, no lock."""
        self._step = progress
        return self.order

    def fact(self, **values: Any) -> None:
        """Have the worker show something beside the progress: metrics, a device."""
        self._facts = {**self._facts, **values}

    def note(self, text: str) -> None:
        """Have the worker show a warning, once; the latest of many."""
        if text not in self._notes:
            self._notes = [*self._notes, text][-MAX_NOTES:]

    def begun(self, folder: Path, root: Path) -> None:
        """Tell which folder the job works in, and wait until the queue knows: from now on it can be gone on with."""
        if folder.absolute().is_relative_to(root):  # a study may lie elsewhere, and is found there by its own key
            self.tell(run=folder.absolute().relative_to(root).as_posix().removeprefix("runs/"))
            self._noted.wait(NOTED_SECONDS)

    def tell(self, **values: Any) -> None:
        """Send one report."""
        line = json.dumps(_plain(values), allow_nan=False).encode() + b"\n"
        # Without a reader there is nobody to tell; that the worker is gone is heard on the other pipe.
        with self._writing, contextlib.suppress(BrokenPipeError, ValueError):
            self._reports.write(line)
            self._reports.flush()

    def end(self, how: str, **values: Any) -> None:
        """Send what came of the job, the last report; orders that come too late interrupt nothing any more."""
        self._ended.set()
        self._listens = True
        self.report()
        self.tell(end=how, **values)

    def report(self) -> None:
        """Send how far the job is, where that has changed."""
        progress = {**self._step, **self._facts, **_memory()}
        if self._notes:
            progress["notes"] = self._notes
        if progress != self._told:
            self._told = progress
            self.tell(progress=progress)

    def _report(self) -> None:
        while True:
            self.report()
            if self._ended.wait(REPORT_EVERY):
                return

    def _listen(self) -> None:
        for line in self._orders:
            word = line.decode().strip()
            if word == "noted":
                self._noted.set()
            elif word in ("cancel", "cancel_keep"):
                self.keep_checkpoint = word == "cancel_keep"
                self._stop("cancel")
            elif word == "pause" and self.order == "go":
                self._stop("pause")
        self.is_orphan = True
        self._noted.set()
        if self.order == "go":
            self._stop("pause")
        time.sleep(ORPHAN_SECONDS)
        self._end_by_force(1)  # a long step, or one that hangs: whoever goes on must find the run's folder free

    def _stop(self, order: Signal) -> None:
        self.order = order
        if not self._listens:
            os.kill(os.getpid(), signal.SIGINT)


class JobTracker:
    """Shows the latest metrics of a run beside its progress."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Ignore: the configuration has them."""

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:  # noqa: ARG002 - the protocol's argument
        """Show them, but for those of single classes."""
        self._link.fact(metrics={name: value for name, value in metrics.items() if name.count("/") <= 1})

    def log_figure(self, name: str, figure: Any, step: int) -> None:
        """Ignore: the report has it."""

    def log_artifact(self, path: Path) -> None:
        """Ignore: it lies in the run's folder."""

    def set_status(self, status: str) -> None:
        """Ignore: the job tells how it ended."""


class NoteHandler(logging.Handler):
    """Keeps warnings (less memory than needed, a GPU that failed) to be shown with the job."""

    def __init__(self, link: Link) -> None:
        super().__init__(logging.WARNING)
        self._link = link

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one."""
        self._link.note(" ".join(record.getMessage().split()))


def pipes() -> tuple[BinaryIO, BinaryIO]:
    """Take standard input and output for the worker; what a library prints goes to the log, like standard error."""
    sys.stdout.flush()
    orders, reports = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return os.fdopen(orders, "rb"), os.fdopen(reports, "wb")


def log_to_stderr() -> None:
    """Write Ringlight's log with its times to standard error, which the worker has led into the job's log."""
    handler = logging.StreamHandler(sys.stderr)
    formatter = logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%SZ")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    handler.setLevel(logging.INFO)
    LOGGER.setLevel(logging.DEBUG)
    LOGGER.addHandler(handler)
    LOGGER.propagate = False


def _memory() -> dict[str, float]:
    """Return what this process holds of the machine's memory and of its GPU's, in GiB."""
    import psutil

    found = {"memory_gib": round(psutil.Process().memory_info().rss / 2**30, 2)}
    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "cuda") and torch.cuda.is_initialized():
        found["gpu_gib"] = round(torch.cuda.max_memory_reserved() / 2**30, 2)
    return found


def _plain(value: Any) -> Any:
    """Return what JSON knows; a number that is not finite is none."""
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool | None) else str(value)
