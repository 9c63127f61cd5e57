"""Asymmetric loss (Ridnik et al. 2021, arXiv:2009.14119): of many easy negatives, only the hard ones count.

B batch, K classes; p is the sigmoid of a logit. Runs in float32 whatever the logits' type.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - PyTorch's own name for it

from ringlight.losses._checks import check_number, check_shapes, check_task
from ringlight.types import Task

Reduction = Literal["mean", "sum", "none"]


class AsymmetricLoss(nn.Module):
    """Focal loss of each class with its own gamma for positives and for negatives, easy negatives cut off.

        y (1 - p)^gamma_pos (-log p) + (1 - y) p_m^gamma_neg (-log(1 - p_m)),    p_m = max(p - clip, 0)

    Equations 4 to 7; averaged over B x K (the paper sums, which multiplies the learning rate by the batch). A negative
    scored below `clip` costs nothing and has no gradient. Soft targets y in 0..1 weigh both terms. gamma_pos =
    gamma_neg with clip = 0 is focal loss with alpha = null; all three 0 is binary cross-entropy.

    Positives outweigh negatives, so that scores come out above the chances, and a threshold of one half reports too
    much: choose thresholds on a validation part, or calibrate.

    Args:
        num_classes: K.
        task: `multilabel`; targets are (B, K) of 0..1.
        class_counts: not used; every loss takes it.
        num_records: not used; every loss takes it.
        gamma_pos: how fast easy positives fade, 0 or more.
        gamma_neg: how fast easy negatives fade, 0 or more.
        clip: 0 to 0.9, what is taken off the probability of a negative.
        reduction: `mean`, `sum` or `none` (B, K).

    Raises:
        ConfigError: a multi-class data set, a number out of range.

    Examples:
        A positive at one half costs log 2; a negative at 1/2: 0.45^4 * -log 0.55 = 0.0245

        >>> loss = AsymmetricLoss(2, reduction="none")
        >>> [round(value, 4) for value in loss(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]]))[0].tolist()]
        [0.6931, 0.0245]
    """

    name: ClassVar[str] = "asymmetric_loss"
    tasks: ClassVar[tuple[Task, ...]] = ("multilabel",)

    def __init__(
        self,
        num_classes: int,
        *,
        task: Task = "multilabel",
        class_counts: Sequence[int] | None = None,  # noqa: ARG002 - the family's common signature
        num_records: int | None = None,  # noqa: ARG002 - the family's common signature
        gamma_pos: float = 0.0,
        gamma_neg: float = 4.0,
        clip: float = 0.05,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        check_task(num_classes, task, name=self.name, tasks=self.tasks, fix="use focal_loss or balanced_softmax")
        self.num_classes = num_classes
        self.task: Task = task
        self.gamma_pos = check_number(gamma_pos, key="gamma_pos", low=0.0)
        self.gamma_neg = check_number(gamma_neg, key="gamma_neg", low=0.0)
        self.clip = check_number(clip, key="clip", low=0.0, high=0.9)
        self.reduction: Reduction = reduction

    def forward(self, logits_bk: Tensor, targets_bk: Tensor) -> Tensor:
        """Return the loss of logits (B, K).

        Raises:
            DataError: logits or targets of another shape.
        """
        check_shapes(logits_bk, targets_bk, self.num_classes, indices=False, scores=True)
        logits_bk, targets_bk = logits_bk.float(), targets_bk.float()
        log_p, log_q = F.logsigmoid(logits_bk), F.logsigmoid(-logits_bk)
        positive = torch.exp(self.gamma_pos * log_q) * -log_p
        losses_bk = targets_bk * positive + (1 - targets_bk) * self._negative(logits_bk, log_p, log_q)
        if self.reduction == "none":
            return losses_bk
        return losses_bk.mean() if self.reduction == "mean" else losses_bk.sum()

    def _negative(self, logits_bk: Tensor, log_p: Tensor, log_q: Tensor) -> Tensor:
        if self.clip == 0:  # log(1 - p) stays exact where p rounds to 1
            return torch.exp(self.gamma_neg * log_p) * -log_q
        # Never exactly 0: the gradient of 0^gamma is infinite below a gamma of 1, and 0 times it is not a number.
        p_m = (torch.sigmoid(logits_bk) - self.clip).clamp(min=torch.finfo(torch.float32).tiny)
        return p_m**self.gamma_neg * -torch.log1p(-p_m)

    def get_params(self) -> dict[str, object]:
        """Return the parameters as they act, ready for JSON."""
        return {
            "gamma_pos": self.gamma_pos,
            "gamma_neg": self.gamma_neg,
            "clip": self.clip,
            "reduction": self.reduction,
            "task": self.task,
            "num_classes": self.num_classes,
        }
