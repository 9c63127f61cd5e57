"""One fold: an ordinary training, whose rules are fixed on records held out from its own training part."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ringlight.evaluation.metrics import classification_metrics, flatten
from ringlight.files import write_csv
from ringlight.inference.tta import Tta
from ringlight.runtime import determinism
from ringlight.training.checkpoint_files import newest
from ringlight.training.fold_files import FoldResult
from ringlight.training.judge import scored
from ringlight.training.learners import learner_of
from ringlight.training.plan import Plan
from ringlight.training.results import group_names, kept_row, part_card
from ringlight.training.rules import Rules, fix_rules, truth_of
from ringlight.training.trackers import QuietTracker
from ringlight.types import History, Prediction, RunControl


def train_fold(plan: Plan, place: tuple[int, int], folder: Path, control: RunControl) -> FoldResult:
    """Train and score one fold.

    Args:
        plan: its parts.
        place: its repeat and its number, from 0.
        folder: receives checkpoints and the history; a checkpoint that is there is gone on from.
        control: may stop it.
    """
    started = time.perf_counter()
    settings, split = plan.config.evaluation, plan.split
    with determinism(num_threads=plan.config.training.num_threads, device=plan.device):
        learner = learner_of(plan, folder / "checkpoints", _keeping(folder))
        val = plan.part("val") if len(split.val) else None
        history = learner.fit(
            plan.part("train"), val, tracker=QuietTracker(), control=control, resume=newest(folder / "checkpoints")
        )
        tta = Tta(runs=settings.tta_runs, space=settings.tta_space)
        validation = None if val is None else scored(learner, val, tta)
        rules = fix_rules(
            validation, None if val is None else val.groups, settings, task=plan.dataset.task,
            classes=plan.dataset.classes, seed=plan.config.experiment.seed,
        )  # fmt: skip
        test = plan.part("test")
        raw = scored(learner, test, tta)
    ruling = rules.decide(raw)
    metrics = classification_metrics(
        truth_of(raw), ruling.probabilities, raw.classes, raw.task, decisions=ruling.decisions, groups=test.groups
    )
    card = {
        "repeat": place[0],
        "fold": place[1],
        "seed": plan.config.experiment.seed,
        **{name: part_card(plan.part(name)) for name in ("train", "val", "test")},
        "test_groups": group_names(test),
        "num_left_out": len(split.left_out),
        "leak_check": split.leak_check,
        "leaks": list(split.leaks),
        **_training(plan, history),
        **_fixed(rules),
        "scores": flatten(metrics),
        "seconds": round(time.perf_counter() - started, 3),
        "notes": [*learner.notes, *rules.notes],
    }
    return FoldResult(card, ruling.prediction, raw.logits, ruling.decisions)


def _training(plan: Plan, history: History) -> dict[str, Any]:
    best = kept_row(history, plan.config, plan.monitor)
    return {"epochs": len(history.rows), "best_epoch": None if best is None else int(best["epoch"])}


def _fixed(rules: Rules) -> dict[str, Any]:
    """Tell what was fixed on the fold's held out records."""
    accepted = rules.calibration is not None and rules.calibration.accepted
    return {"calibrated": accepted, "operating_point": rules.active.name}


def _keeping(folder: Path) -> Callable[[History, Prediction | None], None]:
    def keep(history: History, validation: Prediction | None) -> None:  # noqa: ARG001 - what a learner calls
        write_csv(folder / "history.csv", history.rows)

    return keep
