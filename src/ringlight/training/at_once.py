"""Learners without epochs: what is fitted to all records at once has a history of one row."""

from __future__ import annotations

import torch

from ringlight.evaluation.metrics import classification_metrics, flatten
from ringlight.runtime import LOGGER
from ringlight.training.drawing import last_criterion
from ringlight.training.learner import DeepLearner
from ringlight.training.linear_fit import targets_tensor
from ringlight.training.rules import truth_of
from ringlight.types import Dataset, History, Prediction, Tracker


class AtOnceLearner(DeepLearner):
    """A learner that is fitted at once: a head on frozen features, a classical model, an ensemble."""

    def tell(self, train: Dataset, val: Dataset | None, tracker: Tracker) -> History:
        """Score the fitted model on both parts, tell whoever listens, and return the history.

        A part that was learned from has its loss alone.
        """
        row: dict[str, float] = {"epoch": 0, "train/loss": self.loss_of(self.predict(train))}
        validation = None
        if val is not None and len(val):
            validation = self.predict(val)
            metrics = classification_metrics(truth_of(validation), validation.probabilities, val.classes, val.task)
            scores = {"loss": self.loss_of(validation), **flatten(metrics), **self.further(validation)}
            row |= {f"val/{name}": value for name, value in scores.items()}
        history = History([row])
        tracker.log_metrics({name: value for name, value in row.items() if name != "epoch"}, 0)
        self.on_epoch(history, validation)
        told = [f"{name} {row[name]:.4f}" for name in ("train/loss", "val/loss", "val/macro_f1") if name in row]
        LOGGER.info("fitted  %s", "  ".join(told))
        return history

    def loss_of(self, prediction: Prediction) -> float:
        """Return the configured loss of scores, as it is at the end of a run."""
        plan = self.plan
        criterion = last_criterion(plan.config, prediction.task, plan.seen).eval()
        targets = targets_tensor(truth_of(prediction), prediction.task)
        with torch.inference_mode():
            return float(criterion(torch.as_tensor(prediction.logits), targets))
