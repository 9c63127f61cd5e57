"""How far a prediction is: a bar with rate and time left on a terminal, else a line now and then."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ringlight.cli.render import fail

EVERY = 10.0
"""Seconds from one line to the next."""


@contextmanager
def predict_progress(total: int | None, unit: str) -> Iterator[Callable[[int, int], None]]:
    """Yield what is told how many records are judged now, and how many were there before.

    Args:
        total: records in all; None where nobody knows.
        unit: what they are: images or windows.
    """
    started = time.monotonic()
    terminal = Console(stderr=True)
    if not terminal.is_terminal:
        last = started

        def line(judged: int, skipped: int) -> None:
            nonlocal last
            if time.monotonic() - last >= EVERY:
                last = time.monotonic()
                fail(_told(judged, skipped, total, last - started, unit))

        yield line
        return
    columns = (
        TextColumn("predicting"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(), TextColumn("{task.fields[eta]}"),
    )  # fmt: skip
    with Progress(*columns, console=terminal, transient=True) as progress:
        task = progress.add_task("predicting", total=total, rate="", eta="")

        def move(judged: int, skipped: int) -> None:
            rate, eta = _pace(judged, skipped, total, time.monotonic() - started)
            progress.update(
                task, completed=judged + skipped, rate=f"{rate:.1f} {unit}/s", eta="" if eta is None else f"ETA {eta}"
            )

        yield move


def _pace(judged: int, skipped: int, total: int | None, seconds: float) -> tuple[float, timedelta | None]:
    """Return records a second, and the time that is left."""
    rate = judged / seconds if seconds > 0 else 0.0
    if total is None or not rate:
        return rate, None
    return rate, timedelta(seconds=round(max(0, total - judged - skipped) / rate))


def _told(judged: int, skipped: int, total: int | None, seconds: float, unit: str) -> str:
    rate, eta = _pace(judged, skipped, total, seconds)
    share = "" if not total else f" of {total} ({100 * (judged + skipped) / total:.0f}%)"
    left = "" if eta is None else f", ETA {eta}"
    return f"{judged + skipped}{share} {unit} predicted, {rate:.1f} {unit}/s{left}"
