"""Seconds for the intervals of every score, 2,000 resamples of 10,000 records x 6 classes on one core. Budget: 10 s.

Beside it the obvious loop, which copies the drawn rows and calls scikit-learn: measured on a few resamples in the same
run and multiplied up.
"""

from __future__ import annotations

import time

import numpy as np
from sklearn.metrics import (
    average_precision_score,
    brier_score_loss,
    cohen_kappa_score,
    log_loss,
    matthews_corrcoef,
    precision_recall_fscore_support,
    roc_auc_score,
)
from threadpoolctl import threadpool_limits

from ringlight.evaluation.intervals import metric_intervals, paired_intervals

RECORDS, CLASSES, RESAMPLES, LOOP_RESAMPLES = 10_000, 6, 2_000, 10
NAMES = [f"class {k}" for k in range(CLASSES)]


def prediction(task: str, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    noise = generator.normal(size=(RECORDS, CLASSES))
    if task == "multiclass":
        targets = np.random.default_rng(0).choice(CLASSES, RECORDS, p=[0.5, 0.2, 0.1, 0.1, 0.06, 0.04])
        noise[np.arange(RECORDS), targets] += 2
        odds = np.exp(noise)
        return targets, odds / odds.sum(axis=1, keepdims=True)
    targets = (np.random.default_rng(0).random((RECORDS, CLASSES)) < 0.15).astype(int)
    return targets, 1 / (1 + np.exp(-(noise + 3 * targets - 2)))


def judge_by_scikit_learn(targets: np.ndarray, scores: np.ndarray, task: str) -> None:
    decided = scores.argmax(axis=1) if task == "multiclass" else (scores >= 0.5).astype(int)
    for average in (None, "macro", "micro", "weighted"):
        precision_recall_fscore_support(targets, decided, average=average, zero_division=0)
    for k in range(CLASSES):
        truth = targets == k if task == "multiclass" else targets[:, k]
        roc_auc_score(truth, scores[:, k])
        average_precision_score(truth, scores[:, k])
        brier_score_loss(truth, scores[:, k])
        if task == "multilabel":
            log_loss(truth, scores[:, k])
    if task == "multiclass":
        log_loss(targets, scores)
        cohen_kappa_score(targets, decided)
        matthews_corrcoef(targets, decided)


def loop_seconds(targets: np.ndarray, scores: np.ndarray, task: str) -> float:
    """Seconds of one resample of the obvious loop."""
    generator = np.random.default_rng(0)
    started = time.perf_counter()
    for _ in range(LOOP_RESAMPLES):
        rows = generator.integers(0, RECORDS, RECORDS)
        judge_by_scikit_learn(targets[rows], scores[rows], task)
    return (time.perf_counter() - started) / LOOP_RESAMPLES


def main() -> None:
    with threadpool_limits(1):
        measure()


def measure() -> None:
    groups = np.random.default_rng(1).integers(0, 2_000, RECORDS)
    for task in ("multiclass", "multilabel"):
        targets, scores = prediction(task)
        for told, given in (("records", None), ("2,000 groups", groups)):
            started = time.perf_counter()
            metric_intervals(targets, scores, NAMES, task, groups=given, num_resamples=RESAMPLES)
            ours = time.perf_counter() - started
            loop = loop_seconds(targets, scores, task) * RESAMPLES
            print(f"{task:10} {told:12}  {ours:5.1f} s   the obvious loop {loop:6.0f} s   {loop / ours:4.0f} times")
        started = time.perf_counter()
        paired_intervals(targets, scores, prediction(task, seed=1)[1], NAMES, task, num_resamples=RESAMPLES)
        print(f"{task:10} two runs, paired differences: {time.perf_counter() - started:.1f} s")


if __name__ == "__main__":
    main()
