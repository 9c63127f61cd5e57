"""Metrics, proved by hand, by naive loops, by scikit-learn and by torchmetrics; undefined values are named."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from sklearn import metrics as sk
from torchmetrics.functional import classification as tm

from ringlight.errors import ConfigError
from ringlight.evaluation.metrics import (
    CLASS_METRICS,
    METRIC_NAMES,
    classification_metrics,
    flatten,
    monitor_mode,
)

CLASSES = ["c0", "c1", "c2", "c3"]


def multiclass(seed: int = 0, count: int = 200) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    targets = rng.choice(4, count, p=[0.6, 0.25, 0.1, 0.05])
    logits = rng.normal(size=(count, 4)) + 1.5 * np.eye(4)[targets]
    return targets, np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def multilabel(seed: int = 0, count: int = 200) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    targets = (rng.random((count, 4)) < [0.5, 0.3, 0.1, 0.05]).astype(np.int64)
    return targets, 1 / (1 + np.exp(-(rng.normal(size=(count, 4)) + 3 * targets - 1.5)))


def averages(targets: np.ndarray, guess: np.ndarray, **extra: Any) -> dict[str, float]:
    """Return scikit-learn's precision, recall and F1 under our names."""
    expected = {}
    for average in ("macro", "micro", "weighted"):
        values = sk.precision_recall_fscore_support(targets, guess, average=average, zero_division=0, **extra)
        expected |= {
            f"{average}_{name}": value for name, value in zip(("precision", "recall", "f1"), values, strict=False)
        }
    return expected


@pytest.mark.parametrize("seed", range(3))
def test_multiclass_equals_scikit_learn(seed: int) -> None:
    targets, scores = multiclass(seed)
    guess = scores.argmax(axis=1)
    metrics = classification_metrics(targets, scores, CLASSES, "multiclass")
    expected = averages(targets, guess) | {
        "accuracy": sk.accuracy_score(targets, guess),
        "subset_accuracy": sk.accuracy_score(targets, guess),
        "hamming_loss": sk.hamming_loss(targets, guess),
        "balanced_accuracy": sk.balanced_accuracy_score(targets, guess),
        "auroc": sk.roc_auc_score(targets, scores, multi_class="ovr", average="macro"),
        "ap": sk.average_precision_score(targets, scores, average="macro"),
    }
    assert metrics.scalars == pytest.approx(expected, abs=1e-12)
    assert set(expected) == set(METRIC_NAMES)
    np.testing.assert_array_equal(metrics.confusion, sk.confusion_matrix(targets, guess))
    rows = sk.precision_recall_fscore_support(targets, guess, zero_division=0)
    for column, values in zip(("precision", "recall", "f1", "support"), rows, strict=True):
        assert [metrics.per_class[name][column] for name in CLASSES] == pytest.approx(values.tolist())


@pytest.mark.parametrize("threshold", [0.5, 0.3, [0.5, 0.2, 0.7, 0.9]])
def test_multilabel_equals_scikit_learn(threshold: float | list[float]) -> None:
    targets, scores = multilabel()
    guess = (scores >= np.array(threshold)).astype(int)
    metrics = classification_metrics(targets, scores, CLASSES, "multilabel", threshold=threshold)
    expected = averages(targets, guess) | {
        "accuracy": 1 - sk.hamming_loss(targets, guess),
        "subset_accuracy": sk.accuracy_score(targets, guess),
        "hamming_loss": sk.hamming_loss(targets, guess),
        "balanced_accuracy": np.mean([sk.balanced_accuracy_score(targets[:, k], guess[:, k]) for k in range(4)]),
        "auroc": sk.roc_auc_score(targets, scores, average="macro"),
        "ap": sk.average_precision_score(targets, scores, average="macro"),
    }
    assert metrics.scalars == pytest.approx(expected, abs=1e-12)
    np.testing.assert_array_equal(metrics.confusion, sk.multilabel_confusion_matrix(targets, guess))


def test_multiclass_equals_torchmetrics() -> None:
    targets, scores = multiclass(4)
    pair = torch.from_numpy(scores), torch.from_numpy(targets)
    ours = classification_metrics(targets, scores, CLASSES, "multiclass").scalars
    for name, theirs in {
        "accuracy": tm.multiclass_accuracy(*pair, 4, average="micro"),
        "balanced_accuracy": tm.multiclass_accuracy(*pair, 4, average="macro"),
        "macro_f1": tm.multiclass_f1_score(*pair, 4, average="macro"),
        "weighted_precision": tm.multiclass_precision(*pair, 4, average="weighted"),
        "micro_recall": tm.multiclass_recall(*pair, 4, average="micro"),
        "auroc": tm.multiclass_auroc(*pair, 4),
        "ap": tm.multiclass_average_precision(*pair, 4),
    }.items():
        assert ours[name] == pytest.approx(float(theirs), abs=1e-6), name


def test_multilabel_equals_torchmetrics() -> None:
    targets, scores = multilabel(4)
    pair = torch.from_numpy(scores), torch.from_numpy(targets)
    ours = classification_metrics(targets, scores, CLASSES, "multilabel").scalars
    for name, theirs in {
        "accuracy": tm.multilabel_accuracy(*pair, 4, average="micro"),
        "subset_accuracy": tm.multilabel_exact_match(*pair, 4),
        "hamming_loss": tm.multilabel_hamming_distance(*pair, 4, average="micro"),
        "macro_f1": tm.multilabel_f1_score(*pair, 4, average="macro"),
        "micro_precision": tm.multilabel_precision(*pair, 4, average="micro"),
        "weighted_recall": tm.multilabel_recall(*pair, 4, average="weighted"),
        "auroc": tm.multilabel_auroc(*pair, 4),
        "ap": tm.multilabel_average_precision(*pair, 4),
    }.items():
        assert ours[name] == pytest.approx(float(theirs), abs=1e-6), name


def test_naive_loops_agree() -> None:
    targets, scores = multilabel(7, 60)
    metrics = classification_metrics(targets, scores, CLASSES, "multilabel")
    for column, name in enumerate(CLASSES):
        pairs = [(bool(truth), score) for truth, score in zip(targets[:, column], scores[:, column], strict=True)]
        tp = sum(1 for truth, score in pairs if truth and score >= 0.5)
        fp = sum(1 for truth, score in pairs if not truth and score >= 0.5)
        fn = sum(1 for truth, score in pairs if truth and score < 0.5)
        wins = [
            1.0 if hit > miss else 0.5 if hit == miss else 0.0
            for hit in (score for truth, score in pairs if truth)
            for miss in (score for truth, score in pairs if not truth)
        ]
        row = metrics.per_class[name]
        assert row["f1"] == pytest.approx(2 * tp / (2 * tp + fp + fn))
        assert row["auroc"] == pytest.approx(sum(wins) / len(wins))
        assert metrics.confusion[column].tolist() == [[60 - tp - fp - fn, fp], [fn, tp]]
        assert (row["support"], row["predicted"]) == (tp + fn, tp + fp)


def test_multilabel_by_hand() -> None:
    targets = [[1, 0], [1, 1], [0, 0], [0, 1]]
    scores = [[0.9, 0.1], [0.4, 0.8], [0.6, 0.2], [0.1, 0.7]]
    metrics = classification_metrics(targets, scores, ["a", "b"], "multilabel")
    assert metrics.per_class["a"] == pytest.approx(
        {"precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 2, "predicted": 2, "auroc": 0.75, "ap": 5 / 6}
    )
    assert metrics.per_class["b"]["f1"] == metrics.per_class["b"]["auroc"] == 1.0
    scalars = metrics.scalars
    assert (scalars["accuracy"], scalars["hamming_loss"], scalars["subset_accuracy"]) == (0.75, 0.25, 0.5)
    assert (scalars["macro_f1"], scalars["micro_f1"], scalars["balanced_accuracy"]) == (0.75, 0.75, 0.75)
    assert metrics.notes == ()


class TestAClassWithoutExamples:
    """Severstal's 25 pictures show none of class 2 or 4: their scores must be named, and nothing may be NaN."""

    def test_multiclass(self) -> None:
        scores = [[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.2, 0.1, 0.7]]
        metrics = classification_metrics([0, 1, 0], scores, ["a", "b", "pit"], "multiclass")
        assert metrics.per_class["pit"] == {
            "precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0, "predicted": 1, "auroc": None, "ap": None,
        }  # fmt: skip
        assert metrics.scalars["macro_f1"] == pytest.approx((2 / 3 + 1 + 0) / 3)
        assert metrics.scalars["balanced_accuracy"] == 0.75  # of the two classes that have examples
        assert metrics.scalars["auroc"] == 1.0
        assert metrics.notes == (
            "class `pit` has no example here: precision, recall and F1 count as 0, also in the macro means; "
            "it has no AUROC and no AP, and their means leave it out",
        )

    def test_macro_equals_scikit_learn_over_all_classes(self) -> None:
        targets, scores = multiclass()
        targets = np.where(targets == 3, 0, targets)
        metrics = classification_metrics(targets, scores, CLASSES, "multiclass")
        expected = averages(targets, scores.argmax(axis=1), labels=range(4))
        assert {name: metrics.scalars[name] for name in expected} == pytest.approx(expected)

    def test_nothing_labelled_at_all(self) -> None:
        metrics = classification_metrics(np.zeros((3, 2)), np.full((3, 2), 0.2), ["a", "b"], "multilabel")
        assert metrics.scalars["auroc"] is metrics.scalars["ap"] is None
        assert metrics.scalars["weighted_f1"] == metrics.scalars["micro_f1"] == 0.0
        assert metrics.scalars["balanced_accuracy"] == metrics.scalars["accuracy"] == 1.0
        assert len(metrics.notes) == 2

    def test_a_class_in_every_record_and_one_never_predicted(self) -> None:
        metrics = classification_metrics([[1, 1], [1, 0]], [[0.9, 0.3], [0.8, 0.2]], ["all", "shy"], "multilabel")
        assert (metrics.per_class["all"]["auroc"], metrics.per_class["all"]["ap"]) == (None, 1.0)
        assert metrics.notes == (
            "class `all` is in every record here: it has no AUROC, and the mean leaves it out",
            "class `shy` is never predicted: its precision counts as 0",
        )


def test_a_score_on_the_threshold_counts_as_the_class() -> None:
    metrics = classification_metrics([[1], [0]], [[0.5], [0.49]], ["a"], "multilabel")
    assert metrics.scalars["subset_accuracy"] == 1.0


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_the_dictionary_is_json_without_nan(task: Any) -> None:
    targets, scores = multiclass() if task == "multiclass" else multilabel()
    targets = np.where(targets == 3, 0, targets) if task == "multiclass" else targets * [1, 1, 1, 0]
    metrics = classification_metrics(targets, scores, CLASSES, task)
    told = json.loads(json.dumps(metrics.to_dict(), allow_nan=False))
    assert list(told["scalars"]) == list(METRIC_NAMES)
    assert told["per_class"]["c3"]["auroc"] is None
    assert list(told["per_class"]["c0"]) == list(CLASS_METRICS)
    assert np.shape(told["confusion"]) == ((4, 4) if task == "multiclass" else (4, 2, 2))
    assert told["threshold"] == (None if task == "multiclass" else 0.5)


def test_flattened_names_are_what_trackers_show() -> None:
    targets, scores = multilabel()
    flat = flatten(classification_metrics(targets * [1, 1, 1, 0], scores, CLASSES, "multilabel"))
    assert set(METRIC_NAMES) < set(flat)
    assert {"recall/c0", "support/c3"} < set(flat)
    assert "auroc/c3" not in flat
    assert all(math.isfinite(value) for value in flat.values())


def test_what_is_monitored_has_a_direction() -> None:
    assert monitor_mode("loss") == monitor_mode("hamming_loss") == "min"
    assert {monitor_mode(name) for name in METRIC_NAMES if name != "hamming_loss"} == {"max"}
    assert monitor_mode("recall/Riß 1") == monitor_mode("recall/a", ["a"]) == "max"


@pytest.mark.parametrize(
    ("name", "classes", "fix"),
    [
        ("macro_fl", None, "did you mean `macro_f1`?"),
        ("val/macro_f1", None, "did you mean `macro_f1`?"),
        ("recall/defect_11", ["defect_1", "defect_2"], "did you mean `recall/defect_1`?"),
        ("support/a", ["a"], "choose from: accuracy, ap, "),
    ],
)
def test_an_unknown_monitor_is_answered_with_the_nearest(name: str, classes: list[str] | None, fix: str) -> None:
    with pytest.raises(ConfigError) as caught:
        monitor_mode(name, classes)
    assert str(caught.value).startswith(f"training.monitor: expected a validation metric, got `{name}`; {fix}")
