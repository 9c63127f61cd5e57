"""The application log of a workspace, `logs/ringlight.log`: one file for all processes, rotated, without secrets."""

from __future__ import annotations

import contextlib
import logging
import logging.handlers
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from filelock import FileLock

from ringlight.files import unwritable
from ringlight.runtime import LOGGER, hide_secrets

MAX_BYTES, BACKUPS = 5 * 2**20, 5
"""When the log is rotated, and how many former ones are kept."""


class SharedRotatingHandler(logging.handlers.RotatingFileHandler):
    """A rotating log that several processes write: one of them turns it over, the others notice and follow."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record to the file that bears the name now."""
        self._follow()
        super().emit(record)

    def doRollover(self) -> None:  # noqa: N802 - the name is logging's
        """Turn the log over, unless another process just has."""
        with FileLock(f"{self.baseFilename}.lock"):
            if not self._follow():
                super().doRollover()

    def _follow(self) -> bool:
        """Open the file anew where another process has turned it over; return whether one has."""
        stream: TextIO | None = self.stream  # None between a rotation and the next record, whatever the types say
        if stream is None or self._is_current(stream):
            return False
        stream.close()
        self.stream = self._open()
        return True

    def _is_current(self, stream: TextIO) -> bool:
        try:
            named = Path(self.baseFilename).stat()
        except OSError:
            return False
        mine = os.fstat(stream.fileno())
        return (named.st_dev, named.st_ino) == (mine.st_dev, mine.st_ino)


@contextlib.contextmanager
def application_log(root: Path, who: str) -> Iterator[None]:
    """Write Ringlight's log to the workspace's own inside the block; every line names `who` wrote it.

    Raises:
        WorkspaceError: the folder cannot be written.
    """
    path = root / "logs" / "ringlight.log"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = SharedRotatingHandler(path, maxBytes=MAX_BYTES, backupCount=BACKUPS, encoding="utf-8")
    except OSError as error:
        raise unwritable(path, error) from error
    formatter = logging.Formatter(f"%(asctime)s %(levelname)s {who}: %(message)s", "%Y-%m-%dT%H:%M:%SZ")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    handler.setLevel(logging.INFO)
    hide_secrets()
    level = LOGGER.level
    LOGGER.setLevel(min(level or logging.INFO, logging.INFO))
    LOGGER.addHandler(handler)
    try:
        yield
    finally:
        LOGGER.removeHandler(handler)
        LOGGER.setLevel(level)
        handler.close()
