"""Model, loss and sampler put together, and every automatic choice made, once, and written into the configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ringlight.config.load import group_values
from ringlight.config.schema import Config
from ringlight.data.augment import Augmenter, augmentation_needs, has_augmentation
from ringlight.data.augment_base import SectionAugmenter
from ringlight.data.augment_batch import BatchAugmenter
from ringlight.data.augment_config import class_factors
from ringlight.data.checks import Inspection
from ringlight.data.preprocess import InputSpec
from ringlight.data.sampling import EpochSampler
from ringlight.errors import ConfigError, DataError
from ringlight.runtime import DeviceChoice, choose_num_workers, choose_prefetch_factor, seed_everything
from ringlight.training.drawing import Seen, criterion_of, sampler_of, seen_by, shown
from ringlight.training.frozen_features import backbone_embedder, feature_table
from ringlight.training.imbalance import plain, shifts_scores, with_method
from ringlight.training.imbalance_choice import Choice, candidates, choose_method
from ringlight.training.mixes import check_size, mix_keys
from ringlight.types import Dataset, Signals

if TYPE_CHECKING:
    from torch import nn

    from ringlight.data.specs import Spec
    from ringlight.models import WeightsChoice

GIB = 2**30
TORCH_PREFETCH = 2
"""What is written down where no process reads ahead: torch's own default."""
FROZEN_BATCH = 32
"""Records per step where no step is made: what new images are judged in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """What :func:`build_parts` made; `config` has every automatic choice written out."""

    config: Config
    spec: Spec
    module: nn.Module
    weights: WeightsChoice
    criterion: nn.Module
    augmenter: SectionAugmenter | None
    sampler: EpochSampler
    seen: Seen
    choice: Choice | None
    notes: tuple[str, ...]


def augmentation_of(config: Config, signals: Signals | None = None) -> Config:
    """Return the configuration with the shipped heavy pipeline written out where classes have factors but none.

    `signals` tells windows from images, which have another pipeline.
    """
    augmentation = config.augmentation
    if not class_factors(augmentation) or augmentation.get("heavy") is not None:
        return config
    name = "heavy" if signals is None else "heavy_signals"
    return Config.model_validate(
        {**config.model_dump(), "augmentation": {**augmentation, "heavy": group_values("augmentation", name)}}
    )


def build_parts(
    config: Config, inspection: Inspection, dataset: Dataset, train: Dataset, device: DeviceChoice, cache: Path
) -> Built:
    """Build the parts of a run and make its automatic choices.

    Args:
        config: with `augmentation.heavy` written out.
        inspection: of the data as given.
        dataset: the records with their groups.
        train: the training records.
        device: where the run trains.
        cache: the folder of features.

    Raises:
        ConfigError: a choice that cannot be met.
        Problems: a sampler or an augmentation that does not fit the records, a line each.
        DataError: an augmentation that needs boxes, which the records do not have.
    """
    from ringlight.models import build_model

    seed_everything(config.experiment.seed)
    model = config.model
    wished = InputSpec(image_size=config.data.image_size, resize_mode=config.data.resize_mode, in_chans=model.in_chans)
    built = build_model(
        model.name,
        num_classes=len(dataset.classes),
        in_chans=model.in_chans,
        drop_rate=model.drop_rate,
        pretrained=model.pretrained,
        weights_folder=config.weights.folder,
        image_size=wished.size,
        params=model.params(),
    )
    adapted = put_adapters(config, built.module)
    spec = replace(wished, mean=built.mean, std=built.std)
    augmenter = augmenter_of(config, train)
    size = spec.size or next(iter(inspection.image_sizes))
    check_size(config, size)
    config, notes = _batch_size(config, built.module, size, len(train), device)
    config, choice = _method(config, train, dataset, augmenter, built.module, spec, device, cache)
    prepare_head(config, built.module)
    sampler = sampler_of(config, train, augmenter)
    seen = seen_by(sampler, train)
    criterion = criterion_of(config, train.task, seen)
    config, told = _speed(config, built.module, criterion, size, len(sampler), train.task, device)
    found = _data_path(config, inspection.dataset, device, size)
    found |= {"model.pretrained": built.weights.setting}
    resolved = resolve(config, inspection.dataset, device, criterion, found)
    return Built(
        config=resolved, spec=spec, module=built.module, weights=built.weights, criterion=criterion,
        augmenter=augmenter, sampler=sampler, seen=seen, choice=choice,
        notes=(built.weights.note, *adapted, *(() if choice is None else (choice.sentence,)), *notes, *told),
    )  # fmt: skip


def prepare_head(config: Config, module: nn.Module) -> None:
    """Give the model the classifier that its loss expects: evidence for `evidential`, else the linear one it has.

    Raises:
        ConfigError: the classifier is to be fitted to features, which gives no evidence.
        ModelError: a model without one linear layer at its end.
    """
    if config.loss.name != "evidential":
        return
    if config.training.mode != "finetune":
        raise ConfigError(
            "finetune for loss `evidential`", got=config.training.mode, where="training.mode",
            fix="set training.mode=finetune, or loss=cross_entropy",
        )  # fmt: skip
    from ringlight.models.heads import install_evidential

    install_evidential(module)


def put_adapters(config: Config, module: nn.Module) -> tuple[str, ...]:
    """Put the configured adapters onto the model; return what a report says of them."""
    lora = config.model.lora
    if lora is None:
        return ()
    if config.training.mode == "frozen":
        raise ConfigError(
            "no adapters with training.mode=frozen, which trains no layer", got="model.lora", where="model.lora",
            fix="set it to null, or training.mode=finetune",
        )  # fmt: skip
    from ringlight.models.lora import add_lora

    return (add_lora(module, **lora.model_dump()).sentence,)


def augmenter_of(config: Config, train: Dataset) -> Augmenter | None:
    """Return what augments training images as configured, None where nothing does.

    Raises:
        ConfigError: an augmentation that a frozen backbone has no step for.
        DataError: one that needs boxes, which the records do not have.
    """
    if not has_augmentation(config.augmentation):
        return None
    needing = augmentation_needs(config.augmentation)
    if needing and config.training.mode == "frozen":
        raise ConfigError(
            "augmentations that need no boxes with training.mode=frozen", got=needing[0],
            where=f"augmentation.{needing[0]}", fix="set it to null",
        )  # fmt: skip
    if needing and not any(train.table.column("boxes").to_pylist()):
        raise DataError(
            f"records with boxes for {', '.join(needing)}",
            got="none with a box",
            where=f"augmentation.{needing[0]}",
            fix="use a source that reads boxes, or set it to null",
        )
    return Augmenter(config.augmentation, seed=config.experiment.seed, class_names=train.classes)


def _method(
    config: Config, train: Dataset, dataset: Dataset, augmenter: Augmenter | None, module: nn.Module, spec: InputSpec,
    device: DeviceChoice, cache: Path,
) -> tuple[Config, Choice | None]:  # fmt: skip
    """Put the method against imbalance in the place of loss and sampler; `auto` chooses it first."""
    method, choice = config.imbalance.method, None
    if method == "auto":
        config = plain(config, train.task)
        candidates(config, train.task)  # refused before the pass through the backbone
        sampler = sampler_of(config, train, augmenter)  # no candidate replaces it
        embedder = backbone_embedder(module, config.model.name, spec, device)
        table = feature_table(module, dataset, embedder, device, cache=cache)
        choice = choose_method(
            config, train, table.of(train), seen=seen_by(sampler, train), weights=shown(sampler, train, config)
        )
        config = with_method(config, choice.method, train.task, choice.tau)
        seed_everything(config.experiment.seed)
    elif method != "none":
        config = with_method(config, method, train.task)
    return config, choice


def _batch_size(
    config: Config, module: nn.Module, size: tuple[int, int], num_records: int, device: DeviceChoice
) -> tuple[Config, tuple[str, ...]]:
    if config.data.batch_size != "auto":
        return config, ()
    if config.training.mode == "frozen":
        return config.replacing({"data.batch_size": FROZEN_BATCH}), ()
    from ringlight.training.memory import choose_batch_size, states_of

    wish = config.training.precision
    found = choose_batch_size(
        module, size, num_records=num_records, device=device, in_chans=config.model.in_chans,
        precision="32" if wish == "auto" else wish, optimizer_states=states_of(config),
    )  # fmt: skip
    views = config.supcon.num_views if "supcon" in config.phases.order else 1
    if views == 1 or found.batch_size <= 2:
        return config.replacing({"data.batch_size": found.batch_size}), (found.note,)
    shared = max(2, found.batch_size // views)  # a contrastive step holds every view, and cannot be divided
    note = f"{found.note}; supcon shows {views} views of each: {shared} records a step"
    return config.replacing({"data.batch_size": shared}), (note,)


def _speed(
    config: Config, module: nn.Module, criterion: nn.Module, size: tuple[int, int], num_records: int, task: Any,
    device: DeviceChoice,
) -> tuple[Config, tuple[str, ...]]:  # fmt: skip
    """Choose number format, layout and compilation by a few timed steps, where the run is long enough."""
    training = config.training
    if training.mode == "frozen":
        # A pass without gradients, in the numbers the model is served in.
        values = {"precision": "32", "memory_format": "channels_last", "compile": False}
        asked = {key: getattr(training, key) for key in values}
        blends = [f"{key}: a head is fitted without steps: nothing is mixed" for key in mix_keys(config)]
        lost = [f"training.{key}={was}" for key, was in asked.items() if was not in ("auto", False, values[key])]
        told = (f"{', '.join(lost)} is for training the network: features are computed in 32 bits",) if lost else ()
        return config.replacing({f"training.{key}": value for key, value in values.items()}), (*told, *blends)
    from ringlight.training.speed import choose_speed

    batch_size = int(config.data.batch_size)
    found = choose_speed(
        module, criterion, (batch_size, config.model.in_chans, *size), task, device,
        wish_precision=training.precision, wish_format=training.memory_format, wish_compile=training.compile,
        num_steps_planned=training.num_epochs * -(-num_records // batch_size), seed=config.experiment.seed,
    )  # fmt: skip
    values = {"precision": found.precision, "memory_format": found.memory_format, "compile": found.compile}
    told = (found.note,) if found.trials else ()
    return config.replacing({f"training.{key}": value for key, value in values.items()}), told


def resolve(
    config: Config, dataset: Dataset, device: DeviceChoice, criterion: Any, found: Mapping[str, object]
) -> Config:
    """Write every automatic choice into the configuration, so that it runs again as it ran.

    `found` are the choices that only images, or only windows, ask for.
    """
    from ringlight.losses import LOSSES
    from ringlight.training.rules import resolved_rules

    chosen = criterion.get_params()
    values: dict[str, object] = {
        "training.device": device.device,
        "training.num_threads": config.training.num_threads or _current_threads(),
        "data.task": dataset.task,
        "data.root": _absolute(config.data.root),
        "split.groups": _groups(config, dataset),
        "split.file": _absolute(config.split.file),
        "weights.folder": _absolute(config.weights.folder),
        **found,
        **resolved_rules(config.evaluation, dataset.classes, dataset.task, shifted=shifts_scores(config)),
        "model.num_classes": len(dataset.classes),
    }
    # A word (dynamic, balanced) is a choice left to the engine; numbers stay as the user wrote them. The seeds'
    # first_batch stays a word, too: what it finds depends on the first batch, not on the data set.
    asked = {part.name: part.default for part in LOSSES.parameters(config.loss.name)} | config.loss.params()
    words = {key for key, value in asked.items() if isinstance(value, str) and value != "first_batch"}
    values |= {f"loss.{key}": chosen[key] for key in words if isinstance(chosen.get(key), list)}
    return config.replacing(values)


def _data_path(config: Config, dataset: Dataset, device: DeviceChoice, size: tuple[int, int]) -> dict[str, object]:
    """Choose where pictures are kept and augmented, and who reads them."""
    import psutil

    data, cuda = config.data, device.kind == "cuda"
    pixels = size[0] * size[1] * config.model.in_chans
    wanted = config.training.mode != "frozen" and config.training.num_epochs > 1
    cache = data.cache
    if cache == "auto":
        cache = "disk" if wanted and pixels * len(dataset) <= data.cache_budget_gib * GIB else "off"
    augmented = has_augmentation(config.augmentation)
    batchwise = BatchAugmenter.supports(config.augmentation)
    where = data.augment_on
    if where == "device" and not batchwise:
        raise ConfigError(
            "augmentations that work on whole batches", got="one that needs boxes or masks", where="data.augment_on",
            fix="set data.augment_on=cpu",
        )  # fmt: skip
    if where == "auto":
        where = "device" if cuda and augmented and batchwise else "cpu"
    workers = choose_num_workers(data.num_workers, device)
    free = int(psutil.virtual_memory().available)
    ahead = choose_prefetch_factor(data.prefetch_factor, workers, 4 * pixels * int(data.batch_size), free)
    keep = data.keep_on_device
    if keep == "auto":
        from ringlight.training.memory import free_bytes

        on_device = where == "device" or not augmented
        keep = cuda and cache == "disk" and on_device and pixels * len(dataset) < free_bytes(device) // 4
    return {
        "data.normalize": "none",  # images are normalised by what their model was trained with
        "data.cache": cache,
        "data.augment_on": where,
        "data.num_workers": workers,
        "data.prefetch_factor": ahead or TORCH_PREFETCH,
        "data.keep_on_device": keep,
    }


def _groups(config: Config, given: Dataset) -> str:
    if config.split.groups != "auto":
        return config.split.groups
    return "duplicates" if given.groups is None else "given"


def _absolute(path: Path | None) -> str | None:
    """Return a path that means the same wherever the run's configuration is used again."""
    return None if path is None else str(path.expanduser().absolute())


def _current_threads() -> int:
    import torch

    return torch.get_num_threads()
