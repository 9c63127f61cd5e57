"""Losses that know what a mistake costs: a missed leak above a false alarm, or any table of costs.

B batch, K classes; p is the soft-max of a row of logits, y its truth: one-hot, or probabilities where labels are mixed.
Both run in float32 whatever the logits' type, and both take the plain mean over B: dividing by the weights of a batch
would make the penalties of a batch of leaks only cancel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - PyTorch's own name for it

from ringlight.errors import ConfigError
from ringlight.losses._checks import check_number, check_shapes, check_task, exact
from ringlight.losses.class_weights import class_number
from ringlight.runtime import LOGGER
from ringlight.types import Task

Reduction = Literal["mean", "sum", "none"]
Costs = Sequence[Sequence[float]] | Mapping[str | int, Mapping[str | int, float]] | None


class LeakAwareLoss(nn.Module):
    r"""Cross-entropy in two parts: is there a leak (a miss costs more than a false alarm), and which kind it is.

    The classes have two sides, the leaks and the others. P_s = sum of p_c over the side s, s(y) the side of the truth:

        w_s(y) (-log P_s(y)) + k (-log(p_y / P_s(y))),    w = leak_penalty for leaks, non_leak_penalty for the others

    The first part is small as soon as the model sees that something leaks, whatever it calls it; the second asks which
    leak it is. Class weights in a cross-entropy raise the price of both: a small leak called large then costs as much
    as a small leak missed. For k = w_s(y) (`kind_penalty=null`) the two logarithms add up to w_y (-log p_y): weighted
    cross-entropy with the penalties as weights, before its division by the weights of the batch. So they do for any k
    where a side has one class, and all penalties of 1 give plain cross-entropy.

    Where the loss is least, the odds of a leak are the true odds times leak_penalty / non_leak_penalty, and within a
    side the classes keep their true proportions. "Leak" is therefore decided wherever that costs less, if a missed leak
    costs leak_penalty and a false alarm non_leak_penalty (Elkan 2001, "The foundations of cost-sensitive learning",
    equation 2); the scores are no plain chances of a leak, unless they are calibrated afterwards.

    Mixed labels (B, K) count as the mean of the loss over the classes, weighted by their shares.

    Args:
        num_classes: K, two or more.
        task: `multiclass`; targets are class indices (B,), or class probabilities (B, K).
        class_counts: not used; every loss takes it.
        num_records: not used; every loss takes it.
        classes: names of the classes, (K,).
        good_class: the class of good parts, which is then no leak.
        leak_penalty: what a missed leak costs, 0 or more.
        non_leak_penalty: what a false alarm costs, 0 or more.
        kind_penalty: k, what a wrong kind on the right side costs, 0 or more; null for as much as its side.
        leak_classes: names or numbers (from 0) of the leaks, or the one name; null for every class but `good_class`.
            Where no class is known as good it is every class but the first, and a warning says so.
        reduction: `mean`, `sum` or `none` (B,).

    Raises:
        ConfigError: a multi-label data set, a number out of range, an unknown class, no leak, or nothing but leaks.

    Examples:
        All four classes alike: a leak costs 2 (-log 3/4) + log 3, of which the kinds are log 3.

        >>> loss = LeakAwareLoss(4, leak_classes=[1, 2, 3])
        >>> [round(float(loss(torch.zeros(1, 4), torch.tensor([truth]))), 4) for truth in (0, 1)]
        [1.3863, 1.674]
    """

    name: ClassVar[str] = "leak_aware_loss"
    tasks: ClassVar[tuple[Task, ...]] = ("multiclass",)
    leak: Tensor

    def __init__(
        self,
        num_classes: int,
        *,
        task: Task = "multiclass",
        class_counts: Sequence[int] | None = None,  # noqa: ARG002 - the family's common signature
        num_records: int | None = None,  # noqa: ARG002 - the family's common signature
        classes: Sequence[str] = (),
        good_class: str | None = None,
        leak_penalty: float = 2.0,
        non_leak_penalty: float = 1.0,
        kind_penalty: float | None = 1.0,
        leak_classes: Sequence[str | int] | str | None = None,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        check_task(num_classes, task, name=self.name, tasks=self.tasks, fix="use focal_loss or bce_with_logits")
        self.num_classes = num_classes
        self.task: Task = task
        self.leak_penalty = check_number(leak_penalty, key="leak_penalty", low=0.0)
        self.non_leak_penalty = check_number(non_leak_penalty, key="non_leak_penalty", low=0.0)
        self.kind_penalty = None if kind_penalty is None else check_number(kind_penalty, key="kind_penalty", low=0.0)
        self.reduction: Reduction = reduction
        self.leak_classes = _leaks(leak_classes, num_classes, classes, good_class)
        leak = torch.zeros(num_classes, dtype=torch.bool)
        leak[self.leak_classes] = True
        self.register_buffer("leak", leak)

    def forward(self, logits_bk: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of logits (B, K).

        Raises:
            DataError: logits or targets of another shape.
        """
        check_shapes(logits_bk, targets, self.num_classes, indices=True, scores=True)
        log_p_bk = F.log_softmax(logits_bk.float(), dim=1)
        log_leak_b1 = _log_sum(log_p_bk, self.leak)
        log_other_b1 = _log_sum(log_p_bk, ~self.leak)
        log_side_bk = torch.where(self.leak, log_leak_b1, log_other_b1)
        side_k = torch.where(self.leak, self.leak_penalty, self.non_leak_penalty)
        kind_k: Tensor | float = side_k if self.kind_penalty is None else self.kind_penalty
        losses_bk = side_k * -log_side_bk + kind_k * (log_side_bk - log_p_bk)
        return _reduced(_of_truth(losses_bk, targets), self.reduction)

    def get_params(self) -> dict[str, object]:
        """Return the parameters as they act, ready for JSON: leaks by their numbers."""
        return {
            "leak_penalty": self.leak_penalty,
            "non_leak_penalty": self.non_leak_penalty,
            "kind_penalty": self.kind_penalty,
            "leak_classes": self.leak_classes,
            "reduction": self.reduction,
            "task": self.task,
            "num_classes": self.num_classes,
        }


class CostSensitive(nn.Module):
    r"""The expected cost of a decision drawn from the scores, sum_j C[y, j] p_j; C has a row for each truth.

    What a class costs when it is decided (Elkan 2001, "The foundations of cost-sensitive learning", section 1), under
    the soft-max instead of under the largest score, which has no gradient. With 1 off the diagonal it is the chance of
    a wrong decision, 1 - p_y. The cost alone is bounded, so that it forgives wrong labels, but its gradient fades where
    the model is sure and wrong; a share m of cross-entropy (`cross_entropy_weight`) keeps it going:

        sum_j C[y, j] p_j + m (-log p_y)

    Without cross-entropy the scores run to the cheapest class and are no chances any more; with it they are a mixture
    of both. To keep honest chances, train by cross-entropy and decide by `evaluation.operating_points` instead.

    Mixed labels (B, K) count as the mean of the loss over the classes, weighted by their shares.

    Args:
        num_classes: K, two or more.
        task: `multiclass`; targets are class indices (B,), or class probabilities (B, K).
        class_counts: not used; every loss takes it.
        num_records: not used; every loss takes it.
        classes: names of the classes, (K,), for costs by name.
        costs: C as K lists of K numbers of 0 or more, rows the truth and columns the decision, in the data set's order
            of classes; or `{TRUTH: {DECISION: cost}}` by name or number, in which a right decision costs 0 and what is
            not named costs 1; null for 1 throughout.
        cross_entropy_weight: m, 0 or more.
        reduction: `mean`, `sum` or `none` (B,).

    Raises:
        ConfigError: a multi-label data set, a matrix that is not K x K, a negative cost, an unknown class, a wrong
            decision that is cheaper than the right one, or nothing that costs more than another.

    Examples:
        A miss costs 10, a false alarm 1; the model cannot tell: half of either.

        >>> loss = CostSensitive(2, costs=[[0, 1], [10, 0]], reduction="none")
        >>> loss(torch.zeros(2, 2), torch.tensor([0, 1])).tolist()
        [0.5, 5.0]
    """

    name: ClassVar[str] = "cost_sensitive"
    tasks: ClassVar[tuple[Task, ...]] = ("multiclass",)
    costs: Tensor

    def __init__(
        self,
        num_classes: int,
        *,
        task: Task = "multiclass",
        class_counts: Sequence[int] | None = None,  # noqa: ARG002 - the family's common signature
        num_records: int | None = None,  # noqa: ARG002 - the family's common signature
        classes: Sequence[str] = (),
        costs: Costs = None,
        cross_entropy_weight: float = 0.0,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        check_task(num_classes, task, name=self.name, tasks=self.tasks, fix="use bce_with_logits or asymmetric_loss")
        self.num_classes = num_classes
        self.task: Task = task
        self.cross_entropy_weight = check_number(cross_entropy_weight, key="cross_entropy_weight", low=0.0)
        self.reduction: Reduction = reduction
        table = _cost_table(costs, num_classes, classes)
        self.register_buffer("costs", torch.tensor(table, dtype=torch.float32))

    def forward(self, logits_bk: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of logits (B, K).

        Raises:
            DataError: logits or targets of another shape.
        """
        check_shapes(logits_bk, targets, self.num_classes, indices=True, scores=True)
        log_p_bk = F.log_softmax(logits_bk.float(), dim=1)
        with torch.autocast(logits_bk.device.type, enabled=False):  # it would multiply matrices in half precision
            losses_bk = log_p_bk.exp() @ self.costs.T
        if self.cross_entropy_weight:
            losses_bk = losses_bk - self.cross_entropy_weight * log_p_bk
        return _reduced(_of_truth(losses_bk, targets), self.reduction)

    def get_params(self) -> dict[str, object]:
        """Return the parameters as they act, ready for JSON: the whole matrix."""
        return {
            "costs": [exact(row) for row in self.costs],
            "cross_entropy_weight": self.cross_entropy_weight,
            "reduction": self.reduction,
            "task": self.task,
            "num_classes": self.num_classes,
        }


def _log_sum(log_p_bk: Tensor, side_k: Tensor) -> Tensor:
    """Return the logarithm (B, 1) of the probability of one side."""
    return torch.logsumexp(log_p_bk.masked_fill(~side_k, float("-inf")), dim=1, keepdim=True)


def _of_truth(losses_bk: Tensor, targets: Tensor) -> Tensor:
    """Return the loss (B,) of the true class, or of the classes in their shares."""
    if targets.ndim == 2:
        return (losses_bk * targets.float()).sum(dim=1)
    return losses_bk.gather(1, targets.long().unsqueeze(1)).squeeze(1)


def _reduced(losses_b: Tensor, reduction: Reduction) -> Tensor:
    if reduction == "none":
        return losses_b
    return losses_b.mean() if reduction == "mean" else losses_b.sum()


def _leaks(
    named: Sequence[str | int] | str | None, num_classes: int, classes: Sequence[str], good_class: str | None
) -> list[int]:
    where = "loss.leak_classes"
    if named is None:
        good = 0
        if good_class is not None:
            good = class_number(good_class, num_classes, classes, where="good_class")
        else:
            first = f"`{classes[0]}`" if classes else "number 0"
            LOGGER.warning(
                "loss.leak_classes: no class is known as good, so that every class but the first, %s, is a leak; "
                "list the leaks, or set evaluation.good_class",
                first,
            )
        return [number for number in range(num_classes) if number != good]
    if isinstance(named, str):
        named = [named]
    found = sorted({class_number(name, num_classes, classes, where=where) for name in named})
    if not 0 < len(found) < num_classes:
        raise ConfigError(
            "some of the classes, not all and not none", got=str(list(named)), where=where,
            fix="leave out the class without a leak" if found else "list the classes that are leaks",
        )  # fmt: skip
    return found


def _cost_table(costs: Costs, num_classes: int, classes: Sequence[str]) -> list[list[float]]:
    where = "loss.costs"
    table = [[float(row != column) for column in range(num_classes)] for row in range(num_classes)]
    if isinstance(costs, Mapping):
        for truth, decisions in costs.items():
            row = class_number(truth, num_classes, classes, where=where)
            for decision, cost in decisions.items():
                table[row][class_number(decision, num_classes, classes, where=where)] = cost
    elif costs is not None:
        table = [list(line) for line in costs]
        lengths = {len(line) for line in table}
        if len(table) != num_classes or lengths != {num_classes}:
            raise ConfigError(
                f"{num_classes} lists of {num_classes} numbers, a row for each truth",
                got=f"{len(table)} of {' and '.join(map(str, sorted(lengths))) or 'none'}",
                where=where,
                fix="list the classes in the data set's order",
            )
    table = [[check_number(cost, key="costs", low=0.0) for cost in line] for line in table]
    for row, line in enumerate(table):
        if min(line) < line[row]:
            raise ConfigError(
                "a right decision that costs no more than a wrong one",
                got=f"{line[row]:g} for class {row} decided right and {min(line):g} for it decided wrong",
                where=where,
                fix="let rows be the truth and columns the decision, with 0 on the diagonal",
            )
    if all(min(line) == max(line) for line in table):
        raise ConfigError(
            "a decision that costs more than another", got="none", where=where, fix="give wrong decisions a cost"
        )
    return table
