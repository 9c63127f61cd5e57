"""A report as files for other programs: metrics, classes and confusion as CSV, verdict and tables as Markdown."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ringlight.evaluation.report_blocks import DASH, Facts, Section, Sentence, Table, Value

_MARKDOWN_KEYS = ("data", "scores", "classes", "calibration", "operating", "plant", "gains", "notes")
"""The sections of the Markdown summary: what fits a message; confusion, slices and settings are files of their own."""

_SIGNS = {"good": "✓ ", "warn": "⚠ ", "bad": "✗ ", "plain": ""}


def metrics_csv(results: Mapping[str, Any]) -> str:
    """Return every scalar of the judged part with its interval, one row each; an undefined value is empty."""
    test = results["test"]
    groups = [("", {"loss": test.get("loss"), **test["scalars"]}, (test.get("intervals") or {}).get("scalars"))]
    plant = test.get("plant")
    if plant:
        numbers = {name: value for name, value in plant.items() if isinstance(value, int | float)}
        groups.append(("plant/", numbers, plant.get("intervals")))
    rows: list[list[Any]] = []
    for prefix, values, intervals in groups:
        rows += [
            [f"{prefix}{name}", value, *((intervals or {}).get(name) or (None, None))] for name, value in values.items()
        ]
    return _csv(["metric", "value", "low", "high"], [row for row in rows if row[0] != "loss" or row[1] is not None])


def per_class_csv(results: Mapping[str, Any]) -> str:
    """Return one row per class; a measure with an interval is followed by its two ends."""
    test = results["test"]
    rows, intervals = test["per_class"], (test.get("intervals") or {}).get("per_class") or {}
    few = set((test.get("intervals") or {}).get("too_few") or ())
    measures = list(dict.fromkeys(name for row in rows.values() for name in row))
    bounded = {name for bounds in intervals.values() for name in bounds}
    head = ["class"]
    for name in measures:
        head += [name, f"{name}_low", f"{name}_high"] if name in bounded else [name]
    lines = []
    for label, row in rows.items():
        line: list[Any] = [label]
        for name in measures:
            line.append(row.get(name))
            if name in bounded:
                line += (intervals.get(label) or {}).get(name) or (None, None)
        lines.append([*line, *([int(label in few)] if intervals else [])])
    return _csv([*head, *(["too_few"] if intervals else [])], lines)


def confusion_csv(results: Mapping[str, Any]) -> str:
    """Return one row per cell with its count and its share of the true class.

    Multi-label: four rows per class, truth and prediction being `yes` or `no`.
    """
    test = results["test"]
    names = list(test["per_class"])
    if test.get("task", "multiclass") == "multiclass":
        return _csv(["truth", "predicted", "count", "rate"], _cells(names, test["confusion"]))
    rows = []
    for name, counts in zip(names, test["confusion"], strict=True):
        rows += [[name, *cell] for cell in _cells(["no", "yes"], counts)]
    return _csv(["class", "truth", "predicted", "count", "rate"], rows)


def _cells(names: Sequence[str], counts: Sequence[Sequence[int]]) -> Iterable[list[Any]]:
    for truth, row in zip(names, counts, strict=True):
        total = sum(row)
        for guess, count in zip(names, row, strict=True):
            yield [truth, guess, count, count / total if total else None]


def _csv(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    return stream.getvalue()


def markdown(title: str, subtitle: str, verdict: Sequence[Sentence], sections: Sequence[Section]) -> str:
    """Return a summary: the verdict, and the tables and sentences of the sections that fit a message."""
    lines = [f"# {_plain(title)}", "", _plain(subtitle), ""]
    lines += [f"- {_SIGNS[sentence.tone]}{_plain(sentence.text)}" for sentence in verdict]
    for section in sections:
        if section.key not in _MARKDOWN_KEYS:
            continue
        lines += ["", f"## {section.title}"]
        for block in section.blocks:
            if isinstance(block, Table):
                lines += ["", *_table(block)]
            elif isinstance(block, Sentence):
                lines += ["", f"{_SIGNS[block.tone]}{_plain(block.text)}"]
            elif isinstance(block, Facts):
                lines += ["", *(f"- {_plain(term)}: {_cell(value)}" for term, value in block.items)]
    return "\n".join(lines) + "\n"


def _table(table: Table) -> list[str]:
    lines = [f"**{_plain(table.title)}**", "", _row(table.columns), "|" + "---|" * len(table.columns)]
    lines += [_row([_cell(value) for value in row], ready=True) for row in (*table.rows, *table.footer)]
    return [*lines, "", f"_{_plain(table.note)}_"] if table.note else lines


def _row(cells: Sequence[str], *, ready: bool = False) -> str:
    return f"| {' | '.join(cells if ready else map(_plain, cells))} |"


def _cell(value: Value) -> str:
    if value is None:
        return DASH
    return f"{value:.3f}" if isinstance(value, float) else _plain(str(value))


def _plain(text: str) -> str:
    """Return text that Markdown prints as it stands: one line, no tables, emphasis or tags out of names.

    What stands between backticks is code and stays as it is, but for the bar, which would end a cell.
    """
    parts = " ".join(text.split()).split("`")
    if len(parts) % 2 == 0:  # a lone backtick is a letter
        return re.sub(r"([\\|*_<>#`])", r"\\\1", "`".join(parts))
    return "`".join(
        part.replace("|", "\\|") if index % 2 else re.sub(r"([\\|*_<>#])", r"\\\1", part)
        for index, part in enumerate(parts)
    )
