"""How a library that reports to servers is kept in bounds: silent, offline unless asked, and never for long."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Final, TypeVar

T = TypeVar("T")

DEFAULTS: Final = {
    "MLFLOW_DISABLE_TELEMETRY": "true",  # it reports its use to its makers otherwise
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",  # seconds; its own 120, eight times, would keep a training waiting for minutes
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
}
"""What MLflow reads from the environment while we call it, where the user has not set it."""

LOGGERS: Final = ("mlflow", "alembic", "urllib3", "sqlalchemy")

CALL_SECONDS: Final = 30.0
"""No call takes longer: what hangs is left to itself."""

SECONDS: Final = 60.0
SHARE: Final = 0.1
"""All calls together may take so many seconds, or this share of the time, whichever is more."""


@contextlib.contextmanager
def quiet(seconds: int | None = None) -> Iterator[None]:
    """Keep a library's lines and warnings to itself, its requests short; all is as it was afterwards, unless one hangs.

    `seconds` is how long an answer may take where no training waits for it.
    """
    values = DEFAULTS if seconds is None else {**DEFAULTS, "MLFLOW_HTTP_REQUEST_TIMEOUT": str(seconds)}
    added = [name for name in DEFAULTS if name not in os.environ]
    loggers = [logging.getLogger(name) for name in LOGGERS]
    levels = [logger.level for logger in loggers]
    os.environ.update({name: values[name] for name in added})
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)  # what goes wrong is raised, and told in one line
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except TimeoutError:
        levels = [logging.CRITICAL] * len(levels)  # what hangs is left to itself, and must not speak up later
        raise
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        for name in added:
            os.environ.pop(name, None)


class Patience:
    """Calls what may hang: no call takes longer than `limit` seconds, and all together no more than their share.

    Examples:
        >>> Patience()(lambda: 1 + 1)
        2
        >>> Patience(limit=0.01)(lambda: time.sleep(1))
        Traceback (most recent call last):
            ...
        TimeoutError: no answer in 0.01 s
    """

    def __init__(self, *, limit: float = CALL_SECONDS, seconds: float = SECONDS, share: float = SHARE) -> None:
        self._limit = limit
        self._seconds = seconds
        self._share = share
        self._began = time.monotonic()
        self._spent = 0.0

    def __call__(self, call: Callable[[], T]) -> T:
        """Return what a call returns.

        Raises:
            TimeoutError: it takes too long, or all calls so far took more than their share of the time.
            BaseException: what the call raises.
        """
        answers: list[T] = []
        faults: list[BaseException] = []

        def work() -> None:
            try:
                answers.append(call())
            except BaseException as error:  # noqa: BLE001 - it is raised again where somebody waits for it
                faults.append(error)

        started = time.monotonic()
        # A thread of its own: an address that does not answer, or a locked database, cannot be interrupted otherwise.
        thread = threading.Thread(target=work, name="tracker", daemon=True)
        thread.start()
        thread.join(self._limit)
        now = time.monotonic()
        self._spent += now - started
        if thread.is_alive():
            raise TimeoutError(f"no answer in {self._limit:g} s")
        if faults:
            raise faults[0]
        if self._spent > max(self._seconds, self._share * (now - self._began)):
            raise TimeoutError(f"its answers took {self._spent:.0f} s of {now - self._began:.0f} s")
        return answers[0]
