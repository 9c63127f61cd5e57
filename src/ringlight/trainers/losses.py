"""Losses by their names in the seed, without the number of classes: the first scores, or the trainer, tell it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from ringlight.errors import ConfigError, Problems
from ringlight.losses import LOSSES

Weights = Mapping[int, float] | Sequence[float] | str
"""Class weights: by class number, a number for each class, or `balanced`."""


class LossFunction(nn.Module):
    """A loss of the catalogue that waits for its number of classes.

    `loss(logits, targets)` with raw scores (B, K) and classes (B,), in that order, as every loss of PyTorch; K is taken
    from the first scores. A trainer is given it in the place of `training.loss` and its `loss_config`.

    Args:
        name: in the catalogue of losses, or Keras' name of one.
        params: its own parameters.

    Raises:
        Problems: an unknown name or parameter, a line each.
    """

    def __init__(self, name: str, params: Mapping[str, Any]) -> None:
        super().__init__()
        lines = LOSSES.problems(name, params)
        if lines:
            raise Problems(lines)
        self.name = name
        self.params = dict(params)
        self.loss: nn.Module | None = None

    def build(self, num_classes: int) -> nn.Module:
        """Return the loss for K classes.

        Raises:
            ConfigError: parameters that do not fit them.
        """
        params = dict(self.params)
        for key in ("weights", "alpha"):
            if isinstance(params.get(key), Mapping):
                params[key] = weights_of(params[key], num_classes)
        return LOSSES.build(self.name, num_classes=num_classes, task="multiclass", **params)

    def forward(self, logits_bk: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of logits (B, K) and classes (B,)."""
        if self.loss is None or self.loss.num_classes != logits_bk.shape[1]:
            self.loss = self.build(logits_bk.shape[1]).to(logits_bk.device)
        found: Tensor = self.loss(logits_bk, targets)
        return found


class WeightedCategoricalCrossentropy(LossFunction):
    """Cross-entropy in which a class counts as its weight: `class_weights` by number, in order, or `balanced`.

    What is not named counts 1. `balanced` needs the training records, which a trainer has.
    """

    def __init__(self, class_weights: Weights = "balanced") -> None:
        super().__init__("weighted_categorical_crossentropy", {"weights": class_weights})


class LeakAwareLoss(LossFunction):
    """A missed leak costs more than a false alarm: :class:`ringlight.losses.LeakAwareLoss`.

    `leak_classes` are numbers; None is every class but the first.
    """

    def __init__(
        self, leak_penalty: float = 2.0, non_leak_penalty: float = 1.0, leak_classes: Sequence[int | str] | None = None
    ) -> None:
        params: dict[str, Any] = {"leak_penalty": leak_penalty, "non_leak_penalty": non_leak_penalty}
        super().__init__(
            "leak_aware_loss", params if leak_classes is None else {**params, "leak_classes": list(leak_classes)}
        )


class FocalLoss(LossFunction):
    """Focal loss: :class:`ringlight.losses.FocalLoss`, `alpha` one number, or one for each class."""

    def __init__(self, alpha: float | Sequence[float] = 0.25, gamma: float = 2.0) -> None:
        super().__init__("focal_loss", {"alpha": alpha, "gamma": gamma})


def get_loss_function(name: str, **config: Any) -> LossFunction:
    """Return a loss by its name; `config` are its own parameters, as in `loss_config`.

    Raises:
        Problems: an unknown name or parameter, a line each.

    Examples:
        >>> import torch
        >>> loss = get_loss_function("categorical_crossentropy")
        >>> round(float(loss(torch.zeros(1, 4), torch.tensor([0]))), 4)
        1.3863
    """
    return LossFunction(name, config)


def weights_of(weights: Mapping[Any, float], num_classes: int, classes: Sequence[str] = ()) -> list[float]:
    """Return a weight for each class, 1 where none is given, of weights by number or name.

    Raises:
        ConfigError: a class that is not there.

    Examples:
        >>> weights_of({1: 1.5, "blocked": 3}, 3, ["no_leak", "small", "blocked"])
        [1.0, 1.5, 3.0]
    """
    found = [1.0] * num_classes
    names = list(classes)
    for key, weight in weights.items():
        known = str(key).isdigit() and int(key) < num_classes
        if not known and str(key) not in names:
            raise ConfigError(
                f"classes from 0 to {num_classes - 1}", got=repr(key), where="class_weights",
                fix="number the classes as np.unique(y) does",
            )  # fmt: skip
        found[int(key) if known else names.index(str(key))] = float(weight)
    return found


def with_class_weights(
    name: str, params: Mapping[str, Any], weights: Mapping[Any, float], classes: Sequence[str]
) -> tuple[str, dict[str, Any]]:
    """Return name and parameters of a loss that counts classes by weights.

    Cross-entropy becomes weighted cross-entropy; of focal loss each class's alpha is multiplied by its weight.

    Raises:
        ConfigError: a loss that knows no class weights, or weights for a class that is not there.
    """
    listed = weights_of(weights, len(classes), classes)
    if name in ("cross_entropy", "categorical_crossentropy", "weighted_cross_entropy"):
        return "weighted_cross_entropy", {**params, "weights": listed}
    if name == "weighted_categorical_crossentropy":
        return name, {**params, "weights": listed}
    if name == "focal_loss":
        alpha = params.get("alpha", 1.0)
        if isinstance(alpha, float | int):
            return name, {**params, "alpha": [float(alpha) * weight for weight in listed]}
    raise ConfigError(
        "a loss that takes class weights: categorical_crossentropy, weighted_categorical_crossentropy, focal_loss with "
        "a number as alpha", got=name, where="class_weights",
        fix="leave the weights out: leak_aware_loss has its penalties, cost_sensitive its costs",
    )  # fmt: skip
