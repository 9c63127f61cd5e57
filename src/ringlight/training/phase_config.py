"""What the phases of a run ask for: the configuration of each, and what can be refused before anything is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ringlight.config.aliases import canonical
from ringlight.config.load import vary
from ringlight.config.phases import PHASES, PhaseName, PhaseSection
from ringlight.config.schema import Config
from ringlight.errors import ConfigError, Problems
from ringlight.training.imbalance import METHODS
from ringlight.types import Task

PAIRING_SAMPLERS = ("class_pairs", "balanced")
"""Samplers that put several records of a class into a batch, so that one view of each is enough."""

CheckParts = Callable[[dict[str, Any]], list[str]]


def section_of(config: Config, name: PhaseName) -> PhaseSection:
    """Return a phase's own section."""
    section: PhaseSection = getattr(config, name)
    return section


def phase_config(config: Config, name: PhaseName, *, check_parts: CheckParts | None = None) -> Config:
    """Return the configuration that a phase trains with: the run's, with what the phase changes.

    Raises:
        Problems: what it changes cannot be, a line each, told by the phase's own keys.
    """
    section = section_of(config, name)
    values: dict[str, Any] = {"training.num_epochs": section.num_epochs}
    for part in ("optimizer", "scheduler", "training"):
        values |= {f"{part}.{key}": value for key, value in getattr(section, part).items()}
    if section.lr is not None:
        values["optimizer.lr"] = section.lr
    if isinstance(section.augmentation, str):
        values["augmentation"] = section.augmentation
    else:
        values |= {f"augmentation.{key}": value for key, value in section.augmentation.items()}
    if name == "supcon":  # a mixture of two records is alike to neither
        values["mix.name"] = "none"
        values |= {"augmentation.mixup": None} if config.augmentation.get("mixup") else {}
    if name == "distill":
        values |= {f"model.{key}": value for key, value in config.distill.model.items()}
        if "name" in config.distill.model:  # the trained weights that were chosen for the teacher are another model's
            values.setdefault("model.pretrained", "auto" if config.model.pretrained else False)
            values.setdefault("model.lora", None)  # adapters are for a backbone that is trained already
    try:
        return vary(config, values, check_parts=check_parts)
    except Problems as error:
        raise Problems([f"{name}.{line}" for line in error.problems]) from error


def phase_problems(config: Config, check_parts: CheckParts) -> list[str]:
    """Return what is wrong with the phases of a run, whatever its data, one line each."""
    order = config.phases.order
    if not order:
        return []
    lines = []
    if list(order) != [name for name in PHASES if name in order]:
        lines.append(
            f"phases: expected each phase once, in the order {', '.join(PHASES)}, got {', '.join(order)}; a phase goes "
            "on from what the one before it learned, so leave out those that are not wanted"
        )
    if config.training.mode != "finetune":
        lines.append(
            f"phases: expected training.mode=finetune, got {config.training.mode}; every phase trains the whole model"
        )
    if METHODS[config.imbalance.method].after is not None:
        lines.append(
            f"phases: expected a method against imbalance that acts in training, got {config.imbalance.method}, which "
            "fits a linear classifier afterwards; choose another, or leave the phases out"
        )
    for name in order:
        twice = _epochs_problems(name, section_of(config, name))
        if twice:
            lines += twice
            continue
        try:
            made = phase_config(config, name, check_parts=check_parts)
        except Problems as error:
            lines += error.problems
        else:
            lines += _mode_problems(config, made, name)
        given = section_of(config, name)
        if given.lr is not None and given.optimizer.get("lr", given.lr) != given.lr:
            lines.append(
                f"{name}.lr: expected one learning rate, got {given.lr:g} and {name}.optimizer.lr="
                f"{given.optimizer['lr']}; keep one of the two"
            )
    return lines + _supcon_problems(config) + _value_problems(config) + _input_problems(config)


def _epochs_problems(name: PhaseName, given: PhaseSection) -> list[str]:
    """Tell of a number of epochs where it would compete with the phase's own."""
    return [
        f"{name}.training.{key}: expected the epochs of a phase as {name}.num_epochs, got {value} here; set "
        f"{name}.num_epochs={value}"
        for key, value in given.training.items()
        if canonical(f"training.{key}") == "training.num_epochs"
    ]


def _mode_problems(config: Config, made: Config, name: PhaseName) -> list[str]:
    """Tell of a phase that would train a part of the model, or mixtures where there are no classes."""
    lines = []
    if made.training.mode != config.training.mode:  # the run's own is told of once
        lines.append(
            f"{name}.training.mode: expected finetune, got {made.training.mode}; every phase trains the whole model"
        )
    if made.augmentation.get("per_class_factor") != config.augmentation.get("per_class_factor"):
        lines.append(
            f"{name}.augmentation.per_class_factor: expected the run's own, which the loss was told of, got "
            f"{made.augmentation.get('per_class_factor')}; set augmentation.per_class_factor for the whole run"
        )
    if name == "supcon" and made.augmentation.get("mixup"):
        lines.append(
            "supcon.augmentation.mixup: expected null, since a mixture of two records is alike to neither, got "
            f"{made.augmentation['mixup']}; leave it out"
        )
    return lines


def _supcon_problems(config: Config) -> list[str]:
    phase = config.supcon
    if config.phases.order[-1:] == ("supcon",) and config.evaluation.open_set in ("energy", "both"):
        return [
            "evaluation.open_set: expected distance for a run that ends with supcon, whose scores are shares of votes "
            f"and have no energy, got {config.evaluation.open_set}; set evaluation.open_set=distance"
        ]
    if "supcon" not in config.phases.order or phase.num_views > 1:
        return []
    if phase.loss == "nt_xent":
        return [
            "supcon.num_views: expected 2 or more for supcon.loss=nt_xent, which compares views of a record, got 1; "
            "set supcon.num_views=2"
        ]
    if config.sampler.name not in PAIRING_SAMPLERS:
        return [
            f"supcon.num_views: expected 2 or more with sampler={config.sampler.name}, which may put a class into a "
            f"batch once, so that nothing is like it, got 1; set supcon.num_views=2, or sampler={PAIRING_SAMPLERS[0]}"
        ]
    return []


def _value_problems(config: Config) -> list[str]:
    """Tell of values that heads and losses refuse, which would be built when their phase begins, hours later."""
    from ringlight.models.margins import MARGINS

    order, lines = config.phases.order, []
    if "margin" in order and not MARGINS.problems(config.margin.head, config.margin.params()):
        try:
            MARGINS.build(config.margin.head, in_features=2, out_features=2, **config.margin.params())
        except ConfigError as error:
            lines.append(str(error))
    if "distill" not in order:
        return lines
    phase, reduction = config.distill, config.loss.params().get("reduction", "mean")
    if not (phase.hard_weight or phase.soft_weight or phase.feature_weight):
        lines.append("distill: expected a weight above 0, got none; set distill.hard_weight or distill.soft_weight")
    if reduction != "mean":
        lines.append(
            f"loss.reduction: expected mean, since the phase distill weighs means against each other, got {reduction}; "
            "set loss.reduction=mean"
        )
    return lines


def _input_problems(config: Config) -> list[str]:
    """Tell of a phase whose input is missing, or named twice."""
    order, lines = config.phases.order, []
    for name in order:
        start = getattr(config, name).start_from if name != "distill" else None
        if start is not None and name != order[0]:
            lines.append(
                f"{name}.start_from: expected null, since the phase {order[order.index(name) - 1]} comes before it, "
                f"got {start}; leave one of the two out"
            )
        lines += _missing({f"{name}.start_from": start})
    if "distill" not in order:
        return lines
    phase = config.distill
    files = {f"distill.{key}": getattr(phase, key) for key in ("teacher_backbone_path", "teacher_head_path")}
    given = [key for key, path in files.items() if path is not None]
    if len(given) == 1:
        lines.append(
            f"distill: expected both {' and '.join(files)}, got only {given[0]}; a backbone without its head, or a "
            "head without its backbone, scores nothing"
        )
    sources = (["distill.teacher"] if phase.teacher is not None else []) + given[:1]
    if order[0] == "distill" and not sources:
        lines.append(
            "distill.teacher: expected a run or a bundle that teaches, since no phase comes before, got none; set "
            "distill.teacher=RUN, or phases=[margin,distill]"
        )
    if len(sources) > 1 or (sources and order[0] != "distill"):
        others = [*sources, *(["the phase before"] if order[0] != "distill" else [])]
        lines.append(f"distill: expected one teacher, got {' and '.join(others)}; keep one")
    return lines + _missing({"distill.teacher": phase.teacher, **files})


def _missing(paths: Mapping[str, Path | None]) -> list[str]:
    return [
        f"{key}: expected a run, a bundle or a file that is there, got nothing at {path}; check the path"
        for key, path in paths.items()
        if path is not None and not path.exists()
    ]


def task_problems(config: Config, task: Task) -> list[str]:
    """Return what the phases ask for that has no meaning for a task, one line each."""
    if task == "multiclass":
        return []
    from ringlight.models.margins import MARGINS

    order, lines = config.phases.order, []
    if "supcon" in order and config.supcon.loss == "supcon":
        lines.append(
            "supcon.loss: expected nt_xent for records with several labels, where no two need be of one class, got "
            "supcon; set supcon.loss=nt_xent"
        )
    known = [name for name, head in MARGINS.parts.items() if task in getattr(head, "tasks", (task,))]
    if "margin" in order and config.margin.head in MARGINS.parts and config.margin.head not in known:
        lines.append(
            f"margin.head: expected a head for records with several labels, got {config.margin.head}: a margin needs "
            f"the one true class; choose from: {', '.join(known)}"
        )
    return lines
