"""Mixup: the blend by hand, by a loop, by torchvision and timm; every loss; steps in chunks; a resumed run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from timm.data import mixup as timm_mixup
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - PyTorch's own name for it
from torch.utils.data import DataLoader
from torchvision.transforms import v2

from ringlight.errors import ConfigError, DataError
from ringlight.losses import LOSSES
from ringlight.optim import build_optimizer, build_schedule
from ringlight.runtime import quiet_libraries
from ringlight.training.checkpoints import WholeCheckpointIO
from ringlight.training.mixing import Mixer, Mixup, NoMix, mixed_loss
from ringlight.training.mixing_cut import CutMix
from ringlight.training.task import ClassificationTask

IMAGES = torch.randn(6, 3, 4, 5, generator=torch.Generator().manual_seed(0))
WINDOWS = torch.randn(6, 9, 40, generator=torch.Generator().manual_seed(1))
TARGETS = torch.tensor([0, 1, 2, 0, 1, 2])


def always(alpha: float = 1.0, seed: int = 0) -> Mixup:
    return Mixup(alpha=alpha, probability=1.0, seed=seed)


@pytest.mark.parametrize("inputs", [IMAGES, WINDOWS, WINDOWS.double()], ids=["images", "windows", "double"])
def test_each_record_is_blended_with_the_one_whose_target_it_gets(inputs: Tensor) -> None:
    """A naive loop: targets that name their row tell the partner."""
    rows, before = torch.arange(6), inputs.clone()
    mixed = always().mix(inputs, rows, epoch=2, step=3)
    assert 0 < mixed.weight < 1
    assert sorted(mixed.targets_b.tolist()) == rows.tolist()
    for row in range(6):
        assert mixed.targets_a[row] == row
        partner = int(mixed.targets_b[row])
        blend = mixed.weight * inputs[row] + (1 - mixed.weight) * inputs[partner]
        torch.testing.assert_close(mixed.inputs[row], blend)
    assert mixed.inputs.shape == inputs.shape
    assert mixed.inputs.dtype == inputs.dtype
    assert torch.equal(inputs, before)


def test_a_batch_of_two_is_torchvisions_input_and_soft_target(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two records can only be each other's partners, which torchvision's order (the record before) gives, too."""
    pair, targets = IMAGES[:2], TARGETS[:2]
    mixed = next(
        mixed
        for step in range(20)
        if (mixed := always().mix(pair, targets, epoch=0, step=step)).targets_b.tolist() == [1, 0]
    )
    theirs = v2.MixUp(alpha=1.0, num_classes=3)
    monkeypatch.setattr(theirs, "make_params", lambda _: {"lam": mixed.weight})
    inputs, soft = theirs(pair, targets)
    torch.testing.assert_close(mixed.inputs, inputs)
    logits = torch.randn(2, 3, generator=torch.Generator().manual_seed(2))
    ours = mixed_loss(nn.CrossEntropyLoss(), logits, mixed.targets, mixed.weight)
    torch.testing.assert_close(ours, F.cross_entropy(logits, soft))


@pytest.mark.parametrize("several", [False, True], ids=["one label", "several labels"])
def test_a_batch_turned_round_is_timms_input_and_soft_target(several: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """timm's partner of a record is the one at the same place from the end."""
    theirs = timm_mixup.Mixup(mixup_alpha=1.0, label_smoothing=0.0, num_classes=3, multi_label=several)
    monkeypatch.setattr(theirs, "_params_per_batch", lambda: (0.3, False))
    targets = F.one_hot(TARGETS, 3).float() if several else TARGETS
    inputs, soft = theirs(IMAGES.clone(), targets)
    ours = IMAGES.lerp(IMAGES.flip(0), 0.7)
    torch.testing.assert_close(ours, inputs)
    logits = torch.randn(6, 3, generator=torch.Generator().manual_seed(2))
    criterion = nn.BCEWithLogitsLoss() if several else nn.CrossEntropyLoss()
    pairs = torch.stack([targets, targets.flip(0)], dim=1)
    torch.testing.assert_close(mixed_loss(criterion, logits, pairs, 0.3), criterion(logits, soft))


def test_the_loss_of_a_multilabel_blend_is_that_of_its_soft_targets() -> None:
    """Binary cross-entropy is linear in its target."""
    targets = torch.tensor([[1.0, 0], [0, 0], [1, 1], [0, 1]])
    mixed = always().mix(IMAGES[:4], targets, epoch=0, step=1)
    logits = torch.randn(4, 2, generator=torch.Generator().manual_seed(2))
    soft = mixed.weight * mixed.targets_a + (1 - mixed.weight) * mixed.targets_b
    ours = mixed_loss(nn.BCEWithLogitsLoss(), logits, mixed.targets, mixed.weight)
    torch.testing.assert_close(ours, F.binary_cross_entropy_with_logits(logits, soft))


@pytest.mark.parametrize(("name", "task"), [(name, task) for name in LOSSES for task in LOSSES.factory(name).tasks])
def test_every_loss_of_the_catalogue_takes_a_blend(name: str, task: str) -> None:
    supplied = {"classes": ("good", "small", "large"), "good_class": "good"}
    supplied = {key: value for key, value in supplied.items() if key in LOSSES.factory(name).__init__.__annotations__}
    criterion = LOSSES.build(name, num_classes=3, task=task, class_counts=[30, 5, 10], num_records=60, **supplied)
    targets = TARGETS if task == "multiclass" else F.one_hot(TARGETS, 3).float()
    mixed = always().mix(IMAGES, targets, epoch=0, step=0)
    logits = torch.randn(6, 3, generator=torch.Generator().manual_seed(2), requires_grad=True)
    loss = mixed_loss(criterion, logits, mixed.targets, mixed.weight)
    first, second = (float(criterion(logits.detach(), truth)) for truth in mixed.targets.unbind(1))
    assert float(loss.detach()) == pytest.approx(mixed.weight * first + (1 - mixed.weight) * second, rel=1e-5)
    loss.backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_weights_follow_the_beta_distribution() -> None:
    """Beta(0.4, 0.4): mean 1/2, variance 1 / (4 (2 * 0.4 + 1)) = 0.1389."""
    weights = torch.tensor([always(0.4).mix(IMAGES, TARGETS, epoch=0, step=step).weight for step in range(2000)])
    assert float(weights.mean()) == pytest.approx(0.5, abs=0.03)
    assert float(weights.var()) == pytest.approx(0.1389, abs=0.01)


def test_a_batch_is_blended_as_often_as_the_probability_says_and_else_left_as_it_is() -> None:
    mixer = Mixup(alpha=1.0, probability=0.3, seed=0)
    outcomes = [mixer.mix(IMAGES, TARGETS, epoch=0, step=step) for step in range(1000)]
    left = [one for one in outcomes if one.weight == 1]
    assert len(left) / 1000 == pytest.approx(0.7, abs=0.05)
    assert all(one.inputs is IMAGES and torch.equal(one.targets_b, TARGETS) for one in left)


def test_it_is_a_function_of_seed_epoch_and_step_and_of_nothing_before() -> None:
    first = always().mix(IMAGES, TARGETS, epoch=3, step=7)
    torch.manual_seed(99)
    again = always().mix(IMAGES, TARGETS, epoch=3, step=7)
    assert torch.equal(first.inputs, again.inputs)
    assert torch.equal(first.targets, again.targets)
    others = [always().mix(IMAGES, TARGETS, epoch=3, step=8), always().mix(IMAGES, TARGETS, epoch=4, step=7)]
    others.append(always(seed=1).mix(IMAGES, TARGETS, epoch=3, step=7))
    assert all(other.weight != first.weight for other in others)


def test_one_record_is_its_own_partner() -> None:
    torch.testing.assert_close(always().mix(IMAGES[:1], TARGETS[:1], epoch=0, step=0).inputs, IMAGES[:1])


def test_bytes_and_another_number_of_targets_are_refused() -> None:
    with pytest.raises(
        DataError, match=r"mixup: expected floats \(B, ...\) and B targets, class indices .*got torch.uint8"
    ):
        always().mix(torch.zeros(2, 4, dtype=torch.uint8), TARGETS[:2], epoch=0, step=0)
    with pytest.raises(DataError, match=r"and 5 targets \(5,\); pass a batch"):
        always().mix(IMAGES, TARGETS[:5], epoch=0, step=0)


def test_numbers_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"mix\.alpha: expected a number from 0\.01 to 10, got 0; correct the value"):
        Mixup(alpha=0, probability=1.0, seed=0)
    with pytest.raises(ConfigError, match=r"mix\.probability: expected a number from 0 to 1, got 2"):
        Mixup(probability=2, seed=0)


def test_no_mix_leaves_the_batch_alone() -> None:
    mixed = NoMix(seed=0).mix(IMAGES, TARGETS, epoch=0, step=0)
    assert mixed.inputs is IMAGES
    assert mixed.weight == 1


@pytest.mark.parametrize("weight", [0, 1])
def test_a_whole_record_is_not_asked_for_the_other_ones_loss(weight: int) -> None:
    """A box over the whole picture once made a loss of 0 x infinity."""
    logits = torch.tensor([[0.0, -torch.inf]])
    pairs = torch.tensor([[0, 1]] if weight else [[1, 0]])
    assert float(mixed_loss(nn.CrossEntropyLoss(), logits, pairs, weight)) == 0


class Small(nn.Module):
    """A network on a device whose memory holds `limit` windows."""

    def __init__(self, limit: int = 1000) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.layers = nn.Sequential(nn.Flatten(1), nn.Linear(12, 5), nn.Tanh(), nn.Linear(5, 3))
        self.limit = limit
        self.seen: list[Tensor] = []

    def forward(self, inputs: Tensor) -> Tensor:
        if self.training and len(inputs) > self.limit:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        if self.training:
            self.seen.append(inputs.detach())
        logits: Tensor = self.layers(inputs)
        return logits


def rows(*shape: int) -> list[dict[str, Tensor]]:
    inputs = torch.randn(20, *(shape or (2, 6)), generator=torch.Generator().manual_seed(1))
    return [{"input": one, "target": torch.tensor(at % 3)} for at, one in enumerate(inputs)]


def trained(
    mixer: Mixer | None, *, limit: int = 1000, num_epochs: int = 2, shape: tuple[int, ...] = (), **fitting: Any
) -> ClassificationTask:
    task = ClassificationTask(
        Small(limit), nn.CrossEntropyLoss(), classes=("a", "b", "c"), task="multiclass", seed=0,
        optimizer=lambda model: build_optimizer("sgd", model, lr=0.5, weight_decay=0.0),
        schedule=lambda built: build_schedule("constant", built, num_epochs=2, steps_per_epoch=3, params={}),
        monitor=None, mixer=mixer,
    )  # fmt: skip
    with quiet_libraries():
        trainer = Trainer(
            accelerator="cpu", devices=1, max_epochs=num_epochs, logger=False, enable_progress_bar=False,
            enable_model_summary=False, enable_checkpointing=False, plugins=[WholeCheckpointIO()],
        )  # fmt: skip
        trainer.fit(task, DataLoader(rows(*shape), batch_size=8), **fitting)
        task.trainer = trainer
    return task


def weights(task: ClassificationTask) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in task.module.parameters()])


def test_a_training_is_to_the_bit_that_of_a_bare_loop_over_blends() -> None:
    task, mixer, model = trained(always()), always(), Small()
    optimizer = build_optimizer("sgd", model, lr=0.5, weight_decay=0.0)
    for epoch in range(2):
        for step, batch in enumerate(DataLoader(rows(), batch_size=8)):
            mixed = mixer.mix(batch["input"], batch["target"], epoch=epoch, step=step)
            optimizer.zero_grad()
            logits = model(mixed.inputs)
            first, second = (F.cross_entropy(logits, target) for target in (mixed.targets_a, mixed.targets_b))
            (mixed.weight * first + (1 - mixed.weight) * second).backward()
            optimizer.step()
    bare = torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
    assert torch.equal(weights(task), bare)
    assert not torch.equal(weights(trained(None)), bare)


@pytest.mark.parametrize(("mixer", "shape"), [(always(), ()), (CutMix(seed=0), (1, 3, 4))], ids=["mixup", "cutmix"])
def test_a_step_in_chunks_trains_as_the_whole_mixture_would_have(mixer: Mixer, shape: tuple[int, ...]) -> None:
    """The partner of a record may stand in another chunk: the batch is mixed first, then divided."""
    small, large = trained(mixer, limit=3, shape=shape), trained(mixer, shape=shape)
    assert small.step_downs
    assert not large.step_downs
    torch.testing.assert_close(weights(small), weights(large), rtol=1e-5, atol=1e-6)
    assert small.train_loss == pytest.approx(large.train_loss, rel=1e-5)


def test_a_probability_of_zero_trains_to_the_bit_as_without_mixup() -> None:
    never = Mixup(alpha=0.2, probability=0.0, seed=0)
    assert torch.equal(weights(trained(never)), weights(trained(None)))


def test_a_resumed_run_blends_as_the_whole_run_did(tmp_path: Path) -> None:
    whole, half = trained(always()), trained(always(), num_epochs=1)
    half.trainer.save_checkpoint(tmp_path / "half.ckpt")
    resumed = trained(always(), ckpt_path=tmp_path / "half.ckpt", weights_only=True)
    assert torch.equal(weights(resumed), weights(whole))


def test_validation_is_never_blended() -> None:
    task = trained(always())
    task.eval()
    batch = {"input": torch.stack([row["input"] for row in rows()]), "target": torch.tensor([0, 1] * 10)}
    task.on_validation_epoch_start()
    task.validation_step(batch, 0)  # type: ignore[arg-type]
    assert torch.equal(task._scores[0][0], task.module(batch["input"]))
    assert torch.equal(task._scores[0][1], batch["target"])
