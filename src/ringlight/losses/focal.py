"""Focal loss (Lin et al. 2017, arXiv:1708.02002, equation 5): easy examples count less, classes count as alpha says.

B batch, K classes; p is the probability of a class, p_t that of the truth.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - PyTorch's own name for it

from ringlight.errors import ConfigError
from ringlight.losses._checks import check_counts, check_list, check_number, check_shapes, check_task, check_word, exact
from ringlight.losses.class_weights import class_weights
from ringlight.types import Task

Reduction = Literal["mean", "sum", "none"]
Alpha = float | Sequence[float] | Literal["dynamic", "inverse_frequency", "effective_number", "first_batch"] | None
WORDS = ("dynamic", "inverse_frequency", "effective_number", "first_batch")


class FocalLoss(nn.Module):
    r"""FL(p_t) = -alpha_t (1 - p_t)^gamma log(p_t), by sigmoid (multi-label) or soft-max (multi-class).

    Multi-label, for each class c with target y in [0, 1] (soft targets weigh both terms):

        y a_c (1 - p)^gamma (-log p) + (1 - y) b_c p^gamma (-log(1 - p)),    averaged over B x K

    Multi-class: a_y (1 - p_y)^gamma (-log p_y) for the true class y, averaged over B.

    `alpha` gives a and b:

    * a number: the paper's balance of positive against negative, a = alpha and b = 1 - alpha for every class
      (torchvision's). In multi-class there is no negative term, so it scales the whole loss, as in Keras'
      `CategoricalFocalCrossentropy`: the direction of every step stays, and with Adam's family nearly its length.
    * a list, one number a class in 0..1: the **weight of a class**, a_c = b_c = alpha_c.
    * `dynamic`: such a list from the training set, alpha_c = 1 - freq_c / total; freq_c counts the positive labels of
      class c, total those of all classes (`class_counts`). With many classes all of these come close to 1.
    * `inverse_frequency`: alpha_c = min_k freq_k / freq_c. The rarest class counts fully, one with 46 times its labels
      a 46th: every class adds up to the same, whatever the number of classes, and equal ones keep the loss unweighted.
      The loss as a whole becomes smaller by the share of the common classes.
    * `effective_number`: the same with freq_c replaced by its effective number (1 - beta^freq_c) / (1 - beta) of Cui et
      al. 2019, arXiv:1901.05555: labels above about 1 / (1 - beta) no longer make a class count less. beta = 0 is 1 for
      all, beta = 1 is `inverse_frequency`.
    * None: a = b = 1.

    Why b_c is alpha_c and not 1 - alpha_c for a list: the rare class of a steel line has alpha = 0.984, so its
    negatives would weigh 0.016, 61 times less than its positives, and a score of 0.5 would stand for a true chance of
    1 in 62: overkill. Why it is not 1: the common class has alpha = 0.265, so its positives would weigh a quarter of
    its negatives, and a score of 0.5 would stand for a chance of 4 in 5: escapes. With one weight for both sides the
    score keeps its meaning (for gamma = 0 the loss is least at the true probability) and rare classes count more.

    `first_batch` takes freq from the first training batch and keeps it, as older trainers do, and warns: a batch of
    four misses a class with 1.6 % of the labels 94 times in 100 (its alpha is then 1), and a class that owns the whole
    batch gets alpha 0 for the rest of the run.

    `gamma` of 0 or more (the paper uses 2) is how fast easy examples fade. Sums run in float32 whatever the logits'
    type, and stay finite for logits of +-10,000.

    Args:
        num_classes: K.
        task: `multilabel` takes targets (B, K) of 0..1, `multiclass` class indices (B,).
        class_counts: positive labels of each class in the training set, for the words but `first_batch`.
        num_records: not used; every loss takes it.
        alpha: see above.
        beta: 0 to 1, for `effective_number`.
        gamma: see above.
        reduction: `mean`, `sum`, or `none`: (B, K) multi-label, (B,) multi-class.

    Raises:
        ConfigError: a number out of range, a list of another length, `dynamic` without counts, or with all labels in
            one class (its alpha would be 0), `inverse_frequency` or `effective_number` with a class without labels.

    Examples:
        The shares .7347, .1538, .0955, .0160 of a steel data set:

        >>> loss = FocalLoss(4, task="multilabel", class_counts=[7347, 1538, 955, 160], alpha="dynamic")
        >>> [round(alpha, 4) for alpha in loss.get_params()["alpha"]]
        [0.2653, 0.8462, 0.9045, 0.984]

        p = 0.5 for a positive: 0.25 * 0.5^2 * 0.6931 = 0.0433

        >>> round(float(FocalLoss(1, task="multilabel", alpha=0.25)(torch.zeros(1, 1), torch.ones(1, 1))), 4)
        0.0433
    """

    name: ClassVar[str] = "focal_loss"
    tasks: ClassVar[tuple[Task, ...]] = ("multilabel", "multiclass")
    alpha: Tensor

    def __init__(
        self,
        num_classes: int,
        *,
        task: Task = "multilabel",
        class_counts: Sequence[int] | None = None,
        num_records: int | None = None,  # noqa: ARG002 - the family's common signature
        alpha: Alpha = "dynamic",
        beta: float = 0.999,
        gamma: float = 2.0,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        check_task(num_classes, task, name=self.name, tasks=self.tasks)
        self.num_classes = num_classes
        self.task: Task = task
        self.gamma = check_number(gamma, key="gamma", low=0.0)
        self._beta = check_number(beta, key="beta", low=0.0, high=1.0)
        self.reduction: Reduction = reduction
        self.mode = alpha if isinstance(alpha, str) else "fixed"
        self._one_number = isinstance(alpha, (int, float))
        # A buffer, so that a resumed training goes on with the alpha of its first batch. NaN: not known yet.
        self.register_buffer("alpha", torch.tensor(self._first_alpha(alpha, class_counts), dtype=torch.float32))

    def _first_alpha(self, alpha: Alpha, class_counts: Sequence[int] | None) -> list[float]:
        count = self.num_classes
        check_word(alpha, WORDS, key="alpha", expected=f"{', '.join(WORDS)}, a number, a list or null")
        if alpha is None:
            return [1.0] * count
        if alpha == "first_batch":
            warnings.warn(
                "loss.alpha=first_batch weighs the classes by the first batch alone, which usually misses the rare "
                "ones; loss.alpha=dynamic counts the whole training set",
                stacklevel=3,
            )
            return [float("nan")] * count
        if isinstance(alpha, str):
            counts = check_counts(class_counts, count, value=alpha, key="alpha", fix="set loss.alpha to numbers")
            return dynamic_alpha(counts) if alpha == "dynamic" else rarest_first_alpha(counts, alpha, beta=self._beta)
        if isinstance(alpha, (int, float)):
            return [check_number(alpha, key="alpha", low=0.0, high=1.0)] * count
        return check_list(alpha, count, key="alpha", high=1.0)

    def forward(self, logits_bk: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of logits (B, K).

        Raises:
            DataError: logits or targets of another shape.
        """
        multilabel = self.task == "multilabel"
        check_shapes(logits_bk, targets, self.num_classes, indices=not multilabel, scores=multilabel)
        alpha_k = self._alpha_for(targets)
        # Half precision has 3 digits and ends at 65,504: too little for logarithms near 0 and for sums over a batch.
        logits_bk = logits_bk.float()
        losses = (
            self._sigmoid(logits_bk, targets, alpha_k) if multilabel else self._softmax(logits_bk, targets, alpha_k)
        )
        if self.reduction == "none":
            return losses
        return losses.mean() if self.reduction == "mean" else losses.sum()

    def _sigmoid(self, logits_bk: Tensor, targets_bk: Tensor, alpha_k: Tensor) -> Tensor:
        targets_bk = targets_bk.float()
        log_p, log_q = F.logsigmoid(logits_bk), F.logsigmoid(-logits_bk)
        # (1 - p)^gamma as exp(gamma log(1 - p)): its gradient stays finite where 1 - p is zero and gamma below 1.
        positive = alpha_k * torch.exp(self.gamma * log_q) * -log_p
        negative = (1 - alpha_k if self._one_number else alpha_k) * torch.exp(self.gamma * log_p) * -log_q
        return targets_bk * positive + (1 - targets_bk) * negative

    def _softmax(self, logits_bk: Tensor, targets_b: Tensor, alpha_k: Tensor) -> Tensor:
        log_p_bk = F.log_softmax(logits_bk, dim=1)
        true_b1 = targets_b.long().unsqueeze(1)
        log_p_b = log_p_bk.gather(1, true_b1).squeeze(1)
        # log(1 - p_y) from the other classes' probabilities: 1 - p_y itself rounds to 0 for a confident model.
        log_q_b = torch.logsumexp(log_p_bk.scatter(1, true_b1, float("-inf")), dim=1)
        return alpha_k[targets_b.long()] * torch.exp(self.gamma * log_q_b) * -log_p_b

    def _alpha_for(self, targets: Tensor) -> Tensor:
        if self.mode != "first_batch" or not bool(torch.isnan(self.alpha).any()):
            return self.alpha
        if self.task == "multilabel":
            counts = targets.float().sum(dim=0)
        else:
            counts = torch.bincount(targets.long(), minlength=self.num_classes).float()
        alpha = (1 - counts / counts.sum().clamp(min=1)).to(self.alpha)
        if self.training:  # a sanity check of the validation set before the first epoch must not decide
            self.alpha.copy_(alpha)
        return alpha

    def get_params(self) -> dict[str, object]:
        """Return the parameters as they act, ready for JSON: alpha resolved (None before the first batch)."""
        values = exact(self.alpha)
        known: object = None if any(value != value for value in values) else values
        return {
            "alpha": known,
            "alpha_mode": self.mode,
            "gamma": self.gamma,
            "reduction": self.reduction,
            "task": self.task,
            "num_classes": self.num_classes,
        }


def dynamic_alpha(class_counts: Sequence[int]) -> list[float]:
    """Return 1 - freq_c / total for each class; a class without labels gets 1.

    Raises:
        ConfigError: no labels at all, or all of them in one class.

    Examples:
        >>> dynamic_alpha([3, 1, 0])
        [0.25, 0.75, 1.0]
    """
    total = sum(class_counts)
    if total == max(class_counts):
        raise ConfigError(
            "positive labels of two classes or more in the training set for dynamic",
            got=str(list(class_counts)),
            where="loss.alpha",
            fix="set loss.alpha=null or a number: a class with all the labels would weigh 0",
        )
    return [1 - count / total for count in class_counts]


def rarest_first_alpha(class_counts: Sequence[int], word: str, *, beta: float) -> list[float]:
    """Return the weights of `inverse_frequency` or `effective_number` over their largest: the rarest class gets 1.

    Raises:
        ConfigError: a class has no labels.

    Examples:
        >>> rarest_first_alpha([40, 10, 20], "inverse_frequency", beta=0.999)
        [0.25, 1.0, 0.5]
    """
    rule = "inverse" if word == "inverse_frequency" else word
    weights = class_weights(class_counts, rule, beta=beta, where="loss.alpha", fix="set loss.alpha=dynamic", value=word)
    return [weight / max(weights) for weight in weights]
