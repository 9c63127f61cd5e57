"""A job's process as its worker sees it: started, told what is ordered, listened to, and ended by force if need be."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ringlight.files import unwritable
from ringlight.services.job_runs import log_of
from ringlight.services.worker_slots import visible_environment
from ringlight.store.jobs import Order
from ringlight.store.tables import JobRow

COMMAND = (sys.executable, "-P", "-m", "ringlight.services.job_process")
"""Starts the process of a job; `-P` keeps modules of the folder it is started in out of it."""

KILL_SECONDS = 10.0
"""From TERM to KILL."""


class Child:
    """The process of one job.

    `progress`, `run` and `end` are the last that it said; `is_noted` says that the queue knows the run, `is_lost` that
    the job is another worker's by now, `is_forced` that it was made to end, `is_settled` that its end is being written.
    """

    def __init__(self, row: JobRow, device: str, root: Path, command: Sequence[str] = COMMAND) -> None:
        self.id = row.id
        self.lease = str(row.lease)
        self.device = device
        self.asked_memory_gib = row.memory_gib
        self.progress: dict[str, Any] | None = None
        self.run: str | None = None
        self.is_noted = False
        self.is_lost = False
        self.is_forced = False
        self.is_settled = False
        self.end: dict[str, Any] | None = None
        self._order: Order = "go"
        self._ordered_at: float | None = None
        self._terminated_at: float | None = None
        self._process = _start(log_of(root, row.id), device, command)
        self._say(json.dumps({
            "id": row.id, "kind": row.kind, "payload": row.payload, "workspace": str(root), "run": row.run,
            "device": "auto" if row.device == "auto" else device.partition(":")[0], "place": device,
        }))  # fmt: skip
        self._reader = threading.Thread(target=self._listen, name=f"job {row.id}", daemon=True)
        self._reader.start()

    @property
    def held_memory_gib(self) -> float:
        """What the process says it holds."""
        return float((self.progress or {}).get("memory_gib") or 0.0)

    def hear(self, order: Order) -> None:
        """Pass an order on, once; cancel follows pause, and nothing takes either back."""
        if order == "go" or order == self._order or self._order.startswith("cancel"):
            return
        self._order = order
        self._ordered_at = time.monotonic()
        self._say(order)

    def noted(self) -> None:
        """Tell the process that the queue knows its run."""
        self.is_noted = True
        self._say("noted")

    def has_ended(self) -> bool:
        """Whether the process is gone, and all that it said was heard."""
        if self._process.poll() is None:
            return False
        self._kill_group()  # a loader's workers hold the memory that is to be free now, and the pipe
        self._reader.join(timeout=5.0)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        return True

    def press(self, grace_seconds: float) -> str | None:
        """End a process that does not listen: TERM after `grace_seconds`, then KILL; return what was sent."""
        now = time.monotonic()
        if self._terminated_at is not None:
            if now - self._terminated_at < KILL_SECONDS:
                return None
            self.kill()
            self._terminated_at = now
            return "KILL"
        if self._ordered_at is None or now - self._ordered_at < grace_seconds:
            return None
        self.is_forced = True
        self._terminated_at = now
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        return "TERM"

    def kill(self) -> None:
        """End the process at once, with everything that it started."""
        self.is_forced = True
        self._kill_group()

    def death(self) -> str:
        """Say how a process ended that did not say so itself."""
        code = self._process.returncode
        if code is None or code >= 0:
            return f"its process ended with code {code}, see its log"
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        hint = ": often the system's answer to a want of memory" if -code == signal.SIGKILL else ", see its log"
        return f"its process was ended by {name}{hint}"

    def _kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _say(self, line: str) -> None:
        # A process that is gone hears nothing; the worker sees that at its next look.
        with contextlib.suppress(BrokenPipeError, ValueError, OSError):
            if self._process.stdin is not None:
                self._process.stdin.write(line.encode() + b"\n")
                self._process.stdin.flush()

    def _listen(self) -> None:
        if self._process.stdout is None:
            return
        for line in self._process.stdout:
            try:
                said = json.loads(line)
            except json.JSONDecodeError:  # cut off by a death
                continue
            self.progress = said.get("progress", self.progress)
            self.run = said.get("run", self.run)
            if "end" in said:
                self.end = said


def _start(log: Path, device: str, command: Sequence[str]) -> subprocess.Popen[bytes]:
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as stream:
            return subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stream, env=visible_environment(device),
                start_new_session=True,  # a Ctrl-C in the worker's terminal is the worker's to pass on
            )  # fmt: skip
    except OSError as error:
        raise unwritable(log, error) from error
