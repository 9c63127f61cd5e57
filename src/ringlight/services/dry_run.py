"""What a training would do, without doing it: the merged configuration, the data card, the automatic choices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ringlight.config.load import to_yaml
from ringlight.runtime import workspace_folder
from ringlight.services.runs import configure, plan
from ringlight.training.phase_plan import phase_plan
from ringlight.training.plan import Plan
from ringlight.training.results import data_card, model_card, split_card
from ringlight.types import Split


@dataclass(frozen=True, slots=True)
class DryRun:
    """The plan of a run that was not started."""

    config: dict[str, Any]
    config_yaml: str
    model: dict[str, Any]
    data: dict[str, Any]
    split: dict[str, Any]
    lines: tuple[str, ...]

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of the parts that hold records."""
        return tuple(self.split["parts"])

    def class_rows(self) -> list[tuple[Any, ...]]:
        """Return one row a class, its records in each part; the last row counts all records."""
        parts = self.split["parts"].values()
        rows = [(name, *(part["class_counts"][name] for part in parts)) for name in self.data["classes"]]
        return [*rows, ("records", *(part["num_records"] for part in parts))]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "config": self.config,
            "model": self.model,
            "dataset": self.data,
            "split": self.split,
            "notes": list(self.lines),
        }


def dry_run(
    recipe: str | None,
    overrides: Sequence[str] = (),
    *,
    file: Path | None = None,
    workspace: Path | str | None = None,
) -> DryRun:
    """Do everything that precedes a training, and write nothing.

    But for the cache: a synthetic source draws its images there, and duplicates found among many files are remembered.

    Raises:
        UserError: what would stop the training, too.
    """
    made = plan(configure(recipe, overrides, file=file), workspace)
    return DryRun(
        made.config.model_dump(mode="json"),
        to_yaml(made.config),
        model_card(made),
        data_card(made.given),
        split_card(made),
        tuple(_lines(made, workspace_folder(workspace))),
    )


def _lines(made: Plan, workspace: Path) -> list[str]:
    config = made.config
    parameters = sum(parameter.numel() for parameter in made.module.parameters())
    size = "" if hasattr(made.module, "fit_features") else f", {parameters / 1e6:.2f} M parameters"
    return [
        f"data: {made.dataset.name}, {len(made.dataset)} records, fingerprint {made.fingerprint[:12]}",
        f"split: {_split(made.split)}",
        f"model: {config.model.name}{size}; {made.weights.note}",
        f"device: {made.device.device} ({made.device.reason}), precision {config.training.precision}",
        f"would {_work(made)}",
        f"would write a folder in {workspace / 'runs'}",
        *(f"note: {note}" for note in made.notes if note != made.weights.note),
    ]


def _work(made: Plan) -> str:
    config = made.config
    if config.training.mode == "frozen":
        return f"fit the head {config.head.name} to frozen features of {len(made.split.train)} images"
    what = "images" if made.dataset.signals is None else "windows"
    if config.phases.order:
        each = ((name, phase_plan(made, name).config.training.num_epochs) for name in config.phases.order)
        told = ", ".join(f"{name} up to {epochs} epochs" for name, epochs in each)
        return f"train in phases on {len(made.split.train)} {what}: {told}"
    if hasattr(made.module, "fit_features"):
        return f"fit {config.model.name} to the features of {len(made.split.train)} {what}, without epochs"
    steps = -(-len(made.sampler) // int(config.data.batch_size))
    first = f"fit the head {config.head.name}, then " if config.training.mode == "head_then_finetune" else ""
    return (
        f"{first}train up to {config.training.num_epochs} epochs of {steps} step(s) of {config.data.batch_size} {what}"
    )


def _split(split: Split) -> str:
    """Say how the records are divided, what is kept whole, and whether a leak was looked for."""
    kept = f"; kept whole: {split.groups}" if split.groups else ""
    return f"{split.strategy}{kept}; leak check: {split.leak_check}"
