"""Finished runs read back: `results.json`, and the predictions beside it."""

from __future__ import annotations

import glob
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from ringlight.errors import RunError

READABLE_VERSIONS = (1, 2)
PREDICTIONS = "predictions.parquet"
EVALUATIONS = "evaluations"
"""The folder of a run, or of a workspace, that holds what was judged again later."""


class Results(dict[str, Any]):
    """What a `results.json` holds; `folder` is where it lies, None for results that were never written."""

    def __init__(self, values: Mapping[str, Any], folder: Path | None = None) -> None:
        super().__init__(values)
        self.folder = folder


@dataclass(frozen=True, slots=True)
class Predictions:
    """Raw probabilities of the judged part, a row a record.

    `truth` holds class numbers: one a record when multi-class, any number when multi-label. `groups` is None where
    none was written.
    """

    ids: tuple[str, ...]
    truth: tuple[tuple[int, ...], ...]
    classes: tuple[str, ...]
    probabilities: npt.NDArray[np.float64]
    groups: tuple[str | None, ...] | None = None


def load_results(where: str | Path) -> list[dict[str, Any]]:
    """Read results: a glob pattern, a `results.json`, a run folder, or a folder of run folders; in order of name.

    In a folder of runs, what `ringlight evaluate` left in their `evaluations/` does not count as a run.

    Each of them remembers its folder, so that :func:`ringlight.compare_results` finds the predictions beside it.

    Raises:
        RunError: nothing is there, a file is not a `results.json`, or it was written by a newer Ringlight.
    """
    path = Path(where)
    if path.is_dir():
        found = [path / "results.json"] if (path / "results.json").is_file() else sorted(path.glob("**/results.json"))
        files = [file for file in found if EVALUATIONS not in file.relative_to(path).parts]
    else:
        names = glob.glob(str(where), recursive=True)  # noqa: PTH207 - the pattern may be absolute
        files = [Path(name) for name in sorted(names)]
    if not files:
        raise RunError("results of a finished run", got="none", where=str(where), fix="check the path or the pattern")
    return [_read(file) for file in files]


def _read(file: Path) -> Results:
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        found = values["schema_version"]
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise RunError(
            "a results.json", got=f"{type(error).__name__}: {error}", where=str(file), fix="check the path"
        ) from error
    if found not in READABLE_VERSIONS:
        raise RunError(
            f"results of schema version {' or '.join(str(version) for version in READABLE_VERSIONS)}",
            got=repr(found),
            where=str(file),
            fix="read it with the Ringlight that wrote it",
        )
    return Results(values, file.parent)


def read_predictions(folder: Path, classes: Sequence[str]) -> Predictions:
    """Read the predictions of a run.

    Args:
        folder: the run's folder.
        classes: its classes.

    Raises:
        RunError: they are not there, cannot be read, or lack a column.
    """
    path = folder / PREDICTIONS
    try:
        table = pq.read_table(path)
        columns = [table.column(f"probability/{name}").to_numpy() for name in classes]
        ids = table.column("id").to_pylist()
        labels = tuple(tuple(numbers) for numbers in table.column("truth").to_pylist())
        groups = table.column("group").to_pylist() if "group" in table.column_names else None
    except (OSError, pa.ArrowInvalid, KeyError, TypeError) as error:
        raise RunError(
            f"the run's {PREDICTIONS} with ids, truth and a probability of each class",
            got=f"{type(error).__name__}: {str(error).splitlines()[0]}",
            where=str(path),
            fix="keep the file beside results.json, or judge the run again with ringlight evaluate",
        ) from error
    known = None if groups is None or not any(group is not None for group in groups) else tuple(groups)
    return Predictions(tuple(ids), labels, tuple(classes), np.stack(columns, axis=1).astype(np.float64), known)
