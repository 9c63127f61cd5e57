"""Results that were written before, read back as decisions: CSV, Parquet or JSON lines.

Shapes: N records, K classes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ringlight.data.tabular import read_sheet
from ringlight.errors import DataError
from ringlight.evaluation.thresholds import decision_confidence
from ringlight.inference.decisions import Decider, Result, class_columns
from ringlight.types import Prediction

JSON_LINES = (".jsonl", ".ndjson")
AT_ONCE = 1000
"""Rows that are decisions together."""


def results_of(path: Path, decider: Decider) -> Iterator[Result]:
    """Yield the rows of a file of results, in order; rows without scores (files that could not be read) are left out.

    Energies are not known of results, and distances neither.

    Raises:
        DataError: the file cannot be read, has no column for a class of the model, or a number that is no probability.
    """
    rows = _lines(path) if path.suffix.lower() in JSON_LINES else _table(path)
    classes = decider.bundle.classes
    columns = class_columns(classes)
    missing = [name for name in columns if rows and name not in rows[0]]
    if missing or not rows:
        got = f"no column `{missing[0]}`" if missing else "no row"
        fix = "name what `ringlight predict MODEL --out FILE` wrote for this model"
        raise DataError(f"a column for each class: {', '.join(classes)}", got=got, where=str(path), fix=fix)
    kept = [row for row in rows if all(row.get(name) not in (None, "") for name in columns)]
    for start in range(0, len(kept), AT_ONCE):
        yield _decisions(kept[start : start + AT_ONCE], columns, decider, path)


def _decisions(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], decider: Decider, path: Path) -> Result:
    bundle = decider.bundle
    try:
        probabilities = np.array([[float(row[name]) for name in columns] for row in rows])
    except ValueError as error:
        raise DataError("probabilities", got=str(error), where=str(path), fix="write the results again") from error
    if not ((probabilities >= 0) & (probabilities <= 1)).all():
        raise DataError("probabilities from 0 to 1", got="others", where=str(path), fix="write the results again")
    labels = [_names(row.get("labels")) for row in rows]
    decisions = np.array([[name in row for name in bundle.classes] for row in labels])
    return Result(
        prediction=Prediction(
            [str(row.get("id")) for row in rows], np.full(probabilities.shape, np.nan, np.float32), bundle.classes,
            bundle.task,
        ),
        probabilities=probabilities,
        labels=labels,
        decisions=decisions,
        scores=decision_confidence(probabilities, decider.point),
        operating_point=decider.point.name,
        rejected=_flags(rows, "to_human"),
        unknown=_flags(rows, "unknown"),
    )  # fmt: skip


def _names(cell: object) -> list[str]:
    if isinstance(cell, list):
        return [str(name) for name in cell]
    return [name for name in str(cell or "").split(";") if name]


def _flags(rows: Sequence[Mapping[str, Any]], name: str) -> npt.NDArray[np.bool_] | None:
    if name not in rows[0]:
        return None
    return np.array([str(row.get(name)).strip().lower() in ("true", "1") for row in rows])


def _table(path: Path) -> list[dict[str, Any]]:
    sheet = read_sheet(path)
    columns = {name: sheet.lists(name, ";") if name == "labels" else sheet.cells(name) for name in sheet.columns}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _lines(path: Path) -> list[dict[str, Any]]:
    fix = "name what `ringlight predict MODEL --out FILE` wrote"
    rows = []
    try:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if line.strip():
                row = json.loads(line)
                if not isinstance(row, dict):
                    raise DataError("one object a line", got=line[:40], where=f"{path}: line {number}", fix=fix)
                rows.append(row)
    except (OSError, ValueError) as error:
        got = " ".join(f"{type(error).__name__}: {error}".split())
        raise DataError("JSON lines", got=got, where=str(path), fix=fix) from error
    return rows
