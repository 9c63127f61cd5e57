"""What a finished run adds to its bundle: scores with their intervals, the licence of its weights, the data it saw."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ringlight.inference.bundle import Bundle
from ringlight.types import Dataset

if TYPE_CHECKING:
    from ringlight.training.judge import Verdict
    from ringlight.training.plan import Plan

SNAPSHOT_DIGITS = 16
"""Digits of the fingerprint that a snapshot's file is called by in the workspace."""


def finished(bundle: Bundle, plan: Plan, verdict: Verdict) -> Bundle:
    """Return the bundle of a run that was judged, everything in it that is known by then."""
    return replace(
        bundle,
        metrics=judged_metrics(verdict),
        licence=_licence(plan),
        snapshot=snapshot_name(plan.given),
    )


def judged_metrics(verdict: Verdict) -> dict[str, Any]:
    """Return the scores of the judged part as `results.json` holds them, intervals and operating point included.

    `part` says which part it is, `num_records` how many records it has.
    """
    test: Mapping[str, Any] = verdict.assessment.test
    return {"part": verdict.part, "num_records": len(verdict.data), **test}


def snapshot_name(data: Dataset) -> str:
    """Return what an immutable data set is called: its name, and the beginning of its fingerprint.

    Examples:
        >>> from ringlight.types import Record
        >>> snapshot_name(Dataset.from_records([Record(id="a")], ["x"], "multilabel", name="strips"))
        'strips@f113f3cd75428541'
    """
    return f"{data.name}@{data.fingerprint[:SNAPSHOT_DIGITS]}"


def _licence(plan: Plan) -> str | None:
    from ringlight.models import MODELS
    from ringlight.models.licences import licence_of

    part: object = MODELS.parts.get(plan.config.model.name)
    architecture = getattr(part, "architecture", None) if part is not None else plan.config.model.name
    return licence_of(plan.weights, architecture)
