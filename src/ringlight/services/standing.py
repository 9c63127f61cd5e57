"""How a run stands, in its `manifest.json`: running, then completed, interrupted or failed; and what it stands on."""

from __future__ import annotations

import errno
import json
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ringlight.errors import InterruptedRunError, RinglightError, RunError
from ringlight.files import unwritable, write_json
from ringlight.runtime import LOGGER, package_versions, promise
from ringlight.services.processes import this_process
from ringlight.training.plan import Plan
from ringlight.types import Tracker

MANIFEST = "manifest.json"
REFUSED_WRITES = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO)
"""What a disk answers that is full, read-only, forbidden or broken."""


@dataclass
class Say:
    """Writes how a run stands into its manifest, and tells the tracker.

    `made` is replaced where another device takes over, `reproducibility` set where the run turned out to keep less
    than the usual promise.
    """

    made: Plan
    folder: Path
    tracker: Tracker
    reproducibility: str | None = None

    def __call__(self, status: str, error: str | None = None) -> None:
        """Say it, with the line the user sees."""
        values = _manifest(self.made, status, error)
        if self.reproducibility is not None:
            values["reproducibility"] = self.reproducibility
        write_json(self.folder / MANIFEST, values)
        self.tracker.set_status(status)


@contextmanager
def status_of(made: Plan, folder: Path, tracker: Tracker) -> Iterator[Say]:
    """Say how the run stands: running, then completed, interrupted or failed."""
    say = Say(made, folder, tracker)
    say("running")
    try:
        yield say
    except InterruptedRunError as error:
        _try_to_say(say, str(error), "interrupted")
        # Who stopped it does not know where the run lies; the reader should not have to look for it.
        fix = error.fix.replace("--resume RUN", f"--resume {shlex.quote(str(folder))}")
        raise InterruptedRunError(error.expected, got=error.got, where=error.where, fix=fix) from error
    except KeyboardInterrupt as error:  # outside the epochs: while the model is judged or the results are written
        _try_to_say(say, "Ctrl-C", "interrupted")
        raise InterruptedRunError(
            "a run to its end",
            got="Ctrl-C",
            where=str(folder),
            fix=f"go on with ringlight train --resume {shlex.quote(str(folder))}",
        ) from error
    except OSError as error:
        LOGGER.debug("the run failed", exc_info=True)
        wrapped = unwritable(folder, error) if error.errno in REFUSED_WRITES else None
        _try_to_say(say, str(wrapped or f"{type(error).__name__}: {error}"))
        if wrapped is None:
            raise
        raise wrapped from error
    except RinglightError as error:
        LOGGER.debug("the run failed", exc_info=True)
        _try_to_say(say, str(error))
        raise
    except Exception as error:
        LOGGER.debug("the run failed", exc_info=True)
        _try_to_say(say, f"{type(error).__name__}: {error}")
        raise
    say("completed")


def _try_to_say(say: Callable[[str, str], None], error: str, status: str = "failed") -> None:
    try:
        say(status, error)
    except (RinglightError, OSError) as second:  # a full disk: the first error is the one to report
        LOGGER.debug("could not mark the run as %s: %s", status, second)


def _manifest(made: Plan, status: str, error: str | None) -> dict[str, Any]:
    return {
        "status": status,
        "error": error,
        "updated": datetime.now(UTC).isoformat(timespec="seconds"),
        "process": this_process(),
        "recipe": made.config.recipe,
        "seed": made.config.experiment.seed,
        "dataset_fingerprint": made.fingerprint,
        "device": made.device.device,
        "device_reason": made.device.reason,
        "precision": made.config.training.precision,
        "imbalance": None if made.choice is None else made.choice.to_dict(),
        "num_threads": made.config.training.num_threads,
        "reproducibility": promise(made.device, made.config.training.num_threads or 0),
        "versions": package_versions(),
    }


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read how a run stands.

    Raises:
        RunError: the manifest cannot be read.
    """
    try:
        return dict(json.loads((folder / MANIFEST).read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise RunError(
            "a readable manifest", got=str(error), where=str(folder / MANIFEST), fix="is this a run folder?"
        ) from error
