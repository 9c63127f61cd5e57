"""Bad input on the command line: one line a mistake with the next step, exit code 2, and nothing written."""

from __future__ import annotations

import csv
import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ringlight.cli.main import main

Refused = Callable[..., list[str]]


@pytest.fixture
def refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Refused:
    """Run a command that must be refused; return the lines on standard error."""

    def run(*arguments: str, code: int = 2) -> list[str]:
        workspace = tmp_path / "ws"
        assert main([*arguments, "--workspace", str(workspace)]) == code
        assert not (workspace / "runs").exists(), "a refused training must leave no run folder"
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return captured.err.splitlines()

    return run


FAST = (
    "data.image_size=32",
    "data.batch_size=4",
    "model.name=resnet10t",
    "training.num_epochs=1",
    "training.device=cpu",
)


def test_every_configuration_mistake_comes_at_once_with_its_near_miss(refused: Refused) -> None:
    lines = refused(
        "train", "severstal", "loss.gama=2", "model.name=convnext_tiny_cbm", "training.num_epochs=many",
        "data.batch_sise=4", "augmentation.rotaton=0.5",
    )  # fmt: skip
    assert len(lines) == 5
    text = "\n".join(lines)
    for expected in (
        "unknown key `loss.gama`; did you mean `gamma`?",
        "did you mean `convnext_tiny_cbam`?",
        "training.num_epochs: expected",
        "did you mean `batch_size`?",
        "did you mean `rotation`?",
    ):
        assert expected in text


def test_an_unknown_recipe_and_a_missing_root_say_what_to_do(refused: Refused) -> None:
    assert "did you mean `severstal`?" in refused("train", "severstall")[0]
    assert refused("train", "folder") == [
        "data.root: expected a folder, got none; set data.root=FOLDER",
    ]


def test_unknown_options_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "demo", "--num-epochs", "3"]) == 2
    assert "No such option" in capsys.readouterr().err


def test_truncated_and_empty_images_are_named_before_anything_is_trained(refused: Refused, tile_folder: Path) -> None:
    whole = (tile_folder / "dark" / "dark_0.png").read_bytes()
    (tile_folder / "dark" / "dark_1.png").write_bytes(whole[: len(whole) // 2])
    (tile_folder / "bright" / "bright_0.png").write_bytes(b"")
    lines = refused("train", "folder", f"data.root={tile_folder}", *FAST)
    assert len(lines) == 2
    assert any("dark_1.png" in line for line in lines)
    assert any("bright_0.png" in line for line in lines)
    assert all("expected" in line and "got" in line for line in lines)


def test_num_classes_that_disagree_with_the_data_are_refused(refused: Refused, tile_folder: Path) -> None:
    (line,) = refused("train", "folder", f"data.root={tile_folder}", *FAST, "model.num_classes=4")
    assert line == (
        "model.num_classes: expected num_classes=3, the classes of tiles: bright, dark, middle, got 4; "
        "leave it out (null) to take it from the data"
    )


def test_an_empty_source_is_refused(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (line,) = refused("train", "folder", f"data.root={tmp_path / 'empty'}", *FAST)
    assert "empty" in line
    assert "got" in line


def test_a_class_with_one_sample_is_named_by_the_check(
    tile_folder: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tile_folder / "lonely").mkdir()
    shutil.copy(tile_folder / "dark" / "dark_0.png", tile_folder / "lonely" / "one.png")
    assert main(["data", "check", str(tile_folder), *FAST[:1], "--workspace", str(tmp_path / "ws")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("warning:") and "lonely" in line and "got 1" in line for line in lines)
    assert any("dark_0.png" in line and "one.png" in line for line in lines)  # the same picture under two labels


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        ("1 5 9", "expected pairs of start and length, got 3 numbers"),
        ("500000 3", "409600"),
        ("1 x", "x"),
        ("0 3", "0"),
    ],
    ids=["odd-length", "out-of-range", "not-a-number", "zero"],
)
def test_bad_run_lengths_name_the_row(
    refused: Refused, tmp_path: Path, make_image: Callable[..., Path], runs: str, expected: str
) -> None:
    root = tmp_path / "strips"
    for name in ("a.jpg", "b.jpg"):
        make_image(root / "images" / name, size=(256, 1600), mode="RGB")
    with (root / "train.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([["ImageId", "ClassId", "EncodedPixels"], ["a.jpg", 1, "1 5"], ["b.jpg", 3, runs]])
    (line,) = refused("train", "severstal", f"data.root={root}")
    assert "train.csv" in line
    assert expected in line


def test_a_label_row_without_its_image_and_an_unknown_class_are_named(
    refused: Refused, tmp_path: Path, make_image: Callable[..., Path]
) -> None:
    root = tmp_path / "strips"
    make_image(root / "images" / "a.jpg", size=(256, 1600))
    table = root / "train.csv"
    table.write_text("ImageId,ClassId,EncodedPixels\na.jpg,1,1 5\ngone.jpg,1,1 5\n")
    (line,) = refused("train", "severstal", f"data.root={root}")
    assert "gone.jpg" in line
    assert "data.missing=skip" in line
    table.write_text("ImageId,ClassId,EncodedPixels\na.jpg,1,1 5\na.jpg,9,1 5\n")
    (line,) = refused("train", "severstal", f"data.root={root}")
    assert line == "train.csv: row 3: expected a class id from 1 to 4, got `9`; correct the row"


def test_nan_in_a_table_names_file_and_row(refused: Refused, tmp_path: Path, make_image: Callable[..., Path]) -> None:
    for index in range(3):
        make_image(tmp_path / "t" / f"{index}.png")
    (tmp_path / "t" / "labels.csv").write_text("path,scratch,pore\n0.png,1,0\n1.png,NaN,1\n2.png,0,1\n")
    lines = refused("train", "table", f"data.root={tmp_path / 't'}", "data.file=labels.csv", *FAST)
    assert lines == [
        "labels.csv: row 3, column `scratch`: expected 0 or 1, got an empty cell; correct the cell or remove the row"
    ]


def test_images_of_many_sizes_ask_for_an_image_size(
    refused: Refused, tile_folder: Path, make_image: Callable[..., Path]
) -> None:
    make_image(tile_folder / "dark" / "large.png", size=(40, 60))
    (line,) = refused("train", "folder", f"data.root={tile_folder}", "data.image_size=null", *FAST[1:])
    assert "expected images of one size, or data.image_size, got 2 sizes" in line


def test_an_unknown_monitor_is_refused(refused: Refused, tile_folder: Path) -> None:
    (line,) = refused("train", "folder", f"data.root={tile_folder}", *FAST, "training.monitor=macrof1")
    assert "training.monitor: expected a validation metric, got `macrof1`; did you mean `macro_f1`?" in line


def test_trained_weights_that_are_not_there_are_listed(refused: Refused, tile_folder: Path) -> None:
    (line,) = refused("train", "folder", f"data.root={tile_folder}", *FAST, "model.pretrained=true")
    assert "RINGLIGHT_ALLOW_DOWNLOADS=1" in line


def test_an_unwritable_workspace_is_refused_in_one_line(
    tmp_path: Path, tile_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("a file, not a folder")
    assert main(["train", "folder", f"data.root={tile_folder}", *FAST, "--workspace", str(blocked)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "expected a place that can be written" in line
    assert "--workspace FOLDER" in line


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("training.num_epochs=0", "training.num_epochs: expected a number greater than or equal to 1, got 0"),
        ("data.image_size=[32]", "data.image_size: expected"),
        ("optimizer.lr=fast", "optimizer.lr: expected a valid number"),
        ("loss.name=focal_loss loss.gamma=two", "loss.gamma: expected"),
        ("loss.name=focal_loss loss.alpha=[1,2]", "loss.alpha: expected"),
        ("augmentation.rotation={degrees:wide}", "rotation"),
        ("split.strategy=90_10", "split.strategy: expected"),
        ("experiment.name=a/b", "experiment.name: expected"),
        ("training.device=tpu", "training.device: expected"),
    ],
)
def test_a_value_of_the_wrong_type_or_range_is_one_line(
    refused: Refused, tile_folder: Path, override: str, expected: str
) -> None:
    (line,) = refused("train", "folder", f"data.root={tile_folder}", *FAST, *override.split())
    assert expected in line
    assert ", got " in line
    assert "; " in line


def test_a_folder_of_text_and_a_table_of_unknown_columns_say_what_is_there(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "notes" / "ok").mkdir(parents=True)
    (tmp_path / "notes" / "ok" / "a.txt").write_text("not an image")
    (line,) = refused("train", "folder", f"data.root={tmp_path / 'notes'}", *FAST)
    assert "expected" in line
    (tmp_path / "notes" / "labels.csv").write_text("file,label\n")
    (line,) = refused("train", "table", f"data.root={tmp_path / 'notes'}", "data.file=labels.csv", *FAST)
    assert "labels.csv" in line


def test_an_image_with_no_or_two_labels_is_named_in_a_table_of_one_label_each(
    refused: Refused, tmp_path: Path, make_image: Callable[..., Path]
) -> None:
    for index in range(3):
        make_image(tmp_path / "t" / f"{index}.png")
    (tmp_path / "t" / "labels.csv").write_text("path,scratch,pore\n0.png,1,0\n1.png,1,1\n2.png,0,0\n")
    lines = refused(
        "train", "table", f"data.root={tmp_path / 't'}", "data.file=labels.csv", "data.task=multiclass", *FAST
    )
    assert len(lines) == 2
    assert "row 3" in lines[0]
    assert "row 4" in lines[1]


@pytest.mark.parametrize("written", ["config.yaml", "split.csv"])
def test_a_disk_that_is_full_before_the_run_stands_leaves_no_folder(
    refused: Refused, tile_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str
) -> None:
    """A folder with half of its files can neither be resumed nor compared."""
    fill_the_disk(monkeypatch, written)
    workspace = tmp_path / "disk"
    assert main(["train", "folder", f"data.root={tile_folder}", *FAST, "--workspace", str(workspace)]) == 2
    assert list((workspace / "runs").iterdir()) == []


@pytest.mark.parametrize("written", ["predictions.parquet", "model.safetensors", "bundle.json", "results.json"])
def test_a_disk_that_fills_while_results_are_written_leaves_no_half_file_and_can_be_resumed(
    tile_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    written: str,
) -> None:
    workspace = tmp_path / "disk"
    with monkeypatch.context() as patch:
        fill_the_disk(patch, written)
        assert main(["train", "folder", f"data.root={tile_folder}", *FAST, "--workspace", str(workspace)]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert written in line
    assert line.endswith("expected room on the disk, got No space left on device; free some space and run again")
    (folder,) = (workspace / "runs").iterdir()
    assert not [path for path in folder.rglob("*") if path.name.endswith(".part") or path.name == written]
    assert json.loads((folder / "manifest.json").read_text())["status"] == "failed"
    if written != "results.json":  # it comes last: by then there is a model
        assert main(["predict", str(folder), str(tile_folder)]) == 2
        assert "expected a finished run, which has a model, got one that is failed" in capsys.readouterr().err
    assert main(["train", "--resume", str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["folder"] == str(folder)


def fill_the_disk(monkeypatch: pytest.MonkeyPatch, written: str) -> None:
    """Let the disk be full when the file of that name is brought to it."""
    sync = os.fsync
    wanted = f".{written}."

    def full(handle: int) -> None:
        if wanted in str(Path(f"/proc/self/fd/{handle}").readlink()):
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(handle)

    monkeypatch.setattr(os, "fsync", full)


def test_data_that_is_gone_when_a_run_is_resumed_is_named(
    refused: Refused, tile_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        fill_the_disk(patch, "results.json")
        assert main(["train", "folder", f"data.root={tile_folder}", *FAST, "--workspace", str(tmp_path / "w")]) == 2
    (folder,) = (tmp_path / "w" / "runs").iterdir()
    (tile_folder / "dark" / "dark_0.png").unlink()
    line = refused("train", "--resume", str(folder))[-1]
    assert "expected the data of the run (fingerprint" in line
    shutil.rmtree(tile_folder)
    line = refused("train", "--resume", str(folder))[-1]
    assert f"{tile_folder}: expected a folder, got nothing there" in line


def test_a_resumed_run_takes_no_other_arguments(refused: Refused) -> None:
    (line,) = refused("train", "demo", "training.num_epochs=3", "--resume", "x")
    assert "expected --resume RUN alone" in line


def test_comparing_nothing_says_where_it_looked(refused: Refused, tmp_path: Path) -> None:
    (line,) = refused("compare", str(tmp_path / "*" / "results.json"))
    assert line.endswith("check the path or the pattern")
    (tmp_path / "results.json").write_text('{"schema_version": 99}')
    (line,) = refused("compare", str(tmp_path / "results.json"))
    assert "expected results of schema version 1 or 2, got 99" in line


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("optimizer.betas=[1.5,0.9]", "optimizer.betas"),
        ("scheduler.min_lr=5", "scheduler.min_lr"),
        ("scheduler.min_lr=-1", "scheduler.min_lr"),
    ],
)
def test_numbers_of_optimiser_and_schedule_are_refused_before_a_run_is_written(
    refused: Refused, tile_folder: Path, override: str, expected: str
) -> None:
    """They were found when training began, and left a failed run behind."""
    (line,) = refused("train", "folder", f"data.root={tile_folder}", *FAST, override)
    assert line.startswith(f"{expected}: expected")
