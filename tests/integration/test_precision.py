"""Number formats: half precision trains, resumes to the same bits, and is judged in single precision."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

import ringlight as rl
from ringlight.errors import InterruptedRunError
from ringlight.services import runs
from ringlight.services.runs import Run
from ringlight.types import Signal

TrainSmall = Callable[..., Run]


class StopInSecondEpoch:
    def heartbeat(self, progress: Mapping[str, float]) -> Signal:
        return "pause" if progress["epoch"] == 1 else "go"


def assert_bundle_gives_the_runs_scores(run: Run, shared_root: Path) -> None:
    table = pq.read_table(run.folder / "predictions.parquet").to_pydict()
    files = {path.stem: path for path in shared_root.rglob("*") if path.is_file()}
    result = rl.load(run, device="cpu").predict([files[key] for key in table["id"]], batch_size=8)
    expected = np.stack([table[f"probability/{name}"] for name in result.prediction.classes], axis=1)
    np.testing.assert_allclose(result.probabilities, expected, atol=1e-5)


def test_bf16_trains_resumes_to_the_same_bits_and_is_judged_in_single_precision(
    train_small: TrainSmall, tmp_path: Path, shared_root: Path
) -> None:
    whole = train_small("training.precision=bf16")
    assert whole.results["environment"]["precision"] == "bf16"
    with pytest.raises(InterruptedRunError):
        train_small("training.precision=bf16", workspace="stopped", control=StopInSecondEpoch())
    resumed = runs.resume(next((tmp_path / "stopped" / "runs").iterdir()))
    assert resumed.results["history"] == whole.results["history"]
    assert (resumed.bundle / "model.safetensors").read_bytes() == (whole.bundle / "model.safetensors").read_bytes()
    assert_bundle_gives_the_runs_scores(whole, shared_root)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", ["32", "bf16", "16"])
def test_a_gpu_trains_in_every_precision_and_its_model_serves_on_a_cpu(
    train_small: TrainSmall, shared_root: Path, precision: str
) -> None:
    run = train_small("training.device=cuda", f"training.precision={precision}", "data.num_workers=2")
    environment = run.results["environment"]
    assert environment["device"] == "cuda:0"
    assert "not identical" in environment["reproducibility"]
    assert all(np.isfinite(row["train/loss"]) for row in run.results["history"])
    table = pq.read_table(run.folder / "predictions.parquet").to_pydict()
    files = {path.stem: path for path in shared_root.rglob("*") if path.is_file()}
    result = rl.load(run, device="cpu").predict([files[key] for key in table["id"]])
    expected = np.stack([table[f"probability/{name}"] for name in result.prediction.classes], axis=1)
    # TF32 and other kernels: the GPU's own scores differ from the CPU's by more than a CPU's from itself.
    np.testing.assert_allclose(result.probabilities, expected, atol=1e-2)
