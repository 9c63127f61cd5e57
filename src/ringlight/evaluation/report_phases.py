"""The section on phases: what each of them trained, for how long, and how good it was on the validation part."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ringlight.evaluation.report_blocks import Estimate, Section, Sentence, Table, Value, spoken

TITLES = {"supcon": "supcon (contrastive)", "margin": "margin (fine-tuning)", "distill": "distill (student)"}


def phases_section(results: Mapping[str, Any]) -> Section | None:
    """Return a row for each phase of the run; None where it had none."""
    phases = results.get("phases") or []
    if not phases:
        return None
    monitor = next((phase["monitor"] for phase in phases if phase.get("monitor")), None)
    rows = tuple(_row(phase, monitor) for phase in phases)
    score = "validation score" if monitor is None else f"validation {spoken(monitor)}"
    text = "Each phase began with what the one before it left; the model judged here is the last one's."
    note = (
        "Of the epoch whose weights were kept. A contrastive phase has no classifier: there the nearest training "
        "records vote."
    )
    table = Table(
        "Phases", ("phase", "model", "parameters", "epochs", "seconds", score), rows, note=note, sortable=False
    )
    return Section("phases", "Phases", (Sentence(text), table))


def _row(phase: Mapping[str, Any], monitor: str | None) -> tuple[Value, ...]:
    best = phase.get("best") or {}
    value = best.get(f"val/{monitor}")
    name = TITLES.get(phase["name"], phase["name"])
    size = f"{phase['num_parameters']:,}"
    return name, phase["model"], size, phase["num_epochs"], f"{phase['seconds']:.1f}", Estimate(value)
