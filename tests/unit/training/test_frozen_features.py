"""Features of the frozen backbone: those the classifier receives, kept by weights, settings and contents."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ringlight.data.augment import Augmenter
from ringlight.data.folder import FolderSource
from ringlight.data.preprocess import InputSpec, prepare
from ringlight.errors import ModelError, Problems
from ringlight.models import build_model
from ringlight.models.heads import CosineHead, classifier_of, install_head, num_features_of
from ringlight.runtime import LOGGER, DeviceChoice
from ringlight.training.features import Embedder
from ringlight.training.frozen_features import (
    augmented_features,
    backbone_embedder,
    feature_table,
    weights_hash,
)
from ringlight.types import Dataset

CPU = DeviceChoice("cpu", "a test")
SPEC = InputSpec(in_chans=3, image_size=32)


@pytest.fixture
def tiles(tile_folder: Path) -> Dataset:
    return FolderSource(tile_folder).load()


def model(name: str = "resnet10t", num_classes: int = 3, seed: int = 0, **params: Any) -> nn.Module:
    torch.manual_seed(seed)
    return build_model(name, num_classes=num_classes, pretrained=False, params=params).module


def embedder_of(module: nn.Module) -> Embedder:
    return backbone_embedder(module, "resnet10t", SPEC, CPU)


class Passes:
    """Counts the pictures that go through a model."""

    def __init__(self, module: nn.Module) -> None:
        self.images = 0
        module.register_forward_pre_hook(self._count)

    def _count(self, _module: nn.Module, inputs: tuple[Tensor]) -> None:
        self.images += len(inputs[0])


def overheard(module: nn.Module, data: Dataset) -> np.ndarray:
    """What reaches the classifier, one picture at a time, in the layout a server would use."""
    heard: list[np.ndarray] = []
    handle = classifier_of(module).register_forward_hook(lambda _l, inputs, _o: heard.append(inputs[0].numpy().copy()))
    was_training = module.training
    module.eval()
    with torch.no_grad():
        for uri in data.uris:
            module(prepare(str(uri), SPEC).unsqueeze(0))
    handle.remove()
    module.train(was_training)
    return np.concatenate(heard)


# --- the pass ---------------------------------------------------------------------------------------------------------


def test_the_features_are_those_that_reach_the_classifier(tiles: Dataset) -> None:
    module = model()
    table = feature_table(module, tiles, embedder_of(module), CPU, cache=None)
    assert table.features.shape == (15, 512)
    assert table.features.dtype == np.float32
    np.testing.assert_allclose(table.features, overheard(module, tiles), atol=1e-4)
    assert table.features.std(axis=0).max() > 0.01


def test_how_many_pictures_go_at_a_time_changes_no_feature(tiles: Dataset) -> None:
    module = model()
    found = [
        feature_table(module, tiles, replace(embedder_of(module), batch_size=size), CPU, cache=None).features
        for size in (1, 4, 64)
    ]
    np.testing.assert_allclose(found[1], found[0], atol=1e-4)
    np.testing.assert_allclose(found[2], found[0], atol=1e-4)


def test_the_model_comes_back_as_it_was(tiles: Dataset) -> None:
    """In training mode its statistics would move with every batch, and the features with the order of the records."""
    module = model().train()
    before = {key: value.clone() for key, value in module.state_dict().items()}
    feature_table(module, tiles, embedder_of(module), CPU, cache=None)
    assert module.training
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())
    assert all(value.is_contiguous() for value in module.parameters())


def test_records_are_found_by_their_ids_in_any_order(tiles: Dataset) -> None:
    module = model()
    table = feature_table(module, tiles, embedder_of(module), CPU, cache=None)
    part = tiles.take([14, 3, 3 + 5])
    assert table.has(part)
    np.testing.assert_array_equal(table.of(part), table.features[[14, 3, 8]])
    few = feature_table(module, tiles.take([0]), embedder_of(module), CPU, cache=None)
    assert not few.has(part)


def test_features_that_are_not_finite_are_refused_with_the_first_record(tiles: Dataset) -> None:
    """One record with NaN made every weight of the head NaN, and the run ended with scores of chance."""
    module = model()
    with torch.no_grad():
        next(module.parameters())[0, 0, 0, 0] = float("nan")
    with pytest.raises(ModelError) as caught:
        feature_table(module, tiles, embedder_of(module), CPU, cache=None)
    assert str(caught.value) == (
        f"frozen resnet10t features: expected finite numbers, got 15 of 15 images with others, the first record "
        f"`{tiles.ids[0]}`; check the model's weights (weights.folder, model.pretrained)"
    )


def test_all_files_that_cannot_be_read_are_named_and_the_model_is_as_it_was(tiles: Dataset) -> None:
    for row in (2, 9):
        Path(str(tiles.uris[row])).write_bytes(b"broken %d" % row)
    module = model().train()
    with pytest.raises(Problems) as caught:
        feature_table(module, tiles, embedder_of(module), CPU, cache=None)
    assert len(caught.value.problems) == 2
    assert module.training


# --- what the kept features go by -------------------------------------------------------------------------------------


def test_a_second_call_passes_no_picture(tiles: Dataset, tmp_path: Path, caplog: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(LOGGER, "propagate", True)
    module = model()
    passes = Passes(module)
    with caplog.at_level(logging.INFO, logger="ringlight"):
        first = feature_table(module, tiles, embedder_of(module), CPU, cache=tmp_path)
    assert caplog.messages[0].startswith("frozen resnet10t features of 15 images, 512 numbers each: ")
    assert passes.images == 15
    second = feature_table(module, tiles, embedder_of(module), CPU, cache=tmp_path)
    assert passes.images == 15
    np.testing.assert_array_equal(first.features, second.features)


@pytest.mark.parametrize("name", ["resnet10t", "test_efficientnet", "test_vit", "test_convnext"])
def test_another_classifier_leaves_the_name_and_other_weights_change_it(name: str) -> None:
    first = model(name)
    same = model(name)
    torch.nn.init.normal_(classifier_of(same).weight)
    assert weights_hash(same) == weights_hash(first)
    other = model(name, num_classes=7, seed=0)
    backbone = {key: value for key, value in first.state_dict().items() if key in _behind(first)}
    other.load_state_dict(backbone, strict=False)
    assert weights_hash(other) == weights_hash(first)
    install_head(other, CosineHead(num_features_of(other), 7))
    assert weights_hash(other) == weights_hash(first)
    assert weights_hash(model(name, seed=1)) != weights_hash(first)


def _behind(module: nn.Module) -> set[str]:
    head = {id(value) for value in classifier_of(module).state_dict(keep_vars=True).values()}
    return {key for key, value in module.state_dict(keep_vars=True).items() if id(value) not in head}


def test_statistics_count_as_weights_and_the_mode_does_not() -> None:
    first, second = model(), model()
    assert weights_hash(second.eval()) == weights_hash(first.train())
    second.bn1.running_mean += 1e-3
    assert weights_hash(second) != weights_hash(first)


@pytest.mark.parametrize("name", ["resnet10t", "test_vit"])
def test_another_pooling_of_the_same_weights_has_another_name(name: str, tiles: Dataset, tmp_path: Path) -> None:
    """The kept features of one pooling once answered for the other, as only weights were looked at."""
    average, largest = model(name, global_pool="avg"), model(name, global_pool="max")
    largest.load_state_dict(average.state_dict())
    assert weights_hash(average) != weights_hash(largest)
    if name == "resnet10t":
        spec = InputSpec(in_chans=3, image_size=64)  # 32 would leave one place to pool
        found = [
            feature_table(each, tiles, backbone_embedder(each, name, spec, CPU), CPU, cache=tmp_path).features
            for each in (average, largest)
        ]
        assert (found[0] != found[1]).any()


def test_dropout_that_only_training_has_leaves_the_name() -> None:
    torch.manual_seed(0)
    dropping = build_model("resnet10t", num_classes=3, pretrained=False, drop_rate=0.4).module
    assert weights_hash(dropping) == weights_hash(model())


def test_damaged_features_are_computed_again(tiles: Dataset, tmp_path: Path, caplog: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(LOGGER, "propagate", True)
    module = model()
    passes = Passes(module)
    first = feature_table(module, tiles, embedder_of(module), CPU, cache=tmp_path)
    (path,) = tmp_path.glob("features-*.npz")
    path.write_bytes(path.read_bytes()[:2000])
    with caplog.at_level(logging.WARNING, logger="ringlight"):
        second = feature_table(module, tiles, embedder_of(module), CPU, cache=tmp_path)
    warned = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert warned == [f"{path}: the kept features are damaged; computed again"]
    assert passes.images == 30
    np.testing.assert_allclose(second.features, first.features, atol=1e-6)


# --- augmented copies -------------------------------------------------------------------------------------------------

AUGMENTATION = {
    "horizontal_flip": True,
    "heavy": {"vertical_flip": 1.0},
    "per_class_factor": {"bright": 4},
}


def augmented(
    module: nn.Module, train: Dataset, augmentation: dict[str, Any] | None, *, num_views: int = 0, seed: int = 0,
    cache: Path | None = None,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    augmenter = None if augmentation is None else Augmenter(augmentation, seed=seed, class_names=train.classes)
    return augmented_features(
        module, train, embedder_of(module), CPU, augmenter, augmentation or {}, num_views=num_views, cache=cache
    )


def times(rows: Sequence[int], num: int) -> list[int]:
    return np.bincount(rows, minlength=num).tolist()


def test_a_record_has_its_factor_less_one_of_copies_times_the_views(tiles: Dataset) -> None:
    module = model()
    bright = np.asarray(tiles.targets()) == tiles.classes.index("bright")
    for num_views, of_bright, of_others in ((0, 3, 0), (1, 7, 1), (2, 11, 2)):
        found, rows = augmented(module, tiles, AUGMENTATION, num_views=num_views)
        assert found.shape == (len(rows), 512)
        assert times(rows, 15) == np.where(bright, of_bright, of_others).tolist()


def test_without_an_augmenter_or_a_view_there_is_no_copy(tiles: Dataset) -> None:
    module = model()
    for augmentation in (None, {"horizontal_flip": True}):
        found, rows = augmented(module, tiles, augmentation)
        assert found.shape == (0, 512)
        assert found.dtype == np.float32
        assert rows.shape == (0,)


def test_each_copy_is_its_own_picture_through_the_pipeline_of_its_class(tiles: Dataset) -> None:
    """Without views only the heavy pipeline makes copies, and here it always turns a picture upside down."""
    module = model()
    found, rows = augmented(module, tiles, AUGMENTATION)
    assert len(rows) == 12
    embedder = embedder_of(module)
    for vector, row in zip(found, rows, strict=True):
        upside_down = embedder.fit(str(tiles.uris[row]))[::-1].copy()
        module.eval()
        np.testing.assert_allclose(vector, embedder.compute([upside_down])[0], atol=1e-4)


def test_copies_of_a_record_differ(tiles: Dataset) -> None:
    found, rows = augmented(model(), tiles, {"brightness_contrast": 1.0}, num_views=3)
    for row in range(15):
        own = found[rows == row]
        assert len(np.unique(own, axis=0)) == 3


def test_copies_are_the_same_again_and_kept_and_another_seed_is_another_draw(tiles: Dataset, tmp_path: Path) -> None:
    module = model()
    passes = Passes(module)
    settings: dict[str, Any] = {"brightness_contrast": 1.0}
    first, rows = augmented(module, tiles, settings, num_views=2, cache=tmp_path)
    assert passes.images == 30
    again, same_rows = augmented(module, tiles, settings, num_views=2, cache=tmp_path)
    assert passes.images == 30
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(rows, same_rows)
    fresh, _ = augmented(module, tiles, settings, num_views=2)
    np.testing.assert_allclose(fresh, first, atol=1e-6)
    passes.images = 0
    other, _ = augmented(module, tiles, settings, num_views=2, seed=1, cache=tmp_path)
    assert passes.images == 30
    assert (other != first).any()
    augmented(module, tiles, settings, num_views=3, cache=tmp_path)
    assert passes.images == 45, "one view more is one pass more"


def test_a_record_of_another_class_takes_another_pipeline_although_its_picture_is_kept(
    tiles: Dataset, tmp_path: Path
) -> None:
    """With two labels exchanged, their copies once came from the cache as the former labels had made them."""
    module = model()
    settings = {"horizontal_flip": 0.0001, "heavy": {"vertical_flip": 1.0}, "per_class_factor": {"bright": 1}}
    before, rows = augmented(module, tiles, settings, num_views=1, cache=tmp_path)
    dark, bright = tiles.classes.index("dark"), tiles.classes.index("bright")
    labels = np.asarray(tiles.targets())
    exchanged = np.where(labels == dark, bright, np.where(labels == bright, dark, labels))
    relabelled = tiles.with_column("labels", [[int(label)] for label in exchanged])
    after, same_rows = augmented(module, relabelled, settings, num_views=1, cache=tmp_path)
    fresh, _ = augmented(module, relabelled, settings, num_views=1)
    np.testing.assert_array_equal(rows, same_rows)
    np.testing.assert_allclose(after, fresh, atol=1e-6)
    changed = (np.abs(before - after) > 1e-6).any(axis=1)
    assert changed.tolist() == (labels[rows] != tiles.classes.index("middle")).tolist()


def test_a_copy_is_read_by_the_progress_bar(tiles: Dataset) -> None:
    steps: list[tuple[int, int]] = []
    module = model()
    augmenter = Augmenter({"horizontal_flip": True}, seed=0, class_names=tiles.classes)

    def progress(done: int, total: int) -> None:
        steps.append((done, total))

    call: Callable[..., Any] = augmented_features
    call(
        module, tiles, embedder_of(module), CPU, augmenter, {"horizontal_flip": True}, num_views=2, cache=None,
        progress=progress,
    )  # fmt: skip
    assert steps == [(15, 15), (15, 15)]
