"""Write a database of the newest schema, with a row in every table, as SQL: `python tests/data/store/make.py`.

A file of an earlier schema is never written again: it is what a Ringlight of that time left, and tests upgrade it.
"""

from __future__ import annotations

import sqlite3
import tempfile
from pathlib import Path
from typing import Any

from ringlight.store.session import DATABASE, Store
from ringlight.store.upgrade import HEAD

HERE = Path(__file__).parent
MOMENT = "2026-03-01 12:30:00.000000"

ROWS: dict[str, dict[str, Any]] = {
    "datasets": {"id": 1, "name": "Größe [1]", "task": "multiclass", "classes": '["crack", "good"]', "source": "{}",
                 "created": MOMENT},
    "snapshots": {"id": 1, "dataset_id": 1, "fingerprint": "f" * 64, "task": "multiclass",
                  "classes": '["crack", "good"]', "num_records": 36, "path": "snapshots/ffffffffffffffff.parquet",
                  "checksum": "c" * 64, "created": MOMENT},
    "records": {"id": 1, "dataset_id": 1, "record": "a.png", "uri": "parts/a.png", "checksum": None, "group": "coil 1",
                "time": MOMENT, "added": MOMENT},
    "annotations": {"id": 1, "record_id": 1, "revision": 1, "labels": '["crack"]', "boxes": "[]", "author": "ann",
                    "state": "approved", "is_current": 1, "created": MOMENT},
    "splits": {"id": 1, "snapshot_id": 1, "method": "stratified_70_15_15", "seed": 42,
               "sizes": '{"train": 26, "val": 5, "test": 5}', "path": "runs/demo-1/split.csv", "checksum": "d" * 64,
               "created": MOMENT},
    "training_history": {"id": 1, "name": "demo-1", "path": "runs/demo-1", "kind": "train", "recipe": "demo",
                         "config": '{"training": {"num_epochs": 2}}', "status": "completed", "seed": 42,
                         "device": "cpu", "process": None, "snapshot_id": 1, "split_id": 1, "parent_id": None,
                         "started": MOMENT, "finished": MOMENT, "timings": '{"fit": 1.5}', "error": None,
                         "metrics": '{"macro_f1": 0.5}', "created": MOMENT},
    "epoch_metrics": {"run_id": 1, "epoch": 0, "metrics": '{"train/loss": 0.25, "val/auroc": null}'},
    "artifacts": {"id": 1, "run_id": 1, "kind": "log", "path": "train.log", "num_bytes": 997, "checksum": None,
                  "created": MOMENT},
    "model_versions": {"id": 1, "name": "strips", "version": 1, "kind": "defect", "label": "20260301-macro_f1-0.50",
                       "path": "models/defect/strips/v1", "checksum": "e" * 64, "metrics": '{"macro_f1": 0.5}',
                       "classes": '["crack", "good"]', "description": None, "run_id": 1, "snapshot_id": 1,
                       "is_active": 1, "created": MOMENT},
    "activations": {"id": 1, "name": "strips", "action": "activate", "from_version": None, "to_version": 1,
                    "to_checksum": "e" * 64, "who": "ann", "why": "first", "gate": None, "at": MOMENT},
    "jobs": {"id": 1, "kind": "train", "payload": '{"recipe": "demo"}', "state": "queued", "priority": 0,
             "device": "auto", "memory_gib": 1.5, "attempts": 0, "max_attempts": 3, "keep_checkpoint": 0,
             "run": "demo-1", "version_id": 1, "created": MOMENT},
    "events": {"id": 1, "at": MOMENT, "subject": "run", "subject_id": "demo-1", "what": "completed", "who": None,
               "data": '{"error": null}'},
}  # fmt: skip
"""A row a table, parents before children."""


def main() -> None:
    """Write `<schema>.sql`."""
    with tempfile.TemporaryDirectory() as folder:
        Store(Path(folder)).close()
        connection = sqlite3.connect(Path(folder) / DATABASE)
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        missing = tables - {*ROWS, "alembic_version"}
        if missing:
            raise SystemExit(f"no row for {', '.join(sorted(missing))}: write one into ROWS")
        for table, row in ROWS.items():
            columns = ", ".join(f'"{name}"' for name in row)
            marks = ", ".join("?" * len(row))
            connection.execute(f"INSERT INTO {table} ({columns}) VALUES ({marks})", tuple(row.values()))
        connection.commit()
        (HERE / f"{HEAD}.sql").write_text("\n".join(connection.iterdump()) + "\n", encoding="utf-8")
        connection.close()


if __name__ == "__main__":
    main()
