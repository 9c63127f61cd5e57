"""A hybrid backbone with adapters, from the command's side to the bundle: trained, stopped, resumed, loaded, judged."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

import ringlight as rl
from ringlight.errors import ConfigError, InterruptedRunError, ModelError, Problems
from ringlight.inference.bundle import read_bundle
from ringlight.models.lora import has_lora
from ringlight.services import runs
from ringlight.services.runs import Run
from ringlight.types import Signal

TrainSmall = Callable[..., Run]
TINY = (
    "model.name=hybrid",
    "model.first=convnextv2_atto",
    "model.first_options={dims: [8, 8, 16, 16], depths: [1, 1, 1, 1]}",
    "model.second_options={embed_dim: 8, depths: [1, 1, 1, 1], num_heads: [1, 1, 2, 2]}",
    "model.embed_dim=16",
    "model.second_lr_scale=0.5",
)
LORA = (*TINY, "model.lora={rank: 2, dropout: 0.1}", "training.ema_decay=0.9", "training.restore=last")


class StopAt:
    """A control that pauses after a number of steps."""

    def __init__(self, step: int) -> None:
        self.left = step

    def heartbeat(self, progress: Mapping[str, float]) -> Signal:
        self.left -= 1
        return "go" if self.left > 0 else "pause"


@pytest.mark.slow
def test_adapters_are_trained_resumed_and_saved_as_an_ordinary_model(
    train_small: TrainSmall, shared_root: Path, tmp_path: Path
) -> None:
    """The bundle holds plain weights: whoever loads it needs no adapters, and its scores are those that were judged."""
    run = train_small(*LORA)
    card = run.results["model"]
    assert card["lora"] == {"rank": 2, "alpha": 16.0, "targets": ["attention", "mlp", "conv1x1"], "dropout": 0.1}
    assert 0 < card["num_trainable"] < card["num_parameters"]
    steps = -(-run.results["split"]["parts"]["train"]["num_records"] // 8)

    weights = load_file(run.bundle / "model.safetensors")
    assert not any("lora" in name or "parametrizations" in name for name in weights)
    bundle, module = read_bundle(run.bundle)
    assert not has_lora(module)
    assert "lora" not in bundle.architecture["params"]
    states = [
        torch.load(path, weights_only=True)["state_dict"]
        for path in sorted((run.folder / "checkpoints").glob("*.ckpt"))
    ]
    assert all(any("lora_b" in name for name in state) for state in states)

    with pytest.raises(InterruptedRunError):
        train_small(*LORA, workspace="stopped", control=StopAt(steps + 2))
    resumed = runs.resume(next((tmp_path / "stopped" / "runs").iterdir()))
    again = load_file(resumed.bundle / "model.safetensors")
    assert all(torch.equal(tensor, again[name]) for name, tensor in weights.items())

    table = pq.read_table(run.folder / "predictions.parquet").to_pydict()
    logits = [column for name, column in table.items() if name.startswith("logit")]
    pictures = [next(shared_root.rglob(f"{key}.*")) for key in table["id"]]
    found = rl.load(run.bundle, device="cpu").predict(pictures).prediction.logits
    np.testing.assert_allclose(found.T, np.array(logits), rtol=1e-5, atol=1e-5)


def test_the_command_line_reaches_into_the_adapters(train_small: TrainSmall) -> None:
    with pytest.raises(ModelError, match=r"model\.lora\.rank: expected a rank from 1 to 8, .* got 4096; lower it"):
        train_small(*TINY, "model.lora.rank=4096")
    with pytest.raises(ModelError, match=r"model\.lora\.targets: expected layers of the kinds attention in the model"):
        train_small("model.lora.targets=[attention]")
    with pytest.raises(ConfigError, match=r"model\.lora: expected no adapters with training\.mode=frozen"):
        train_small("model.lora={}", "training.mode=frozen")
    with pytest.raises(Problems) as caught:
        train_small("model.lora.rang=4", "optimizer.lr=-1")
    assert caught.value.problems[0] == (
        "model.lora.rang: expected a key of model.lora, got unknown key `rang`; did you mean `rank`?"
    )
    with pytest.raises(
        ModelError, match=r"data\.image_size: expected one image size, which swinv2_tiny_window8_256 is"
    ):
        train_small(*TINY, "data.image_size=null")
