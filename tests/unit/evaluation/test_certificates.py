"""Certificates hold: against naive loops, against scipy's exact intervals, and in a thousand simulated validations."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from ringlight.evaluation.certificates import (
    _GRID,
    _STARTS,
    Certificate,
    expected_recall_threshold,
    group_extremes,
    needed_for_expected_recall,
    needed_for_precision,
    needed_for_recall,
    precision_threshold,
    recall_threshold,
)

RESAMPLES = 1000
NOISE = 3 * (0.05 * 0.95 / RESAMPLES) ** 0.5
"""Three standard errors of a rate of 5 % in a thousand tries."""


@pytest.mark.parametrize(("target", "needed"), [(0.9, 29), (0.98, 149), (0.99, 299), (0.999, 2995), (0.95, 59)])
def test_the_sample_size_is_the_least_whose_flawless_record_proves_the_recall(target: float, needed: int) -> None:
    assert needed_for_recall(target, 0.95) == needed
    assert target**needed <= 0.05 < target ** (needed - 1)
    assert recall_threshold(np.linspace(0.5, 1, needed), target=target, confidence=0.95) is not None
    assert recall_threshold(np.linspace(0.5, 1, needed - 1), target=target, confidence=0.95) is None


def test_the_recall_threshold_is_that_of_a_naive_loop() -> None:
    generator = np.random.default_rng(0)
    for count in (30, 149, 400, 1111):
        scores = generator.random(count)
        allowed = [k for k in range(1, count + 1) if stats.binom.cdf(k - 1, count, 0.1) <= 0.05]
        proved = recall_threshold(scores, target=0.9, confidence=0.95)
        assert proved is not None
        assert proved.threshold == sorted(scores)[max(allowed) - 1]
        assert proved.misses == max(allowed) - 1 == (scores < proved.threshold).sum()


def test_the_recall_bound_is_the_exact_binomial_one() -> None:
    """One-sided 95 % is the lower end of Clopper and Pearson's two-sided 90 %."""
    proved = recall_threshold(np.random.default_rng(1).random(500), target=0.95, confidence=0.95)
    assert proved is not None
    exact = stats.binomtest(proved.num_units - proved.misses, proved.num_units).proportion_ci(0.90, "exact").low
    assert proved.bound == pytest.approx(exact, abs=1e-9)
    assert proved.bound >= 0.95


def test_equal_scores_are_never_counted_as_missed() -> None:
    proved = recall_threshold([0.5] * 200, target=0.9, confidence=0.95)
    assert proved is not None
    assert (proved.threshold, proved.misses) == (0.5, 0)
    assert recall_threshold([], target=0.9, confidence=0.95) is None


@pytest.mark.parametrize(("count", "target"), [(149, 0.98), (300, 0.95), (90, 0.9)])
def test_a_recall_certificate_is_violated_in_at_most_five_percent(count: int, target: float) -> None:
    """Scores are uniform, so the true recall of threshold t is 1 - t. Nearly 5 % are: the bound is exact, not lax."""
    scores = np.random.default_rng(2).random((RESAMPLES, count))
    proved = [recall_threshold(row, target=target, confidence=0.95) for row in scores]
    violated = np.mean([1 - one.threshold < target for one in proved if one is not None])
    assert len([one for one in proved if one is not None]) == RESAMPLES
    assert 0.02 < violated <= 0.05 + NOISE


def test_pictures_of_one_part_are_one_piece_of_evidence() -> None:
    """Six exposures of a part look alike: counted as records, 25 parts pass for 150 and prove what they cannot."""
    parts = np.random.default_rng(3).random((RESAMPLES, 149))
    codes = np.repeat(np.arange(25), 6)
    wrong = 0
    for row in parts:
        records = np.repeat(row[:25], 6)
        naive = recall_threshold(records, target=0.98, confidence=0.95)
        assert naive is not None
        wrong += 1 - naive.threshold < 0.98
        least = group_extremes(records, codes, np.minimum)
        assert recall_threshold(least, target=0.98, confidence=0.95) is None
    assert wrong / RESAMPLES > 0.5


def test_group_extremes_are_those_of_a_loop_and_skip_absent_groups() -> None:
    values, codes = np.array([0.4, 0.9, 0.1, 0.8]), np.array([5, 2, 5, 2])
    assert group_extremes(values, codes, np.minimum).tolist() == [0.8, 0.1]
    assert group_extremes(values, codes, np.maximum).tolist() == [0.9, 0.4]
    assert group_extremes(np.zeros(0), np.zeros(0, np.int64), np.maximum).tolist() == []


def naive_precision(scores: np.ndarray, truth: np.ndarray, target: float) -> float | None:
    found, budget = None, 0.0
    for index, threshold in enumerate(_GRID):
        budget += 0.05 / 6 if index in _STARTS else 0.0
        flagged = scores >= threshold
        right = int(truth[flagged].sum())
        if flagged.any() and budget and stats.binom.sf(right - 1, int(flagged.sum()), target) <= budget:
            found = threshold
        else:
            budget = 0.0
    return found


def test_the_precision_threshold_is_that_of_a_naive_loop() -> None:
    generator = np.random.default_rng(4)
    found = []
    for count in (50, 200, 800, 3000):
        scores = generator.random(count)
        truth = generator.random(count) < scores**0.5
        proved = precision_threshold(scores, truth, target=0.8, confidence=0.95)
        assert (None if proved is None else proved.threshold) == naive_precision(scores, truth, 0.8)
        found.append(proved)
        if proved is not None:
            flagged = scores >= proved.threshold
            assert (proved.num_units, proved.misses) == (flagged.sum(), (flagged & ~truth).sum())
            assert proved.bound >= 0.8 - 1e-9
    assert found[0] is None
    assert found[-1] is not None


def test_a_precision_certificate_is_violated_in_at_most_five_percent() -> None:
    """Scores s are uniform and right with probability sqrt(s): above t the precision is 2/3 (1 - t^1.5) / (1 - t)."""
    generator = np.random.default_rng(5)
    scores = generator.random((RESAMPLES, 1500))
    truth = generator.random(scores.shape) < scores**0.5
    proved = [
        precision_threshold(row, labels, target=0.9, confidence=0.95) for row, labels in zip(scores, truth, strict=True)
    ]
    given = [one for one in proved if one is not None]
    assert len(given) > RESAMPLES / 4
    assert len({one.threshold for one in given}) > 10
    levels = np.array([one.threshold for one in given])
    assert (2 / 3 * (1 - levels**1.5) / (1 - levels) < 0.9).sum() / RESAMPLES <= 0.05 + NOISE


def test_a_group_with_one_false_alarm_is_a_false_alarm() -> None:
    scores, truth = np.full(400, 0.9), np.ones(400, bool)
    codes = np.repeat(np.arange(100), 4)
    truth[::40] = False  # a record each of ten groups
    proved = precision_threshold(scores, truth, target=0.7, confidence=0.95, groups=codes)
    assert proved is not None
    assert (proved.num_units, proved.misses) == (100, 10)


def test_precision_needs_enough_flagged_units() -> None:
    needed = needed_for_precision(0.95, 0.95)
    assert 0.95**needed <= 0.05 / 6 < 0.95 ** (needed - 1)
    for count, given in ((needed, True), (needed - 1, False)):
        proved = precision_threshold(np.full(count, 0.999), np.ones(count, bool), target=0.95, confidence=0.95)
        assert (proved is not None and proved.misses == 0) is given


def naive_expected(scores: np.ndarray, truth: np.ndarray, codes: np.ndarray, target: float) -> float:
    labelled = truth.any(axis=1)
    best = -1.0
    for threshold in np.unique(scores[truth]):
        loss = (truth & (scores < threshold)).sum(axis=1)[labelled] / truth.sum(axis=1)[labelled]
        worst = [loss[codes[labelled] == group].max() for group in np.unique(codes[labelled])]
        if (np.sum(worst) + 1) / (len(worst) + 1) <= 1 - target + 1e-12:
            best = max(best, float(threshold))
    return best


@pytest.mark.parametrize("size", [1, 4])
def test_the_expected_recall_threshold_is_that_of_a_naive_loop(size: int) -> None:
    generator = np.random.default_rng(6)
    for _ in range(5):
        truth = generator.random((200, 3)) < 0.4
        scores = np.round(np.clip(0.5 * truth + generator.random(truth.shape) * 0.7, 0, 1), 2)
        codes = np.arange(200) // size
        proved = expected_recall_threshold(scores, truth, target=0.9, groups=codes)
        assert proved is not None
        assert proved.threshold == naive_expected(scores, truth, codes, 0.9)
        assert proved.misses == (truth & (scores < proved.threshold)).sum()
        assert proved.bound >= 0.9 - 1e-9


def test_the_expected_recall_is_held_on_average_and_hardly_exceeded() -> None:
    """Scores of present labels have the distribution t^5, so the expected share missed at t is t^5 itself."""
    generator = np.random.default_rng(7)
    missed = []
    for _ in range(RESAMPLES):
        truth = generator.random((100, 4)) < 0.5
        scores = np.where(truth, generator.random(truth.shape) ** (1 / 5), 0.0)
        proved = expected_recall_threshold(scores, truth, target=0.9)
        assert proved is not None
        missed.append(proved.threshold**5)
    error = np.std(missed) / RESAMPLES**0.5
    assert np.mean(missed) <= 0.1 + 3 * error
    assert np.mean(missed) >= 0.1 - 2 / 100 - 3 * error  # the theorem's own distance: within 2 B / (n + 1)


def test_too_few_labelled_units_bound_no_expectation() -> None:
    assert needed_for_expected_recall(0.98) == 49
    for count, given in ((49, True), (48, False)):
        proved = expected_recall_threshold(np.full((count, 2), 0.7), np.ones((count, 2), bool), target=0.98)
        assert (proved is not None) is given
    assert expected_recall_threshold(np.ones((50, 2)), np.zeros((50, 2), bool), target=0.9) is None


def test_a_certificate_says_what_it_proves_and_survives_json() -> None:
    certificate = Certificate(
        kind="risk_control", measure="recall", label=None, target=0.98, bound=0.98099, confidence=None,
        num_positives=60, misses=1, needed=49, unit="group",
    )  # fmt: skip
    assert certificate.sentence == "expected recall is at least 0.980 (60 groups with a label, missed labels: 1)"
    assert Certificate.from_dict(certificate.to_dict()) == certificate
    precise = Certificate(
        kind="binomial", measure="precision", label="dent", target=0.9, bound=0.9012, confidence=0.99,
        num_positives=80, misses=2, needed=42,
    )  # fmt: skip
    assert precise.sentence == (
        "precision of dent is at least 0.901 with 99 % confidence (80 flagged records, false alarms: 2)"
    )
