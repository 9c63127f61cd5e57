"""The plan of an ensemble: members written out and trained runs opened before training; the plan of each member.

A member is planned as if it were the run's model, on the records it may learn from; so early stopping, augmentation,
features that are kept and every automatic choice are those of an ordinary run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from torch import nn

from ringlight.config.load import group_values
from ringlight.config.schema import Config
from ringlight.data.findings import Inspection
from ringlight.data.folds import make_folds
from ringlight.data.window_spec import WindowSpec
from ringlight.data.window_store import require_signals
from ringlight.errors import Problems, RunError
from ringlight.inference.bundle import read_bundle
from ringlight.models import MODELS, BuiltModel, WeightsChoice, build_sequence_model, is_ensemble, is_estimator
from ringlight.models.ensemble import EnsembleModel
from ringlight.models.ensemble_members import DEFAULT_MEMBERS, MemberSpec, parse_members
from ringlight.training.imbalance import METHODS
from ringlight.training.other_runs import check_unseen
from ringlight.types import Dataset, Split

if TYPE_CHECKING:
    from ringlight.training.plan import Plan


def asks_for_ensemble(config: Config) -> bool:
    """Return whether the configured model is an ensemble."""
    name = config.model.name
    return name in MODELS.parts and is_ensemble(MODELS.parts[name])


def ensemble_problems(config: Config) -> list[str]:
    """Return what a configuration asks for that an ensemble does not have, one line each."""
    lines, way, method = [], config.data.normalize, config.imbalance.method
    if way not in ("auto", "none"):
        lines.append(
            f"data.normalize: expected auto for an ensemble, whose members normalise their own input, got {way}; "
            f"say it of a member: {{name: cnn1d, normalize: {way}}}"
        )
    if method != "none" and (method not in METHODS or METHODS[method].sampler is None):
        drawing = ", ".join(name for name, known in METHODS.items() if known.sampler is not None)
        lines.append(
            "imbalance.method: expected none, or for an ensemble a method that draws records, which every member "
            f"hears of, got {method}; choose from: {drawing}"
        )
    return lines


def written_out(config: Config, cache: Path) -> Config:
    """Return the configuration with its members' settings and the paths of its runs written out.

    A name stands for the shipped settings of that model, as `model=NAME` does; what is given beside it replaces them.
    A run that is no path is looked for beside the cache, among the runs of the workspace, by the beginning of its name.

    Raises:
        Problems: members that cannot be built, a line each.
    """
    specs, lines = parse_members(_filled(config.model.params().get("members", DEFAULT_MEMBERS)))
    if lines:
        raise Problems(lines)
    located = [spec if spec.run is None else replace(spec, run=str(_located(spec.run, cache))) for spec in specs]
    return config.replacing({"model.members": [spec.to_dict() for spec in located]})


def _filled(members: Any) -> Any:
    """Return the members with the shipped settings of their models filled in, where they can be read."""
    if not isinstance(members, list | tuple):
        return members
    found: list[Any] = []
    for member in members:
        given = {"name": member} if isinstance(member, str) else member
        name = given.get("name") if isinstance(given, Mapping) else None
        shipped = group_values("model", name) if isinstance(name, str) and name in MODELS.parts else None
        found.append({**shipped, **given} if isinstance(shipped, Mapping) else given)
    return found


def _located(run: str, cache: Path) -> Path:
    path = Path(run).expanduser()
    if path.exists():
        return path.absolute()
    runs = [folder for folder in sorted((cache.parent / "runs").glob("*")) if folder.name.startswith(run)]
    exact = [folder for folder in runs if folder.name == run]
    if len(runs) == 1 or exact:
        return (exact or runs)[0].absolute()
    raise RunError(
        "a run folder, or the beginning of the name of one run", got=f"`{run}`, which names {len(runs)}",
        where="model.members", fix="give the folder of a finished run",
    )  # fmt: skip


def specs_of(config: Config) -> list[MemberSpec]:
    """Return the members of a configuration that was written out."""
    return parse_members(config.model.params()["members"])[0]


def ensemble_model(config: Config, dataset: Dataset) -> BuiltModel:
    """Build an ensemble whose members are not trained yet, but for those that are the models of runs.

    Args:
        config: written out.
        dataset: what the ensemble is for.

    Raises:
        BundleError: a run without a model, or a damaged one.
        RunError, DataError: a run for other classes, channels or records.
    """
    signals = require_signals(dataset)
    given, opened = specs_of(config), {}
    for place, spec in enumerate(given):
        if spec.run is not None:
            opened[place] = _opened(f"model.members[{place}]: {spec.run}", Path(spec.run), dataset)
    members = [(opened[place][0] if place in opened else spec).to_dict() for place, spec in enumerate(given)]
    built = build_sequence_model(
        config.model.name, num_classes=len(dataset.classes), in_chans=len(signals.channels), length=signals.length,
        task=dataset.task, seed=config.experiment.seed, params={**config.model.params(), "members": members},
    )  # fmt: skip
    for place, (_, taught, module) in opened.items():
        fill_member(built.module, place, module, taught)
    note = f"an ensemble of {', '.join(member_names(given))}"
    return replace(built, weights=WeightsChoice(source="random", note=note))


def fill_member(ensemble: nn.Module, place: int, module: nn.Module, spec: WindowSpec) -> None:
    """Put a trained model, and the normalisation it was trained with, in the place of a member."""
    member = cast("EnsembleModel", ensemble).parts[place]
    member.model.load_state_dict(module.state_dict())
    member.normaliser.set_statistics(spec.mean, spec.std)


def member_names(specs: list[MemberSpec]) -> list[str]:
    """Return a name for each member: its model's, or its run's; one that comes again is numbered.

    Examples:
        >>> member_names([MemberSpec(name="svm"), MemberSpec(name="svm"), MemberSpec(run="/runs/har-1")])
        ['svm', 'svm (2)', 'har-1']
    """
    names: list[str] = []
    for spec in specs:
        plain = spec.name if spec.run is None else Path(spec.run).name
        number = sum(name.partition(" (")[0] == plain for name in names)
        names.append(f"{plain} ({number + 1})" if number else plain)
    return names


def _opened(where: str, run: Path, dataset: Dataset) -> tuple[MemberSpec, WindowSpec, nn.Module]:
    """Read the model of a run that can be a member on these records."""
    bundle, module = read_bundle(run)
    name, spec = str(bundle.architecture["name"]), bundle.input_spec
    if not isinstance(spec, WindowSpec):
        raise RunError("a run on windows", got="one on images", where=where, fix="name a run on these channels")
    if isinstance(module, EnsembleModel) or bundle.architecture.get("head"):
        raise RunError("the run of a single model", got=f"`{name}`", where=where, fix="name the runs of its members")
    if name not in MODELS:
        raise RunError("a run of a model of the catalogue", got=f"`{name}`", where=where, fix="leave it out")
    spec.require(dataset.signals, where)
    if (bundle.task, bundle.classes) != (dataset.task, dataset.classes):
        raise RunError(
            f"the classes of the data ({dataset.task}: {', '.join(dataset.classes)})",
            got=f"{bundle.task}: {', '.join(bundle.classes)}", where=where, fix="name runs on the same classes",
        )  # fmt: skip
    drop = 0.0 if is_estimator(MODELS.factory(name)) else float(bundle.architecture["drop_rate"])
    member = MemberSpec(name=name, params=bundle.architecture["params"], drop_rate=drop, normalize=spec.normalize)
    return member, spec, module


def check_runs(plan: Plan) -> list[str]:
    """Refuse runs that were trained on what fits the weights, or have seen what judges; return what cannot be known.

    Raises:
        RunError: they were, or there is no validation part to fit the weights on.
    """
    notes = []
    for place, spec in enumerate(specs_of(plan.config)):
        if spec.run is None:
            continue
        where = f"model.members[{place}]: {spec.run}"
        if not len(plan.split.val):
            raise RunError(
                "a validation part, which fits the weights of trained runs", got="none", where=where,
                fix="choose a split with one (split=stratified_70_15_15)",
            )  # fmt: skip
        if not check_unseen(plan, Path(spec.run), where, who="no member"):
            notes.append(f"ensemble: what {spec.run} was trained on is not known; its scores may be too good")
    return notes


def fold_splits(plan: Plan, split: Split, num_folds: int) -> list[Split]:
    """Divide the training part of a split into folds, groups whole; `test` of each is what it leaves out.

    Raises:
        SplitError: fewer groups than folds.
    """
    train = plan.dataset.take(split.train)
    folds = make_folds(train, num_folds=num_folds, kind="group", seed=plan.config.experiment.seed)
    return [Split(split.train[rest], split.val, split.train[held], strategy="folds") for rest, held in folds]


def member_plan(plan: Plan, spec: MemberSpec, split: Split) -> Plan:
    """Return the plan of one member alone, on a split of the ensemble's records."""
    from ringlight.training.plan import Prepared, plan_on

    tree = plan.config.model_dump()
    tree["model"] = {
        "name": spec.name, "num_classes": plan.config.model.num_classes, "in_chans": plan.config.model.in_chans,
        "drop_rate": spec.drop_rate, "pretrained": False, **spec.params,
    }  # fmt: skip
    tree["data"]["normalize"] = spec.normalize
    prepared = Prepared(
        config=Config.model_validate(tree), inspection=Inspection((), plan.given, {}), device=plan.device, notes=(),
        cache=plan.cache,
    )  # fmt: skip
    return plan_on(prepared, plan.dataset, split)
