"""A bar for each kind of work on a terminal, and nothing elsewhere."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest

from ringlight.cli.counting import counting


def test_without_a_terminal_there_is_nothing_to_call(capsys: pytest.CaptureFixture[str]) -> None:
    with counting() as count:
        assert count is None
    assert capsys.readouterr() == ("", "")


def test_every_kind_of_work_has_its_bar(open_terminal: Callable[[], io.StringIO]) -> None:
    terminal = open_terminal()
    with counting() as count:
        assert count is not None
        count("near-duplicates", 3, 15)
        count("near-duplicates", 15, 15)
        count("features", 7, 15)
    text = terminal.getvalue()
    assert "near-duplicates" in text
    assert "features" in text
    assert " 7/15" in text
    assert "15/15" in text
