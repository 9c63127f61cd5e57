"""The application log: rotated, shared, without secrets."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import pytest

from ringlight.errors import DATABASE_URL, WorkspaceError, redacted
from ringlight.runtime import LOGGER
from ringlight.services import app_log
from ringlight.services.app_log import SharedRotatingHandler, application_log


@pytest.fixture(autouse=True)
def _own_logging(own_logging: None) -> None:
    """What is set up here is taken back."""


def test_every_line_says_when_and_who(tmp_path: Path) -> None:
    with application_log(tmp_path, "worker a:1"):
        LOGGER.info("job %d: begins", 3)
        LOGGER.debug("details are for the run's own log")
    LOGGER.info("afterwards")
    (line,) = (tmp_path / "logs" / "ringlight.log").read_text().splitlines()
    assert line.endswith("Z INFO worker a:1: job 3: begins")


def test_the_log_is_rotated_and_other_processes_follow(tmp_path: Path) -> None:
    path = tmp_path / "ringlight.log"
    handlers = [SharedRotatingHandler(path, maxBytes=60, backupCount=9, encoding="utf-8") for _ in range(2)]
    for number in range(40):
        record = LOGGER.makeRecord("ringlight", logging.INFO, "", 0, f"line {number:02d}", (), None)
        handlers[number % 2].emit(record)
    for handler in handlers:
        handler.close()
    files = sorted(tmp_path.glob("ringlight.log*"))
    assert len([file for file in files if file.suffix != ".lock"]) > 2
    lines = sorted(line for file in files for line in file.read_text().splitlines())
    assert lines == [f"line {number:02d}" for number in range(40)]  # each once, in one file or another
    assert all(file.stat().st_size <= 60 for file in files)


def test_no_password_reaches_a_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DATABASE_URL, "postgresql://me:s%3Acret@host/plant")
    with application_log(tmp_path, "worker"):
        LOGGER.warning("no answer from %s", "postgresql://me:s%3Acret@host/plant?sslpassword=x&password=hidden")
        LOGGER.warning("the server refused s:cret")
        try:
            raise ValueError("postgresql://other:word@host/x")
        except ValueError:
            LOGGER.exception("a fault")
    text = (tmp_path / "logs" / "ringlight.log").read_text()
    assert "postgresql://***@host/plant" in text
    assert "the server refused ***" in text
    assert "a fault" in text
    assert "ValueError: postgresql://***@host/x" in text
    assert not [secret for secret in ("cret", "hidden", "word@") if secret in text]


def test_a_log_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file")
    with pytest.raises(WorkspaceError, match="expected a place that can be written"), application_log(tmp_path, "w"):
        sys.exit("never")


def test_text_without_secrets_stays_as_it_is() -> None:
    text = "run /a/b:c@d from https://host:80/x, epoch 1/2"
    assert redacted(text) == text
    assert app_log.MAX_BYTES * (app_log.BACKUPS + 1) <= 30 * 2**20
