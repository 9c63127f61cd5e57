"""Runs side by side: read their results and tabulate what differs."""

from __future__ import annotations

import glob
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ringlight.errors import RunError
from ringlight.training.results import RESULTS_VERSION

HEADLINES = ("macro_f1", "micro_f1", "balanced_accuracy", "accuracy", "subset_accuracy", "auroc", "ap")


@dataclass(frozen=True, slots=True)
class Comparison:
    """A table of runs: a row a run, the best in the first score first; `notes` says what makes rows not comparable."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    notes: tuple[str, ...] = ()

    def to_dicts(self) -> list[dict[str, Any]]:
        """Return the rows as dictionaries."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]

    def to_markdown(self) -> str:
        """Return the table as Markdown, the notes below it."""
        lines = ["| " + " | ".join(self.columns) + " |", "|" + " --- |" * len(self.columns)]
        lines += ["| " + " | ".join(_shown(value) for value in row) + " |" for row in self.rows]
        return "\n".join([*lines, *(f"\n{note}" for note in self.notes)])

    def __str__(self) -> str:
        cells = [list(self.columns), *([_shown(value) for value in row] for row in self.rows)]
        widths = [max(len(row[column]) for row in cells) for column in range(len(self.columns))]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells
        ]
        return "\n".join([*lines, *self.notes])


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def load_results(where: str | Path) -> list[dict[str, Any]]:
    """Read results: a glob pattern, a `results.json`, a run folder, or a folder of run folders; in order of name.

    Raises:
        RunError: nothing is there, a file is not a `results.json`, or it was written by a newer Ringlight.
    """
    path = Path(where)
    if path.is_dir():
        files = [path / "results.json"] if (path / "results.json").is_file() else sorted(path.glob("**/results.json"))
    else:
        names = glob.glob(str(where), recursive=True)  # noqa: PTH207 - the pattern may be absolute
        files = [Path(name) for name in sorted(names)]
    if not files:
        raise RunError("results of a finished run", got="none", where=str(where), fix="check the path or the pattern")
    return [_read(file) for file in files]


def _read(file: Path) -> dict[str, Any]:
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        found = values["schema_version"]
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise RunError(
            "a results.json", got=f"{type(error).__name__}: {error}", where=str(file), fix="check the path"
        ) from error
    if found != RESULTS_VERSION:
        raise RunError(
            f"results of schema version {RESULTS_VERSION}",
            got=repr(found),
            where=str(file),
            fix="read it with the Ringlight that wrote it",
        )
    return dict(values)


def compare_results(results: Sequence[Mapping[str, Any]]) -> Comparison:
    """Tabulate runs: model, loss, the settings in which they differ, and their headline test scores.

    Raises:
        RunError: there is nothing to compare.
    """
    if not results:
        raise RunError("at least one result", got="none", where="compare_results", fix="pass what load_results returns")
    differing = _differing_settings(results)
    metrics = [name for name in HEADLINES if any(run["test"]["scalars"].get(name) is not None for run in results)]
    rows = [
        (
            run["run"],
            run["model"]["name"],
            run["loss"]["name"],
            *(run["hyper_parameters"].get(key) for key in differing),
            *(run["test"]["scalars"].get(name) for name in metrics),
        )
        for run in results
    ]
    columns = ("run", "model", "loss", *differing, *metrics)
    if metrics:
        score = columns.index(metrics[0], 3 + len(differing))
        rows.sort(key=lambda row: (row[score] is None, -(row[score] or 0.0)))
    return Comparison(columns, tuple(rows), tuple(_warnings(results)))


def _differing_settings(results: Sequence[Mapping[str, Any]]) -> list[str]:
    keys = dict.fromkeys(key for run in results for key in run["hyper_parameters"])
    shown = [key for key in keys if not key.startswith(("model.name", "loss.name", "data.root"))]
    return [key for key in shown if len({repr(run["hyper_parameters"].get(key)) for run in results}) > 1]


def _warnings(results: Sequence[Mapping[str, Any]]) -> list[str]:
    notes = []
    if len({run["dataset"]["fingerprint"] for run in results}) > 1:
        notes.append("note: the runs were judged on different data; their scores do not compare")
    elif len({(run["split"]["strategy"], run["split"]["seed"], run["judged_part"]) for run in results}) > 1:
        notes.append("note: the runs were split differently; their test sets are not the same")
    return notes
