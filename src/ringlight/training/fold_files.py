"""What a cross-validation keeps on disk while it runs: how the records were divided, and each finished fold, whole.

`folds/division.parquet` has a row a record and a column a fold. A finished fold is a folder `folds/repeat0_fold0/` with
`prediction.parquet` and `fold.json`; the latter is written last, so that a fold is there whole or is trained again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from ringlight.data.folds_methods import Division
from ringlight.errors import RunError
from ringlight.files import whole_file, write_json
from ringlight.types import Dataset, Prediction, Split

FOLDS = "folds"
DIVISION = "division.parquet"
CARD = "fold.json"
SCORES = "prediction.parquet"

_NONE, _TRAIN, _VAL, _TEST = range(4)


@dataclass(frozen=True, slots=True)
class FoldResult:
    """A finished fold.

    `card` is what `fold.json` holds. `prediction` has the logits of the test records after the fold's calibration,
    `raw` those before it, (N, K); `decisions` (N, K) is what the fold's own operating point decided.
    """

    card: Mapping[str, Any]
    prediction: Prediction
    raw: npt.NDArray[np.float32]
    decisions: npt.NDArray[np.bool_]


def is_cross_validation(run: Path) -> bool:
    """Whether a run folder is that of a cross-validation."""
    return (run / FOLDS / DIVISION).is_file()


def fold_folder(run: Path, repeat: int, fold: int) -> Path:
    """Return the folder of a fold, both numbers from 0."""
    return run / FOLDS / f"repeat{repeat}_fold{fold}"


def write_fold(folder: Path, result: FoldResult) -> None:
    """Write a finished fold."""
    prediction = result.prediction
    columns: dict[str, Any] = {"id": list(prediction.ids)}
    for column, name in enumerate(prediction.classes):
        columns[f"raw/{name}"] = result.raw[:, column]
        columns[f"logit/{name}"] = prediction.logits[:, column]
        columns[f"decided/{name}"] = result.decisions[:, column]
    with whole_file(folder / SCORES) as part:
        pq.write_table(pa.table(columns), part)
    write_json(folder / CARD, dict(result.card))


def read_fold(folder: Path, test: Dataset) -> FoldResult | None:
    """Read a finished fold; None where it is not finished.

    Args:
        folder: of the fold.
        test: the records it was tested on, in the order of its split.

    Raises:
        RunError: its files are damaged, or it was tested on other records.
    """
    if not (folder / CARD).is_file():
        return None
    try:
        card = json.loads((folder / CARD).read_text(encoding="utf-8"))
        table = pq.read_table(folder / SCORES)
        ids = table.column("id").to_pylist()
        raw, logits, decided = (
            np.stack([table.column(f"{kind}/{name}").to_numpy() for name in test.classes], axis=1)
            for kind in ("raw", "logit", "decided")
        )
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, pa.ArrowInvalid, KeyError) as error:
        raise RunError(
            "the files of a finished fold",
            got=f"{type(error).__name__}: {str(error).splitlines()[0]}",
            where=str(folder),
            fix="remove this folder, and the fold is trained again",
        ) from error
    if ids != test.ids:
        raise RunError(
            "the records this fold is to be tested on",
            got="others",
            where=str(folder),
            fix="remove this folder, and the fold is trained again",
        )
    prediction = Prediction(ids, logits.astype(np.float32), test.classes, test.task, test.targets())
    return FoldResult(card, prediction, raw.astype(np.float32), decided.astype(bool))


def write_division(division: Division, run: Path) -> None:
    """Write how the records were divided: a resumed cross-validation takes it from there."""
    data = division.dataset
    columns: dict[str, Any] = {"id": data.ids, "group": data.table.column("group")}
    for index, split in enumerate(division.splits):
        place = np.full(len(data), _NONE, np.int8)
        place[split.train], place[split.val], place[split.test] = _TRAIN, _VAL, _TEST
        columns[f"{index}"] = place
    about = {
        "method": division.method,
        "num_folds": division.num_folds,
        "repeats": division.repeats,
        "notes": list(division.notes),
        "groups": division.splits[0].groups,
        "splits": [
            {"leaks": list(split.leaks), "leak_check": split.leak_check, "warnings": list(split.warnings)}
            for split in division.splits
        ],
    }
    with whole_file(run / FOLDS / DIVISION) as part:
        pq.write_table(pa.table(columns).replace_schema_metadata({"division": json.dumps(about)}), part)


def read_division(run: Path, given: Dataset) -> Division:
    """Read how a cross-validation divided its records.

    Args:
        run: its folder.
        given: the data as its source gives it.

    Raises:
        RunError: the file is missing or damaged, or the records are others.
    """
    path = run / FOLDS / DIVISION
    try:
        table = pq.read_table(path)
        about = json.loads(table.schema.metadata[b"division"])
        row = {name: number for number, name in enumerate(table.column("id").to_pylist())}
        order = np.array([row[name] for name in given.ids])
        groups = table.column("group").to_pylist()
        places = [table.column(f"{index}").to_numpy()[order] for index in range(len(about["splits"]))]
    except (OSError, pa.ArrowInvalid, KeyError, TypeError, json.JSONDecodeError) as error:
        raise RunError(
            "how the cross-validation divided these records",
            got=f"{type(error).__name__}: {str(error).splitlines()[0]}",
            where=str(path),
            fix="is this the folder of a cross-validation? else start a new one with ringlight crossval",
        ) from error
    splits = tuple(
        Split(
            train=np.flatnonzero(place == _TRAIN).astype(np.int64),
            val=np.flatnonzero(place == _VAL).astype(np.int64),
            test=np.flatnonzero(place == _TEST).astype(np.int64),
            strategy=about["method"],
            groups=about["groups"],
            leaks=tuple(told["leaks"]),
            leak_check=told["leak_check"],
            warnings=tuple(told["warnings"]),
            left_out=np.flatnonzero(place == _NONE).astype(np.int64),
        )
        for place, told in zip(places, about["splits"], strict=True)
    )
    return Division(
        dataset=given.with_column("group", [groups[number] for number in order]),
        method=about["method"],
        num_folds=about["num_folds"],
        repeats=about["repeats"],
        splits=splits,
        notes=tuple(about["notes"]),
    )
