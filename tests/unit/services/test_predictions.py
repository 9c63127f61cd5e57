"""Windows of a file are predicted as they were trained on: by the names of their channels, without labels."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

import ringlight as rl
from ringlight.errors import DataError
from ringlight.services import runs
from ringlight.services.predictions import predict_files

CHANNELS = ("pressure", "flow")


def arrays(count: int = 36, length: int = 32) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    y = np.arange(count) % 2
    X = rng.normal(0, 1 + y[:, None, None], (count, length, 2)).astype(np.float32)  # noqa: N806
    return {"X": X, "y": y}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> runs.Run:
    folder = tmp_path_factory.mktemp("windows")
    np.savez(folder / "w.npz", **arrays(), channels=list(CHANNELS), class_names=["ok", "leak"])
    overrides = [
        f"data.root={folder / 'w.npz'}",
        "split.groups=none",
        "training.num_threads=1",
        "model=logistic_regression",
    ]
    return runs.train("windows_features", overrides, workspace=folder / "ws")


def test_a_file_gives_the_scores_of_its_array_and_needs_no_labels(run: runs.Run, tmp_path: Path) -> None:
    X = arrays()["X"]  # noqa: N806
    np.savez(tmp_path / "new.npz", X=X, channels=list(CHANNELS))
    found = predict_files(run.folder, [tmp_path / "new.npz"], workspace=tmp_path / "ws")
    np.testing.assert_array_equal(found.prediction.logits, rl.load(run).predict(X).prediction.logits)
    assert len(set(found.prediction.ids)) == len(X)
    assert found.rows()[0]["labels"] in ("ok", "leak")


def test_channels_without_names_are_taken_in_the_models_order_and_a_line_says_so(
    run: runs.Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    np.savez(tmp_path / "new.npz", X=arrays()["X"])
    with caplog.at_level(logging.WARNING, "ringlight"):
        found = predict_files(run.folder, [tmp_path / "new.npz"], workspace=tmp_path / "ws")
    assert len(found.labels) == 36
    assert "names no channels: taken in the model's order, pressure, flow" in caplog.text


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({"channels": ["flow", "pressure"]}, r"another order: `flow` at place 1 instead of `pressure`"),
        ({"X": arrays(length=40)["X"], "channels": list(CHANNELS)}, r"expected windows of 32 samples, got 40 samples"),
        ({"X": arrays()["X"][..., :1], "channels": ["flow"]}, r"got without `pressure`"),
    ],
)
def test_swapped_or_missing_channels_and_another_length_are_refused(
    run: runs.Run, tmp_path: Path, changed: dict[str, object], line: str
) -> None:
    np.savez(tmp_path / "new.npz", **({"X": arrays()["X"]} | changed))
    with pytest.raises(DataError, match=line):
        predict_files(run.folder, [tmp_path / "new.npz"], workspace=tmp_path / "ws")


def test_one_file_at_a_time(run: runs.Run, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected one \.npz file or one folder of recordings, got 2 paths"):
        predict_files(run.folder, [tmp_path / "a.npz", tmp_path / "b.npz"])


def test_a_folder_of_recordings_is_cut_as_the_model_needs_it(run: runs.Run, tmp_path: Path) -> None:
    signal = arrays()["X"].reshape(-1, 2)[:100]
    lines = [",".join(CHANNELS), *(f"{a},{b}" for a, b in signal)]
    (tmp_path / "recordings").mkdir()
    (tmp_path / "recordings" / "line1.csv").write_text("\n".join(lines), encoding="utf-8")
    found = predict_files(run.folder, [tmp_path / "recordings"], workspace=tmp_path / "ws")
    assert len(found.labels) == 100 // 32
