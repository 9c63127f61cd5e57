from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ringlight.data.augment import Augmenter
from ringlight.data.preprocess import InputSpec
from ringlight.data.preview import CAPTION, CELL, GAP, STRIP_WIDTH, choose_rows, contact_sheet
from ringlight.data.synthetic import SyntheticSource
from ringlight.errors import DataError, WorkspaceError
from ringlight.types import Box, Dataset, Record

MIRROR = Augmenter({"horizontal_flip": 1.0}, seed=0)


@pytest.fixture
def tiles(tmp_path: Path) -> Dataset:
    return SyntheticSource(
        tmp_path / "tiles", num_images=15, height=32, width=32, frequencies="uniform", clean_share=0.2
    ).load()


def one_picture(folder: Path, pixels: np.ndarray, box: Box | None = None) -> Dataset:
    Image.fromarray(pixels).save(folder / "a.png")
    record = Record(id="a", uri=str(folder / "a.png"), labels=(0,), boxes=() if box is None else (box,))
    return Dataset.from_records([record], ["dent"], "multilabel")


def pixels_of(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


def test_squares_stand_side_by_side(tiles: Dataset, tmp_path: Path) -> None:
    path = contact_sheet(tiles, InputSpec(1), MIRROR, tmp_path / "new" / "sheet.png", num_samples=3, num_augmented=2)
    sheet = pixels_of(path)
    assert path == tmp_path / "new" / "sheet.png"
    assert [file.name for file in path.parent.iterdir()] == ["sheet.png"]
    assert sheet.shape == (3 * (CAPTION + CELL + GAP) + GAP, 3 * (CELL + GAP) + 2 * GAP, 3)


def test_strips_are_stacked(tmp_path: Path) -> None:
    dataset = one_picture(tmp_path, np.zeros((20, 120), np.uint8))
    sheet = pixels_of(contact_sheet(dataset, InputSpec(1), MIRROR, tmp_path / "sheet.png", num_augmented=2))
    assert sheet.shape == (2 * GAP + CAPTION + 3 * (STRIP_WIDTH // 6 + 2), STRIP_WIDTH + 2 * GAP, 3)


def test_original_and_augmented_version_are_what_the_model_sees(tmp_path: Path) -> None:
    half = np.zeros((30, 30), np.uint8)
    half[:, 15:] = 200
    dataset = one_picture(tmp_path, half)
    sheet = pixels_of(contact_sheet(dataset, InputSpec(1, 60), MIRROR, tmp_path / "sheet.png", num_augmented=1))
    row = sheet[GAP + CAPTION + CELL // 2, :, 0]
    original, mirrored = row[GAP : GAP + CELL], row[2 * GAP + CELL : 2 * GAP + 2 * CELL]
    assert original[5] == 0
    assert original[-5] == 200
    np.testing.assert_array_equal(mirrored, original[::-1])


def test_records_of_a_class_with_a_factor_are_shown_through_the_heavy_pipeline(tmp_path: Path) -> None:
    half = np.zeros((30, 30), np.uint8)
    half[:, 15:] = 200
    dataset = one_picture(tmp_path, half)
    augmenter = Augmenter({"per_class_factor": {"dent": 20}, "heavy": {"horizontal_flip": 1.0}}, seed=0)
    sheet = pixels_of(contact_sheet(dataset, InputSpec(1, 60), augmenter, tmp_path / "sheet.png", num_augmented=1))
    mirrored = sheet[GAP + CAPTION + CELL // 2, 2 * GAP + CELL : 2 * GAP + 2 * CELL, 0]
    assert (mirrored[5], mirrored[-5]) == (200, 0)


def test_box_is_drawn_around_the_defect_on_both_versions(tmp_path: Path) -> None:
    box = Box(label=0, x_min=5, y_min=10, x_max=15, y_max=20)
    dataset = one_picture(tmp_path, np.full((40, 40, 3), 90, np.uint8), box)
    sheet = pixels_of(contact_sheet(dataset, InputSpec(3), MIRROR, tmp_path / "sheet.png", num_augmented=1))
    scale = CELL // 40
    line = sheet[GAP + CAPTION + 15 * scale]  # through the middle of the box
    colored = np.flatnonzero(np.ptp(line.astype(int), axis=1) > 60)
    left, right = GAP + 5 * scale, GAP + 15 * scale - 1
    mirrored = 2 * GAP + CELL
    expected = [left, right, mirrored + CELL - 15 * scale, mirrored + CELL - 5 * scale - 1]
    assert all(np.abs(colored - edge).min() <= 1 for edge in expected)
    assert all(min(abs(column - edge) for edge in expected) <= 2 for column in colored)


def test_without_an_augmenter_only_originals_are_shown(tiles: Dataset, tmp_path: Path) -> None:
    sheet = pixels_of(contact_sheet(tiles, InputSpec(3), None, tmp_path / "sheet.png", num_samples=1))
    assert sheet.shape[1] == CELL + 3 * GAP


def test_every_class_and_a_clean_one_come_before_repeats(tiles: Dataset) -> None:
    rows = choose_rows(tiles, 5, seed=0)
    assert sorted(tiles[row].labels for row in rows) == [(), (0,), (1,), (2,), (3,)]
    assert choose_rows(tiles, 5, seed=0) == rows
    assert choose_rows(tiles, 5, seed=1) != rows


def test_asking_for_more_than_there_is_shows_all(tiles: Dataset) -> None:
    assert sorted(choose_rows(tiles, 99, seed=0)) == list(range(15))


def test_same_seed_gives_the_same_sheet(tiles: Dataset, tmp_path: Path) -> None:
    first, second = (contact_sheet(tiles, InputSpec(3), MIRROR, tmp_path / name) for name in ("a.png", "b.png"))
    assert first.read_bytes() == second.read_bytes()


def test_damaged_picture_is_named_and_no_half_sheet_is_left(tmp_path: Path) -> None:
    dataset = one_picture(tmp_path, np.zeros((9, 9), np.uint8))
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"a\.png: expected an image, got zero bytes"):
        contact_sheet(dataset, InputSpec(3), None, tmp_path / "sheet.png")
    assert [file.name for file in tmp_path.iterdir()] == ["a.png"]


def test_label_only_record_and_wrong_numbers_are_refused(tiles: Dataset, tmp_path: Path) -> None:
    bare = Dataset.from_records([Record(id="x")], ["dent"], "multilabel")
    with pytest.raises(DataError, match="record `x`: expected a file, got none"):
        contact_sheet(bare, InputSpec(3), None, tmp_path / "sheet.png")
    with pytest.raises(DataError, match=r"preview\.num_samples: expected 1 or more, got 0"):
        contact_sheet(tiles, InputSpec(3), None, tmp_path / "sheet.png", num_samples=0)


def test_place_that_cannot_be_written_is_named(tiles: Dataset, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WorkspaceError, match="expected a place that can be written"):
        contact_sheet(tiles, InputSpec(3), None, tmp_path / "file" / "sheet.png", num_samples=1)
