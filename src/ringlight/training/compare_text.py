"""A comparison as text: for a terminal, and as Markdown for a pull request."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ringlight.training.compare_pairs import Difference, Pair


def shown(value: Any) -> str:
    """Return a cell: numbers with four places, nothing as a dash.

    Examples:
        >>> shown(0.5), shown(None), shown("resnet18")
        ('0.5000', '-', 'resnet18')
    """
    if value is None:
        return "-"
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def as_text(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a table in aligned columns."""
    cells = [list(columns), *([shown(value) for value in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(columns))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    return "\n".join(lines)


def as_markdown(
    columns: Sequence[str],
    rows: Iterable[Sequence[Any]],
    notes: Sequence[str],
    pairs: Sequence[Pair],
    settings: Mapping[str, Mapping[str, Any]],
) -> str:
    """Return a whole comparison as Markdown."""
    parts = [_table(columns, [[shown(value) for value in row] for row in rows]), *notes]
    parts += [part for pair in pairs if not pair.refused for part in _pair(pair)]
    if pairs and settings:
        names = list(next(iter(settings.values())))
        lines = [[key, *(shown(values[name]) for name in names)] for key, values in settings.items()]
        parts += ["### Settings that differ", _table(["setting", *names], lines)]
    return "\n\n".join(parts)


def _pair(pair: Pair) -> list[str]:
    basis = f"{pair.num_records} records" + (f" in {pair.num_units} groups" if pair.unit == "group" else "")
    parts = [f"### {_cell(pair.run)} against {_cell(pair.reference)}", f"**{pair.verdict}** ({basis})"]
    rows = [[one.metric, *_limits(one), one.verdict] for one in pair.differences]
    parts.append(_table(["metric", "difference", "interval", "verdict"], rows))
    if pair.mcnemar is not None:
        test = pair.mcnemar
        told = f"McNemar: only {pair.reference} right {test.only_a}, only {pair.run} right {test.only_b}"
        p_value = "p < 0.001" if test.p_value < 0.001 else f"p = {test.p_value:.3f}"
        grouped = "; it takes the records of a group for independent" if pair.unit == "group" else ""
        parts.append(f"{told}, {p_value}{' (exact)' if test.exact else ''}{grouped}")
    rates = list(dict.fromkeys(rate for row in pair.per_class.values() for rate in row))
    lines = [
        [name, *(" ".join(_limits(row[rate])) if rate in row else "-" for rate in rates)]
        for name, row in pair.per_class.items()
    ]
    return [*parts, _table(["class", *rates], lines)]


def _limits(one: Difference) -> tuple[str, str]:
    limits = "-" if one.low is None or one.high is None else f"[{one.low:+.3f}, {one.high:+.3f}]"
    return f"{one.value:+.3f}", limits


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(_cell(name) for name in columns) + " |", "|" + " --- |" * len(columns)]
    return "\n".join([*lines, *("| " + " | ".join(_cell(value) for value in row) + " |" for row in rows)])


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
