"""One of several processes that train together, without a network: `python processes.py OUT STORE RANK WORLD`.

Run by test_sharpness_processes.py. The batch of a step is the one process's 8 images, or the two processes' 4 and 4.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import DDPStrategy
from torch import distributed, nn
from torch.utils.data import DataLoader

from ringlight.optim import ASAM, SAM, build_optimizer, build_schedule
from ringlight.runtime import quiet_libraries
from ringlight.training.checkpoints import WholeCheckpointIO
from ringlight.training.sharpness import Sharpness
from ringlight.training.task import ClassificationTask


class Small(nn.Module):
    """Two layers and nothing that looks at a batch as a whole: no process sees all of it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.layers(images)
        return logits


def share_of(rank: int, world: int) -> list[dict[str, torch.Tensor]]:
    """Return a process's images, in order: of every 8 images its part."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(32, 1, 2, 2, generator=generator)
    part = 8 // world
    mine = [at for at in range(32) if at % 8 // part == rank]
    return [{"input": images[at], "target": torch.tensor(at % 3)} for at in mine]


def trained(rule: SAM, rank: int, world: int, **settings: Any) -> torch.Tensor:
    """Train and return the weights."""
    module = Small()
    task = ClassificationTask(
        module, nn.CrossEntropyLoss(), classes=("a", "b", "c"), task="multiclass", seed=0,
        optimizer=lambda built: build_optimizer(
            "sgd", built, lr=0.3, weight_decay=0.01, gradient_centralization=True, lookahead={"k": 3, "alpha": 0.5}
        ),
        schedule=lambda built: build_schedule("constant", built, num_epochs=2, steps_per_epoch=4, params={}),
        monitor=None, sharpness=Sharpness(rule),
    )  # fmt: skip
    if world > 1:
        settings |= {"strategy": DDPStrategy(process_group_backend="gloo"), "devices": 1, "num_nodes": world}
    with quiet_libraries():
        trainer = Trainer(
            **{"devices": 1, **settings}, accelerator="cpu", max_epochs=2, logger=False, enable_progress_bar=False,
            enable_model_summary=False, num_sanity_val_steps=0, enable_checkpointing=False,
            plugins=[WholeCheckpointIO()], use_distributed_sampler=False,
        )  # fmt: skip
        trainer.fit(task, DataLoader(share_of(rank, world), batch_size=8 // world, generator=torch.Generator()))
    return torch.cat([one.detach().flatten() for one in module.parameters()])


def main(out: str, store: str, rank: int, world: int) -> None:
    """Train each case and write the weights to `out`."""
    if world > 1:
        # A file is the meeting place, and there is a group before Lightning looks for one.
        os.environ |= {"GLOO_SOCKET_IFNAME": "lo", "NODE_RANK": str(rank), "LOCAL_RANK": "0", "WORLD_SIZE": str(world)}
        distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=world)
    torch.set_num_threads(1)
    found = {
        "sam": trained(SAM(rho=0.2), rank, world),
        "asam accumulated clipped": trained(
            ASAM(rho=0.2), rank, world, accumulate_grad_batches=2, gradient_clip_val=0.05
        ),
    }
    torch.save(found, out)
    if world > 1:
        distributed.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
