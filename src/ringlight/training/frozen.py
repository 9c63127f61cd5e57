"""`training.mode`: a head fitted to features of the frozen backbone, alone or before the whole is trained.

The result is an ordinary model: backbone and head are saved as one bundle, judged, calibrated and served like any
other. Shapes: N records, D features, K classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch

from ringlight.config.schema import Config
from ringlight.data.augment import Augmenter
from ringlight.data.folds import Fold, make_folds
from ringlight.data.preprocess import InputSpec
from ringlight.errors import ConfigError, SplitError
from ringlight.inference.tta import Tta
from ringlight.runtime import LOGGER, DeviceChoice, seed_everything
from ringlight.training.at_once import AtOnceLearner
from ringlight.training.callbacks import preparing
from ringlight.training.drawing import Seen, last_criterion, record_weights, sampler_of
from ringlight.training.features import Embedder, Features
from ringlight.training.frozen_features import (
    FeatureTable,
    Progress,
    augmented_features,
    backbone_embedder,
    feature_table,
)
from ringlight.training.head_problem import Fitted, Problem
from ringlight.training.heads import HEADS
from ringlight.training.linear_fit import targets_tensor
from ringlight.types import Dataset, History, Prediction, RunControl, Tracker

if TYPE_CHECKING:
    from torch import nn

    from ringlight.training.plan import Plan

NUM_FOLDS = 3
"""Folds on which a head chooses its strength; more change the choice within the noise of the held-out loss."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frozen:
    """A frozen backbone with what a head needs to be fitted to it.

    `whole` is the data set whose features are computed together, so that its parts need no pass of their own; `cache`
    the folder where they are kept, None keeps none.
    """

    module: nn.Module
    config: Config
    embedder: Embedder
    device: DeviceChoice
    whole: Dataset
    seen: Seen
    augmenter: Augmenter | None = None
    cache: Path | None = None

    @classmethod
    def of_plan(cls, plan: Plan) -> Self:
        """Take the parts of a plan.

        Raises:
            ConfigError: its records are windows.
        """
        if not isinstance(plan.spec, InputSpec) or not isinstance(plan.augmenter, Augmenter | None):
            raise ConfigError(
                "images", got="windows", where="training.mode", fix="model.name=logistic_regression fits their features"
            )
        return cls(
            module=plan.module,
            config=plan.config,
            embedder=backbone_embedder(plan.module, plan.config.model.name, plan.spec, plan.device),
            device=plan.device,
            whole=plan.dataset,
            seen=plan.seen,
            augmenter=plan.augmenter,
            cache=plan.cache,
        )

    def table(self, progress: Progress | None = None) -> FeatureTable:
        """Return the features of all records: computed once, then read."""
        return feature_table(self.module, self.whole, self.embedder, self.device, cache=self.cache, progress=progress)

    def fit(
        self, train: Dataset, features: Features, *, balanced: bool = False, progress: Progress | None = None
    ) -> Fitted:
        """Fit the configured head to features (N, D) of training records and their augmented copies.

        `balanced` counts every class equally often, whatever the sampler; `progress` hears of the copies' passes.
        """
        problem = self.problem(train, features, balanced=balanced, progress=progress)
        fitted = HEADS.build(self.config.head.name, **self.config.head.params()).fit(problem)
        if fitted.held_out:
            told = ", ".join(f"{strength:g}: {loss:.4f}" for strength, loss in fitted.held_out.items())
            LOGGER.info("head %s: %g chosen by its held-out loss (%s)", self.config.head.name, fitted.chosen, told)
        return fitted

    def problem(
        self, train: Dataset, features: Features, *, balanced: bool = False, progress: Progress | None = None
    ) -> Problem:
        """Put features, targets, loss, weights and grouped folds together."""
        config, task = self.config, train.task
        extra, origin = augmented_features(
            self.module, train, self.embedder, self.device, self.augmenter, config.augmentation,
            num_views=config.training.frozen_views, cache=self.cache, progress=progress,
        )  # fmt: skip
        rows = np.concatenate([np.arange(len(train)), origin])
        weights = class_balance(train) if balanced else None
        if weights is None:
            sampler = sampler_of(config, train, self.augmenter)
            weights = record_weights(sampler, len(train), config.training.num_epochs, labels=train.targets())
        copies = np.bincount(rows)
        whole = copies.astype(np.float64) if weights is None else weights  # what a record counts with its copies
        return Problem(
            features=torch.as_tensor(np.concatenate([features, extra])),
            targets=targets_tensor(train.targets(), task)[torch.as_tensor(rows)],
            task=task,
            num_classes=len(train.classes),
            criterion=last_criterion(config, task, self.seen, reduction="none"),
            weights=None if weights is None else torch.as_tensor(weights[rows] / copies[rows]),
            held_weights=torch.as_tensor(whole[rows]),
            folds=[(np.flatnonzero(np.isin(rows, fit)), held) for fit, held in self._folds(train)],
        )

    def _folds(self, train: Dataset) -> list[Fold]:
        """Return grouped folds; the originals come first in the problem, so that copies are never held out."""
        try:
            return make_folds(train, num_folds=NUM_FOLDS, kind="group", seed=self.config.experiment.seed)
        except SplitError as error:
            LOGGER.info("head %s: its default strength, as nothing can be held out: %s", self.config.head.name, error)
            return []

    def install(self, fitted: Fitted) -> None:
        """Put a fitted head into the model."""
        from ringlight.models.heads import install_head, set_linear

        if fitted.layer is not None:
            set_linear(self.module, fitted.layer.weight, fitted.layer.bias)
        elif fitted.module is not None:
            install_head(self.module, fitted.module)


def class_balance(train: Dataset) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return weights (N,) of mean 1 under which every class counts equally; of several labels the rarest decides."""
    matrix = train.label_matrix().astype(np.float64)
    clean = ~matrix.any(axis=1, keepdims=True)
    if clean.any():
        matrix = np.concatenate([matrix, clean], axis=1)
    weights = (matrix / matrix.sum(axis=0).clip(min=1)).max(axis=1)
    return np.asarray(weights * (len(train) / weights.sum()))


def retrain_classifier(frozen: Frozen, train: Dataset) -> str:
    """Fit the classifier again, with balanced classes, on the features of the trained backbone; return the note.

    Classifier re-training, cRT (Kang et al. 2020, arXiv:1910.09217, section 4.1), with the whole training part at once
    instead of class-balanced epochs, and the configured head, which is linear.
    """
    seed_everything(frozen.config.experiment.seed)
    if frozen.config.training.mode != "frozen":
        frozen = replace(frozen, cache=None)  # no other run has these weights, whose features would be kept in vain
    fitted = frozen.fit(train, frozen.table().of(train), balanced=True)
    frozen.install(fitted)
    return "crt: the classifier was fitted again with balanced classes"


class FrozenLearner(AtOnceLearner):
    """Fits a head to frozen features, behind the engine's `Learner` protocol."""

    frozen: Frozen
    _table: FeatureTable | None = None

    @classmethod
    def from_plan(cls, plan: Plan, folder: Path, on_epoch: Callable[[History, Prediction | None], None]) -> Self:
        """Take the parts of a plan."""
        learner = super().from_plan(plan, folder, on_epoch)
        learner.frozen = Frozen.of_plan(plan)
        return learner

    def fit(
        self,
        train: Dataset,
        val: Dataset | None,
        *,
        tracker: Tracker,
        control: RunControl,
        resume: Path | None,  # noqa: ARG002
    ) -> History:
        """Fit the head; the history has one row. `resume` changes nothing: features that were kept are read.

        Raises:
            InterruptedRunError: the control stopped it while features were computed.
        """
        seed_everything(self.frozen.config.experiment.seed)
        progress = preparing(control)
        self._table = self.frozen.table(progress)
        fitted = self.frozen.fit(train, self._table.of(train), progress=progress)
        self.frozen.install(fitted)
        if fitted.module is not None:
            self.head_spec = dict(fitted.spec)
        self.finish(train)
        return self.tell(train, val, tracker)

    def predict_views(self, data: Dataset, tta: Tta) -> Prediction:
        """Return raw scores; of records whose features are known, by the head alone."""
        if self._table is None or tta.runs > 1 or not self._table.has(data):
            return super().predict_views(data, tta)
        from ringlight.models.heads import classifier_of

        head = classifier_of(self.module).eval()
        with torch.inference_mode():
            device = next(iter(head.state_dict().values())).device
            logits = head(torch.as_tensor(self._table.of(data), device=device)).float().cpu().numpy()
        return Prediction(data.ids, logits, self.classes, self.task, data.targets())
