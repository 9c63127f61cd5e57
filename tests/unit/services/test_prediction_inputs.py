"""Words become records: folders, patterns, lists and files of windows, each found when its turn comes."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from ringlight.data import walk
from ringlight.data.window_spec import WindowSpec
from ringlight.errors import DataError
from ringlight.services.prediction_inputs import Inputs, WindowInputs, shown_path

SPEC = WindowSpec(("p", "q"), 16, normalize="none")


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("b.png", "a.png", "notes.txt", "deep/c.jpg", "deep/[1].png"):
        (tmp_path / "parts" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "parts" / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def ids(inputs: Inputs) -> list[str]:
    return [item.id for item in inputs]


def test_files_folders_and_patterns_come_in_the_order_of_the_words(parts: Path) -> None:
    inputs = Inputs(["parts/deep/[1].png", "parts", "parts/**/*"])
    folder = ["parts/a.png", "parts/b.png", "parts/deep/[1].png", "parts/deep/c.jpg"]
    assert ids(inputs) == ["parts/deep/[1].png", *folder, *folder]
    assert inputs.count() == 9
    assert ids(Inputs(["parts"], recursive=False)) == ["parts/a.png", "parts/b.png"]
    assert ids(Inputs(["parts/notes.txt"])) == ["parts/notes.txt"], "what is named is tried"


def test_lines_are_read_as_they_are_needed(parts: Path) -> None:
    read: list[str] = []
    lines = (read.append(line) or line for line in ("parts/a.png\n", "\n", "parts/deep\r\n", "gone.png"))
    inputs = Inputs(["-"], lines=lines)
    assert inputs.count() is None
    assert read == []
    assert ids(inputs) == ["parts/a.png", "parts/deep/[1].png", "parts/deep/c.jpg", "gone.png"]


@pytest.mark.parametrize(
    ("word", "line"),
    [
        ("nowhere.png", "nowhere.png: expected images, a folder or a pattern, got no such file; check the path"),
        ("parts/*.tif", "parts/*.tif: expected at least one image, got none; name images, or a folder that has some"),
        ("empty", "empty: expected at least one image, got none; name images, or a folder that has some"),
        ("w.npz", "w.npz: expected images, as the model takes them, got windows of a signal; name images, or a model "
                  "of windows"),
    ],
)  # fmt: skip
def test_words_that_name_nothing_are_refused_at_once(parts: Path, word: str, line: str) -> None:
    (parts / "empty").mkdir()
    with pytest.raises(DataError) as caught:
        Inputs(["parts", word])
    assert str(caught.value) == line


def test_a_folder_without_permission_is_one_line(parts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As root, who runs some tests, permissions stop nobody: the listing itself refuses."""

    def refuse(folder: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(walk.os, "scandir", refuse)
    with pytest.raises(DataError) as caught:
        Inputs(["parts"])
    assert str(caught.value) == (
        "parts: expected a folder that can be read, got permission denied; check the path and its permissions"
    )


def test_a_name_in_other_bytes_than_utf8_can_be_written_down() -> None:
    assert shown_path(Path(os.fsdecode(b"teil\xff \xc3\xbc.png"))) == "teil\\xff ü.png"


def save(path: Path, values: np.ndarray, channels: tuple[str, ...] = ("p", "q")) -> None:
    np.savez(path, X=values, channels=list(channels))


@pytest.fixture
def signals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    values = np.arange(3 * 16 * 2, dtype=np.float32).reshape(3, 16, 2)
    save(tmp_path / "b.npz", values)
    save(tmp_path / "a.npz", values[:1])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def windows(signals: Path, *words: str) -> WindowInputs:
    return WindowInputs(words, SPEC, signals / "cache")


def test_windows_are_called_after_their_file(signals: Path) -> None:
    alone = windows(signals, "b.npz")
    assert alone.count() == 3
    items = list(alone)
    assert [item.id for item in items] == ["b.npz#0", "b.npz#1", "b.npz#2"]
    np.testing.assert_array_equal(items[1].source, np.arange(32, 64, dtype=np.float32).reshape(16, 2))
    assert ids(windows(signals, "."))[0] == "a.npz#0"
    assert windows(signals, "*.npz").count() is None


def test_a_single_file_that_the_model_cannot_take_is_refused_and_one_of_several_is_a_record(signals: Path) -> None:
    save(signals / "c.npz", np.zeros((2, 9, 2), np.float32))
    with pytest.raises(DataError, match="expected windows of 16 samples, got 9 samples"):
        windows(signals, "c.npz")
    items = list(windows(signals, "c.npz", "a.npz"))
    assert [item.id for item in items] == ["c.npz", "a.npz#0"]
    assert "expected windows of 16 samples, got 9 samples" in str(items[0].fault)


def test_an_image_is_no_file_of_windows(signals: Path) -> None:
    (signals / "part.png").touch()
    with pytest.raises(DataError, match="expected windows of a signal, as the model takes them, got an image; name"):
        windows(signals, "part.png")


def test_recordings_are_cut_as_the_model_needs_them(signals: Path) -> None:
    (signals / "recordings").mkdir()
    lines = ["p,q", *(f"{row},{row}" for row in range(40))]
    (signals / "recordings" / "line1.csv").write_text("\n".join(lines), encoding="utf-8")
    inputs = windows(signals, "recordings")
    assert inputs.count() == 2
    assert all(item.id.startswith("recordings#line1.csv") for item in inputs)
