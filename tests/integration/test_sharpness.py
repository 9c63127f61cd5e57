"""SAM, Lookahead, centralised gradients, averages, mixup and accumulation in one run, in the command line's words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from ringlight.errors import InterruptedRunError
from ringlight.services import runs
from ringlight.services.runs import Run
from ringlight.training.checkpoints import snapshot_of
from ringlight.types import Signal

TrainSmall = Callable[..., Run]
EVERYTHING = (
    "optimizer={name: adamw, sam: {rho: 0.05}, lookahead: {k: 2, alpha: 0.5}, gradient_centralization: true}",
    "optimizer.lr=0.001",
    "scheduler=one_cycle",
    "scheduler.warmup_epochs=0",
    "training.accumulate_steps=2",
    "training.gradient_clip_norm=1.0",
    "augmentation.mixup=0.5",
    "model.drop_rate=0.2",
)


class StopInSecondEpoch:
    def heartbeat(self, progress: Mapping[str, float]) -> Signal:
        return "pause" if progress["epoch"] == 1 and progress["step"] > 1 else "go"


def checkpoint(run: Run) -> Path:
    (best,) = run.folder.glob("checkpoints/best_epoch*.ckpt")
    return best


def assert_resumes(whole: Run, train_small: TrainSmall, tmp_path: Path, *overrides: str) -> None:
    with pytest.raises(InterruptedRunError):
        train_small(*EVERYTHING, *overrides, workspace="stopped", control=StopInSecondEpoch())
    resumed = runs.resume(next((tmp_path / "stopped" / "runs").iterdir()))
    assert resumed.results["history"] == whole.results["history"]
    assert (resumed.bundle / "model.safetensors").read_bytes() == (whole.bundle / "model.safetensors").read_bytes()


@pytest.mark.slow
def test_everything_at_once_averages_resumes_and_saves_what_was_judged(train_small: TrainSmall, tmp_path: Path) -> None:
    run = train_small(*EVERYTHING, "training.ema_decay=0.9")
    assert run.results["hyper_parameters"]["optimizer.sam"] == {"rho": 0.05}
    best = checkpoint(run)
    served, averaged = load_file(run.bundle / "model.safetensors"), load_file(snapshot_of(best))
    kept = torch.load(best, weights_only=True)
    assert served.keys() == averaged.keys()
    for name, weights in averaged.items():
        assert torch.equal(served[name], weights)
        assert torch.equal(kept["state_dict"][f"module.{name}"], weights)
    assert any(not torch.equal(kept["current_model_state"][f"module.{name}"], one) for name, one in averaged.items())
    assert snapshot_of(best.with_name("last.ckpt")).is_file()
    assert_resumes(run, train_small, tmp_path, "training.ema_decay=0.9")


@pytest.mark.slow
def test_without_averaging_the_slow_weights_are_judged_and_saved_and_a_run_resumes(
    train_small: TrainSmall, tmp_path: Path
) -> None:
    run = train_small(*EVERYTHING, "optimizer.sam=null", "optimizer.asam.rho=0.5")
    kept = torch.load(checkpoint(run), weights_only=True)
    for name, weights in load_file(run.bundle / "model.safetensors").items():
        assert torch.equal(kept["state_dict"][f"module.{name}"], weights)
    assert not list(run.folder.glob("checkpoints/*.safetensors"))
    assert_resumes(run, train_small, tmp_path, "optimizer.sam=null", "optimizer.asam.rho=0.5")
