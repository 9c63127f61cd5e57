from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ringlight.data.preprocess import read_image
from ringlight.data.synthetic import SEVERSTAL_CLEAN, SEVERSTAL_LABEL_SETS, SyntheticSource, draw_label_sets
from ringlight.errors import DataError, WorkspaceError


def tiles(root: Path, **changes: Any) -> SyntheticSource:
    settings: dict[str, Any] = {"num_images": 12, "height": 48, "width": 64, "frequencies": "uniform", **changes}
    return SyntheticSource(root, **settings)


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_full_number_of_images_reproduces_the_real_label_file() -> None:
    drawn = Counter(draw_label_sets(12_568, frequencies="severstal", clean_share=None, seed=3))
    assert drawn == {(): SEVERSTAL_CLEAN, **SEVERSTAL_LABEL_SETS}
    positives = Counter(label for labels, count in drawn.items() for label in labels for _ in range(count))
    assert [positives[label] for label in range(4)] == [897, 247, 5150, 801]


def test_seed_shares_are_those_of_the_first_data_set() -> None:
    """The document lists its shares by frequency, not by class: defect_3 .7347, 1 .1538, 4 .0955, 2 .0160."""
    drawn = Counter(draw_label_sets(10_000, frequencies="seed", clean_share=0.0, seed=0))
    shares = [round(drawn[(label,)] / 10_000, 4) for label in range(4)]
    assert shares == [0.1538, 0.0160, 0.7347, 0.0955]


def test_few_images_have_exact_counts_in_a_mixed_order() -> None:
    drawn = draw_label_sets(10, frequencies=[1, 1, 0, 2], clean_share=0.2, seed=0)
    assert Counter(drawn) == {(): 2, (0,): 2, (1,): 2, (3,): 4}
    assert drawn != sorted(drawn)
    assert drawn != draw_label_sets(10, frequencies=[1, 1, 0, 2], clean_share=0.2, seed=1)


@pytest.mark.parametrize("num_images", [1, 2, 7, 53])
def test_every_number_of_images_is_met(num_images: int) -> None:
    assert len(draw_label_sets(num_images, frequencies="severstal", clean_share=None, seed=0)) == num_images


def test_load_returns_gray_strips_with_labels_and_boxes_inside(tmp_path: Path) -> None:
    dataset = tiles(tmp_path / "strips").load()
    assert dataset.classes == ("defect_1", "defect_2", "defect_3", "defect_4")
    assert dataset.task == "multilabel"
    assert len(dataset) == 12
    for record in dataset:
        assert record.uri is not None
        assert Path(record.uri).is_absolute()
        assert read_image(record.uri, in_chans=1).shape == (48, 64, 1)
        assert {box["label"] for box in record.boxes} == set(record.labels)
        for box in record.boxes:
            assert 0 <= box["x_min"] < box["x_max"] <= 64
            assert 0 <= box["y_min"] < box["y_max"] <= 48


def test_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        tiles(tmp_path / name, seed=seed).load()
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert contents(tmp_path / "a") != contents(tmp_path / "c")


def test_picture_depends_on_seed_index_and_labels_only(tmp_path: Path) -> None:
    """More images of one kind leave the first ones as they were."""
    few = tiles(tmp_path / "few", num_images=3, clean_share=1.0).load()
    many = tiles(tmp_path / "many", num_images=6, clean_share=1.0).load()
    for short, long in zip(few.uris, many.uris[:3], strict=True):
        assert short is not None
        assert long is not None
        assert Path(short).read_bytes() == Path(long).read_bytes()


def test_second_load_reads_what_the_first_wrote(tmp_path: Path) -> None:
    first = tiles(tmp_path / "strips").load()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "strips").rglob("*")}
    second = tiles(tmp_path / "strips").load()
    assert second.table.equals(first.table)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "strips").rglob("*")} == before


def test_an_empty_folder_is_filled_and_nothing_stays_beside_it(tmp_path: Path) -> None:
    (tmp_path / "strips").mkdir()
    tiles(tmp_path / "strips").load()
    assert [path.name for path in tmp_path.iterdir()] == ["strips"]


def test_folder_with_other_files_is_refused_untouched(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").write_bytes(b"dear")
    with pytest.raises(DataError, match="expected an empty folder or strips made before, got a folder with other"):
        tiles(tmp_path).load()
    assert contents(tmp_path) == {"holiday.jpg": b"dear"}


def test_strips_made_with_other_parameters_are_refused_naming_them(tmp_path: Path) -> None:
    tiles(tmp_path / "strips").load()
    with pytest.raises(DataError, match=r"got difficulty 0\.5 instead of 0\.9, seed 0 instead of 4; choose another"):
        tiles(tmp_path / "strips", seed=4, difficulty=0.9).load()


def test_damaged_spec_is_refused(tmp_path: Path) -> None:
    tiles(tmp_path / "strips").load()
    (tmp_path / "strips" / "spec.json").write_text("{")
    with pytest.raises(DataError, match=r"expected a readable spec\.json, got a damaged one"):
        tiles(tmp_path / "strips").load()


def test_checksum_covers_every_parameter(tmp_path: Path) -> None:
    tiles(tmp_path / "strips").load()
    spec_file = tmp_path / "strips" / "spec.json"
    spec = json.loads(spec_file.read_text())
    spec_file.write_text(json.dumps({**spec, "checksum": "0"}))
    with pytest.raises(DataError, match="got another checksum"):
        tiles(tmp_path / "strips").load()


def test_missing_picture_and_damaged_table_are_named(tmp_path: Path) -> None:
    tiles(tmp_path / "strips").load()
    (tmp_path / "strips" / "images" / "strip_00004.jpg").unlink()
    with pytest.raises(DataError, match="expected a picture for every label, got none for `strip_00004`"):
        tiles(tmp_path / "strips").load()
    (tmp_path / "strips" / "labels.parquet").write_bytes(b"")
    with pytest.raises(DataError, match=r"expected a readable labels\.parquet"):
        tiles(tmp_path / "strips").load()


def test_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(WorkspaceError, match="expected room on the disk, got No space left on device; free some space"):
        tiles(tmp_path / "strips").load()
    assert list(tmp_path.iterdir()) == []


def test_two_processes_painting_the_same_strips_end_with_one_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The slower one finds the folder taken when it renames its own, and takes the other's."""
    slower = tiles(tmp_path / "strips")
    paint = slower._paint

    def overtaken(folder: Path) -> None:
        paint(folder)
        tiles(tmp_path / "strips").load()

    monkeypatch.setattr(slower, "_paint", overtaken)
    assert len(slower.load()) == 12
    assert [path.name for path in tmp_path.iterdir()] == ["strips"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_images": 0}, "data.num_images: expected 1 or more, got 0"),
        ({"height": 8}, "data.height: expected 16 pixels or more, got 8"),
        ({"width": 0}, "data.width: expected 16 pixels or more, got 0"),
        ({"difficulty": 1.5}, "data.difficulty: expected 0 to 1, got 1.5"),
        ({"clean_share": float("nan")}, "data.clean_share: expected 0 to 1, got nan"),
        ({"seed": -1}, "data.seed: expected 0 or more, got -1"),
        (
            {"frequencies": "real"},
            "data.frequencies: expected severstal, seed, uniform or 4 shares above 0, got 'real'",
        ),
        ({"frequencies": [1, 2]}, "data.frequencies: expected severstal, seed, uniform or 4 shares"),
        ({"frequencies": [0, 0, 0, 0]}, "data.frequencies: expected severstal, seed, uniform or 4 shares"),
    ],
)
def test_parameter_out_of_range_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError) as caught:
        tiles(tmp_path, **changes)
    assert str(caught.value).startswith(message)


def test_defects_stand_out_less_when_difficulty_rises(tmp_path: Path) -> None:
    """Contrast of the boxed areas against the rest of the picture, both without lighting: a coarse but honest gauge."""
    spread = []
    for difficulty in (0.0, 1.0):
        shares = {"frequencies": [0, 0, 0, 1], "clean_share": 0.0, "height": 96, "width": 128}
        dataset = tiles(tmp_path / f"d{difficulty}", difficulty=difficulty, **shares).load()
        depths = []
        for record in dataset:
            assert record.uri is not None
            image = read_image(record.uri, in_chans=1)[..., 0].astype(float)
            inside = np.zeros(image.shape, bool)
            for box in record.boxes:
                inside[int(box["y_min"]) : int(box["y_max"]), int(box["x_min"]) : int(box["x_max"])] = True
            steel = image > 30  # not the black end
            depths.append(np.median(image[~inside & steel]) - np.median(image[inside & steel]))
        spread.append(np.mean(depths))
    assert spread[0] > 2 * spread[1]
