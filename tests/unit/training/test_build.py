"""Model, loss and sampler put together: what is resolved into the configuration, and what the parts are told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ringlight.config.load import compose, group_values
from ringlight.config.schema import Config
from ringlight.errors import ConfigError, DataError, ModelError, Problems
from ringlight.runtime import DeviceChoice
from ringlight.services import runs
from ringlight.training import build
from ringlight.training.build import FROZEN_BATCH, augmentation_of
from ringlight.training.plan import Plan

PlanOf = Callable[..., Plan]
MakeImage = Callable[..., Path]
FACTORS = "augmentation.per_class_factor={bright: 3}"


# --- augmentation -----------------------------------------------------------------------------------------------------


def test_a_factor_without_a_heavy_pipeline_takes_the_shipped_one_written_out(plan_of: PlanOf) -> None:
    plan = plan_of("augmentation=none", FACTORS)
    assert plan.config.augmentation["heavy"] == group_values("augmentation", "heavy")
    assert plan.augmenter is not None


def test_a_heavy_pipeline_that_is_given_stays() -> None:
    config = Config.model_validate({"augmentation": {"per_class_factor": {"a": 2}, "heavy": {"vertical_flip": 1.0}}})
    assert augmentation_of(config) is config
    plain = Config.model_validate({"augmentation": {"vertical_flip": 0.5}})
    assert augmentation_of(plain) is plain


def test_without_any_part_there_is_no_augmenter(plan_of: PlanOf) -> None:
    assert plan_of("augmentation=none").augmenter is None


@pytest.mark.parametrize("key", ["augmentation.defect_blackout", "augmentation.heavy.defect_blackout"])
def test_a_part_that_needs_boxes_is_refused_where_no_record_has_one(key: str, plan_of: PlanOf) -> None:
    """A folder's records have an empty list of boxes, not none: the part once ran blind over unmarked defects."""
    overrides = [FACTORS, f"+{key}=0.5"] if "heavy" in key else [f"{key}=0.5"]
    name = key.removeprefix("augmentation.")
    with pytest.raises(DataError, match=f"{key}: expected records with boxes for {name}, got none with a box; use a"):
        plan_of(*overrides)


def test_a_factor_of_an_unknown_class_is_refused_with_a_near_miss(plan_of: PlanOf) -> None:
    with pytest.raises(Problems, match=r"per_class_factor.*brigth.*did you mean `bright`"):
        plan_of("augmentation.per_class_factor={brigth: 3}")


# --- what is seen -----------------------------------------------------------------------------------------------------


def test_the_loss_is_told_what_an_epoch_shows(plan_of: PlanOf) -> None:
    weighted = ("loss=weighted_cross_entropy", "loss.weights=balanced")
    bare, often = plan_of(*weighted), plan_of(*weighted, "augmentation=none", FACTORS)
    place = bare.dataset.classes.index("bright")
    counts = np.array(bare.seen.class_counts)
    shown = counts * np.where(np.arange(3) == place, 3, 1)
    assert often.seen.class_counts == tuple(shown.tolist())
    assert often.seen.num_records == shown.sum() == len(often.sampler)
    for plan, told in ((bare, counts), (often, shown)):
        weights = np.array(plan.criterion.get_params()["weights"])  # type: ignore[operator]
        np.testing.assert_allclose(weights / weights[0], told[0] / told, rtol=1e-5)
        assert plan.config.loss.params()["weights"] == pytest.approx(weights.tolist())


def test_a_balanced_sampler_leaves_next_to_no_weights_whatever_the_factor(plan_of: PlanOf) -> None:
    plan = plan_of(
        "loss=weighted_cross_entropy", "loss.weights=balanced", "sampler=balanced", "data.batch_size=3",
        "augmentation=none", "augmentation.per_class_factor={bright: 20}",
    )  # fmt: skip
    weights = plan.criterion.get_params()["weights"]  # type: ignore[operator]
    assert max(weights) / min(weights) < 1.1


# --- the method -------------------------------------------------------------------------------------------------------


def test_a_named_method_is_put_in_without_a_look_at_features(plan_of: PlanOf, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any, **__: Any) -> Any:
        raise AssertionError("features were computed")

    monkeypatch.setattr(build, "feature_table", never)
    plan = plan_of("imbalance.method=class_weights")
    assert plan.config.loss.name == "weighted_cross_entropy"
    assert plan.choice is None


def test_auto_leaves_the_random_state_and_the_weights_as_they_were(plan_of: PlanOf) -> None:
    plain, automatic = plan_of("loss=cross_entropy"), plan_of("imbalance.method=auto")
    for (name, first), second in zip(
        plain.module.state_dict().items(), automatic.module.state_dict().values(), strict=True
    ):
        assert torch.equal(first, second), name
    assert automatic.module.training == plain.module.training
    assert automatic.choice is not None
    assert automatic.choice.sentence in automatic.notes
    assert automatic.config.imbalance.method == automatic.choice.method != "auto"


def test_what_auto_is_told_is_what_the_sampler_shows(plan_of: PlanOf, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a sampler that balances, or copies of a class, the trial once saw the bare records: what it promised had
    already come, and the prior of records that the training never saw so was taken out.
    """
    told: list[dict[str, Any]] = []
    choose = build.choose_method

    def spying(*arguments: Any, **named: Any) -> Any:
        told.append(named)
        return choose(*arguments, **named)

    monkeypatch.setattr(build, "choose_method", spying)
    plan = plan_of("imbalance.method=auto", "augmentation=none", FACTORS)
    (named,) = told
    assert named["seen"] == plan.seen
    bright = np.asarray(plan.part("train").targets()) == plan.dataset.classes.index("bright")
    weights = np.asarray(named["weights"])
    np.testing.assert_allclose(weights / weights[~bright][0], np.where(bright, 3.0, 1.0))


# --- resolved ---------------------------------------------------------------------------------------------------------


def test_no_automatic_choice_is_left_in_the_configuration(plan_of: PlanOf) -> None:
    config = plan_of(
        "imbalance.method=auto", "data.batch_size=auto", "data.num_workers=auto", "training.precision=auto",
        "training.memory_format=auto", "training.device=auto",
    ).config  # fmt: skip
    left = [
        f"{section}.{key}"
        for section, values in config.model_dump().items()
        if isinstance(values, dict) and section not in ("cv", "tune")  # of studies of a recipe, not of a run
        for key, value in values.items()
        if value == "auto" and f"{section}.{key}" != "data.prefetch_factor"  # without workers nothing is ahead
    ]
    assert [key for key in left if not key.startswith("evaluation.")] == []


def test_what_is_resolved_is_resolved_to_itself(plan_of: PlanOf, tmp_path: Path) -> None:
    first = plan_of("imbalance.method=auto", "data.batch_size=auto", "augmentation=none", FACTORS)
    again = runs.plan(first.config, tmp_path)
    assert again.config == first.config


def test_a_frozen_run_makes_no_trial_of_speed_or_memory(plan_of: PlanOf, monkeypatch: pytest.MonkeyPatch) -> None:
    from ringlight.training import memory, speed

    def never(*_: Any, **__: Any) -> Any:
        raise AssertionError("a trial was made")

    monkeypatch.setattr(memory, "choose_batch_size", never)
    monkeypatch.setattr(speed, "choose_speed", never)
    config = plan_of("training.mode=frozen", "data.batch_size=auto", "training.precision=auto").config
    assert config.data.batch_size == FROZEN_BATCH
    assert (config.training.precision, config.training.memory_format, config.training.compile) == (
        "32", "channels_last", False,
    )  # fmt: skip
    assert config.data.cache == "off"


def test_pictures_are_kept_where_more_than_one_epoch_reads_them_and_they_fit(plan_of: PlanOf) -> None:
    assert plan_of().config.data.cache == "disk"
    assert plan_of("training.num_epochs=1").config.data.cache == "off"
    assert plan_of("data.cache_budget_gib=1e-6").config.data.cache == "off"
    assert plan_of("data.cache=disk", "training.num_epochs=1").config.data.cache == "disk"


def test_on_a_gpu_pictures_are_augmented_there_where_every_part_can_be(tmp_path: Path, plan_of: PlanOf) -> None:
    """No GPU is needed to choose: the choice is made from the configuration."""
    plan = plan_of("augmentation=none", "augmentation.horizontal_flip=0.5")
    config = plan.config.replacing({"data.augment_on": "auto", "data.keep_on_device": False})
    chosen = {
        device: build._data_path(config, plan.given, DeviceChoice(device, "a test"), (32, 32))["data.augment_on"]
        for device in ("cpu", "cuda:0")
    }
    assert chosen == {"cpu": "cpu", "cuda:0": "device"}


# --- models and heads that do not fit ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "override", ["training.mode=frozen", "training.mode=head_then_finetune", "imbalance.method=crt"]
)
def test_a_model_without_a_linear_classifier_is_refused_before_it_trains(override: str, plan_of: PlanOf) -> None:
    """Classifier re-training once found out after the last epoch."""
    with pytest.raises(
        ModelError, match=r"training.mode: expected a model that ends in one linear layer, got ResNetV2"
    ):
        plan_of(override, "model.name=resnetv2_50")


def test_a_penalty_below_zero_is_refused(plan_of: PlanOf) -> None:
    with pytest.raises((ConfigError, Problems), match=r"head.penalty: expected auto or a number of 0 or more, got -1"):
        plan_of("training.mode=frozen", "head.penalty=-1")


def test_the_recipe_of_the_seeds_writes_out_its_factor(tile_folder: Path) -> None:
    config = compose("defect_classifier", [f"data.root={tile_folder}"])
    assert config.augmentation["per_class_factor"] == {"PASS": 20}
    assert augmentation_of(config).augmentation["heavy"] is not None


def test_an_automatic_batch_leaves_room_for_every_view(plan_of: PlanOf, monkeypatch: pytest.MonkeyPatch) -> None:
    """A contrastive step cannot be divided: a batch that just fitted, shown in two views, would not fit."""
    from ringlight.training import memory

    found = memory.BatchChoice(batch_size=8, note="8 records fit")
    monkeypatch.setattr(memory, "choose_batch_size", lambda *_, **__: found)
    plan = plan_of("data.batch_size=auto", "phases=[supcon]", "supcon.num_views=4")
    assert plan.config.data.batch_size == 2
    assert "8 records fit; supcon shows 4 views of each: 2 records a step" in plan.notes
