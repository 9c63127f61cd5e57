"""From a configuration to checked parts: everything that can be refused is refused here, before a run is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ringlight.config.schema import Config
from ringlight.data import SOURCES
from ringlight.data.augment import augmentation_problems
from ringlight.data.augment_base import SectionAugmenter
from ringlight.data.augmentations_base import Kind
from ringlight.data.checks import Inspection
from ringlight.data.sampling import SAMPLERS, EpochSampler
from ringlight.errors import ConfigError, DataError, Problems
from ringlight.evaluation.open_set import SCORES
from ringlight.runtime import DeviceChoice, choose_device, choose_precision, determinism
from ringlight.training.build import Built, augmentation_of, build_parts
from ringlight.training.drawing import Seen
from ringlight.training.embedding import check_embeds, embedding_problems
from ringlight.training.heads import HEADS, head_problems
from ringlight.training.imbalance import METHODS
from ringlight.training.imbalance_choice import Choice
from ringlight.training.mixes import mix_problems
from ringlight.training.monitors import check_monitors
from ringlight.training.open_set import hold_out, open_set_problems, require_validation
from ringlight.training.phase_config import phase_problems, task_problems
from ringlight.training.records import check_dataset, data_notes, load_dataset
from ringlight.training.splitting import split_as_configured
from ringlight.training.tracking import require_trackers
from ringlight.types import Dataset, Split

if TYPE_CHECKING:
    from torch import nn

    from ringlight.data.specs import Spec
    from ringlight.models import WeightsChoice


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The parts of a run, built and checked; `config` has every automatic choice written out.

    `given` is the data as its source gave it, `dataset` the same records with the groups filled in that were found for
    the split. What was found is no part of the data's identity: one data set has one fingerprint however it is divided.
    `sampler` draws the training records, `seen` is what its first epoch shows, which the loss was told. `choice` is how
    `imbalance.method=auto` was decided. `cache` is the folder where pictures, features and found duplicates are kept.
    `unknown` are the records of `split.held_out_class`, which are no part of the data.
    """

    config: Config
    given: Dataset
    dataset: Dataset
    split: Split
    spec: Spec
    module: nn.Module
    weights: WeightsChoice
    criterion: nn.Module
    augmenter: SectionAugmenter | None
    sampler: EpochSampler
    seen: Seen
    device: DeviceChoice
    notes: tuple[str, ...]
    cache: Path
    choice: Choice | None = None
    unknown: Dataset | None = None

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
    from ringlight.models.margins import MARGINS
    from ringlight.optim import OPTIMIZERS, SCHEDULERS

    lines: list[str] = []
    for catalogue in (MODELS, HEADS, LOSSES, SAMPLERS, OPTIMIZERS, SCHEDULERS, MARGINS, SOURCES):
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
    return lines + mix_problems(tree.get("mix"), augmentation) + _member_problems(tree.get("model"))


def _member_problems(model: object) -> list[str]:
    """Check the members of an ensemble, one line a mistake; none of any other model."""
    from ringlight.models import MODELS, is_ensemble
    from ringlight.models.ensemble_members import parse_members

    if not isinstance(model, Mapping) or "members" not in model or model.get("name") not in MODELS.parts:
        return []
    return parse_members(model["members"])[1] if is_ensemble(MODELS.parts[model["name"]]) else []


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What does not depend on the split: the checked data, the device; `config` is not resolved yet.

    `make_module` builds the model where the caller brings one of his own, None where the configuration names it.
    """

    config: Config
    inspection: Inspection
    device: DeviceChoice
    notes: tuple[str, ...]
    cache: Path
    make_module: Callable[[], nn.Module] | None = None
    unknown: Dataset | None = None


def make_plan(config: Config, cache: Path) -> Plan:
    """Build every part of a run.

    `cache` is the folder where a synthetic source may write its images, and where found duplicates are remembered.

    Raises:
        ConfigError: a choice that cannot be met (device, weights, monitor).
        Problems: files or labels that cannot be used, a line each.
        DataError: data that cannot be trained on.
        ModelError: a model without one linear classifier, where that is fitted by itself.
        SplitError: the records cannot be split as asked.
    """
    prepared = prepare(config, cache)
    dataset, split = split_as_configured(prepared.config, prepared.inspection.dataset, cache)
    return plan_on(prepared, dataset, split)


def prepare(
    config: Config,
    cache: Path,
    *,
    dataset: Dataset | None = None,
    make_module: Callable[[], nn.Module] | None = None,
) -> Prepared:
    """Read and check the configured data, once for any number of splits (folds, trials).

    Args:
        config: the run's.
        cache: the folder where pictures, windows and features are kept.
        dataset: what to train on in the place of the configured source (:mod:`ringlight.training.arrays`).
        make_module: builds the model in the place of the configured one; called once for each plan.

    Raises:
        ConfigError: a choice that cannot be met.
        MissingExtraError: a tracker that is not installed.
        Problems: files or labels that cannot be used, a line each.
        DataError: data that cannot be trained on.
    """
    device = choose_device(config.training.device)
    choose_precision(config.training.precision, device)
    _try_optimization(config)
    require_trackers(config)
    fits_a_head = config.training.mode != "finetune" or config.imbalance.method == "crt"
    lines = head_problems(config) if fits_a_head else []
    lines += phase_problems(config, part_problems)
    if lines:
        raise Problems(lines)
    inspection = load_dataset(config, cache) if dataset is None else check_dataset(dataset)
    notes = data_notes(inspection)
    known, unknown = hold_out(inspection.dataset, config.split.held_out_class)
    inspection = replace(inspection, dataset=known)
    config = augmentation_of(config, inspection.dataset.signals)
    _trainable(inspection, config)
    _mixable(inspection.dataset, config)
    if make_module is None:
        _suits(inspection.dataset, config)
    _judgeable(inspection.dataset, config)
    return Prepared(
        config=config, inspection=inspection, device=device, notes=notes, cache=cache, make_module=make_module,
        unknown=unknown,
    )  # fmt: skip


def plan_on(prepared: Prepared, dataset: Dataset, split: Split) -> Plan:
    """Build every part of a run on a given split of prepared data; `dataset` has its groups filled in.

    Raises:
        ConfigError: a choice that cannot be met.
        ModelError: a model without one linear classifier, where that is fitted by itself.
    """
    config, inspection, device, cache = prepared.config, prepared.inspection, prepared.device, prepared.cache
    notes = (*prepared.notes, *split.warnings)
    require_validation(config, len(split.val))
    check_monitors(config, dataset.classes, dataset.task, validates=bool(len(split.val)))
    if not len(split.val) and config.training.early_stopping_patience is not None:
        notes += ("no validation part: early stopping is off and the last weights are judged",)
    with determinism(num_threads=config.training.num_threads, device=device):
        train = dataset.take(split.train)
        if dataset.signals is None:
            built = build_parts(config, inspection, dataset, train, device, cache)
        else:
            from ringlight.training.build_windows import build_window_parts

            built = build_window_parts(config, inspection, dataset, train, device, cache, prepared.make_module)
    _fitted_later(built)
    plan = Plan(
        config=built.config, given=inspection.dataset, dataset=dataset, split=split, spec=built.spec,
        module=built.module, weights=built.weights, criterion=built.criterion, augmenter=built.augmenter,
        sampler=built.sampler, seen=built.seen, device=device, notes=(*notes, *built.notes), cache=cache,
        choice=built.choice, unknown=prepared.unknown,
    )  # fmt: skip
    if hasattr(built.module, "is_ensemble"):
        from ringlight.training.ensemble_plan import check_runs

        check_runs(plan)  # what it notes is told when it is fitted
    return plan


def _fitted_later(built: Built) -> None:
    """Refuse a model without one linear classifier where that is fitted or shifted, perhaps after hours of training."""
    from ringlight.models.heads import classifier_of

    if built.config.evaluation.embedding:
        check_embeds(built.module, "evaluation.embedding")
    if "distance" in SCORES[built.config.evaluation.open_set]:
        check_embeds(built.module, "evaluation.open_set")
    if built.config.training.mode != "finetune" or METHODS[built.config.imbalance.method].after is not None:
        classifier_of(built.module)


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
    if not dataset.classes:
        raise DataError(
            "labels to learn", got="none", where=dataset.name,
            fix="name the array that holds them (data.label_key), or use it with ringlight data and predict only",
        )  # fmt: skip
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


def _suits(dataset: Dataset, config: Config) -> None:
    """Refuse a model or an augmentation that is meant for the other kind of records."""
    from ringlight.models import MODELS, is_estimator, takes_of
    from ringlight.training.ensemble_plan import asks_for_ensemble

    kind: Kind = "images" if dataset.signals is None else "windows"
    takes = takes_of(MODELS.factory(config.model.name))
    lines = augmentation_problems(config.augmentation, kind=kind) + task_problems(config, dataset.task)
    if config.phases.order and (is_estimator(MODELS.factory(config.model.name)) or asks_for_ensemble(config)):
        lines.append(
            f"phases: expected a network, which has an embedding to train, got {config.model.name}; choose another "
            "model, or leave the phases out"
        )
    if takes != kind:
        known = [name for name, part in MODELS.parts.items() if takes_of(part) == kind]
        lines.insert(
            0,
            f"model.name: expected a model of {kind}, got {config.model.name}, one of {takes}; choose from: "
            f"{', '.join(known)}{', or any timm classifier' if kind == 'images' else ''}",
        )
    if lines:
        raise Problems(lines)


def _mixable(dataset: Dataset, config: Config) -> None:
    kind: Kind = "images" if dataset.signals is None else "windows"
    lines = mix_problems({"name": config.mix.name, **config.mix.params()}, config.augmentation, kind=kind)
    if lines:
        raise Problems(lines)


def _judgeable(dataset: Dataset, config: Config) -> None:
    from ringlight.training.rules import rule_problems

    lines = rule_problems(config.evaluation, dataset.classes, dataset.task)
    lines += [*embedding_problems(config.evaluation, dataset), *open_set_problems(config, dataset)]
    if lines:
        raise Problems(lines)
