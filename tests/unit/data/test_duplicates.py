from __future__ import annotations

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from ringlight.data import duplicates as module
from ringlight.data.content import hash_contents
from ringlight.data.duplicates import Duplicates, Link, near_duplicates
from ringlight.data.links import LARGE, components, unchained
from ringlight.errors import DataError
from ringlight.types import Dataset, Record


def dataset_of(paths):
    return Dataset.from_records([Record(id=p.name, uri=str(p), labels=(0,)) for p in paths], ["c"], "multiclass")


def texture(seed, height=64, width=64):
    noise = np.random.default_rng(seed).normal(0, 1, (height, width)).astype(np.float32)
    return np.clip(128 + 90 * cv2.GaussianBlur(noise, (0, 0), 1.2), 0, 255).astype(np.uint8)


def save(path: Path, pixels, **options) -> Path:
    Image.fromarray(np.asarray(pixels, np.uint8)).save(path, **options)
    return path


def linked_names(dataset, found):
    return {(dataset.ids[link.a], dataset.ids[link.b]) for link in found.links}


@pytest.mark.parametrize(("count", "side"), [(4, 16), (12, 32), (36, 24), (80, 32)])
def test_tiles_of_noise_are_not_linked(tmp_path, make_image, count, side):
    """Pictures of the same kind with different noise are what most tests train on: a link would tear their splits."""
    paths = [make_image(tmp_path / f"{row}.png", size=(side, side), brightness=50 + row % 3 * 75, seed=row)
             for row in range(count)]  # fmt: skip
    found = near_duplicates(dataset_of(paths))
    assert found.links == ()
    assert found.num_groups == count
    assert found.linked == 0


def test_plain_pictures_are_linked_only_when_their_pixels_are_equal(tmp_path):
    paths = [save(tmp_path / f"{level}.png", np.full((32, 32), level)) for level in (10, 60, 61, 200)]
    paths.append(save(tmp_path / "again.bmp", np.full((32, 32), 60)))
    paths.append(save(tmp_path / "wide.png", np.full((16, 64), 60)))
    dataset = dataset_of(paths)
    found = near_duplicates(dataset)
    assert linked_names(dataset, found) == {("60.png", "again.bmp")}
    assert any("6 plain images" in note for note in found.notes)


def test_a_lone_disc_at_another_place_is_no_evidence(tmp_path):
    """Discs on a plain ground agree perfectly once they are moved onto each other; they are different pictures."""
    paths = []
    for row in range(12):
        pixels = np.full((64, 64), 100, np.uint8)
        cv2.circle(pixels, (20 + 2 * row, 30 + row % 5), 8, 180, -1)
        paths.append(save(tmp_path / f"{row:02d}.png", pixels))
    assert near_duplicates(dataset_of(paths)).links == ()


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("encoded.jpg", lambda pixels: pixels),
        ("half.png", lambda pixels: cv2.resize(pixels, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)),
        ("double.png", lambda pixels: cv2.resize(pixels, None, fx=2, fy=2)),
        ("brighter.png", lambda pixels: np.clip(pixels * 1.1 + 10, 0, 255)),
        ("cropped.png", lambda pixels: pixels[4:-3, 5:]),
        ("noisy.png", lambda pixels: np.clip(pixels + np.random.default_rng(9).normal(0, 5, pixels.shape), 0, 255)),
        ("color.png", lambda pixels: np.repeat(pixels[..., None], 3, axis=2)),
    ],
)
def test_a_copy_in_a_tiny_set_is_found(tmp_path, name, change):
    paths = [save(tmp_path / f"{seed}.png", texture(seed, 96, 96)) for seed in range(6)]
    paths.append(save(tmp_path / name, change(texture(3, 96, 96))))
    dataset = dataset_of(paths)
    found = near_duplicates(dataset)
    assert linked_names(dataset, found) == {("3.png", name)}
    assert found.groups[6] == found.groups[3] == "near:3.png"
    assert found.groups[0] == "near:0.png"


def test_equal_content_is_linked_whatever_the_pixels(tmp_path):
    paths = [save(tmp_path / f"{seed}.png", texture(seed)) for seed in range(3)]
    dataset = dataset_of(paths).with_column("content", ["x", "y", "x"])
    assert linked_names(dataset, near_duplicates(dataset)) == {("0.png", "2.png")}
    assert near_duplicates(hash_contents(dataset)).links == ()


def test_bursts_of_shifted_exposures_are_grouped_and_unrelated_parts_are_not(tmp_path):
    """What the magnetic tiles look like: one part at several exposures, cut out differently each time."""
    rng = np.random.default_rng(0)
    paths = []
    for part in range(22):
        whole = texture(part, 120, 130).astype(np.float32)
        for exposure in range(3):
            top, left, height, width = (int(value) for value in rng.integers((0, 0, 100, 105), (9, 9, 110, 118)))
            light = np.linspace(0.5, 1.2, width) * (0.6 + 0.2 * exposure)
            pixels = whole[top : top + height, left : left + width] * light[: min(width, 130 - left)]
            paths.append(save(tmp_path / f"{part:02d}_{exposure}.png", np.clip(pixels, 0, 255)))
    found = near_duplicates(dataset_of(paths))
    assert list(found.groups) == [f"near:{row // 3:02d}_0.png" for row in range(66)]
    again = near_duplicates(dataset_of(paths), num_threads=1)
    assert again == found


def test_neighbouring_cut_outs_of_one_surface_are_counted_and_linked_on_demand(tmp_path):
    """NEU holds 53 pairs that share 66 to 90 % of their frame; no pair of an exposure burst shares so little."""
    paths = [save(tmp_path / f"{seed:02d}.png", texture(seed, 100, 100)) for seed in range(70)]
    wide = texture(99, 100, 116)
    paths += [save(tmp_path / "left.png", wide[:, :100]), save(tmp_path / "right.png", wide[:, 16:])]
    dataset = dataset_of(paths)
    found = near_duplicates(dataset)
    assert found.links == ()
    assert any(note.startswith("1 pairs of pictures show overlapping cut-outs") for note in found.notes)
    assert linked_names(dataset, near_duplicates(dataset, min_overlap=0.8)) == {("left.png", "right.png")}


def test_a_fixture_that_all_pictures_share_links_nothing(tmp_path):
    """A fixed camera shows the same fixture in every picture; only the part in it differs."""
    fixture = texture(1000, 72, 72)
    paths = []
    for row in range(70):
        pixels = fixture.copy()
        pixels[24:48, 24:48] = texture(row, 24, 24)
        paths.append(save(tmp_path / f"{row:02d}.png", pixels))
    paths.append(save(tmp_path / "copy.jpg", cv2.imread(str(paths[40]), 0), quality=92))
    dataset = dataset_of(paths)
    assert linked_names(dataset, near_duplicates(dataset)) == {("40.png", "copy.jpg")}


def test_pictures_that_are_alike_throughout_are_not_chained(tmp_path):
    base, paths = texture(0), []
    for row in range(16):
        noise = np.random.default_rng(row).normal(0, 6, base.shape)
        paths.append(save(tmp_path / f"{row:02d}.png", np.clip(base + noise, 0, 255)))
    found = near_duplicates(dataset_of(paths))
    assert found.links == ()
    assert any("16 of 16 images are alike throughout" in note for note in found.notes)


def test_links_are_taken_out_of_a_group_too_large_until_only_copies_or_identical_ones_are_left():
    count = LARGE + 8
    chain = {(row, row + 1): 0.4 for row in range(count - 1)}
    left, notes = unchained(count, [(0, 1)], {**chain, (4, 5): 0.9}, copy=0.5, what="images")
    assert left == {(4, 5): 0.9}
    assert len(notes) == 1
    left, notes = unchained(count, [(0, 1)], dict.fromkeys(chain, 0.9), copy=0.5, what="images")
    assert left == {}
    assert "only identical ones" in notes[0]
    assert unchained(count, [], {(0, 1): 0.4}, copy=0.5, what="images") == ({(0, 1): 0.4}, [])


def test_an_embedding_adds_candidates_and_pixels_decide(tmp_path):
    """Copies on a canvas of another shape escape the search in the pixels' middle, not a model."""
    paths = [save(tmp_path / f"{seed:02d}.png", texture(seed, 40, 40)) for seed in range(70)]
    seen = []

    def embed(images):
        seen.extend(image.shape for image in images)
        return np.ones((len(images), 2), np.float32)

    found = near_duplicates(dataset_of(paths), embed=embed)
    assert seen == [(40, 40, 3)] * 70
    assert found.links == ()  # everything is near everything for this model, nothing is alike in the pixels


@pytest.mark.parametrize("answer", [np.ones(6), np.ones((5, 3)), np.full((6, 3), np.nan)])
def test_an_embedding_of_another_shape_is_refused(tmp_path, answer):
    paths = [save(tmp_path / f"{seed}.png", texture(seed)) for seed in range(6)]
    with pytest.raises(DataError, match=r"^near_duplicates: embed: expected finite features of shape \(6, D\), got "):
        near_duplicates(dataset_of(paths), embed=lambda _images: answer)


def test_records_without_files_are_refused():
    dataset = Dataset.from_records([Record(id="a", labels=(0,))], ["c"], "multiclass", name="table")
    with pytest.raises(DataError, match=r"^table: record `a`: expected a file for every record, got none; give groups"):
        near_duplicates(dataset)


def test_a_damaged_file_is_one_line(tmp_path):
    good = save(tmp_path / "good.png", texture(0))
    (tmp_path / "bad.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"bad\.png: expected an image, got bytes"):
        near_duplicates(dataset_of([good, tmp_path / "bad.png"]))


def test_progress_is_told(tmp_path):
    calls = []
    paths = [save(tmp_path / f"{seed}.png", texture(seed)) for seed in range(3)]
    near_duplicates(dataset_of(paths), progress=lambda done, total: calls.append((done, total)))
    assert calls[-1] == (3, 3)


def test_one_picture_is_a_group():
    found = Duplicates.from_links(["a"], [])
    assert (found.groups, found.num_groups, found.linked) == (("near:a",), 1, 0)


def test_answers_survive_a_cache_file():
    found = Duplicates.from_links(["a", "b", "c"], [Link(1, 2, 0.75)], ["a note"])
    assert Duplicates.from_dict(json.loads(json.dumps(found.to_dict()))) == found


def test_components_equal_a_naive_search():
    rng = np.random.default_rng(3)
    pairs = [tuple(sorted(map(int, pair))) for pair in rng.integers(0, 40, (25, 2))]
    naive = list(range(40))
    for _ in range(40):
        for a, b in pairs:
            naive[a] = naive[b] = min(naive[a], naive[b])
    assert components(40, pairs) == naive


def test_the_four_names_are_in_one_place():
    assert {"near_duplicates", "near_duplicate_windows", "duplicate_sheet", "Duplicates"} <= set(module.__all__)


@pytest.mark.slow
def test_exposures_of_magnetic_tiles_share_a_group(real_data):
    root = real_data("magnetic-tile")
    with real_data.file("magnetic-tile-bursts.csv").open() as stream:
        rows = [row for row in csv.DictReader(stream) if 140 <= int(row["burst"]) < 164]
    bursts = np.array([int(row["burst"]) for row in rows])
    records = [Record(id=row["file"], uri=str(root / row["file"]), labels=(0,)) for row in rows]
    found = near_duplicates(Dataset.from_records(records, ["c"], "multiclass"))
    groups = np.array(found.groups)
    a, b = np.triu_indices(len(rows), 1)
    same, true = groups[a] == groups[b], bursts[a] == bursts[b]
    assert (same & true).sum() / true.sum() >= 0.95
    # Other pairs are those of tiles whose exposures the truth tears apart (benchmarks/near_duplicates.py lists them).
    assert (same & true).sum() / same.sum() >= 0.9
