"""Results: everything a comparison needs, as plain values that any JSON reader takes (no NaN)."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from ringlight.runtime import environment
from ringlight.training.judge import Verdict, score
from ringlight.training.plan import Plan
from ringlight.training.results import RESULTS_VERSION, data_card, hyper_parameters, model_card, results, split_card
from ringlight.types import History, Prediction

ROWS = [
    {"epoch": 0, "train/loss": 1.0, "val/loss": 1.0, "val/macro_f1": 0.5},
    {"epoch": 1, "train/loss": 0.5, "val/loss": 0.5, "val/macro_f1": 0.75},
    {"epoch": 2, "train/loss": 0.4, "val/loss": 0.6, "val/macro_f1": 0.75},
]


def made(plan: Plan) -> dict[str, Any]:
    data = plan.part("test")
    zeros = np.zeros((len(data), len(data.classes)), np.float32)
    prediction = Prediction(data.ids, zeros, data.classes, data.task, data.targets())
    verdict = Verdict("test", prediction, score(prediction), 0.25)
    return results(plan, "run-1", History(ROWS), verdict, environment(plan.device, "32"), {"fit": 1.23456})


def test_results_are_plain_values_without_nan(plan_of: Callable[..., Plan]) -> None:
    values = made(plan_of("loss.name=focal_loss", "loss.alpha=dynamic"))
    assert json.loads(json.dumps(values, allow_nan=False)) == values
    assert values["schema_version"] == RESULTS_VERSION
    assert values["timings"] == {"fit": 1.235}
    assert values["judged_part"] == "test"
    assert len(values["loss"]["alpha"]) == 3


def test_the_best_epoch_is_the_earliest_with_the_best_score(plan_of: Callable[..., Plan]) -> None:
    assert made(plan_of())["best"] == {"monitor": "macro_f1", "epoch": 1, "metrics": ROWS[1]}
    assert made(plan_of("training.monitor=loss"))["best"]["epoch"] == 1
    assert made(plan_of("training.monitor=auroc"))["best"] == {"monitor": "auroc"}


def test_without_a_validation_part_there_is_no_best_epoch(plan_of: Callable[..., Plan]) -> None:
    assert made(plan_of("split.strategy=stratified_80_20"))["best"] == {"monitor": None}


def test_the_cards_count_parameters_records_and_classes(plan_of: Callable[..., Plan]) -> None:
    plan = plan_of()
    next(iter(plan.module.parameters())).requires_grad_(False)
    model, data, split = model_card(plan), data_card(plan.dataset), split_card(plan)
    first = next(iter(plan.module.parameters())).numel()
    assert model["num_parameters"] - model["num_trainable"] == first
    assert model["num_parameters"] == sum(tensor.numel() for tensor in plan.module.parameters())
    assert model["weights"]["source"] == "random"
    assert data["class_counts"] == {"bright": 4, "dark": 6, "middle": 5}
    assert data["num_records"] == sum(part["num_records"] for part in split["parts"].values()) == 15
    for name in data["classes"]:
        assert sum(part["class_counts"][name] for part in split["parts"].values()) == data["class_counts"][name]


def test_hyper_parameters_are_flat_and_hold_what_the_user_set(plan_of: Callable[..., Plan]) -> None:
    flat = hyper_parameters(plan_of("optimizer.lr=0.01", "experiment.seed=5").config)
    assert flat["seed"] == 5
    assert flat["optimizer.lr"] == 0.01
    assert flat["model.name"] == "resnet10t"
    assert flat["data.batch_size"] == 4


@pytest.fixture(autouse=True)
def random_state() -> Any:
    with torch.random.fork_rng():
        yield
