"""Classical classifiers of windows: forests, boosting, a support-vector machine and logistic regression on features.

Windows are described by the numbers of :mod:`ringlight.models.window_features`, which `feature_groups` and `invariance`
choose from; scikit-learn's estimators are fitted to them. Each is a catalogue part with its parameters spelt out under
scikit-learn's names. See :mod:`ringlight.models.estimator` for what they share.
"""

from __future__ import annotations

import json
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ringlight.errors import ModelError, did_you_mean
from ringlight.models.estimator import ClassWeight, EstimatorModel, check_least
from ringlight.models.window_features import GROUPS, VERSION, Group, Invariance, window_features
from ringlight.types import Task

MaxFeatures = Literal["sqrt", "log2"] | float | None
"""Features tried at a split: the root or the logarithm of their number, a share above 0 and up to 1, or all (None)."""


class FeatureModel(EstimatorModel):
    """Base of the estimators that are fitted to window features."""

    def __init__(
        self, num_classes: int, in_chans: int, *, task: Task, seed: int, class_weight: ClassWeight,
        feature_groups: list[Group] | None, invariance: Invariance,
    ) -> None:  # fmt: skip
        super().__init__(num_classes, in_chans, task=task, seed=seed, class_weight=class_weight)
        chosen = list(GROUPS) if feature_groups is None else list(feature_groups)
        unknown = [one for one in chosen if one not in GROUPS]
        if unknown or not chosen or (in_chans == 1 and chosen == ["correlation"]):
            raise ModelError(
                "one or more groups of features" + ("" if in_chans > 1 else " that one channel has"),
                got=repr(unknown or chosen), where="model.feature_groups",
                fix=did_you_mean(str(unknown[0]) if unknown else "", GROUPS),
            )  # fmt: skip
        self.feature_groups: tuple[Group, ...] = tuple(group for group in GROUPS if group in chosen)
        self.invariance: Invariance = invariance

    @property
    def description(self) -> str:
        """What the features depend on beside the windows."""
        return json.dumps(["window features", VERSION, self.in_chans, self.feature_groups, self.invariance])

    def describe(self, windows_bct: Tensor) -> Tensor:
        """Return the window features, float32 (B, D); frequencies are in cycles a sample.

        Raises:
            ModelError: another number of channels.
            DataError: windows that are too short or not finite.
        """
        self._check_windows(windows_bct)
        windows = windows_bct.detach().to("cpu", torch.float32).numpy().transpose(0, 2, 1)
        found, _ = window_features(windows, groups=self.feature_groups, invariance=self.invariance)
        return torch.from_numpy(found)


class _Forest(FeatureModel):
    """What the two forests share: votes of trees, and scores log(p_k + 1 / (n K)).

    p_k is the share of the n trees' votes for class k, and one more vote is divided among the K classes: no class is
    impossible because a few hundred trees did not name it, and the order of the shares is kept. Of several labels each
    is scored by ln((n p + 1/2) / (n (1 - p) + 1/2)).
    """

    def __init__(
        self, num_classes: int, in_chans: int, *, task: Task, seed: int, class_weight: ClassWeight,
        feature_groups: list[Group] | None, invariance: Invariance, n_estimators: int, max_depth: int | None,
        min_samples_split: int, min_samples_leaf: int, max_features: MaxFeatures, bootstrap: bool,
    ) -> None:  # fmt: skip
        super().__init__(
            num_classes, in_chans, task=task, seed=seed, class_weight=class_weight, feature_groups=feature_groups,
            invariance=invariance,
        )  # fmt: skip
        check_least("n_estimators", n_estimators, 1)
        check_least("max_depth", max_depth, 1)
        check_least("min_samples_split", min_samples_split, 2)
        check_least("min_samples_leaf", min_samples_leaf, 1)
        share = 1.0 if max_features is None or isinstance(max_features, str) else float(max_features)
        if max_features not in (None, "sqrt", "log2") and not 0 < share <= 1:
            raise ModelError(
                "sqrt, log2, null, or a share above 0 and up to 1", got=repr(max_features), where="model.max_features",
                fix="sqrt is usual",
            )  # fmt: skip
        self.settings: dict[str, Any] = {
            "n_estimators": n_estimators, "max_depth": max_depth, "min_samples_split": min_samples_split,
            "min_samples_leaf": min_samples_leaf, "bootstrap": bootstrap, "random_state": seed,
            "max_features": max_features if max_features in (None, "sqrt", "log2") else share,
        }  # fmt: skip

    def scores_of(self, estimator: Any, features: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return the smoothed log shares of votes, (N, classes); of a label its log odds, (N,)."""
        shares = np.asarray(estimator.predict_proba(features), np.float64)
        votes = len(estimator.estimators_) * shares
        if self.task == "multilabel":
            return np.asarray(np.log((votes[:, 1] + 0.5) / (votes[:, 0] + 0.5)))
        return np.asarray(np.log((votes + 1 / self.num_classes) / len(estimator.estimators_)))


class RandomForest(_Forest):
    """Random forest (Breiman 2001): trees on bootstrap samples, a random choice of features at every split."""

    def __init__(
        self, num_classes: int, in_chans: int, *, task: Task = "multiclass", seed: int = 0,
        n_estimators: int = 300, max_depth: int | None = None, min_samples_split: int = 2, min_samples_leaf: int = 1,
        max_features: MaxFeatures = "sqrt", bootstrap: bool = True, class_weight: ClassWeight = None,
        feature_groups: list[Group] | None = None, invariance: Invariance = "none",
    ) -> None:  # fmt: skip
        super().__init__(
            num_classes, in_chans, task=task, seed=seed, class_weight=class_weight, feature_groups=feature_groups,
            invariance=invariance, n_estimators=n_estimators, max_depth=max_depth, min_samples_split=min_samples_split,
            min_samples_leaf=min_samples_leaf, max_features=max_features, bootstrap=bootstrap,
        )  # fmt: skip

    def new_estimator(self) -> Any:
        """Return scikit-learn's forest."""
        from sklearn.ensemble import RandomForestClassifier

        return RandomForestClassifier(**self.settings, n_jobs=torch.get_num_threads())


class ExtraTrees(_Forest):
    """Extremely randomised trees (Geurts et al. 2006): as a forest, with thresholds drawn at random."""

    def __init__(
        self, num_classes: int, in_chans: int, *, task: Task = "multiclass", seed: int = 0,
        n_estimators: int = 300, max_depth: int | None = None, min_samples_split: int = 2, min_samples_leaf: int = 1,
        max_features: MaxFeatures = "sqrt", bootstrap: bool = False, class_weight: ClassWeight = None,
        feature_groups: list[Group] | None = None, invariance: Invariance = "none",
    ) -> None:  # fmt: skip
        super().__init__(
            num_classes, in_chans, task=task, seed=seed, class_weight=class_weight, feature_groups=feature_groups,
            invariance=invariance, n_estimators=n_estimators, max_depth=max_depth, min_samples_split=min_samples_split,
            min_samples_leaf=min_samples_leaf, max_features=max_features, bootstrap=bootstrap,
        )  # fmt: skip

    def new_estimator(self) -> Any:
        """Return scikit-learn's extra trees."""
        from sklearn.ensemble import ExtraTreesClassifier

        return ExtraTreesClassifier(**self.settings, n_jobs=torch.get_num_threads())


class GradientBoosting(FeatureModel):
    """Gradient boosting on histograms (Ke et al. 2017, LightGBM's way), in scikit-learn; its raw scores are logits."""

    def __init__(
        self, num_classes: int, in_chans: int, *, task: Task = "multiclass", seed: int = 0,
        n_estimators: int = 200, learning_rate: float = 0.1, max_depth: int | None = None, max_leaf_nodes: int = 31,
        min_samples_leaf: int = 20, l2_regularization: float = 0.0, max_features: float = 1.0,
        class_weight: ClassWeight = None, feature_groups: list[Group] | None = None, invariance: Invariance = "none",
    ) -> None:  # fmt: skip
        super().__init__(
            num_classes, in_chans, task=task, seed=seed, class_weight=class_weight, feature_groups=feature_groups,
            invariance=invariance,
        )  # fmt: skip
        check_least("n_estimators", n_estimators, 1)
        check_least("learning_rate", learning_rate, 0, above=True)
        check_least("max_depth", max_depth, 1)
        check_least("max_leaf_nodes", max_leaf_nodes, 2)
        check_least("min_samples_leaf", min_samples_leaf, 1)
        check_least("l2_regularization", l2_regularization, 0)
        check_least("max_features", max_features, 0, above=True)
        if max_features > 1:
            raise ModelError("a share up to 1", got=f"{max_features:g}", where="model.max_features", fix="1.0 is all")
        self.settings: dict[str, Any] = {
            "max_iter": n_estimators, "learning_rate": float(learning_rate), "max_depth": max_depth,
            "max_leaf_nodes": max_leaf_nodes, "min_samples_leaf": min_samples_leaf,
            "l2_regularization": float(l2_regularization), "max_features": float(max_features), "random_state": seed,
        }  # fmt: skip

    def new_estimator(self) -> Any:
        """Return scikit-learn's boosted trees; early stopping would hold out records regardless of their groups."""
        from sklearn.ensemble import HistGradientBoostingClassifier

        return HistGradientBoostingClassifier(**self.settings, early_stopping=False)


class SVM(FeatureModel):
    """Support-vector machine with a Gaussian kernel (Cortes and Vapnik 1995) on standardised features.

    Its scores are the one-vs-rest decision values, of two classes -d/2 and d/2, and no probabilities: calibrate them
    (`evaluation.calibration=auto`) before a threshold is chosen by probability.
    """

    is_scaled: ClassVar[bool] = True

    def __init__(
        self, num_classes: int, in_chans: int, *, task: Task = "multiclass", seed: int = 0,
        C: float = 10.0, gamma: Literal["scale", "auto"] | float = "scale",  # noqa: N803 - scikit-learn's own name
        class_weight: ClassWeight = None, feature_groups: list[Group] | None = None, invariance: Invariance = "none",
    ) -> None:  # fmt: skip
        super().__init__(
            num_classes, in_chans, task=task, seed=seed, class_weight=class_weight, feature_groups=feature_groups,
            invariance=invariance,
        )  # fmt: skip
        check_least("C", C, 0, above=True)
        if not isinstance(gamma, str):
            check_least("gamma", gamma, 0, above=True)
        elif gamma not in ("scale", "auto"):
            raise ModelError("scale, auto or a number", got=repr(gamma), where="model.gamma", fix="scale is usual")
        self.settings: dict[str, Any] = {"C": float(C), "gamma": gamma, "random_state": seed}

    def new_estimator(self) -> Any:
        """Return scikit-learn's machine; pairs of classes are joined to one value a class."""
        from sklearn.svm import SVC

        return SVC(**self.settings, kernel="rbf", decision_function_shape="ovr", cache_size=500)


class LogisticRegression(FeatureModel):
    """Multinomial logistic regression with a ridge penalty, 1 / (2 C) |w|^2, on standardised features."""

    is_scaled: ClassVar[bool] = True

    def __init__(
        self, num_classes: int, in_chans: int, *, task: Task = "multiclass", seed: int = 0,
        C: float = 1.0, max_iter: int = 500,  # noqa: N803 - scikit-learn's own name
        class_weight: ClassWeight = None, feature_groups: list[Group] | None = None, invariance: Invariance = "none",
    ) -> None:  # fmt: skip
        super().__init__(
            num_classes, in_chans, task=task, seed=seed, class_weight=class_weight, feature_groups=feature_groups,
            invariance=invariance,
        )  # fmt: skip
        check_least("C", C, 0, above=True)
        check_least("max_iter", max_iter, 1)
        self.settings: dict[str, Any] = {"C": float(C), "max_iter": max_iter, "random_state": seed}

    def new_estimator(self) -> Any:
        """Return scikit-learn's regression, whose decision values are the logits."""
        from sklearn.linear_model import LogisticRegression as Regression

        return Regression(**self.settings)
