"""What a training follows: the best weights by one metric, the end by another, the rate by a third."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ringlight.config.schema import Config
from ringlight.errors import ConfigError, DataError, Problems
from ringlight.evaluation.custom_metrics import METRICS, Metric
from ringlight.training.callbacks import EarlyStop, Reporter
from ringlight.training.checkpoints import Keeper
from ringlight.training.engine import extras, schedule_of
from ringlight.training.learner import DeepLearner
from ringlight.training.monitors import check_monitors, further_metrics
from ringlight.training.plan import Plan
from ringlight.training.task import ClassificationTask
from ringlight.training.trackers import QuietControl, QuietTracker
from ringlight.types import History

PlanOf = Callable[..., Plan]
MakeTask = Callable[..., ClassificationTask]
CLASSES = ("dark", "middle", "bright")


def config_of(**sections: Any) -> Config:
    return Config.model_validate(sections)


def fit(plan: Plan, folder: Path, **metrics: Any) -> tuple[DeepLearner, History]:
    learner = DeepLearner.from_plan(plan, folder, lambda *_: None)
    learner.metrics = metrics
    history = learner.fit(
        plan.part("train"), plan.part("val"), tracker=QuietTracker(), control=QuietControl(), resume=None
    )
    return learner, history


def test_a_metric_of_the_catalogue_is_told_and_picks_the_best_weights(plan_of: PlanOf, tmp_path: Path) -> None:
    plan = plan_of("training.metrics=[expected_error,accuracy]", "training.monitor=expected_error")
    learner, history = fit(plan, tmp_path)
    told = [row["val/expected_error"] for row in history.rows]
    assert len(told) == 2
    best = int(np.argmin(told))
    assert learner.weights_from is not None
    assert learner.weights_from.name == f"best_epoch{best:03d}_expected_error_{told[best]:.2f}.ckpt"
    probabilities = learner.predict(plan.part("val")).probabilities
    expected = METRICS["expected_error"].function(plan.part("val").targets(), probabilities)
    assert told[best] == pytest.approx(expected, abs=1e-5)


def test_a_further_metric_changes_nothing_else(plan_of: PlanOf, tmp_path: Path) -> None:
    plain = fit(plan_of(), tmp_path / "plain")[1].rows
    told = fit(plan_of("training.metrics=[g_mean]"), tmp_path / "told")[1].rows
    assert all("val/g_mean" in row for row in told)
    assert [{key: value for key, value in row.items() if key != "val/g_mean"} for row in told] == plain


def test_a_function_from_python_is_told_and_may_be_monitored(plan_of: PlanOf, tmp_path: Path) -> None:
    asked: list[tuple[Any, Any]] = []

    def falling(y_true: Any, y_score: Any) -> float:
        asked.append((y_true.shape, y_score.shape))
        return [0.75, 0.5, 0.625][len(asked) - 1]

    plan = plan_of("training.num_epochs=3")
    plan = replaced(plan, "training.monitor", "mine")
    learner, history = fit(plan, tmp_path, mine=Metric(falling, higher_is_better=False))
    count = len(plan.part("val"))
    assert asked == [((count,), (count, 3))] * 3
    assert [row["val/mine"] for row in history.rows] == [0.75, 0.5, 0.625]
    assert learner.weights_from is not None
    assert learner.weights_from.name == "best_epoch001_mine_0.50.ckpt"


def replaced(plan: Plan, key: str, value: object) -> Plan:
    from dataclasses import replace

    return replace(plan, config=plan.config.replacing({key: value}))


def test_early_stopping_waits_for_its_own_metric_and_the_best_weights_stay(plan_of: PlanOf, tmp_path: Path) -> None:
    """The loss stood still while accuracy still rose: what ends a run and what is kept are two questions."""
    plan = plan_of("training.num_epochs=6", "training.early_stopping_patience=2")
    plan = replaced(replaced(plan, "training.monitor", "rises"), "training.early_stopping_monitor", "stands")
    counted = iter(range(1, 9))
    learner, history = fit(plan, tmp_path, rises=lambda *_: next(counted) / 8, stands=lambda *_: 1.0)
    assert len(history.rows) == 3, "the first is the best, two bring nothing new"
    assert learner.weights_from is not None
    assert learner.weights_from.name == "best_epoch002_rises_0.38.ckpt"


def test_a_plateau_follows_its_own_metric(make_task: MakeTask, run_trainer: Any, make_rows: Any) -> None:
    part = make_rows([1.0, -1.0, 0.5, 0.2], [0, 1, 1, 0])
    rates = {}
    for monitor, score in (("rises", iter([1.0, 2.0, 3.0, 4.0])), ("stands", iter([1.0] * 4))):
        task = make_task(lr=0.1, schedule="plateau", monitor="loss", patience=0, factor=0.5)
        make = task._make_schedule
        task.metrics = {monitor: Metric(lambda *_, score=score: next(score))}

        def followed(optimizer: Any, make: Any = make, monitor: str = monitor) -> Any:
            from dataclasses import replace

            return replace(make(optimizer), monitor=monitor)

        task._make_schedule = followed
        rows = Reporter(QuietTracker(), lambda *_: None, 4)
        run_trainer(task, part, part, [rows], num_epochs=4)
        rates[monitor] = [row["lr"] for row in rows.history.rows]
    assert rates["rises"] == [0.1] * 4
    assert rates["stands"] == [0.1, 0.1, 0.05, 0.025]


def test_an_undefined_metric_is_no_better_and_never_a_loss(
    make_task: MakeTask, run_trainer: Any, make_rows: Any
) -> None:
    """Where the followed score was undefined, the training loss took its place and was called an improvement."""
    part, one_class = make_rows([1.0, -1.0], [0, 1]), make_rows([1.0, 2.0], [1, 1])
    task = make_task(lr=0.1, schedule="plateau", monitor="auroc", patience=0, factor=0.5)
    rows = Reporter(QuietTracker(), lambda *_: None, 3)
    run_trainer(task, part, one_class, [rows], num_epochs=3)
    assert [row["lr"] for row in rows.history.rows] == [0.1, 0.05, 0.025]


def test_the_way_of_each_follower_is_that_of_its_own_metric() -> None:
    config = config_of(
        training={"monitor": "macro_f1", "early_stopping_monitor": "loss", "metrics": ["expected_error"]},
        scheduler={"name": "plateau", "monitor": "expected_error"},
    )
    metrics = further_metrics(config, {})
    stop = next(one for one in extras(config, "macro_f1", metrics) if isinstance(one, EarlyStop))
    assert (stop.monitor, stop.mode) == ("val/loss", "min")
    import torch

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    schedule = schedule_of(config, "macro_f1", 10, metrics)(optimizer)
    assert (schedule.monitor, schedule.scheduler.mode) == ("expected_error", "min")
    plain = schedule_of(config_of(scheduler={"name": "plateau"}), "macro_f1", 10)(optimizer)
    assert (plain.monitor, plain.scheduler.mode) == (None, "max")
    assert Keeper(Path(), "mine", "min")._improves(1.0)


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        (
            {"training": {"metrics": ["g_meen"]}},
            "training.metrics: expected a metric of the catalogue, got `g_meen`; did you mean `g_mean`?",
        ),
        (
            {"training": {"early_stopping_monitor": "macro_f"}},
            "training.early_stopping_monitor: expected a validation metric, got `macro_f`; did you mean `macro_f1`?",
        ),
        (
            {"scheduler": {"name": "plateau", "monitor": "lost"}},
            "scheduler.monitor: expected a validation metric, got `lost`; did you mean `loss`?",
        ),
        (
            {"training": {"monitor": "g_mean"}},
            "training.monitor: expected a validation metric that is computed, got `g_mean`; add it to training.metrics",
        ),
        (
            {"training": {"monitor": "recall/purple"}},
            "training.monitor: expected a validation metric, got `recall/purple`; did you mean `recall/middle`?",
        ),
    ],
)
def test_an_unknown_metric_is_one_line_before_anything_is_trained(sections: Any, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_monitors(config_of(**sections), CLASSES, "multiclass")
    assert str(caught.value).startswith(message)


def test_several_unknown_metrics_come_together() -> None:
    config = config_of(training={"monitor": "x1", "early_stopping_monitor": "x2"})
    with pytest.raises(Problems) as caught:
        check_monitors(config, CLASSES, "multiclass")
    assert [line.split(":")[0] for line in caught.value.problems] == [
        "training.monitor", "training.early_stopping_monitor",
    ]  # fmt: skip


def test_without_validation_only_the_catalogue_is_asked() -> None:
    check_monitors(config_of(training={"monitor": "x1"}), CLASSES, "multiclass", validates=False)
    with pytest.raises(ConfigError, match=r"training\.metrics"):
        check_monitors(config_of(training={"metrics": ["x1"]}), CLASSES, "multiclass", validates=False)


def test_a_plan_is_refused_for_an_unknown_metric(plan_of: PlanOf) -> None:
    with pytest.raises(ConfigError, match=r"training\.metrics: expected a metric of the catalogue, got `f1_score`"):
        plan_of("training.metrics=[f1_score]")


def test_a_function_that_gives_no_number_ends_the_run_in_one_line(plan_of: PlanOf, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"metrics\.mine: expected a number, got str"):
        fit(plan_of(), tmp_path, mine=lambda *_: "high")


def test_a_frozen_backbone_tells_them_too(plan_of: PlanOf, tmp_path: Path) -> None:
    from ringlight.training.learners import learner_of

    plan = plan_of("training.mode=frozen", "training.metrics=[g_mean]", "model.name=resnet10t")
    learner = learner_of(plan, tmp_path, lambda *_: None)
    history = learner.fit(
        plan.part("train"), plan.part("val"), tracker=QuietTracker(), control=QuietControl(), resume=None
    )
    assert 0 <= history.rows[0]["val/g_mean"] <= 1
