"""Severstal's strips in every form they are published in."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest

from ringlight.data.severstal import SeverstalSource
from ringlight.errors import ConfigError, DataError, Problems

MAKE = runpy.run_path(str(Path(__file__).parents[2] / "data" / "severstal" / "make.py"))


@pytest.fixture
def make(tmp_path):
    def build(layout: str = "kaggle") -> Path:
        MAKE["make"](tmp_path / layout, layout)
        return tmp_path / layout

    return build


def add_row(root: Path, row: str) -> None:
    with (root / "train.csv").open("a") as file:
        file.write(row + "\n")


@pytest.mark.parametrize("layout", ["kaggle", "kaggle_joined", "supervisely"])
def test_every_layout_gives_the_same_labels_and_boxes(make, layout):
    dataset = SeverstalSource(make(layout)).load()
    assert dataset.task == "multilabel"
    assert dataset.classes == ("defect_1", "defect_2", "defect_3", "defect_4")
    assert dataset.ids == list(MAKE["IMAGES"])
    for record in dataset:
        expected = MAKE["BOXES"][record.id]
        assert record.labels == tuple(sorted({label for label, *_ in expected}))
        assert [tuple(box.values()) for box in record.boxes] == expected
        assert Path(record.uri).is_file()


def test_a_table_labels_whole_images(make):
    dataset = SeverstalSource(make("table"), labels="image_labels.csv").load()
    assert dataset.label_matrix().tolist() == [[1, 0, 0, 0], [0, 0, 1, 1], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert dataset.notes == ("image_labels.csv labels whole images: there are no boxes",)


def test_images_without_run_lengths_count_as_clean_and_it_is_said(make):
    notes = SeverstalSource(make("kaggle")).load().notes
    assert notes == ("2 of 4 images have no run lengths in train.csv and count as clean",)


def test_images_may_lie_in_the_root_or_where_data_images_says(make):
    root = make("kaggle")
    (root / "train_images").rename(root / "strips")
    with pytest.raises(DataError, match=r"expected at least one image, got none; set data\.images"):
        SeverstalSource(root).load()
    assert len(SeverstalSource(root, images="strips").load()) == 4
    for image in (root / "strips").iterdir():
        image.rename(root / image.name)
    assert len(SeverstalSource(root).load()) == 4


def test_labels_without_an_image_are_one_error_or_left_out(make):
    root = make("kaggle")
    for name in ("x.jpg", "y.jpg", "z.jpg", "zz.jpg"):
        add_row(root, f"{name},3,99999 9")
    with pytest.raises(DataError) as caught:
        SeverstalSource(root).load()
    assert str(caught.value) == (
        "train.csv: expected an image for every label, got no image for 4 (first: x.jpg, y.jpg, z.jpg) of 6; "
        "add the images, or leave these labels out with data.missing=skip"
    )
    dataset = SeverstalSource(root, missing="skip").load()
    assert len(dataset) == 4
    assert dataset.notes[-1] == "left out labels without an image: 4 (first: x.jpg, y.jpg, z.jpg)"


@pytest.mark.parametrize("layout", ["table", "supervisely"])
def test_images_that_a_complete_label_file_does_not_name_are_unlabelled(make, layout):
    """Such a file names its clean images, so a strip that is not in it was never looked at: it is not clean."""
    root = make(layout)
    labels = "image_labels.csv" if layout == "table" else "annotations"
    if layout == "table":
        (root / labels).write_text("".join((root / labels).read_text().splitlines(keepends=True)[:-1]))
    else:
        (root / labels / "d.jpg.json").unlink()
    with pytest.raises(DataError, match=r"expected a label for every image, got no label for 1 \(d.jpg\) of 4"):
        SeverstalSource(root, labels=labels).load()
    dataset = SeverstalSource(root, labels=labels, missing="skip").load()
    assert dataset.ids == ["a.jpg", "b.jpg", "c.jpg"]
    assert dataset.notes[-1] == "left out images without a label: 1 (d.jpg)"


def test_every_bad_row_is_named(make):
    root = make("kaggle")
    for row in ("c.jpg,5,1 2", "c.jpg,1,1 2 3", "d.jpg,2,60 2", "d.jpg,,1 1"):
        add_row(root, row)
    with pytest.raises(Problems) as caught:
        SeverstalSource(root).load()
    lines = sorted(caught.value.problems)
    assert lines[0].startswith("train.csv: row 5: expected a class id from 1 to 4, got `5`;")
    assert lines[1].startswith("train.csv: row 6: expected pairs of start and length, got 3 numbers")
    assert lines[2].startswith("train.csv: row 7: expected runs within the 60 pixels of a 6x10 image, got `60 2`")
    assert lines[3].startswith("train.csv: row 8, column `ImageId or ClassId`: expected an image and a class id")
    assert len(lines) == 4


def test_run_lengths_on_an_unreadable_strip_name_the_strip(make):
    root = make("kaggle")
    (root / "train_images" / "a.jpg").write_bytes(b"")
    with pytest.raises(DataError, match=r"a.jpg: expected an image, got zero bytes"):
        SeverstalSource(root).load()


def test_no_labels_lists_what_is_there(make):
    with pytest.raises(DataError) as caught:
        SeverstalSource(make("table")).load()
    assert "expected train.csv or annotations/, got only image_labels.csv; set data.labels" in str(caught.value)


def test_a_label_file_of_another_kind_is_refused(make):
    root = make("kaggle")
    (root / "train.csv").write_text("ImageId,EncodedPixels\na.jpg,1 1\n")
    with pytest.raises(DataError, match=r"expected the column `ClassId` \(data.labels\)"):
        SeverstalSource(root).load()
    (root / "train.csv").write_text("ImageId,dent\na.jpg,1\n")
    with pytest.raises(DataError, match=r"expected the column `defect_1` \(data.classes\)"):
        SeverstalSource(root).load()


def test_a_table_that_names_an_image_twice_is_refused(make):
    root = make("table")
    with (root / "image_labels.csv").open("a") as file:
        file.write("a.jpg,0,0,0,0\n")
    with pytest.raises(DataError, match=r"row 6, column `ImageId`: expected every image once, got `a\.jpg` again"):
        SeverstalSource(root, labels="image_labels.csv").load()


def test_classes_can_be_named_by_hand(make):
    dataset = SeverstalSource(make("kaggle"), classes=["pit", "crack", "scratch", "patch"]).load()
    assert dataset.class_counts() == {"pit": 1, "crack": 0, "scratch": 1, "patch": 1}
    with pytest.raises(ConfigError, match="`a` twice"):
        SeverstalSource("nowhere", classes=["a", "a"])


def test_faulty_annotations_are_listed_by_file_and_object(make):
    root = make("supervisely")
    file = root / "annotations" / "b.jpg.json"
    content = json.loads(file.read_text())
    content["objects"][0]["classTitle"] = "defekt_3"
    file.write_text(json.dumps(content))
    (root / "annotations" / "c.jpg.json").write_text("{")
    with pytest.raises(Problems) as caught:
        SeverstalSource(root).load()
    first, second = caught.value.problems
    assert first.startswith("b.jpg.json: object 1: expected a class of data.classes, got `defekt_3`; did you mean `def")
    assert second.startswith("c.jpg.json: expected a Supervisely annotation with `size` and `objects`")


def test_a_folder_without_annotations_is_refused(make):
    root = make("supervisely")
    for file in (root / "annotations").iterdir():
        file.unlink()
    with pytest.raises(DataError, match=r"expected annotations called like strip\.jpg\.json, got none"):
        SeverstalSource(root).load()


def test_annotations_of_older_exports_are_named_without_the_suffix(make):
    root = make("supervisely")
    for file in list((root / "annotations").iterdir()):
        file.rename(file.with_name(file.name.replace(".jpg", "")))
    assert SeverstalSource(root).load().class_counts()["defect_1"] == 1


def test_the_real_sample_in_one_setting(real_data):
    root = real_data("severstal-sample")
    dataset = SeverstalSource(root, labels="image_labels_full.csv", missing="skip").load()
    assert len(dataset) == 25
    assert dataset.class_counts() == {"defect_1": 3, "defect_2": 0, "defect_3": 7, "defect_4": 0}
    assert sum(not record.labels for record in dataset) == 15


def test_real_masks_agree_with_the_real_label_table(real_data):
    root = real_data("severstal-sample")
    masks = SeverstalSource(root, labels="train_rle_subset.csv", missing="skip").load()
    table = SeverstalSource(root, labels="image_labels_full.csv", missing="skip").load()
    truth = {record.id: record.labels for record in table}
    marked = [record for record in masks if record.labels]
    assert marked
    assert all(record.labels == truth[record.id] and record.boxes for record in marked)
