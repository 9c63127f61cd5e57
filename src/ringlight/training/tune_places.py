"""Where trials are kept and made: addresses of storages, processes, and how a trial is told in a line."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil

from ringlight.config.spaces import label
from ringlight.training.tune_trials import TrialRow


def sqlite_address(path: Path) -> str:
    """Return the storage address of a file.

    Examples:
        >>> sqlite_address(Path("/studies/a/study.db"))
        'sqlite:////studies/a/study.db'
    """
    text = str(path.absolute())
    for sign in "%?#":  # an address has a meaning of its own for these
        text = text.replace(sign, quote(sign))
    return f"sqlite:///{text}"


def hidden(address: str) -> str:
    """Return an address without its password.

    Examples:
        >>> hidden("postgresql://me:secret@host/studies")
        'postgresql://me:***@host/studies'
    """
    return re.sub(r"(//[^:/@]*):[^@]*@", r"\1:***@", address)


def this_process() -> dict[str, Any]:
    """Return what a trial's process is known by: its machine, its number, and when it began."""
    return {"host": platform.node(), "pid": os.getpid(), "started": psutil.Process().create_time()}


def is_alive(process: Mapping[str, Any] | None) -> bool:
    """Return whether a trial's process may still be at work; that of another machine is believed to be."""
    if process is None:
        return False
    if process["host"] != platform.node():
        return True
    try:
        return abs(psutil.Process(int(process["pid"])).create_time() - float(process["started"])) < 1.0
    except psutil.NoSuchProcess:
        return False


def trial_line(row: TrialRow, total: int, metric: str, best: TrialRow | None) -> str:
    """Return a trial in one line, as it is told when it has ended."""
    ends = {"complete": "", "pruned": "pruned at ", "failed": "failed"}
    score = f"{metric} {row.value:.4f}" if row.value is not None else ""
    told = f"{ends.get(row.state, row.state)}{score}" + (f": {row.reason}" if row.reason else "")
    chosen = "  ".join(f"{key}={label(_short(value))}" for key, value in row.values.items())
    so_far = "" if best is None or best.value is None else f"  (best {best.value:.4f}, trial {best.number + 1})"
    return f"trial {row.number + 1}/{total}  {told}{so_far}  {chosen}"


def _short(value: Any) -> Any:
    return float(f"{value:.4g}") if isinstance(value, float) else value
