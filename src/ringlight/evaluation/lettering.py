"""Class names as figures can show them: any script that a font on this machine has, no accidental formulas."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text

BASE_FONT = "DejaVu Sans"
"""Ships with matplotlib: Latin, Greek, Cyrillic, Arabic, Hebrew."""

EAST_ASIAN_FONTS = (
    "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans SC", "Noto Sans JP", "Noto Sans KR", "Source Han Sans SC",
    "WenQuanYi Zen Hei", "WenQuanYi Micro Hei", "Droid Sans Fallback", "Microsoft YaHei", "SimHei", "Yu Gothic",
    "MS Gothic", "Malgun Gothic", "PingFang SC", "Hiragino Sans", "Arial Unicode MS",
)  # fmt: skip
"""Fonts that Linux, Windows and macOS ship for the scripts which the base font lacks."""


UNKNOWN_SIGN = "\u25a1"


@cache
def _fonts() -> dict[str, str]:
    """Return name and file of the base font and of the East Asian ones that are installed, in the order tried."""
    installed = {font.name: font.fname for font in font_manager.fontManager.ttflist}
    return {name: installed[name] for name in (BASE_FONT, *EAST_ASIAN_FONTS) if name in installed}


@cache
def _signs() -> frozenset[int]:
    return frozenset(sign for file in _fonts().values() for sign in FT2Font(file).get_charmap())


def set_fonts(figure: Figure) -> Figure:
    """Let every text of a finished figure use the fonts :func:`printable` counts on; return the figure.

    Set on the texts and not in matplotlib's settings, which belong to the program around us.
    """
    for text in figure.findobj(Text):
        text.set_fontfamily(list(_fonts()))
    return figure


def printable(text: str, limit: int = 24) -> str:
    r"""Return `text` as a label: one line, shortened in the middle, a sign no font has as U+25A1, dollars as dollars.

    Examples:
        >>> printable("a very long name of a defect class"), printable("5$ or 6$")
        ('a very long …efect class', '5\\$ or 6\\$')
    """
    text = " ".join(text.split())
    if len(text) > limit:
        text = text[: limit // 2] + "…" + text[-(limit - limit // 2 - 1) :]
    known = _signs()
    text = "".join(sign if ord(sign) in known else UNKNOWN_SIGN for sign in text)
    return text.replace("$", r"\$")  # matplotlib would set what stands between two dollars as a formula


def class_labels(names: Sequence[str]) -> list[str]:
    """Return a label per class; its number stands before one that shortening or a missing font has made unclear.

    Examples:
        >>> class_labels(["crack", "scale, rolled in, left edge", "scale, rolled in, cut edge"])
        ['crack', 'scale, rolle…, left edge', 'scale, rolle…n, cut edge']
    """
    labels = [printable(name) for name in names]
    unclear = {label for label in labels if labels.count(label) > 1 or UNKNOWN_SIGN in label}
    return [f"{index}: {label}" if label in unclear else label for index, label in enumerate(labels)]
