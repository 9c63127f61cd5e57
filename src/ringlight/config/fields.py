"""The kinds of value a configuration holds, stricter where a silent conversion would hide a mistake.

Pydantic turns `true` into 1 and refuses a folder called `2024`; a YAML file and a command line produce both. These
kinds refuse the first and accept the second. None of them changes the JSON schema.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, Strict, StrictBool

from ringlight.errors import redacted


def as_text(value: object) -> object:
    """Write a number out, leave everything else as it is.

    Examples:
        >>> as_text(32)
        '32'
    """
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _folder(value: Path) -> Path:
    return value.expanduser()


def _device(value: str) -> str:
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", value):
        raise ValueError("'auto', 'cpu', 'cuda' or 'cuda:N'")
    return value


def _file_name(value: str) -> str:
    if not value.strip() or re.search(r"[/\\\x00-\x1f]", value) or value.startswith(".") or len(value) > 100:
        raise ValueError("a name of 1 to 100 characters without / or \\ that does not start with a dot")
    return value


def without_password(instead: str) -> Callable[[str], str]:
    """Return a check that refuses an address that holds a secret: every run writes its configuration down.

    Args:
        instead: where the secret belongs, as the message says it.

    Examples:
        >>> without_password("~/.pgpass is the place for it")("postgresql://host/trials")
        'postgresql://host/trials'
    """

    def check(address: str) -> str:
        if redacted(address) != address:
            raise ValueError(f"an address without a password ({instead})")
        return address

    return check


Whole = Annotated[int, Strict()]
"""An integer; `true` is not 1."""

Real = Annotated[float, Strict()]
"""A finite number; `true` is not 1."""

Word = Annotated[str, BeforeValidator(as_text)]
"""Text; a number is taken as it is written."""

Location = Annotated[Path, BeforeValidator(as_text), AfterValidator(_folder)]
"""A path; a leading `~` is the home folder."""

Device = Annotated[Word, AfterValidator(_device)]
"""A compute device by name."""

FileName = Annotated[Word, AfterValidator(_file_name)]
"""Text that can stand in a file name."""

Toggle = StrictBool | Real | dict[str, Any] | None
"""How an augmentation is set: null or false (off), true (on), a number (its probability) or its parameters."""

Minutes = Annotated[Real, Field(gt=0)]
"""A time, more than none."""
