"""Further metrics: by hand, by a loop, against scikit-learn, where they are undefined, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import (
    balanced_accuracy_score,
    fbeta_score,
    jaccard_score,
    log_loss,
    recall_score,
    top_k_accuracy_score,
)

from ringlight.errors import ConfigError, DataError
from ringlight.evaluation.custom_metrics import (
    METRICS,
    Metric,
    as_metrics,
    decision_cost,
    measured,
    named_metrics,
)
from ringlight.evaluation.metrics import METRIC_NAMES, classification_metrics, monitor_mode

RANDOM = np.random.default_rng(4)
SCORES = RANDOM.dirichlet(np.ones(4), size=60)
TRUTH = np.where(RANDOM.random(60) < 0.5, SCORES.argmax(axis=1), RANDOM.integers(0, 4, 60))
DECIDED = SCORES.argmax(axis=1)
LABELS = (RANDOM.random((60, 3)) < 0.4).astype(np.int64)
CHANCES = RANDOM.random((60, 3))


def value(name, truth=TRUTH, scores=SCORES):
    return METRICS[name].function(truth, scores)


def _counts(truth, decided, k):
    pairs = list(zip(truth, decided, strict=True))
    tp = sum(t == k and d == k for t, d in pairs)
    fp = sum(t != k and d == k for t, d in pairs)
    fn = sum(t == k and d != k for t, d in pairs)
    return tp, fp, fn, len(pairs) - tp - fp - fn


def test_they_equal_scikit_learn():
    recalls = recall_score(TRUTH, DECIDED, average=None)
    assert value("g_mean") == pytest.approx(np.prod(recalls) ** 0.25)
    assert value("worst_recall") == pytest.approx(recalls.min())
    assert value("macro_f2") == pytest.approx(fbeta_score(TRUTH, DECIDED, beta=2, average="macro"))
    assert value("macro_f05") == pytest.approx(fbeta_score(TRUTH, DECIDED, beta=0.5, average="macro"))
    assert value("macro_jaccard") == pytest.approx(jaccard_score(TRUTH, DECIDED, average="macro"))
    assert value("top_2_accuracy") == pytest.approx(top_k_accuracy_score(TRUTH, SCORES, k=2))
    assert value("top_3_accuracy") == pytest.approx(top_k_accuracy_score(TRUTH, SCORES, k=3))
    one = (TRUTH > 1).astype(int), np.column_stack([SCORES[:, :2].sum(1), SCORES[:, 2:].sum(1)])
    adjusted = balanced_accuracy_score(one[0], one[1].argmax(axis=1), adjusted=True)
    assert value("youden", *one) == pytest.approx(adjusted), "of two classes Youden's J is what scikit-learn adjusts"


def test_they_equal_scikit_learn_for_several_labels_at_once():
    decided = CHANCES >= 0.5
    assert value("macro_f2", LABELS, CHANCES) == pytest.approx(fbeta_score(LABELS, decided, beta=2, average="macro"))
    assert value("macro_jaccard", LABELS, CHANCES) == pytest.approx(jaccard_score(LABELS, decided, average="macro"))
    recalls = recall_score(LABELS, decided, average=None)
    specificities = recall_score(1 - LABELS, ~decided, average=None)
    assert value("worst_recall", LABELS, CHANCES) == pytest.approx(recalls.min())
    assert value("macro_specificity", LABELS, CHANCES) == pytest.approx(specificities.mean())
    assert value("youden", LABELS, CHANCES) == pytest.approx((recalls + specificities - 1).mean())
    assert value("g_mean", LABELS, CHANCES) == pytest.approx(np.sqrt(recalls * specificities).mean())
    assert value("expected_error", LABELS, CHANCES) == pytest.approx(np.abs(LABELS - CHANCES).mean())


def test_they_equal_a_naive_loop():
    rates = [_counts(TRUTH, DECIDED, k) for k in range(4)]
    youden = [tp / (tp + fn) + tn / (tn + fp) - 1 for tp, fp, fn, tn in rates]
    assert value("youden") == pytest.approx(sum(youden) / 4)
    assert value("macro_specificity") == pytest.approx(sum(tn / (tn + fp) for _, fp, _, tn in rates) / 4)
    error = sum(1 - SCORES[row, truth] for row, truth in enumerate(TRUTH)) / 60
    assert value("expected_error") == pytest.approx(error)
    total = 0.0
    for row, truth in zip(SCORES, TRUTH, strict=True):
        for k in range(3):
            total += (sum(row[: k + 1]) - (truth <= k)) ** 2 / 3
    assert value("ranked_probability_score") == pytest.approx(total / 60)


def test_a_class_without_examples_is_left_out_and_one_class_alone_is_undefined():
    truth, scores = [0, 0, 1], [[0.9, 0.1, 0], [0.2, 0.8, 0], [0.3, 0.7, 0]]
    assert value("worst_recall", truth, scores) == 0.5
    assert value("g_mean", truth, scores) == pytest.approx(math.sqrt(0.5))
    assert value("macro_specificity", truth, scores) == pytest.approx((1 + 0.5 + 1) / 3)
    assert math.isnan(value("youden", [0, 0], [[0.9, 0.1], [0.2, 0.8]])), "one class is in every record, one in none"


def test_the_catalogue_holds_every_public_metric_and_no_name_of_a_run():
    import ringlight.evaluation.custom_metrics as module

    takes = {"y_true", "y_score"}
    functions = {
        one
        for name, one in vars(module).items()
        if callable(one) and not name.startswith("_") and takes <= set(getattr(one, "__annotations__", ()))
    } - {module.measured}
    assert functions == {metric.function for metric in METRICS.values()}
    assert not set(METRICS) & {*METRIC_NAMES, "loss"}
    flags = {name for name, metric in METRICS.items() if not metric.higher_is_better}
    assert flags == {"expected_error", "ranked_probability_score"}
    perfect, wrong = np.eye(4)[TRUTH], np.eye(4)[(TRUTH + 2) % 4]
    for name, metric in METRICS.items():
        assert (value(name, TRUTH, perfect) > value(name, TRUTH, wrong)) is metric.higher_is_better


def test_top_two_is_the_metric_of_every_run_where_that_is_defined():
    run = classification_metrics(TRUTH, SCORES, ["a", "b", "c", "d"], "multiclass").scalars
    assert value("top_2_accuracy") == run["top_2"]
    assert value("top_2_accuracy", [0, 1], [[0.9, 0.1], [0.9, 0.1]]) == 1.0


def test_the_cost_of_decisions_by_hand():
    cost = decision_cost([[0, 1], [10, 0]])
    assert cost.function([0, 1, 1, 0], [[0.4, 0.6], [0.6, 0.4], [0.1, 0.9], [1, 0]]) == pytest.approx(11 / 4)
    assert not cost.higher_is_better
    for wrong in ([[0, 1]], [[0, -1], [1, 0]]):
        with pytest.raises(ConfigError, match="costs: expected a square table of costs of 0 or more, got "):
            decision_cost(wrong)


def test_functions_of_a_caller_are_metrics_and_are_better_when_higher():
    def sharpness(y_true, y_score):
        return y_score.max(axis=1).mean()

    def loss(y_true, y_score):
        return log_loss(y_true, y_score)

    metrics = as_metrics({"sharpness": sharpness, "nats": Metric(loss, higher_is_better=False)}, METRIC_NAMES)
    found = measured(metrics, TRUTH, SCORES)
    assert found == pytest.approx({"sharpness": SCORES.max(axis=1).mean(), "nats": log_loss(TRUTH, SCORES)})
    assert [monitor_mode(name, metrics=metrics) for name in metrics] == ["max", "min"]


def test_an_undefined_value_is_left_out_and_anything_but_a_number_refused():
    metrics = as_metrics({"nan": lambda *_: float("nan"), "inf": lambda *_: np.inf, "one": lambda *_: 1}, ())
    assert measured(metrics, TRUTH, SCORES) == {"one": 1.0}
    with pytest.raises(DataError) as caught:
        measured(as_metrics({"mine": lambda *_: None}, ()), TRUTH, SCORES)
    assert str(caught.value) == ("metrics.mine: expected a number, got NoneType; return one number for the whole part")


@pytest.mark.parametrize("name", ["macro_f1", "recall/a", ""])
def test_a_name_that_is_taken_is_refused(name):
    with pytest.raises(ConfigError, match=r"metrics: expected a name that no metric has yet, without a slash, got `"):
        as_metrics({name: lambda *_: 1.0}, METRIC_NAMES)
    with pytest.raises(ConfigError, match=r"metrics.mine: expected a function of \(y_true, y_score\), got 'x'"):
        as_metrics({"mine": "x"}, ())


def test_names_of_the_catalogue_and_of_every_run_may_be_asked_for():
    assert named_metrics(["accuracy", "g_mean"], METRIC_NAMES) == {"g_mean": METRICS["g_mean"]}
    with pytest.raises(ConfigError) as caught:
        named_metrics(["g_meen"], METRIC_NAMES)
    assert str(caught.value) == (
        "training.metrics: expected a metric of the catalogue, got `g_meen`; did you mean `g_mean`?"
    )
    with pytest.raises(ConfigError, match=r"training\.metrics: expected a multilabel metric, got `top_2_accuracy`"):
        named_metrics(["top_2_accuracy"], METRIC_NAMES, "multilabel")


def test_a_metric_that_is_not_computed_cannot_be_monitored():
    assert monitor_mode("expected_error") == "min"
    with pytest.raises(ConfigError) as caught:
        monitor_mode("g_mean", metrics={}, where="scheduler.monitor")
    assert str(caught.value) == (
        "scheduler.monitor: expected a validation metric that is computed, got `g_mean`; add it to training.metrics"
    )
