"""The sections of a configuration that name a part of a catalogue: model, head, data, sampler, mix, loss and so on.

Each holds the fields every part of its family shares, and beside them the part's own parameters, which the catalogue of
the family checks.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, ValidationInfo, field_validator

from ringlight.config.fields import Location, Real, Whole, Word

Side = Annotated[Whole, Field(ge=16, le=16384)]


class Section(BaseModel):
    """A group of keys; unknown ones are refused, numbers are finite, values cannot be changed in place."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=())


class Part(Section):
    """A section that names a part of a catalogue; keys beside the typed ones are the part's own parameters."""

    model_config = ConfigDict(extra="allow")
    name_key: ClassVar[str] = "name"

    def params(self) -> dict[str, Any]:
        """Return the part's own parameters: the keys that are not fields of every part."""
        return dict(self.model_extra or {})


class LoraConfig(Section):
    """Low-rank adapters: the weights stay as they are, and a small product beside each chosen layer is trained."""

    rank: Whole = Field(8, ge=1, description="rank of the product, at most the smaller side of every chosen layer")
    alpha: Real = Field(16.0, gt=0, description="the product counts alpha / rank times")
    targets: tuple[Literal["attention", "mlp", "conv1x1"], ...] = Field(
        ("attention", "mlp", "conv1x1"),
        description="layers that get one: linear ones of attention, of multi-layer perceptrons, 1x1 convolutions",
    )
    dropout: Real = Field(0.0, ge=0, lt=1, description="share of a layer's inputs the product does not see in a step")


class ModelConfig(Part):
    """The network. Its own parameters (`cbam_stages`, ...) depend on the name."""

    name: Word = Field("resnet18", description="the model: one of Ringlight's own or any timm classifier by its name")
    num_classes: Annotated[Whole, Field(ge=1)] | None = Field(
        None, description="number of classes; null takes it from the data, a number must agree with the data"
    )
    in_chans: Annotated[Whole, Field(ge=1)] = Field(
        3,
        description="image channels: 3 (colour; gray images are repeated) or 1 (gray); of windows always the data's",
    )
    drop_rate: Real = Field(0.0, ge=0, lt=1, description="dropout before the classifier")
    pretrained: Literal["auto"] | StrictBool = Field(
        "auto",
        description="start from trained weights: auto takes what is at hand and says so, true stops when none is",
    )
    lora: LoraConfig | None = Field(
        None, description="train low-rank adapters and the head alone; {} takes the defaults, null trains every weight"
    )


class HeadConfig(Part):
    """What is fitted to frozen features. Its own parameters (`penalty`, `num_neighbors`, ...) depend on the name."""

    name: Word = Field("logistic", description="the head; training.mode=finetune does not use it")


class SamplerConfig(Part):
    """In which order, and how often, training records are seen. Its own parameters depend on the name."""

    name: Word = Field("shuffle", description="the sampler")


class MixConfig(Part):
    """How the records of a batch are mixed in training. Its own parameters (`alpha`, ...) depend on the name."""

    name: Word = Field("none", description="the way of mixing; augmentation.mixup is another spelling of mixup")


class LossConfig(Part):
    """The loss. Its own parameters (`alpha`, `gamma`, `reduction`, ...) depend on the name."""

    name: Word = Field("cross_entropy", description="the loss")


class SamConfig(Section):
    """Sharpness-aware minimisation: the gradient is taken where the loss is worst nearby; a step costs two passes."""

    rho: Real = Field(0.05, gt=0, description="how far it looks: the length of the way up in weight space")


class AsamConfig(Section):
    """SAM whose neighbourhood grows with each weight, so that rescaling a layer changes nothing."""

    rho: Real = Field(0.5, gt=0, description="how far it looks, relative to the size of the weights")
    eta: Real = Field(0.01, ge=0, description="added to the size of each weight, so that zeros move, too")


class LookaheadConfig(Section):
    """Lookahead: slow weights that go part of the way after every k steps; they are what is judged."""

    k: Whole = Field(5, ge=1, description="steps of the optimiser between two of the slow weights")
    alpha: Real = Field(0.5, gt=0, le=1, description="how much of the way the slow weights go")


class OptimizerConfig(Part):
    """The optimiser. Its own parameters (`momentum`, `betas`, ...) depend on the name."""

    name: Word = Field("adamw", description="the optimiser")
    lr: Real = Field(0.001, gt=0, description="learning rate at its peak")
    weight_decay: Real = Field(0.0001, ge=0, description="weight decay; biases and normalisation are exempt")
    sam: SamConfig | None = Field(
        None,
        description="sharpness-aware minimisation around the optimiser; a step costs two passes; {} takes the defaults",
    )
    asam: AsamConfig | None = Field(None, description="its adaptive form, which does not depend on the weights' scale")
    lookahead: LookaheadConfig | None = Field(
        None, description="slow weights that follow the optimiser's and are judged; {} takes the defaults"
    )
    gradient_centralization: StrictBool = Field(
        False, description="take the mean of each output's gradient out before every step"
    )

    @field_validator("asam")
    @classmethod
    def _one_ascent(cls, value: AsamConfig | None, info: ValidationInfo) -> AsamConfig | None:
        if value is not None and info.data.get("sam") is not None:
            raise ValueError("null beside optimizer.sam: a step climbs once")
        return value


class SchedulerConfig(Part):
    """The learning rate's course. Its own parameters (`min_lr`, ...) depend on the name."""

    name: Word = Field("warmup_cosine", description="the schedule")
    warmup_epochs: Real = Field(
        0.0,
        ge=0,
        description="epochs (also a fraction) over which the learning rate rises to its peak; a recipe's shrinks in "
        "proportion when the run is made shorter than twice the warm-up",
    )


class DataConfig(Part):
    """Where the records come from and how they reach the model. Its own parameters depend on the source."""

    name_key: ClassVar[str] = "source"

    source: Word = Field("folder", description="the format of the data set")
    root: Location | None = Field(None, description="folder or file the source reads; relative to where you stand")
    task: Literal["multiclass", "multilabel"] | None = Field(
        None, description="one label per record or any number; null lets the source say"
    )
    image_size: Side | tuple[Side, Side] | None = Field(
        None, description="side in pixels or [height, width] given to the model; null keeps the full size"
    )
    resize_mode: Literal["resize", "letterbox"] = Field(
        "resize", description="how image_size is reached: stretch, or keep the proportions and pad"
    )
    batch_size: Annotated[Whole, Field(ge=1)] | Literal["auto"] = Field(
        32, description="records per step; auto takes the largest that memory and the number of records allow"
    )
    num_workers: Annotated[Whole, Field(ge=0, le=256)] | Literal["auto"] = Field(
        "auto", description="processes that read images; 0 reads in the main process, auto looks at the cores"
    )
    prefetch_factor: Annotated[Whole, Field(ge=1, le=64)] | Literal["auto"] = Field(
        "auto", description="batches each of these processes prepares ahead"
    )
    cache: Literal["auto", "disk", "off"] = Field(
        "auto",
        description="keep decoded pictures in one file that is mapped into memory: auto does so where more than one "
        "epoch reads them and they fit",
    )
    cache_budget_gib: Real = Field(
        20.0, gt=0, description="disk that all caches of the workspace may take, in GiB; the oldest go first"
    )
    augment_on: Literal["auto", "cpu", "device"] = Field(
        "auto", description="where training pictures are augmented: auto is on the device in batches with CUDA"
    )
    keep_on_device: Literal["auto"] | StrictBool = Field(
        "auto", description="hold all decoded pictures in the GPU's memory: auto does so where they fit"
    )
    normalize: Literal["auto", "channel", "window", "none"] = Field(
        "auto",
        description="windows: each channel by its mean and deviation over the training windows (channel), each by "
        "its own (window), or as measured (none); auto is channel for networks and none for classical models",
    )
    min_samples_per_class: Whole = Field(
        2, ge=1, description="a class with fewer records is reported by the data check"
    )
