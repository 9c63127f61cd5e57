"""Files are found lazily, folder by folder in order; what cannot be listed is told and the rest goes on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ringlight.data import walk
from ringlight.data.walk import walk_files
from ringlight.errors import DataError


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("b.png", "a.JPG", "notes.txt", ".hidden.png", "deep/c.png", "deep/er/d.png", ".cache/e.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def names(root: Path, **options: bool) -> list[str]:
    return [seen.path.relative_to(root).as_posix() for seen in walk_files(root, **options)]


def test_images_come_in_the_order_of_each_folders_names(tree: Path) -> None:
    assert names(tree) == ["a.JPG", "b.png", "deep/c.png", "deep/er/d.png"]
    assert names(tree, recursive=False) == ["a.JPG", "b.png"]


def test_a_link_upwards_is_not_followed_and_a_broken_one_is_a_file(tree: Path) -> None:
    (tree / "deep" / "up").symlink_to(tree)
    (tree / "lost.png").symlink_to(tree / "nowhere.png")
    assert names(tree) == ["a.JPG", "b.png", "deep/c.png", "deep/er/d.png", "lost.png"]


def test_a_folder_below_that_cannot_be_listed_is_told_and_the_rest_goes_on(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As root, who runs some tests, permissions stop nobody: the listing itself refuses."""
    listing = os.scandir

    def refusing(folder: Path) -> object:
        if Path(folder).name == "er":
            raise PermissionError(13, "Permission denied")
        return listing(folder)

    monkeypatch.setattr(walk.os, "scandir", refusing)
    found = list(walk_files(tree))
    assert [seen.path.name for seen in found] == ["a.JPG", "b.png", "c.png", "er"]
    assert str(found[-1].fault) == (
        f"{tree / 'deep' / 'er'}: expected a folder that can be read, got permission denied; "
        "check the path and its permissions"
    )


def test_a_root_that_is_not_there_or_is_a_file_is_refused(tree: Path) -> None:
    with pytest.raises(DataError, match="expected a folder that can be read, got nothing there"):
        list(walk_files(tree / "nowhere"))
    with pytest.raises(DataError, match="got not a directory"):
        list(walk_files(tree / "a.JPG"))


def test_a_folders_files_are_not_looked_at_before_their_turn(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed: list[str] = []
    listing = os.scandir
    monkeypatch.setattr(walk.os, "scandir", lambda folder: (listed.append(Path(folder).name), listing(folder))[1])
    found = walk_files(tree)
    next(found), next(found)
    assert listed == [tree.name]
    assert next(found).path.name == "c.png"
    assert listed == [tree.name, "deep"]
