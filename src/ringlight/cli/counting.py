"""A bar for work that is counted in records: drawn on a terminal, silent elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

Count = Callable[[str, int, int], None]
"""Called with what is done, how much of it, and how much there is."""


@contextmanager
def counting() -> Iterator[Count | None]:
    """Show a bar for each kind of work on a terminal's standard error; None elsewhere.

    The bars go when the block ends.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("ETA"))
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as progress:
        bars: dict[str, TaskID] = {}

        def count(what: str, done: int, total: int) -> None:
            if what not in bars:
                bars[what] = progress.add_task(what, total=total)
            progress.update(bars[what], completed=done)

        yield count
