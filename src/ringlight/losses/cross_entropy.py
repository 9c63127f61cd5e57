"""Cross-entropies: one yes-or-no a class (BCE), one class an image (CE), and CE that weighs the classes.

B batch, K classes. All run in float32 whatever the logits' type.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - PyTorch's own name for it

from ringlight.errors import ConfigError
from ringlight.losses._checks import check_counts, check_list, check_number, check_shapes, check_task, check_word, exact
from ringlight.types import Task

Reduction = Literal["mean", "sum", "none"]


class BCEWithLogits(nn.Module):
    """Binary cross-entropy of each class by itself, averaged over B x K.

        -[w_c y log p + (1 - y) log(1 - p)],    y = (1 - s) target + s / 2

    Multi-label targets are (B, K) of 0..1, soft ones included. Multi-class targets, indices (B,), become one-hot: one
    against the rest, as ResNet strikes back trains (Wightman et al. 2021, arXiv:2110.00476). The largest logit is
    still the answer, but the soft-max of logits trained this way is less well calibrated than cross-entropy's.

    Args:
        num_classes: K.
        task: `multilabel` or `multiclass`.
        class_counts: not used; every loss takes it.
        pos_weight: w_c, how many times a positive counts: a number of 0 or more, a list (one a class), None for 1.
        smoothing: s, 0 to 1: moves targets towards 1/2.
        reduction: `mean`, `sum` or `none` (B, K).

    Raises:
        ConfigError: a number out of range, a list of another length.

    Examples:
        A sure hit and a coin toss: (0.0000 + 0.6931) / 2

        >>> loss = BCEWithLogits(2, task="multilabel")
        >>> round(float(loss(torch.tensor([[20.0, 0.0]]), torch.tensor([[1.0, 0.0]]))), 4)
        0.3466
    """

    pos_weight: Tensor | None

    def __init__(
        self,
        num_classes: int,
        *,
        task: Task = "multilabel",
        class_counts: Sequence[int] | None = None,  # noqa: ARG002 - the family's common signature
        pos_weight: float | Sequence[float] | None = None,
        smoothing: float = 0.0,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        check_task(num_classes, task, name="bce_with_logits", tasks=("multilabel", "multiclass"))
        self.num_classes = num_classes
        self.task: Task = task
        self.smoothing = check_number(smoothing, key="smoothing", low=0.0, high=1.0)
        self.reduction: Reduction = reduction
        weights = [pos_weight] * num_classes if isinstance(pos_weight, (int, float)) else pos_weight
        listed = None if weights is None else check_list(weights, num_classes, key="pos_weight")
        self.register_buffer("pos_weight", None if listed is None else torch.tensor(listed, dtype=torch.float32))

    def forward(self, logits_bk: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of logits (B, K).

        Raises:
            DataError: logits or targets of another shape.
        """
        multilabel = self.task == "multilabel"
        check_shapes(logits_bk, targets, self.num_classes, indices=not multilabel, scores=multilabel)
        scores_bk = targets if multilabel else F.one_hot(targets.long(), self.num_classes)
        scores_bk = scores_bk.float() * (1 - self.smoothing) + self.smoothing / 2
        return F.binary_cross_entropy_with_logits(
            logits_bk.float(), scores_bk, pos_weight=self.pos_weight, reduction=self.reduction
        )

    def get_params(self) -> dict[str, object]:
        """Return the parameters as they act, ready for JSON."""
        return {
            "pos_weight": None if self.pos_weight is None else exact(self.pos_weight),
            "smoothing": self.smoothing,
            "reduction": self.reduction,
            "task": self.task,
            "num_classes": self.num_classes,
        }


class CrossEntropy(nn.Module):
    """Cross-entropy of the soft-max, -sum_c y_c log p_c, averaged over B; for one class an image.

    Label smoothing s (Szegedy et al. 2016, arXiv:1512.00567, section 7): y = (1 - s) one-hot + s / K.

    Args:
        num_classes: K, two or more.
        task: `multiclass`; targets are class indices (B,), or class probabilities (B, K).
        class_counts: not used; every loss takes it.
        label_smoothing: s, 0 to 1.
        reduction: `mean`, `sum` or `none` (B,).

    Raises:
        ConfigError: a multi-label data set, a number out of range.

    Examples:
        Four classes, no idea: log 4

        >>> round(float(CrossEntropy(4)(torch.zeros(2, 4), torch.tensor([0, 3]))), 4)
        1.3863
    """

    name: ClassVar[str] = "cross_entropy"
    weight: Tensor | None

    def __init__(
        self,
        num_classes: int,
        *,
        task: Task = "multiclass",
        class_counts: Sequence[int] | None = None,  # noqa: ARG002 - the family's common signature
        label_smoothing: float = 0.0,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        check_task(num_classes, task, name=self.name, tasks=("multiclass",), fix="use bce_with_logits or focal_loss")
        self.num_classes = num_classes
        self.task: Task = task
        self.label_smoothing = check_number(label_smoothing, key="label_smoothing", low=0.0, high=1.0)
        self.reduction: Reduction = reduction
        self.register_buffer("weight", None)

    def forward(self, logits_bk: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of logits (B, K).

        Raises:
            DataError: logits or targets of another shape.
        """
        check_shapes(logits_bk, targets, self.num_classes, indices=True, scores=True)
        return F.cross_entropy(
            logits_bk.float(),
            targets.float() if targets.ndim == 2 else targets.long(),
            weight=self.weight,
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
        )

    def get_params(self) -> dict[str, object]:
        """Return the parameters as they act, ready for JSON."""
        return {
            "label_smoothing": self.label_smoothing,
            "reduction": self.reduction,
            "task": self.task,
            "num_classes": self.num_classes,
        }


class WeightedCrossEntropy(CrossEntropy):
    """Cross-entropy in which class c counts w_c times: sum_b w_y(b) (-log p_y(b)) / sum_b w_y(b).

    `balanced` is scikit-learn's w_c = n / (K n_c), n_c the training images of class c and n all of them.

    Args:
        num_classes: K, two or more.
        task: `multiclass`; targets are class indices (B,), or class probabilities (B, K).
        class_counts: n_c, for `balanced`.
        weights: a list of numbers of 0 or more, one a class, or `balanced`.
        label_smoothing: 0 to 1, as in :class:`CrossEntropy`.
        reduction: `mean` (the weighted mean above; over B for probabilities), `sum` or `none` (B,).

    Raises:
        ConfigError: a multi-label data set, a number out of range, a list of another length, `balanced` without
            counts or with a class that has none.

    Examples:
        >>> WeightedCrossEntropy(2, class_counts=[30, 10]).get_params()["weights"]
        [0.666666687, 2.0]
    """

    name: ClassVar[str] = "weighted_cross_entropy"
    weight: Tensor

    def __init__(
        self,
        num_classes: int,
        *,
        task: Task = "multiclass",
        class_counts: Sequence[int] | None = None,
        weights: Sequence[float] | Literal["balanced"] = "balanced",
        label_smoothing: float = 0.0,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__(num_classes, task=task, label_smoothing=label_smoothing, reduction=reduction)
        check_word(weights, ("balanced",), key="weights", expected="balanced or a list of numbers")
        if isinstance(weights, str):
            listed = balanced_weights(check_counts(class_counts, num_classes, key="weights", value="balanced"))
        else:
            listed = check_list(weights, num_classes, key="weights")
        self.weight = torch.tensor(listed, dtype=torch.float32)

    def get_params(self) -> dict[str, object]:
        """Return the parameters as they act, ready for JSON: weights resolved."""
        return {"weights": exact(self.weight), **super().get_params()}


def balanced_weights(class_counts: Sequence[int]) -> list[float]:
    """Return n / (K n_c) for each class.

    Raises:
        ConfigError: a class has no images.

    Examples:
        >>> balanced_weights([30, 10])
        [0.6666666666666666, 2.0]
    """
    if min(class_counts) == 0:
        raise ConfigError(
            "training images of every class for balanced",
            got=f"none of class {list(class_counts).index(0)} ({list(class_counts)})",
            where="loss.weights",
            fix="add images of it, or list the weights",
        )
    total = sum(class_counts)
    return [total / (len(class_counts) * count) for count in class_counts]
