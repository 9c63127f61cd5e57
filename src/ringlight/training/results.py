"""`results.json`: everything about a run that a person or a program compares (docs/reference/results.md)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ringlight.config.schema import Config
from ringlight.evaluation.metrics import monitor_mode
from ringlight.runtime import Environment
from ringlight.types import Dataset, History

if TYPE_CHECKING:
    from ringlight.training.judge import Verdict
    from ringlight.training.leakage import LeakProbe
    from ringlight.training.plan import Plan

RESULTS_VERSION = 2

NAMED = 3
"""Groups that are told by name."""

SHAPING = (
    "model", "head", "loss", "sampler", "imbalance", "optimizer", "scheduler", "training", "augmentation", "mix",
    "data", "split", "evaluation",
)  # fmt: skip
"""The sections that shape what a run learns and how it is judged."""

OF_PHASES = ("phases", "supcon", "margin", "distill")
"""Those that shape a run in phases."""


def results(
    plan: Plan,
    run: str,
    history: History,
    verdict: Verdict,
    probe: LeakProbe | None,
    where: Environment,
    timings: dict[str, float],
    happened: Sequence[str] = (),
    phases: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Collect the results of a finished run as plain values.

    `timings` are in seconds, `happened` the notes of the training itself, `phases` what each phase of a run tells.
    """
    config, monitor = plan.config, plan.monitor
    best = kept_row(history, config, monitor)
    return {
        "schema_version": RESULTS_VERSION,
        "run": run,
        "recipe": config.recipe,
        "experiment": config.experiment.name,
        "model": model_card(plan),
        "hyper_parameters": hyper_parameters(config),
        "loss": {"name": config.loss.name, **plan.criterion.get_params()},  # type: ignore[operator]
        "dataset": data_card(plan.given),
        "split": split_card(plan, probe),
        "best": {"monitor": monitor, **({} if best is None else {"epoch": int(best["epoch"]), "metrics": best})},
        **verdict.sections(),
        "imbalance": imbalance_card(plan),
        "ensemble": None,
        "phases": [{key: value for key, value in phase.items() if key != "history"} for phase in phases],
        "history": history.rows,
        "timings": {name: round(seconds, 3) for name, seconds in timings.items()},
        "environment": where.to_dict(),
        "notes": [*plan.notes, *happened, *verdict.rules.notes],
    }


def kept_row(history: History, config: Config, monitor: str | None) -> dict[str, float] | None:
    """Return the row of the epoch whose weights count, None where no validation part says which is best.

    Of a run in phases it is a row of the last one, whose model is judged.
    """
    if monitor is None or not history.rows:
        return None
    if config.training.restore == "last":
        return history.rows[-1]
    return history.phases()[-1].best(f"val/{monitor}", monitor_mode(monitor))


def imbalance_card(plan: Plan) -> dict[str, Any]:
    """Tell what was done about rare classes, what an epoch showed of each class, and how `auto` was decided."""
    return {
        "method": plan.config.imbalance.method,
        "loss": plan.config.loss.name,
        "sampler": plan.config.sampler.name,
        "seen_per_epoch": dict(zip(plan.dataset.classes, plan.seen.class_counts, strict=True)),
        "auto": None if plan.choice is None else plan.choice.to_dict(),
    }


def model_card(plan: Plan) -> dict[str, Any]:
    """Describe architecture, parameter counts and where the first weights came from."""
    model = plan.config.model
    trained = sum(parameter.numel() for parameter in plan.module.parameters() if parameter.requires_grad)
    adapters = getattr(plan.module, "adapters", None)  # they are merged by now
    return {
        "name": model.name,
        "params": model.params(),
        "lora": None if model.lora is None else model.lora.model_dump(mode="json"),
        "in_chans": model.in_chans,
        "input": plan.spec.to_dict(),
        "num_parameters": sum(parameter.numel() for parameter in plan.module.parameters()),
        "num_trainable": trained if adapters is None else adapters.num_trained,
        "weights": {"source": plan.weights.source, "note": plan.weights.note, "sha256": plan.weights.sha256},
    }


def data_card(data: Dataset) -> dict[str, Any]:
    """Describe a data set: identity, task, classes and their counts."""
    return {
        "name": data.name,
        "fingerprint": data.fingerprint,
        "task": data.task,
        "classes": list(data.classes),
        "num_records": len(data),
        "class_counts": data.class_counts(),
    }


def split_card(plan: Plan, probe: LeakProbe | None = None) -> dict[str, Any]:
    """Describe the parts by records, groups and classes."""
    parts = {}
    for name, rows in plan.split.parts().items():
        if len(rows):
            parts[name] = part_card(plan.dataset.take(rows))
    split = plan.split
    return {
        "strategy": split.strategy,
        "seed": plan.config.experiment.seed,
        "groups": split.groups,
        "leak_check": split.leak_check,
        "leaky": split.leaky,
        "leaks": list(split.leaks),
        "num_left_out": len(split.left_out),
        "probe": None if probe is None else probe.to_dict(),
        "parts": parts,
    }


def part_card(data: Dataset) -> dict[str, Any]:
    """Describe the records of a part by number, groups and classes."""
    groups = data.groups
    return {
        "num_records": len(data),
        "num_groups": None if groups is None else len(set(groups)),
        "class_counts": data.class_counts(),
    }


def group_names(data: Dataset) -> list[str] | None:
    """Return the names of the groups a fold tests on, None where there are none, or more than :data:`NAMED`."""
    names = sorted(set(data.groups or ()))
    return names if 0 < len(names) <= NAMED else None


def hyper_parameters(config: Config) -> dict[str, Any]:
    """Return the settings that shape training, flat: `optimizer.lr`, `data.batch_size`, ..."""
    tree = config.model_dump(mode="json")
    flat: dict[str, Any] = {"seed": config.experiment.seed}
    for section in (*SHAPING, *(OF_PHASES if config.phases.order else ())):
        flat |= {f"{section}.{key}": value for key, value in tree[section].items()}
    return flat
