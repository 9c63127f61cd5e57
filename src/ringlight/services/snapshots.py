"""The data that runs saw, kept beside the database: every data set once, by its fingerprint, and how it was divided."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from ringlight.errors import RunError
from ringlight.files import file_sha256, whole_file
from ringlight.store.tables import RunRow, SnapshotRow, SplitRow
from ringlight.types import Dataset, Split

if TYPE_CHECKING:
    from ringlight.store.session import UnitOfWork

SNAPSHOTS = "snapshots"
"""The folder of a workspace that holds the records of every data set that was trained on."""

_ABOUT = b"ringlight"
"""Where the Parquet file says what the table alone does not: fingerprint, task and classes."""


def snapshot_of(unit: UnitOfWork, home: Path, dataset: Dataset | None, fingerprint: str) -> int | None:
    """Return the number of the snapshot of a data set; one that is new is written beside the database.

    Without the data set, of a run that is taken in later, a file that lies there already is enough.

    Raises:
        WorkspaceError: the file cannot be written.
        RunError: a file that lies there cannot be read.
    """
    found = unit.datasets.snapshot(fingerprint)
    if found is not None:
        return found.id
    path = home / SNAPSHOTS / f"{fingerprint[:16]}.parquet"
    if dataset is None:
        about = _about(path, fingerprint)
    else:
        about = {"fingerprint": fingerprint, "task": dataset.task, "classes": list(dataset.classes)}
        if not path.exists():
            unit.undo(lambda: path.unlink(missing_ok=True))
        with whole_file(path) as part:
            table = dataset.table.replace_schema_metadata({_ABOUT: json.dumps(about, ensure_ascii=False)})
            pq.write_table(table, part, compression="zstd")
        about["num_records"] = len(dataset)
    if about is None:
        return None
    row = unit.datasets.add_snapshot(
        SnapshotRow(**about, path=path.relative_to(home).as_posix(), checksum=file_sha256(path))
    )
    unit.flush()
    return row.id


def _about(path: Path, fingerprint: str) -> dict[str, Any] | None:
    if not fingerprint or not path.is_file():
        return None
    try:
        about = json.loads((pq.read_schema(path).metadata or {})[_ABOUT])
        if about["fingerprint"] != fingerprint:
            return None
        return {**about, "num_records": pq.read_metadata(path).num_rows}
    except (OSError, pa.ArrowInvalid, KeyError, TypeError, ValueError) as error:
        raise RunError(
            "the snapshot of the run's data", got=f"{type(error).__name__}: {str(error).splitlines()[0]}",
            where=str(path), fix="remove the file: the next training on this data writes it again",
        ) from error  # fmt: skip


def split_of(unit: UnitOfWork, row: RunRow, folder: Path, split: Split | None) -> int | None:
    """Return the number of the split of a run, a new one written down; None where its data is not known.

    Args:
        unit: of work.
        row: the run's, with its snapshot and configuration.
        folder: of the run, with `split.csv`.
        split: how the records were divided; without it the file is read.
    """
    path = folder / "split.csv"
    if row.snapshot_id is None or not path.is_file():
        return None
    checksum = file_sha256(path)
    found = unit.datasets.split(row.snapshot_id, checksum)
    if found is None:
        config = row.config.get("split", {})
        sizes = _sizes(path) if split is None else {name: len(part) for name, part in split.parts().items()}
        found = unit.datasets.add_split(
            SplitRow(
                snapshot_id=row.snapshot_id, method=str(config.get("strategy", "")), seed=row.seed or 0, sizes=sizes,
                path=f"{row.path}/split.csv", checksum=checksum,
            )
        )  # fmt: skip
        unit.flush()
    return found.id


def _sizes(path: Path) -> dict[str, int]:
    from ringlight.data.split_file import PARTS, read_split

    parts = list(read_split(path).parts.values())
    return {name: parts.count(name) for name in PARTS}
