"""Tables, JSON and the progress bar; the only place that knows what a terminal looks like."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ringlight.runtime import LOGGER
from ringlight.types import RunControl, Signal

HEADLINES = ("macro_f1", "micro_f1", "weighted_f1", "accuracy", "balanced_accuracy", "subset_accuracy")


def print_json(value: object) -> None:
    """Print one JSON document on standard output."""
    print(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


def print_json_line(value: object) -> None:
    """Print one JSON document on a line of its own, at once."""
    print(json.dumps(value, ensure_ascii=False, allow_nan=False), flush=True)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]], title: str | None = None) -> None:
    """Print rows below each other, numbers to the right.

    Nothing is folded or cut, whatever the width: a line is a record also for `grep` and `less -S`.
    """
    if title:
        print(title)
    right = [bool(rows) and all(_is_number(row[position]) for row in rows) for position in range(len(columns))]
    lines = [list(columns), *([shown(value) for value in row] for row in rows)]
    widths = [max(cell_len(line[position]) for line in lines) for position in range(len(columns))]
    for line in lines:
        cells = [_padded(cell, width, end) for cell, width, end in zip(line, widths, right, strict=True)]
        print("  ".join(cells).rstrip())


def shown(value: Any) -> str:
    """Return a value as a table shows it: three decimals (small numbers in full), `-` for nothing.

    Examples:
        >>> [shown(value) for value in (0.12345, 3, None, 2e-05, True, "12.0%")]
        ['0.123', '3', '-', '2e-05', 'True', '12.0%']
    """
    if value is None:
        return "-"
    if not isinstance(value, float):
        return str(value)
    return f"{value:.3f}" if value == 0 or abs(value) >= 0.001 else f"{value:.3g}"


def _is_number(value: Any) -> bool:
    if isinstance(value, str):
        return value == "" or value.endswith("%")
    return isinstance(value, int | float | None)


def _padded(cell: str, width: int, right: bool) -> str:
    space = " " * (width - cell_len(cell))  # an umlaut may be two characters, a Chinese sign is two columns wide
    return space + cell if right else cell + space


def print_verdict(results: Mapping[str, Any], folder: object) -> None:
    """Print the per-class table, the headline scores, the report's verdict in words, and where the run lies."""
    from ringlight.evaluation.report_verdict import verdict

    test = results["test"]
    columns = ("precision", "recall", "f1", "auroc", "ap", "support")
    rows = [(name, *(scores.get(column) for column in columns)) for name, scores in test["per_class"].items()]
    print_table(("class", *columns), rows, title=f"{results['judged_part']} part, {results['model']['name']}")
    scalars = test["scalars"]
    print("  ".join(f"{name} {shown(scalars[name])}" for name in HEADLINES if scalars.get(name) is not None))
    for note in test["notes"]:
        print(f"note: {note}")
    for sentence in verdict(results):
        print(sentence.text)
    print(f"run: {folder}")


class _Bar:
    """A `RunControl` that draws a progress bar and lets the run go on."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._bar = progress.add_task("training", total=None, rate="", epoch="preparing", eta="")

    def heartbeat(self, progress: Mapping[str, float]) -> Signal:
        fold = f"fold {int(progress['fold']) + 1}/{int(progress['num_folds'])}, " if "fold" in progress else ""
        unit = "windows" if progress.get("windows") else "images"
        self._progress.update(
            self._bar,
            completed=int(progress["done"]),
            total=int(progress["total"]),
            # Between two folds, and while an estimator is fitted, nothing is counted: no rate is not a rate of 0.
            rate=f"{progress['images_per_second']:.1f} {unit}/s" if progress["images_per_second"] else "",
            epoch=f"{fold}epoch {int(progress['epoch']) + 1}/{int(progress['num_epochs'])}",
            eta=f"ETA {timedelta(seconds=round(progress['eta']))}" if "eta" in progress else "",
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
        TimeElapsedColumn(), TextColumn("{task.fields[eta]}"),
    )  # fmt: skip
    with Progress(*columns, console=terminal, transient=True) as progress, _log_above_the_bar():
        yield _Bar(progress)


@contextmanager
def follow_bar() -> Iterator[Callable[[float | None, str], None]]:
    """Yield what shows how far a job is (percent, words): a bar on a terminal, elsewhere a line every ten percent."""
    terminal = Console(stderr=True)
    told = -1

    def line(percent: float | None, words: str) -> None:
        nonlocal told
        tenth = -1 if percent is None else int(percent // 10)
        if tenth > told:
            told = tenth
            print(words)

    if not terminal.is_terminal:
        yield line
        return
    columns = (BarColumn(), TextColumn("{task.fields[words]}"), TimeElapsedColumn())
    with Progress(*columns, console=terminal, transient=True) as progress:  # its own output goes above the bar
        task = progress.add_task("job", total=None, words="")
        yield lambda percent, words: progress.update(
            task, completed=percent or 0.0, total=None if percent is None else 100.0, words=words
        )


@contextmanager
def _log_above_the_bar() -> Iterator[None]:
    """Send log lines through the bar's own standard error, which moves the bar down; else they tear it apart."""
    consoles = [handler for handler in LOGGER.handlers if isinstance(handler, logging.StreamHandler)]
    former = [(handler, handler.stream) for handler in consoles if getattr(handler, "ringlight_console", False)]
    for handler, _ in former:
        handler.setStream(sys.stderr)
    try:
        yield
    finally:
        for handler, stream in former:
            handler.setStream(stream)


def fail(message: str) -> None:
    """Print an error on standard error, one line a mistake."""
    print(message, file=sys.stderr)
