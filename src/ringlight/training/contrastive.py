"""The contrastive warm start as a Lightning task: views in, and after every epoch a vote of nearest neighbours.

What is trained has no classes yet. So its embedding is judged as self-supervised features are (Wu et al. 2018,
arXiv:1805.01978, section 3.4): the most similar training records vote on each validation record. The votes give scores
of every class, and with them all the metrics that a classifier has: `val/accuracy` is the k-NN accuracy, and the best
epoch is chosen by `training.monitor` as ever. `val/loss` is the log loss of these votes.

B batch, V views, D embedding, K classes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - PyTorch's own name for it

from ringlight.models.embedding import EmbeddingModel
from ringlight.models.heads import NeighborsHead
from ringlight.training.task import ClassificationTask
from ringlight.types import Batch, Task

KNN_TEMPERATURE = 0.07
"""How fast a vote fades with the cosine (Wu et al. 2018, section 3.4)."""


class ContrastiveTask(ClassificationTask):
    """Trains trunk and projection with a contrastive criterion (embeddings (N, P), labels (N,)) -> a scalar.

    The first of the validation loaders yields the training records among which neighbours are looked for, the second
    the validation part. `by_record` compares views of a record with those of every other, whatever their classes
    (NT-Xent). `num_neighbors` vote.
    """

    by_record: bool = False
    num_neighbors: int = 20
    _bank: list[tuple[Tensor, Tensor]]

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Compute the batch's loss, and return what stands in for it.

        Raises:
            TrainingError: the loss is NaN or infinite, or no record of the batch has a positive.
        """
        if self.by_record:
            batch = {**batch, "target": batch["index"].to(batch["target"].device)}
        return super().training_step(batch, batch_idx)

    def on_validation_epoch_start(self) -> None:
        """Forget the last pass."""
        super().on_validation_epoch_start()
        self._bank = []

    def validation_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:  # noqa: ARG002
        """Collect embeddings and truth."""
        if not isinstance(self.module, EmbeddingModel):
            raise TypeError(f"expected an EmbeddingModel, got {type(self.module).__name__}")
        kept = self._bank if dataloader_idx == 0 else self._scores
        kept.append((self.module.embed(batch["input"]).float(), batch["target"]))

    def on_validation_epoch_end(self) -> None:
        """Let the neighbours vote, and score the votes like a classifier's."""
        head = neighbors_head(*_joined(self._bank), len(self.classes), self.num_neighbors, self.task)
        self._scores = [(head(embedding), target) for embedding, target in self._scores]
        self._bank = []
        super().on_validation_epoch_end()
        self.epoch_metrics["val/knn_accuracy"] = self.epoch_metrics["val/accuracy"]


class VoteLoss(nn.Module):
    """The log loss of the neighbours' votes."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.task = task

    def forward(self, logits_bk: Tensor, targets: Tensor) -> Tensor:
        """Return the mean over the records."""
        if self.task == "multiclass":
            return F.cross_entropy(logits_bk, targets)
        return F.binary_cross_entropy_with_logits(logits_bk, targets)


def neighbors_head(
    embedding_nd: Tensor, targets: Tensor, num_classes: int, num_neighbors: int, task: Task
) -> NeighborsHead:
    """Return the head that lets the nearest of these records vote.

    Args:
        embedding_nd: (N, D) of the records that may vote.
        targets: class indices (N,), or (N, K) of 0 and 1.
        num_classes: K.
        num_neighbors: how many of them vote on a record.
        task: of the targets.

    Examples:
        >>> head = neighbors_head(torch.eye(2), torch.tensor([0, 1]), 2, 1, "multiclass")
        >>> head(torch.tensor([[0.1, 0.9]])).argmax(1).item()
        1
    """
    head = NeighborsHead(
        embedding_nd.shape[1], num_classes, num_records=len(embedding_nd), num_neighbors=num_neighbors,
        temperature=KNN_TEMPERATURE, task=task,
    ).to(embedding_nd.device)  # fmt: skip
    votes_nk = F.one_hot(targets, num_classes) if task == "multiclass" else targets
    head.features.copy_(F.normalize(embedding_nd, dim=1))
    head.votes.copy_(votes_nk)
    return head


def head_spec(head: NeighborsHead) -> dict[str, Any]:
    """Return what a bundle rebuilds the head from."""
    return {
        "name": "knn", "num_records": len(head.features), "num_neighbors": head.num_neighbors,
        "temperature": head.temperature, "task": head.task,
    }  # fmt: skip


def _joined(parts: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    return torch.cat([one for one, _ in parts]), torch.cat([other for _, other in parts])
