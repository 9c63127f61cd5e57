"""Tables, JSON and the progress bar; the only place that knows what a terminal looks like."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from ringlight.types import RunControl, Signal


def console() -> Console:
    """Return a console on standard output; made at each call so that a redirected stream is respected."""
    return Console(soft_wrap=True, highlight=False)


def print_json(value: object) -> None:
    """Print one JSON document on standard output."""
    print(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]], title: str | None = None) -> None:
    """Print rows; numbers to the right."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for position, column in enumerate(columns):
        numeric = rows and all(isinstance(row[position], int | float | None) for row in rows)
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(_shown(value) for value in row))
    console().print(table)


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def print_verdict(results: Mapping[str, Any], folder: object) -> None:
    """Print the per-class table and the headline scores of a run, and where it lies."""
    test = results["test"]
    columns = ("precision", "recall", "f1", "auroc", "ap", "support")
    rows = [(name, *(scores.get(column) for column in columns)) for name, scores in test["per_class"].items()]
    print_table(("class", *columns), rows, title=f"{results['judged_part']} part, {results['model']['name']}")
    scalars = test["scalars"]
    shown = ("macro_f1", "micro_f1", "weighted_f1", "accuracy", "balanced_accuracy", "subset_accuracy")
    headline = "  ".join(f"{name} {scalars[name]:.3f}" for name in shown if scalars.get(name) is not None)
    console().print(headline, markup=False)
    for note in test["notes"]:
        console().print(f"note: {note}", markup=False)
    console().print(f"run: {folder}", markup=False)


class _Bar:
    """A `RunControl` that draws a progress bar and lets the run go on."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._bar = progress.add_task("training", total=None, rate="", epoch="")

    def heartbeat(self, progress: Mapping[str, float]) -> Signal:
        self._progress.update(
            self._bar,
            completed=int(progress["done"]),
            total=int(progress["total"]),
            rate=f"{progress['images_per_second']:.1f} images/s",
            epoch=f"epoch {int(progress['epoch']) + 1}/{int(progress['num_epochs'])}",
        )
        return "go"


@contextmanager
def training_progress() -> Iterator[RunControl | None]:
    """Show a bar with rate and ETA on a terminal; elsewhere None: the run's own lines tell how far it is."""
    terminal = Console(stderr=True)
    if not terminal.is_terminal:
        yield None
        return
    columns = (
        TextColumn("{task.fields[epoch]}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(), TextColumn("ETA"), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=terminal, transient=True) as progress:
        yield _Bar(progress)


def fail(message: str) -> None:
    """Print an error on standard error, one line a mistake."""
    print(message, file=sys.stderr)
