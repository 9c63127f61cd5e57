"""Schedules by step, metrics of one's own and runs without TensorBoard, from the command's side to the run folder."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from safetensors.torch import load_file

from ringlight.errors import ConfigError, InterruptedRunError, UserError
from ringlight.optim import RATES
from ringlight.services import runs
from ringlight.services.runs import Run
from ringlight.types import Signal

TrainSmall = Callable[..., Run]
PARTS = (
    "scheduler=cosine",
    "scheduler.warmup_epochs=0",
    "scheduler.warmup_steps=3",
    "scheduler.min_lr=0.0001",
    "training.metrics=[g_mean,expected_error]",
    "training.monitor=expected_error",
    "training.early_stopping_monitor=loss",
    "training.tensorboard=false",
    "training.num_epochs=3",
)


class StopAt:
    """A control that pauses after a number of steps."""

    def __init__(self, step: int) -> None:
        self.left = step

    def heartbeat(self, progress: Mapping[str, float]) -> Signal:
        self.left -= 1
        return "go" if self.left > 0 else "pause"


@pytest.mark.slow
def test_a_run_follows_its_own_metrics_and_a_schedule_in_steps(train_small: TrainSmall, tmp_path: Path) -> None:
    run = train_small(*PARTS)
    assert not (run.folder / "logs").exists(), "training.tensorboard=false leaves the events out"
    with (run.folder / "history.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 3
    best = min(rows, key=lambda row: float(row["val/expected_error"]))
    assert run.results["best"]["monitor"] == "expected_error"
    assert run.results["best"]["epoch"] == int(best["epoch"])
    assert all(0 <= float(row["val/g_mean"]) <= 1 for row in rows)
    steps = -(-run.results["split"]["parts"]["train"]["num_records"] // 8)
    rate = RATES["cosine"](3 * steps - 1, base_lr=0.001, total_steps=3 * steps, warmup_steps=3, min_lr=0.0001)
    assert float(rows[-1]["lr"]) == pytest.approx(rate, rel=1e-9)

    with pytest.raises(InterruptedRunError):
        train_small(*PARTS, workspace="stopped", control=StopAt(steps + 2))
    folder = next((tmp_path / "stopped" / "runs").iterdir())
    resumed = runs.resume(folder)
    assert resumed.results["history"] == run.results["history"]
    weights = [load_file(one.bundle / "model.safetensors") for one in (run, resumed)]
    assert all(tensor.equal(weights[1][name]) for name, tensor in weights[0].items())


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.metrics=[g_meen]", "training.metrics: expected a metric of the catalogue, got `g_meen`; did you "),
        ("training.early_stopping_monitor=los", "training.early_stopping_monitor: expected a validation metric, got "),
        (
            "loss.name=leak_aware_loss",
            "loss.name: expected a multiclass data set for `leak_aware_loss`, got multilabel",
        ),
        ("scheduler.name=warmpu", "scheduler.name: expected a known scheduler, got `warmpu`; did you mean `warmup`?"),
    ],
)
def test_what_cannot_be_followed_is_refused_before_a_run_is_written(
    train_small: TrainSmall, tmp_path: Path, override: str, message: str
) -> None:
    with pytest.raises(UserError) as caught:
        train_small(override)
    assert str(caught.value).startswith(message)
    assert not list((tmp_path / "workspace").glob("runs/*"))


def test_a_recipes_warmup_and_steps_of_ones_own_do_not_mix(train_small: TrainSmall) -> None:
    with pytest.raises(ConfigError, match=r"got scheduler\.warmup_epochs=1 and scheduler\.warmup_steps=3; set sched"):
        train_small("scheduler.name=warmup", "scheduler.warmup_steps=3")
