"""Evidential loss (Sensoy et al. 2018, arXiv:1806.01768): the model says how much evidence it has, not only for what.

B batch, K classes. alpha_k of 1 or more are the parameters of a Dirichlet distribution over class probabilities, S is
their sum, alpha_k - 1 the evidence for class k.
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
Form = Literal["log", "digamma", "mse"]
LARGEST = 20.0
"""Logits are cut to +-20: an alpha of 5e8 is beyond doubt, and its logarithm of the gamma function still finite."""


class Evidential(nn.Module):
    """A loss of Dirichlet parameters, with a penalty on evidence for wrong classes that sets in slowly.

    **Logits are log(alpha)**, so that their soft-max is alpha_k / S, the expected probability, and whatever reads
    scores stays right; K / S is the uncertainty (equation 1). A run with this loss gets
    :class:`ringlight.models.evidential.EvidentialHead` in front of it, which keeps alpha at 1 or more. With plain
    logits an alpha below 1 stands for less than no evidence.

    `form` is the data term, y the one-hot truth, p = alpha / S:

    * `log`: sum_k y_k (log S - log alpha_k), equation 3: the cross-entropy of p.
    * `digamma`: sum_k y_k (psi(S) - psi(alpha_k)), equation 4: the expected cross-entropy.
    * `mse`: sum_k (y_k - p_k)^2 + p_k (1 - p_k) / (S + 1), equation 5: the expected squared error, which the paper
      finds the steadiest; the other two believe too much.

    To it comes lambda KL(Dir(alpha~) || Dir(1)), alpha~ = y + (1 - y) alpha, in which evidence for the true class is
    left out: what speaks for other classes shall vanish. lambda = kl_weight min(1, epoch / annealing_epochs), as in
    the paper, lets the model look around first; :meth:`set_progress` sets it, and it is part of the state.

    Args:
        num_classes: K, two or more.
        task: `multiclass`; targets are class indices (B,).
        class_counts: not used; every loss takes it.
        num_records: not used; every loss takes it.
        form: see above.
        kl_weight: 0 or more; the paper's 1.
        annealing_epochs: 1 or more; the paper's 10.
        reduction: `mean`, `sum` or `none` (B,).

    Raises:
        ConfigError: a multi-label data set, a number out of range.

    Examples:
        No evidence for three classes: (2/3)^2 + 2 (1/3)^2 + 3 (2/9) / 4

        >>> round(float(Evidential(3)(torch.zeros(1, 3), torch.tensor([0]))), 4)
        0.8333
    """

    name: ClassVar[str] = "evidential"
    tasks: ClassVar[tuple[Task, ...]] = ("multiclass",)
    kl_share: Tensor

    def __init__(
        self,
        num_classes: int,
        *,
        task: Task = "multiclass",
        class_counts: Sequence[int] | None = None,  # noqa: ARG002 - the family's common signature
        num_records: int | None = None,  # noqa: ARG002 - the family's common signature
        form: Form = "mse",
        kl_weight: float = 1.0,
        annealing_epochs: int = 10,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        check_task(num_classes, task, name=self.name, tasks=self.tasks, fix="use bce_with_logits or focal_loss")
        self.num_classes = num_classes
        self.task: Task = task
        self.form: Form = form
        self.kl_weight = check_number(kl_weight, key="kl_weight", low=0.0)
        self.annealing_epochs = int(check_number(annealing_epochs, key="annealing_epochs", low=1))
        self.reduction: Reduction = reduction
        # A buffer, so that a resumed training judges its validation part with the penalty it had.
        self.register_buffer("kl_share", torch.zeros((), dtype=torch.float64))

    def set_progress(self, epoch: int, num_epochs: int) -> None:  # noqa: ARG002 - the protocol's signature
        """Set the weight of the penalty for an epoch, counted from 0."""
        self.kl_share.fill_(self.kl_weight * min(1.0, epoch / self.annealing_epochs))

    def forward(self, logits_bk: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of logits (B, K), which are log(alpha).

        Raises:
            DataError: logits or targets of another shape.
        """
        check_shapes(logits_bk, targets, self.num_classes, indices=True, scores=False)
        # In double precision: the penalty is a small difference of large logarithms of the gamma function.
        alpha_bk = logits_bk.double().clamp(-LARGEST, LARGEST).exp()
        true_bk = F.one_hot(targets.long(), self.num_classes).double()
        losses_b = self._data_term(alpha_bk, true_bk)
        losses_b = (losses_b + self.kl_share.double() * kl_to_uniform(true_bk + (1 - true_bk) * alpha_bk)).float()
        if self.reduction == "none":
            return losses_b
        return losses_b.mean() if self.reduction == "mean" else losses_b.sum()

    def _data_term(self, alpha_bk: Tensor, true_bk: Tensor) -> Tensor:
        total_b1 = alpha_bk.sum(dim=1, keepdim=True)
        if self.form == "log":
            return (true_bk * (total_b1.log() - alpha_bk.log())).sum(dim=1)
        if self.form == "digamma":
            return (true_bk * (total_b1.digamma() - alpha_bk.digamma())).sum(dim=1)
        p_bk = alpha_bk / total_b1
        return ((true_bk - p_bk).square() + p_bk * (1 - p_bk) / (total_b1 + 1)).sum(dim=1)

    def get_params(self) -> dict[str, object]:
        """Return the parameters as they act, ready for JSON."""
        return {
            "form": self.form,
            "kl_weight": self.kl_weight,
            "annealing_epochs": self.annealing_epochs,
            "reduction": self.reduction,
            "task": self.task,
            "num_classes": self.num_classes,
        }


def kl_to_uniform(alpha_bk: Tensor) -> Tensor:
    """Return KL(Dir(alpha) || Dir(1)), (B,), of Dirichlet parameters above 0: 0 where all are 1.

    Section 3 of the paper, the second of its loss's two terms.
    """
    total_b1 = alpha_bk.sum(dim=1, keepdim=True)
    num_classes = total_b1.new_tensor(float(alpha_bk.shape[1]))
    logs_b = total_b1.squeeze(1).lgamma() - num_classes.lgamma() - alpha_bk.lgamma().sum(dim=1)
    return logs_b + ((alpha_bk - 1) * (alpha_bk.digamma() - total_b1.digamma())).sum(dim=1)
