"""Intervals of every score: the weights equal the copied rows, scipy agrees, perfect scores stay humble."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from ringlight.errors import DataError
from ringlight.evaluation.bootstrap import Scorer, replicate
from ringlight.evaluation.decided import decided
from ringlight.evaluation.intervals import Intervals, mcnemar, metric_intervals, paired_intervals, wilson
from ringlight.evaluation.metrics import classification_metrics
from ringlight.evaluation.percentiles import percentile_interval, tail_share
from ringlight.evaluation.ranking import running_sum
from ringlight.evaluation.units import resamples

CLASSES = ("a", "b", "c", "d")
TASKS = ("multiclass", "multilabel")


def made(task: Any, records: int = 240, *, seed: int = 0, ties: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Return targets and probabilities; rounded, so that many scores are equal."""
    generator = np.random.default_rng(seed)
    noise = generator.normal(size=(records, 4))
    if task == "multiclass":
        targets = generator.choice(4, records, p=[0.5, 0.3, 0.15, 0.05])
        noise[np.arange(records), targets] += 1.5
        odds = np.exp(noise)
        scores = odds / odds.sum(axis=1, keepdims=True)
        if ties:
            scores = np.round(scores * 20) / 20
            scores[:, 3] = 1 - scores[:, :3].sum(axis=1)
            scores = np.clip(scores, 0, 1)
        return targets, scores
    targets = (generator.random((records, 4)) < [0.5, 0.3, 0.15, 0.05]).astype(int)
    scores = 1 / (1 + np.exp(-(noise + 2 * targets - 1)))
    return targets, np.round(scores, 2) if ties else scores


def grouped(records: int = 240, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 60, records)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("groups", [None, grouped()], ids=["records", "groups"])
def test_the_weighted_formulas_equal_the_metrics_of_the_copied_rows(task: Any, groups: np.ndarray | None) -> None:
    """The naive loop copies the drawn rows and judges them; every scalar and every class agrees to 1e-9."""
    targets, scores = made(task)
    data = decided(targets, scores, CLASSES, task, groups=groups)
    units = data.units
    (found,) = replicate([Scorer(data)], units.num_units, 12, seed=1)
    weights = np.concatenate(list(resamples(units.num_units, 12, seed=1)), axis=1)
    compared = 0
    for draw in range(12):
        rows = np.repeat(np.arange(240), weights[units.codes, draw].astype(int))
        wanted = classification_metrics(targets[rows], scores[rows], CLASSES, task)
        if any(row["support"] == 0 for row in wanted.per_class.values()):
            assert np.isnan(found.scalars["macro_f1"][draw])
            continue
        compared += 1
        for name, value in wanted.scalars.items():
            if value is not None:
                assert found.scalars[name][draw] == pytest.approx(value, abs=1e-9), name
        for k, name in enumerate(CLASSES):
            for metric, column in found.per_class.items():
                value = wanted.per_class[name][metric]
                if value is not None and not (metric == "precision" and wanted.per_class[name]["predicted"] == 0):
                    assert column[k, draw] == pytest.approx(value, abs=1e-9), (name, metric)
    assert compared >= 10


def test_ranked_metrics_are_scikit_learns_on_the_copied_rows() -> None:
    targets, scores = made("multiclass")
    data = decided(targets, scores, CLASSES, "multiclass")
    (found,) = replicate([Scorer(data, calibration=False)], 240, 5, seed=2)
    weights = np.concatenate(list(resamples(240, 5, seed=2)), axis=1)
    for draw in range(5):
        rows = np.repeat(np.arange(240), weights[:, draw].astype(int))
        truth, score = targets[rows] == 1, scores[rows, 1]
        assert found.per_class["auroc"][1, draw] == pytest.approx(roc_auc_score(truth, score), abs=1e-9)
        assert found.per_class["ap"][1, draw] == pytest.approx(average_precision_score(truth, score), abs=1e-9)
        wanted = f1_score(targets[rows], scores[rows].argmax(axis=1), average="macro")
        assert found.scalars["macro_f1"][draw] == pytest.approx(wanted, abs=1e-9)


@pytest.mark.parametrize("task", TASKS)
def test_the_values_are_those_of_the_metrics(task: Any) -> None:
    targets, scores = made(task)
    groups = grouped()
    point = np.eye(4, dtype=bool)[targets] if task == "multiclass" else targets.astype(bool)
    for decisions in (None, np.roll(point, 3, axis=0)):
        metrics = classification_metrics(targets, scores, CLASSES, task, decisions=decisions, groups=groups)
        found = metric_intervals(targets, scores, CLASSES, task, decisions=decisions, groups=groups, num_resamples=60)
        missing = {name for name, value in metrics.scalars.items() if value is not None} - set(found.scalars)
        assert missing == set()
        for name, interval in found.scalars.items():
            assert interval.value == pytest.approx(metrics.scalars[name], abs=1e-12), name
            assert interval.low <= interval.high
        for name, row in found.per_class.items():
            for metric, interval in row.items():
                assert interval.value == pytest.approx(metrics.per_class[name][metric], abs=1e-12), (name, metric)


def test_scipys_bootstrap_of_a_mean_agrees() -> None:
    """The Brier score without groups is a mean over records; scipy's percentile interval of it is ours."""
    targets, scores = made("multilabel", 200, ties=False)
    found = metric_intervals(targets, scores, CLASSES, "multilabel", num_resamples=4000).scalars["brier"]
    errors = ((scores - targets) ** 2).mean(axis=1)
    wanted = stats.bootstrap(
        (errors,), np.mean, n_resamples=4000, method="percentile", vectorized=True,
        confidence_level=1 - 2 * tail_share(200, 0.95), rng=np.random.default_rng(5),
    ).confidence_interval  # fmt: skip
    assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high), abs=0.05 * (wanted.high - wanted.low))


def test_the_bootstrap_interval_holds_as_often_as_it_says() -> None:
    """60 parts of 5 records, alike within a part: the true log-loss lies in 95 % (90 % or more of 100 trials)."""
    generator = np.random.default_rng(3)
    codes = np.repeat(np.arange(60), 5)
    kept = []
    for _ in range(100):
        level = generator.normal(0, 1, 60)[codes] + generator.normal(0, 0.3, 300)
        kept.append((np.clip(0.5 + 0.1 * level, 0.02, 0.98), np.zeros(300, int)))
    truth = np.mean([-np.log(1 - score).mean() for score, _ in kept])
    held = naive = 0
    for score, _ in kept:
        pair = np.stack([1 - score, score], axis=1)
        for groups in (codes, None):
            found = metric_intervals(
                np.zeros(300, int), pair, ("good", "bad"), "multiclass", groups=groups, num_resamples=150
            ).scalars["log_loss"]
            inside = found.low <= truth <= found.high
            held, naive = held + (inside and groups is not None), naive + (inside and groups is None)
    assert held / 100 >= 0.90
    assert naive / 100 < 0.80  # the same records, counted as if they were independent


def test_a_calibrated_model_may_be_called_calibrated() -> None:
    """Percentiles of a calibration error lie above it, and never reach the 0 of a model that is calibrated."""
    generator = np.random.default_rng(4)
    zero = 0
    for _ in range(40):
        score = generator.beta(4, 1.2, 300)
        truth = (generator.random(300) < score).astype(int)[:, None]
        found = metric_intervals(truth, score[:, None], ("scratch",), "multilabel", num_resamples=200)
        for name in ("ece", "ece_mass"):
            assert found.scalars[name].low <= found.scalars[name].value <= found.scalars[name].high
        zero += found.scalars["ece"].low == 0
    assert zero >= 37


def perfect(counts: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    targets = np.repeat(np.arange(len(counts)), counts)
    return targets, np.eye(len(counts))[targets] * 0.9 + 0.1 / len(counts)


def test_a_perfect_score_has_an_interval_that_admits_failure() -> None:
    """Every resample of a perfect score is perfect: [1, 1] after sixty parts would be a lie."""
    targets, scores = perfect((20, 20, 20))
    found = metric_intervals(targets, scores, CLASSES[:3], "multiclass", num_resamples=100)
    for name in ("accuracy", "macro_f1", "macro_recall", "balanced_accuracy", "weighted_f1", "auroc"):
        assert found.scalars[name].value == pytest.approx(1.0)
        assert 0.8 < found.scalars[name].low < 0.98, name
        assert found.scalars[name].high == pytest.approx(1.0)
    assert (found.per_class["a"]["recall"].low, 1.0) == pytest.approx(wilson(20, 20))
    assert (found.per_class["a"]["auroc"].low, 1.0) == pytest.approx(wilson(20, 20))
    assert found.per_class["a"]["auroc"].method == "pairs"
    assert "ap has no interval: every resample gives the same value" in found.notes
    multilabel = metric_intervals(np.eye(3)[targets], scores, CLASSES[:3], "multilabel", num_resamples=100)
    assert 0.8 < multilabel.scalars["balanced_accuracy"].low < 1
    assert 0.8 < multilabel.scalars["samples_f1"].low < 1


def test_a_perfect_macro_recall_is_no_surer_than_it_may_be() -> None:
    """Recall 0.99 in each of three classes of 20: a perfect draw comes often; its limit must not exceed 0.99 then."""
    found = metric_intervals(*perfect((20, 20, 20)), CLASSES[:3], "multiclass", num_resamples=50)
    assert found.scalars["macro_recall"].low < 0.99


def test_classes_of_few_parts_are_marked() -> None:
    targets, scores = perfect((30, 9, 10))
    found = metric_intervals(targets, scores, CLASSES[:3], "multiclass", num_resamples=50)
    assert found.too_few == ("b",)
    groups = [f"part {row // 6}" for row in range(49)]
    found = metric_intervals(targets, scores, CLASSES[:3], "multiclass", groups=groups, num_resamples=50)
    assert found.too_few == ("a", "b", "c")
    assert (found.unit, found.num_units) == ("group", 9)


def test_a_score_that_most_resamples_lack_has_no_interval_and_says_so() -> None:
    """Two classes with one part each are both drawn in 40 % of the resamples only."""
    targets, scores = made("multiclass", 60)
    targets = targets % 2
    targets[0], targets[1] = 2, 3
    found = metric_intervals(targets, scores, CLASSES, "multiclass", num_resamples=400)
    assert "macro_f1" not in found.scalars
    (told,) = [note for note in found.notes if note.startswith("macro_f1 ")]
    assert "of the resamples lack a class, and it is not defined there" in told
    assert "accuracy" in found.scalars


def test_a_class_without_examples_has_no_recall_to_judge() -> None:
    targets, scores = made("multiclass", 80)
    found = metric_intervals(np.minimum(targets, 2), scores, CLASSES, "multiclass", num_resamples=80)
    assert not {"recall", "f1", "auroc", "ap"} & set(found.per_class["d"])
    assert "macro_f1" in found.scalars
    assert "d" in found.too_few


def test_one_group_and_a_single_class_are_defined_without_nan() -> None:
    targets, scores = made("multiclass", 60)
    for truth, groups in ((targets, ["one"] * 60), (np.zeros(60, int), None), (np.zeros(60, int), ["one"] * 60)):
        found = metric_intervals(truth, scores, CLASSES, "multiclass", groups=groups, num_resamples=50)
        assert json.dumps(found.to_dict(), allow_nan=False)
        assert found.scalars["accuracy"].low < found.scalars["accuracy"].value < found.scalars["accuracy"].high
    assert found.num_units == 1
    assert found.scalars["accuracy"].high - found.scalars["accuracy"].low > 0.7
    assert "log_loss has no interval: there is one group only" in found.notes


def test_one_record_is_enough_not_to_fail() -> None:
    found = metric_intervals([0], [[0.7, 0.3]], ("a", "b"), "multiclass", num_resamples=10)
    assert (found.scalars["accuracy"].low, 1.0) == pytest.approx(wilson(1, 1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"probabilities": [[0.5, float("nan")]] * 4}, "expected numbers from 0 to 1, got nan in row 0"),
        ({"confidence": 1.0}, "confidence: expected a number between 0 and 1, got 1.0"),
        ({"num_resamples": 0}, "num_resamples: expected 1 resample or more, got 0; use 2000"),
        ({"groups": ["a"]}, "groups: expected a group .or None. for each of 4 records, got 1"),
        ({"decisions": [[True, True]] * 4}, "decisions: expected exactly one class a record"),
    ],
    ids=["nan", "confidence", "resamples", "groups", "decisions"],
)
def test_bad_input_is_one_clear_line(change: dict[str, Any], message: str) -> None:
    given = {"targets": [0, 1, 0, 1], "probabilities": [[0.5, 0.5]] * 4, "classes": ("a", "b"), "task": "multiclass"}
    with pytest.raises(DataError, match=message):
        metric_intervals(**(given | change))


def test_the_same_seed_gives_the_same_limits() -> None:
    targets, scores = made("multiclass")
    first, second, other = (
        metric_intervals(targets, scores, CLASSES, "multiclass", num_resamples=50, seed=seed) for seed in (1, 1, 2)
    )
    assert first == second
    assert first.scalars["macro_f1"] != other.scalars["macro_f1"]


def test_plain_values_hold_the_limits() -> None:
    found = metric_intervals(*made("multiclass"), CLASSES, "multiclass", num_resamples=50)
    values = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert isinstance(found, Intervals)
    assert values["scalars"]["accuracy"] == [found.scalars["accuracy"].low, found.scalars["accuracy"].high]
    assert values["per_class"]["a"]["recall"] == found.per_class["a"]["recall"].to_list()
    assert (values["unit"], values["num_units"], values["num_resamples"]) == ("record", 240, 50)


@pytest.mark.parametrize("task", TASKS)
def test_paired_differences_are_those_of_two_naive_loops(task: Any) -> None:
    targets, first = made(task)
    second = made(task, seed=1)[1]
    groups = grouped()
    found = paired_intervals(targets, first, second, CLASSES, task, groups=groups, num_resamples=40, seed=9)
    units = decided(targets, first, CLASSES, task, groups=groups).units
    weights = np.concatenate(list(resamples(units.num_units, 40, seed=9)), axis=1)
    drawn: dict[str, list[float]] = {"accuracy": [], "recall/b": []}
    for draw in range(40):
        rows = np.repeat(np.arange(240), weights[units.codes, draw].astype(int))
        a, b = (classification_metrics(targets[rows], scores[rows], CLASSES, task) for scores in (first, second))
        drawn["accuracy"].append(b.scalars["accuracy"] - a.scalars["accuracy"])
        drawn["recall/b"].append(b.per_class["b"]["recall"] - a.per_class["b"]["recall"])
    tail = tail_share(units.num_units, 0.95)
    for name, values in drawn.items():
        wanted = np.quantile(values, [tail, 1 - tail])
        assert (found[name].low, found[name].high) == pytest.approx(tuple(wanted), abs=1e-9)
    assert not {"ece", "ece_mass"} & set(found)


def test_equal_models_are_called_different_in_few_of_many_trials() -> None:
    generator = np.random.default_rng(6)
    wrong = 0
    for _ in range(120):
        truth = generator.integers(0, 2, 120)
        scores = [
            np.clip(np.eye(2)[truth] * 0.3 + 0.35 + 0.25 * generator.normal(size=(120, 1)) * [1, -1], 0.01, 0.99)
            for _ in range(2)
        ]
        pair = [score / score.sum(axis=1, keepdims=True) for score in scores]
        found = paired_intervals(truth, *pair, ("a", "b"), "multiclass", num_resamples=150)["macro_f1"]
        wrong += not found.low <= 0 <= found.high
    assert wrong / 120 <= 0.09


def test_mcnemar_by_hand_and_by_scipy() -> None:
    right = np.array([True, False])
    few = mcnemar(np.repeat(right, [9, 3]), np.repeat(~right, [9, 3]))
    assert (few.only_a, few.only_b, few.exact) == (9, 3, True)
    assert few.p_value == pytest.approx(stats.binomtest(3, 12).pvalue)
    many = mcnemar(np.repeat(right, [30, 10]), np.repeat(~right, [30, 10]))
    assert not many.exact
    assert many.p_value == pytest.approx(stats.chi2.sf((20 - 1) ** 2 / 40, 1))
    assert mcnemar(right, right).to_dict() == {"only_a": 0, "only_b": 0, "p_value": 1.0, "exact": True}
    assert mcnemar(np.repeat(right, 20), np.repeat(~right, 20)).p_value == 1.0
    with pytest.raises(DataError, match=r"mcnemar: expected two arrays .N,. of booleans"):
        mcnemar([0, 1], [True, False])


def test_percentiles_are_left_out_where_they_would_mislead() -> None:
    half = np.array([np.nan, np.nan, 0.1, 0.2])
    assert percentile_interval(half, 0.15, num_units=50, confidence=0.95) is not None
    assert percentile_interval(np.append(half, np.nan), 0.15, num_units=50, confidence=0.95) is None
    assert percentile_interval(np.full(4, 0.5), 0.5, num_units=50, confidence=0.95) is None
    assert percentile_interval(half, 0.15, num_units=1, confidence=0.95) is None


@pytest.mark.parametrize("rows", [1, 2, 3, 10, 99, 100, 101])
def test_running_sums_are_cumsums(rows: int) -> None:
    values = np.random.default_rng(0).integers(0, 9, (rows, 5)).astype(float)
    assert running_sum(values.copy()).tolist() == values.cumsum(axis=0).tolist()
