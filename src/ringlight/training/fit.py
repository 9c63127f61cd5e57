"""The recipe, on one screen: fit, restore the best weights, judge once, save the bundle, write the results."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from ringlight.files import write_csv, write_json
from ringlight.inference.bundle import write_bundle
from ringlight.runtime import DIVIDED, determinism, environment
from ringlight.training.bundling import finished
from ringlight.training.judge import Verdict, judge, probe_of, write_predictions
from ringlight.training.learners import learner_of
from ringlight.training.open_set import open_set_of
from ringlight.training.pages import epoch_pictures, write_pages, write_sheet
from ringlight.training.plan import Plan
from ringlight.training.results import hyper_parameters, results
from ringlight.training.retrieval import write_embedding
from ringlight.training.trackers import hand_over
from ringlight.training.watch_reference import with_watch
from ringlight.types import History, Prediction, RunControl, Tracker


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a finished run gives: its results (as in `results.json`) and the verdict on its test part."""

    results: dict[str, Any]
    verdict: Verdict


def fit(plan: Plan, folder: Path, *, tracker: Tracker, control: RunControl, resume: Path | None) -> Outcome:
    """Train and judge a plan; everything is written into the run's `folder`.

    `resume` is the checkpoint to go on from.
    """
    started = time.perf_counter()
    tracker.log_params(hyper_parameters(plan.config))
    with determinism(num_threads=plan.config.training.num_threads, device=plan.device):
        where = environment(plan.device, plan.config.training.precision)
        learner = learner_of(plan, folder / "checkpoints", partial(_after_epoch, plan, folder, tracker))
        val = plan.part("val") if len(plan.split.val) else None
        history = learner.fit(plan.part("train"), val, tracker=tracker, control=control, resume=resume)
        plan = learner.plan  # a run in phases ends with another model than it began with
        if learner.is_divided:
            where = replace(where, reproducibility=DIVIDED)
        trained = time.perf_counter()
        verdict = judge(plan, learner)
        judged = time.perf_counter()
        probe = probe_of(plan)
    spent = {"fit": trained - started, "judge": judged - trained, "leak_probe": time.perf_counter() - judged}
    values = results(plan, folder.name, history, verdict, probe, where, spent, learner.notes, learner.phases)
    write_predictions(folder, verdict)
    bundle = finished(learner.bundle({}, verdict.rules), plan, verdict)
    write_bundle(folder / "bundle", with_watch(bundle, learner, plan.part("val"), verdict.validation), plan.module)
    tracker.log_metrics({f"final/{name}": value for name, value in verdict.scores().items()}, len(history.rows))
    values |= write_embedding(plan, learner, verdict, folder, tracker, len(history.rows))
    values |= open_set_of(plan, learner, verdict)
    write_sheet(plan, folder)
    write_pages(values, verdict.pictures, folder, tracker)
    write_json(folder / "results.json", values)
    hand_over(tracker, folder)
    return Outcome(values, verdict)


def _after_epoch(plan: Plan, folder: Path, tracker: Tracker, history: History, validation: Prediction | None) -> None:
    write_csv(folder / "history.csv", history.rows)
    every = plan.config.training.confusion_every_n_epochs
    if validation is not None and len(history.rows) % every == 0:
        for name, figure in epoch_pictures(plan, validation).items():
            tracker.log_figure(f"val/{name}", figure, len(history.rows) - 1)
