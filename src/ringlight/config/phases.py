"""The sections of a run in phases: which phases, and what each of them changes of the run's own sections.

A phase trains with the run's sections. What is written in its `optimizer`, `scheduler`, `training` or `augmentation`
replaces single keys of these for the phase alone, by the same rules as an override on the command line.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import ConfigDict, Field

from ringlight.config.fields import Location, Real, Whole, Word
from ringlight.config.parts import Part, Section

PhaseName = Literal["supcon", "margin", "distill"]

PHASES: Final[tuple[PhaseName, ...]] = ("supcon", "margin", "distill")
"""Every phase, in the one order in which they can follow each other."""


class PhasesConfig(Section):
    """Training in phases: each begins with what the one before has learned. Also written `phases: [supcon, margin]`."""

    order: tuple[PhaseName, ...] = Field(
        (),
        description="the phases of the run, in this order: supcon (contrastive warm start), margin (fine-tuning with a "
        "margin head), distill (a student learns from the model before it); empty is an ordinary training",
    )


class PhaseSection(Section):
    """What every phase has."""

    num_epochs: Whole = Field(20, ge=1, description="passes over the training records")
    steps: Annotated[Whole, Field(ge=1)] | None = Field(
        None, description="optimiser steps in the place of num_epochs, rounded up to whole epochs"
    )
    lr: Annotated[Real, Field(gt=0)] | None = Field(None, description="learning rate; null is optimizer.lr")
    optimizer: dict[str, Any] = Field({}, description="keys of `optimizer` that differ in this phase")
    scheduler: dict[str, Any] = Field({}, description="keys of `scheduler` that differ in this phase")
    training: dict[str, Any] = Field({}, description="keys of `training` that differ in this phase")
    augmentation: dict[str, Any] | Word = Field(
        {}, description="augmentations that differ in this phase, or the name of a group file"
    )


class SupConConfig(PhaseSection):
    """The phase `supcon`: views of a record, and records of a class, are drawn together on the unit sphere."""

    start_from: Location | None = Field(
        None, description="a run, a bundle or a phase's folder whose backbone it starts from; null: model.pretrained"
    )
    num_views: Whole = Field(
        2, ge=1, le=16, description="differently augmented views of each record in a step; 1 needs records of a class"
    )
    loss: Literal["supcon", "nt_xent"] = Field(
        "supcon", description="supcon draws records of one class together, nt_xent only the views of one record"
    )
    temperature: Real = Field(0.1, gt=0, le=10, description="of the soft-max over similarities; lower is stricter")
    projection_dim: Whole = Field(128, ge=2, le=8192, description="length of the vectors that the loss compares")
    projection_hidden: Annotated[Whole, Field(ge=2, le=65536)] | None = Field(
        None, description="width of the projection's hidden layer; null is that of the embedding"
    )
    num_neighbors: Whole = Field(
        20, ge=1, le=1000, description="neighbours that vote in the k-NN scores of each epoch's validation"
    )
    bank_size: Whole = Field(
        4096, ge=16, description="training records, at most, among which these neighbours are looked for"
    )


class ArcFaceConfig(PhaseSection, Part):
    """The phase `margin`: fine-tuning with a head on the unit sphere that keeps classes a margin apart.

    The head's own parameters (`scale`, `margin`, ...) depend on its name. The loss is the run's `loss`.
    """

    model_config = ConfigDict(extra="allow")
    name_key: ClassVar[str] = "head"

    head: Word = Field("arcface", description="the head: arcface, cosface, adaface, curricularface, linear, ...")
    start_from: Location | None = Field(
        None, description="a run, a bundle or a phase's folder whose backbone it starts from; null: the phase before"
    )


class DistillConfig(PhaseSection):
    """The phase `distill`: a student learns from the labels, and from the scores and the embedding of a teacher."""

    teacher: Location | None = Field(
        None, description="a run or a bundle that teaches; null: the phase before, or the two files below"
    )
    teacher_backbone_path: Location | None = Field(
        None, description="weights of the teacher's backbone (`model`): .safetensors, or a state dict in a .pth file"
    )
    teacher_head_path: Location | None = Field(None, description="weights of the linear classifier that belongs to it")
    model: dict[str, Any] = Field({}, description="keys of `model` that differ for the student, its name above all")
    temperature: Real = Field(4.0, gt=0, le=100, description="T, by which both sides' scores are divided (KL times T²)")
    hard_weight: Real = Field(0.5, ge=0, description="weight of the run's `loss` against the labels")
    soft_weight: Real = Field(0.5, ge=0, description="weight of the divergence from the teacher's scores")
    feature_weight: Real = Field(
        0.0, ge=0, description="weight of the squared distance of the projected embedding from the teacher's"
    )
