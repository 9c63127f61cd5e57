"""Estimators of scikit-learn that a caller brings, as models of windows: on features of them, or on vectors.

Shapes: N records, B windows, C channels, T samples, D features of a vector (then T is 1 and C is D), K classes.
"""

from __future__ import annotations

import json
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ringlight.errors import ModelError
from ringlight.models.estimator import ClassWeight, EstimatorModel
from ringlight.models.window_features import VERSION, window_features
from ringlight.types import Task


class ScikitModel(EstimatorModel):
    """An estimator of scikit-learn; base of the two that differ in what it is fitted to.

    Its scores are log probabilities where it has `predict_proba`, else its decision values.

    Args:
        num_classes: K.
        in_chans: C.
        task: how scores become probabilities.
        seed: of the estimator and those inside it, where a `random_state` is None.
        class_weight: how much a record counts, by its class.
        estimator: it; cloned, never fitted itself. None for a fitted one that is loaded.

    Raises:
        ModelError: no estimator of classes, or one whose predictions have no scores.
    """

    takes: ClassVar[str] = "arrays"  # a caller brings it: no configuration names it

    def __init__(
        self, num_classes: int, in_chans: int, *, task: Task = "multiclass", seed: int = 0,
        class_weight: ClassWeight = None, estimator: Any = None,
    ) -> None:  # fmt: skip
        super().__init__(num_classes, in_chans, task=task, seed=seed, class_weight=class_weight)
        if estimator is not None:
            check_estimator(estimator)
        self.template = estimator

    def new_estimator(self) -> Any:
        """Return a clone that was not fitted, its random numbers from the seed."""
        from sklearn.base import clone

        made = clone(self.template)
        own = made.get_params(deep=True).items()
        return made.set_params(
            **{key: self.seed for key, value in own if key.endswith("random_state") and value is None}
        )

    def fit_estimator(
        self, matrix: npt.NDArray[Any], labels: npt.NDArray[np.int64], weights: npt.NDArray[np.float64] | None
    ) -> Any:
        """Return an estimator fitted to features (N, D), classes (N,) and weights (N,).

        Raises:
            ModelError: weights for an estimator that knows none.
        """
        from sklearn.utils.validation import has_fit_parameter

        made = self.new_estimator()
        if weights is None:
            return made.fit(matrix, labels)
        if not has_fit_parameter(made, "sample_weight"):
            raise ModelError(
                "an estimator whose fit takes sample_weight, as classes have weights", got=type(made).__name__,
                where="class_weights", fix="leave the weights out, or choose another estimator",
            )  # fmt: skip
        return made.fit(matrix, labels, sample_weight=weights)

    def fit_features(
        self, features: npt.ArrayLike, targets: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None
    ) -> None:
        """Fit a clone of the estimator to features (N, D); the arguments are those of the base.

        Raises:
            ModelError: also one that can be written by pickle alone.
        """
        try:
            super().fit_features(features, targets, sample_weight)
        except ModelError as error:
            if not error.where.endswith("as fitted"):
                raise
            raise ModelError(
                "an estimator that can be saved without pickle", got=f"{type(self.template).__name__} with {error.got}",
                where="model", fix="choose another; nearest neighbours can with algorithm='brute'",
            ) from error  # fmt: skip

    def scores_of(self, estimator: Any, features: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return log probabilities (N, classes), or decision values; of a label its log odds (N,).

        Raises:
            ModelError: the fitted estimator has neither.
        """
        if not hasattr(estimator, "predict_proba"):
            if not hasattr(estimator, "decision_function"):
                raise _scoreless(estimator)
            return np.asarray(estimator.decision_function(features))
        logs = np.log(np.clip(estimator.predict_proba(features), 1e-7, None))
        return np.asarray(logs if self.task == "multiclass" else logs[:, 1] - logs[:, 0])


class ScikitOnFeatures(ScikitModel):
    """An estimator on the features of windows, all groups, each with mean 0 and deviation 1 on the training windows."""

    is_scaled: ClassVar[bool] = True

    @property
    def description(self) -> str:
        """What the features depend on beside the windows."""
        return json.dumps(["window features", VERSION, self.in_chans, "all", "none"])

    def describe(self, windows_bct: Tensor) -> Tensor:
        """Return the window features, float32 (B, D); frequencies are in cycles a sample.

        Raises:
            ModelError: another number of channels.
            DataError: windows that are too short or not finite.
        """
        self._check_windows(windows_bct)
        windows = windows_bct.detach().to("cpu", torch.float32).numpy().transpose(0, 2, 1)
        return torch.from_numpy(window_features(windows)[0])


class ScikitOnVectors(ScikitModel):
    """An estimator on vectors as they are."""

    @property
    def description(self) -> str:
        """What the features depend on beside the vectors."""
        return json.dumps(["vectors", self.in_chans])

    def describe(self, windows_bct: Tensor) -> Tensor:
        """Return the vectors (B, D) of windows of one sample.

        Raises:
            ModelError: another number of channels.
        """
        self._check_windows(windows_bct)
        return windows_bct.detach().to("cpu", torch.float32).flatten(1)


def check_estimator(estimator: Any) -> None:
    """Refuse what is no classifier of scikit-learn's kind, or gives classes alone.

    Raises:
        ModelError: it is none.
    """
    name = type(estimator).__name__
    # What passes `predict` on to another estimator may have it only when it is fitted.
    found = all(hasattr(type(estimator), need) for need in ("fit", "predict", "get_params"))
    if isinstance(estimator, type) or not found:
        got = f"the class {estimator.__name__}" if isinstance(estimator, type) else name
        raise ModelError(
            "a torch.nn.Module, or an estimator of scikit-learn", got=got, where="model",
            fix="pass an object such as RandomForestClassifier()",
        )  # fmt: skip
    scores = any(hasattr(estimator, need) for need in ("predict_proba", "decision_function"))
    if hasattr(estimator, "predict") and not scores:
        raise _scoreless(estimator)


def _scoreless(estimator: Any) -> ModelError:
    name = type(estimator).__name__
    return ModelError(
        "an estimator with predict_proba or decision_function", got=f"{name}, which has neither", where="model",
        fix=f"pass CalibratedClassifierCV({name}(...)), or another estimator",
    )  # fmt: skip
