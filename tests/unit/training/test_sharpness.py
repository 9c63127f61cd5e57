"""SAM inside a training: the published update to 3e-8 of a bare loop, whatever else is done to gradients and steps."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback, EMAWeightAveraging
from lightning.pytorch.plugins.precision import MixedPrecision
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ringlight.errors import TrainingError
from ringlight.optim import ASAM, SAM, build_optimizer, build_schedule
from ringlight.runtime import quiet_libraries
from ringlight.training import sharpness as module_of
from ringlight.training.checkpoints import WholeCheckpointIO
from ringlight.training.mixing import Mixup
from ringlight.training.sharpness import Sharpness
from ringlight.training.task import ClassificationTask

BATCH = 8
RHO = 0.2


class Small(nn.Module):
    """Two layers, with batch normalisation and dropout between them if asked; runs out of memory above `limit`."""

    def __init__(self, *, norm: bool = False, dropout: float = 0.0, limit: int = 1000) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.first, self.last = nn.Linear(4, 5), nn.Linear(5, 3)
        self.norm = nn.BatchNorm1d(5) if norm else nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.limit = limit
        self.calls: list[int] = []

    def forward(self, images: Tensor) -> Tensor:
        self.calls.append(len(images))
        if self.training and len(images) > self.limit:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        hidden = torch.tanh(self.norm(self.first(images.flatten(1))))
        logits: Tensor = self.last(self.dropout(hidden))
        return logits


def rows(count: int = 20) -> list[dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(count, 1, 2, 2, generator=generator)
    return [{"input": image, "target": torch.tensor(at % 3)} for at, image in enumerate(images)]


def train(
    module: nn.Module,
    rule: SAM | None,
    *,
    num_epochs: int = 2,
    resume: Path | None = None,
    name: str = "sgd",
    lr: float = 0.3,
    mixer: Mixup | None = None,
    optimizing: dict[str, Any] | None = None,
    callbacks: Sequence[Callback] = (),
    plugins: Sequence[Any] = (),
    **settings: Any,
) -> ClassificationTask:
    task = ClassificationTask(
        module, nn.CrossEntropyLoss(), classes=("a", "b", "c"), task="multiclass", seed=0,
        optimizer=lambda built: build_optimizer(name, built, lr=lr, weight_decay=0.01, **(optimizing or {})),
        schedule=lambda built: build_schedule("one_cycle", built, num_epochs=2, steps_per_epoch=3, params={}),
        monitor=None, mixer=mixer, sharpness=None if rule is None else Sharpness(rule),
    )  # fmt: skip
    with quiet_libraries():
        trainer = Trainer(
            accelerator=settings.pop("accelerator", "cpu"), devices=1, max_epochs=num_epochs, logger=False,
            enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0, enable_checkpointing=False,
            callbacks=list(callbacks), plugins=[WholeCheckpointIO(), *plugins], **settings,
        )  # fmt: skip
        # As ours: without a generator the loader draws from the one that dropout draws from.
        loader = DataLoader(rows(), batch_size=BATCH, generator=torch.Generator())
        trainer.fit(task, loader, ckpt_path=resume, weights_only=True)
        task.trainer = trainer
    return task


def flat(module: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in module.parameters()])


def bare(
    module: nn.Module,
    *,
    accumulate: int = 1,
    clip: float | None = None,
    centralised: bool = False,
    k: int | None = None,
    asam: bool = False,
) -> float:
    """The published updates in a loop that knows nothing of ours; return the last epoch's mean loss at the weights."""
    parameters = list(module.parameters())
    optimizer = build_optimizer("sgd", module, lr=0.3, weight_decay=0.01)
    schedule = build_schedule("one_cycle", optimizer, num_epochs=2, steps_per_epoch=3, params={}).scheduler
    slow, steps, total = [one.detach().clone() for one in parameters], 0, 0.0
    for epoch in range(2):
        optimizer.zero_grad()
        batches = list(DataLoader(rows(), batch_size=BATCH))
        for at, batch in enumerate(batches):
            before, held = [one.detach().clone() for one in parameters], [one.grad for one in parameters]
            loss = nn.functional.cross_entropy(module(batch["input"]), batch["target"])
            total += float(loss.detach()) * len(batch["input"]) if epoch == 1 else 0.0
            gradients = torch.autograd.grad(loss, parameters)
            units = [one.detach().abs() + 0.01 if asam else torch.ones_like(one) for one in parameters]
            norm = torch.sqrt(sum(((t * g) ** 2).sum() for t, g in zip(units, gradients, strict=True)))
            with torch.no_grad():
                for one, t, g in zip(parameters, units, gradients, strict=True):
                    one.add_(RHO * t * t * g / norm)
            (nn.functional.cross_entropy(module(batch["input"]), batch["target"]) / accumulate).backward()
            assert [one is two for one, two in zip(held, [one.grad for one in parameters], strict=True)]
            with torch.no_grad():
                for one, there in zip(parameters, before, strict=True):
                    one.copy_(there)
            if (at + 1) % accumulate and at + 1 < len(batches):
                continue
            if clip is not None:
                nn.utils.clip_grad_norm_(parameters, clip)
            if centralised:
                for one in parameters:
                    if one.ndim > 1:
                        one.grad -= one.grad.mean(1, keepdim=True)  # type: ignore[operator]
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            steps += 1
            if k is not None and steps % k == 0:
                with torch.no_grad():
                    for kept, one in zip(slow, parameters, strict=True):
                        kept += 0.5 * (one - kept)
                        one.copy_(kept)
    return total / 20


@pytest.mark.parametrize(
    ("settings", "optimizing", "published"),
    [
        ({}, {}, {}),
        ({"accumulate_grad_batches": 2}, {}, {"accumulate": 2}),
        ({"gradient_clip_val": 0.05}, {}, {"clip": 0.05}),
        (
            {"accumulate_grad_batches": 2, "gradient_clip_val": 0.05},
            {"gradient_centralization": True, "lookahead": {"k": 2, "alpha": 0.5}},
            {"accumulate": 2, "clip": 0.05, "centralised": True, "k": 2},
        ),
    ],
    ids=["plain", "accumulated", "clipped", "everything"],
)
def test_a_training_is_the_published_update_of_a_bare_loop(
    settings: dict[str, Any], optimizing: dict[str, Any], published: dict[str, Any]
) -> None:
    """Accumulated, each batch climbs by its own gradient; clipped and centralised is the gradient from the top."""
    ours, theirs = Small(), Small()
    task = train(ours, SAM(rho=RHO), optimizing=optimizing, **settings)
    loss = bare(theirs, **published)
    torch.testing.assert_close(flat(ours), flat(theirs), rtol=0, atol=1e-7)
    assert task.train_loss == pytest.approx(loss, rel=1e-6), "the history tells the loss at the weights, not at the top"
    assert (flat(ours) - flat(train(Small(), None, optimizing=optimizing, **settings).module)).abs().max() > 1e-3


def test_the_adaptive_training_is_the_published_update_of_a_bare_loop() -> None:
    ours, theirs = Small(), Small()
    train(ours, ASAM(rho=RHO))
    bare(theirs, asam=True)
    torch.testing.assert_close(flat(ours), flat(theirs), rtol=0, atol=1e-7)


@pytest.mark.parametrize("settings", [{"accumulate_grad_batches": 2}, {"precision": "bf16-mixed"}])
def test_a_step_in_chunks_climbs_by_the_whole_batch(settings: dict[str, Any]) -> None:
    """Climbing in each chunk by its own gradient would be another method, and would change when memory is short."""
    small, large = train(Small(limit=3), SAM(rho=RHO), **settings), train(Small(), SAM(rho=RHO), **settings)
    tolerance = 6e-3 if "precision" in settings else 1e-6
    torch.testing.assert_close(flat(small.module), flat(large.module), rtol=1e-5, atol=tolerance)
    assert small.train_loss == pytest.approx(large.train_loss, rel=2e-2 if "precision" in settings else 1e-5)
    assert small.step_downs == [{"epoch": 0, "step": 0, "chunks": 2}, {"epoch": 0, "step": 0, "chunks": 4}]


@pytest.mark.parametrize("failing", [1, 2], ids=["on the way up", "at the top"])
def test_memory_that_runs_out_in_either_pass_costs_nothing_but_time(failing: int) -> None:
    class Tight(Small):
        def forward(self, images: Tensor) -> Tensor:
            self.limit = 5 if len(self.calls) + 1 >= failing else 1000
            return super().forward(images)

    small, large = train(Tight(), SAM(rho=RHO), num_epochs=1), train(Small(), SAM(rho=RHO), num_epochs=1)
    assert [one["chunks"] for one in small.step_downs] == [2]
    torch.testing.assert_close(flat(small.module), flat(large.module), rtol=1e-5, atol=1e-6)


def test_running_statistics_move_once_a_step() -> None:
    """The first pass would count every batch twice, once of it at other weights."""
    module, seen = Small(norm=True), list[Tensor]()
    module.norm.register_forward_hook(lambda norm, _, __: seen.append(norm.running_mean.clone()))
    train(module, SAM(rho=RHO), num_epochs=1)
    assert int(module.norm.num_batches_tracked) == 3  # type: ignore[arg-type]
    assert len(seen) == 6
    assert all(not torch.equal(first, second) for first, second in zip(seen[::2], seen[1::2], strict=True))
    assert torch.equal(module.norm.running_mean, seen[-1])  # type: ignore[arg-type]


def test_the_average_and_the_optimizer_see_the_weights_not_the_top() -> None:
    """Averaged at the top, the weights would be off by `rho` for good."""
    seen: list[Tensor] = []

    class Look(Callback):
        def on_before_optimizer_step(self, trainer: Trainer, pl_module: Any, optimizer: Any) -> None:
            seen.append(flat(pl_module.module))

        def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
            seen.append(flat(pl_module.module))

    averaging = EMAWeightAveraging(decay=0.5)
    start = flat(Small())
    train(Small(), SAM(rho=RHO), num_epochs=1, callbacks=[Look(), averaging])
    assert torch.equal(seen[0], start)
    assert torch.equal(seen[2], seen[1])
    assert torch.equal(seen[4], seen[3])
    expected = seen[1]  # the average starts as the weights after the first step
    for after in seen[3::2]:
        expected = 0.5 * expected + 0.5 * after
    torch.testing.assert_close(flat(averaging._average_model.module.module), expected)  # type: ignore[union-attr]


def test_both_passes_see_the_same_blend() -> None:
    inputs: list[Tensor] = []
    module = Small()
    module.register_forward_pre_hook(lambda _, given: inputs.append(given[0].clone()))
    train(module, SAM(rho=RHO), num_epochs=1, mixer=Mixup(alpha=1.0, probability=1.0, seed=0))
    assert len(inputs) == 6
    assert all(torch.equal(up, top) for up, top in zip(inputs[::2], inputs[1::2], strict=True))
    assert not torch.equal(inputs[0], next(iter(DataLoader(rows(), batch_size=BATCH)))["input"])


def test_with_dropout_a_run_repeats_and_a_resumed_one_ends_at_the_same_bits(tmp_path: Path) -> None:
    def run(**settings: Any) -> ClassificationTask:
        mixer = Mixup(alpha=0.4, probability=0.5, seed=0)
        wrapped = {"gradient_centralization": True, "lookahead": {"k": 2, "alpha": 0.5}}
        return train(
            Small(norm=True, dropout=0.5), SAM(rho=RHO), name="adamw", mixer=mixer, optimizing=wrapped, **settings
        )

    whole, half = run(), run(num_epochs=1)
    half.trainer.save_checkpoint(tmp_path / "half.ckpt")
    resumed = run(resume=tmp_path / "half.ckpt")
    assert torch.equal(flat(run().module), flat(whole.module))
    assert torch.equal(flat(resumed.module), flat(whole.module))
    assert all(torch.equal(one, two) for one, two in zip(resumed.buffers(), whole.buffers(), strict=True))


class Scaling(MixedPrecision):
    """16 bits on the CPU with a scale that is looked at."""

    def __init__(self, start: float) -> None:
        super().__init__("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=start))


def test_loss_scaling_of_16_bits_changes_the_way_up_as_little_as_the_step() -> None:
    """Unscaled, the gradients of the climb would be the small ones that 16 bits lose."""
    plain = train(Small(), SAM(rho=RHO), gradient_clip_val=0.1)
    half = train(Small(), SAM(rho=RHO), gradient_clip_val=0.1, plugins=[Scaling(1024.0)])
    torch.testing.assert_close(flat(half.module), flat(plain.module), rtol=0, atol=3e-3)
    assert not torch.equal(flat(half.module), flat(plain.module))


def test_a_scale_that_goes_too_far_skips_the_step_and_is_halved() -> None:
    """The climb's gradient overflows first; climbing by it would leave NaN in the running statistics."""
    module, start = Small(norm=True), Small(norm=True)
    scaling = Scaling(2.0**60)
    task = train(module, SAM(rho=RHO), num_epochs=1, plugins=[scaling])
    assert torch.equal(flat(module), flat(start))
    assert scaling.scaler.get_scale() == 2.0**57  # type: ignore[union-attr]
    assert all(torch.isfinite(buffer).all() for buffer in module.buffers())
    assert torch.isfinite(torch.tensor(task.train_loss))


def test_a_loss_that_is_not_finite_is_refused_and_leaves_the_weights_where_they_were() -> None:
    class Broken(Small):
        def forward(self, images: Tensor) -> Tensor:
            logits = super().forward(images)
            return logits if len(self.calls) == 1 else logits * float("nan")

    module = Broken()
    with pytest.raises(TrainingError, match=r"expected a finite loss, got nan; lower optimizer\.lr"):
        train(module, SAM(rho=RHO))
    assert module.calls == [8, 8], "it was refused at the top of the first step"
    assert torch.equal(flat(module), flat(Small()))


def test_an_error_on_the_way_back_leaves_the_weights_where_they_were() -> None:
    class NoWayBack(Small):
        def forward(self, images: Tensor) -> Tensor:
            logits = super().forward(images)
            if len(self.calls) == 2:
                logits.register_hook(self.fail)
            return logits

        def fail(self, gradient: Tensor) -> Tensor:
            raise ArithmeticError("broken kernel")

    module = NoWayBack()
    with pytest.raises(ArithmeticError, match="broken kernel"):
        train(module, SAM(rho=RHO))
    assert torch.equal(flat(module), flat(Small()))


@pytest.mark.parametrize("backend", ["eager", pytest.param("aot_eager", marks=pytest.mark.slow)])
def test_a_compiled_model_climbs_as_the_plain_one(backend: str) -> None:
    module = Small()
    module.calls = _Ignored()
    module.compile(backend=backend, dynamic=False)
    train(module, SAM(rho=RHO))
    torch.compiler.reset()
    torch.testing.assert_close(flat(module), flat(train(Small(), SAM(rho=RHO)).module), rtol=0, atol=1e-6)


class _Ignored(list[int]):
    """A list that nothing is added to, so that the compiler does not guard on its length."""

    def append(self, item: int) -> None:
        """Do nothing."""


def test_the_second_pass_never_meets_weights_that_autocast_has_cached() -> None:
    """Autocast keeps weights in 16 bits for the length of its block: the top would have been the bottom again."""
    module, batch = Small(), next(iter(DataLoader(rows(), batch_size=BATCH)))
    climber, parameters = Sharpness(SAM(rho=5.0)), list(module.parameters())

    def loss_of(images: Tensor, targets: Tensor) -> Tensor:
        return nn.functional.cross_entropy(module(images).float(), targets)

    with torch.autocast("cpu", torch.bfloat16):
        climber.climb(
            loss_of, batch["input"], batch["target"], parameters=parameters, buffers=(), chunks=1,
            scale=torch.ones(()),
        )  # fmt: skip
        top = loss_of(batch["input"], batch["target"])
    assert float(top.detach()) > float(climber.loss) + 0.5  # type: ignore[arg-type]


def test_a_copy_of_a_task_that_is_up_goes_down_to_the_same_weights() -> None:
    """Averaging copies the whole task."""
    twin = copy.deepcopy(Sharpness(ASAM(rho=0.1)))
    assert twin.rule.rho == 0.1
    twin.back()


def test_several_processes_do_not_divide_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """One process that makes more passes than the others would wait for them for ever."""
    monkeypatch.setattr("ringlight.training.chunks.num_processes", lambda: 2)
    with pytest.raises(
        TrainingError,
        match=r"^training, epoch 0, step 0: expected memory for a whole step in each of several processes, got CUDA "
        r"out of memory.*; make data\.batch_size smaller, and set training\.accumulate_steps to keep the batch$",
    ):
        train(Small(limit=3), SAM(rho=RHO))


def test_gradients_of_several_processes_are_averaged_and_a_missing_one_is_zero(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def two(flat: Tensor) -> None:
        flat += torch.tensor([1.0, 1.0, 3.0])

    parameters = [nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(1, 1))]
    monkeypatch.setattr(module_of, "num_processes", lambda: 2)
    monkeypatch.setattr(module_of.distributed, "all_reduce", two)
    first, second = module_of.over_processes(parameters, [torch.tensor([1.0, 5.0]), None])
    assert first is not None
    assert second is not None
    assert first.tolist() == [1.0, 3.0]
    assert second.tolist() == [[1.5]]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(("precision", "close"), [("32-true", 1e-5), ("bf16-mixed", 2e-2), ("16-mixed", 5e-3)])
def test_a_gpu_climbs_as_the_cpu_does(precision: Any, close: float) -> None:
    cpu, gpu = Small(norm=True), Small(norm=True)
    train(cpu, SAM(rho=RHO), gradient_clip_val=0.1)
    train(gpu, SAM(rho=RHO), gradient_clip_val=0.1, precision=precision, accelerator="gpu")
    torch.testing.assert_close(flat(gpu.cpu()), flat(cpu), rtol=0, atol=close)


def test_a_step_makes_two_passes() -> None:
    climbing, plain = Small(), Small()
    train(climbing, SAM(rho=RHO))
    train(plain, None)
    assert climbing.calls == [8, 8, 8, 8, 4, 4] * 2
    assert plain.calls == [8, 8, 4] * 2
