"""Classical models behind the engine's `Learner` protocol: described once, fitted at once, then judged like a network.

Shapes: N records, D features, K classes.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ringlight.data.window_spec import WindowSpec
from ringlight.data.window_store import WindowReader
from ringlight.errors import RunError
from ringlight.inference.tta import Tta
from ringlight.models.estimator import EstimatorModel
from ringlight.runtime import seed_everything
from ringlight.training.at_once import AtOnceLearner
from ringlight.training.callbacks import preparing
from ringlight.training.drawing import sampler_of, shown
from ringlight.training.frozen_features import FeatureTable
from ringlight.training.window_table import window_table
from ringlight.types import Dataset, History, Prediction, RunControl, Tracker

if TYPE_CHECKING:
    from ringlight.training.plan import Plan

PREPARED = 1024
"""Training windows, drawn by the seed, that a description is prepared with where it needs some (ROCKET's biases)."""


class EstimatorLearner(AtOnceLearner):
    """Fits an :class:`~ringlight.models.estimator.EstimatorModel` to the features of the training windows.

    The features of the plan's whole data set are computed once and kept, so that its parts, folds and repeated runs
    share one pass; a description that is fitted itself (ROCKET) knows the training windows alone, and each of its fits
    needs a pass. How often a sampler and the copies of a class would show a record is its weight. Augmented windows
    themselves are never made: an estimator sees plain ones. A validation part is only judged.
    """

    _table: FeatureTable | None = None

    def fit(
        self,
        train: Dataset,
        val: Dataset | None,
        *,
        tracker: Tracker,
        control: RunControl,
        resume: Path | None,  # noqa: ARG002
    ) -> History:
        """Fit the estimator; the history has one row. `resume` changes nothing: features that were kept are read.

        Raises:
            InterruptedRunError: the control stopped it while features were computed.
            RunError: a learner that was loaded or made of single parts.
        """
        plan, model, spec = self._needed()
        config = plan.config
        seed_everything(config.experiment.seed)
        if model.needs_windows:
            rows = np.random.default_rng(config.experiment.seed).permutation(len(train))[:PREPARED]
            model.prepare(spec.apply(WindowReader.of(train).read(np.sort(rows))))
        told = preparing(control, windows=True)
        self._table = window_table(model, plan.dataset, spec, cache=plan.cache, progress=told)
        weights = shown(sampler_of(config, train, self.augmenter), train, config)
        model.fit_features(self._table.of(train), train.targets(), weights)
        self.finish(train)
        return self.tell(train, val, tracker)

    def _needed(self) -> tuple[Plan, EstimatorModel, WindowSpec]:
        self._needs()
        if self._plan is None or not isinstance(self.module, EstimatorModel) or not isinstance(self.spec, WindowSpec):
            raise RunError(
                "a learner made from a plan with a classical model of windows", got=type(self.module).__name__,
                where="EstimatorLearner.fit", fix="build it with EstimatorLearner.from_plan",
            )  # fmt: skip
        return self._plan, self.module, self.spec

    def predict_views(self, data: Dataset, tta: Tta) -> Prediction:
        """Return raw scores; of records whose features are known, by the estimator alone."""
        if self._table is None or tta.runs > 1 or not self._table.has(data):
            return super().predict_views(data, tta)
        _, model, _ = self._needed()
        return Prediction(data.ids, model.scores(self._table.of(data)), self.classes, self.task, data.targets())
