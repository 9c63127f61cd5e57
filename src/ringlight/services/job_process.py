"""The process of one job, `python -m ringlight.services.job_process`; a worker starts it and reads what it says."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ringlight.errors import InterruptedRunError, JobError, RinglightError
from ringlight.runtime import LOGGER, hide_secrets
from ringlight.services.app_log import application_log
from ringlight.services.job_kinds import KINDS, LISTENING, Task
from ringlight.services.job_link import Link, NoteHandler, log_to_stderr, pipes
from ringlight.services.job_payloads import payload_of

LOCK_SECONDS = 120.0
"""How long to wait for a former process of the same job, which ends by itself when its worker is gone."""


def serve(kinds: Mapping[str, Callable[[Task], dict[str, Any]]] = KINDS) -> int:
    """Do the job that the first line of standard input describes; return the exit code.

    What came of it is the last report: `end` is completed (with `result`), stopped, or failed (with `error`).
    """
    orders, reports = pipes()
    given = json.loads(orders.readline())
    kind = str(given["kind"])
    link = Link(orders, reports, listens=kind in LISTENING)
    root = Path(given["workspace"])
    log_to_stderr()
    hide_secrets()
    LOGGER.addHandler(NoteHandler(link))
    with application_log(root, f"job {given['id']}"):
        try:
            link.start()
            with _alone(link):
                task = _task(given, root, link)
                LOGGER.info("job %d, %s: begins on %s", task.id, kind, given["place"])
                result = kinds[kind](task)
                link.end("completed", result=result)
        except (InterruptedRunError, KeyboardInterrupt) as stop:
            LOGGER.info("stopped: %s", stop if isinstance(stop, InterruptedRunError) else link.order)
            link.end("stopped", why=_why(link))
            return 130
        except RinglightError as error:
            LOGGER.error("%s", error)
            link.end("failed", error=str(error))
            return error.exit_code
        # Whatever a library raises ends this job, not its worker; the log has the traceback.
        except Exception as error:  # noqa: BLE001
            LOGGER.exception("the job failed")
            link.end("failed", error=" ".join(f"{type(error).__name__}: {error}".split()))
            return 1
    return 0


def _why(link: Link) -> str:
    if link.order == "go":
        return "its process was interrupted"
    return "asked to pause" if link.order == "pause" else "asked to cancel"


def _task(given: Mapping[str, Any], root: Path, link: Link) -> Task:
    payload = payload_of(given["kind"], given["payload"])
    try:
        os.chdir(payload.folder)
    except OSError as error:
        raise JobError(
            "the folder that the job was submitted from", got=os.strerror(error.errno or 0), where=payload.folder,
            fix="bring it back, or submit the job again from another one",
        ) from error  # fmt: skip
    return Task(
        id=given["id"], kind=given["kind"], payload=payload, root=root, run=given["run"], device=given["device"],
        link=link,
    )  # fmt: skip


@contextlib.contextmanager
def _alone(link: Link) -> Iterator[None]:
    """Hold the job's log, which standard error leads into, so that no two processes of one job write its run.

    A lock of this process alone: what it forks (a loader's workers) does not keep it when this one is killed.
    """
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.lockf(2, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except OSError as error:
            if link.order != "go":
                raise KeyboardInterrupt from error
            if time.monotonic() > deadline:
                raise JobError(
                    "a job that no other process is at", got="one that does not end", where="job",
                    fix="end the processes of its former worker, then ringlight jobs retry",
                ) from error  # fmt: skip
            time.sleep(0.2)
    yield


if __name__ == "__main__":
    sys.exit(serve())
