"""Data is added to a line's data set; the old test set stays the test set, from the command to the run."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest

from ringlight.config.load import read_config
from ringlight.services import runs

FAST = (
    "data.image_size=32", "data.batch_size=4", "model.name=resnet10t", "training.num_epochs=1", "training.device=cpu",
    "training.num_threads=1", "scheduler.warmup_epochs=0",
)  # fmt: skip


def parts_of(folder: Path) -> dict[str, str]:
    with (folder / "split.csv").open(newline="", encoding="utf-8") as stream:
        return {row["id"]: row["split"] for row in csv.DictReader(stream)}


def test_the_test_set_of_a_run_stays_the_test_set_when_data_is_added(
    tile_folder: Path, make_image: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, brightness in (("dark", 50.0), ("bright", 205.0), ("middle", 128.0)):
        for index in range(10):
            make_image(tile_folder / name / f"first_{index}.png", brightness=brightness, seed=index)
    settings = [f"data.root={tile_folder}", *FAST]
    first = runs.train("folder", settings, workspace=tmp_path / "ws")
    before = parts_of(first.folder)
    for name, brightness in (("dark", 52.0), ("bright", 203.0), ("middle", 126.0)):
        for index in range(8):
            make_image(tile_folder / name / f"second_{index}.png", brightness=brightness, seed=100 + index)
    monkeypatch.chdir(first.folder)
    second = runs.train("folder", [*settings, "split.file=split.csv"], workspace=tmp_path / "ws")
    monkeypatch.chdir(tmp_path)
    after = parts_of(second.folder)
    assert {key for key, part in after.items() if part == "test"} == {
        key for key, part in before.items() if part == "test"
    }
    assert all(after[key] == part for key, part in before.items())
    added = {part for key, part in after.items() if key not in before}
    assert added == {"train", "val"}
    # The written configuration means the same split from any folder.
    config = read_config(second.folder / "config.yaml")
    assert config.split.file == first.folder / "split.csv"
