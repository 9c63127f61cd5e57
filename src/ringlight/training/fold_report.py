"""The results and pages of a cross-validation: those of a run, judged on its out-of-fold prediction, and its folds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ringlight.data.folds_methods import Division
from ringlight.evaluation.metrics import METRIC_NAMES
from ringlight.evaluation.probabilities import reliability
from ringlight.files import write_json
from ringlight.runtime import Environment
from ringlight.training.fold_files import FoldResult
from ringlight.training.fold_results import OUT_OF_FOLD, SINGLE, CrossValidation, out_of_fold, summaries_of
from ringlight.training.judge import HEADLINE, Verdict, probe_of, verdict_of, write_predictions
from ringlight.training.pages import write_pages, write_sheet
from ringlight.training.plan import Plan
from ringlight.training.results import part_card, results
from ringlight.training.rules import NO_VALIDATION, Rules, good_class, truth_of
from ringlight.training.trackers import hand_over
from ringlight.types import History, Tracker

POINTS = (
    "operating points are fixed in each fold and decide its scores; the out-of-fold prediction is decided by the "
    "default rule"
)


def judged(plan: Plan, division: Division, found: Sequence[FoldResult]) -> Verdict:
    """Judge the out-of-fold prediction by the default rule; its scores were calibrated fold by fold."""
    settings, data = plan.config.evaluation, plan.dataset
    tested, prediction = out_of_fold(division, found)
    rules = Rules(
        task=data.task, classes=data.classes, good_class=good_class(settings, data.classes, data.task),
        notes=(POINTS,) if settings.operating_points and settings.operating_point != "default" else (),
    )  # fmt: skip
    return verdict_of(
        OUT_OF_FOLD, tested, prediction, rules, settings, seed=plan.config.experiment.seed,
        in_chans=plan.spec.in_chans,
    )  # fmt: skip


def summarized(plan: Plan, division: Division, found: Sequence[FoldResult], verdict: Verdict) -> CrossValidation:
    """Summarise the folds; the headline is the monitored score, or macro-F1 where that is the loss."""
    cards = [result.card for result in found]
    scalars = verdict.metrics.scalars
    names = [name for name in METRIC_NAMES if any(name in card["scores"] for card in cards)]
    monitor = plan.config.training.monitor
    metric = monitor if monitor in names else HEADLINE
    summaries = summaries_of(cards, names, scalars, confidence=plan.config.evaluation.confidence)
    single = all(card["test"]["num_records"] == 1 for card in cards)
    return CrossValidation(
        metric=metric, confidence=plan.config.evaluation.confidence, method=division.method,
        num_folds=division.num_folds, repeats=division.repeats, folds=tuple(cards), summaries=summaries,
        out_of_fold=scalars.get(metric), prediction=verdict.prediction,
        notes=(*division.notes, *((SINGLE,) if single else ()), *_notes(plan, cards)),
    )  # fmt: skip


def _notes(plan: Plan, cards: Sequence[Any]) -> list[str]:
    """Collect what the folds said, each line once, with the number of folds it was said in."""
    if plan.config.cv.val_share == 0:
        return [f"no early stopping, calibration or threshold in any fold: {NO_VALIDATION} (cv.val_share=0)"]
    counts: dict[str, int] = {}
    for card in cards:
        for note in card["notes"]:
            counts[note] = counts.get(note, 0) + 1
    return [f"{note} ({number} of {len(cards)} folds)" for note, number in counts.items()]


def cross_validation_results(
    plan: Plan, division: Division, found: Sequence[FoldResult], verdict: Verdict, run: str, where: Environment,
    timings: dict[str, float],
) -> dict[str, Any]:  # fmt: skip
    """Collect what `results.json` holds: the keys of a run, and `cross_validation`.

    Args:
        plan: of the fold that made the automatic choices.
        division: how the records were divided.
        found: the finished folds, in order.
        verdict: on the out-of-fold prediction.
        run: the name of the run folder.
        where: what it ran on.
        timings: in seconds, by name.
    """
    summary = summarized(plan, division, found, verdict)
    values = results(plan, run, History(), verdict, probe_of(plan), where, timings)
    cv = plan.config.cv.model_dump(mode="json")
    before = out_of_fold(division, found, raw=True)[1]
    diagrams = values["calibration"]["reliability"]
    diagrams["before"] = reliability(truth_of(before), before.probabilities).to_dict()
    leaks = dict.fromkeys(line for split in division.splits for line in split.leaks)
    checks = dict.fromkeys(split.leak_check for split in division.splits)
    return {
        **values,
        "hyper_parameters": {**values["hyper_parameters"], **{f"cv.{key}": value for key, value in cv.items()}},
        "split": {
            **values["split"],
            "strategy": told(division),
            "leaks": list(leaks),
            "leaky": bool(leaks),
            "leak_check": next((check for check in checks if "leaks found" in check), next(iter(checks))),
            "num_left_out": len(division.dataset) - len(verdict.data),
            "parts": {OUT_OF_FOLD: part_card(verdict.data)},
        },
        "best": {"monitor": None},
        "cross_validation": summary.to_dict(),
        "notes": list(dict.fromkeys([*plan.notes, *summary.notes, *verdict.rules.notes])),
    }


def told(division: Division) -> str:
    """Say how the records were divided.

    Examples:
        >>> told(Division(dataset=None, method="kfold", num_folds=5, repeats=2, splits=()))
        'kfold, 5 folds, 2 times'
    """
    times = "" if division.repeats == 1 else f", {division.repeats} times"
    return f"{division.method}, {division.num_folds} folds{times}"


def write_cross_validation(
    plan: Plan, verdict: Verdict, values: dict[str, Any], folder: Path, tracker: Tracker
) -> None:  # fmt: skip
    """Write predictions, report and `results.json` of a finished cross-validation."""
    write_predictions(folder, verdict)
    tracker.log_metrics({f"final/{name}": value for name, value in verdict.scores().items()}, 0)
    write_sheet(plan, folder)
    write_pages(values, verdict.pictures, folder, tracker)
    write_json(folder / "results.json", values)
    hand_over(tracker, folder)
