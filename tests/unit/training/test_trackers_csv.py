"""The table of a run's numbers: whole rows, each once, whatever happened to the process before."""

from __future__ import annotations

from pathlib import Path

import pytest

from ringlight.errors import WorkspaceError
from ringlight.training.trackers_csv import CsvTracker


def test_each_number_is_a_row_that_is_there_at_once(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "metrics.csv"
    tracker = CsvTracker(path)
    assert path.read_text() == "step,name,value\n"
    tracker.log_metrics({"loss": 0.1, "recall/a, b": float("nan")}, 0)
    assert path.read_text() == 'step,name,value\n0,loss,0.1\n0,"recall/a, b",nan\n'
    tracker.log_metrics({"loss": 1}, 1)
    assert path.read_text().splitlines()[3:] == ["1,loss,1.0"]


def test_what_is_told_again_is_not_written_again_and_another_value_takes_its_place(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    CsvTracker(path).log_metrics({"loss": 0.5, "nan": float("nan")}, 0)
    CsvTracker(path).log_metrics({"loss": 0.25}, 1)
    again = CsvTracker(path)
    again.log_metrics({"loss": 0.25}, 1)
    again.log_metrics({"loss": 0.5, "nan": float("nan")}, 0)
    assert path.read_text() == "step,name,value\n0,loss,0.5\n0,nan,nan\n1,loss,0.25\n"
    again.log_metrics({"loss": 0.125}, 1)
    assert path.read_text() == "step,name,value\n0,loss,0.5\n0,nan,nan\n1,loss,0.125\n"


@pytest.mark.parametrize("torn", ["1,lo", "1,loss,0.", '1,"lo', ""])
def test_a_row_that_a_killed_process_left_half_is_dropped(tmp_path: Path, torn: str) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text(f"step,name,value\n0,loss,0.5\n{torn}")
    CsvTracker(path).log_metrics({"loss": 0.25}, 1)
    assert path.read_text() == "step,name,value\n0,loss,0.5\n1,loss,0.25\n"


def test_a_table_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(WorkspaceError, match="expected a place that can be written"):
        CsvTracker(tmp_path / "file" / "metrics.csv")
    tracker = CsvTracker(tmp_path / "metrics.csv")
    (tmp_path / "metrics.csv").unlink()
    (tmp_path / "metrics.csv").mkdir()
    with pytest.raises(WorkspaceError, match=r"metrics\.csv: expected a place that can be written, got IsADirectory"):
        tracker.log_metrics({"loss": 1.0}, 0)
