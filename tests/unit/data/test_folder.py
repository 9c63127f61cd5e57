"""Folders of images: a class per folder, or the class in the file name."""

from __future__ import annotations

import os
import runpy
import unicodedata
from pathlib import Path

import pytest

from ringlight.data.folder import FolderSource
from ringlight.errors import ConfigError, DataError, Problems

MAKE = runpy.run_path(str(Path(__file__).parents[2] / "data" / "folder" / "make.py"))


@pytest.fixture
def root(tmp_path):
    MAKE["make"](tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture
def flat(tmp_path):
    MAKE["make_flat"](tmp_path / "flat")
    return tmp_path / "flat"


def labels_of(dataset):
    return {record.id: dataset.classes[record.labels[0]] for record in dataset}


def test_a_class_per_folder_at_any_depth_with_spaces_umlauts_and_links(root):
    dataset = FolderSource(root).load()
    assert dataset.classes == ("Löcher", "crazing", "rolled in scale")
    assert dataset.task == "multiclass"
    assert dataset.class_counts() == {"Löcher": 3, "crazing": 5, "rolled in scale": 3}
    labels = labels_of(dataset)
    assert labels["crazing/coil_7/Prüfling.PNG"] == "crazing"
    assert labels["crazing/linked.png"] == "crazing"
    assert dataset.ids == sorted(dataset.ids)


def test_what_is_left_out_is_said(root):
    notes = FolderSource(root).load().notes
    assert notes == (
        "left out hidden files: 1 (Löcher/.hidden.png)",
        "left out files that are not images: 1 (notes.txt)",
        "left out broken links: 1 (crazing/broken.png)",
    )


def test_a_link_to_a_folder_above_ends(root):
    """`coil_7/back` leads to `crazing` again: following it for ever would never return."""
    assert not [key for key in FolderSource(root).load().ids if "back" in key]


def test_the_classes_of_a_linked_folder_are_read(root, tmp_path):
    (tmp_path / "elsewhere").symlink_to(root, target_is_directory=True)
    dataset = FolderSource(tmp_path / "elsewhere").load()
    assert len(dataset) == 11
    assert dataset[0].uri.startswith(str(tmp_path / "elsewhere"))


def test_decomposed_names_give_the_same_ids(tmp_path):
    """macOS stores `ü` as `u` and a diaeresis: the same data set copied from there had another fingerprint."""
    for form in ("NFC", "NFD"):
        MAKE["write_image"](tmp_path / form / unicodedata.normalize(form, "Löcher") / "ü.png", seed=1)
    composed, decomposed = (FolderSource(tmp_path / form).load() for form in ("NFC", "NFD"))
    assert composed.fingerprint == decomposed.fingerprint
    assert Path(decomposed[0].uri).is_file()


def test_two_names_that_differ_in_composition_alone_are_refused(tmp_path):
    """Both would have one id: the second file took the first one's place in silence."""
    for form in ("NFC", "NFD"):
        MAKE["write_image"](tmp_path / "a" / unicodedata.normalize(form, "ü.png"), seed=1)
    with pytest.raises(DataError, match=r"expected every name once, got `a/ü\.png` twice, its accents stored in two"):
        FolderSource(tmp_path).load()


def test_the_class_is_read_from_the_file_name(flat):
    dataset = FolderSource(flat, label_regex=r"^(.+)_\d+\.").load()
    assert dataset.class_counts() == {"crazing": 3, "rolled-in_scale": 3}
    named = FolderSource(flat, label_regex=r"^(?P<first>.)(.*?)(?P<label>z|l)").load()
    assert named.classes == ("l", "z")


def test_groups_come_from_the_path(root):
    dataset = FolderSource(root, group_regex=r"(\d|Prüfling|linked)\.").load()
    assert set(dataset.groups) == {"0", "1", "2", "Prüfling", "linked"}


def test_a_group_pattern_that_misses_an_image_is_refused(root):
    with pytest.raises(DataError, match=r"data.group_regex `part \(\\d\)` matches, got images that do not: 2"):
        FolderSource(root, group_regex=r"part (\d)").load()


def test_given_classes_keep_their_order_and_may_be_absent(flat):
    dataset = FolderSource(flat, label_regex=r"^(.+)_\d+\.", classes=["rolled-in_scale", "patches", "crazing"]).load()
    assert dataset.classes == ("rolled-in_scale", "patches", "crazing")
    assert dataset.class_counts()["patches"] == 0


def test_an_unknown_class_is_named_with_the_near_miss(flat):
    with pytest.raises(DataError) as caught:
        FolderSource(flat, label_regex=r"^(.+)_\d+\.", classes=["crazing", "rolled_in_scale"]).load()
    assert str(caught.value) == (
        f"{flat}: expected a class of data.classes, got `rolled-in_scale` on images: 3 (rolled-in_scale_1.jpg, "
        "rolled-in_scale_2.jpg, rolled-in_scale_3.jpg); did you mean `rolled_in_scale`?"
    )


def test_folders_called_like_parts_are_the_split(tmp_path):
    """`train/` and `valid/` would otherwise become the two classes of a data set that trains without a word."""
    for seed, key in enumerate(("train/ok/1.png", "train/bad/2.png", "valid/ok/3.png", "test/bad/4.png")):
        MAKE["write_image"](tmp_path / key, seed=seed)
    dataset = FolderSource(tmp_path).load()
    assert dataset.classes == ("bad", "ok")
    assert {record.id: record.split for record in dataset}["valid/ok/3.png"] == "val"
    assert dataset.notes == ("took the folders test, train, valid as the split",)


def test_classes_called_train_and_test_stay_classes(tmp_path):
    for seed, key in enumerate(("train/1.png", "test/2.png")):
        MAKE["write_image"](tmp_path / key, seed=seed)
    assert FolderSource(tmp_path).load().classes == ("test", "train")


def test_images_outside_a_class_folder_are_named_with_the_way_on(flat):
    with pytest.raises(DataError) as caught:
        FolderSource(flat).load()
    assert "got images that are not: 6 (first: crazing_1.jpg, crazing_2.jpg, crazing_3.jpg)" in str(caught.value)
    assert r"data.label_regex='^(.+)_\d+\.'" in str(caught.value)


def test_images_that_the_pattern_misses_are_named(flat):
    with pytest.raises(DataError, match=r"got images that are not: 3 \(rolled-in_scale_1.jpg"):
        FolderSource(flat, label_regex=r"^(craz\w+)_\d+\.").load()


def test_faults_of_several_kinds_come_together(flat):
    with pytest.raises(Problems) as caught:
        FolderSource(flat, label_regex=r"^(craz\w+)_\d+\.", group_regex="coil_(.)", classes=["dent"]).load()
    assert len(caught.value.problems) == 3


@pytest.mark.parametrize(
    ("pattern", "message"),
    [("(", "expected a regular expression"), ("crazing", "expected a group in round brackets")],
)
def test_a_pattern_is_checked_before_anything_is_read(pattern, message):
    with pytest.raises(ConfigError, match=message) as caught:
        FolderSource("nowhere", label_regex=pattern)
    assert str(caught.value).startswith("data.label_regex: ")


def test_a_class_named_twice_is_refused():
    with pytest.raises(ConfigError, match="`a` twice"):
        FolderSource("nowhere", classes=["a", "b", "a"])


def test_no_folder_a_file_and_no_image_are_told_apart(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.pdf").write_text("")
    for name, got in [("nowhere", "nothing there"), ("file", "a file"), ("empty", "none"), ("other", "other files: 1")]:
        with pytest.raises(DataError, match=f"got {got}"):
            FolderSource(tmp_path / name).load()


def test_a_file_name_that_is_not_utf8_is_refused(tmp_path):
    """Arrow cannot hold such a name; it failed with a UnicodeEncodeError that named nothing."""
    (tmp_path / "a").mkdir()
    with open(os.path.join(os.fsencode(tmp_path / "a"), b"\xff.png"), "wb"):  # noqa: PTH118, PTH123 - a name in bytes
        pass
    with pytest.raises(DataError, match=r"expected a file name in UTF-8, got b'\\xff.png'"):
        FolderSource(tmp_path).load()


def test_neu_as_it_ships(real_data):
    dataset = FolderSource(real_data("neu-det"), label_regex=r"^(.+)_\d+\.").load()
    assert set(dataset.class_counts().values()) == {300}
    assert dataset.classes == ("crazing", "inclusion", "patches", "pitted_surface", "rolled-in_scale", "scratches")
