"""What the tests leave out of a run that they do not look at: drawing figures, and waiting for the disk.

A tiny run trains for a second and draws its figures for two; the system confirms thirty files before it goes on. Both
are the same in every run, and tested where they are the point: a test file that speaks of figures gets real ones, and
the tests of power cuts run in processes of their own.
"""

from __future__ import annotations

import io
import os
import re
from functools import cache
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from PIL import Image

SPEAKS_OF_FIGURES = re.compile(r"(?<!con)figure(?!s[\"/])|sheet|savefig|add_image|screenshot")

_draw = Figure.savefig
_fsync = os.fsync
_wanted = True


@cache
def _blank() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (16, 12), "white").save(stream, format="PNG")
    return stream.getvalue()


@cache
def draws(path: Path) -> bool:
    """Whether the tests of a file look at figures."""
    return SPEAKS_OF_FIGURES.search(path.read_text(encoding="utf-8")) is not None


def _savefig(figure: Figure, target: Any, **options: Any) -> None:
    if _wanted:
        _draw(figure, target, **options)
    elif hasattr(target, "write"):
        target.write(_blank())
    else:
        Path(target).write_bytes(_blank())


def begin(path: Path) -> None:
    """Draw, or do not, for the tests of a file."""
    global _wanted
    _wanted = draws(path)


def install() -> None:
    """Take the places of what is slow."""
    Figure.savefig = _savefig  # type: ignore[method-assign]
    os.fsync = lambda _descriptor: None


def remove() -> None:
    """Give them back."""
    Figure.savefig = _draw  # type: ignore[method-assign]
    os.fsync = _fsync
