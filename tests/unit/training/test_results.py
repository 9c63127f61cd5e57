"""Results: everything a comparison needs, as plain values that any JSON reader takes (no NaN)."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from ringlight.config.schema import EvaluationConfig
from ringlight.evaluation.rates import Interval
from ringlight.runtime import environment
from ringlight.training.judge import verdict_of
from ringlight.training.leakage import LeakProbe
from ringlight.training.plan import Plan
from ringlight.training.results import (
    RESULTS_VERSION,
    data_card,
    hyper_parameters,
    kept_row,
    model_card,
    results,
    split_card,
)
from ringlight.training.rules import fix_rules
from ringlight.types import History, Prediction

ROWS = [
    {"epoch": 0, "train/loss": 1.0, "val/loss": 1.0, "val/macro_f1": 0.5},
    {"epoch": 1, "train/loss": 0.5, "val/loss": 0.5, "val/macro_f1": 0.75},
    {"epoch": 2, "train/loss": 0.4, "val/loss": 0.6, "val/macro_f1": 0.75},
]


def made(plan: Plan, probe: LeakProbe | None = None) -> dict[str, Any]:
    data = plan.part("test")
    zeros = np.zeros((len(data), len(data.classes)), np.float32)
    prediction = Prediction(data.ids, zeros, data.classes, data.task, data.targets())
    settings = EvaluationConfig(num_resamples=100)
    rules = fix_rules(None, None, settings, task=data.task, classes=data.classes, seed=0)
    verdict = verdict_of("test", data, prediction, rules, settings, seed=0, in_chans=3, loss=0.25)
    return results(plan, "run-1", History(ROWS), verdict, probe, environment(plan.device, "32"), {"fit": 1.23456})


def test_results_are_plain_values_without_nan(plan_of: Callable[..., Plan]) -> None:
    values = made(plan_of("loss.name=focal_loss", "loss.alpha=dynamic"))
    assert json.loads(json.dumps(values, allow_nan=False)) == values
    assert values["schema_version"] == RESULTS_VERSION
    assert values["timings"] == {"fit": 1.235}
    assert values["judged_part"] == "test"
    assert values["test"]["loss"] == 0.25
    assert len(values["loss"]["alpha"]) == 3


def test_results_hold_every_key_of_the_reference(plan_of: Callable[..., Plan]) -> None:
    assert set(made(plan_of())) == {
        "schema_version", "run", "recipe", "experiment", "model", "hyper_parameters", "loss", "dataset", "split",
        "best", "judged_part", "test", "calibration", "operating_points", "reject", "curves", "energy", "slices",
        "mistakes", "imbalance", "tta", "ensemble", "phases", "history", "timings", "environment", "notes",
    }  # fmt: skip


def test_what_was_refused_on_validation_stands_among_the_notes(plan_of: Callable[..., Plan]) -> None:
    plan = plan_of()
    assert made(plan)["notes"] == [
        *plan.notes, "no calibration and no operating point: there is no validation part to fix it on",
    ]  # fmt: skip


def test_the_split_tells_groups_leaks_and_what_was_left_out(plan_of: Callable[..., Plan]) -> None:
    plan = plan_of(r"data.group_regex='^\w+/\w+_(?P<group>\d)'", "split.leak_probe=false")
    card = split_card(plan)
    assert card["groups"] == "given groups"
    assert (card["leaky"], card["leaks"], card["num_left_out"], card["probe"]) == (False, [], 0, None)
    assert card["leak_check"]
    assert sum(part["num_groups"] for part in card["parts"].values()) == 6
    odd = replace(plan.split, train=plan.split.train[1:], left_out=plan.split.train[:1], leaks=("g1 on two sides",))
    card = split_card(replace(plan, split=odd))
    assert (card["leaky"], card["leaks"], card["num_left_out"]) == (True, ["g1 on two sides"], 1)
    bare = replace(plan, dataset=plan.dataset.with_column("group", [None] * 15))
    assert {part["num_groups"] for part in split_card(bare)["parts"].values()} == {None}


def test_the_leak_probe_is_told_where_it_was_made(plan_of: Callable[..., Plan]) -> None:
    probe = LeakProbe(
        metric="macro_f1", random=Interval(0.9, 0.8, 0.95, "bootstrap"), grouped=Interval(0.6, 0.5, 0.7, "bootstrap"),
        gap=Interval(0.3, 0.2, 0.4, "bootstrap"), classifier="a classifier", num_records=15, num_groups=6, num_folds=5,
    )  # fmt: skip
    told = made(plan_of(), probe)["split"]["probe"]
    assert told["points"] == pytest.approx(30)
    assert told["random"] == {"value": 0.9, "low": 0.8, "high": 0.95}


def test_the_data_are_named_as_given_not_as_grouped(plan_of: Callable[..., Plan]) -> None:
    """Groups that were found for the split once changed the fingerprint: one data set then had two names."""
    plan = plan_of()
    assert plan.dataset.groups is not None
    assert made(plan)["dataset"]["fingerprint"] == plan.given.fingerprint != plan.dataset.fingerprint


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


def test_of_a_run_in_phases_the_best_epoch_is_one_of_the_last_phase(plan_of: Callable[..., Plan]) -> None:
    """A warm start's neighbours may have voted better than the student scores; the student is judged."""
    scores = [(0, 0.9), (0, 0.95), (1, 0.5), (1, 0.7), (1, 0.6)]
    history = History(
        [{"epoch": at, "phase": phase, "val/macro_f1": value} for at, (phase, value) in enumerate(scores)]
    )
    config = plan_of().config
    best = kept_row(history, config, "macro_f1")
    assert best is not None
    assert best["epoch"] == 3
    last = kept_row(history, config.replacing({"training.restore": "last"}), "macro_f1")
    assert last is not None
    assert last["epoch"] == 4
    assert kept_row(history, config, None) is None
    assert kept_row(History([]), config, "macro_f1") is None
