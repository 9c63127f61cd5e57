"""Metrics, proved by hand, by naive loops, by scikit-learn and by torchmetrics; undefined values are named."""

from __future__ import annotations

import json
import math
import time
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk
from torchmetrics.functional import classification as tm

from ringlight.errors import DataError
from ringlight.evaluation.metrics import (
    CLASS_METRICS,
    METRIC_NAMES,
    Metrics,
    classification_metrics,
    flatten,
    monitor_mode,
)

CLASSES = ["c0", "c1", "c2", "c3"]
MULTICLASS_ONLY = {"weighted_kappa", "top_2", "top_3"}
SAMPLES = {"samples_precision", "samples_recall", "samples_f1"}


def multiclass(seed: int = 0, count: int = 200) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    targets = rng.choice(4, count, p=[0.6, 0.25, 0.1, 0.05])
    logits = rng.normal(size=(count, 4)) + 1.5 * np.eye(4)[targets]
    return targets, np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def multilabel(seed: int = 0, count: int = 200) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    targets = (rng.random((count, 4)) < [0.5, 0.3, 0.1, 0.05]).astype(np.int64)
    return targets, 1 / (1 + np.exp(-(rng.normal(size=(count, 4)) + 3 * targets - 1.5)))


def averages(
    targets: np.ndarray, guess: np.ndarray, kinds: str = "macro micro weighted", **extra: Any
) -> dict[str, Any]:
    """Return scikit-learn's precision, recall and F1 under our names."""
    expected = {}
    for average in kinds.split():
        values = sk.precision_recall_fscore_support(targets, guess, average=average, zero_division=0, **extra)
        expected |= {
            f"{average}_{name}": value for name, value in zip(("precision", "recall", "f1"), values, strict=False)
        }
    return expected


def defined(values: dict[str, float | None]) -> dict[str, float]:
    return {name: value for name, value in values.items() if value is not None}


def class_errors(targets: np.ndarray, scores: np.ndarray) -> list[float]:
    """Return torchmetrics' calibration error of each class against the rest."""
    return [
        float(tm.binary_calibration_error(torch.from_numpy(scores[:, k].copy()), torch.from_numpy(targets[:, k])))
        for k in range(scores.shape[1])
    ]


@pytest.mark.parametrize("seed", range(3))
def test_multiclass_equals_scikit_learn(seed: int) -> None:
    targets, scores = multiclass(seed)
    guess, matrix = scores.argmax(axis=1), np.eye(4)[targets]
    metrics = classification_metrics(targets, scores, CLASSES, "multiclass")
    expected = averages(targets, guess) | {
        "accuracy": sk.accuracy_score(targets, guess),
        "subset_accuracy": sk.accuracy_score(targets, guess),
        "hamming_loss": sk.hamming_loss(targets, guess),
        "balanced_accuracy": sk.balanced_accuracy_score(targets, guess),
        "cohen_kappa": sk.cohen_kappa_score(targets, guess),
        "weighted_kappa": sk.cohen_kappa_score(targets, guess, weights="quadratic"),
        "mcc": sk.matthews_corrcoef(targets, guess),
        "top_2": sk.top_k_accuracy_score(targets, scores, k=2),
        "top_3": sk.top_k_accuracy_score(targets, scores, k=3),
        "auroc": sk.roc_auc_score(targets, scores, multi_class="ovr", average="macro"),
        "ap": sk.average_precision_score(targets, scores, average="macro"),
        "log_loss": sk.log_loss(targets, scores),
        "brier": sk.brier_score_loss(targets, scores),
    }
    assert {name: metrics.scalars[name] for name in expected} == pytest.approx(expected, abs=1e-12)
    assert set(METRIC_NAMES) - set(expected) == SAMPLES | {"top_5", "ece", "ece_mass"}
    np.testing.assert_array_equal(metrics.confusion, sk.confusion_matrix(targets, guess))
    rows = sk.precision_recall_fscore_support(targets, guess, zero_division=0)
    for key, values in zip(("precision", "recall", "f1", "support"), rows, strict=True):
        assert [metrics.per_class[name][key] for name in CLASSES] == pytest.approx(values.tolist())
    for k, name in enumerate(CLASSES):
        row = metrics.per_class[name]
        assert row["brier"] == pytest.approx(sk.brier_score_loss(matrix[:, k], scores[:, k]))
        assert row["mcc"] == pytest.approx(sk.matthews_corrcoef(targets == k, guess == k))
        assert row["specificity"] == pytest.approx(sk.recall_score(targets != k, guess != k))


@pytest.mark.parametrize("threshold", [0.5, 0.3, [0.5, 0.2, 0.7, 0.9]])
def test_multilabel_equals_scikit_learn(threshold: float | list[float]) -> None:
    targets, scores = multilabel()
    guess = (scores >= np.array(threshold)).astype(int)
    metrics = classification_metrics(targets, scores, CLASSES, "multilabel", threshold=threshold)
    expected = averages(targets, guess, "macro micro weighted samples") | {
        "accuracy": 1 - sk.hamming_loss(targets, guess),
        "subset_accuracy": sk.accuracy_score(targets, guess),
        "hamming_loss": sk.hamming_loss(targets, guess),
        "balanced_accuracy": np.mean([sk.balanced_accuracy_score(targets[:, k], guess[:, k]) for k in range(4)]),
        "cohen_kappa": sk.cohen_kappa_score(targets.ravel(), guess.ravel()),
        "mcc": sk.matthews_corrcoef(targets.ravel(), guess.ravel()),
        "auroc": sk.roc_auc_score(targets, scores, average="macro"),
        "ap": sk.average_precision_score(targets, scores, average="macro"),
        "log_loss": np.mean([sk.log_loss(targets[:, k], scores[:, k]) for k in range(4)]),
        "brier": np.mean([sk.brier_score_loss(targets[:, k], scores[:, k]) for k in range(4)]),
    }
    assert {name: metrics.scalars[name] for name in expected} == pytest.approx(expected, abs=1e-12)
    assert set(METRIC_NAMES) - set(expected) == MULTICLASS_ONLY | {"top_5", "ece", "ece_mass"}
    np.testing.assert_array_equal(metrics.confusion, sk.multilabel_confusion_matrix(targets, guess))


def test_multiclass_equals_torchmetrics() -> None:
    targets, scores = multiclass(4)
    pair = torch.from_numpy(scores), torch.from_numpy(targets)
    metrics = classification_metrics(targets, scores, CLASSES, "multiclass")
    for name, theirs in {
        "accuracy": tm.multiclass_accuracy(*pair, 4, average="micro"),
        "balanced_accuracy": tm.multiclass_accuracy(*pair, 4, average="macro"),
        "macro_f1": tm.multiclass_f1_score(*pair, 4, average="macro"),
        "weighted_precision": tm.multiclass_precision(*pair, 4, average="weighted"),
        "micro_recall": tm.multiclass_recall(*pair, 4, average="micro"),
        "cohen_kappa": tm.multiclass_cohen_kappa(*pair, 4),
        "weighted_kappa": tm.multiclass_cohen_kappa(*pair, 4, weights="quadratic"),
        "mcc": tm.multiclass_matthews_corrcoef(*pair, 4),
        "top_2": tm.multiclass_accuracy(*pair, 4, average="micro", top_k=2),
        "auroc": tm.multiclass_auroc(*pair, 4),
        "ap": tm.multiclass_average_precision(*pair, 4),
        "ece": tm.multiclass_calibration_error(*pair, 4, n_bins=15, norm="l1"),
    }.items():
        assert metrics.scalars[name] == pytest.approx(float(theirs), abs=1e-6), name
    specificity = tm.multiclass_specificity(*pair, 4, average="none").tolist()
    assert [metrics.per_class[name]["specificity"] for name in CLASSES] == pytest.approx(specificity, abs=1e-6)
    errors = class_errors(np.eye(4, dtype=int)[targets], scores)
    assert [metrics.per_class[name]["ece"] for name in CLASSES] == pytest.approx(errors, abs=1e-6)


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
        "mcc": tm.multilabel_matthews_corrcoef(*pair, 4),
        "auroc": tm.multilabel_auroc(*pair, 4),
        "ap": tm.multilabel_average_precision(*pair, 4),
        "ece": np.mean(class_errors(targets, scores)),
    }.items():
        assert ours[name] == pytest.approx(float(theirs), abs=1e-6), name


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 60), st.integers(1, 5), st.sampled_from([2, 4, 1000]))
def test_any_multilabel_prediction_equals_scikit_learn(seed: int, count: int, size: int, grid: int) -> None:
    """A grid of two scores makes ties everywhere."""
    rng = np.random.default_rng(seed)
    targets = (rng.random((count, size)) < 0.4).astype(int)
    scores = rng.integers(0, grid + 1, (count, size)) / grid
    names = [f"c{k}" for k in range(size)]
    metrics = classification_metrics(targets, scores, names, "multilabel")
    for k, name in enumerate(names):
        row, truth = metrics.per_class[name], targets[:, k]
        if 0 < truth.sum() < count:
            assert row["auroc"] == pytest.approx(sk.roc_auc_score(truth, scores[:, k]), abs=1e-9)
        else:
            assert row["auroc"] is None
        if truth.any():
            assert row["ap"] == pytest.approx(sk.average_precision_score(truth, scores[:, k]), abs=1e-9)
        assert row["brier"] == pytest.approx(sk.brier_score_loss(truth, scores[:, k], pos_label=1), abs=1e-9)
    assert all(math.isfinite(value) for value in flatten(metrics).values())


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.integers(2, 6))
def test_any_multiclass_prediction_equals_scikit_learn(seed: int, count: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, size, count)
    scores = rng.dirichlet(np.ones(size), count)
    guess, labels = scores.argmax(axis=1), list(range(size))
    metrics = classification_metrics(targets, scores, [f"c{k}" for k in labels], "multiclass")
    expected = averages(targets, guess, labels=labels) | {
        "accuracy": sk.accuracy_score(targets, guess),
        "log_loss": sk.log_loss(targets, scores, labels=labels),
        "brier": sk.brier_score_loss(targets, scores, labels=labels) if size > 2 else metrics.per_class["c1"]["brier"],
    }
    assert {name: metrics.scalars[name] for name in expected} == pytest.approx(expected, abs=1e-9)
    assert metrics.scalars["hamming_loss"] == 1 - metrics.scalars["accuracy"]
    assert all(math.isfinite(value) for value in flatten(metrics).values())


def test_naive_loops_agree() -> None:
    targets, scores = multilabel(7, 60)
    metrics = classification_metrics(targets, scores, CLASSES, "multilabel")
    for column, name in enumerate(CLASSES):
        pairs = [(bool(truth), score) for truth, score in zip(targets[:, column], scores[:, column], strict=True)]
        tp = sum(1 for truth, score in pairs if truth and score >= 0.5)
        fp = sum(1 for truth, score in pairs if not truth and score >= 0.5)
        fn = sum(1 for truth, score in pairs if truth and score < 0.5)
        tn = 60 - tp - fp - fn
        wins = [
            1.0 if hit > miss else 0.5 if hit == miss else 0.0
            for hit in (score for truth, score in pairs if truth)
            for miss in (score for truth, score in pairs if not truth)
        ]
        row = metrics.per_class[name]
        assert row["f1"] == pytest.approx(2 * tp / (2 * tp + fp + fn))
        assert row["specificity"] == pytest.approx(tn / (tn + fp))
        assert row["mcc"] == pytest.approx(
            (tp * tn - fp * fn) / math.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
        )
        assert row["auroc"] == pytest.approx(sum(wins) / len(wins))
        assert row["brier"] == pytest.approx(sum((score - truth) ** 2 for truth, score in pairs) / 60)
        assert metrics.confusion[column].tolist() == [[tn, fp], [fn, tp]]
        assert (row["support"], row["predicted"]) == (tp + fn, tp + fp)


def test_multilabel_by_hand() -> None:
    targets = [[1, 0], [1, 1], [0, 0], [0, 1]]
    scores = [[0.9, 0.1], [0.4, 0.8], [0.6, 0.2], [0.1, 0.7]]
    metrics = classification_metrics(targets, scores, ["a", "b"], "multilabel")
    assert defined(metrics.per_class["a"]) == pytest.approx({
        "precision": 0.5, "recall": 0.5, "f1": 0.5, "specificity": 0.5, "mcc": 0.0, "support": 2, "predicted": 2,
        "auroc": 0.75, "ap": 5 / 6, "brier": (0.01 + 0.36 + 0.36 + 0.01) / 4, "ece": (0.1 + 0.6 + 0.6 + 0.1) / 4,
    })  # fmt: skip
    assert metrics.per_class["b"]["f1"] == metrics.per_class["b"]["auroc"] == metrics.per_class["b"]["mcc"] == 1.0
    scalars = metrics.scalars
    assert (scalars["accuracy"], scalars["hamming_loss"], scalars["subset_accuracy"]) == (0.75, 0.25, 0.5)
    assert (scalars["macro_f1"], scalars["micro_f1"], scalars["balanced_accuracy"]) == (0.75, 0.75, 0.75)
    # Sets: {a}->{a} 1; {a,b}->{b} recall 1/2, F1 2/3; {}->{a} 0; {b}->{b} 1
    assert (scalars["samples_precision"], scalars["samples_recall"]) == (0.75, 0.625)
    assert scalars["samples_f1"] == pytest.approx((1 + 2 / 3 + 0 + 1) / 4)
    assert scalars["cohen_kappa"] == scalars["mcc"] == 0.5  # of eight decisions six are right, four by chance
    assert metrics.notes == ()


class TestTwoClasses:
    """One question, good or defective, told as two classes or as one label."""

    truth = np.array([0, 0, 0, 1, 1, 0, 1, 0])
    score = np.array([0.1, 0.61, 0.22, 0.9, 0.41, 0.3, 0.7, 0.45])

    def both(self) -> tuple[Metrics, Metrics]:
        pair = np.stack([1 - self.score, self.score], 1)
        return (
            classification_metrics(self.truth, pair, ["good", "defect"], "multiclass"),
            classification_metrics(self.truth[:, None], self.score[:, None], ["defect"], "multilabel"),
        )

    def test_the_row_of_the_defect_is_binary_scikit_learn(self) -> None:
        guess = (self.score >= 0.5).astype(int)
        values = sk.precision_recall_fscore_support(self.truth, guess, average="binary")
        for metrics in self.both():
            row = metrics.per_class["defect"]
            assert (row["precision"], row["recall"], row["f1"]) == pytest.approx(values[:3])
            assert row["auroc"] == pytest.approx(sk.roc_auc_score(self.truth, self.score))
            assert row["ap"] == pytest.approx(sk.average_precision_score(self.truth, self.score))
            assert row["brier"] == pytest.approx(sk.brier_score_loss(self.truth, self.score))

    def test_shared_scalars_are_the_same_numbers(self) -> None:
        two, one = self.both()
        shared = (
            "accuracy", "balanced_accuracy", "subset_accuracy", "hamming_loss", "cohen_kappa", "mcc", "auroc",
            "log_loss", "brier",
        )  # fmt: skip
        assert {name: two.scalars[name] for name in shared} == pytest.approx(
            {name: one.scalars[name] for name in shared}
        )
        guess = self.score >= 0.5
        assert one.scalars["cohen_kappa"] == pytest.approx(sk.cohen_kappa_score(self.truth, guess))
        assert one.scalars["log_loss"] == pytest.approx(sk.log_loss(self.truth, self.score))
        assert one.scalars["ece"] == pytest.approx(class_errors(self.truth[:, None], self.score[:, None])[0], abs=1e-6)

    def test_one_label_alone_has_its_own_averages(self) -> None:
        one = self.both()[1]
        assert {one.scalars[f"{kind}_f1"] for kind in ("macro", "micro", "weighted")} == {one.per_class["defect"]["f1"]}


class TestDecisions:
    """An operating point decides otherwise than the best class or one half; the probabilities stay what they are."""

    @pytest.mark.parametrize("task", ["multiclass", "multilabel"])
    def test_the_default_decisions_change_nothing(self, task: Any) -> None:
        targets, scores = multiclass() if task == "multiclass" else multilabel()
        decided = np.eye(4)[scores.argmax(axis=1)] if task == "multiclass" else scores >= 0.5
        plain = classification_metrics(targets, scores, CLASSES, task)
        metrics = classification_metrics(targets, scores, CLASSES, task, decisions=decided)
        assert metrics.scalars == plain.scalars
        assert metrics.per_class == plain.per_class
        assert metrics.threshold is None

    def test_counts_follow_the_decisions_and_probabilities_do_not(self) -> None:
        targets, scores = multiclass()
        perfect = np.eye(4, dtype=bool)[targets]
        metrics = classification_metrics(targets, scores, CLASSES, "multiclass", decisions=perfect)
        plain = classification_metrics(targets, scores, CLASSES, "multiclass")
        assert metrics.scalars["accuracy"] == metrics.scalars["macro_f1"] == metrics.scalars["mcc"] == 1.0
        for name in ("auroc", "ap", "log_loss", "brier", "ece", "ece_mass", "top_2"):
            assert metrics.scalars[name] == plain.scalars[name]

    def test_two_decisions_on_one_part_are_refused(self) -> None:
        with pytest.raises(DataError) as caught:
            classification_metrics([0, 1], np.full((2, 2), 0.5), ["a", "b"], "multiclass", decisions=[[1, 0], [1, 1]])
        assert str(caught.value) == (
            "decisions: expected exactly one class a record in a multiclass data set, got 2 in row 1; "
            "pass a one-hot matrix"
        )


class TestGroups:
    """Six pictures of one tile are one piece of evidence: support counts the tiles too."""

    def test_support_in_groups_by_hand(self) -> None:
        scores = np.full((5, 2), 0.5)
        metrics = classification_metrics(
            [0, 0, 0, 1, 1], scores, ["a", "b"], "multiclass", groups=["t1", "t1", "t2", "t2", "t3"]
        )
        assert [metrics.per_class[name]["support"] for name in "ab"] == [3, 2]
        assert [metrics.per_class[name]["support_groups"] for name in "ab"] == [2, 2]
        assert metrics.num_groups == metrics.to_dict()["num_groups"] == 3

    @pytest.mark.parametrize("task", ["multiclass", "multilabel"])
    def test_naive_sets_agree(self, task: Any) -> None:
        targets, scores = multiclass(3) if task == "multiclass" else multilabel(3)
        groups = [("part", int(code)) for code in np.random.default_rng(0).integers(0, 30, len(targets))]
        metrics = classification_metrics(targets, scores, CLASSES, task, groups=groups)
        matrix = np.eye(4)[targets] if task == "multiclass" else targets
        for k, name in enumerate(CLASSES):
            seen = {group for group, row in zip(groups, matrix, strict=True) if row[k]}
            assert metrics.per_class[name]["support_groups"] == len(seen)

    def test_a_record_without_a_group_stands_alone(self) -> None:
        scores = [[1.0], [1.0], [1.0]]
        metrics = classification_metrics([[1], [1], [1]], scores, ["a"], "multilabel", groups=["t1", None, None])
        assert metrics.num_groups == metrics.per_class["a"]["support_groups"] == 3

    @pytest.mark.parametrize("groups", [None, [None, None]])
    def test_without_groups_nothing_is_counted_in_them(self, groups: Any) -> None:
        metrics = classification_metrics([0, 1], np.eye(2), ["a", "b"], "multiclass", groups=groups)
        assert metrics.num_groups is metrics.per_class["a"]["support_groups"] is None

    def test_too_few_groups_are_refused(self) -> None:
        with pytest.raises(DataError, match=r"^groups: expected .* for each of 2 records, got 1; "):
            classification_metrics([0, 1], np.eye(2), ["a", "b"], "multiclass", groups=["t1"])


class TestAClassWithoutExamples:
    """Severstal's 25 pictures show none of class 2 or 4: their scores must be named, and nothing may be NaN."""

    def test_multiclass(self) -> None:
        scores = [[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.2, 0.1, 0.7]]
        metrics = classification_metrics([0, 1, 0], scores, ["a", "b", "pit"], "multiclass")
        row = metrics.per_class["pit"]
        assert {name for name, value in row.items() if value is None} == {"auroc", "ap", "support_groups"}
        assert {name for name, value in row.items() if value == 0} == {"precision", "recall", "f1", "support", "mcc"}
        assert (row["predicted"], row["specificity"]) == (1, pytest.approx(2 / 3))
        assert metrics.scalars["macro_f1"] == pytest.approx((2 / 3 + 1 + 0) / 3)
        assert metrics.scalars["balanced_accuracy"] == 0.75  # of the two classes that have examples
        assert metrics.scalars["auroc"] == 1.0
        assert metrics.notes == (
            "class `pit` has no example here: precision, recall, F1 and MCC count as 0, also in the macro means; "
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
        assert metrics.scalars["auroc"] is metrics.scalars["ap"] is metrics.scalars["cohen_kappa"] is None
        assert metrics.scalars["weighted_f1"] == metrics.scalars["micro_f1"] == metrics.scalars["mcc"] == 0.0
        assert metrics.scalars["balanced_accuracy"] == metrics.scalars["accuracy"] == 1.0
        assert metrics.notes[2:] == (
            "3 records carry no class and are given none: they count as right in the accuracies, but as 0 in "
            "samples_precision, samples_recall and samples_f1",
            "truth and decisions are one and the same answer throughout: kappa is undefined, MCC counts as 0",
        )

    def test_a_class_in_every_record_and_one_never_predicted(self) -> None:
        metrics = classification_metrics([[1, 1], [1, 0]], [[0.9, 0.3], [0.8, 0.2]], ["all", "shy"], "multilabel")
        assert (metrics.per_class["all"]["auroc"], metrics.per_class["all"]["ap"]) == (None, 1.0)
        assert (metrics.per_class["all"]["specificity"], metrics.per_class["all"]["mcc"]) == (None, 0.0)
        assert metrics.notes == (
            "class `all` is in every record here: it has no AUROC, and the mean leaves it out; it has no specificity, "
            "and its MCC counts as 0",
            "class `shy` is never predicted: its precision counts as 0",
        )


class TestTooLittleToJudge:
    """A test part of one class, or of one record: every value is defined or None, and a note says why."""

    def test_one_class_in_the_truth(self) -> None:
        scores = [[0.9, 0.1], [0.4, 0.6], [0.8, 0.2]]
        metrics = classification_metrics([0, 0, 0], scores, ["a", "b"], "multiclass")
        scalars = metrics.scalars
        assert (scalars["accuracy"], scalars["balanced_accuracy"]) == (pytest.approx(2 / 3), pytest.approx(2 / 3))
        assert (scalars["auroc"], scalars["ap"], scalars["mcc"], scalars["cohen_kappa"]) == (None, 1.0, 0.0, 0.0)
        assert "the truth is one and the same answer throughout: MCC counts as 0" in metrics.notes

    def test_one_class_in_the_decisions(self) -> None:
        metrics = classification_metrics([0, 1], [[0.9, 0.1], [0.8, 0.2]], ["a", "b"], "multiclass")
        assert (metrics.scalars["mcc"], metrics.scalars["cohen_kappa"]) == (0.0, 0.0)
        assert "the decisions are one and the same answer throughout: MCC counts as 0" in metrics.notes

    @pytest.mark.parametrize("task", ["multiclass", "multilabel"])
    def test_one_record(self, task: Any) -> None:
        targets: Any = [1] if task == "multiclass" else [[0, 1]]
        metrics = classification_metrics(targets, [[0.2, 0.8]], ["a", "b"], task)
        scalars = metrics.scalars
        assert scalars["accuracy"] == scalars["subset_accuracy"] == 1.0
        assert scalars["auroc"] is None
        assert scalars["ece"] == scalars["ece_mass"] == pytest.approx(0.2)
        assert scalars["log_loss"] == pytest.approx(-math.log(0.8))
        assert metrics.notes[-1] == "there is one record: no score here says how the next one will be judged"
        assert all(math.isfinite(value) for value in flatten(metrics).values())

    def test_a_data_set_of_one_class(self) -> None:
        metrics = classification_metrics([0, 0], [[1.0], [1.0]], ["a"], "multiclass")
        assert metrics.scalars["accuracy"] == metrics.scalars["macro_f1"] == 1.0
        assert metrics.scalars["weighted_kappa"] is metrics.scalars["cohen_kappa"] is None


def test_a_score_on_the_threshold_counts_as_the_class() -> None:
    metrics = classification_metrics([[1], [0]], [[0.5], [0.49]], ["a"], "multilabel")
    assert metrics.scalars["subset_accuracy"] == 1.0


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_single_precision_gives_the_same_scores(task: Any) -> None:
    targets, scores = multiclass() if task == "multiclass" else multilabel()
    single = scores.astype(np.float32)
    ours = classification_metrics(targets, single, CLASSES, task)
    same = classification_metrics(targets, single.astype(np.float64), CLASSES, task)
    assert defined(ours.scalars) == pytest.approx(defined(same.scalars), abs=1e-12)


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_the_order_of_the_records_changes_nothing(task: Any) -> None:
    targets, scores = multiclass() if task == "multiclass" else multilabel()
    scores = np.eye(4)[scores.argmax(axis=1)] if task == "multiclass" else scores.round(1)  # many ties
    order = np.random.default_rng(0).permutation(len(targets))
    here = classification_metrics(targets, scores, CLASSES, task)
    there = classification_metrics(targets[order], scores[order], CLASSES, task)
    assert flatten(there) == pytest.approx(flatten(here), abs=1e-12)


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_the_dictionary_is_json_without_nan(task: Any) -> None:
    targets, scores = multiclass() if task == "multiclass" else multilabel()
    targets = np.where(targets == 3, 0, targets) if task == "multiclass" else targets * [1, 1, 1, 0]
    metrics = classification_metrics(targets, scores, CLASSES, task, groups=list(range(200)))
    told = json.loads(json.dumps(metrics.to_dict(), allow_nan=False))
    assert list(told["scalars"]) == list(METRIC_NAMES)
    assert told["per_class"]["c3"]["auroc"] is None
    assert list(told["per_class"]["c0"]) == list(CLASS_METRICS)
    assert np.shape(told["confusion"]) == ((4, 4) if task == "multiclass" else (4, 2, 2))
    assert told["threshold"] == (None if task == "multiclass" else 0.5)


def test_flattened_names_are_what_trackers_show() -> None:
    targets, scores = multilabel()
    flat = flatten(classification_metrics(targets * [1, 1, 1, 0], scores, CLASSES, "multilabel"))
    assert set(METRIC_NAMES) - set(flat) == MULTICLASS_ONLY | {"top_5"}
    assert {"recall/c0", "support/c3", "brier/c1"} < set(flat)
    assert not {"auroc/c3", "support_groups/c0"} & set(flat)
    assert all(math.isfinite(value) for value in flat.values())


def test_every_metric_can_be_monitored() -> None:
    """The training looks metrics up here: they must be the names of :mod:`ringlight.evaluation.metric_names`."""
    assert {monitor_mode(name) for name in METRIC_NAMES} == {"min", "max"}


@pytest.mark.slow
def test_a_million_rows_are_judged_in_seconds() -> None:
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 10, 1_000_000)
    scores = rng.random((1_000_000, 10), np.float32)
    scores[np.arange(len(targets)), targets] += 0.5
    scores /= scores.sum(axis=1, keepdims=True)
    started = time.perf_counter()
    metrics = classification_metrics(targets, scores, [f"c{k}" for k in range(10)], "multiclass")
    assert time.perf_counter() - started < 20
    assert metrics.num_records == 1_000_000
