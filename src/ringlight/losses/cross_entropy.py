"""Cross-entropies: one yes-or-no a class (BCE), one class an image (CE), and CE that weighs the classes.

B batch, K classes. All run in float32 whatever the logits' type.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - PyTorch's own name for it

from ringlight.losses._checks import check_counts, check_list, check_number, check_shapes, check_task, check_word, exact
from ringlight.losses.class_weights import WEIGHTS, class_weights, listed_weights, negatives_per_positive
from ringlight.types import Task

Reduction = Literal["mean", "sum", "none"]
Weights = Sequence[float] | Mapping[str | int, float] | Literal["balanced", "inverse", "effective_number"]


class BCEWithLogits(nn.Module):
    """Binary cross-entropy of each class by itself, averaged over B x K.

        -[w_c y log p + (1 - y) log(1 - p)],    y = (1 - s) target + s / 2

    Multi-label targets are (B, K) of 0..1, soft ones included. Multi-class targets, indices (B,), become one-hot: one
    against the rest, as ResNet strikes back trains (Wightman et al. 2021, arXiv:2110.00476). The largest logit is
    still the answer, but the soft-max of logits trained this way is less well calibrated than cross-entropy's.

    Args:
        num_classes: K.
        task: `multilabel` or `multiclass`.
        class_counts: positive labels of each class in the training set, for `balanced`.
        num_records: training records, for `balanced` of a multi-label set (of a multi-class one they are the labels).
        pos_weight: w_c, how many times a positive counts: a number of 0 or more, a list (one a class), None for 1, or
            `balanced`: negatives / positives, so that both sides of a class weigh the same. Scores of rare classes then
            come out far above their chance: a score of one half stands for the class's share of the training set.
        smoothing: s, 0 to 1: moves targets towards 1/2.
        reduction: `mean`, `sum` or `none` (B, K).

    Raises:
        ConfigError: a number out of range, a list of another length, `balanced` without counts or with a class that is
            on no record or on every one.

    Examples:
        A sure hit and a coin toss: (0.0000 + 0.6931) / 2

        >>> loss = BCEWithLogits(2, task="multilabel")
        >>> round(float(loss(torch.tensor([[20.0, 0.0]]), torch.tensor([[1.0, 0.0]]))), 4)
        0.3466
    """

    name: ClassVar[str] = "bce_with_logits"
    tasks: ClassVar[tuple[Task, ...]] = ("multilabel", "multiclass")
    pos_weight: Tensor | None

    def __init__(
        self,
        num_classes: int,
        *,
        task: Task = "multilabel",
        class_counts: Sequence[int] | None = None,
        num_records: int | None = None,
        pos_weight: float | Sequence[float] | Literal["balanced"] | None = None,
        smoothing: float = 0.0,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        check_task(num_classes, task, name=self.name, tasks=self.tasks)
        self.num_classes = num_classes
        self.task: Task = task
        self.smoothing = check_number(smoothing, key="smoothing", low=0.0, high=1.0)
        self.reduction: Reduction = reduction
        listed = self._weights(pos_weight, class_counts, num_records)
        self.register_buffer("pos_weight", None if listed is None else torch.tensor(listed, dtype=torch.float32))

    def _weights(
        self,
        pos_weight: float | Sequence[float] | str | None,
        class_counts: Sequence[int] | None,
        num_records: int | None,
    ) -> list[float] | None:
        key, count = "pos_weight", self.num_classes
        check_word(pos_weight, ("balanced",), key=key, expected="balanced, a number, a list of numbers or null")
        if pos_weight is None:
            return None
        if isinstance(pos_weight, str):
            counts = check_counts(class_counts, count, value=pos_weight, key=key, fix=f"set loss.{key} to numbers")
            return negatives_per_positive(counts, num_records if self.task == "multilabel" else sum(counts))
        return check_list([pos_weight] * count if isinstance(pos_weight, (int, float)) else pos_weight, count, key=key)

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
        num_records: not used; every loss takes it.
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
    tasks: ClassVar[tuple[Task, ...]] = ("multiclass",)
    weight: Tensor | None

    def __init__(
        self,
        num_classes: int,
        *,
        task: Task = "multiclass",
        class_counts: Sequence[int] | None = None,  # noqa: ARG002 - the family's common signature
        num_records: int | None = None,  # noqa: ARG002 - the family's common signature
        label_smoothing: float = 0.0,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        check_task(num_classes, task, name=self.name, tasks=self.tasks, fix="use bce_with_logits or focal_loss")
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

    n_c are the training images of class c, n all of them. `weights` is a list, a mapping of class names or numbers to
    weights (a class it does not name counts 1), or one of

    * `balanced`: n / (K n_c), as scikit-learn's `compute_class_weight`: the mean weight of an *image* is 1.
    * `inverse`: 1 / n_c, scaled so that the mean weight of a *class* is 1. It is `balanced` times one number for all
      classes, K / n over the mean of 1 / n_c, never above 1. The mean loss of class indices divides by the weights and
      is the same for both; the sum, the single losses, and the mean over class probabilities differ by that number.
    * `effective_number`: (1 - beta) / (1 - beta^n_c), scaled so that the mean weight of a class is 1 (Cui et al. 2019,
      arXiv:1901.05555, "class-balanced loss"). A class counts as at most 1 / (1 - beta) images, since more of the same
      add little: beta = 0 weighs all classes alike, beta = 1 is `inverse`. The default of 0.999 leaves classes of tens
      of images at nearly their inverse share and lets those of several thousand count as a thousand, which suits
      inspection sets of some hundreds to some thousands; 0.99 is for a rare class of five or ten images, whose few
      pictures would otherwise steer the training; above 0.999 it is `inverse` for any but a large set.

    Args:
        num_classes: K, two or more.
        task: `multiclass`; targets are class indices (B,), or class probabilities (B, K).
        class_counts: n_c, for the words.
        num_records: not used; every loss takes it.
        classes: names of the classes, (K,), for weights by name.
        weights: see above; a list holds numbers of 0 or more, one a class.
        beta: 0 to 1, for `effective_number`.
        label_smoothing: 0 to 1, as in :class:`CrossEntropy`.
        reduction: `mean` (the weighted mean above; over B for probabilities), `sum` or `none` (B,).

    Raises:
        ConfigError: a multi-label data set, a number out of range, a list of another length, an unknown class, a word
            without counts or with a class that has none.

    Examples:
        >>> WeightedCrossEntropy(2, class_counts=[30, 10]).get_params()["weights"]
        [0.666666687, 2.0]
        >>> WeightedCrossEntropy(2, class_counts=[30, 10], weights="inverse").get_params()["weights"]
        [0.5, 1.5]
    """

    name: ClassVar[str] = "weighted_cross_entropy"
    weight: Tensor

    def __init__(
        self,
        num_classes: int,
        *,
        task: Task = "multiclass",
        class_counts: Sequence[int] | None = None,
        num_records: int | None = None,  # noqa: ARG002 - the family's common signature
        classes: Sequence[str] = (),
        weights: Weights = "balanced",
        beta: float = 0.999,
        label_smoothing: float = 0.0,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__(num_classes, task=task, label_smoothing=label_smoothing, reduction=reduction)
        check_word(weights, WEIGHTS, key="weights", expected=f"{', '.join(WEIGHTS)} or a list of numbers")
        check_number(beta, key="beta", low=0.0, high=1.0)
        if isinstance(weights, str):
            counts = check_counts(
                class_counts, num_classes, value=weights, key="weights", fix="set loss.weights to numbers"
            )
            listed = class_weights(counts, weights, beta=beta, where="loss.weights", fix="list the weights")
        else:
            numbers = listed_weights(weights, num_classes, classes) if isinstance(weights, Mapping) else weights
            listed = check_list(numbers, num_classes, key="weights")
        self.weight = torch.tensor(listed, dtype=torch.float32)

    def get_params(self) -> dict[str, object]:
        """Return the parameters as they act, ready for JSON: weights resolved."""
        return {"weights": exact(self.weight), **super().get_params()}
