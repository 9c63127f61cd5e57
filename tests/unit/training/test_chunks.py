"""Running out of memory in the middle of a run: the step is repeated in chunks, and nothing of the epoch is lost."""

from __future__ import annotations

import contextlib
import logging
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import EMAWeightAveraging
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ringlight.errors import TrainingError
from ringlight.optim import SAM, build_optimizer, build_schedule
from ringlight.runtime import quiet_libraries
from ringlight.training.checkpoints import WholeCheckpointIO
from ringlight.training.chunks import SetAsideGradients, StepDowns, backward_in_chunks, forward_in_chunks
from ringlight.training.sharpness import Sharpness
from ringlight.training.task import ClassificationTask

BATCH = 8


class TooMuchBackwards(torch.autograd.Function):
    """Passes forward, and runs out of memory on the way back when the batch is larger than `limit`."""

    @staticmethod
    def forward(context: Any, images: Tensor, limit: int) -> Tensor:
        context.limit = limit
        return images.clone()

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:
        if len(gradient) > context.limit:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return gradient, None


class Small(nn.Module):
    """A network on a device whose memory holds `limit` images forward (`where="forward"`) or on the way back."""

    def __init__(self, limit: int = 1000, where: str = "forward", error: type[Exception] | None = None) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.first = nn.Linear(4, 5)
        self.last = nn.Linear(5, 3)
        self.limit, self.where = limit, where
        self.error = error or torch.OutOfMemoryError
        self.calls: list[int] = []
        self.held: list[weakref.ref[Any]] = []
        self.most_held = 0

    def forward(self, images: Tensor) -> Tensor:
        self.calls.append(len(images))
        self.most_held = max(self.most_held, sum(one() is not None for one in self.held))
        if self.where == "forward" and len(images) > self.limit and (self.training or self.limit < 2):
            raise self.error("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.")
        hidden = self.first(images.flatten(1))
        if self.where == "backward":
            hidden = TooMuchBackwards.apply(hidden, self.limit)
            if hidden.grad_fn is not None:
                self.held.append(weakref.ref(hidden.grad_fn))  # lives as long as the step's graph
        return self.last(torch.tanh(hidden))


def rows(count: int = 20) -> list[dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(count, 1, 2, 2, generator=generator)
    return [{"input": image, "target": torch.tensor(at % 3)} for at, image in enumerate(images)]


def task_of(
    module: nn.Module, criterion: nn.Module | None = None, num_epochs: int = 2, images_at_once: int | None = None
) -> ClassificationTask:
    return ClassificationTask(
        module,
        criterion or nn.CrossEntropyLoss(),
        classes=("a", "b", "c"),
        task="multiclass",
        seed=0,
        optimizer=lambda model: build_optimizer("sgd", model, lr=0.5, weight_decay=0.0),
        schedule=lambda built: build_schedule("constant", built, num_epochs=num_epochs, steps_per_epoch=3, params={}),
        monitor="macro_f1",
        images_at_once=images_at_once,
    )


def train(
    task: ClassificationTask, num_epochs: int = 2, resume: Path | None = None, num_records: int = 20, **settings: Any
) -> Trainer:
    with quiet_libraries():
        trainer = Trainer(
            accelerator="cpu", devices=1, max_epochs=num_epochs, logger=False, enable_progress_bar=False,
            enable_model_summary=False, num_sanity_val_steps=0, enable_checkpointing=False,
            plugins=[WholeCheckpointIO()], **settings,
        )  # fmt: skip
        loaders = [DataLoader(rows(count), batch_size=BATCH) for count in (num_records, 20)]
        trainer.fit(task, *loaders, ckpt_path=resume)
    return trainer


def weights(module: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in module.parameters()])


def test_a_training_without_faults_is_to_the_bit_that_of_a_bare_loop() -> None:
    """The task hands Lightning a stand-in for the loss; the arithmetic must not notice, nor must accumulation."""
    ours, theirs = Small(), Small()
    task = task_of(ours)
    train(task, accumulate_grad_batches=2)
    optimizer = build_optimizer("sgd", theirs, lr=0.5, weight_decay=0.0)
    total = 0.0
    for epoch in range(2):
        optimizer.zero_grad()
        for at, batch in enumerate(DataLoader(rows(), batch_size=BATCH)):
            loss = nn.functional.cross_entropy(theirs(batch["input"]), batch["target"])
            (loss / 2).backward()
            total += float(loss.detach()) * len(batch["input"]) if epoch == 1 else 0.0
            if at in (1, 2):
                optimizer.step()
                optimizer.zero_grad()
    assert torch.equal(weights(ours), weights(theirs))
    assert task.train_loss == pytest.approx(total / 20)
    assert task.step_downs == []


@pytest.mark.parametrize("where", ["forward", "backward"])
@pytest.mark.parametrize(
    "settings",
    [{}, {"accumulate_grad_batches": 2}, {"gradient_clip_val": 0.05}, {"precision": "bf16-mixed"}, {"ema": 0.5}],
    ids=["plain", "accumulated", "clipped", "bf16", "averaged"],
)
def test_chunks_train_as_the_whole_batch_would_have(where: str, settings: dict[str, Any]) -> None:
    def trained(limit: int) -> tuple[ClassificationTask, Tensor]:
        task = task_of(Small(limit, where))
        chosen = dict(settings)
        callbacks = [EMAWeightAveraging(decay=chosen.pop("ema"))] if "ema" in chosen else []
        train(task, callbacks=callbacks, **chosen)
        return task, weights(task.module)

    (small, chunked), (large, whole) = trained(3), trained(1000)
    torch.testing.assert_close(chunked, whole, rtol=1e-5, atol=6e-3 if settings.get("precision") else 1e-6)
    assert small.train_loss == pytest.approx(large.train_loss, rel=2e-2 if settings.get("precision") else 1e-5)
    assert small.step_downs == [{"epoch": 0, "step": 0, "chunks": 2}, {"epoch": 0, "step": 0, "chunks": 4}]
    assert large.step_downs == []


def test_a_fault_in_the_second_of_two_accumulated_batches_leaves_the_firsts_gradient_alone() -> None:
    """The backward pass that failed had already changed the last layer's gradients: half a step too many."""

    def trained(limit: int) -> ClassificationTask:
        module = Small(1000, "backward")
        task = task_of(module)
        seen: list[int] = []

        def tighten(*_: Any) -> None:
            seen.append(1)
            module.limit = limit if len(seen) >= 2 else 1000

        module.register_forward_pre_hook(tighten)
        train(task, num_epochs=1, accumulate_grad_batches=2)
        return task

    small, large = trained(5), trained(1000)
    assert small.step_downs == [{"epoch": 0, "step": 1, "chunks": 2}]
    torch.testing.assert_close(weights(small.module), weights(large.module), rtol=1e-5, atol=1e-6)


def test_what_a_failed_step_held_is_free_before_it_is_repeated() -> None:
    """Lightning keeps the loss until its step is over; with a real loss in its hands the memory stays taken."""
    module = Small(3, "backward")
    train(task_of(module), num_epochs=1)
    assert len(module.held) == 1 + 1 + 4 + 4 + 2  # two steps that fail, then 8, 8 and 4 images in chunks of 2
    assert module.most_held == 0


def test_a_batch_foreseen_not_to_fit_is_divided_from_the_start() -> None:
    task = task_of(Small(4), images_at_once=4)
    train(task, num_epochs=1)
    assert max(task.module.calls[:5]) == 4  # type: ignore[index,union-attr]
    assert task.step_downs == []


@pytest.mark.parametrize("error", [RuntimeError, MemoryError])
def test_the_cpu_running_out_counts_too_and_is_said_in_one_line(
    error: type[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="ringlight"):
        task = task_of(Small(4, error=error))
        train(task)
    assert [record.getMessage() for record in caplog.records] == [
        "out of memory in training, epoch 0, step 0: repeated in 2 chunks of at most 4 images, the batch of 8 stays; "
        "from here on the run no longer repeats to the last bit (a smaller data.batch_size would)"
    ]
    assert task.module.calls[:4] == [8, 4, 4, 4]  # type: ignore[index,union-attr]


def test_another_error_is_no_want_of_memory() -> None:
    class Broken(Small):
        def forward(self, images: Tensor) -> Tensor:
            raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        train(task_of(Broken()))


@pytest.mark.parametrize("where", ["forward", "backward"])
def test_one_image_that_does_not_fit_ends_the_run_with_the_next_step(where: str) -> None:
    with pytest.raises(
        TrainingError,
        match=r"^training, epoch 0, step 0: expected memory for one image, got .*memory.*; make data\.image_size",
    ):
        train(task_of(Small(0, where)))


def test_a_resumed_run_knows_how_much_fits(tmp_path: Path) -> None:
    first = task_of(Small(4))
    train(first, num_epochs=1).save_checkpoint(tmp_path / "last.ckpt")
    again = task_of(Small(4))
    train(again, num_epochs=2, resume=tmp_path / "last.ckpt")
    assert again.step_downs == first.step_downs == [{"epoch": 0, "step": 0, "chunks": 2}]
    assert max(again.module.calls[:5]) == 4  # type: ignore[index,union-attr]  # not one batch of 8 was tried again


def test_a_validation_that_does_not_fit_is_scored_in_chunks(caplog: pytest.LogCaptureFixture) -> None:
    module = Small(4).eval()
    module.limit = 1
    images = torch.randn(5, 4)
    with caplog.at_level(logging.WARNING, logger="ringlight"):
        scores = forward_in_chunks(module, images, StepDowns("validation"), epoch=1, step=7)
    module.limit = 1000
    torch.testing.assert_close(scores, module(images))
    assert ["in validation, epoch 1, step 7" in record.getMessage() for record in caplog.records] == [True] * 3


def test_the_engines_scale_reaches_every_chunk() -> None:
    """Mixed precision in fp16 multiplies the loss before the backward pass and divides the gradients after it."""
    images, targets = torch.randn(7, 4), torch.tensor([0, 1, 2, 0, 1, 2, 0])

    def gradients(chunks: int, reduction: str) -> tuple[Tensor, Tensor]:
        module, criterion = Small(), nn.CrossEntropyLoss(reduction=reduction)
        loss = backward_in_chunks(
            lambda some, truth: criterion(module(some), truth),
            images,
            targets,
            chunks=chunks,
            scale=torch.tensor(1024.0) / 3,
            context=contextlib.nullcontext,
            reduction=reduction,
        )
        return loss, torch.cat([parameter.grad.flatten() for parameter in module.parameters()])  # type: ignore[union-attr]

    for reduction in ("mean", "sum"):
        whole, chunked = gradients(1, reduction), gradients(3, reduction)
        torch.testing.assert_close(chunked, whole)
        assert whole[1].abs().max() > 10


def test_gradients_set_aside_add_up_or_come_back() -> None:
    parameter, other = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(1))
    parameter.grad = torch.ones(2)
    held = SetAsideGradients([parameter, other])
    parameter.grad, other.grad = torch.full((2,), 2.0), torch.ones(1)
    held.add_up()
    assert (parameter.grad.tolist(), other.grad.tolist()) == ([3.0, 3.0], [1.0])
    held = SetAsideGradients([parameter])
    parameter.grad = torch.full((2,), 9.0)
    held.put_back()
    assert parameter.grad.tolist() == [3.0, 3.0]


def test_a_loss_that_changes_in_the_run_is_told_at_the_start_of_every_epoch(
    make_task: Callable[..., ClassificationTask],
) -> None:
    class Deferred(nn.CrossEntropyLoss):
        told: list[tuple[int, int]] = []  # noqa: RUF012 - read by the test

        def set_progress(self, epoch: int, num_epochs: int) -> None:
            self.told.append((epoch, num_epochs))

    train(task_of(Small(), Deferred()), num_epochs=3)
    assert Deferred.told == [(0, 3), (1, 3), (2, 3)]


ONE = r"^training, epoch 0, step 0: expected two records or more in a batch for batch normalisation, got "


class Normalised(Small):
    """Batch normalisation, which cannot learn from one record."""

    def __init__(self, limit: int = 1000) -> None:
        super().__init__(limit)
        self.first = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5))  # type: ignore[assignment]


@pytest.mark.parametrize("sharpness", [None, Sharpness(SAM(rho=0.05))], ids=["plain", "climbing"])
def test_a_batch_of_one_record_is_told_in_a_line_where_it_is_normalised(sharpness: Sharpness | None) -> None:
    """It ended in torch's own ValueError, with a traceback through Lightning."""
    task = task_of(Normalised())
    task.sharpness = sharpness
    with pytest.raises(TrainingError, match=ONE + r"one; set data\.batch_size=2 or more, or choose another"):
        train(task, num_records=1)


def test_a_batch_divided_down_to_single_records_is_told_as_such() -> None:
    task = task_of(Normalised(limit=1))
    with pytest.raises(TrainingError, match=ONE + r"one at a time of 8, for want of memory; make data\.image_size"):
        train(task)
