"""Whole files: the old content or the new one, and one line when the place cannot be written."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from ringlight.errors import WorkspaceError
from ringlight.files import file_sha256, files_below, sync_folder, whole_file, write_csv, write_json, write_text


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path: Path) -> None:
    target = tmp_path / "results.json"
    write_text(target, "old")

    def stopped_halfway() -> None:
        with whole_file(target) as part:
            part.write_text("half of the n")
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        stopped_halfway()
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    """A run once died with `OSError: [Errno 28]` and a traceback; the user must read what to do."""
    with pytest.raises(WorkspaceError) as caught, whole_file(tmp_path / "model.bin"):
        raise OSError(errno.ENOSPC, "No space left on device")
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'model.bin'}: expected room on the disk, got No space left on device")
    assert "free some space" in message
    assert list(tmp_path.iterdir()) == []


def test_a_parent_that_is_a_file_is_refused_with_the_next_step(tmp_path: Path) -> None:
    (tmp_path / "workspace").write_text("I am a file")
    with pytest.raises(WorkspaceError, match=r"expected a place that can be written, got .*--workspace FOLDER"):
        write_text(tmp_path / "workspace" / "runs" / "x.txt", "y")


def test_written_files_have_ordinary_permissions(tmp_path: Path) -> None:
    """Temporary files are private by default; results must be readable by the colleague who compares them."""
    write_text(tmp_path / "a.txt", "x")
    mask = os.umask(0)
    os.umask(mask)
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o666 & ~mask


def test_json_refuses_what_json_does_not_know(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "a.json", {"f1": float("nan")})
    assert list(tmp_path.iterdir()) == []
    write_json(tmp_path / "a.json", {"Größe": [1, None]})
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {"Größe": [1, None]}


def test_csv_columns_are_the_union_of_the_rows(tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv", [{"epoch": 0, "loss": 1.5}, {"epoch": 1, "val/loss": 2.0}])
    assert (tmp_path / "a.csv").read_text().splitlines() == ["epoch,loss,val/loss", "0,1.5,", "1,,2.0"]


def test_sha256_of_a_known_text(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "abc")
    # FIPS 180-2, appendix B.1
    assert file_sha256(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_files_below_a_folder_are_told_and_nothing_behind_a_link(tmp_path: Path) -> None:
    (tmp_path / "run" / "figures").mkdir(parents=True)
    (tmp_path / "run" / "figures" / "a.png").write_bytes(b"123")
    (tmp_path / "run" / "log").write_bytes(b"1")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "part.png").touch()
    (tmp_path / "run" / "data").symlink_to(tmp_path / "data")
    found = files_below(tmp_path / "run")
    assert list(found) == ["data", "figures/a.png", "log"]
    assert (found["figures/a.png"], found["log"]) == (3, 1)
    sync_folder(tmp_path / "run")
