"""Files of predictions are whole at any moment, and go on where they were cut off under the same settings alone."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from ringlight.errors import RunError, UserError, WorkspaceError
from ringlight.services import prediction_parquet
from ringlight.services.prediction_files import Column, Done, open_rows

COLUMNS = [
    Column("id", "text"), Column("labels", "text"), Column("dent", "number"), Column("to_human", "flag"),
    Column("error", "text"),
]  # fmt: skip
SETTINGS = {"model": "a" * 64, "operating_point": "default", "threshold": None}
KINDS = ("csv", "jsonl", "parquet")


def rows(*names: str) -> list[dict[str, Any]]:
    return [{"id": name, "labels": "dent", "dent": 0.1, "to_human": False} for name in names]


def broken(name: str) -> dict[str, Any]:
    return {"id": name, "error": f"{name}: expected a whole image, got 0 bytes; copy it again"}


def read(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".csv":
        with path.open(newline="", encoding="utf-8") as stream:
            return list(csv.DictReader(stream))
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return pq.read_table(path).to_pylist()


def written(path: Path, *parts: Sequence[dict[str, Any]], resume: bool = False) -> Done:
    made = open_rows(path, COLUMNS, SETTINGS, resume=resume)
    for part in parts:
        made.write(part)
    made.close()
    return made.done


@pytest.mark.parametrize("kind", KINDS)
def test_rows_are_written_and_an_error_leaves_its_cells_empty(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "out" / f"r.{kind}"
    name = 'a, "b"\nü.png'
    written(path, rows(name), [broken("c.png")])
    first, second = read(path)
    assert (first["id"], float(first["dent"]), str(first["to_human"])) == (name, 0.1, "False")
    assert not first["error"]
    assert second["error"].startswith("c.png: expected a whole image")
    assert not second["dent"]
    assert not second["labels"]
    assert json.loads((tmp_path / "out" / f"r.{kind}.settings.json").read_text()) == SETTINGS
    assert sorted(path.parent.iterdir()) == sorted([path, path.with_name(f"r.{kind}.settings.json")])


@pytest.mark.parametrize("kind", KINDS)
def test_a_finished_file_goes_on_and_knows_what_it_has(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"r.{kind}"
    written(path, rows("a", "b"), [broken("c")])
    done = written(path, rows("d"), resume=True)
    assert (len(done), done.errors) == (3, 1)
    assert [key in done for key in "abcd"] == [True, True, True, False]
    assert [row["id"] for row in read(path)] == ["a", "b", "c", "d"]


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_a_line_that_was_cut_off_is_taken_away_at_every_byte(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"r.{kind}"
    written(path, rows("a", 'b,"\nx'))
    whole = path.read_bytes()
    header = len(whole.splitlines(keepends=True)[0]) if kind == "csv" else 0
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        done = written(path, resume=True)
        kept = read(path)
        assert [row["id"] for row in kept] == ["a", 'b,"\nx'][: len(kept)], size
        assert len(done) == len(kept)
        assert whole.startswith(path.read_bytes()), size
        assert path.read_bytes()[:header] == whole[:header]
        written(path, rows("new"), resume=True)
        assert read(path)[-1]["id"] == "new"
        path.write_bytes(whole)


def test_parquet_goes_on_behind_its_last_whole_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prediction_parquet, "ROWS", 2)
    path = tmp_path / "r.parquet"
    killed = open_rows(path, COLUMNS, SETTINGS)
    killed.write(rows("a", "b"))
    killed.write(rows("c"))  # held, and gone with the process
    assert not path.exists()
    (tmp_path / "r.parquet.parts" / ".part-000001.parquet.aa.part").touch()
    again = open_rows(path, COLUMNS, SETTINGS, resume=True)
    assert ("b" in again.done, "c" in again.done) == (True, False)
    again.write(rows("c"))
    again.close()
    assert [row["id"] for row in read(path)] == ["a", "b", "c"]
    assert not (tmp_path / "r.parquet.parts").exists()


def test_parts_that_were_put_together_already_do_not_come_twice(tmp_path: Path) -> None:
    """Killed between the whole file and the removal of its parts, the next run would have read both."""
    path = tmp_path / "r.parquet"
    written(path, rows("a", "b"))
    parts = tmp_path / "r.parquet.parts"
    parts.mkdir()
    for number in range(2):
        (parts / f"part-{number:06d}.parquet").write_bytes(path.read_bytes())
    written(path, rows("c"), resume=True)
    assert [row["id"] for row in read(path)] == ["a", "b", "c"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_is_there_is_not_written_over(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"r.{kind}"
    written(path, rows("a"))
    with pytest.raises(
        UserError, match=r"--out .*: expected a file that is not there yet, got one with results; go on"
    ):
        open_rows(path, COLUMNS, SETTINGS)


def test_another_model_another_point_and_other_columns_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    written(path, rows("a"))
    changed = {**SETTINGS, "operating_point": "safe"}
    with pytest.raises(RunError) as caught:
        open_rows(path, COLUMNS, changed, resume=True)
    assert str(caught.value) == (
        "--resume r.csv: expected operating_point default, as the file was begun, got safe; "
        "use the model and the options it was begun with, or write to another file"
    )
    with pytest.raises(RunError, match=r"expected the columns id, dent, ..., got id, labels, dent, to_human"):
        open_rows(path, [COLUMNS[0], COLUMNS[2]], SETTINGS, resume=True)
    (tmp_path / "r.csv.settings.json").unlink()
    with pytest.raises(RunError, match=r"expected the settings a file of results was begun with, got FileNotFound"):
        open_rows(path, COLUMNS, SETTINGS, resume=True)


def test_another_ending_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--out: expected a file .csv, .jsonl or .parquet, got `r.cvs`; did you mean"):
        open_rows(tmp_path / "r.cvs", COLUMNS, SETTINGS)


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(WorkspaceError, match="expected a place that can be written"):
        open_rows(tmp_path / "file" / "r.csv", COLUMNS, SETTINGS)


def test_a_million_ids_take_eight_megabytes() -> None:
    done = Done((str(number), False) for number in range(70_000))
    assert done._sorted.nbytes == 8 * len(done) == 560_000
    assert "69999" in done
    assert "70000" not in done
    assert "" not in Done()
