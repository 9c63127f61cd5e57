"""The server's log: a JSON document a line on standard error, without images, keys, or anything of a body."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

from ringlight.errors import redacted
from ringlight.runtime import LOGGER, hide_secrets

FIELDS = "fields"
"""The attribute of a record that holds more than its message."""


class JsonFormatter(logging.Formatter):
    """Writes a record as one line of JSON: when, how grave, what, and its fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = {
            "time": moment.replace("+00:00", "Z"), "level": record.levelname.lower(),
            "message": redacted(record.getMessage()), **getattr(record, FIELDS, {}),
        }  # fmt: skip
        if record.exc_info:
            line["traceback"] = redacted(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=False, default=str)


def log_as_json(level: int = logging.INFO) -> None:
    """Let Ringlight and uvicorn log JSON to standard error, and nothing else."""
    handler = logging.StreamHandler(sys.stderr)
    handler.ringlight_console = True  # type: ignore[attr-defined]  # `configure_logging` takes it away as its own
    handler.setFormatter(JsonFormatter())
    for logger in (LOGGER, logging.getLogger("uvicorn"), logging.getLogger("uvicorn.error")):
        for old in list(logger.handlers):
            if logger is not LOGGER or getattr(old, "ringlight_console", False):
                logger.removeHandler(old)
    uvicorn = logging.getLogger("uvicorn")
    uvicorn.setLevel(logging.WARNING)  # its own lines on starting and ending say nothing that ours do not
    uvicorn.propagate = False
    uvicorn.addHandler(handler)
    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # a warning for every byte of a damaged form
    LOGGER.addHandler(handler)
    LOGGER.setLevel(level)
    LOGGER.propagate = False
    hide_secrets()
