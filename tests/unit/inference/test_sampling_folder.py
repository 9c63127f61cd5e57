"""The folder of pictures worth labelling stays within its bounds, keeps the best, and never stops an inspection."""

from __future__ import annotations

import csv
import errno
import logging
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from ringlight.data.table import TableSource
from ringlight.errors import DataError
from ringlight.files import unwritable
from ringlight.inference import sampling_folder
from ringlight.inference.decisions import Result
from ringlight.inference.sampling_folder import INDEX, SamplingFolder
from ringlight.types import Prediction


def picture(seed: int, side: int = 8) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side), np.uint8)
    return bytes(cv2.imencode(".png", pixels)[1].tobytes())


def result(
    confidences: Sequence[float], *, unknown: Sequence[bool] | None = None, limit: float | None = None
) -> Result:
    size, scores = len(confidences), np.array(confidences)
    ids = [f"part {row}" for row in range(size)]
    return Result(
        prediction=Prediction(ids, np.zeros((size, 2), np.float32), ("a", "b"), "multiclass"),
        probabilities=np.stack([scores, 1 - scores], axis=1),
        labels=[["a"]] * size,
        decisions=np.tile([True, False], (size, 1)),
        scores=scores,
        rejected=None if limit is None else scores < limit,
        unknown=None if unknown is None else np.array(unknown),
    )  # fmt: skip


def kept(folder: Path) -> list[dict[str, str]]:
    with (folder / INDEX).open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_uncertain_and_unknown_records_are_kept_as_they_came(tmp_path: Path) -> None:
    folder = SamplingFolder(tmp_path / "label")
    images = [picture(seed) for seed in range(4)]
    assert folder.offer(result([0.99, 0.5, 0.95, 0.9], unknown=[False, False, True, False]), images) == 2
    rows = kept(tmp_path / "label")
    assert [(row["id"], row["why"], row["label"], row["predicted"]) for row in rows] == [
        ("part 1", "uncertain", "", "a"),
        ("part 2", "unknown", "", "a"),
    ]
    for row, image in zip(rows, (images[1], images[2]), strict=True):
        assert (tmp_path / "label" / row["path"]).read_bytes() == image
    assert folder.offer(result([0.5]), [images[1]]) == 0  # the same picture again
    assert folder.offer(result([0.99]), [images[3]]) == 0
    assert SamplingFolder(tmp_path / "other").offer(result([0.85, 0.95], limit=0.9), images[:2]) == 1


def test_the_bounds_hold_and_the_least_informative_leaves_first(tmp_path: Path) -> None:
    folder = SamplingFolder(tmp_path, max_files=3, max_bytes=10_000)
    for number, confidence in enumerate((0.5, 0.3, 0.4, 0.2, 0.55)):
        folder.offer(result([confidence]), [picture(number)])
    assert sorted(sample.confidence for sample in folder.samples) == [0.2, 0.3, 0.4]
    folder.offer(result([0.9], unknown=[True]), [picture(9)])
    assert sorted(sample.confidence for sample in folder.samples) == [0.2, 0.3, 0.9]
    assert len([path for path in tmp_path.iterdir() if path.name != INDEX]) == 3


def test_of_equals_the_oldest_leaves_and_bytes_are_counted(tmp_path: Path) -> None:
    size = len(picture(0, 32))
    folder = SamplingFolder(tmp_path, max_bytes=3 * size)
    for number in range(6):
        assert folder.offer(result([0.5]), [picture(number, 32)]) == 1
    held = sum(path.stat().st_size for path in tmp_path.iterdir() if path.name != INDEX)
    assert held <= 3 * size
    names = {sample.path for sample in folder.samples}
    assert folder.offer(result([0.1]), [picture(7, 128)]) == 0  # larger than the folder: nothing leaves for it
    assert {sample.path for sample in folder.samples} == names


def test_labels_that_are_written_meanwhile_stay_and_leave_last(tmp_path: Path) -> None:
    folder = SamplingFolder(tmp_path, max_files=2)
    folder.offer(result([0.5, 0.55]), [picture(0), picture(1)])
    rows = kept(tmp_path)
    rows[1]["label"] = "pit"
    with (tmp_path / INDEX).open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    for number in range(2, 6):
        folder.offer(result([0.2]), [picture(number)])
    assert [row["label"] for row in kept(tmp_path) if row["label"]] == ["pit"]
    assert len(kept(tmp_path)) == 2


def test_it_is_a_data_set_once_it_is_labelled(tmp_path: Path) -> None:
    SamplingFolder(tmp_path).offer(result([0.5, 0.4]), [picture(0), picture(1)])
    text = (tmp_path / INDEX).read_text().splitlines()
    rows = [line.split(",") for line in text]
    for row, label in zip(rows[1:], ("pit", "good"), strict=True):
        row[1] = label
    (tmp_path / INDEX).write_text("\n".join(map(",".join, rows)) + "\n")
    data = TableSource(tmp_path, label_columns="label").load()
    assert data.classes == ("good", "pit")
    assert len(data) == 2


def test_a_restart_goes_on_and_removes_what_a_crash_left(tmp_path: Path) -> None:
    SamplingFolder(tmp_path).offer(result([0.5]), [picture(0)])
    (tmp_path / ("0" * 24 + ".png")).write_bytes(b"written just before the crash")
    (tmp_path / "notes.txt").write_text("mine")
    folder = SamplingFolder(tmp_path)
    assert len(folder.samples) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([folder.samples[0].path, INDEX, "notes.txt"])


def test_a_full_disk_stops_nothing_and_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(path: Path) -> None:
        raise unwritable(path, OSError(errno.ENOSPC, "No space left on device"))

    monkeypatch.setattr(sampling_folder, "whole_file", full)
    folder = SamplingFolder(tmp_path)
    with caplog.at_level(logging.WARNING, "ringlight"):
        assert [folder.offer(result([0.5]), [picture(number)]) for number in range(3)] == [0, 0, 0]
        assert folder.offer(result([0.5]), [b"no picture"]) == 0
    assert caplog.text.count("nothing is kept for labelling: ") == 1
    assert "expected room on the disk" in caplog.text


def test_what_cannot_be_is_told_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected bounds of 1 or more, a confidence from 0 to 1, got 0 files"):
        SamplingFolder(tmp_path, max_files=0)
    with pytest.raises(DataError, match="expected 2 originals, got 1; pass each as it came"):
        SamplingFolder(tmp_path).offer(result([0.1, 0.1]), [picture(0)])
    (tmp_path / INDEX).write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="expected the index of a sampling folder, got 'path'; mend it, or move the"):
        SamplingFolder(tmp_path)
    assert sampling_folder.MAX_FILES == 1000
