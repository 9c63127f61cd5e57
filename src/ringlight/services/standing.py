"""How a run stands, in its `manifest.json`, and what it stands on.

It is running, then completed, failed, paused (by its control), interrupted (Ctrl-C, SIGTERM) or cancelled. One that is
paused or interrupted goes on where it was; so does a cancelled one whose checkpoint was kept.
"""

from __future__ import annotations

import errno
import json
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ringlight.errors import InterruptedRunError, RinglightError, RunError
from ringlight.files import remove_parts, unwritable, write_json
from ringlight.runtime import LOGGER, package_versions, promise
from ringlight.services.processes import this_process
from ringlight.training.checkpoint_files import LAST, MIDWAY, forget
from ringlight.training.fold_files import is_cross_validation
from ringlight.types import RunControl, Tracker, keeps_checkpoint

if TYPE_CHECKING:
    from ringlight.training.plan import Plan

MANIFEST = "manifest.json"
REFUSED_WRITES = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO)
"""What a disk answers that is full, read-only, forbidden or broken."""


STATUS_OF = {"pause": "paused", "cancel": "cancelled", "interrupted": "interrupted"}
"""How a run stands that was stopped, by the signal."""


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
def status_of(made: Plan, folder: Path, tracker: Tracker, control: RunControl | None = None) -> Iterator[Say]:
    """Say how the run stands: running, then how it ended.

    Where it was cancelled its checkpoints are removed, but for the last whole one where the `control` keeps it.
    """
    say = Say(made, folder, tracker)
    remove_parts(folder)
    say("running")
    try:
        yield say
    except InterruptedRunError as error:
        # Who stopped it does not know where the run lies; the reader should not have to look for it.
        told = error.retold(fix=error.fix.replace("--resume RUN", f"--resume {shlex.quote(str(folder))}"))
        if error.signal == "cancel":
            remove_what_is_in_the_middle(folder, keep_last=keeps_checkpoint(control))
            if not (has_checkpoint(folder) or is_cross_validation(folder)):  # whose finished folds are kept
                told = error.retold(fix="nothing is left to go on from; start a new one with ringlight train")
        _try_to_say(say, str(told), STATUS_OF[error.signal])
        raise told from error
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


def remove_what_is_in_the_middle(folder: Path, *, keep_last: bool) -> None:
    """Remove what a cancelled run would go on from; `keep_last` leaves the last whole checkpoints, and the best."""
    if not keep_last:
        forget(folder)
    for path in folder.rglob(MIDWAY):
        path.unlink(missing_ok=True)
    remove_parts(folder)


def has_checkpoint(folder: Path) -> bool:
    """Say whether a run, or one of its folds or phases, has something to go on from."""
    return next(folder.rglob(LAST), None) is not None


def refuse_cancelled(folder: Path) -> None:
    """Refuse to go on with a cancelled run whose checkpoints were removed.

    Raises:
        RunError: it is one.
    """
    if read_manifest(folder).get("status") == "cancelled" and not has_checkpoint(folder):
        raise RunError(
            "a run that can be gone on with", got="a cancelled one, whose checkpoints were removed", where=str(folder),
            fix="start a new one with ringlight train",
        )  # fmt: skip


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
