"""What every augmentation of the catalogue promises, whoever wrote it."""

from __future__ import annotations

import inspect
import pickle
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest

from ringlight.data import (
    augmentations_cover,
    augmentations_geometry,
    augmentations_mix,
    augmentations_pixels,
    signal_parts_cover,
    signal_parts_shape,
)
from ringlight.data.augment import Augmenter, augmentation_problems
from ringlight.data.augment_config import augmentation_names, takes_of
from ringlight.data.augmentations import AUGMENTATIONS, RESERVED
from ringlight.data.signal_augment import SignalAugmenter
from ringlight.errors import Problems
from ringlight.types import Box

NAMES = AUGMENTATIONS.names()
FOR_IMAGES = augmentation_names("images")
FOR_WINDOWS = augmentation_names("windows")
ALWAYS = {"probability": 1.0}


def picture(channels: int, height: int = 32, width: int = 48) -> np.ndarray:
    """Dark steel, brighter from left to right, with one bright defect at rows 8 to 16 and columns 20 to 32."""
    image = np.empty((height, width, channels), np.uint8)
    image[:] = np.linspace(40, 70, width, dtype=np.uint8)[None, :, None]
    image[8:16, 20:32] = [250, 210, 180][:channels]
    return image


DEFECT = Box(label=2, x_min=20, y_min=8, x_max=32, y_max=16)


def test_nothing_public_is_missing_from_the_catalogue() -> None:
    """A part that nobody listed cannot be configured."""
    public = {
        part
        for module in (
            augmentations_cover,
            augmentations_geometry,
            augmentations_mix,
            augmentations_pixels,
            signal_parts_cover,
            signal_parts_shape,
        )
        for part in vars(module).values()
        if inspect.isclass(part) and part.__module__ == module.__name__
    }
    assert public == set(AUGMENTATIONS.parts.values())


def test_no_augmentation_takes_the_name_of_a_key_with_another_meaning() -> None:
    assert not set(NAMES) & set(RESERVED)


@pytest.mark.parametrize("name", NAMES)
def test_parameters_are_keywords_with_defaults_and_a_probability(name: str) -> None:
    parameters = {parameter.name: parameter for parameter in AUGMENTATIONS.parameters(name)}
    assert "probability" in parameters
    assert not any(parameter.required for parameter in parameters.values())
    assert all(parameter.annotation in ("float", "int") for parameter in parameters.values())
    assert AUGMENTATIONS.describe()[name].endswith(".")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [None, False, True, 0.5, ALWAYS])
def test_every_way_to_write_a_key_is_accepted(name: str, value: object) -> None:
    assert augmentation_problems({name: value}) == []


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("probability", [-0.1, 1.1, float("nan")])
def test_a_probability_out_of_range_names_the_key(name: str, probability: float) -> None:
    (line,) = augmentation_problems({name: {"probability": probability}})
    assert line.startswith(f"augmentation.{name}.probability: expected a number from 0 to 1, got ")


def test_every_part_takes_images_windows_or_batches() -> None:
    assert {*FOR_IMAGES, *FOR_WINDOWS, "mixup"} == set(NAMES)
    assert not set(FOR_IMAGES) & set(FOR_WINDOWS)
    assert takes_of("mixup") == "batches"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["images", "windows", None])
def test_a_part_of_the_other_kind_is_refused_in_one_line_where_the_kind_is_known(name: str, kind: Any) -> None:
    """Turning a signal by 15 degrees means nothing; the line says so before a shape does."""
    lines = augmentation_problems({name: 0.5}, kind=kind)
    if kind is None or takes_of(name) in (kind, "batches"):
        assert lines == []
    else:
        expected = f"augmentation.{name}: expected an augmentation of {kind}, got one of {takes_of(name)}; "
        assert lines == [expected + "set it to null"]
    assert augmentation_problems({name: None}, kind=kind) == []


@pytest.mark.parametrize("name", FOR_IMAGES)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("height", "width"), [(32, 48), (17, 160), (32, 33)])
def test_picture_keeps_its_shape_and_type(name: str, channels: int, height: int, width: int) -> None:
    image = picture(channels, height, width)
    original = image.copy()
    augmenter = Augmenter({name: ALWAYS}, seed=0)
    for epoch in range(4):
        result = augmenter(image, epoch=epoch, record_id="a", boxes=[]).image
        assert result.shape == image.shape
        assert result.dtype == np.uint8
        assert result.flags["C_CONTIGUOUS"]
    np.testing.assert_array_equal(image, original)


@pytest.mark.parametrize("name", FOR_IMAGES)
def test_it_changes_a_color_picture_when_always_on_and_never_when_always_off(name: str) -> None:
    image = picture(3)
    always, never = (Augmenter({name: {"probability": share}}, seed=0) for share in (1.0, 0.0))
    outcomes = [always(image, epoch=epoch, record_id="a", boxes=[]).image for epoch in range(5)]
    assert any(not np.array_equal(outcome, image) for outcome in outcomes)
    for epoch in range(5):
        np.testing.assert_array_equal(never(image, epoch=epoch, record_id="a", boxes=[]).image, image)


@pytest.mark.parametrize("name", FOR_IMAGES)
def test_outcome_depends_on_seed_epoch_and_id_alone(name: str) -> None:
    image = picture(3)
    augmenter = Augmenter({name: ALWAYS}, seed=3)
    forward = [augmenter(image, epoch=epoch, record_id="a", boxes=[]).image for epoch in range(4)]
    twin = pickle.loads(pickle.dumps(augmenter))
    backward = [twin(image, epoch=epoch, record_id="a", boxes=[]).image for epoch in reversed(range(4))]
    for one, other in zip(forward, reversed(backward), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", FOR_IMAGES)
@pytest.mark.parametrize("channels", [1, 3])
def test_boxes_and_mask_follow_the_defect(name: str, channels: int) -> None:
    image = picture(channels)
    mask = np.zeros(image.shape[:2], np.uint8)
    mask[8:16, 20:32] = 1
    augmenter = Augmenter({name: ALWAYS}, seed=0)
    for epoch in range(6):
        result = augmenter(image, epoch=epoch, record_id="a", boxes=[DEFECT], mask=mask)
        assert result.mask is not None
        assert set(np.unique(result.mask)) <= {0, 1}
        bright = result.image.max(2) > 1.5 * np.median(result.image.max(2)) + 20
        overlap = (bright & (result.mask > 0)).sum() / max((bright | (result.mask > 0)).sum(), 1)
        assert overlap > 0.7
        (box,) = result.boxes
        rows, columns = np.nonzero(result.mask)
        assert box["label"] == 2
        assert box["x_min"] <= columns.min() + 1
        assert box["y_min"] <= rows.min() + 1
        assert box["x_max"] >= columns.max()
        assert box["y_max"] >= rows.max()


@pytest.mark.parametrize("name", FOR_IMAGES)
def test_copies_of_a_record_within_an_epoch_differ(name: str) -> None:
    """A record that is shown twenty times an epoch is augmented twenty ways (a flip has only two)."""
    augmenter = Augmenter({name: 0.5}, seed=0)
    ids = ["a", *(f"a#{copy}" for copy in range(1, 20))]
    outcomes = {augmenter(picture(3), epoch=0, record_id=key, boxes=[]).image.tobytes() for key in ids}
    assert len(outcomes) >= (2 if "flip" in name else 6)


@pytest.mark.parametrize("name", FOR_IMAGES)
def test_the_same_defect_in_mask_alone_is_followed(name: str) -> None:
    mask = np.zeros((32, 48), np.uint8)
    mask[8:16, 20:32] = 3
    augmenter = Augmenter({name: ALWAYS}, seed=1)
    for epoch in range(4):
        result = augmenter(picture(1), epoch=epoch, record_id="a", mask=mask)
        assert result.mask is not None
        assert set(np.unique(result.mask)) == {0, 3}
        assert result.mask.shape == (32, 48)


@pytest.mark.parametrize("name", FOR_IMAGES)
def test_a_sample_without_defects_stays_without(name: str) -> None:
    result = Augmenter({name: ALWAYS}, seed=0)(picture(3), epoch=0, record_id="a", boxes=[])
    assert result.boxes == ()
    assert result.mask is None


def window(length: int = 200, channels: int = 3) -> np.ndarray:
    """Tones of other frequencies a channel with a step in the middle, about unit deviation."""
    time = np.arange(length)[:, None]
    tones = 1.2 * np.sin(time * (0.1 + 0.1 * np.arange(channels))) + (time > length / 2)
    return tones.astype(np.float32)


@pytest.mark.parametrize("name", FOR_WINDOWS)
@pytest.mark.parametrize(("length", "channels"), [(200, 3), (9, 1), (8, 9), (1, 1), (2, 2)])
def test_a_window_keeps_its_shape_and_type_and_stays_finite(name: str, length: int, channels: int) -> None:
    given = window(length, channels)
    original = given.copy()
    augmenter = SignalAugmenter({name: ALWAYS}, seed=0)
    for epoch in range(6):
        result = augmenter(given, epoch=epoch, record_id="a")
        assert result.shape == given.shape
        assert result.dtype == np.float32
        assert np.isfinite(result).all()
        assert not np.shares_memory(result, given)
    np.testing.assert_array_equal(given, original)


@pytest.mark.parametrize("name", FOR_WINDOWS)
def test_it_changes_a_window_when_always_on_and_never_when_always_off(name: str) -> None:
    always, never = (SignalAugmenter({name: {"probability": share}}, seed=0) for share in (1.0, 0.0))
    outcomes = [always(window(), epoch=epoch, record_id="a") for epoch in range(5)]
    assert sum(not np.array_equal(outcome, window()) for outcome in outcomes) >= 4
    for epoch in range(5):
        np.testing.assert_array_equal(never(window(), epoch=epoch, record_id="a"), window())


@pytest.mark.parametrize("name", FOR_WINDOWS)
def test_a_window_s_outcome_depends_on_seed_epoch_and_id_alone(name: str) -> None:
    def outcomes(augmenter: SignalAugmenter, record_id: str, epochs: Iterable[int]) -> dict[int, bytes]:
        return {epoch: augmenter(window(), epoch=epoch, record_id=record_id).tobytes() for epoch in epochs}

    augmenter = SignalAugmenter({name: ALWAYS}, seed=3)
    forward = outcomes(augmenter, "a", range(8))
    twin = pickle.loads(pickle.dumps(augmenter))
    assert outcomes(twin, "a", reversed(range(8))) == forward
    assert len(set(forward.values())) > 1
    assert outcomes(augmenter, "b", range(8)) != forward
    assert outcomes(SignalAugmenter({name: ALWAYS}, seed=4), "a", range(8)) != forward


@pytest.mark.parametrize("name", FOR_WINDOWS)
def test_a_part_draws_the_same_whichever_others_are_on(name: str) -> None:
    """The others stand at a deviation or share of nothing, so that what is left is this part's work alone."""
    still = {
        "time_warp": {"deviation": 0.0}, "time_shift": {"share": 0.0}, "magnitude_warp": {"deviation": 0.0},
        "scaling": {"deviation": 0.0}, "frequency_mask": {"width": 0.0}, "jitter": {"deviation": 0.0},
        "channel_dropout": {"probability": 0.0}, "cut_out": {"length": 0.0},
    }  # fmt: skip
    assert set(still) == set(FOR_WINDOWS)
    alone = SignalAugmenter({name: ALWAYS}, seed=0)
    crowded = SignalAugmenter({**{other: {**ALWAYS, **given} for other, given in still.items()}, name: ALWAYS}, seed=0)
    for epoch in range(3):
        one, other = (augmenter(window(), epoch=epoch, record_id="a") for augmenter in (alone, crowded))
        np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("name", FOR_WINDOWS)
def test_copies_of_a_window_within_an_epoch_differ(name: str) -> None:
    augmenter = SignalAugmenter({name: 0.5}, seed=0)
    ids = ["a", *(f"a#{copy}" for copy in range(1, 20))]
    outcomes = {augmenter(window(), epoch=0, record_id=key).tobytes() for key in ids}
    assert len(outcomes) >= (4 if name == "channel_dropout" else 6)


def test_each_augmenter_refuses_the_other_kind_and_leaves_mixup_to_the_training() -> None:
    with pytest.raises(Problems, match=r"augmentation\.jitter: expected an augmentation of images, got one of windows"):
        Augmenter({"jitter": True}, seed=0)
    with pytest.raises(Problems, match=r"augmentation\.heavy\.rotation: expected an augmentation of windows"):
        SignalAugmenter({"heavy": {"rotation": True}}, seed=0)
    assert Augmenter({"mixup": True}, seed=0).enabled == SignalAugmenter({"mixup": True}, seed=0).enabled == {}
