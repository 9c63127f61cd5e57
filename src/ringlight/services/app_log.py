"""The application log of a workspace, `logs/ringlight.log`: one file for all processes, rotated, without secrets."""

from __future__ import annotations

import contextlib
import logging
import logging.handlers
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO
from urllib.parse import unquote

from filelock import FileLock

from ringlight.files import unwritable
from ringlight.runtime import LOGGER
from ringlight.store.session import DATABASE_URL

MAX_BYTES, BACKUPS = 5 * 2**20, 5
"""When the log is rotated, and how many former ones are kept."""

_IN_AN_ADDRESS = re.compile(r"(?<=://)([^/\s:@]*):([^/\s@]+)@")
_BY_NAME = re.compile(r"(?i)\b(password|passwd|token)=[^&\s'\"]+")


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


class NoSecrets(logging.Filter):
    """Takes passwords out of addresses, and the password of the database out of everything."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrite a record that holds one; let every record pass."""
        text = record.getMessage()
        clean = without_secrets(text)
        if clean != text:
            record.msg, record.args = clean, ()
        if record.exc_info and not record.exc_text:
            record.exc_text = without_secrets(logging.Formatter().formatException(record.exc_info))
        return True


def without_secrets(text: str) -> str:
    """Return a text without the passwords in it.

    Examples:
        >>> without_secrets("no answer from postgresql://me:secret@host/plant")
        'no answer from postgresql://me:***@host/plant'
    """
    clean = _BY_NAME.sub(r"\1=***", _IN_AN_ADDRESS.sub(r"\1:***@", text))
    named = _IN_AN_ADDRESS.search(os.environ.get(DATABASE_URL, ""))
    if named is not None:  # alone, too, and as the driver reads it
        for secret in (named[2], unquote(named[2])):
            clean = clean.replace(secret, "***")
    return clean


def hide_secrets(logger: logging.Logger) -> None:
    """Let no record of a logger carry a password to any of its handlers."""
    if not any(isinstance(one, NoSecrets) for one in logger.filters):
        logger.addFilter(NoSecrets())


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
    hide_secrets(LOGGER)
    level = LOGGER.level
    LOGGER.setLevel(min(level or logging.INFO, logging.INFO))
    LOGGER.addHandler(handler)
    try:
        yield
    finally:
        LOGGER.removeHandler(handler)
        LOGGER.setLevel(level)
        handler.close()
