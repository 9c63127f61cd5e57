"""A standard error that says it is a terminal."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable

import pytest


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def open_terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Terminal]:
    """Put a terminal, 120 columns wide, in the place of standard error; in the test, since pytest puts back its own."""

    def put() -> Terminal:
        made = Terminal()
        monkeypatch.setattr(sys, "stderr", made)
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setenv("COLUMNS", "120")
        return made

    return put
