"""The contrastive warm start as a task: what its labels are, who votes, and that its batches stay whole."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - PyTorch's own name for it
from torch.utils.data import DataLoader

from ringlight.errors import TrainingError
from ringlight.evaluation.nearest import knn_accuracy
from ringlight.losses import CONTRASTIVE
from ringlight.models.embedding import EmbeddingModel, Projection
from ringlight.models.heads import make_head
from ringlight.optim import build_optimizer, build_schedule
from ringlight.runtime import quiet_libraries
from ringlight.training.contrastive import ContrastiveTask, VoteLoss, head_spec, neighbors_head
from ringlight.training.objectives import Contrastive

CLASSES = ("a", "b", "c")


class TooLarge(nn.Module):
    """A trunk for which no batch is small enough."""

    def forward(self, inputs: Tensor) -> Tensor:
        raise torch.OutOfMemoryError(f"CUDA out of memory. Tried to allocate {len(inputs)}.00 GiB.")


class Told(nn.Module):
    """A criterion that keeps the labels it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.labels: list[list[int]] = []

    def forward(self, vectors: Tensor, labels: Tensor) -> Tensor:
        self.labels.append(labels.tolist())
        loss: Tensor = vectors.sum()
        return loss


def task_of(trunk: nn.Module | None = None, criterion: nn.Module | None = None, **chosen: Any) -> ContrastiveTask:
    torch.manual_seed(0)
    task = ContrastiveTask(
        EmbeddingModel(trunk or nn.Linear(4, 5), Projection(5, 3)),
        criterion or CONTRASTIVE.build("supcon", temperature=0.1),
        classes=CLASSES, task="multiclass", seed=0, monitor="accuracy", objective=Contrastive(),
        optimizer=lambda module: build_optimizer("sgd", module, lr=0.1, weight_decay=0.0),
        schedule=lambda built: build_schedule("constant", built, num_epochs=1, steps_per_epoch=2, params={}),
        val_criterion=VoteLoss("multiclass"),
    )  # fmt: skip
    for key, value in chosen.items():
        setattr(task, key, value)
    return task


def views(count: int = 12) -> list[dict[str, Any]]:
    """Two views of each record, one after the other, as the sampler has them."""
    inputs = torch.randn(count, 4, generator=torch.Generator().manual_seed(1))
    return [
        {"input": inputs[at] + 0.1 * view, "target": torch.tensor(at % 3), "index": at}
        for at in range(count)
        for view in range(2)
    ]


def fit(task: ContrastiveTask, *, val: bool = False, **settings: Any) -> None:
    train = views()
    judged = [DataLoader(part, batch_size=5) for part in (train, views(20)[24:])]
    with quiet_libraries():
        trainer = Trainer(
            accelerator="cpu", devices=1, max_epochs=1, logger=False, enable_progress_bar=False,
            enable_model_summary=False, num_sanity_val_steps=0, enable_checkpointing=False, **settings,
        )  # fmt: skip
        trainer.fit(task, DataLoader(train, batch_size=8), judged if val else None)


@pytest.mark.parametrize(
    ("by_record", "expected"),
    [(False, [[0, 0, 1, 1, 2, 2, 0, 0]] * 1), (True, [[0, 0, 1, 1, 2, 2, 3, 3]])],
    ids=["classes", "records"],
)
def test_the_labels_are_classes_or_the_rows_of_the_records(by_record: bool, expected: list[list[int]]) -> None:
    criterion = Told()
    task = task_of(criterion=criterion, by_record=by_record)
    fit(task)
    assert criterion.labels[0] == expected[0]
    assert [len(labels) for labels in criterion.labels] == [8, 8, 8]


def test_the_score_of_an_epoch_is_the_vote_of_the_nearest_training_records() -> None:
    task = task_of(num_neighbors=5)
    fit(task, val=True)
    train, val = views(), views(20)[24:]
    with torch.no_grad():
        stored, asked = (task.module.embed(torch.stack([one["input"] for one in part])) for part in (train, val))
    labels, truth = ([int(one["target"]) for one in part] for part in (train, val))
    expected = knn_accuracy(stored.numpy(), labels, asked.numpy(), truth, k=5)
    assert task.epoch_metrics["val/knn_accuracy"] == task.epoch_metrics["val/accuracy"] == pytest.approx(expected)
    assert 0 < expected < 1, "a score that tells one embedding from another"
    assert task.validation is not None
    loss = F.cross_entropy(torch.from_numpy(task.validation.logits), torch.tensor(truth))
    assert task.epoch_metrics["val/loss"] == pytest.approx(float(loss))


def test_a_batch_that_does_not_fit_is_not_divided() -> None:
    """A chunk of it would compare fewer records: another loss, silently."""
    with pytest.raises(TrainingError) as caught:
        fit(task_of(TooLarge()))
    assert str(caught.value) == (
        "training, epoch 0, step 0: expected memory for a whole batch, whose records are compared with each other, got "
        "CUDA out of memory. Tried to allocate 8.00 GiB.; lower data.batch_size or supcon.num_views, or make "
        "data.image_size smaller"
    )


# --- the votes --------------------------------------------------------------------------------------------------------


def test_the_votes_are_counted_one_by_one() -> None:
    rng = np.random.default_rng(0)
    stored, asked = rng.normal(size=(15, 4)), rng.normal(size=(6, 4))
    labels = rng.integers(0, 3, 15)
    head = neighbors_head(torch.tensor(stored).float(), torch.tensor(labels), 3, 4, "multiclass")
    votes = head(torch.tensor(asked).float()).exp().numpy()
    for row, one in enumerate(asked):
        cosines = [float(one @ other / np.linalg.norm(one) / np.linalg.norm(other)) for other in stored]
        nearest = sorted(range(15), key=lambda at: -cosines[at])[:4]
        shares = np.zeros(3)
        for at in nearest:
            shares[labels[at]] += np.exp(cosines[at] / 0.07)
        np.testing.assert_allclose(votes[row], (shares / shares.sum() + 1e-3) / 1.003, rtol=1e-4)


def test_several_labels_vote_each_for_itself_and_a_bundle_rebuilds_the_head() -> None:
    targets = torch.tensor([[1.0, 1.0], [0.0, 1.0], [0.0, 0.0]])
    stored = torch.eye(3)
    head = neighbors_head(stored, targets, 2, 1, "multilabel")
    logits = head(stored)
    assert (logits > 0).tolist() == targets.bool().tolist()
    loss = VoteLoss("multilabel")(logits, targets)
    torch.testing.assert_close(loss, F.binary_cross_entropy_with_logits(logits, targets))
    again = make_head(head_spec(head), 3, 2)
    again.load_state_dict(head.state_dict())
    assert torch.equal(again(stored), logits)
