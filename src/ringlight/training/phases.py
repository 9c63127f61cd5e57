"""A run in phases: one learner after the other, each on what the one before left, behind the engine's `Learner`.

A finished phase lies in the run's `phases/NAME/`: its model as a bundle, its history, and `phase.json`, which is
written last and so says that the phase is whole. A run that was stopped goes on in the phase it was in, from its last
checkpoint; what follows a phase starts from the same bits either way.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from ringlight.config.phases import PhaseName
from ringlight.errors import RunError
from ringlight.files import write_csv, write_json
from ringlight.inference.bundle import read_bundle, write_bundle
from ringlight.models.lora import has_lora
from ringlight.runtime import LOGGER, seed_everything
from ringlight.training.build import put_adapters
from ringlight.training.checkpoint_files import newest
from ringlight.training.learner import DeepLearner
from ringlight.training.phase_inputs import (
    Lesson,
    lesson_of,
    start_backbone,
    teacher_of_bundle,
    teacher_of_files,
)
from ringlight.training.phase_learners import DistillLearner, MarginLearner, OnEpoch, PhaseLearner, SupConLearner
from ringlight.training.phase_plan import phase_plan, student_plan
from ringlight.training.phase_reports import PhaseControl, PhaseTracker
from ringlight.training.results import kept_row
from ringlight.types import Dataset, History, Prediction, RunControl, Tracker

if TYPE_CHECKING:
    from ringlight.data.specs import Spec
    from ringlight.training.plan import Plan

FOLDER = "phases"
WHOLE = "phase.json"


@dataclass(slots=True)
class _Before:
    """The whole model a phase begins with, and whether a phase of this run has trained it."""

    module: nn.Module
    trained: bool = False


class PhasesLearner(DeepLearner):
    """Trains the phases of a run in order; afterwards it is the learner of the last one."""

    def fit(
        self,
        train: Dataset,
        val: Dataset | None,
        *,
        tracker: Tracker,
        control: RunControl,
        resume: Path | None,  # noqa: ARG002 - what is in the folder is gone on from
    ) -> History:
        """Train the phases that are not finished; the history has the rows of all, numbered on.

        Raises:
            InterruptedRunError: the user or the control stopped it; the phase is gone on with where it was.
            TrainingError: a loss is not finite, or a batch cannot be learned from.
        """
        plan, before = self.plan, _Before(self.plan.module)
        order = plan.config.phases.order
        plans = {name: phase_plan(plan, name) for name in order}
        epochs = [plans[name].config.training.num_epochs for name in order]
        if "distill" in order[1:]:
            student_plan(plans["distill"])  # one that cannot be built says so now, not after the phases before it
        rows: list[dict[str, float]] = []
        cards: list[dict[str, Any]] = []
        for place, name in enumerate(order):
            offset = sum(epochs[:place])
            spent = sum(card["seconds"] for card in cards)
            told, asked = PhaseTracker(tracker, name, offset), PhaseControl(control, offset, sum(epochs), spent)
            learner = self._phase(name, place, plans[name], before, _numbered(rows, place, offset, self.on_epoch))
            folder = self._folder(name)
            if (folder / WHOLE).is_file():
                card = self._taken_back(learner, folder)
                LOGGER.info("phase %s is finished already", name)
            else:
                LOGGER.info("phase %s, %d of %d", name, place + 1, len(order))
                card = _trained(learner, name, train, val, told, asked, folder)
            rows += [_on(row, place, offset) for row in card["history"]]
            cards.append(card)
            before = _Before(learner.module, trained=True)
            last = learner
        self._become(last, tuple(cards))
        return History(rows)

    def _folder(self, name: PhaseName) -> Path:
        return self._needs()[2].parent / FOLDER / name

    def _phase(self, name: PhaseName, place: int, plan: Plan, before: _Before, on_epoch: OnEpoch) -> PhaseLearner:
        """Return the learner of a phase, its model taken apart; new layers are drawn from (seed, place)."""
        folder = self._folder(name) / "checkpoints"
        seed_everything(plan.config.experiment.seed, place)
        if name == "distill":
            return self._distilling(plan, before, folder, on_epoch)
        start = plan.config.supcon.start_from if name == "supcon" else plan.config.margin.start_from
        if start is not None:
            self.notes.append(start_backbone(plan, before.module, start, f"{name}.start_from"))
        # On the CPU, where the model of a phase that was finished earlier is read: new layers are drawn there.
        before.module.cpu().train()
        if not has_lora(before.module):  # a phase before, or whose weights it starts from, has merged them
            put_adapters(plan.config, before.module)
        kind = SupConLearner if name == "supcon" else MarginLearner
        return kind.begin(plan, before.module, folder, on_epoch)

    def _distilling(self, plan: Plan, before: _Before, folder: Path, on_epoch: OnEpoch) -> PhaseLearner:
        taught = student_plan(plan)
        lesson, note = _lesson(taught, before, plan.spec)
        if note:
            self.notes.append(note)
        return DistillLearner.begin(
            taught, taught.module, folder, on_epoch, teacher=lesson.ask, teacher_width=lesson.width
        )

    def _taken_back(self, learner: PhaseLearner, folder: Path) -> dict[str, Any]:
        """Give the learner the model that its phase left, and return what was written of it."""
        bundle, module = read_bundle(folder)
        learner.module, learner.head_spec = module, dict(bundle.architecture.get("head") or {})
        card: dict[str, Any] = json.loads((folder / WHOLE).read_text(encoding="utf-8"))
        return card

    def _become(self, last: PhaseLearner, cards: tuple[dict[str, Any], ...]) -> None:
        """Take the place of the last phase's learner: its model is judged and saved."""
        criterion = last.val_criterion or last.plan.criterion
        self.phases = cards
        self.module, self.head_spec, self.config = last.module, last.head_spec, last.config
        self.spec, self.feeder, self.weights_from = last.spec, last.feeder, last.weights_from
        self._plan = replace(last.plan, module=last.module, criterion=_described(criterion, self.plan.criterion))
        self.notes += [f"{card['name']}: {note}" for card in cards for note in card["notes"]]
        self.is_divided |= any(card["divided"] for card in cards)


def _described(criterion: nn.Module, otherwise: nn.Module) -> nn.Module:
    """Return a criterion that results can tell of; the run's own where a phase judges by votes."""
    return criterion if hasattr(criterion, "get_params") else otherwise


def _lesson(plan: Plan, before: _Before, spec: Spec) -> tuple[Lesson, str]:
    """Return the teacher of the student that `plan` is of; `spec` is the input of the model before it."""
    phase = plan.config.distill
    if phase.teacher is not None:
        return teacher_of_bundle(plan, phase.teacher)
    if phase.teacher_backbone_path is not None and phase.teacher_head_path is not None:
        return teacher_of_files(plan, before.module, spec, phase.teacher_backbone_path, phase.teacher_head_path)
    if not before.trained:
        raise RunError(
            "a teacher", got="none", where="distill.teacher", fix="set distill.teacher=RUN, or phases=[margin,distill]"
        )
    return lesson_of(before.module, spec, plan), ""


def _trained(
    learner: PhaseLearner, name: PhaseName, train: Dataset, val: Dataset | None, tracker: Tracker, control: RunControl,
    folder: Path,
) -> dict[str, Any]:  # fmt: skip
    """Train a phase, write what it leaves, and return what is told of it."""
    started, plan = time.perf_counter(), learner.plan
    history = learner.fit(train, val, tracker=tracker, control=control, resume=newest(folder / "checkpoints"))
    module = learner.close(train)
    write_csv(folder / "history.csv", history.rows)
    write_bundle(folder, learner.bundle({}), module)
    monitor = plan.config.training.monitor if val is not None and len(val) else None
    card = {
        "name": name,
        "model": plan.config.model.name,
        "num_parameters": sum(parameter.numel() for parameter in module.parameters()),
        "num_epochs": len(history.rows),
        "seconds": round(time.perf_counter() - started, 3),
        "monitor": monitor,
        "best": kept_row(history, plan.config, monitor),
        "notes": list(learner.notes),
        "divided": learner.is_divided,
        "history": history.rows,
    }
    write_json(folder / WHOLE, card)
    return card


def _on(row: Mapping[str, float], place: int, offset: int) -> dict[str, float]:
    """Return a phase's row as a row of the run: which phase it is of, and its epoch counted on."""
    return {"epoch": row["epoch"] + offset, "phase": place, **{key: row[key] for key in row if key != "epoch"}}


def _numbered(earlier: list[dict[str, float]], place: int, offset: int, on_epoch: OnEpoch) -> OnEpoch:
    """Return what tells `on_epoch` of a phase's epochs behind those of the phases before it."""
    before = list(earlier)

    def report(history: History, validation: Prediction | None) -> None:
        on_epoch(History(before + [_on(row, place, offset) for row in history.rows]), validation)

    return report
