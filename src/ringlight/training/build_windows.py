"""The parts of a run on windows of a signal, with its automatic choices written into the configuration.

Windows lie in memory-mapped files, small and of one size: what images need (decoding, caches, layouts, a choice of
number formats) has one answer here.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ringlight.config.schema import Config
from ringlight.data.augment_config import has_augmentation
from ringlight.data.checks import Inspection
from ringlight.data.signal_augment import SignalAugmenter
from ringlight.data.window_spec import Normalize, WindowSpec
from ringlight.errors import ConfigError, Problems
from ringlight.records import Signals
from ringlight.runtime import DeviceChoice, choose_precision, seed_everything
from ringlight.training.build import FROZEN_BATCH, TORCH_PREFETCH, Built, prepare_head, resolve
from ringlight.training.drawing import criterion_of, sampler_of, seen_by, shown
from ringlight.training.ensemble_plan import asks_for_ensemble, ensemble_model, ensemble_problems, written_out
from ringlight.training.frozen_features import FeatureTable
from ringlight.training.imbalance import METHODS, plain, with_method
from ringlight.training.imbalance_choice import Choice, candidates, choose_method
from ringlight.training.mixes import mix_keys
from ringlight.training.window_table import plain_window_vectors
from ringlight.types import Dataset

if TYPE_CHECKING:
    from torch import nn

    from ringlight.models import BuiltModel

LARGEST_BATCH = 64
"""Windows per step that `auto` takes of a large data set."""
STEPS_PER_EPOCH = 16
"""Steps an epoch of `auto` has at least: fewer updates learn a small data set too slowly."""


def build_window_parts(
    config: Config, inspection: Inspection, dataset: Dataset, train: Dataset, device: DeviceChoice, cache: Path,
    make_module: Callable[[], nn.Module] | None = None,
) -> Built:  # fmt: skip
    """Build the parts of a run on windows; the arguments are those of `build_parts`.

    `make_module` builds a model that the caller brings, windows (B, C, T) to scores (B, K); None builds the configured
    one.

    Raises:
        ConfigError: a choice that windows do not have, or that the model does not.
        Problems: a sampler or an augmentation that does not fit the records, a line each.
    """
    from ringlight.losses import LOSSES

    signals = dataset.signals
    if signals is None:
        raise ConfigError("windows", got="images", where="data.source", fix="use build_parts")
    is_ensemble = make_module is None and asks_for_ensemble(config)
    lines = window_problems(config) + (ensemble_problems(config) if is_ensemble else [])
    if lines:
        raise Problems(lines)
    if is_ensemble:
        config = written_out(config, cache)
    seed_everything(config.experiment.seed)
    built = _network(config, dataset, signals) if make_module is None else _given(make_module(), signals)
    estimator = hasattr(built.module, "fit_features")
    spec = WindowSpec.fit(train, normalize=_normalize(config, estimator or is_ensemble))
    config, choice = _method(config, train, dataset, estimator, cache)
    config = config.replacing({"data.batch_size": _batch_size(config, len(train), estimator)})
    augmenter, notes = _augmenter(config, train, estimator)
    sampler = sampler_of(config, train, augmenter)
    seen = seen_by(sampler, train)
    if estimator and train.task not in getattr(LOSSES.factory(config.loss.name), "tasks", (train.task,)):
        config = plain(config, train.task)  # it is only told: nothing is trained by it
    if not (estimator or is_ensemble):
        prepare_head(config, built.module)
    criterion = criterion_of(config, train.task, seen)
    found = {**_data_path(config, device, signals, spec), "model.pretrained": False}
    return Built(
        config=resolve(config, inspection.dataset, device, criterion, found), spec=spec, module=built.module,
        weights=built.weights, criterion=criterion, augmenter=augmenter, sampler=sampler, seen=seen, choice=choice,
        notes=(*(() if choice is None else (choice.sentence,)), *notes),
    )  # fmt: skip


def _network(config: Config, dataset: Dataset, signals: Signals) -> BuiltModel:
    from ringlight.models import build_sequence_model

    if asks_for_ensemble(config):
        return ensemble_model(config, dataset)
    return build_sequence_model(
        config.model.name, num_classes=len(dataset.classes), in_chans=len(signals.channels), length=signals.length,
        drop_rate=config.model.drop_rate, task=dataset.task, seed=config.experiment.seed, params=config.model.params(),
    )  # fmt: skip


def _given(module: nn.Module, signals: Signals) -> BuiltModel:
    from ringlight.models import BuiltModel, WeightsChoice

    channels = len(signals.channels)
    weights = WeightsChoice(source="random", note="weights as the module was given")
    return BuiltModel(module, weights, mean=(0.0,) * channels, std=(1.0,) * channels)


def window_problems(config: Config) -> list[str]:
    """Return what a configuration asks for that windows do not have, one line each."""
    asked = {
        "training.mode": (config.training.mode, "finetune", "model.name=logistic_regression fits features of windows"),
        "data.image_size": (config.data.image_size, None, "the length of windows is the source's"),
        "data.augment_on": (config.data.augment_on, ("auto", "cpu"), "leave it out"),
        "data.keep_on_device": (config.data.keep_on_device, ("auto", False), "leave it out"),
        "data.cache": (config.data.cache, ("auto", "off"), "windows are mapped into memory as they are"),
        "training.memory_format": (config.training.memory_format, ("auto", "contiguous"), "leave it out"),
        "evaluation.tta_runs": (config.evaluation.tta_runs, 1, "a window has one view"),
        "model.pretrained": (config.model.pretrained, ("auto", False), "networks for windows start from nothing"),
        "model.lora": (config.model.lora, None, "adapters keep trained weights, which windows do not have"),
    }
    lines = []
    for key, (value, allowed, fix) in asked.items():
        options = allowed if isinstance(allowed, tuple) else (allowed,)
        if value not in options:
            told = " or ".join("null" if one is None else str(one).lower() for one in options)
            lines.append(f"{key}: expected {told} for windows, got {value}; {fix}")
    if config.imbalance.method == "crt":
        lines.append("imbalance.method: expected a method for windows, got crt; choose class_weights, post_hoc or auto")
    return lines


def _normalize(config: Config, estimator: bool) -> Normalize:
    if config.data.normalize != "auto":
        return config.data.normalize
    return "none" if estimator else "channel"


def _batch_size(config: Config, num_records: int, estimator: bool) -> int:
    if config.data.batch_size != "auto":
        return int(config.data.batch_size)
    if estimator:
        return FROZEN_BATCH
    largest = max(1, min(LARGEST_BATCH, num_records // STEPS_PER_EPOCH))
    return 1 << (largest.bit_length() - 1)


def _augmenter(config: Config, train: Dataset, estimator: bool) -> tuple[SignalAugmenter | None, tuple[str, ...]]:
    notes = tuple(
        f"{key}: {config.model.name} is fitted without steps: nothing is mixed" for key in mix_keys(config) if estimator
    )
    if not has_augmentation(config.augmentation):
        return None, notes
    augmenter = SignalAugmenter(config.augmentation, seed=config.experiment.seed, class_names=train.classes)
    if estimator:
        note = f"augmentation: {config.model.name} is fitted to the windows as they are; only per_class_factor counts"
        return augmenter, (*notes, note)
    return augmenter, notes


def _method(
    config: Config, train: Dataset, dataset: Dataset, estimator: bool, cache: Path
) -> tuple[Config, Choice | None]:
    """Put the method against imbalance in the place of loss and sampler; `auto` chooses it first."""
    method = config.imbalance.method
    if estimator and method != "none" and METHODS.get(method, METHODS["none"]).sampler is None:
        samplers = ", ".join(name for name, known in METHODS.items() if known.sampler is not None)
        raise ConfigError(
            "a method that draws records, which is what a classical model hears of", got=method,
            where="imbalance.method", fix=f"set model.class_weight=balanced, or choose from: {samplers}",
        )  # fmt: skip
    if method == "none":
        return config, None
    if method != "auto":
        return with_method(config, method, train.task), None
    config = plain(config, train.task)
    candidates(config, train.task)  # refused before the features are computed
    probe = config.replacing({"data.batch_size": _batch_size(config, len(train), estimator)})
    sampler = sampler_of(probe, train, None)
    table = FeatureTable(plain_window_vectors(dataset, cache=cache), {key: row for row, key in enumerate(dataset.ids)})
    choice = choose_method(
        probe, train, table.of(train), seen=seen_by(sampler, train), weights=shown(sampler, train, probe)
    )
    config = with_method(config, choice.method, train.task, choice.tau)
    seed_everything(config.experiment.seed)
    return config, choice


def _data_path(config: Config, device: DeviceChoice, signals: Signals, spec: WindowSpec) -> dict[str, object]:
    wish = config.training.precision
    return {
        "data.normalize": spec.normalize,
        "data.cache": "off",
        "data.augment_on": "cpu",
        "data.keep_on_device": False,
        "data.num_workers": 0 if config.data.num_workers == "auto" else config.data.num_workers,
        "data.prefetch_factor": TORCH_PREFETCH
        if config.data.prefetch_factor == "auto"
        else config.data.prefetch_factor,
        "model.in_chans": len(signals.channels),
        "training.precision": choose_precision(wish, device),
        "training.memory_format": "contiguous",
        "training.compile": config.training.compile is True,
    }
