"""LDAM (Cao et al. 2019, arXiv:1906.07413): rare classes must win by a larger margin; class weights join in late.

B batch, K classes. Runs in float32 whatever the logits' type.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - PyTorch's own name for it

from ringlight.losses._checks import check_counts, check_every_class, check_number, check_shapes, check_task, exact
from ringlight.losses.class_weights import class_weights
from ringlight.types import Task

Reduction = Literal["mean", "sum", "none"]


class LDAM(nn.Module):
    """Cross-entropy in which the true class y must win by the margin D_y = C / n_y^(1/4); n_c counts images of class c.

        -log( e^(s (z_y - D_y)) / (e^(s (z_y - D_y)) + sum_{c != y} e^(s z_c)) ),    equations 12 and 13

    C is such that the rarest class has the margin `max_margin`. Predictions are the plain soft-max of s z: for s = 1,
    of the logits as they are.

    **Scale.** The paper normalises features and classifier weights, so that z is a cosine between -1 and 1, which
    s = 30 stretches to the width of logits. Ordinary logits have that width already: at 30 the first steps would run at
    30 times the gradient on a loss that is saturated. So s is 1 here, and 30 is for a model whose classifier gives
    cosines (its scores are then the soft-max of 30 z, which the model has to apply). With plain logits a margin can
    also be met by making all logits larger, and it works as a weight: a sure example of the rarest class counts
    e^max_margin times (1.65 times at 0.5), so that most of the effect is left to the re-weighting; `max_margin` of 2 or
    3 makes it stronger.

    **Deferred re-weighting** (section 3.3, algorithm 1). From the epoch `drw_start` x epochs on, and at the latest in
    the last one, classes are weighted by their effective numbers, as in
    :class:`~ringlight.losses.WeightedCrossEntropy`, and the mean is the weighted mean. The first part of the training
    learns features from all images alike, the last one moves the boundaries. The validation loss jumps at that epoch:
    follow a metric instead (`training.monitor`), with a patience that does not stop the training before. The weights
    are a function of the epoch alone, set by :meth:`set_progress` at its start, and part of the state: a resumed
    training has the same.

    Args:
        num_classes: K, two or more.
        task: `multiclass`; targets are class indices (B,).
        class_counts: n_c, all above 0.
        num_records: not used; every loss takes it.
        max_margin: the margin of the rarest class, 0 or more, in units of z.
        scale: s, 0.001 or more.
        drw_start: share of the epochs after which classes are weighted, 0 to 1; 1 or None is never.
        beta: 0 to 1, of the effective numbers; 0.9999, as the authors' code has it, is almost
            1 / n_c for inspection sets.
        reduction: `mean`, `sum` or `none` (B,).

    Raises:
        ConfigError: a multi-label data set, no counts, a class without images, a number out of range.

    Examples:
        Margins for 16 and 1 images: half the rarest's, since 16^(1/4) = 2

        >>> LDAM(2, class_counts=[16, 1]).get_params()["margins"]
        [0.25, 0.5]
    """

    name: ClassVar[str] = "ldam"
    tasks: ClassVar[tuple[Task, ...]] = ("multiclass",)
    margins: Tensor
    late_weight: Tensor
    weight: Tensor

    def __init__(
        self,
        num_classes: int,
        *,
        task: Task = "multiclass",
        class_counts: Sequence[int] | None = None,
        num_records: int | None = None,  # noqa: ARG002 - the family's common signature
        max_margin: float = 0.5,
        scale: float = 1.0,
        drw_start: float | None = 0.8,
        beta: float = 0.999,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        check_task(num_classes, task, name=self.name, tasks=self.tasks, fix="use logit_adjustment or asymmetric_loss")
        self.num_classes = num_classes
        self.task: Task = task
        self.max_margin = check_number(max_margin, key="max_margin", low=0.0)
        self.scale = check_number(scale, key="scale", low=0.001)
        self.drw_start = None if drw_start is None else check_number(drw_start, key="drw_start", low=0.0, high=1.0)
        self.beta = check_number(beta, key="beta", low=0.0, high=1.0)
        self.reduction: Reduction = reduction
        counts = check_counts(class_counts, num_classes, value=self.name)
        check_every_class(counts, value=self.name, where="loss.name", fix="use cross_entropy")
        margins = [self.max_margin * (min(counts) / count) ** 0.25 for count in counts]
        late = class_weights(counts, "effective_number", beta=beta, where="loss.name", fix="use cross_entropy")
        # Buffers: they follow the model to its device, and `weight` is what a checkpoint has to keep.
        self.register_buffer("margins", torch.tensor(margins, dtype=torch.float32))
        self.register_buffer("late_weight", torch.tensor(late, dtype=torch.float32))
        self.register_buffer("weight", torch.ones(num_classes))

    def set_progress(self, epoch: int, num_epochs: int) -> None:
        """Switch the class weights on or off for an epoch.

        Args:
            epoch: from 0.
            num_epochs: of the whole training.
        """
        start = 1.0 if self.drw_start is None else self.drw_start
        # Rounded first: 0.55 x 100 is a hair above 55 and would start an epoch late.
        first = min(math.ceil(round(start * num_epochs, 6)), num_epochs - 1)
        late = start < 1 and epoch >= first
        self.weight.copy_(self.late_weight if late else torch.ones_like(self.weight))

    def forward(self, logits_bk: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of logits (B, K).

        Raises:
            DataError: logits or targets of another shape.
        """
        check_shapes(logits_bk, targets, self.num_classes, indices=True, scores=False)
        true_b = targets.long()
        margins_bk = F.one_hot(true_b, self.num_classes) * self.margins
        return F.cross_entropy(
            self.scale * (logits_bk.float() - margins_bk), true_b, weight=self.weight, reduction=self.reduction
        )

    def get_params(self) -> dict[str, object]:
        """Return the parameters as they act, ready for JSON; `late_weights` are those after `drw_start`."""
        return {
            "max_margin": self.max_margin,
            "margins": exact(self.margins),
            "scale": self.scale,
            "drw_start": self.drw_start,
            "beta": self.beta,
            "late_weights": exact(self.late_weight),
            "reduction": self.reduction,
            "task": self.task,
            "num_classes": self.num_classes,
        }
