"""`ringlight demo`: offline, from nothing to a judged model, and it learns."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ringlight.cli.main import main


def test_the_demo_prints_a_row_a_class_and_where_the_run_lies(
    small: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["demo", *small, "--workspace", str(tmp_path / "ws")]) == 0
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert lines[0] == "test part, resnet10t"
    assert lines[1].split() == ["class", "precision", "recall", "f1", "auroc", "ap", "support"]
    assert [line.split()[0] for line in lines[2:6]] == ["defect_1", "defect_2", "defect_3", "defect_4"]
    assert lines[6].startswith("macro_f1 ")
    (folder,) = (tmp_path / "ws" / "runs").iterdir()
    assert lines[-1] == f"run: {folder}"
    assert folder.name.startswith("demo-")
    assert "epoch 2/2" in captured.err


@pytest.mark.slow(minutes=4)
def test_the_demo_learns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Test macro-F1 of at least 0.85 at the default difficulty; benchmarks measure the other seeds."""
    assert main(["demo", "--json", "--workspace", str(tmp_path)]) == 0
    results = json.loads(capsys.readouterr().out)
    assert results["judged_part"] == "test"
    assert results["test"]["scalars"]["macro_f1"] >= 0.85
