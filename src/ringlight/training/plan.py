"""From a configuration to checked parts: everything that can be refused is refused here, before a run is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ringlight.config.schema import Config
from ringlight.data import SOURCES
from ringlight.data.augment import Augmenter, augmentation_problems
from ringlight.data.checks import Inspection
from ringlight.data.preprocess import InputSpec
from ringlight.errors import ConfigError, DataError, Problems
from ringlight.evaluation.metrics import monitor_mode
from ringlight.runtime import (
    DeviceChoice,
    choose_device,
    choose_num_workers,
    choose_precision,
    determinism,
    seed_everything,
)
from ringlight.training.records import data_notes, load_dataset
from ringlight.training.splitting import split_as_configured
from ringlight.types import Dataset, Split

if TYPE_CHECKING:
    from torch import nn

    from ringlight.models import WeightsChoice


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The parts of a run, built and checked; `config` has every automatic choice written out.

    `given` is the data as its source gave it, `dataset` the same records with the groups filled in that were found for
    the split. What was found is no part of the data's identity: one data set has one fingerprint however it is divided.
    `cache` is the folder where features and found duplicates are remembered.
    """

    config: Config
    given: Dataset
    dataset: Dataset
    split: Split
    spec: InputSpec
    module: nn.Module
    weights: WeightsChoice
    criterion: nn.Module
    augmenter: Augmenter | None
    device: DeviceChoice
    notes: tuple[str, ...]
    cache: Path

    def part(self, name: str) -> Dataset:
        """Return the records of `train`, `val` or `test`."""
        return self.dataset.take(self.split.parts()[name])

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the data as given, which results name and a resumed run must find again."""
        return self.given.fingerprint

    @property
    def monitor(self) -> str | None:
        """The validation metric that chooses the best weights; None without a validation part."""
        return self.config.training.monitor if len(self.split.val) else None


def part_problems(tree: Mapping[str, Any]) -> list[str]:
    """Check the names and parameters of every part of a plain configuration tree, one line a mistake.

    Handed down to `config.load.compose`, which knows no catalogue.
    """
    from ringlight.losses import LOSSES
    from ringlight.models import MODELS
    from ringlight.optim import OPTIMIZERS, SCHEDULERS

    lines: list[str] = []
    for catalogue in (MODELS, LOSSES, OPTIMIZERS, SCHEDULERS, SOURCES):
        section = tree.get(catalogue.family)
        if not isinstance(section, Mapping) or not isinstance(section.get(catalogue.name_key), str):
            continue  # the schema says so in its own line
        common = Config.model_fields[catalogue.family].annotation.model_fields  # type: ignore[union-attr]
        params = {key: value for key, value in section.items() if key not in common}
        name = section[catalogue.name_key]
        engine = {key for key in ("root", "task") if catalogue is SOURCES}
        lines += [line for line in catalogue.problems(name, params) if line.split(":")[0].split(".")[-1] not in engine]
    augmentation = tree.get("augmentation")
    if isinstance(augmentation, Mapping):
        lines += augmentation_problems(augmentation)
    return lines


def make_plan(config: Config, cache: Path) -> Plan:
    """Build every part of a run.

    `cache` is the folder where a synthetic source may write its images, and where found duplicates are remembered.

    Raises:
        ConfigError: a choice that cannot be met (device, weights, monitor).
        Problems: files or labels that cannot be used, a line each.
        DataError: data that cannot be trained on.
        SplitError: the records cannot be split as asked.
    """
    device = choose_device(config.training.device)
    choose_precision(config.training.precision, device)
    _try_optimization(config)
    inspection = load_dataset(config, cache)
    notes = data_notes(inspection)
    _trainable(inspection, config)
    _judgeable(inspection.dataset, config)
    dataset, split = split_as_configured(config, inspection.dataset, cache)
    notes += split.warnings
    if len(split.val):
        monitor_mode(config.training.monitor, dataset.classes, dataset.task)
    elif config.training.early_stopping_patience is not None:
        notes += ("no validation part: early stopping is off and the last weights are judged",)
    with determinism(num_threads=config.training.num_threads, device=device):
        return _build(config, inspection.dataset, dataset, split, device, notes, cache)


def _try_optimization(config: Config) -> None:
    """Build optimiser and schedule once over a stand-in, so that their numbers are refused before a file is read."""
    from torch import nn

    from ringlight.training.engine import optimizer_of, schedule_of

    schedule_of(config, None, 1000)(optimizer_of(config)(nn.Linear(1, 1)))


def _trainable(inspection: Inspection, config: Config) -> None:
    dataset, sizes = inspection.dataset, inspection.image_sizes
    if not dataset.has_content:
        raise DataError(
            "records with images",
            got="a label-only table",
            where=dataset.name,
            fix="add a path column (data.path_column) or use it with `ringlight data stats|split` only",
        )
    wished = config.model.num_classes
    if wished is not None and wished != len(dataset.classes):
        raise ConfigError(
            f"num_classes={len(dataset.classes)}, the classes of {dataset.name}: {', '.join(dataset.classes)}",
            got=str(wished),
            where="model.num_classes",
            fix="leave it out (null) to take it from the data",
        )
    if config.data.image_size is None and len(sizes) > 1:
        listed = ", ".join(f"{height}x{width}" for height, width in list(sizes)[:3])
        raise DataError(
            "images of one size, or data.image_size",
            got=f"{len(sizes)} sizes ({listed}{', ...' if len(sizes) > 3 else ''})",
            where=dataset.name,
            fix="set data.image_size=224 (or [height,width]) and, to keep proportions, data.resize_mode=letterbox",
        )


def _judgeable(dataset: Dataset, config: Config) -> None:
    from ringlight.training.rules import rule_problems

    lines = rule_problems(config.evaluation, dataset.classes, dataset.task)
    if lines:
        raise Problems(lines)


def _build(
    config: Config,
    given: Dataset,
    dataset: Dataset,
    split: Split,
    device: DeviceChoice,
    notes: tuple[str, ...],
    cache: Path,
) -> Plan:
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
    criterion = _criterion(config, dataset.take(split.train))
    augmenter = (
        Augmenter(config.augmentation, seed=config.experiment.seed) if any(config.augmentation.values()) else None
    )
    resolved = _resolve(config, given, device, built.weights.source != "random", criterion)
    return Plan(
        config=resolved,
        given=given,
        dataset=dataset,
        split=split,
        spec=replace(wished, mean=built.mean, std=built.std),
        module=built.module,
        weights=built.weights,
        criterion=criterion,
        augmenter=augmenter,
        device=device,
        notes=(*notes, built.weights.note),
        cache=cache,
    )


def _criterion(config: Config, train: Dataset) -> nn.Module:
    """Build the loss; class weights come from the training part alone."""
    from ringlight.losses import LOSSES

    loss: nn.Module = LOSSES.build(
        config.loss.name,
        num_classes=len(train.classes),
        task=train.task,
        class_counts=list(train.class_counts().values()),
        **config.loss.params(),
    )
    return loss


def _resolve(config: Config, dataset: Dataset, device: DeviceChoice, pretrained: bool, criterion: Any) -> Config:
    """Write every automatic choice into the configuration, so that it runs again as it ran."""
    from ringlight.losses import LOSSES
    from ringlight.training.rules import resolved_rules

    chosen = criterion.get_params()
    values: dict[str, object] = {
        "training.device": device.device,
        "training.precision": choose_precision(config.training.precision, device),
        "training.num_threads": config.training.num_threads or _current_threads(),
        "data.task": dataset.task,
        "data.num_workers": choose_num_workers(config.data.num_workers, device),
        "data.root": _absolute(config.data.root),
        "split.groups": _groups(config, dataset),
        "split.file": _absolute(config.split.file),
        "weights.folder": _absolute(config.weights.folder),
        **resolved_rules(config.evaluation, dataset.classes, dataset.task),
        "model.num_classes": len(dataset.classes),
        "model.pretrained": pretrained,
    }
    # A word (dynamic, balanced) is a choice left to the engine; numbers stay as the user wrote them. The seeds'
    # first_batch stays a word, too: what it finds depends on the first batch, not on the data set.
    asked = {part.name: part.default for part in LOSSES.parameters(config.loss.name)} | config.loss.params()
    words = {key for key, value in asked.items() if isinstance(value, str) and value != "first_batch"}
    values |= {f"loss.{key}": chosen[key] for key in words if isinstance(chosen.get(key), list)}
    return config.replacing(values)


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
