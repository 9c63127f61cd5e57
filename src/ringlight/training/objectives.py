"""What a training step minimises: how module, criterion, input and targets become one number.

A :class:`ringlight.training.task.ClassificationTask` asks its objective and knows nothing else of the loss, so that a
contrastive warm start, a margin head and a student are trained, divided into chunks, mixed, stopped and resumed like
any classifier.

B batch, K classes, D and E embeddings of student and teacher.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from torch import Tensor, nn

from ringlight.losses.distillation import DistillationLoss
from ringlight.models.embedding import EmbeddingModel, Student
from ringlight.training.mixing import mixed_loss
from ringlight.types import Task

Teacher = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Input (B, ...) -> the teacher's logits (B, K) and embedding (B, E), without gradients."""


class Objective(Protocol):
    """How a step's loss comes about.

    `divisible` says whether the loss of a batch is a mean over its records, so that a step which does not fit in memory
    may be made in chunks.
    """

    divisible: bool

    def loss(self, module: nn.Module, criterion: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of a batch, a scalar."""
        ...

    def mixed(self, module: nn.Module, criterion: nn.Module, inputs: Tensor, pairs: Tensor, weight: float) -> Tensor:
        """Return the loss of a mixed batch: `weight` of the first target of each pair (B, 2, ...), else the other."""
        ...


@runtime_checkable
class Progressive(Protocol):
    """A loss that changes in the course of a run (LDAM's deferred re-weighting)."""

    def set_progress(self, epoch: int, num_epochs: int) -> None:
        """Take note of how far the run is."""
        ...


class Plain:
    """criterion(module(inputs), targets)."""

    divisible = True

    def loss(self, module: nn.Module, criterion: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of a batch, a scalar."""
        loss: Tensor = criterion(module(inputs), targets)
        return loss

    def mixed(self, module: nn.Module, criterion: nn.Module, inputs: Tensor, pairs: Tensor, weight: float) -> Tensor:
        """Return the loss of a mixed batch."""
        return mixed_loss(criterion, module(inputs), pairs, weight)


class Contrastive(Plain):
    """The criterion compares the records of a batch with each other, so that the batch cannot be divided."""

    divisible = False


class MarginObjective(Plain):
    """The head of an :class:`~ringlight.models.embedding.EmbeddingModel` is told the true classes.

    Of a mixed record both classes win by the margin, each in the logits its own loss is computed from.
    """

    def __init__(self, task: Task) -> None:
        self.task = task

    def loss(self, module: nn.Module, criterion: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of a batch, a scalar."""
        loss: Tensor = criterion(module(inputs, targets if self._tells(module) else None), targets)
        return loss

    def mixed(self, module: nn.Module, criterion: nn.Module, inputs: Tensor, pairs: Tensor, weight: float) -> Tensor:
        """Return the loss of a mixed batch."""
        if not self._tells(module) or weight == 1:
            logits_bk = module(inputs, pairs[:, 0] if self._tells(module) else None)
            return mixed_loss(criterion, logits_bk, pairs, weight)
        first_bk, second_bk = module(inputs, pairs).unbind(1)
        loss: Tensor = weight * criterion(first_bk, pairs[:, 0]) + (1 - weight) * criterion(second_bk, pairs[:, 1])
        return loss

    def _tells(self, module: nn.Module) -> bool:
        return self.task == "multiclass" and isinstance(module, EmbeddingModel) and module.takes_targets


class Distilling:
    """A student against the labels and against its teacher, which sees the very same input, mixed or not."""

    divisible = True

    def __init__(self, teacher: Teacher) -> None:
        self.teacher = teacher

    def loss(self, module: nn.Module, criterion: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of a batch, a scalar."""
        return self.mixed(module, criterion, inputs, targets.unsqueeze(1), 1.0)

    def mixed(self, module: nn.Module, criterion: nn.Module, inputs: Tensor, pairs: Tensor, weight: float) -> Tensor:
        """Return the loss of a mixed batch; the labels' side of it is blended, the teacher's needs no labels."""
        if not isinstance(criterion, DistillationLoss) or not isinstance(module, Student):
            raise TypeError(f"expected a Student and its DistillationLoss, got {type(module).__name__}")
        logits_bk, embedding_bd = module.score_and_embed(inputs)
        taught_bk, taught_be = self.teacher(inputs)
        losses = [
            share * criterion(logits_bk, taught_bk, some, embedding_bd, taught_be)
            for share, some in zip((weight, 1 - weight), pairs.unbind(1), strict=False)
            if share
        ]
        total: Tensor = sum(losses[1:], losses[0])
        return total
