"""What one trial of a recipe is: its configuration with other values, trained on shared data, judged on held-out ones.

The study's data is the recipe's training and validation parts. Its test part is taken away before the first trial: no
choice of a study has seen it.
"""

from __future__ import annotations

import gc
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ringlight.config.load import vary
from ringlight.config.schema import Config
from ringlight.errors import ConfigError, InterruptedRunError, RinglightError, WorkspaceError
from ringlight.evaluation.custom_metrics import METRICS
from ringlight.evaluation.metrics import classification_metrics, flatten, monitor_mode
from ringlight.files import write_csv, write_json
from ringlight.runtime import LOGGER, determinism
from ringlight.training.at_once import AtOnceLearner
from ringlight.training.build import augmentation_of
from ringlight.training.checkpoint_files import newest
from ringlight.training.device_faults import is_cuda_failure, is_out_of_memory
from ringlight.training.judge import mean_loss
from ringlight.training.learners import learner_of
from ringlight.training.monitors import further_metrics
from ringlight.training.plan import Plan, Prepared, part_problems, plan_on, prepare
from ringlight.training.results import kept_row
from ringlight.training.rules import truth_of
from ringlight.training.splitting import split_as_configured
from ringlight.training.trackers import QuietTracker
from ringlight.training.tune_trials import FailedTrial, PrunedTrial, Report, Scored
from ringlight.types import Dataset, History, Prediction, RunControl, Split

if TYPE_CHECKING:
    from torch import nn

PART_OF = {"validation": "val", "crossval": "test"}
"""The part of each division that a trial is judged on: of folds the tested one, out of the study's own records."""

FOLDS = "folds.json"
"""The folds that a trial has behind it, in its folder; beside it lie the checkpoints of the one it is in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What all trials share: the data without its test part, and how it is divided.

    `divisions` is one split (objective=validation) or one a fold (crossval); its parts are rows of `dataset`.
    """

    config: Config
    prepared: Prepared
    dataset: Dataset
    divisions: tuple[Split, ...]
    num_held_back: int
    notes: tuple[str, ...] = ()

    @property
    def part(self) -> str:
        """The name of the part that trials are judged on."""
        return PART_OF[self.config.tune.objective]


def make_bench(config: Config, cache: Path, *, dataset: Dataset | None = None) -> Bench:
    """Read, check and divide the data of a study, and build the recipe's own parts once: what is wrong with it is told
    before the first trial.

    Args:
        config: of the study.
        cache: the folder where pictures, windows and features are kept.
        dataset: records in the place of the configured source; they are the study's own, and none are held back.

    Raises:
        UserError: the configuration, the data or the metric cannot be used; nothing was trained.
    """
    if config.phases.order and config.tune.pruner != "none" and config.tune.objective == "validation":
        raise ConfigError(
            "none for a run in phases, whose epochs are those of several trainings", got=config.tune.pruner,
            where="tune.pruner", fix="set tune.pruner=none",
        )  # fmt: skip
    if config.tune.metric in METRICS and config.tune.metric not in config.training.metrics:
        config = config.replacing({"training.metrics": (*config.training.metrics, config.tune.metric)})
    prepared = prepare(config, cache, dataset=dataset)
    given, split = split_as_configured(prepared.config, prepared.inspection.dataset, cache)
    held_back = split.test if dataset is None else split.test[:0]
    rows = np.setdiff1d(np.arange(len(given)), np.concatenate([held_back, split.left_out]))
    dataset = given.take(rows)
    prepared = replace(prepared, inspection=replace(prepared.inspection, dataset=dataset))
    if config.tune.objective == "crossval":
        from ringlight.training.folds import grouped_folds

        dataset, folds = grouped_folds(prepared)
        divisions = tuple(folds)
    else:
        if not len(split.val):
            raise ConfigError(
                "a split with a validation part", got=f"{config.split.strategy}, without one", where="tune.objective",
                fix="set split.strategy=stratified_70_15_15, or tune.objective=crossval",
            )  # fmt: skip
        train, val = np.searchsorted(rows, split.train), np.searchsorted(rows, split.val)
        empty = np.empty(0, np.int64)
        divisions = (replace(split, train=train, val=val, test=empty, left_out=empty),)
    further = further_metrics(config, {}, dataset.task)
    monitor_mode(config.tune.metric, dataset.classes, dataset.task, where="tune.metric", metrics=further)
    found = plan_on(prepared, dataset, divisions[0])
    pinned = ("precision", "memory_format", "compile")  # timed once for all trials, whose numbers are then comparable
    values = {f"training.{key}": getattr(found.config.training, key) for key in pinned}
    return Bench(
        config=config.replacing(values), prepared=prepared, dataset=dataset, divisions=divisions,
        num_held_back=len(held_back), notes=found.notes,
    )  # fmt: skip


class RecipeObjective:
    """Scores values of a configuration's keys by training with them.

    Args:
        bench: the shared data.
        folder: where a trial's checkpoints lie while it lasts, and its history afterwards.
        control: may stop the study.
    """

    def __init__(self, bench: Bench, folder: Path, control: RunControl) -> None:
        self.bench = bench
        self.folder = folder
        self.control = control
        self._prepared = {_reads(bench.prepared.config): (bench.prepared, bench.dataset)}

    def __call__(self, values: Mapping[str, Any], number: int, report: Report) -> Scored:
        """Train and judge.

        Raises:
            FailedTrial: these values cannot be trained with.
            PrunedTrial: the pruner has seen enough.
            InterruptedRunError: the user or the control stopped it.
            WorkspaceError: the disk is full.
        """
        trial = _Trial(self, number, report)
        waits = report.done > 0  # until it ends: one that is interrupted waits where it did
        try:
            scored = trial.run(values)
            waits = False
            return scored
        except PrunedTrial as stopped:
            stopped.epochs = trial.epochs
            waits = True
            raise
        except (InterruptedRunError, WorkspaceError):
            raise
        except RinglightError as error:
            waits = False
            raise FailedTrial(str(error), epochs=trial.epochs) from error
        except (RuntimeError, ValueError, ArithmeticError, MemoryError) as error:
            if is_cuda_failure(error):  # the device is lost for every later trial, too
                raise
            waits = False
            LOGGER.debug("trial %d failed", number + 1, exc_info=True)
            kind = "out of memory" if is_out_of_memory(error) else type(error).__name__
            raise FailedTrial(f"{kind}: {error}", epochs=trial.epochs) from error
        finally:
            trial.release(keep=waits)

    def prepared_for(self, config: Config) -> tuple[Prepared, Dataset]:
        """Return the data as a trial reads it: read again only where its values change how it is read.

        Raises:
            ConfigError: they change which records there are.
        """
        key = _reads(config)
        if key not in self._prepared:
            again = prepare(config, self.bench.prepared.cache)
            known = {name: row for row, name in enumerate(again.inspection.dataset.ids)}
            if not all(name in known for name in self.bench.dataset.ids):
                raise ConfigError(
                    "values that keep the records", got="other records", where="tune.space.data",
                    fix="leave out the key that decides which records there are",
                )  # fmt: skip
            dataset = again.inspection.dataset.take([known[name] for name in self.bench.dataset.ids])
            groups = self.bench.dataset.table.column("group").to_pylist()
            if not dataset.table.column("labels").equals(self.bench.dataset.table.column("labels")):
                raise ConfigError(
                    "values that keep the labels", got="records with other ones", where="tune.space.data",
                    fix="leave out the key that decides which records there are",
                )  # fmt: skip
            dataset = dataset.with_column("group", groups)
            inspection = replace(again.inspection, dataset=dataset)
            self._prepared[key] = (replace(again, inspection=inspection), dataset)
        prepared, dataset = self._prepared[key]
        return replace(prepared, config=augmentation_of(config, dataset.signals)), dataset


class _Trial:
    """One trial while it lasts."""

    def __init__(self, objective: RecipeObjective, number: int, report: Report) -> None:
        self.objective = objective
        self.bench = objective.bench
        self.report = report
        self.epochs = 0
        self.folder = trial_folder(objective.folder, number)
        self._history: list[dict[str, float]] = []
        self._told = report.done

    def run(self, values: Mapping[str, Any]) -> Scored:
        bench = self.bench
        scores = self._go_on()
        config = vary(bench.config, values, check_parts=part_problems)
        prepared, dataset = self.objective.prepared_for(config)
        for fold, division in enumerate(bench.divisions[len(scores) :], start=len(scores)):
            scores.append(self._fold(plan_on(prepared, dataset, division), fold))
            if len(bench.divisions) > 1:
                write_json(self.folder / FOLDS, {"scores": scores, "epochs": self.epochs, "history": self._history})
                self.report(fold + 1, float(np.mean(scores)), final=fold + 1 == len(bench.divisions))
        details = {"folds": scores} if len(scores) > 1 else {}
        return Scored(value=float(np.mean(scores)), epochs=self.epochs, details=details)

    def _go_on(self) -> list[float]:
        """Return the scores of the folds that the trial had before it waited; what a killed process left is removed."""
        if not self.report.done:
            remove_checkpoints(self.folder)
        kept = self.folder / FOLDS
        if not kept.is_file():
            return []
        found = json.loads(kept.read_text(encoding="utf-8"))
        self.epochs, self._history = found["epochs"], found["history"]
        return list(found["scores"])

    def _fold(self, plan: Plan, fold: int) -> float:
        metric, before, folder = self.bench.config.tune.metric, self.epochs, self.folder / f"fold-{fold + 1}"

        def on_epoch(history: History, validation: Prediction | None) -> None:  # noqa: ARG001 - the rows hold its scores
            self.epochs = before + len(history.rows)
            self._keep(history, fold)
            if len(self.bench.divisions) == 1:
                self._tell(history, plan, at_once=isinstance(learner, AtOnceLearner))

        with determinism(num_threads=plan.config.training.num_threads, device=plan.device):
            # What phases leave lies beside their checkpoints: that of one fold must not be taken for another's.
            learner = learner_of(plan, folder / "checkpoints" if plan.config.phases.order else folder, on_epoch)
            val = plan.part("val") if len(plan.split.val) else None
            learner.fit(
                plan.part("train"), val, tracker=QuietTracker(), control=self.objective.control,
                resume=newest(folder),
            )  # fmt: skip
            judged = learner.predict(plan.part(self.bench.part))
        return score_of(judged, metric, plan.criterion, learner.further(judged))

    def _tell(self, history: History, plan: Plan, *, at_once: bool) -> None:
        """Report the epochs that were not told yet: more than one where a process was killed past the last one told.

        The score is that of the weights which would count if the training ended there, as they will in the end: a
        pruner that looks at an unlucky epoch stops a trial whose better weights are kept.
        """
        for seen, row in enumerate(history.rows, start=1):
            counts = kept_row(History(history.rows[:seen]), plan.config, plan.monitor) or row
            step, value = int(row["epoch"]) + 1, counts.get(f"val/{self.bench.config.tune.metric}")
            if step > self._told and value is not None:
                self._told = step
                self.report(step, float(value), final=at_once or step == plan.config.training.num_epochs)

    def _keep(self, history: History, fold: int) -> None:
        others = [row for row in self._history if row["fold"] != fold + 1]
        self._history = others + [{"fold": fold + 1, **row} for row in history.rows]
        write_csv(self.folder / "history.csv", self._history)

    def release(self, *, keep: bool) -> None:
        """Give the memory back; without `keep` remove the checkpoints, too."""
        if not keep:
            remove_checkpoints(self.folder)
        gc.collect()
        if self.bench.prepared.device.kind == "cuda":
            import torch

            torch.cuda.empty_cache()


def trial_folder(folder: Path, number: int) -> Path:
    """Return the folder of a trial among those of its study."""
    return folder / f"{number + 1:04d}"


def remove_checkpoints(folder: Path) -> None:
    """Remove what a trial would go on from; its history stays."""
    for fold in folder.glob("fold-*"):
        shutil.rmtree(fold, ignore_errors=True)
    (folder / FOLDS).unlink(missing_ok=True)


def score_of(prediction: Prediction, metric: str, criterion: nn.Module, further: Mapping[str, float]) -> float:
    """Return a metric of scored records, by the default rule of decision; NaN where it is not defined.

    Args:
        prediction: raw scores with their truth.
        metric: `loss`, or the name of a metric.
        criterion: the loss.
        further: metrics beside those of every run, as they were computed.
    """
    if metric == "loss":
        return mean_loss(criterion, prediction)
    found = classification_metrics(truth_of(prediction), prediction.probabilities, prediction.classes, prediction.task)
    return {**flatten(found), **further}.get(metric, float("nan"))


def _reads(config: Config) -> str:
    """Return what decides how the records are read."""
    data = config.data
    params = sorted(data.params().items())
    return repr((data.source, data.root, data.task, data.min_samples_per_class, params))
