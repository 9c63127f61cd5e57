"""The section's keys: parts, copies per class, the heavy pipeline; every mistake a line that names its key."""

from __future__ import annotations

import pytest

from ringlight.data.augment_config import (
    augmentation_needs,
    augmentation_problems,
    class_factors,
    enabled_augmentations,
    has_augmentation,
    heavy_augmentations,
)
from ringlight.errors import Problems


def test_reserved_keys_are_no_augmentations() -> None:
    config = {"rotation": 0.5, "per_class_factor": {"PASS": 20}, "heavy": {"vertical_flip": True, "rotation": None}}
    assert augmentation_problems(config, ["PASS", "crack"]) == []
    assert enabled_augmentations(config) == {"rotation": {"probability": 0.5}}
    assert heavy_augmentations(config) == {"vertical_flip": {}}
    assert class_factors(config) == {"PASS": 20}


@pytest.mark.parametrize("off", [None, False])
def test_factors_and_heavy_can_be_switched_off(off: object) -> None:
    config = {"per_class_factor": off, "heavy": off}
    assert augmentation_problems(config, ["PASS"]) == []
    assert (heavy_augmentations(config), class_factors(config)) == (None, {})
    assert class_factors({"per_class_factor": {"PASS": off, "crack": 2}}) == {"crack": 2}


def test_an_empty_heavy_pipeline_is_one_that_does_nothing() -> None:
    assert heavy_augmentations({"heavy": {}}) == {}


def test_an_unknown_class_is_named_with_the_nearest() -> None:
    """A factor for a class that does not exist would silently leave the rare class rare."""
    assert augmentation_problems({"per_class_factor": {"PAS": 20}}, ["PASS", "crack"]) == [
        "augmentation.per_class_factor.PAS: expected a class of the data, got `PAS`; did you mean `PASS`?"
    ]
    assert augmentation_problems({"per_class_factor": {"PAS": 20}}) == []


def test_a_factor_that_is_off_may_name_a_class_that_is_not_there() -> None:
    """A recipe lists PASS; where the good class is called otherwise, `PASS: null` is how its factor is taken back."""
    assert augmentation_problems({"per_class_factor": {"PASS": None, "good": 20}}, ["crack", "good"]) == []


def test_a_class_whose_name_is_a_number_is_found() -> None:
    """YAML reads `{3: 20}` as the number 3; the class is called "3"."""
    assert augmentation_problems({"per_class_factor": {3: 20}}, ["3", "4"]) == []
    assert class_factors({"per_class_factor": {3: 20}}) == {"3": 20}


@pytest.mark.parametrize("factor", [0, -1, 1001, 2.5, 2.0, True, "20"])
def test_a_factor_is_a_whole_number_within_reason(factor: object) -> None:
    assert augmentation_problems({"per_class_factor": {"PASS": factor}}) == [
        f"augmentation.per_class_factor.PASS: expected a whole number from 1 to 1000, got {factor!r}; correct it"
    ]


@pytest.mark.parametrize("factor", [1, 20, 1000])
def test_factors_from_1_to_1000_are_taken(factor: int) -> None:
    assert augmentation_problems({"per_class_factor": {"PASS": factor}}) == []


def test_a_single_number_is_no_table_of_factors() -> None:
    assert augmentation_problems({"per_class_factor": 20}) == [
        "augmentation.per_class_factor: expected a mapping from class to copies an epoch, got 20; write {CLASS: 20}"
    ]


def test_mistakes_in_the_heavy_pipeline_name_their_full_key() -> None:
    config = {
        "heavy": {
            "rotatoin": True,
            "rotation": {"degres": 5},
            "gaussian_blur": {"kernel_size": 4},
            "horizontal_flip": 1.5,
            "vertical_flip": "yes",
            "heavy": {},
        }
    }
    lines = augmentation_problems(config)
    assert lines[:5] == [
        "augmentation.heavy.rotatoin: expected a known augmentation, got unknown key `rotatoin`; "
        "did you mean `rotation`?",
        "augmentation.heavy.rotation.degres: expected a parameter of augmentation `rotation`, got unknown key "
        "`augmentation.heavy.rotation.degres`; did you mean `degrees`?",
        "augmentation.heavy.gaussian_blur.kernel_size: expected an odd number, got 4; take 5",
        "augmentation.heavy.horizontal_flip.probability: expected a number from 0 to 1, got 1.5; correct the value",
        "augmentation.heavy.vertical_flip: expected true, false, a probability or a mapping of parameters, got 'yes'; "
        "correct the value",
    ]
    assert lines[5].startswith("augmentation.heavy.heavy: expected a known augmentation, got unknown key `heavy`;")
    assert len(lines) == 6


def test_a_heavy_pipeline_is_a_mapping() -> None:
    assert augmentation_problems({"heavy": 0.5}) == [
        "augmentation.heavy: expected a mapping of augmentations, got 0.5; write heavy: {rotation: 0.9}"
    ]


def test_a_mistyped_reserved_key_is_suggested() -> None:
    (line,) = augmentation_problems({"per_clas_factor": {"PASS": 20}})
    assert line.endswith("did you mean `per_class_factor`?")


@pytest.mark.parametrize("reader", [enabled_augmentations, heavy_augmentations, class_factors, has_augmentation])
def test_nothing_is_read_from_a_section_with_mistakes(reader) -> None:
    with pytest.raises(Problems, match="whole number"):
        reader({"per_class_factor": {"PASS": 0}})


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, False),
        ({"rotation": None, "horizontal_flip": False}, False),
        ({"rotation": True}, True),
        ({"heavy": {"rotation": True}}, False),
        ({"per_class_factor": {}}, False),
        ({"per_class_factor": {"PASS": None}}, False),
        ({"per_class_factor": {"PASS": 2}, "heavy": {"rotation": True}}, True),
    ],
)
def test_a_section_changes_something_when_a_part_is_on_or_a_class_is_shown_more_often(config, expected) -> None:
    assert has_augmentation(config) is expected


def test_parts_that_need_boxes_are_told_by_their_keys() -> None:
    config = {"defect_blackout": 0.5, "rotation": True, "heavy": {"defect_blackout": True, "coarse_dropout": True}}
    assert augmentation_needs(config) == ["defect_blackout", "heavy.defect_blackout"]
    assert augmentation_needs({"defect_blackout": None, "heavy": {"defect_blackout": False}}) == []
