"""The typed tree of a run's configuration. Its descriptions feed the reference page, its JSON schema feeds forms.

Sections that name a part are in :mod:`ringlight.config.parts`. Every other section refuses keys that it does not know.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import UnionType
from typing import Annotated, Any, Final, Literal, Self, Union, get_args, get_origin

from pydantic import BeforeValidator, Field, StrictBool
from pydantic.fields import FieldInfo

from ringlight.config.fields import Device, FileName, Location, Minutes, Real, Toggle, Whole, Word, as_text
from ringlight.config.parts import (
    DataConfig,
    HeadConfig,
    LossConfig,
    MixConfig,
    ModelConfig,
    OptimizerConfig,
    Part,
    SamplerConfig,
    SchedulerConfig,
    Section,
)
from ringlight.config.phases import ArcFaceConfig, DistillConfig, PhasesConfig, SupConConfig
from ringlight.config.studies import CrossValidationConfig, TuneConfig
from ringlight.config.tracking import MlflowConfig, Trackers

SCHEMA_VERSION: Final = 1
"""The layout this module describes; written into every `config.yaml`."""

Precision = Annotated[Literal["auto", "32", "bf16", "16"], BeforeValidator(as_text)]
Strategy = Literal[
    "stratified_70_15_15", "stratified_80_10_10", "stratified_80_20", "time_70_15_15", "leave_one_group_out",
    "predefined", "predefined_test",
]  # fmt: skip


class SplitConfig(Section):
    """How the records are divided into training, validation and test."""

    strategy: Strategy = Field(
        "stratified_70_15_15",
        description="percent of training, validation and test records (80_20: training and test), classes kept in "
        "proportion; time_70_15_15 trains on the oldest and tests on the newest; leave_one_group_out tests on "
        "split.test_group; predefined uses what the source prescribes, predefined_test only its test part",
    )
    groups: Literal["auto", "given", "duplicates", "time", "none"] = Field(
        "auto",
        description="what no split may divide: the data's own groups (given), near-duplicates found in the pixels, "
        "records closer in time than split.time_window; auto takes the given ones and else looks for duplicates; none "
        "divides record by record",
    )
    min_overlap: Real = Field(
        0.9,
        gt=0,
        le=1,
        description="share of the frame that near-duplicates have in common; 0.65 also keeps overlapping cut-outs of "
        "one surface together",
    )
    time_window: Annotated[Real, Field(gt=0)] | None = Field(
        None, description="split.groups=time: records less than this apart in time (seconds) are one group"
    )
    time_gap: Real = Field(
        0.0, ge=0, description="time_70_15_15: records closer than this to the next part (seconds) are left out"
    )
    test_group: Word | None = Field(None, description="leave_one_group_out: the group to test on")
    allow_leak: StrictBool = Field(
        False, description="go on although the split leaks; the run is marked leaky wherever its scores are shown"
    )
    leak_probe: StrictBool = Field(
        True, description="where groups hold several records, measure once what a random split would pretend"
    )
    held_out_class: Word | None = Field(
        None,
        description="a class that the model is never shown: its records are in no part and are the strangers by which "
        "evaluation.open_set is judged (one label)",
    )
    file: Location | None = Field(None, description="a saved split to read back; its test set stays the test set")


ImbalanceMethod = Literal[
    "none", "auto", "class_weights", "effective_number", "balanced_softmax", "logit_adjustment", "post_hoc", "ldam_drw",
    "focal", "asymmetric", "stratified_batches", "balanced_batches", "class_balanced", "square_root", "progressive",
    "crt",
]  # fmt: skip


class ImbalanceConfig(Section):
    """What is done about classes that are rare: one setting, which chooses loss, sampler or what follows training."""

    method: ImbalanceMethod = Field(
        "none",
        description="none leaves loss and sampler as they are set; auto tries a short list on the training records "
        "(grouped folds, frozen features) and leaves plain cross-entropy only for a gain on held-out records",
    )
    candidates: tuple[ImbalanceMethod, ...] | None = Field(
        None, description="auto: what is tried beside plain cross-entropy; null is the short list"
    )
    tau: Real = Field(
        1.0, gt=0, le=4, description="logit_adjustment and post_hoc: how far the prior is taken out; 1 is all of it"
    )


class TrainingConfig(Section):
    """How long, on what and how carefully the model is trained."""

    mode: Literal["finetune", "frozen", "head_then_finetune"] = Field(
        "finetune",
        description="train the whole model; fit a head to features of the frozen backbone, in seconds; or the head "
        "first and then the whole",
    )
    frozen_views: Whole = Field(
        0, ge=0, le=100, description="frozen: augmented views of each training image beside the plain one"
    )
    num_epochs: Whole = Field(50, ge=1, description="passes over the training records, at most")
    early_stopping_patience: Annotated[Whole, Field(ge=1)] | None = Field(
        15, description="stop after so many epochs without improvement and restore the best weights; null never stops"
    )
    early_stopping_min_delta: Real = Field(0.0, ge=0, description="a smaller gain than this is no improvement")
    early_stopping_monitor: Word | None = Field(
        None, description="the validation metric, or loss, that early stopping waits for; null is training.monitor"
    )
    monitor: Word = Field("macro_f1", description="the validation metric that picks the best epoch, or loss")
    restore: Literal["best", "last"] = Field(
        "best",
        description="which weights count: the best epoch's by training.monitor; or the last, for a learning rate "
        "that falls to nothing and a validation part too small to choose by",
    )
    metrics: tuple[Word, ...] = Field(
        (),
        description="further validation metrics of the catalogue: told in the history, and may be monitored",
    )
    trackers: Trackers = ("tensorboard",)
    gradient_clip_norm: Annotated[Real, Field(gt=0)] | None = Field(
        None, description="largest norm of the gradient; null does not clip"
    )
    accumulate_steps: Whole = Field(1, ge=1, description="batches whose gradients are added up before each update")
    precision: Precision = Field(
        "auto",
        description="number format of the training: with auto a few timed steps choose, where the run is long enough "
        "to earn them back; else it is bf16 on GPUs that have it and 32 on a CPU",
    )
    memory_format: Literal["auto", "contiguous", "channels_last"] = Field(
        "auto", description="how pictures lie in memory; auto is timed together with precision"
    )
    compile: Literal["auto"] | StrictBool = Field(
        False, description="compile the model with torch.compile; falls back with a message; auto is timed, too"
    )
    ema_decay: Annotated[Real, Field(gt=0, lt=1)] | None = Field(
        None, description="judge a moving average of the weights with this decay (0.999); null judges the weights"
    )
    ema_snapshots: StrictBool = Field(
        True,
        description="with ema_decay: write the averaged weights beside each checkpoint, as NAME_ema.safetensors; the "
        "checkpoint holds both sets in any case",
    )
    checkpoint_minutes: Minutes | None = Field(10.0, description="time between checkpoints in an epoch; null: none")
    device: Device = Field("auto", description="auto, cpu, cuda or cuda:N")
    num_threads: Annotated[Whole, Field(ge=1)] | None = Field(
        None, description="CPU threads; null leaves the choice to PyTorch. Identical runs need the same number"
    )
    confusion_every_n_epochs: Whole = Field(10, ge=1, description="how often the confusion matrix is drawn")
    num_sample_predictions: Whole = Field(8, ge=0, description="validation images shown with prediction and truth")


class PointConfig(Section):
    """An operating point: what the thresholds, fixed on validation, have to reach."""

    kind: Literal["max_f1", "recall_at_least", "precision_at_least", "min_cost"] = Field(
        "max_f1", description="what is sought: the best F1, a recall or a precision, or the lowest cost per part"
    )
    label: Word | None = Field(None, description="the class it is about; null means every class (multi-label)")
    target: Annotated[Real, Field(gt=0, lt=1)] | None = Field(
        None, description="the recall or precision to reach, from 0 to 1"
    )
    escape_cost: Annotated[Real, Field(ge=0)] | None = Field(None, description="min_cost: cost of an escape")
    overkill_cost: Annotated[Real, Field(ge=0)] | None = Field(None, description="min_cost: cost of an overkill")
    prevalence: Annotated[Real, Field(gt=0, lt=1)] | None = Field(
        None, description="min_cost: share of defective parts on the line; null takes the validation part's"
    )


class EvaluationConfig(Section):
    """How a trained model is judged. Nothing here is chosen on the test part."""

    good_class: Word | None = Field(
        "auto",
        description="the class of good parts, for escapes and overkill: auto knows good, ok, pass, free, normal and "
        "their like; null has none. In multi-label data a good part carries no label",
    )
    calibration: Literal["auto", "none", "temperature", "vector", "platt"] = Field(
        "auto",
        description="how scores become probabilities one can believe, fitted on validation and kept only if it helps: "
        "auto is temperature (one label, or a method against imbalance) or platt (any number)",
    )
    operating_points: dict[str, PointConfig] = Field(
        {"max_f1": PointConfig()},
        description="thresholds fixed on validation, by name, each with kind, label, target, escape_cost, "
        "overkill_cost, prevalence",
    )
    operating_point: Word = Field(
        "default",
        description="the point that decides in the scores and in the saved model; default is the best class, or 0.5",
    )
    confidence: Real = Field(0.95, ge=0.5, le=0.999, description="confidence of every interval and certificate")
    num_resamples: Whole = Field(2000, ge=100, le=100_000, description="bootstrap resamples behind the intervals")
    prevalence: Annotated[Real, Field(gt=0, lt=1)] | None = Field(
        None, description="share of defective parts on the line, for PPM and cost; null takes the judged part's"
    )
    escape_cost: Annotated[Real, Field(ge=0)] | None = Field(None, description="cost of a defective part let through")
    overkill_cost: Annotated[Real, Field(ge=0)] | None = Field(None, description="cost of a good part thrown away")
    tta_runs: Whole = Field(
        1, ge=1, le=8, description="views each image is judged in (as it is, flipped, turned) and averaged; 1 is off"
    )
    tta_space: Literal["probability", "logit"] = Field("probability", description="what is averaged over the views")
    reject_error: Annotated[Real, Field(ge=0, lt=1)] | None = Field(
        None,
        description="wished share of wrong decisions; parts it is too unsure of go to a human; null: none",
    )
    embedding: StrictBool = Field(
        False,
        description="judge what reaches the classifier, too: retrieval scores, a picture of the plane, and nearest "
        "neighbours (images of one label)",
    )
    open_set: Literal["none", "energy", "distance", "both"] = Field(
        "none",
        description="flag parts of no known class, for a human: by the energy of the scores, by the distance of what "
        "reaches the classifier to the nearest class mean, or where either says so (one label)",
    )
    open_set_accept: Real = Field(
        0.95, gt=0, le=1, description="share of known validation records that open_set accepts"
    )
    num_mistakes: Whole = Field(12, ge=0, le=100, description="worst mistakes shown as pictures in the report")


class ExperimentConfig(Section):
    """What identifies the run."""

    name: FileName | None = Field(None, description="your name for the run; null uses the recipe's")
    seed: Whole = Field(42, ge=0, lt=2**32, description="seed of split, weights, order and augmentation")


class WeightsConfig(Section):
    """Where trained weights lie."""

    folder: Location | None = Field(None, description="folder with weights by model name, looked in before packages")


class Config(Section):
    """A run's whole configuration."""

    schema_version: Literal[1] = Field(SCHEMA_VERSION, description="layout of this file")
    recipe: str | None = Field(None, description="the recipe it was composed from")
    data: DataConfig = DataConfig()
    split: SplitConfig = SplitConfig()
    augmentation: dict[str, Toggle] = Field(
        default_factory=dict,
        description="name of an augmentation: null or false (off), true (on), a number (its probability) or its "
        "parameters; training images only. per_class_factor: {CLASS: n} shows the records of a class n times an epoch, "
        "each time through the pipeline of heavy",
    )
    mix: MixConfig = MixConfig()
    model: ModelConfig = ModelConfig()
    head: HeadConfig = HeadConfig()
    loss: LossConfig = LossConfig()
    sampler: SamplerConfig = SamplerConfig()
    imbalance: ImbalanceConfig = ImbalanceConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    scheduler: SchedulerConfig = SchedulerConfig()
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    experiment: ExperimentConfig = ExperimentConfig()
    weights: WeightsConfig = WeightsConfig()
    phases: PhasesConfig = PhasesConfig()
    supcon: SupConConfig = SupConConfig()
    margin: ArcFaceConfig = ArcFaceConfig()
    distill: DistillConfig = DistillConfig()
    cv: CrossValidationConfig = CrossValidationConfig()
    tune: TuneConfig = TuneConfig()
    mlflow: MlflowConfig = MlflowConfig()

    def replacing(self, values: Mapping[str, object]) -> Self:
        """Return a copy with some keys (`section.key`) set and checked: how automatic choices are written down.

        Examples:
            >>> Config().replacing({"training.device": "cpu", "data.num_workers": 0}).training.device
            'cpu'
        """
        tree = self.model_dump()
        for key, value in values.items():
            section, _, leaf = key.partition(".")
            tree[section][leaf] = value
        return self.model_validate(tree)


SECTIONS: dict[str, type[Section] | None] = {
    name: field.annotation if isinstance(field.annotation, type) and issubclass(field.annotation, Section) else None
    for name, field in Config.model_fields.items()
    if name not in ("schema_version", "recipe")
}
"""Every section with its fields; `augmentation` is a mapping instead, whose keys are the catalogue's names."""

LATER: Final = ("mix", "head", "sampler", "imbalance", "phases", "supcon", "margin", "distill", "cv", "tune", "mlflow")
"""Sections that runs of earlier releases did not write: a `config.yaml` is complete without them."""

PARTS: dict[str, type[Part]] = {name: kind for name, kind in SECTIONS.items() if kind and issubclass(kind, Part)}
"""The sections that name a part."""


def fields_of(section: str) -> list[str]:
    """Return the typed keys of a section.

    Examples:
        >>> fields_of("loss")
        ['name']
    """
    kind = SECTIONS[section]
    return [] if kind is None else list(kind.model_fields)


def nested(path: Sequence[str]) -> type[Section] | None:
    """Return what describes the keys of a field that is a group of its own, None of any other.

    Examples:
        >>> nested(("optimizer", "lookahead")).__name__, nested(("optimizer", "lr"))
        ('LookaheadConfig', None)
    """
    kind = SECTIONS.get(path[0]) if len(path) == 2 else None
    field = None if kind is None else kind.model_fields.get(path[1])
    kinds = () if field is None else get_args(field.annotation) if _is_union(field) else (field.annotation,)
    return next((one for one in kinds if isinstance(one, type) and issubclass(one, Section)), None)


def _is_union(field: FieldInfo) -> bool:
    return get_origin(field.annotation) in (Union, UnionType)


def part_params(section: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys of a part's section that are its own parameters, before the tree is validated.

    Examples:
        >>> part_params("loss", {"name": "focal_loss", "gamma": 2.0})
        {'gamma': 2.0}
    """
    typed = PARTS[section].model_fields
    return {key: value for key, value in values.items() if key not in typed}
