"""Labels: one line, short, readable, never a formula, told apart."""

from __future__ import annotations

import pytest

from ringlight.evaluation import lettering
from ringlight.evaluation.lettering import class_labels, printable


@pytest.fixture
def base_font_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine without East Asian fonts."""
    fonts = {lettering.BASE_FONT: lettering._fonts()[lettering.BASE_FONT]}
    signs = frozenset(lettering.FT2Font(fonts[lettering.BASE_FONT]).get_charmap())
    monkeypatch.setattr(lettering, "_fonts", lambda: fonts)
    monkeypatch.setattr(lettering, "_signs", lambda: signs)


def test_umlauts_and_cyrillic_stay() -> None:
    assert printable("Einschluß — Царапина") == "Einschluß — Царапина"


def test_line_breaks_and_tabs_become_spaces() -> None:
    assert printable(" a\n\tb ") == "a b"


def test_long_names_keep_both_ends() -> None:
    label = printable("abcdefghijklmnopqrstuvwxyz", 11)
    assert label == "abcde…vwxyz"
    assert len(label) == 11


def test_dollars_are_dollars() -> None:
    assert printable("$x$") == r"\$x\$"


def test_signs_without_a_font_are_boxes_and_their_classes_numbered(base_font_only: None) -> None:
    assert class_labels(["ok", "裂纹", "划伤"]) == ["ok", "1: □□", "2: □□"]


def test_names_that_shortening_made_equal_are_numbered() -> None:
    names = [f"scratch on the {side} edge of the strip" for side in ("left", "rear")]
    assert class_labels([*names, "pit"]) == ["0: scratch on t…f the strip", "1: scratch on t…f the strip", "pit"]
