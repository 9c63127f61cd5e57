"""Which process is which, whether it still runs, and whose it is."""

from __future__ import annotations

import getpass
import os
import platform
from typing import Any

import psutil


def this_process() -> dict[str, Any]:
    """Return what a process is known by: host, number, and when it began (seconds since 1970): numbers come again."""
    process = psutil.Process()
    return {"host": platform.node(), "pid": process.pid, "began": process.create_time()}


def process_runs(known: object) -> bool | None:
    """Say whether a process of :func:`this_process` still runs; None where that cannot be seen from here.

    Examples:
        >>> process_runs(this_process()), process_runs({"host": "elsewhere", "pid": 1, "began": 0.0})
        (True, None)
    """
    if not isinstance(known, dict) or known.get("host") != platform.node():
        return None
    try:
        process = psutil.Process(int(known["pid"]))
        return abs(process.create_time() - float(known["began"])) < 1 and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return False
    except (KeyError, TypeError, ValueError, psutil.AccessDenied):
        return None


def login() -> str:
    """Return who is logged in, for the audit trail."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container's user may have no name
        return f"uid {os.getuid()}" if hasattr(os, "getuid") else "unknown"
