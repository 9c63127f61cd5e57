"""The augmenter of windows: chances, copies, the heavy pipeline, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest

from ringlight.data.augment_config import augmentation_names, augmentation_problems, batch_augmentations
from ringlight.data.signal_augment import SignalAugmenter
from ringlight.errors import DataError, Problems
from ringlight.records import Dataset, Record, Signals

WINDOW = np.random.default_rng(0).normal(size=(64, 4)).astype(np.float32)
EVERYTHING = {name: {"probability": 1.0} for name in augmentation_names("windows")}


def test_nothing_enabled_returns_the_window_untouched() -> None:
    assert SignalAugmenter({"jitter": None, "mixup": True}, seed=0)(WINDOW, epoch=0, record_id="a") is WINDOW


def test_a_part_is_applied_as_often_as_its_probability_says() -> None:
    augmenter = SignalAugmenter({"jitter": 0.3}, seed=0)
    changed = [augmenter(WINDOW, epoch=epoch, record_id="a") is not WINDOW for epoch in range(1000)]
    assert np.mean(changed) == pytest.approx(0.3, abs=0.05)


def test_parts_are_drawn_independently_of_each_other() -> None:
    augmenter = SignalAugmenter({"channel_dropout": 0.5, "cut_out": 0.5}, seed=0)
    outcomes = [augmenter(np.ones((20, 3), np.float32), epoch=epoch, record_id="a") for epoch in range(400)]
    both = {((one == 0).all(0).any(), (one == 0).all(1).any()) for one in outcomes}
    assert len(both) == 4


def test_global_random_state_is_left_alone() -> None:
    before = np.random.get_state()[1].copy()  # type: ignore[index,union-attr]
    SignalAugmenter(EVERYTHING, seed=0)(WINDOW, epoch=0, record_id="a")
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # type: ignore[index]


def data() -> Dataset:
    records = [Record(id="a", labels=(0,)), Record(id="b", labels=(1,)), Record(id="c", labels=(1,))]
    signals = Signals(channels=("x", "y"), length=8)
    return Dataset.from_records(records, ("no_leak", "leak"), "multiclass", signals=signals)


def test_rare_classes_are_copied_and_go_through_the_heavy_pipeline() -> None:
    config = {"jitter": False, "per_class_factor": {"leak": 5}, "heavy": {"jitter": {"probability": 1.0}}}
    augmenter = SignalAugmenter(config, seed=0, class_names=data().classes)
    assert augmenter.factors(data()).tolist() == [1, 5, 5]
    assert augmenter.heavy_rows(data()).tolist() == [False, True, True]
    assert augmenter(WINDOW, epoch=0, record_id="b") is WINDOW
    assert not np.array_equal(augmenter(WINDOW, epoch=0, record_id="b", heavy=True), WINDOW)


def test_heavy_without_a_heavy_pipeline_is_the_plain_one() -> None:
    augmenter = SignalAugmenter({"jitter": {"probability": 1.0}}, seed=0)
    plain, heavy = (augmenter(WINDOW, epoch=0, record_id="a", heavy=heavy) for heavy in (False, True))
    np.testing.assert_array_equal(plain, heavy)


def test_a_class_that_the_data_does_not_have_is_named() -> None:
    with pytest.raises(Problems, match="did you mean `leak`"):
        SignalAugmenter({"per_class_factor": {"leek": 5}}, seed=0, class_names=("no_leak", "leak"))


@pytest.mark.parametrize("wrong", [WINDOW.astype(np.float64), WINDOW[None], WINDOW[:, 0]])
def test_anything_but_one_float32_window_is_refused(wrong: np.ndarray) -> None:
    with pytest.raises(DataError, match=r"part 7: expected float32 \(T, C\), got float\d+ \(.*; pass one normalised"):
        SignalAugmenter(EVERYTHING, seed=0)(wrong, epoch=0, record_id="part 7")


@pytest.mark.parametrize(
    ("config", "line"),
    [
        ({"jitter": {"deviation": 9.0}}, "jitter.deviation: expected a number from 0 to 5, got 9.0; correct the value"),
        ({"time_warp": {"knots": 0}}, "time_warp.knots: expected a number from 1 to 64, got 0; correct the value"),
        ({"cut_out": {"length": 0.9}}, "cut_out.length: expected a number from 0 to 0.5, got 0.9; correct the value"),
        ({"mixup": {"alpha": 0.0}}, "mixup.alpha: expected a number from 0.01 to 10, got 0.0; correct the value"),
        ({"jiter": True}, "jiter: expected a known augmentation, got unknown key `jiter`; did you mean `jitter`?"),
        (
            {"heavy": {"mixup": 0.5}},
            "heavy.mixup: expected an augmentation of single records, got one of whole batches; set augmentation.mixup",
        ),
        ({"rotation": {"a": 5}}, "rotation: expected an augmentation of windows, got one of images; set it to null"),
    ],
)  # fmt: skip
def test_mistakes_name_their_key(config: dict[str, object], line: str) -> None:
    assert augmentation_problems(config, kind="windows") == [f"augmentation.{line}"]


def test_parts_of_batches_are_told_apart() -> None:
    assert batch_augmentations({"mixup": 0.5, "jitter": True}) == {"mixup": {"probability": 0.5}}
    assert batch_augmentations({"mixup": None}) == {}
