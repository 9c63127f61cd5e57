"""Losses that take the training set's shares out of the logits: balanced softmax and logit adjustment.

The network is trained on logits plus the log shares and used without them: it learns what a balanced training set would
have taught. B batch, K classes; float32 whatever the logits' type.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - PyTorch's own name for it

from ringlight.losses._checks import (
    check_counts,
    check_every_class,
    check_number,
    check_shapes,
    check_task,
    exact,
)
from ringlight.losses.adjust import log_priors
from ringlight.types import Task

Reduction = Literal["mean", "sum", "none"]


class BalancedSoftmax(nn.Module):
    """Cross-entropy of the balanced soft-max, -log(n_y e^z_y / sum_c n_c e^z_c) for the true class y, averaged over B.

    Ren et al. 2020, arXiv:2007.10740, equation 4; n_c are the training images of class c. It is the cross-entropy of
    the logits z + log n. Predictions are the plain soft-max of z, so that nothing changes outside the training. The
    loss of a validation part is computed like that of the training part, and the two can be compared.

    The scores are those of a line on which all classes are equally frequent. Where they are to be chances on the real
    line, calibrate them on a validation part.

    Args:
        num_classes: K, two or more.
        task: `multiclass`; targets are class indices (B,), or class probabilities (B, K).
        class_counts: n_c, all above 0.
        num_records: not used; every loss takes it.
        label_smoothing: 0 to 1, as in :class:`~ringlight.losses.CrossEntropy`.
        reduction: `mean`, `sum` or `none` (B,).

    Raises:
        ConfigError: a multi-label data set, no counts, a class without images, a number out of range.

    Examples:
        Three common images to a rare one, no idea: the rare class has a chance of 1 in 4, and costs log 4

        >>> loss = BalancedSoftmax(2, class_counts=[30, 10])
        >>> round(float(loss(torch.zeros(1, 2), torch.tensor([1]))), 4) == round(math.log(4), 4)
        True
    """

    name: ClassVar[str] = "balanced_softmax"
    tasks: ClassVar[tuple[Task, ...]] = ("multiclass",)
    log_counts: Tensor

    def __init__(
        self,
        num_classes: int,
        *,
        task: Task = "multiclass",
        class_counts: Sequence[int] | None = None,
        num_records: int | None = None,  # noqa: ARG002 - the family's common signature
        label_smoothing: float = 0.0,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        check_task(num_classes, task, name=self.name, tasks=self.tasks, fix="use logit_adjustment")
        self.num_classes = num_classes
        self.task: Task = task
        self.label_smoothing = check_number(label_smoothing, key="label_smoothing", low=0.0, high=1.0)
        self.reduction: Reduction = reduction
        counts = check_counts(class_counts, num_classes, value=self.name)
        check_every_class(counts, value=self.name, where="loss.name", fix="use cross_entropy")
        self.register_buffer("log_counts", torch.tensor([math.log(count) for count in counts], dtype=torch.float32))

    def forward(self, logits_bk: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of logits (B, K).

        Raises:
            DataError: logits or targets of another shape.
        """
        check_shapes(logits_bk, targets, self.num_classes, indices=True, scores=True)
        return F.cross_entropy(
            logits_bk.float() + self.log_counts,
            targets.float() if targets.ndim == 2 else targets.long(),
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
        )

    def get_params(self) -> dict[str, object]:
        """Return the parameters as they act, ready for JSON."""
        return {
            "log_counts": exact(self.log_counts),
            "label_smoothing": self.label_smoothing,
            "reduction": self.reduction,
            "task": self.task,
            "num_classes": self.num_classes,
        }


class LogitAdjustment(nn.Module):
    """Cross-entropy of the logits plus tau times the log shares of the training set: log soft-max(z + tau log pi).

    Menon et al. 2021, arXiv:2007.07314, equation 10, averaged over B; tau = 1 is
    :class:`BalancedSoftmax`, tau = 0 plain cross-entropy. Predictions use z alone.

    The paper treats one class an image. For multi-label data each class is taken for itself, a problem of two classes
    ("there", "not there") with shares pi_c and 1 - pi_c, to which the paper applies as it stands: binary cross-entropy
    of z_c + tau log(pi_c / (1 - pi_c)), averaged over B x K. A score of one half then stands for "more likely than
    its share", the decision of best balanced accuracy for that class. Shares of labels that occur together are not
    looked at.

    Args:
        num_classes: K.
        task: `multiclass` takes class indices (B,) or class probabilities (B, K), `multilabel` targets (B, K) of 0..1.
        class_counts: labels of each class in the training set, all above 0.
        num_records: training records, more than any count; for `multilabel`.
        tau: 0 or more, how far the shares come out.
        reduction: `mean`, `sum`, or `none`: (B, K) multi-label, (B,) multi-class.

    Raises:
        ConfigError: a number out of range, no counts, a class without labels or (multi-label) on every record.

    Examples:
        One record in four has the class; no idea is then the chance 1/4, and a positive costs log 4

        >>> loss = LogitAdjustment(1, task="multilabel", class_counts=[10], num_records=40)
        >>> round(float(loss(torch.zeros(1, 1), torch.ones(1, 1))), 4) == round(math.log(4), 4)
        True
    """

    name: ClassVar[str] = "logit_adjustment"
    tasks: ClassVar[tuple[Task, ...]] = ("multiclass", "multilabel")
    offset: Tensor

    def __init__(
        self,
        num_classes: int,
        *,
        task: Task = "multiclass",
        class_counts: Sequence[int] | None = None,
        num_records: int | None = None,
        tau: float = 1.0,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        check_task(num_classes, task, name=self.name, tasks=self.tasks)
        self.num_classes = num_classes
        self.task: Task = task
        self.tau = check_number(tau, key="tau", low=0.0)
        self.reduction: Reduction = reduction
        counts = check_counts(class_counts, num_classes, value=self.name)
        fix = "use cross_entropy" if task == "multiclass" else "use bce_with_logits"
        logs = log_priors(counts, task, num_records, value=self.name, where="loss.name", fix=fix)
        self.register_buffer("offset", torch.tensor([self.tau * log for log in logs], dtype=torch.float32))

    def forward(self, logits_bk: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of logits (B, K).

        Raises:
            DataError: logits or targets of another shape.
        """
        multiclass = self.task == "multiclass"
        check_shapes(logits_bk, targets, self.num_classes, indices=multiclass, scores=True)
        adjusted_bk = logits_bk.float() + self.offset
        if not multiclass:
            return F.binary_cross_entropy_with_logits(adjusted_bk, targets.float(), reduction=self.reduction)
        return F.cross_entropy(
            adjusted_bk, targets.float() if targets.ndim == 2 else targets.long(), reduction=self.reduction
        )

    def get_params(self) -> dict[str, object]:
        """Return the parameters as they act, ready for JSON."""
        return {
            "tau": self.tau,
            "offset": exact(self.offset),
            "reduction": self.reduction,
            "task": self.task,
            "num_classes": self.num_classes,
        }
