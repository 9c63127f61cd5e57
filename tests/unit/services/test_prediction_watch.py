"""A watched folder gives every file once, and only when it has come in whole."""

from __future__ import annotations

import itertools
import logging
from pathlib import Path
from types import SimpleNamespace

import pytest

from ringlight.errors import DataError
from ringlight.services import prediction_watch
from ringlight.services.prediction_watch import FolderWatch, follow


def looked(watch: FolderWatch) -> list[str]:
    return [seen.path.name for seen in watch.look()]


@pytest.fixture
def watch(tmp_path: Path) -> FolderWatch:
    return FolderWatch([tmp_path], extensions=(".png",))


def test_a_file_that_grows_is_waited_for_and_comes_once(watch: FolderWatch, tmp_path: Path) -> None:
    part = tmp_path / "a.png"
    part.write_bytes(b"1")
    assert looked(watch) == []
    part.write_bytes(b"12")
    assert looked(watch) == []
    assert looked(watch) == ["a.png"]
    assert looked(watch) == []
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "c.png.tmp").write_bytes(b"1")
    (tmp_path / "b.png").write_bytes(b"1")
    assert looked(watch) == []
    (tmp_path / "below" / "c.png.tmp").rename(tmp_path / "below" / "c.png")
    assert looked(watch) == ["b.png"]
    assert looked(watch) == ["c.png"]


def test_a_name_that_comes_again_is_another_file(watch: FolderWatch, tmp_path: Path) -> None:
    for _ in range(2):
        (tmp_path / "a.png").write_bytes(b"1")
        assert [looked(watch), looked(watch)] == [[], ["a.png"]]
        (tmp_path / "a.png").unlink()
        assert looked(watch) == []
    assert watch._states == {}


def test_an_empty_file_is_told_after_a_while(
    watch: FolderWatch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prediction_watch, "EMPTY_AFTER", 2)
    (tmp_path / "a.png").touch()
    (tmp_path / "lost.png").symlink_to(tmp_path / "nowhere.png")
    assert [looked(watch) for _ in range(5)] == [[], [], [], ["a.png"], []]


def test_a_folder_that_is_away_is_waited_for_with_one_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "share"
    folder.mkdir()
    watch = FolderWatch([folder], extensions=(".png",))
    (folder / "old.png").write_bytes(b"1")
    assert [looked(watch), looked(watch)] == [[], ["old.png"]]
    folder.rename(tmp_path / "unmounted")
    with caplog.at_level(logging.WARNING, "ringlight"):
        assert [looked(watch), looked(watch)] == [[], []]
    assert len(caplog.records) == 1
    assert "got nothing there; check the path and its permissions; waiting for it" in caplog.text
    (tmp_path / "unmounted").rename(folder)
    (folder / "a.png").write_bytes(b"1")
    assert [looked(watch), looked(watch)] == [[], ["a.png"]]


def test_what_is_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected a folder to watch, got nothing there; name a folder"):
        FolderWatch([tmp_path / "nowhere"], extensions=(".png",))


def test_following_waits_between_looks(watch: FolderWatch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr(prediction_watch, "time", SimpleNamespace(sleep=waited.append))
    (tmp_path / "a.png").write_bytes(b"1")
    found = next(itertools.islice(follow(watch), 1))
    assert [seen.path.name for seen in found] == ["a.png"]
    assert waited == [prediction_watch.INTERVAL]
