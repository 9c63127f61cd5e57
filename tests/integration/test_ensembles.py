"""An ensemble as a user trains it: one command, a report, a model that predicts; interrupted and gone on with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ringlight as rl
from ringlight.cli.main import main
from ringlight.errors import InterruptedRunError
from ringlight.services import runs
from ringlight.training.trackers import QuietControl

QUICK = (
    "training.num_epochs=2", "training.device=cpu", "training.num_threads=1", "training.tensorboard=false",
    "evaluation.num_resamples=100", "split.leak_probe=false",
)  # fmt: skip
MEMBERS = "model.members=[{name: random_forest, n_estimators: 9}, {name: cnn1d, filters: [4, 4]}]"


@pytest.fixture
def windows(tmp_path: Path) -> Path:
    """Seventy-two windows (32, 2) of three waves, in recordings of three."""
    rng, recording = np.random.default_rng(0), np.arange(72) // 3
    truth = recording % 3
    phase = rng.uniform(0, 6, (72, 1))
    waves = np.sin(6.28 * (1 + 3 * truth)[:, None] * np.arange(32) / 32 + phase)[:, :, None] * [1.0, 3.0]
    path = tmp_path / "rig.npz"
    np.savez(path, X=(waves + rng.normal(0, 0.5, waves.shape)).astype(np.float32), y=truth, group=recording)
    return path


def test_one_command_trains_members_and_another_joins_their_runs(windows: Path, tmp_path: Path, capsys: Any) -> None:
    place = ["--workspace", str(tmp_path / "ws")]
    data = [f"data.root={windows}", *QUICK]
    assert main(["train", "windows", *data, "model.name=ensemble", MEMBERS, *place]) == 0
    assert main(["train", "windows", *data, "model=logistic_regression", *place]) == 0
    assert main(["train", "windows", *data, "model=cnn1d", *place]) == 0
    first, *singles = sorted(
        (tmp_path / "ws" / "runs").iterdir(), key=lambda run: (run / "config.yaml").stat().st_ctime
    )
    members = ", ".join(f"{{run: {run.name}}}" for run in singles)
    assert main(["train", "windows", *data, "model.name=ensemble", f"model.members=[{members}]", *place]) == 0
    said = capsys.readouterr()
    assert "ensemble: weights" in said.out + said.err
    assert rl.load(first).predict(np.load(windows)["X"][:5]).prediction.logits.shape == (5, 3)


def test_an_interrupted_ensemble_is_resumed_to_the_same_numbers(windows: Path, tmp_path: Path) -> None:
    class Stops(QuietControl):
        def heartbeat(self, progress: Any) -> Any:
            return "pause" if progress["done"] / progress["total"] > 0.6 else "go"

    asked = [f"data.root={windows}", *QUICK, "model.name=ensemble", MEMBERS]
    whole = runs.train("windows", asked, workspace=tmp_path / "ws")
    with pytest.raises(InterruptedRunError, match="--resume"):
        runs.train("windows", asked, workspace=tmp_path / "ws", control=Stops())
    broken = next(run for run in (tmp_path / "ws" / "runs").iterdir() if run != whole.folder)
    again = runs.resume(broken)
    assert again.results["test"]["scalars"] == whole.results["test"]["scalars"]
    assert again.results["history"] == whole.results["history"]
    values = np.load(windows)["X"]
    logits = [rl.load(run).predict(values).prediction.logits for run in (whole.folder, broken)]
    np.testing.assert_array_equal(*logits)
    log = (broken / "train.log").read_text(encoding="utf-8")
    assert log.count("ensemble: random_forest, fold 1 of 3") == 1  # its scores were kept
