"""The task: means per image, scores of the whole validation part, a loss that is not finite is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score
from torch import Tensor, nn

from ringlight.errors import TrainingError
from ringlight.training.task import ClassificationTask

IMAGES = [0.5, -1.0, 2.0, 1.0, 3.0]
TARGETS = [0, 1, 1, 0, 1]


class TargetAsLoss(nn.Module):
    """The mean target of a batch: whatever the model says."""

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        return targets.float().mean() + 0 * logits.sum()


@pytest.mark.parametrize("schedule", ["constant", "plateau"])
def test_the_training_loss_is_the_mean_per_image_when_the_last_batch_is_smaller(
    make_task: Callable[..., ClassificationTask], make_rows: Any, run_trainer: Any, schedule: str
) -> None:
    """Batches of 2, 2 and 1 image: the mean of the batch means (2/3) would count the last image twice."""
    task = make_task(criterion=TargetAsLoss(), schedule=schedule)
    run_trainer(task, make_rows(IMAGES, TARGETS), None, num_epochs=1)
    assert task.train_loss == pytest.approx(3 / 5)


def test_validation_scores_are_those_of_the_whole_part(
    make_task: Callable[..., ClassificationTask], make_rows: Any, run_trainer: Any
) -> None:
    """The mean of the batches' macro-F1 is another number: a batch without a class counts it as 0."""
    task = make_task(lr=1e-9)
    run_trainer(task, make_rows(IMAGES, TARGETS), make_rows(IMAGES, TARGETS), num_epochs=1)
    assert task.validation is not None
    guess = task.validation.logits.argmax(1)
    expected = f1_score(TARGETS, guess, average="macro", zero_division=0)
    batches = [
        f1_score(TARGETS[at : at + 2], guess[at : at + 2], average="macro", labels=[0, 1], zero_division=0)
        for at in (0, 2, 4)
    ]
    assert task.epoch_metrics["val/macro_f1"] == pytest.approx(expected)
    assert expected != pytest.approx(np.mean(batches))
    loss = nn.CrossEntropyLoss()(torch.from_numpy(task.validation.logits), torch.tensor(TARGETS))
    assert task.epoch_metrics["val/loss"] == pytest.approx(float(loss))


def test_multilabel_scores_come_from_sigmoids(
    make_task: Callable[..., ClassificationTask], make_rows: Any, run_trainer: Any
) -> None:
    truth = [[1, 0], [0, 0], [1, 1], [0, 1], [1, 0]]
    task = make_task(task="multilabel", criterion=nn.BCEWithLogitsLoss(), lr=1e-9)
    part = make_rows(IMAGES, truth, torch.float32)
    run_trainer(task, part, part, num_epochs=1)
    assert task.validation is not None
    assert task.validation.probabilities == pytest.approx(1 / (1 + np.exp(-task.validation.logits.astype(float))))
    expected = f1_score(truth, task.validation.logits >= 0, average="macro", zero_division=0)
    assert task.epoch_metrics["val/macro_f1"] == pytest.approx(expected)


def test_an_undefined_monitored_score_is_left_out_and_ends_nothing(
    make_task: Callable[..., ClassificationTask], make_rows: Any, run_trainer: Any
) -> None:
    """A validation part of one class has no AUROC; the lookup of it used to end the run with a KeyError."""
    task = make_task(monitor="auroc")
    trainer = run_trainer(task, make_rows(IMAGES, TARGETS), make_rows([1.0, 2.0], [1, 1]), num_epochs=1)
    assert "val/auroc" not in task.epoch_metrics
    assert torch.isnan(trainer.callback_metrics["val/auroc"])


@pytest.mark.parametrize("part", ["train", "val"])
def test_a_loss_that_is_not_finite_is_refused_with_the_next_step(
    make_task: Callable[..., ClassificationTask], make_rows: Any, run_trainer: Any, part: str
) -> None:
    bad = make_rows([float("nan"), 1.0], [0, 1])
    good = make_rows(IMAGES, TARGETS)
    with pytest.raises(
        TrainingError,
        match=r"^epoch 0: expected a finite loss, got nan; lower optimizer\.lr, set training\.gradient_clip_norm=1\.0, "
        r"or use training\.precision=32$",
    ):
        run_trainer(make_task(), bad if part == "train" else good, bad if part == "val" else good)


def test_a_loss_that_breaks_between_two_looks_is_found_when_the_epoch_ends(
    make_task: Callable[..., ClassificationTask], make_rows: Any, run_trainer: Any
) -> None:
    task = make_task(monitor=None)
    run_trainer(task, make_rows([1.0, 1.0, float("nan"), 1.0], [0, 1, 0, 1]), None, num_epochs=1)
    with pytest.raises(TrainingError, match="expected a finite loss, got nan"):
        _ = task.train_loss


def test_a_plateau_lowers_the_rate_when_the_score_stands_still(
    make_task: Callable[..., ClassificationTask], make_rows: Any, run_trainer: Any
) -> None:
    task = make_task(lr=1e-5, schedule="plateau", patience=1, factor=0.5)
    trainer = run_trainer(task, make_rows(IMAGES, TARGETS), make_rows(IMAGES, TARGETS), num_epochs=3)
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.5e-5)
