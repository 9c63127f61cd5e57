from __future__ import annotations

import pickle
import subprocess
import sys
from collections import Counter
from typing import Any

import numpy as np
import pytest

from ringlight.data.augment import Augmenter, augmentation_problems, enabled_augmentations
from ringlight.errors import Problems
from ringlight.types import Box, Dataset, Record

RNG = np.random.default_rng(0)
COLORS = RNG.integers(0, 256, (24, 40, 3), dtype=np.uint8)
ALL: dict[str, object] = {
    "horizontal_flip": 0.5,
    "vertical_flip": 0.3,
    "rotation": {"degrees": 15, "probability": 0.5},
    "brightness_contrast": {"brightness": 0.2, "contrast": 0.2},
    "color_jitter": {"saturation": 0.1, "hue": 0.05},
    "gaussian_blur": {"kernel_size": 3},
}


def outcome(augmenter: Augmenter, record_id: str = "a", epoch: int = 0, image: Any = COLORS) -> np.ndarray:
    return augmenter(image, epoch=epoch, record_id=record_id).image


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, {}),
        (False, {}),
        (True, {"rotation": {}}),
        (0.3, {"rotation": {"probability": 0.3}}),
        (1, {"rotation": {"probability": 1}}),
        ({"degrees": 5}, {"rotation": {"degrees": 5}}),
        ({}, {"rotation": {}}),
    ],
)
def test_each_key_is_off_on_a_probability_or_tuned(value: object, expected: dict[str, object]) -> None:
    assert enabled_augmentations({"rotation": value}) == expected
    assert augmentation_problems({"rotation": value}) == []


def test_every_mistake_is_a_line_with_its_full_key() -> None:
    config = {
        "rotatoin": True,
        "rotation": {"degres": 5},
        "gaussian_blur": {"kernel_size": 4},
        "horizontal_flip": 1.5,
        "vertical_flip": "yes",
        "color_jitter": {"hue": "blue"},
        "brightness_contrast": {"brightness": float("nan")},
    }
    expected = [
        "augmentation.rotatoin: expected a known augmentation, got unknown key `rotatoin`; did you mean `rotation`?",
        "augmentation.rotation.degres: expected a parameter of augmentation `rotation`, got unknown key "
        "`augmentation.rotation.degres`; did you mean `degrees`?",
        "augmentation.gaussian_blur.kernel_size: expected an odd number, got 4; take 5",
        "augmentation.horizontal_flip.probability: expected a number from 0 to 1, got 1.5; correct the value",
        "augmentation.vertical_flip: expected true, false, a probability or a mapping of parameters, got 'yes'; "
        "correct the value",
        "augmentation.color_jitter.hue: expected a valid number, got 'blue'; correct the value (default: 0.05)",
        "augmentation.brightness_contrast.brightness: expected a number from 0 to 1, got nan; correct the value",
    ]
    assert augmentation_problems(config) == expected
    with pytest.raises(Problems) as caught:
        Augmenter(config, seed=0)
    assert caught.value.problems == expected


def test_configuration_is_checked_without_importing_the_library() -> None:
    """It takes two seconds, which `--dry-run` and `doctor --help` would have to wait."""
    code = (
        "import sys; from ringlight.data.augment import Augmenter; "
        "Augmenter({'rotation': {'degrees': 5}, 'gaussian_blur': True}, seed=0); "
        "sys.exit('albumentations' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_nothing_enabled_returns_the_sample_untouched() -> None:
    box = Box(label=0, x_min=1, y_min=2, x_max=3, y_max=4)
    mask = np.ones((24, 40), np.uint8)
    result = Augmenter({"rotation": None}, seed=0)(COLORS, epoch=0, record_id="a", boxes=[box], mask=mask)
    assert result.image is COLORS
    assert result.boxes == (box,)
    assert result.mask is mask


def test_outcome_is_a_function_of_seed_epoch_and_id() -> None:
    augmenter = Augmenter(ALL, seed=1)
    first = outcome(augmenter, "part 7", epoch=3)
    for other in range(5):  # what was asked before must not matter
        outcome(augmenter, f"part {other}", epoch=other)
    np.testing.assert_array_equal(outcome(augmenter, "part 7", epoch=3), first)
    np.testing.assert_array_equal(outcome(Augmenter(ALL, seed=1), "part 7", epoch=3), first)
    assert not np.array_equal(outcome(augmenter, "part 7", epoch=4), first)
    assert not np.array_equal(outcome(augmenter, "part 8", epoch=3), first)
    assert not np.array_equal(outcome(Augmenter(ALL, seed=2), "part 7", epoch=3), first)


def test_input_and_global_random_state_are_left_alone() -> None:
    before, copy = np.random.get_state()[1].copy(), COLORS.copy()  # type: ignore[index,union-attr]
    for epoch in range(5):
        outcome(Augmenter(ALL, seed=1), epoch=epoch)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # type: ignore[index]
    np.testing.assert_array_equal(COLORS, copy)


def test_flips_are_independent_of_each_other() -> None:
    """`Compose.set_random_seed` hands one seed to every transform: both flips then happen together or not at all."""
    ramp = np.arange(6, dtype=np.uint8).reshape(2, 3, 1)
    augmenter = Augmenter({"horizontal_flip": 0.5, "vertical_flip": 0.5}, seed=0)
    outcomes = Counter(tuple(outcome(augmenter, epoch=epoch, image=ramp).ravel().tolist()) for epoch in range(400))
    assert len(outcomes) == 4
    assert min(outcomes.values()) > 70


def test_turning_one_part_off_leaves_the_draws_of_the_others() -> None:
    ramp = np.arange(24, dtype=np.uint8).reshape(4, 6, 1)
    alone, both = (
        Augmenter({"vertical_flip": 0.5, "horizontal_flip": flip}, seed=5) for flip in (None, {"probability": 1.0})
    )
    for epoch in range(20):
        mirrored = outcome(both, epoch=epoch, image=ramp)[:, ::-1]
        np.testing.assert_array_equal(outcome(alone, epoch=epoch, image=ramp), mirrored)


def test_order_of_the_keys_does_not_matter() -> None:
    turned = dict(reversed(ALL.items()))
    for epoch in range(8):
        np.testing.assert_array_equal(
            outcome(Augmenter(ALL, seed=0), epoch=epoch), outcome(Augmenter(turned, seed=0), epoch=epoch)
        )


def test_a_pickled_augmenter_does_the_same_also_after_use() -> None:
    augmenter = Augmenter(ALL, seed=1)
    before = pickle.loads(pickle.dumps(augmenter))
    first = outcome(augmenter)
    after = pickle.loads(pickle.dumps(augmenter))
    np.testing.assert_array_equal(outcome(before), first)
    np.testing.assert_array_equal(outcome(after), first)


def test_a_change_of_brightness_stays_within_its_limit() -> None:
    gray = np.full((8, 8, 1), 100, np.uint8)
    augmenter = Augmenter({"brightness_contrast": {"brightness": 0.1, "contrast": 0.0, "probability": 1.0}}, seed=0)
    means = [outcome(augmenter, epoch=epoch, image=gray).mean() for epoch in range(60)]
    assert min(means) >= 100 - 27
    assert max(means) <= 100 + 27
    assert max(means) - min(means) > 30


def test_probability_is_met() -> None:
    augmenter = Augmenter({"horizontal_flip": 0.2}, seed=0)
    flipped = sum(not np.array_equal(outcome(augmenter, f"id{index}"), COLORS) for index in range(500))
    assert 70 <= flipped <= 130  # 100 +- 3.4 standard deviations


def test_color_jitter_leaves_gray_alone_and_changes_colors() -> None:
    augmenter = Augmenter({"color_jitter": {"saturation": 0.5, "hue": 0.2, "probability": 1.0}}, seed=0)
    np.testing.assert_array_equal(outcome(augmenter, image=COLORS[..., :1]), COLORS[..., :1])
    equal = np.repeat(COLORS[..., :1], 3, axis=2)
    np.testing.assert_allclose(outcome(augmenter, image=equal), equal, atol=1)
    assert not np.array_equal(outcome(augmenter), COLORS)


def test_flip_mirrors_boxes_by_hand() -> None:
    box = Box(label=3, x_min=2, y_min=5, x_max=12, y_max=9)
    augmenter = Augmenter({"horizontal_flip": 1.0, "vertical_flip": 1.0}, seed=0)
    (found,) = augmenter(COLORS, epoch=0, record_id="a", boxes=[box]).boxes
    assert found["label"] == 3
    np.testing.assert_allclose(list(found.values())[1:], [40 - 12, 24 - 9, 40 - 2, 24 - 5], atol=1e-3)


def test_boxes_that_leave_the_picture_are_dropped_and_those_at_its_edge_cut() -> None:
    """A box that a rounding put half a pixel outside would otherwise stop the training."""
    boxes = [
        Box(label=0, x_min=-0.5, y_min=0, x_max=40.4, y_max=24),
        Box(label=1, x_min=0, y_min=0, x_max=2, y_max=2),
        Box(label=2, x_min=5, y_min=5, x_max=5, y_max=9),
    ]
    result = Augmenter({"rotation": {"degrees": 90, "probability": 1.0}}, seed=4)(
        COLORS, epoch=1, record_id="a", boxes=boxes
    )
    assert [box["label"] for box in result.boxes] == [0]
    assert result.boxes[0]["x_min"] >= 0
    assert result.boxes[0]["y_max"] <= 24


COPIES: dict[str, object] = {
    "horizontal_flip": 1.0,
    "per_class_factor": {"PASS": 20, "crack": 3},
    "heavy": {"vertical_flip": 1.0},
}


def two_labels() -> Dataset:
    records = [
        Record(id="a", labels=(0,)),
        Record(id="b", labels=(0, 1)),
        Record(id="c", labels=(2,)),
        Record(id="d"),
        Record(id="e", labels=(0, 2)),
    ]
    return Dataset.from_records(records, ["crack", "PASS", "dent"], "multilabel")


def test_factor_of_a_record_is_the_largest_of_its_labels() -> None:
    augmenter = Augmenter(COPIES, seed=0)
    assert augmenter.factors(two_labels()).tolist() == [3, 20, 1, 1, 3]
    assert augmenter.heavy_rows(two_labels()).tolist() == [True, True, False, False, True]
    assert Augmenter({"rotation": True}, seed=0).factors(two_labels()).tolist() == [1] * 5
    assert not Augmenter({"rotation": True}, seed=0).heavy_rows(two_labels()).any()


def test_a_class_with_factor_1_is_heavy_and_appears_once() -> None:
    augmenter = Augmenter({"per_class_factor": {"dent": 1}, "heavy": {"rotation": True}}, seed=0)
    assert augmenter.factors(two_labels()).tolist() == [1] * 5
    assert augmenter.heavy_rows(two_labels()).tolist() == [False, False, True, False, True]


def test_a_factor_for_a_class_the_data_lacks_is_refused() -> None:
    wrong = {"per_class_factor": {"PAS": 20}}
    line = "augmentation.per_class_factor.PAS: expected a class of the data, got `PAS`; did you mean `PASS`?"
    with pytest.raises(Problems) as caught:
        Augmenter(wrong, seed=0, class_names=["crack", "PASS"])
    assert caught.value.problems == [line]
    for ask in (Augmenter(wrong, seed=0).factors, Augmenter(wrong, seed=0).heavy_rows):
        with pytest.raises(Problems) as caught:
            ask(two_labels())
        assert caught.value.problems == [line]


def test_heavy_samples_take_the_heavy_pipeline_instead_of_the_plain_one() -> None:
    augmenter = Augmenter(COPIES, seed=0)
    np.testing.assert_array_equal(outcome(augmenter), COLORS[:, ::-1])
    heavy = augmenter(COLORS, epoch=0, record_id="a", heavy=True).image
    np.testing.assert_array_equal(heavy, COLORS[::-1])
    again = pickle.loads(pickle.dumps(augmenter))(COLORS, epoch=0, record_id="a", heavy=True).image
    np.testing.assert_array_equal(again, heavy)


def test_without_a_heavy_pipeline_the_plain_one_is_taken() -> None:
    augmenter = Augmenter({"horizontal_flip": 1.0, "per_class_factor": {"PASS": 20}}, seed=0)
    np.testing.assert_array_equal(augmenter(COLORS, epoch=0, record_id="a", heavy=True).image, COLORS[:, ::-1])


def test_a_heavy_pipeline_of_the_same_parts_has_its_own_parameters() -> None:
    """Both pipelines are kept built: one must not be taken for the other because its parts have the same names."""
    augmenter = Augmenter({"rotation": {"degrees": 0.0}, "heavy": {"rotation": {"degrees": 90.0}}}, seed=0)
    for epoch in range(10):
        np.testing.assert_array_equal(outcome(augmenter, epoch=epoch), COLORS)
    turned = [augmenter(COLORS, epoch=epoch, record_id="a", heavy=True).image for epoch in range(10)]
    assert any(not np.array_equal(image, COLORS) for image in turned)


def test_copies_of_a_record_are_augmented_each_in_its_own_way() -> None:
    augmenter = Augmenter({"per_class_factor": {"PASS": 20}, "heavy": ALL}, seed=0)
    ids = ["a", *(f"a#{copy}" for copy in range(1, 20))]
    images = {augmenter(COLORS, epoch=0, record_id=key, heavy=True).image.tobytes() for key in ids}
    assert len(images) == 20


def test_new_parts_leave_the_draws_of_the_older_ones_alone() -> None:
    """A run that was configured before they existed still sees the same pictures: these levels were seen then."""
    ramp = np.arange(100, 106, dtype=np.uint8).reshape(2, 3, 1)
    light = {"brightness": 0.5, "contrast": 0.0, "probability": 1.0}
    augmenter = Augmenter({"horizontal_flip": 0.5, "vertical_flip": 0.5, "brightness_contrast": light}, seed=7)
    corners = [int(outcome(augmenter, "part 1", epoch, ramp)[0, 0, 0]) for epoch in range(12)]
    assert corners == [150, 209, 165, 42, 31, 121, 89, 90, 82, 226, 95, 155]


def test_a_crop_keeps_the_proportions_and_at_least_its_share() -> None:
    """A column of the ramp is its own number: what the first and last show tells how much was kept."""
    rows, columns = np.mgrid[0:100, 0:200]
    ramp = np.stack([rows, columns, columns], axis=2).astype(np.uint8)
    augmenter = Augmenter({"random_crop": {"area": 0.5, "probability": 1.0}}, seed=0)
    kept = []
    for epoch in range(200):
        image = outcome(augmenter, epoch=epoch, image=ramp).astype(int)
        tall, wide = image[-1, 0, 0] - image[0, 0, 0] + 1, image[0, -1, 1] - image[0, 0, 1] + 1
        assert abs(tall * 2 - wide) <= 2
        kept.append(tall * wide / 20_000)
    assert 0.48 <= min(kept) < 0.53
    assert 0.97 < max(kept) <= 1
    assert abs(np.mean(kept) - 0.75) < 0.04  # 4 standard errors


def test_crops_of_pictures_of_different_sizes_keep_each_its_own() -> None:
    augmenter = Augmenter({"random_crop": 1.0}, seed=0)
    for height, width in ((24, 40), (40, 24), (256, 1600), (1, 1)):
        image = np.zeros((height, width, 1), np.uint8)
        assert outcome(augmenter, image=image).shape == (height, width, 1)


def test_a_crop_moves_boxes_with_what_they_hold() -> None:
    image = np.zeros((100, 200, 1), np.uint8)
    image[40:60, 80:120] = 255
    box = Box(label=1, x_min=80, y_min=40, x_max=120, y_max=60)
    augmenter = Augmenter({"random_crop": {"area": 0.4, "probability": 1.0}}, seed=0)
    for epoch in range(20):
        result = augmenter(image, epoch=epoch, record_id="a", boxes=[box])
        bright = np.argwhere(result.image[..., 0] > 127)
        (found,) = result.boxes
        measured = [*bright.min(0)[::-1], *(bright.max(0)[::-1] + 1)]
        np.testing.assert_allclose(list(found.values())[1:], measured, atol=1.5)


def test_shift_and_zoom_stay_within_their_limits() -> None:
    image = np.zeros((100, 200, 1), np.uint8)
    image[40:60, 80:120] = 255
    augmenter = Augmenter({"shift_scale": {"shift": 0.1, "zoom": 0.2, "probability": 1.0}}, seed=0)
    moved, zoomed = [], []
    for epoch in range(200):
        bright = np.argwhere(outcome(augmenter, epoch=epoch, image=image)[..., 0] > 127)
        moved.append((bright.min(0) + bright.max(0)) / 2 - (49.5, 99.5))
        zoomed.append((bright.max(0) - bright.min(0) + 1) / (20, 40))
    limits = np.abs(moved).max(0)
    assert (limits <= (10.5, 20.5)).all()
    assert (limits > (8, 17)).all()
    assert np.min(zoomed) > 0.75
    assert np.max(zoomed) < 1.25
    assert np.ptp(zoomed) > 0.3
    assert np.abs(np.subtract(*np.transpose(zoomed))).max() < 0.11  # the proportions stay, to a pixel


def test_noise_is_gray_has_no_mean_and_its_deviation_varies_up_to_the_limit() -> None:
    gray = np.full((60, 60, 3), 128, np.uint8)
    augmenter = Augmenter({"gaussian_noise": {"deviation": 0.1, "probability": 1.0}}, seed=0)
    deviations = []
    for epoch in range(80):
        noise = outcome(augmenter, epoch=epoch, image=gray).astype(float) - 128
        assert (np.ptp(noise, axis=2) == 0).all()
        assert abs(noise.mean()) < 4 * max(noise.std(), 1) / 60
        deviations.append(noise.std())
    assert min(deviations) < 3
    assert 23 < max(deviations) < 26.5
