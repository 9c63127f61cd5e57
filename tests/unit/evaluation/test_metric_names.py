"""What can be monitored: every metric has a direction, and an unknown one is answered with the nearest."""

from __future__ import annotations

from typing import Any

import pytest

from ringlight.errors import ConfigError
from ringlight.evaluation.metric_names import METRIC_NAMES, monitor_mode

LOWER = {"hamming_loss", "log_loss", "brier", "ece", "ece_mass"}


def test_losses_and_errors_are_better_when_lower() -> None:
    assert monitor_mode("loss") == "min"
    assert {name for name in METRIC_NAMES if monitor_mode(name) == "min"} == LOWER
    assert monitor_mode("recall/Riß 1") == monitor_mode("recall/a", ["a"]) == monitor_mode("mcc/a") == "max"
    assert monitor_mode("brier/a") == monitor_mode("ece/a") == "min"


@pytest.mark.parametrize(
    ("name", "classes", "fix"),
    [
        ("macro_fl", None, "did you mean `macro_f1`?"),
        ("val/macro_f1", None, "did you mean `macro_f1`?"),
        ("recall/defect_11", ["defect_1", "defect_2"], "did you mean `recall/defect_1`?"),
        ("support/a", ["a"], "choose from: accuracy, ap, "),
        ("support_groups/a", ["a"], "choose from: accuracy, ap, "),
        ("hamming_loss/a", ["a"], "did you mean `hamming_loss`?"),
        ("top_3", ["a", "b", "c"], "did you mean `top_2`?"),
        ("recall/", None, "did you mean `recall/CLASS`?"),
    ],
)
def test_an_unknown_monitor_is_answered_with_the_nearest(name: str, classes: list[str] | None, fix: str) -> None:
    with pytest.raises(ConfigError) as caught:
        monitor_mode(name, classes)
    assert str(caught.value).startswith(f"training.monitor: expected a validation metric, got `{name}`; {fix}")


@pytest.mark.parametrize(
    ("name", "task"), [("samples_f1", "multiclass"), ("weighted_kappa", "multilabel"), ("top_2", "multilabel")]
)
def test_a_metric_that_the_task_does_not_have_is_refused(name: str, task: Any) -> None:
    """It would be undefined after every epoch, and no epoch would ever be the best."""
    other: Any = "multilabel" if task == "multiclass" else "multiclass"
    assert monitor_mode(name, ["a", "b", "c"], other) == "max"
    with pytest.raises(ConfigError, match=f"expected a validation metric, got `{name}`"):
        monitor_mode(name, ["a", "b", "c"], task)
