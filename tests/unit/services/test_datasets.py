"""Whatever lies in a folder is read as what it is, or the next step is named."""

from __future__ import annotations

import json
import runpy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ringlight.config.load import recipe_names
from ringlight.data.split import read_split
from ringlight.errors import DataError, Problems
from ringlight.services.datasets import open_data, recognise
from ringlight.services.leaks import check_leaks
from ringlight.services.runs import plan

MakeImage = Callable[..., Path]
FAKE = runpy.run_path(str(Path(__file__).parents[2] / "data" / "windows" / "make.py"))
make_recordings, make_npz = FAKE["make"], FAKE["make_npz"]


def recognised(path: Path) -> tuple[str, list[str]]:
    return recognise(path, recipe_names())


def test_a_folder_per_class_is_read_as_such(tile_folder: Path) -> None:
    opened = open_data(str(tile_folder))
    assert opened.dataset.class_counts() == {"bright": 4, "dark": 6, "middle": 5}
    assert opened.title == "tiles (folder, multiclass)"
    assert opened.statistics().image_sizes == {"32x32": 15}
    assert opened.check() == []


@pytest.mark.parametrize(
    "name", ["größe, 10 % [neu]", "it's", "'quoted'", '"twice"', "null", "2024", "a=b", "back\\slash", "~"]
)
def test_a_path_is_taken_as_it_stands(tmp_path: Path, make_image: MakeImage, name: str) -> None:
    """Quotes and backslashes were once escaped for a grammar that no longer reads paths."""
    for kind in ("ok", "dent"):
        make_image(tmp_path / name / kind / "0.png")
    assert open_data(str(tmp_path / name)).dataset.classes == ("dent", "ok")
    (tmp_path / name / "labels.csv").write_text("path,label\nok/0.png,ok\ndent/0.png,dent\n")
    assert len(open_data(str(tmp_path / name / "labels.csv")).dataset) == 2


def test_kaggles_columns_make_strips_whatever_the_file_is_called(tmp_path: Path, make_image: MakeImage) -> None:
    """A folder `images` beside a label file was once read as a class called images."""
    make_image(tmp_path / "images" / "a.jpg", size=(256, 1600))
    table = tmp_path / "labels_of_images.csv"
    table.write_text("ImageId,defect_1,defect_2,defect_3,defect_4\na.jpg,0,0,1,0\n")
    assert recognised(tmp_path) == ("severstal", [f"data.root='{tmp_path}'"])
    with pytest.raises(DataError, match=r"got only labels_of_images.csv; set data.labels to the label file or folder"):
        open_data(str(tmp_path))
    opened = open_data(str(tmp_path), ["data.labels=labels_of_images.csv"])
    assert opened.dataset.class_counts()["defect_3"] == 1
    table.rename(tmp_path / "train.csv").write_text('"ImageId_ClassId","EncodedPixels"\na.jpg_2,1 5\n')
    assert open_data(str(tmp_path)).dataset.class_counts()["defect_2"] == 1


def test_supervisely_annotations_make_strips_and_other_annotations_do_not(
    tmp_path: Path, make_image: MakeImage
) -> None:
    make_image(tmp_path / "images" / "crazing_1.jpg")
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "crazing_1.xml").write_text("<annotation/>")
    assert recognised(tmp_path) == ("folder", [f"data.root='{tmp_path / 'images'}'"])
    (tmp_path / "annotations" / "crazing_1.jpg.json").write_text(json.dumps({"objects": []}))
    assert recognised(tmp_path)[0] == "severstal"


def test_flat_images_ask_for_the_class_in_their_names(tmp_path: Path, make_image: MakeImage) -> None:
    for number in range(2):
        make_image(tmp_path / "images" / f"crazing_{number}.jpg")
        make_image(tmp_path / "images" / f"patches_{number}.jpg")
    with pytest.raises(DataError, match=r"read the class from the file name: data.label_regex="):
        open_data(str(tmp_path))
    opened = open_data(str(tmp_path), [r"data.label_regex=^(.+)_\d+\.jpg$"])
    assert opened.dataset.class_counts() == {"crazing": 2, "patches": 2}


def test_a_table_is_found_in_its_folder(tmp_path: Path, make_image: MakeImage) -> None:
    make_image(tmp_path / "images" / "a.png")
    (tmp_path / "inspected.csv").write_text("path,label\nimages/a.png,ok\n")
    assert recognised(tmp_path) == ("table", [f"data.root='{tmp_path}'", "data.file=inspected.csv"])
    (tmp_path / "labels.csv").write_text("path,label\nimages/a.png,ok\n")
    assert recognised(tmp_path)[1][1] == "data.file=labels.csv"


def test_a_table_among_class_folders_does_not_hide_them(tile_folder: Path) -> None:
    (tile_folder / "log.csv").write_text("when,what\n")
    assert recognised(tile_folder)[0] == "folder"


def test_what_is_not_there_gets_the_near_miss(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        open_data("sevrstal")
    assert str(caught.value) == (
        "SOURCE: expected a recipe, a folder of images or recordings, an .npz file, or a CSV or Parquet table, "
        "got `sevrstal`; "
        "check the path; of the recipes, did you mean `severstal`?"
    )
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(DataError, match="choose from: air_leak, cifar100, defect_classifier, demo"):
        open_data(str(tmp_path / "a.txt"))


def test_mistakes_in_the_sections_that_count_come_at_once(tile_folder: Path) -> None:
    with pytest.raises(Problems) as caught:
        open_data(str(tile_folder), ["data.label_regx=x", "augmentation.rotaton=1", "split.strategy=half"])
    assert len(caught.value.problems) == 3


def test_labels_alone_are_counted_and_split_but_not_drawn(tmp_path: Path) -> None:
    table = tmp_path / "only.csv"
    rows = "\n".join(f"r{number},{number % 2},{number % 3 == 0:d}" for number in range(40))
    table.write_text(f"id,scratch,pore\n{rows}\n")
    opened = open_data(str(table))
    assert opened.statistics().without_file == 40
    split = opened.split(tmp_path / "split.csv")
    assert sorted([*split.train, *split.val, *split.test]) == list(range(40))
    assert (tmp_path / "split.csv").read_text().startswith("id,split,group")
    again = open_data(str(table), [f"split.file={tmp_path / 'split.csv'}"]).split(None)
    assert again.test.tolist() == split.test.tolist()
    with pytest.raises(DataError, match=r"name the column that holds the paths: data.path_column=COLUMN"):
        opened.preview(tmp_path / "p.png", 2)


def test_labels_alone_cannot_be_checked_for_leaks(tmp_path: Path) -> None:
    table = tmp_path / "only.csv"
    table.write_text("id,label\n" + "".join(f"r{number},{'ab'[number % 2]}\n" for number in range(40)))
    split = open_data(str(table)).split(None)
    assert split.leak_check == "no content: leak check not possible"
    assert "no content: leak check not possible" in split.warnings


def test_a_split_is_the_one_a_training_would_make(tile_folder: Path, tmp_path: Path) -> None:
    """Without the digests of the files, a split made beforehand did not know of the copies that a training knows of."""
    for name in ("one", "two"):
        (tile_folder / "dark" / f"{name}.png").write_bytes((tile_folder / "dark" / "dark_0.png").read_bytes())
    fast = ["data.image_size=32", "model.name=resnet10t", "training.device=cpu", "model.pretrained=false"]
    opened = open_data(str(tile_folder), fast, workspace=tmp_path / "ws")
    opened.split(tmp_path / "split.csv")
    made = plan(opened.config, tmp_path / "ws")
    saved = read_split(tmp_path / "split.csv")
    assert saved.parts == {key: name for name in made.split.parts() for key in made.part(name).ids}
    assert saved.groups == dict(zip(made.dataset.ids, made.dataset.groups or [], strict=True))
    assert len(set(saved.groups.values())) == len(saved.groups) - 2
    again = open_data(str(tile_folder), [*fast, f"split.file={tmp_path / 'split.csv'}"]).split(None)
    assert again.groups == "near-duplicates found in the files, as the saved split has them"
    assert not again.leaky


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["split.strategy=time_70_15_15"], "given groups"),
        (
            ["split.groups=time", "split.time_window=15"],
            "records close in time (less than 15 s apart, within the given",
        ),
        (["split.strategy=leave_one_group_out", "split.test_group=b"], "given groups"),
    ],
)
def test_every_way_of_splitting_is_reached_from_the_configuration(
    settings: list[str], said: str, tmp_path: Path
) -> None:
    rows = "".join(f"{'abcdefghij'[row // 6]}-{row},{'xy'[row % 2]},{10 * row}\n" for row in range(60))
    (tmp_path / "t.csv").write_text(f"id,label,when\n{rows}")
    columns = ["data.time_column=when", "data.group_regex=^(.)-", "data.label_columns=label"]
    split = open_data(str(tmp_path / "t.csv"), [*columns, *settings]).split(tmp_path / "split.csv")
    assert split.groups.startswith(said)
    assert "no leak found" in split.leak_check
    if "split.test_group=b" in settings:
        assert split.test.tolist() == [*range(6, 12)]
    if "split.strategy=time_70_15_15" in settings:
        assert [*split.train, *split.val, *split.test] == [*range(60)]


def test_a_preview_is_a_picture(tile_folder: Path, tmp_path: Path) -> None:
    path = open_data(str(tile_folder), ["data.image_size=[24,32]"]).preview(tmp_path / "p q.png", 2)
    assert path.read_bytes().startswith(b"\x89PNG")


def test_a_synthetic_recipe_draws_into_the_workspace(tmp_path: Path) -> None:
    small = ["data.num_images=4", "data.height=32", "data.width=32"]
    opened = open_data("demo", small, workspace=tmp_path / "ws")
    assert len(opened.dataset) == 4
    assert [path.name for path in (tmp_path / "ws").iterdir()] == ["cache"]


def test_windows_are_recognised(tmp_path: Path) -> None:
    path = make_npz(tmp_path / "rig.npz")
    assert recognised(path) == ("windows", [f"data.root='{path}'"])
    make_recordings(tmp_path / "rec")
    assert recognised(tmp_path / "rec")[0] == "windows"
    (tmp_path / "flat").mkdir()
    (tmp_path / "flat" / "a.WAV").write_bytes(b"")
    assert recognised(tmp_path / "flat")[0] == "windows"


def test_tables_beside_pictures_are_no_recordings(tile_folder: Path) -> None:
    """A log of the camera in a class's folder does not make its pictures windows."""
    (next(folder for folder in tile_folder.iterdir() if folder.is_dir()) / "log.csv").write_text("time,v\n0,1\n")
    assert recognised(tile_folder)[0] == "folder"


def test_windows_are_counted_checked_split_and_drawn(tmp_path: Path) -> None:
    opened = open_data(str(make_npz(tmp_path / "rig.npz")), ["augmentation.jitter=true"], workspace=tmp_path / "w")
    assert opened.statistics().windows is not None
    assert [finding for finding in opened.check() if finding.severity == "error"] == []
    parts = opened.split(tmp_path / "split.csv").parts()
    groups = opened.dataset.groups or []
    sides = [{groups[row] for row in rows} for rows in parts.values()]
    assert sum(map(len, sides)) == len(set(groups))
    assert opened.preview(tmp_path / "p.png", 2).stat().st_size > 1000


def test_windows_that_overlap_are_kept_together_without_groups(tmp_path: Path) -> None:
    """Windows with half of their samples in common once stood on both sides of a split."""
    rng = np.random.default_rng(0)
    smooth = np.stack([np.convolve(rng.normal(size=204), np.ones(5) / 5, "valid") for _ in range(40)])
    windows = np.stack([one[start : start + 80, None] for one in smooth for start in (0, 40, 80, 120)])
    np.savez(tmp_path / "x.npz", X=windows, y=np.repeat(np.arange(40) % 2, 4))
    opened = open_data(str(tmp_path / "x.npz"), workspace=tmp_path / "w")
    recording = np.repeat(np.arange(40), 4)
    split = opened.split(None)
    sides = [set(recording[rows].tolist()) for rows in split.parts().values()]
    assert sum(map(len, sides)) == 40
    assert "near-duplicates found" in split.groups
    leaks = check_leaks(opened, sheet=tmp_path / "pairs.png")
    assert (leaks.num_groups, leaks.linked) == (40, 160)
    assert leaks.sheet is not None
    assert leaks.sheet.is_file()
