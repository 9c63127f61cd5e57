"""What a phase trains with: the run's sections, but for the keys that it replaces; and what is refused early."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ringlight.config.load import compose
from ringlight.config.schema import Config
from ringlight.errors import Problems
from ringlight.training.phase_config import phase_config, phase_problems, section_of, task_problems
from ringlight.training.plan import part_problems


def run_of(*overrides: str) -> Config:
    return compose("metric_learning", ["data.root=parts", *overrides], check_parts=part_problems)


def phase_of(name: Any, *overrides: str) -> Config:
    return phase_config(run_of(*overrides), name, check_parts=part_problems)


def problems(*overrides: str) -> list[str]:
    return phase_problems(run_of(*overrides), part_problems)


# --- the configuration ------------------------------------------------------------------------------------------------


def test_what_a_phase_does_not_name_is_the_runs() -> None:
    run = run_of("margin.num_epochs=7")
    made = phase_config(run, "margin")
    assert made.training.num_epochs == 7
    assert made.replacing({"training.num_epochs": run.training.num_epochs}) == run
    assert section_of(run, "margin") is run.margin


def test_a_phase_replaces_single_keys_and_whole_parts() -> None:
    made = phase_of(
        "margin", "margin.lr=0.5", "margin.training={accumulate_steps: 3}", "margin.scheduler={name: cosine}",
        "optimizer.weight_decay=0.25",
    )  # fmt: skip
    assert (made.optimizer.name, made.optimizer.lr, made.optimizer.weight_decay) == ("adamw", 0.5, 0.25)
    assert (made.training.accumulate_steps, made.training.gradient_clip_norm) == (3, 1.0)
    assert made.scheduler.name == "cosine"
    other = phase_of("distill", "distill.optimizer={name: sgd, momentum: 0.5}").optimizer
    assert (other.name, other.params()) == ("sgd", {"momentum": 0.5}), "another optimiser drops the former one's keys"
    assert phase_of("margin", "distill.optimizer={name: sgd}").optimizer.name == "adamw"


def test_augmentations_are_changed_by_key_or_by_the_name_of_a_group() -> None:
    run = run_of("supcon.augmentation={vertical_flip: 0.125}")
    made = phase_config(run, "supcon").augmentation
    assert made == {**run.augmentation, "vertical_flip": 0.125}
    heavy = phase_of("supcon", "supcon.augmentation=heavy").augmentation
    assert heavy == run_of("augmentation=heavy").augmentation != run.augmentation
    assert phase_of("supcon", "supcon.augmentation=none").augmentation == {}


@pytest.mark.parametrize("mixed", ["mix=cutmix", "augmentation.mixup={alpha: 0.3}"])
def test_nothing_is_mixed_in_a_contrastive_phase_alone(mixed: str) -> None:
    run = run_of(mixed, "supcon.augmentation={vertical_flip: 0.125}")
    made = phase_config(run, "supcon")
    assert made.mix.name == "none"
    assert not made.augmentation.get("mixup")
    margin = phase_config(run, "margin")
    assert (margin.mix, margin.augmentation) == (run.mix, run.augmentation)


def test_a_student_is_another_model_without_the_weights_and_adapters_of_the_first() -> None:
    run = run_of("model.drop_rate=0.25", "model.pretrained=true", "distill.model={name: resnet18}")
    made = phase_config(run, "distill").model
    assert (made.name, made.drop_rate, made.pretrained, made.lora) == ("resnet18", 0.25, "auto", None)
    assert made.params() == {}, "the hybrid's own parameters are none of a ResNet's"
    assert phase_config(run, "margin").model == run.model
    assert phase_of("distill", "model.pretrained=false").model.pretrained is False
    assert phase_of("distill", "distill.model={name: resnet18, pretrained: true}").model.pretrained is True


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("supcon.augmentation=nonesuch", "supcon.augmentation: expected a group of augmentation, got `nonesuch`"),
        ("margin.scheduler={name: nonesuch}", "margin.scheduler.name: expected a known scheduler, got `nonesuch`"),
        ("margin.training={epoch: 3}", "margin.training.epoch: "),
        ("distill.optimizer={lr: -1}", "distill.optimizer.lr: "),
    ],
)
def test_what_cannot_be_is_told_by_the_phases_own_key(override: str, told: str) -> None:
    with pytest.raises(Problems) as caught:
        phase_of(override.partition(".")[0], override)
    assert [line[: len(told)] for line in caught.value.problems] == [told]
    assert problems(override) == caught.value.problems


# --- what is refused before anything is written -----------------------------------------------------------------------


def test_a_run_without_phases_has_no_problem_of_theirs() -> None:
    assert problems("phases=[]", "training.mode=frozen", "distill.teacher=nowhere") == []
    assert problems() == []


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (
            ["supcon.training={mode: frozen}"],
            "supcon.training.mode: expected finetune, got frozen; every phase trains the whole model",
        ),
        *(
            (
                [f"supcon.training={{{key}: 3}}"],
                f"supcon.training.{key}: expected the epochs of a phase as supcon.num_epochs, got 3 here; set "
                "supcon.num_epochs=3",
            )
            for key in ("num_epochs", "epochs")
        ),
        (
            ["supcon.augmentation={mixup: {alpha: 0.5}}"],
            "supcon.augmentation.mixup: expected null, since a mixture of two records is alike to neither, got "
            "{'alpha': 0.5}; leave it out",
        ),
        (
            ["training.mode=frozen"],
            "phases: expected training.mode=finetune, got frozen; every phase trains the whole model",
        ),
        (
            ["margin.lr=0.1", "margin.optimizer={lr: 0.2}"],
            "margin.lr: expected one learning rate, got 0.1 and margin.optimizer.lr=0.2; keep one of the two",
        ),
        (
            ["supcon.num_views=1"],
            "supcon.num_views: expected 2 or more with sampler=shuffle, which may put a class into a batch once, so "
            "that nothing is like it, got 1; set supcon.num_views=2, or sampler=class_pairs",
        ),
        (
            ["phases=[distill]", "distill.teacher_head_path=src"],
            "distill: expected both distill.teacher_backbone_path and distill.teacher_head_path, got only "
            "distill.teacher_head_path; a backbone without its head, or a head without its backbone, scores nothing",
        ),
        (
            ["phases=[distill]", "distill.teacher=nowhere"],
            "distill.teacher: expected a run, a bundle or a file that is there, got nothing at nowhere; check the path",
        ),
        (
            ["margin.margin=5"],
            "margin.margin: expected a number from 0 to 1.5708, got 5; correct the value",
        ),
        (
            ["distill.hard_weight=0", "distill.soft_weight=0", "distill.feature_weight=0"],
            "distill: expected a weight above 0, got none; set distill.hard_weight or distill.soft_weight",
        ),
        (
            ["loss=focal_loss", "loss.reduction=sum"],
            "loss.reduction: expected mean, since the phase distill weighs means against each other, got sum; set "
            "loss.reduction=mean",
        ),
        (
            ["phases=[distill]", "distill.teacher=src", "distill.teacher_backbone_path=src",
             "distill.teacher_head_path=src"],
            "distill: expected one teacher, got distill.teacher and distill.teacher_backbone_path; keep one",
        ),
    ],
)  # fmt: skip
def test_phases_that_cannot_be_are_told_in_a_line(overrides: list[str], line: str) -> None:
    assert problems(*overrides) == [line]


@pytest.mark.parametrize(
    "overrides",
    [
        ["supcon.num_views=1", "sampler=class_pairs"],
        ["supcon.num_views=1", "sampler=balanced"],
        ["phases=[margin]", "supcon.num_views=1"],
        ["margin.lr=0.1", "margin.optimizer={lr: 0.1}"],
        ["phases=[distill]", "distill.teacher=src"],
        ["phases=[supcon]", "supcon.start_from=src"],
    ],
)
def test_phases_that_can_be_are_let_pass(overrides: list[str]) -> None:
    assert Path("src").is_dir(), "something that is there"
    assert problems(*overrides) == []


def test_several_labels_a_record_take_what_needs_no_one_class() -> None:
    assert task_problems(run_of(), "multiclass") == []
    assert [line.partition(":")[0] for line in task_problems(run_of(), "multilabel")] == ["supcon.loss", "margin.head"]
    fitting = run_of("supcon.loss=nt_xent", "phases=[supcon,margin]", "margin={head: cosine}")
    assert task_problems(fitting, "multilabel") == []
    assert task_problems(run_of("phases=[distill]", "distill.teacher=src"), "multilabel") == []
