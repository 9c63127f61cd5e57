"""Lookahead's slow weights are what is judged, kept and left in the model; training goes on with the fast ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ringlight.config.schema import Config
from ringlight.optim import build_optimizer, build_schedule, slow_weights
from ringlight.runtime import quiet_libraries
from ringlight.training.checkpoints import LAST, Keeper, WholeCheckpointIO
from ringlight.training.engine import extras
from ringlight.training.judged_weights import CURRENT, SlowWeights
from ringlight.training.task import ClassificationTask


def rows() -> list[dict[str, Tensor]]:
    images = torch.randn(8, 1, 2, 2, generator=torch.Generator().manual_seed(1))
    return [{"input": image, "target": torch.tensor(at % 2)} for at, image in enumerate(images)]


class Look(Callback):
    """Notes the weights before, in and after the validation of each epoch, and the slow ones."""

    def __init__(self) -> None:
        self.seen: dict[str, list[Tensor]] = {"slow": [], "fast": [], "judged": [], "after": []}

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx == 1:
            self.seen["fast"].append(flat(pl_module.module))
            slow = slow_weights(trainer.optimizers[0])
            self.seen["slow"].append(torch.cat([slow[one].flatten().clone() for one in pl_module.module.parameters()]))

    def on_validation_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        self.seen["judged"].append(flat(pl_module.module))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        self.seen["after"].append(flat(pl_module.module))


def flat(module: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten().clone() for parameter in module.parameters()])


def train(folder: Path, num_epochs: int, resume: Path | None = None, module: nn.Module | None = None) -> Any:
    torch.manual_seed(0)
    task = ClassificationTask(
        module or nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), nn.CrossEntropyLoss(), classes=("a", "b"),
        task="multiclass", seed=0,
        optimizer=lambda built: build_optimizer(
            "adamw", built, lr=0.1, weight_decay=0.0, lookahead={"k": 3, "alpha": 0.5}
        ),
        schedule=lambda built: build_schedule("constant", built, num_epochs=3, steps_per_epoch=2, params={}),
        monitor="loss",
    )  # fmt: skip
    look = Look()
    with quiet_libraries():
        trainer = Trainer(
            accelerator="cpu", devices=1, max_epochs=num_epochs, logger=False, enable_progress_bar=False,
            enable_model_summary=False, num_sanity_val_steps=0, plugins=[WholeCheckpointIO()],
            callbacks=[SlowWeights(), look, Keeper(folder, "loss")],
        )  # fmt: skip
        loader = DataLoader(rows(), batch_size=4, generator=torch.Generator())
        trainer.fit(task, loader, DataLoader(rows(), batch_size=8), ckpt_path=resume, weights_only=True)
    return task, look


def test_the_slow_weights_are_judged_kept_and_left_and_the_fast_ones_trained(tmp_path: Path) -> None:
    task, look = train(tmp_path, 2)  # four steps: the slow weights have gone once, the fast ones are one step ahead
    seen = look.seen
    assert not torch.equal(seen["fast"][1], seen["slow"][1])
    for epoch in range(2):
        assert torch.equal(seen["judged"][epoch], seen["slow"][epoch])
        assert torch.equal(seen["after"][epoch], seen["fast"][epoch])
    assert torch.equal(flat(task.module), seen["slow"][1])
    kept = torch.load(tmp_path / LAST, weights_only=True)
    for name, expected in (("state_dict", seen["slow"][1]), (CURRENT, seen["fast"][1])):
        assert torch.equal(torch.cat([one.flatten() for one in kept[name].values()]), expected)


def test_a_resumed_run_goes_on_from_the_fast_weights_and_ends_at_the_same_bits(tmp_path: Path) -> None:
    """The slow weights, the place between two of their steps and Adam's averages are all in the checkpoint."""
    whole, whole_look = train(tmp_path / "whole", 3)
    train(tmp_path / "half", 1)
    resumed, look = train(tmp_path / "half", 3, resume=tmp_path / "half" / LAST)
    assert torch.equal(flat(resumed.module), flat(whole.module))
    assert torch.equal(look.seen["fast"][-1], whole_look.seen["fast"][-1])
    one, two = (torch.load(tmp_path / name / LAST, weights_only=True) for name in ("whole", "half"))
    assert all(torch.equal(one["state_dict"][name], two["state_dict"][name]) for name in one["state_dict"])


def test_a_validation_that_breaks_off_leaves_the_fast_weights(tmp_path: Path) -> None:
    class Broken(nn.Sequential):
        def forward(self, images: Tensor) -> Tensor:
            if not self.training:
                fast.append(flat(self))
                raise ArithmeticError("broken off")
            return super().forward(images)

    fast: list[Tensor] = []
    torch.manual_seed(0)
    module = Broken(nn.Flatten(), nn.Linear(4, 2))
    start = flat(module)
    with pytest.raises(ArithmeticError, match="broken off"):
        train(tmp_path, 1, module=module)
    assert torch.equal(fast[0], start), "two steps of three: the slow weights have not moved"
    assert not torch.equal(flat(module), start)


def test_the_average_is_judged_where_there_is_one() -> None:
    both = Config().replacing({"optimizer.lookahead": {"k": 6}, "training.ema_decay": 0.9})
    assert [type(one).__name__ for one in extras(both, None)] == ["EMAWeightAveraging"]
    slow = Config().replacing({"optimizer.lookahead": {"k": 6}})
    assert [type(one).__name__ for one in extras(slow, None)] == ["SlowWeights"]
    assert extras(Config(), None) == []
