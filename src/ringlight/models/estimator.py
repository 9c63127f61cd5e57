"""Estimators of scikit-learn as models: windows (B, C, T) -> a description (B, D) -> logits (B, K).

An :class:`EstimatorModel` is a `torch.nn.Module` without parameters, so that everything behind training (bundle,
prediction, calibration, report) takes it like a network. The fitted estimator lies in the state dict as one uint8
tensor, written without pickle (:mod:`ringlight.models.estimators_io`); its predictions after loading are the same bits.

Shapes: N or B windows, C channels, T samples, D features, K classes.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ringlight.errors import ModelError
from ringlight.models.estimators_io import from_bytes, to_bytes
from ringlight.types import Task

Floats = npt.NDArray[np.float32]
ClassWeight = Literal["balanced"] | dict[int, float] | None
"""How much a record counts by its class: all alike (None), N / (K count of its class) ("balanced", King and Zeng 2001,
as scikit-learn computes it), or given by class index, 1 where it is not named."""

FORMAT = 1
ABSENT = 10.0
"""How far below a window's lowest score a class stands that the training records did not hold."""
LOGGER = logging.getLogger("ringlight")


class EstimatorModel(nn.Module):
    """Base of models that fit an estimator to one vector a window.

    A subclass says how windows are described (`describe`, and `prepare` where that needs training windows) and which
    estimator is fitted (`new_estimator`). Several labels are learned by an estimator each.
    """

    takes: ClassVar[str] = "windows"
    is_estimator: ClassVar[bool] = True
    """Such a model is fitted by `training.estimators.EstimatorLearner` and not by gradient steps."""
    needs_windows: ClassVar[bool] = False
    """Whether `prepare` must see training windows before any can be described."""
    is_scaled: ClassVar[bool] = False
    """Whether features are standardised before the estimator sees them (trees do not mind)."""
    estimator: Tensor

    def __init__(
        self, num_classes: int, in_chans: int, *, task: Task = "multiclass", seed: int = 0,
        class_weight: ClassWeight = None,
    ) -> None:  # fmt: skip
        super().__init__()
        check_least("num_classes", num_classes, 1)
        check_least("in_chans", in_chans, 1)
        self.num_classes = num_classes
        self.in_chans = in_chans
        self.task: Task = task
        self.seed = seed
        self.class_weight = _checked_weights(class_weight, num_classes)
        self.register_buffer("estimator", torch.empty(0, dtype=torch.uint8))
        self._fitted: dict[str, Any] | None = None

    @property
    def is_fitted(self) -> bool:
        """Whether it was fitted, or loaded as a fitted one."""
        return self._fitted is not None

    @property
    def description(self) -> str:
        """What the features depend on beside the windows: equal descriptions give equal features."""
        raise NotImplementedError(f"{type(self).__name__} has no description")

    def prepare(self, windows_bct: Tensor) -> None:
        """Fit what the description needs to training windows; nothing for a description that needs none."""
        self._check_windows(windows_bct)

    def describe(self, windows_bct: Tensor) -> Tensor:
        """Return one vector a window, float32 (B, D) on the CPU; the windows beside it change nothing.

        Raises:
            ModelError: another number of channels, or a model that was not prepared.
        """
        raise NotImplementedError(f"{type(self).__name__} has no describe")

    def new_estimator(self) -> Any:
        """Return an estimator that was not fitted."""
        raise NotImplementedError(f"{type(self).__name__} has no new_estimator")

    def fit_estimator(
        self, matrix: npt.NDArray[Any], labels: npt.NDArray[np.int64], weights: npt.NDArray[np.float64] | None
    ) -> Any:
        """Return an estimator fitted to features (N, D), two or more classes (N,) and weights (N,) above 0."""
        return self.new_estimator().fit(matrix, labels, sample_weight=weights)

    def scores_of(self, estimator: Any, features: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return the scores of a fitted estimator as logits: (N,) for two classes, else (N, classes it knows)."""
        scores: npt.NDArray[Any] = estimator.decision_function(features)
        return scores

    def fit_features(
        self, features: npt.ArrayLike, targets: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None
    ) -> None:
        """Fit the estimator to features (N, D).

        `targets` are class indices (N,), or a binary matrix (N, K) of several labels; `sample_weight` (N,) says how
        often each record counts, beside its class's weight.

        Raises:
            ModelError: sizes that do not fit, features that are not finite, no record that counts.
        """
        matrix, labels, weights = self._checked(features, targets, sample_weight)
        scaler = None
        if self.is_scaled:
            from sklearn.preprocessing import StandardScaler

            scaler = StandardScaler().fit(matrix)
            matrix = scaler.transform(matrix)
        heads = [self._fit_head(matrix, column, weights) for column in labels]
        fitted = {
            "format": FORMAT, "kind": type(self).__name__, "task": self.task, "num_classes": self.num_classes,
            "num_features": int(matrix.shape[1]), "scaler": scaler, "heads": heads,
        }  # fmt: skip
        self.estimator = torch.frombuffer(bytearray(to_bytes(fitted)), dtype=torch.uint8)
        # What predicts from now on is what a loaded model predicts with, whatever writing has rounded or left out.
        self._restore(f"{type(self).__name__} as fitted")

    def _fit_head(
        self, matrix: npt.NDArray[Any], labels: npt.NDArray[np.int64], weights: npt.NDArray[np.float64]
    ) -> dict[str, Any]:
        counted = weights > 0
        classes = np.unique(labels[counted])
        if len(classes) < 2:  # nothing to learn: the one class there is
            return {"classes": classes.tolist(), "estimator": None}
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            alike = np.ptp(weights[counted]) == 0  # a forest draws its samples in another way where weights are given
            estimator = self.fit_estimator(matrix[counted], labels[counted], None if alike else weights[counted])
        for line in dict.fromkeys(str(one.message).partition("\n")[0] for one in caught):
            LOGGER.warning("%s: %s", type(self).__name__, line)
        if "n_jobs" in estimator.get_params():
            estimator.set_params(n_jobs=1)  # threads would add up votes in any order, and so in other bits
        return {"classes": classes.tolist(), "estimator": estimator}

    def scores(self, features: npt.ArrayLike) -> Floats:
        """Return logits (N, K) of features (N, D).

        Raises:
            ModelError: the model was not fitted, or to another number of features.
        """
        fitted = self.fitted()
        matrix = np.asarray(features)
        if matrix.ndim != 2 or matrix.shape[1] != fitted["num_features"]:
            raise ModelError(
                f"features (N, {fitted['num_features']}), as it was fitted to", got=f"shape {matrix.shape}",
                where=type(self).__name__, fix="give windows of the length and channels it was trained on",
            )  # fmt: skip
        if fitted["scaler"] is not None:
            matrix = fitted["scaler"].transform(matrix.astype(np.float64))
        columns = [self._head_scores(head, matrix) for head in fitted["heads"]]
        return columns[0] if self.task == "multiclass" else np.concatenate(columns, axis=1)

    def _head_scores(self, head: Mapping[str, Any], matrix: npt.NDArray[Any]) -> Floats:
        """Return logits (N, K) of the head of several classes, (N, 1) of a label's."""
        classes, estimator = head["classes"], head["estimator"]
        found = np.zeros((len(matrix), 1))
        if estimator is not None and len(matrix):
            found = np.asarray(self.scores_of(estimator, matrix), np.float64)
        if self.task == "multilabel":
            only = 0.0 if estimator is not None else (ABSENT if classes == [1] else -ABSENT)
            return np.asarray(found.reshape(len(matrix), 1) + only, np.float32)
        if found.ndim == 1:
            found = found.reshape(-1, 1) * np.array([-0.5, 0.5])  # whose soft-max is the sigmoid of the score
        logits = np.repeat(found.min(axis=1, keepdims=True) - ABSENT, self.num_classes, axis=1)
        logits[:, classes] = found
        return logits.astype(np.float32)

    def forward(self, windows_bct: Tensor) -> Tensor:
        """Return logits (B, K) on the windows' device.

        Raises:
            ModelError: another number of channels, or a model that was not fitted.
        """
        self.fitted()
        return torch.from_numpy(self.scores(self.describe(windows_bct).numpy())).to(windows_bct.device)

    def fitted(self) -> dict[str, Any]:
        """Return what was fitted: `scaler` (or None), `heads` with the `classes` and the `estimator` of each.

        Raises:
            ModelError: nothing was.
        """
        if self._fitted is None:
            raise ModelError(
                "a fitted estimator", got="one that was not fitted", where=type(self).__name__,
                fix="train it (`ringlight train`), or call fit_features",
            )  # fmt: skip
        return self._fitted

    def _check_windows(self, windows_bct: Tensor) -> None:
        if windows_bct.ndim != 3 or windows_bct.shape[1] != self.in_chans:
            raise ModelError(
                f"windows (B, {self.in_chans}, T): {self.in_chans} channels, then time",
                got=str(tuple(windows_bct.shape)), where=f"input of {type(self).__name__}",
                fix="give the channels it was built for, in their order",
            )  # fmt: skip

    def _checked(
        self, features: npt.ArrayLike, targets: npt.ArrayLike, sample_weight: npt.ArrayLike | None
    ) -> tuple[npt.NDArray[Any], list[npt.NDArray[np.int64]], npt.NDArray[np.float64]]:
        """Return the features, the targets of every head, and weights (N,) of mean 1 over the records that count."""
        matrix, labels = np.asarray(features), np.asarray(targets)
        matrix = matrix.astype(np.float64 if self.is_scaled else np.float32)
        shape = (len(matrix),) if self.task == "multiclass" else (len(matrix), self.num_classes)
        if matrix.ndim != 2 or labels.shape != shape:
            raise ModelError(
                f"features (N, D) and targets {'(N,)' if self.task == 'multiclass' else f'(N, {self.num_classes})'}",
                got=f"shapes {matrix.shape} and {labels.shape}", where=type(self).__name__,
                fix="give one target a window",
            )  # fmt: skip
        if not np.isfinite(matrix).all():
            raise ModelError(
                "finite features", got=f"{int((~np.isfinite(matrix).all(axis=1)).sum())} records with others",
                where=type(self).__name__, fix="check the windows for NaN and Inf",
            )  # fmt: skip
        top = self.num_classes if self.task == "multiclass" else 2
        if not np.isin(labels, np.arange(top)).all():
            raise ModelError(
                f"targets from 0 to {top - 1}", got=f"{np.unique(labels)[[0, -1]].tolist()}", where=type(self).__name__,
                fix="give class indices",
            )  # fmt: skip
        labels = labels.astype(np.int64)
        given = np.ones(len(matrix)) if sample_weight is None else np.asarray(sample_weight, np.float64)
        weights = given * self._weights_of_classes(labels)
        if given.shape != (len(matrix),) or not (np.isfinite(weights) & (weights >= 0)).all() or not weights.any():
            raise ModelError(
                f"{len(matrix)} weights of 0 or more, not all 0", got=f"shape {given.shape}",
                where=f"{type(self).__name__}: sample_weight", fix="give how often each record counts",
            )  # fmt: skip
        heads = [labels] if self.task == "multiclass" else list(labels.T)
        return matrix, heads, weights / weights[weights > 0].mean()

    def _weights_of_classes(self, labels: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Return each record's class weight (N,); of several labels a record has the largest of its labels' weights."""
        if self.class_weight is None:
            return np.ones(len(labels))
        matrix = np.eye(self.num_classes)[labels] if self.task == "multiclass" else labels.astype(np.float64)
        if self.class_weight == "balanced":
            counts = matrix.sum(axis=0)
            by_class = len(labels) / (max((counts > 0).sum(), 1) * np.maximum(counts, 1))
        else:
            by_class = np.array([self.class_weight.get(place, 1.0) for place in range(self.num_classes)])
        weights = (matrix * by_class).max(axis=1)
        return np.asarray(np.where(matrix.any(axis=1), weights, 1.0))

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *rest: Any) -> None:
        """Take buffers of any length, then read the estimator, as a fresh model does not know its size."""
        for name, held in list(self.named_buffers(recurse=False)):
            given = state_dict.get(prefix + name)
            if given is not None and given.ndim == held.ndim:
                setattr(self, name, torch.empty(given.shape, dtype=held.dtype, device=held.device))
        super()._load_from_state_dict(state_dict, prefix, *rest)
        self._fitted = None
        if len(self.estimator):
            self._restore(f"{prefix}estimator")

    def _restore(self, where: str) -> None:
        """Read the estimator from its bytes.

        Raises:
            ModelError: bytes that were edited, or of another kind of model.
        """
        fitted = from_bytes(self.estimator.cpu().numpy().tobytes(), where)
        expected = {"format": FORMAT, "kind": type(self).__name__, "task": self.task, "num_classes": self.num_classes}
        found = {key: fitted.get(key) for key in expected} if isinstance(fitted, dict) else {}
        if found != expected:
            raise ModelError(f"{expected}", got=f"{found}", where=where, fix="load it into the model it was saved from")
        self._fitted = fitted


def check_least(name: str, value: float | None, least: float, *, above: bool = False) -> None:
    """Refuse a number below `least`, with `above` also `least` itself; None is what the estimator chooses itself.

    Raises:
        ModelError: it is.
    """
    if value is not None and not (value > least if above else value >= least):
        raise ModelError(
            f"a number {'above' if above else 'of at least'} {least:g}", got=f"{value:g}", where=f"model.{name}",
            fix="correct the value",
        )  # fmt: skip


def _checked_weights(weights: Any, num_classes: int) -> ClassWeight:
    if weights is None:
        return None
    if weights == "balanced":
        return "balanced"
    try:
        by_class = {int(key): float(value) for key, value in dict(weights).items()}
    except (TypeError, ValueError):
        by_class = {-1: -1.0}
    if not all(0 <= key < num_classes and 0 < value < np.inf for key, value in by_class.items()):
        raise ModelError(
            f"`balanced`, null, or weights above 0 by class index (0 to {num_classes - 1})", got=repr(weights),
            where="model.class_weight", fix="write model.class_weight={1: 5.0}",
        )  # fmt: skip
    return by_class
