"""An ensemble behind the engine's `Learner` protocol: members trained, weights fitted where no member has learned.

Members that are configured are trained on grouped folds of the training part first, so that every training record is
scored by a model that has not seen it nor its group; the weights are fitted on these scores. Then each is trained on
the whole training part, early stopping on the validation part as ever. Where a member is the model of a trained run
there are no such folds of it, and the validation part, on which no member was trained, fits the weights. (It chose the
epoch of those that stopped early, and fixes calibration and thresholds afterwards: a small part lends itself to voting,
which has M - 1 numbers to fit, rather than to stacking.)

Shapes: M members, N records, K classes.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from ringlight.data.window_spec import WindowSpec
from ringlight.errors import InterruptedRunError, RunError
from ringlight.files import whole_file
from ringlight.inference.bundle import Bundle
from ringlight.inference.tta import Tta
from ringlight.models.ensemble import EnsembleModel
from ringlight.models.ensemble_members import MemberSpec
from ringlight.models.estimator import EstimatorModel
from ringlight.runtime import LOGGER, quiet_libraries, seed_everything
from ringlight.training.at_once import AtOnceLearner
from ringlight.training.callbacks import preparing
from ringlight.training.checkpoint_files import newest
from ringlight.training.ensemble_plan import (
    check_runs,
    fill_member,
    fold_splits,
    member_names,
    member_plan,
    specs_of,
)
from ringlight.training.ensemble_weights import fit_stacking, fit_temperatures, fit_votes, log_loss
from ringlight.training.frozen_features import FeatureTable
from ringlight.training.progress import Stopwatch, in_a_row
from ringlight.training.trackers import QuietTracker
from ringlight.training.window_table import window_table
from ringlight.types import Dataset, History, Prediction, RunControl, Signal, Split, Tracker

if TYPE_CHECKING:
    from ringlight.training.learner import DeepLearner
    from ringlight.training.plan import Plan
    from ringlight.training.rules import Rules

Scores = npt.NDArray[np.float32]


@dataclass
class _Steps(RunControl):
    """Tells the run's control how far all trainings of an ensemble are, `index` of `total` being done."""

    control: RunControl
    total: int
    index: int = 0
    watch: Stopwatch = field(default_factory=Stopwatch)

    def heartbeat(self, progress: Mapping[str, float]) -> Signal:
        """Pass on how far all trainings together are."""
        whole = max(1.0, progress["total"])
        done = round(self.index * whole + progress["done"])
        self.watch.hear(progress)
        times = in_a_row(progress, earlier=self.watch.earlier, later=self.total - self.index - 1)
        return self.control.heartbeat({**progress, "done": done, "total": round(self.total * whole), **times})

    def finished_one(self) -> None:
        """Ask between two trainings.

        Raises:
            InterruptedRunError: the control said "cancel" or "pause".
        """
        self.index += 1
        self.watch.next()
        nothing = {"epoch": 0, "num_epochs": 1, "step": 0, "num_steps": 1, "done": 0, "total": 1}
        said = self.heartbeat({**nothing, "images_per_second": 0.0})
        if said != "go":
            raise InterruptedRunError(
                "a run to its end", got=f"`{said}` after training {self.index} of {self.total}", where="ensemble",
                fix="go on with ringlight train --resume RUN", signal=said,
            )  # fmt: skip


class EnsembleLearner(AtOnceLearner):
    """Fits an :class:`~ringlight.models.ensemble.EnsembleModel`: its members, then its weights.

    The scores of finished folds are kept in the learner's folder until all is done, and a fold or member that was
    interrupted goes on from its checkpoint; finished members are trained again.
    """

    _tables: Mapping[int, FeatureTable] = MappingProxyType({})

    def fit(
        self,
        train: Dataset,
        val: Dataset | None,
        *,
        tracker: Tracker,
        control: RunControl,
        resume: Path | None,  # noqa: ARG002 - what is in the folder is gone on from
    ) -> History:
        """Train the members and fit their weights; the history has one row.

        Raises:
            InterruptedRunError: the control stopped it.
            RunError: a learner that was loaded or made of single parts; a run that has seen what fits or judges.
            SplitError: fewer groups to train on than folds.
        """
        plan, ensemble = self._needed()
        self.notes += check_runs(plan)
        seed_everything(plan.config.experiment.seed)
        specs = specs_of(plan.config)
        split = _split_of(plan, train, val)
        is_given = [spec.run is not None for spec in specs]
        folds = [] if any(is_given) else fold_splits(plan, split, ensemble.num_folds)
        steps = _Steps(control, (len(folds) + 1) * (len(specs) - sum(is_given)))
        held_out = [self._held_out(place, spec, folds, train, steps) for place, spec in enumerate(specs) if folds]
        for place, spec in enumerate(specs):
            if spec.run is None:
                self._train_member(place, spec, split, steps)
        self._describe(plan, ensemble, control)
        if folds:
            self._weigh(np.stack(held_out), train, f"{len(folds)} folds of the training part")
        elif val is not None:
            self._weigh(self._member_scores(val), val, "the validation part")
        shutil.rmtree(self._folder, ignore_errors=True)  # all of it lies in the module now
        return self.tell(train, val, tracker)

    def _needed(self) -> tuple[Plan, EnsembleModel]:
        if self._plan is None or not isinstance(self.module, EnsembleModel) or not isinstance(self.spec, WindowSpec):
            self._needs()  # one that was loaded to predict says so in its own words
            raise RunError(
                "a learner made from a plan with an ensemble", got=type(self.module).__name__,
                where="EnsembleLearner.fit", fix="build it with EnsembleLearner.from_plan",
            )  # fmt: skip
        return self._plan, self.module

    @property
    def _folder(self) -> Path:
        return self._needs()[2] / "members"

    def _held_out(self, place: int, spec: MemberSpec, folds: Sequence[Split], train: Dataset, steps: _Steps) -> Scores:
        """Return the raw scores (N, K) of the training records by a member that was trained without their fold."""
        plan, _ = self._needed()
        rows = {key: row for row, key in enumerate(train.ids)}
        found = np.empty((len(train), len(train.classes)), np.float32)
        for index, fold in enumerate(folds):
            data = plan.dataset.take(fold.test)
            file = self._folder / f"{place}-{_key(plan, spec, fold)}.npy"
            if file.is_file():
                scores = np.load(file)
            else:
                LOGGER.info("ensemble: %s, fold %d of %d", spec.name, index + 1, len(folds))
                scores = self._trained(plan, spec, fold, file.with_suffix(""), steps).predict(data).logits
                _keep(file, scores)
                shutil.rmtree(file.with_suffix(""), ignore_errors=True)
            found[[rows[key] for key in data.ids]] = scores
            steps.finished_one()
        return found

    def _train_member(self, place: int, spec: MemberSpec, split: Split, steps: _Steps) -> None:
        """Train a member on the whole training part and put it in its place."""
        plan, ensemble = self._needed()
        LOGGER.info("ensemble: %s, on the whole training part", spec.name)
        learner = self._trained(plan, spec, split, self._folder / f"{place}-{_key(plan, spec, split)}", steps)
        if isinstance(learner.spec, WindowSpec):
            fill_member(ensemble, place, learner.module, learner.spec)
        self.notes += [f"{spec.name}: {note}" for note in learner.notes]
        self.is_divided |= learner.is_divided
        steps.finished_one()

    def _trained(self, plan: Plan, spec: MemberSpec, split: Split, folder: Path, steps: _Steps) -> DeepLearner:
        from ringlight.training.learners import learner_of

        made = member_plan(plan, spec, split)
        learner = learner_of(made, folder, lambda *_: None)
        learner.fit(
            made.part("train"), made.part("val") if len(split.val) else None, tracker=QuietTracker(), control=steps,
            resume=newest(folder),
        )  # fmt: skip
        return learner

    def _describe(self, plan: Plan, ensemble: EnsembleModel, control: RunControl) -> None:
        """Look up the features of the members that take windows as they are: they were computed for the training."""
        if not isinstance(self.spec, WindowSpec):
            return
        told = preparing(control, windows=True)
        self._tables = {
            place: window_table(member.model, plan.dataset, self.spec, cache=plan.cache, progress=told)
            for place, member in enumerate(ensemble.parts)
            if isinstance(member.model, EstimatorModel) and member.spec.normalize == "none"
        }

    def _weigh(self, scores_mnk: Scores, data: Dataset, where: str) -> None:
        """Fit the weights to scores of these records, and note them."""
        plan, ensemble = self._needed()
        targets, names = data.targets(), member_names(specs_of(plan.config))
        with torch.inference_mode(False), torch.no_grad():
            if ensemble.voting == "soft":
                told = self._vote(ensemble, scores_mnk, data)
                what = f"weights {', '.join(f'{name} {one}' for name, one in zip(names, told, strict=True))}"
            else:
                layer = fit_stacking(scores_mnk, targets, data.task, penalty=ensemble.penalty)
                ensemble.stack.weight.copy_(layer.weight)
                ensemble.stack.bias.copy_(layer.bias)
                what = f"stacking on {', '.join(names)}"
            device = next(ensemble.buffers()).device if ensemble.voting == "soft" else ensemble.stack.weight.device
            joined = ensemble.combine(torch.from_numpy(scores_mnk).to(device)).cpu().numpy()
        losses = [log_loss(one, targets, data.task) for one in scores_mnk]
        best = int(np.argmin(losses))
        self.notes.append(
            f"ensemble: {what}, fitted on the scores of {where}; log loss there "
            f"{log_loss(joined, targets, data.task):.4f}, of the best member ({names[best]}) {losses[best]:.4f}"
        )
        LOGGER.info(self.notes[-1])

    def _vote(self, ensemble: EnsembleModel, scores_mnk: Scores, data: Dataset) -> list[str]:
        """Fit temperatures and weights of the vote; tell them, a few words a member."""
        scores, targets = scores_mnk.astype(np.float64), data.targets()
        heat = fit_temperatures(scores, targets, data.task) if ensemble.scaled else np.ones(len(scores))
        weights = fit_votes(scores / heat[:, None, None], targets, data.task)
        ensemble.temperatures.copy_(torch.from_numpy(heat))
        ensemble.weights.copy_(torch.from_numpy(weights))
        scaled = [f" (temperature {one:.2g})" if ensemble.scaled else "" for one in heat]
        return [f"{weight:.3f}{one}" for weight, one in zip(weights, scaled, strict=True)]

    def predict_views(self, data: Dataset, tta: Tta) -> Prediction:
        """Return raw scores; members whose features of these records are known need no further pass."""
        if not self._tables or tta.runs > 1:
            return super().predict_views(data, tta)
        _, ensemble = self._needed()
        with torch.inference_mode():
            parts = [ensemble.combine(logits).float().cpu().numpy() for logits in self._batches(data)]
        return Prediction(data.ids, np.concatenate(parts), self.classes, self.task, data.targets())

    def _member_scores(self, data: Dataset) -> Scores:
        """Return the raw scores of every member, (M, N, K)."""
        with torch.inference_mode():
            return np.concatenate([logits.cpu().numpy() for logits in self._batches(data)], axis=1)

    def _batches(self, data: Dataset) -> list[torch.Tensor]:
        """Return the members' logits (M, B, K) batch by batch, as the whole module computes them."""
        _, ensemble = self._needed()
        ensemble.to(self.device.device).eval()
        known = {place: table.of(data) for place, table in self._tables.items() if table.has(data)}
        found = []
        with quiet_libraries():
            for batch in self.feeder.loader(data):
                rows = batch["index"].numpy()
                described = {place: features[rows] for place, features in known.items()}
                found.append(ensemble.member_logits(batch["input"].to(self.device.device), described))
        return found

    def bundle(self, metrics: dict[str, Any], rules: Rules | None = None) -> Bundle:
        """Describe the ensemble with the architecture of every member, that of a run included."""
        found = super().bundle(metrics, rules)
        if self._origin is not None or not isinstance(self.module, EnsembleModel):
            return found
        params = {**found.architecture["params"], "members": self.module.architecture}
        return replace(found, architecture={**found.architecture, "params": params})


def _split_of(plan: Plan, train: Dataset, val: Dataset | None) -> Split:
    """Return the rows of the parts in the plan's data set."""
    rows = {key: row for row, key in enumerate(plan.dataset.ids)}
    parts = [np.array([rows[key] for key in ([] if part is None else part.ids)], np.int64) for part in (train, val)]
    return Split(parts[0], parts[1], np.empty(0, np.int64), strategy="as given")


def _key(plan: Plan, spec: MemberSpec, split: Split) -> str:
    """Return what a member's training on a split depends on, as a digest."""
    digest = hashlib.sha256(json.dumps([spec.to_dict(), plan.fingerprint], sort_keys=True, default=str).encode())
    # A run that goes on reads its split from its own file: what counts is the rows.
    digest.update(plan.config.model_dump_json(exclude={"split"}).encode())
    for rows in split.parts().values():
        digest.update(rows.tobytes() + b"|")
    return digest.hexdigest()[:16]


def _keep(file: Path, scores: Scores) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(file) as part, part.open("wb") as stream:
        np.save(stream, scores)
