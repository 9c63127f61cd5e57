"""A report as one HTML page: the blocks made ready for the template, which escapes every value it prints.

The page fetches nothing and runs nothing but its own script: a content security policy names the hash of that script
and of the style sheet, so that no text out of a data set can become code, whatever it holds.
"""

from __future__ import annotations

import base64
import hashlib
import struct
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from ringlight.evaluation.report_blocks import (
    DASH,
    Block,
    Estimate,
    Mark,
    Picture,
    Section,
    Sentence,
    Share,
    Table,
    Value,
    loudest,
)

SORTABLE_FROM = 3
"""Rows from which a table can be sorted."""

SHORT_TO = 16
"""Rows up to which a table is kept on one sheet of paper."""

LONG_FROM = 30
"""Rows from which a table scrolls inside its own box on a screen."""

WIDE = 2.2
"""Width by height from which a picture takes a row of its own: strips, signals."""

_PNG = b"\x89PNG\r\n\x1a\n"


def page(
    title: str,
    subtitle: str,
    verdict: Sequence[Sentence],
    sections: Sequence[Section],
    pictures: Mapping[str, bytes],
) -> str:
    """Return the page; every picture that a section names has to be in `pictures`."""
    style, script = _asset("report.css"), _asset("report.js")
    text: str = _template().render(
        title=title,
        subtitle=subtitle,
        verdict=verdict,
        tone=loudest(verdict),
        sections=sections,
        pictures={name: _image(data) for name, data in pictures.items()},
        style=style,
        script=script,
        policy=f"default-src 'none'; img-src data:; style-src {_digest(style)}; script-src {_digest(script)}; "
        "base-uri 'none'; form-action 'none'",
    )
    return text


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("ringlight.evaluation"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"cell": cell, "spans": spans, "kind": _kind, "numeric": numeric}
    environment.globals |= {
        "sortable_from": SORTABLE_FROM,
        "short_to": SHORT_TO,
        "long_from": LONG_FROM,
        "is_wide": is_wide,
    }
    return environment.get_template("report.html.j2")


def _kind(block: Block) -> str:
    return type(block).__name__.lower()


@cache
def _asset(name: str) -> str:
    text: str = (files("ringlight.evaluation") / "templates" / name).read_text(encoding="utf-8")
    return text


def spans(text: str) -> list[tuple[bool, str]]:
    """Return a text in pieces, each with whether it is code, which stands between backticks.

    Examples:
        >>> spans("class `pore` is never predicted")
        [(False, 'class '), (True, 'pore'), (False, ' is never predicted')]
    """
    pieces = text.split("`")
    if len(pieces) % 2 == 0:  # a lone backtick is a letter
        return [(False, text)]
    return [(bool(index % 2), piece) for index, piece in enumerate(pieces) if piece]


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _image(data: bytes) -> dict[str, Any]:
    """Return a picture's address and, out of a PNG's header, its size in pixels: the page keeps its place free."""
    width, height = struct.unpack(">II", data[16:24]) if data.startswith(_PNG) and len(data) >= 24 else (None, None)
    return {"src": f"data:image/png;base64,{base64.b64encode(data).decode()}", "width": width, "height": height}


def is_wide(picture: Picture | None, pictures: Mapping[str, Mapping[str, Any]]) -> bool:
    """Return whether a card's picture takes the whole width."""
    image = pictures[picture.name] if picture is not None else {}
    return bool(image.get("height")) and image["width"] / image["height"] > WIDE


def numeric(table: Table, column: int) -> bool:
    """Return whether a column holds numbers, which stand to the right."""
    values = [row[column] for row in table.rows]
    return any(isinstance(value, int | float | Estimate | Share) for value in values) and not any(
        isinstance(value, str) for value in values
    )


def cell(value: Value) -> dict[str, str]:
    """Return how a value is shown: its text, what stands smaller beside it, what it is sorted by, its class.

    Examples:
        >>> cell(0.61234)["text"], cell(None)["text"] == DASH, cell(Estimate(0.9, 0.8, 0.95))["extra"]
        ('0.612', True, '[0.800, 0.950]')
    """
    shown = {"text": DASH, "extra": "", "sort": "", "css": ""}
    if isinstance(value, Estimate):
        shown["text"] = str(Estimate(value.value, style=value.style)).removesuffix(" %")
        shown |= {"extra": value.interval, "sort": "" if value.value is None else f"{value.value:.12g}"}
    elif isinstance(value, Share):
        share = "" if value.share is None else f"{value.share:.0%}"
        heat = f"heat-{round(10 * (value.share or 0))}" if value.count else "heat-0"
        shown |= {"text": f"{value.count:,}", "extra": share if value.count else "", "sort": str(value.count)}
        shown["css"] = f"share {'right' if value.right else 'wrong'} {heat}"
    elif isinstance(value, Mark):
        shown |= {"text": value.text, "sort": value.text, "css": f"mark {value.tone}"}
    elif isinstance(value, float):
        shown |= {"text": f"{value:.3f}", "sort": f"{value:.12g}"}
    elif isinstance(value, int):
        shown |= {"text": f"{value:,}", "sort": str(value)}
    elif value is not None:
        shown |= {"text": value, "sort": value}
    return shown
