"""Batches are augmented as single pictures are: the same share of them, by the same amounts."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import stats

from ringlight.config.load import compose
from ringlight.data.augment import Augmenter, _albumentations, has_augmentation
from ringlight.data.augment_batch import BatchAugmenter
from ringlight.data.augment_batch_parts import SUPPORTED, draw_warp
from ringlight.data.augment_config import augmentation_names
from ringlight.data.augment_draws import sample_keys
from ringlight.data.augmentations import AUGMENTATIONS
from ringlight.errors import ConfigError, DataError, Problems

RNG = np.random.default_rng(0)
COUNT = 1000
IDS = [f"part {index}" for index in range(COUNT)]
NAMES = [name for name in augmentation_names("images") if name != "defect_blackout"]


def picture(height: int = 24, width: int = 32) -> np.ndarray:
    """Bright, smooth and coloured, without black of its own, and unlike its mirror images."""
    y, x = np.mgrid[0:height, 0:width] / (height, width)[0]
    planes = [90 + 60 * np.sin(3 * x + y), 120 + 40 * np.cos(4 * y - x), 150 + 50 * x - 30 * y]
    return np.clip(np.stack(planes, axis=2), 1, 255).round().astype(np.uint8)


IMAGE = picture()
BATCH = torch.from_numpy(IMAGE).expand(COUNT, *IMAGE.shape)


def in_batch(config: dict[str, object], images: torch.Tensor = BATCH, epoch: int = 0, **more) -> torch.Tensor:
    return BatchAugmenter(config, seed=1)(images, epoch=epoch, record_ids=IDS[: len(images)], **more)


def one_by_one(config: dict[str, object], image: np.ndarray = IMAGE) -> np.ndarray:
    augmenter = Augmenter(config, seed=1)
    return np.stack([augmenter(image, epoch=0, record_id=key).image for key in IDS])


def test_every_part_but_those_that_need_boxes_works_on_batches() -> None:
    assert sorted(SUPPORTED) == sorted(NAMES)


STATISTICS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "mean": lambda images: images.mean((1, 2, 3)),
    "spread": lambda images: images.std((1, 2, 3)),
    "black": lambda images: (images.max(3) == 0).mean((1, 2)),
    "left": lambda images: images[:, :, :8].mean((1, 2, 3)),
    "top": lambda images: images[:, :6].mean((1, 2, 3)),
    "corner": lambda images: images[:, :6, :8].mean((1, 2, 3)),
    "red": lambda images: images[..., 0].mean((1, 2)) - images[..., 2].mean((1, 2)),
    "roughness": lambda images: np.abs(np.diff(images, axis=2)).mean((1, 2, 3)),
}
TUNED: dict[str, dict[str, object]] = {
    "rotation": {"degrees": 40.0},
    "shift_scale": {"shift": 0.2, "zoom": 0.3},
    "random_crop": {"area": 0.3},
    "brightness_contrast": {"brightness": 0.4, "contrast": 0.3},
    "color_jitter": {"saturation": 0.8, "hue": 0.2},
    "gaussian_blur": {"kernel_size": 7},
    "gaussian_noise": {"deviation": 0.2},
    "coarse_dropout": {"holes": 3, "size": 0.4},
}


# Interpolating and rounding differently moves a mean by a fraction of a level, which no test should rank.
DIGITS = {"black": 2, "roughness": 1}


def assert_alike(batch: np.ndarray, single: np.ndarray, *, but: str = "") -> None:
    """Two-sample Kolmogorov-Smirnov tests of whatever an augmentation may move."""
    for label, measure in STATISTICS.items():
        if label != but:
            one, other = (np.round(measure(images.astype(float)), DIGITS.get(label, 0)) for images in (batch, single))
            assert stats.ks_2samp(one, other, method="asymp").pvalue > 1e-3, label


@pytest.mark.parametrize("name", NAMES)
def test_a_part_changes_batches_as_it_changes_single_pictures(name: str) -> None:
    config = {name: {**TUNED.get(name, {}), "probability": 0.6 if "flip" in name else 1.0}}
    assert_alike(in_batch(config).numpy(), one_by_one(config))


@pytest.mark.parametrize("name", NAMES)
def test_a_part_is_applied_as_often_as_to_single_pictures(name: str) -> None:
    config = {name: {**TUNED.get(name, {}), "probability": 0.6}}
    changed = [(images != IMAGE).any((1, 2, 3)).mean() for images in (in_batch(config).numpy(), one_by_one(config))]
    assert abs(changed[0] - changed[1]) < 4 * np.sqrt(2 * 0.6 * 0.4 / COUNT)


@pytest.mark.parametrize("name", ["rotation", "shift_scale", "random_crop"])
def test_moves_are_drawn_as_albumentations_draws_them(name: str) -> None:
    """The numbers themselves, which pictures show only dimly."""
    part = AUGMENTATIONS.build(name, **{**TUNED[name], "probability": 1.0})
    transform = part.transform(_albumentations())
    transform.set_random_state(np.random.default_rng(0), random.Random(0))
    _, moves = draw_warp({name: part}, sample_keys(0, 0, [str(index) for index in range(4000)]), 240, 320)
    expected = []
    for _ in range(4000):
        given = transform.get_params_dependent_on_data({"shape": (240, 320, 3)}, {})
        if name == "random_crop":
            left, top, right, bottom = given["crop_coords"]
            expected.append([0, 1, 0, 0, left, top, right - left, bottom - top])
        else:
            (a, b, x), (_, d, y), _ = given["matrix"]
            zoom = np.hypot(a, b)
            middle = (159.5 * (1 - a) - 119.5 * b, 119.5 * (1 - d) + 159.5 * b)
            expected.append([np.degrees(np.arctan2(b, a)), zoom, x - middle[0], y - middle[1], 0, 0, 320, 240])
    for got, wanted in zip(moves.T, np.transpose(expected), strict=True):
        assert stats.ks_2samp(np.round(got, 3), np.round(wanted, 3), method="asymp").pvalue > 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_means_of_many_draws_agree(name: str) -> None:
    """Pixel by pixel, so that a turn the wrong way about or a hole in the wrong place is seen."""
    config = {name: {**TUNED.get(name, {}), "probability": 1.0}}
    batch, single = in_batch(config).numpy().astype(float), one_by_one(config).astype(float)
    error = np.sqrt((batch.var(0) + single.var(0)) / COUNT)
    assert (np.abs(batch.mean(0) - single.mean(0)) <= 5 * error + 2.0).all()


def test_the_heavy_recipe_agrees_as_a_whole() -> None:
    config = dict(compose("folder", ["augmentation=heavy"]).augmentation)
    # One interpolation instead of three leaves pictures sharper.
    assert_alike(in_batch(config).numpy(), one_by_one(config), but="roughness")


def test_flips_are_exact() -> None:
    images = torch.from_numpy(RNG.integers(0, 256, (6, 5, 7, 3), dtype=np.uint8))
    assert torch.equal(in_batch({"horizontal_flip": 1.0}, images), images.flip(2))
    assert torch.equal(in_batch({"horizontal_flip": 1.0, "vertical_flip": 1.0}, images), images.flip(1, 2))
    floats = images.float() / 255
    assert torch.equal(in_batch({"vertical_flip": 1.0}, floats), floats.flip(1))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", [torch.uint8, torch.float32, torch.float16])
def test_shape_and_type_stay_and_the_input_is_left_alone(name: str, channels: int, kind: torch.dtype) -> None:
    images = torch.from_numpy(RNG.integers(0, 256, (5, 17, 40, channels), dtype=np.uint8))
    images = images if kind == torch.uint8 else (images / 255).to(kind)
    original = images.clone()
    for probability in (1.0, 0.0):
        result = in_batch({name: {"probability": probability}}, images)
        assert (result.shape, result.dtype) == (images.shape, kind)
        assert result.is_contiguous()
        assert kind == torch.uint8 or 0 <= result.min() <= result.max() <= 1
        assert torch.equal(images, original)
        assert result.data_ptr() != images.data_ptr()
    assert torch.equal(result, images)


@pytest.mark.parametrize("name", NAMES)
def test_floats_are_changed_as_whole_levels_are(name: str) -> None:
    config = {name: {**TUNED.get(name, {}), "probability": 1.0}}
    levels = in_batch(config, BATCH[:20]).float()
    floats = 255 * in_batch(config, BATCH[:20] / 255)
    assert (levels - floats).abs().max() <= 1.01


@pytest.mark.parametrize("name", NAMES)
def test_what_happens_to_a_sample_does_not_depend_on_its_batch(name: str) -> None:
    images = torch.from_numpy(RNG.integers(0, 256, (12, 20, 24, 3), dtype=np.uint8))
    augmenter = BatchAugmenter({name: 0.7}, seed=3)
    whole = augmenter(images, epoch=2, record_ids=IDS[:12])
    rows = [7, 3, 11]
    some = augmenter(images[rows], epoch=2, record_ids=[IDS[row] for row in rows])
    assert torch.equal(some, whole[rows])
    alone = torch.cat([augmenter(images[row : row + 1], epoch=2, record_ids=[IDS[row]]) for row in rows])
    assert torch.equal(alone, whole[rows])


@pytest.mark.parametrize("name", NAMES)
def test_seed_epoch_and_id_decide(name: str) -> None:
    images = BATCH[:40]
    first = BatchAugmenter({name: 0.5}, seed=0)(images, epoch=0, record_ids=IDS[:40])
    assert torch.equal(BatchAugmenter({name: 0.5}, seed=0)(images, epoch=0, record_ids=IDS[:40]), first)
    assert not torch.equal(BatchAugmenter({name: 0.5}, seed=1)(images, epoch=0, record_ids=IDS[:40]), first)
    assert not torch.equal(BatchAugmenter({name: 0.5}, seed=0)(images, epoch=1, record_ids=IDS[:40]), first)
    assert not torch.equal(BatchAugmenter({name: 0.5}, seed=0)(images, epoch=0, record_ids=IDS[40:80]), first)


def test_turning_one_part_off_leaves_the_draws_of_the_others() -> None:
    alone = in_batch({"coarse_dropout": 0.5})
    both = in_batch({"coarse_dropout": 0.5, "horizontal_flip": 1.0})
    assert torch.equal(alone == 0, both == 0)


def test_global_random_state_is_left_alone() -> None:
    before = torch.get_rng_state()
    in_batch(dict.fromkeys(NAMES, 1.0), BATCH[:3])
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("kind", [np.array, list, torch.tensor])
def test_heavy_samples_take_the_heavy_pipeline_and_the_others_the_plain_one(kind) -> None:
    config = {"horizontal_flip": 1.0, "heavy": {"vertical_flip": 1.0}}
    images = BATCH[:4]
    heavy = [True, False, False, True]
    result = in_batch(config, images, heavy=kind(heavy))
    for row, is_heavy in enumerate(heavy):
        assert torch.equal(result[row], images[row].flip(0 if is_heavy else 1))
    assert torch.equal(in_batch(config, images, heavy=[True] * 4), images.flip(1))
    assert torch.equal(in_batch(config, images), images.flip(2))


def test_a_sample_among_heavy_ones_looks_as_it_does_alone() -> None:
    config = {"rotation": 1.0, "heavy": {"rotation": {"degrees": 60.0, "probability": 1.0}}}
    mixed = in_batch(config, BATCH[:6], heavy=[False, True] * 3)
    assert torch.equal(mixed[0::2], in_batch(config, BATCH[:6])[0::2])
    assert torch.equal(mixed[1::2], in_batch(config, BATCH[:6], heavy=[True] * 6)[1::2])


def test_without_a_heavy_pipeline_the_plain_one_is_taken() -> None:
    assert torch.equal(in_batch({"horizontal_flip": 1.0}, BATCH[:2], heavy=[True, False]), BATCH[:2].flip(2))


def test_an_empty_batch_and_an_empty_section_pass_through() -> None:
    assert in_batch(dict.fromkeys(NAMES, 1.0), BATCH[:0]).shape == (0, *IMAGE.shape)
    assert torch.equal(in_batch({}, BATCH[:3]), BATCH[:3])


@pytest.mark.parametrize("height", [1, 2, 256])
@pytest.mark.parametrize("width", [1, 300])
def test_pictures_of_any_size_are_taken(height: int, width: int) -> None:
    images = torch.full((2, height, width, 3), 100, dtype=torch.uint8)
    assert in_batch(dict.fromkeys(NAMES, 1.0), images).shape == images.shape


def test_parts_that_need_boxes_are_left_to_the_cpu() -> None:
    for config in ({"defect_blackout": 0.5}, {"heavy": {"defect_blackout": True}}):
        assert not BatchAugmenter.supports(config)
        with pytest.raises(ConfigError, match=r"data.augment_on: .* got defect_blackout; set data.augment_on=cpu"):
            BatchAugmenter(config, seed=0)
    assert BatchAugmenter.supports({"defect_blackout": None, "rotation": True, "per_class_factor": {"PASS": 3}})


def test_a_section_with_mistakes_is_refused() -> None:
    with pytest.raises(Problems, match="did you mean `rotation`"):
        BatchAugmenter({"rotatoin": True}, seed=0)


@pytest.mark.parametrize(
    ("images", "ids", "heavy", "line"),
    [
        (BATCH[:2, ..., 0], IDS[:2], None, r"images: expected uint8 or floats \(B, H, W, 1 or 3\), got \(2, 24, 32\)"),
        (BATCH[:2].permute(0, 3, 1, 2), IDS[:2], None, r"images: .* got \(2, 3, 24, 32\) torch.uint8; pass a raw"),
        (BATCH[:2].int(), IDS[:2], None, r"images: .* torch.int32"),
        (BATCH[:2], IDS[:3], None, "record_ids: expected 2 values, got 3"),
        (BATCH[:2], IDS[:2], [True], "heavy: expected 2 values, got 1"),
    ],
)
def test_what_is_no_batch_is_refused(images, ids, heavy, line) -> None:
    with pytest.raises(DataError, match=line):
        BatchAugmenter({"rotation": True}, seed=0)(images, epoch=0, record_ids=ids, heavy=heavy)


@pytest.mark.parametrize("group", ["light", "heavy", "severstal", "view_classifier", "defect_classifier"])
def test_shipped_presets_work_on_batches_and_on_single_pictures(group: str) -> None:
    config = dict(compose("folder", [f"augmentation={group}"]).augmentation)
    assert has_augmentation(config)
    assert BatchAugmenter.supports(config)
    heavy = group == "defect_classifier"
    result = in_batch(config, BATCH[:8], heavy=[heavy] * 8)
    assert not torch.equal(result, BATCH[:8])
    augmenter = Augmenter(config, seed=0, class_names=["PASS", "crack"])
    assert ("PASS" in augmenter.class_factors) is heavy
    assert augmenter(IMAGE, epoch=0, record_id="a", heavy=heavy).image.shape == IMAGE.shape


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_does_what_the_cpu_does() -> None:
    config = dict(compose("folder", ["augmentation=heavy"]).augmentation)
    result = in_batch(config, BATCH[:100].cuda()).cpu()
    difference = (result.float() - in_batch(config, BATCH[:100]).float()).abs()
    assert difference.mean() < 0.1
    assert (difference > 1).float().mean() < 0.01
