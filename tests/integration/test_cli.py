"""Whole commands, as they are typed: what goes to which stream, and that each takes what the one before left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ringlight.cli.main import main
from ringlight.services.runs import Run

Typed = Callable[..., str]


@pytest.fixture
def typed(capsys: pytest.CaptureFixture[str]) -> Typed:
    """Run a command that must succeed; return its standard output."""

    def run(*words: object, code: int = 0) -> str:
        capsys.readouterr()
        assert main([str(word) for word in words]) == code
        return capsys.readouterr().out

    return run


def document(text: str) -> Any:
    """Read standard output that must be one strict JSON document."""
    return json.loads(text, parse_constant=pytest.fail)


def test_look_train_predict_compare(typed: Typed, tile_folder: Path, tmp_path: Path) -> None:
    """A newcomer's first hour, on a folder with a space, a comma and an umlaut in its name."""
    data = tile_folder.rename(tmp_path / "Prüfung 7, neu")
    workspace = tmp_path / "mein Platz"
    words = (f"data.root={data}", "data.image_size=32", "model.name=resnet10t", "training.num_epochs=1")
    options = ("training.device=cpu", "--workspace", workspace)
    assert typed("data", "stats", data).startswith("Prüfung 7, neu (folder, multiclass)\n")
    assert typed("data", "check", data).endswith("15 records and their images checked, nothing found\n")
    assert f"written: {tmp_path / 'split.csv'}" in typed("data", "split", data, "--out", tmp_path / "split.csv")
    assert typed("data", "preview", data, "--out", tmp_path / "look.png").startswith("written: ")
    assert "would train up to 1 epochs" in typed("train", "folder", *words, *options, "--dry-run")
    assert not workspace.exists()
    verdict = typed("train", "folder", *words, f"split.file={tmp_path / 'split.csv'}", *options)
    folder = Path(verdict.splitlines()[-1].removeprefix("run: "))
    again = document(typed("train", "--config", folder / "config.yaml", "--workspace", workspace, "--json"))
    assert again["history"] == json.loads((folder / "results.json").read_text())["history"]
    table = typed("predict", folder, data / "dark").splitlines()
    assert len(table) == 7
    assert table[0].split() == ["id", "labels", "verdict", "bright", "dark", "middle"]
    comparison = typed("compare", folder, Path(again["folder"]).name, "--workspace", workspace).splitlines()
    assert sorted(line.split()[0] for line in comparison[1:3]) == sorted([folder.name, Path(again["folder"]).name])


@pytest.mark.parametrize("command", ["stats", "check", "split"])
def test_json_about_data_is_one_document(typed: Typed, tile_folder: Path, command: str) -> None:
    found = document(typed("data", command, tile_folder, "--json"))
    expected = {"stats": {"records": 15}, "check": [], "split": {"strategy": "stratified_70_15_15"}}[command]
    assert found == expected or expected.items() <= found.items()


def test_json_about_runs_is_one_document(
    typed: Typed, finished: Run, small: list[str], shared_root: Path, tmp_path: Path
) -> None:
    image = next(shared_root.rglob("*.png"), None) or next(path for path in shared_root.rglob("images/*"))
    (row,) = document(typed("predict", finished.folder, image, "--json"))
    assert list(row) == ["id", "labels", "verdict", "defect_1", "defect_2", "defect_3", "defect_4"]
    assert all(0 <= row[name] <= 1 for name in list(row)[3:])
    compared = document(typed("compare", finished.folder, "--json"))
    assert compared["rows"][0]["run"] == finished.folder.name
    plan = document(typed("train", "demo", *small, "--workspace", tmp_path, "--dry-run", "--json"))
    assert plan["config"]["model"]["name"] == "resnet10t"
    assert plan["split"]["parts"]["train"]["num_records"] > 0
    assert document(typed("data", "preview", "demo", *small, "--out", tmp_path / "p.png", "--json")) == {
        "written": str(tmp_path / "p.png")
    }
    assert document(typed("data", "stats", "demo", *small, "--json"))["boxes"]


def test_a_data_set_with_errors_ends_with_2_and_still_lists_all(typed: Typed, tile_folder: Path) -> None:
    (tile_folder / "dark" / "dark_1.png").write_bytes(b"")
    (tile_folder / "dark" / "dark_2.png").write_bytes(b"GIF89a")
    lines = typed("data", "check", tile_folder, code=2).splitlines()
    assert [line.startswith("error: ") for line in lines] == [True, True, False]
    assert lines[-1].endswith("2 errors")
    found = document(typed("data", "check", tile_folder, "--json", code=2))
    assert [finding["severity"] for finding in found] == ["error", "error"]


def test_a_process_keeps_the_streams_apart(small: list[str], tmp_path: Path) -> None:
    """Libraries print where they like; a program that reads the JSON must not meet their lines. No bar in a pipe."""
    command = [sys.executable, "-m", "ringlight", "demo", *small, "training.num_epochs=1", "--json"]
    done = subprocess.run(
        [*command, "--workspace", str(tmp_path)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert document(done.stdout)["recipe"] == "demo"
    lines = done.stderr.splitlines()
    assert lines[0].startswith("run ")
    assert any(line.startswith("epoch 1/1 ") for line in lines)
    assert "\x1b" not in done.stderr
    assert not [line for line in lines if line.lower().startswith(("gpu available", "tpu", "hpu", "warning", "💡"))]
    assert "Warning:" not in done.stderr


@pytest.mark.slow
def test_ctrl_c_ends_with_130_and_the_run_goes_on_from_there(typed: Typed, small: list[str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "ringlight", "train", "demo", *small, "training.num_epochs=40"]
    process = subprocess.Popen([*command, "--workspace", str(tmp_path)], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not list(tmp_path.glob("runs/*/checkpoints/last.ckpt")):
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    (folder,) = tmp_path.glob("runs/*")
    assert f"--resume {folder}" in errors.splitlines()[-1]
    resumed = document(typed("train", "--resume", folder.name, "--workspace", tmp_path, "--json"))
    assert len(resumed["history"]) == 40
