"""A million judged records of ten classes: seconds and memory of all metrics, against scikit-learn's on the same data.

Each side runs in a process of its own, so that its memory is its own. Working memory is the most that Python and NumPy
allocated while judging (a second pass, since watching costs time); peak is the most the process held, with the
libraries, the scores (38 MiB in single precision) and their making. scikit-learn computes the ones of these scores that
it has, one call each. Budget for all metrics: 20 s and 2 GiB. Usage:

    python benchmarks/evaluation_speed.py [--records 1000000] [--classes 10] [--task multiclass]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from _data import peak_memory

Scores = dict[str, float]
Data = tuple[npt.NDArray[np.int64], npt.NDArray[np.float32], list[str]]
SIDES = ("ringlight", "scikit-learn")


def made(records: int, classes: int, task: str) -> Data:
    """Return truth, probabilities in single precision and class names; common classes and rare ones."""
    rng = np.random.default_rng(0)
    share = 1 / np.arange(1, classes + 1)
    true = rng.choice(classes, records, p=share / share.sum())
    logits = rng.standard_normal((records, classes), np.float32)
    logits[np.arange(records), true] += 2
    names = [f"class {k}" for k in range(classes)]
    if task == "multilabel":
        labels = (rng.random((records, classes)) < 0.05).astype(np.int64)
        labels[np.arange(records), true] = 1
        return labels, 1 / (1 + np.exp(-logits)), names
    scores = np.exp(logits, out=logits)
    scores /= scores.sum(axis=1, keepdims=True)
    return true, scores, names


def ringlight_scores(data: Data, task: str) -> Scores:
    from ringlight.evaluation.metrics import classification_metrics, flatten

    return flatten(classification_metrics(*data, task))


def scikit_scores(data: Data, task: str) -> Scores:
    from sklearn import metrics as sk

    truth, scores, names = data
    found: Scores = {}
    if task == "multiclass":
        guess = scores.argmax(axis=1)
        found["accuracy"] = sk.accuracy_score(truth, guess)
        found["balanced_accuracy"] = sk.balanced_accuracy_score(truth, guess)
        found["cohen_kappa"] = sk.cohen_kappa_score(truth, guess)
        found["weighted_kappa"] = sk.cohen_kappa_score(truth, guess, weights="quadratic")
        found["mcc"] = sk.matthews_corrcoef(truth, guess)
        found |= {f"top_{k}": sk.top_k_accuracy_score(truth, scores, k=k) for k in (2, 3, 5) if len(names) > k}
        found["log_loss"] = sk.log_loss(truth, scores)
        found["brier"] = sk.brier_score_loss(truth, scores)
        found["auroc"] = sk.roc_auc_score(truth, scores, multi_class="ovr")
    else:
        guess = (scores >= 0.5).astype(np.int64)
        found["subset_accuracy"] = sk.accuracy_score(truth, guess)
        found["hamming_loss"] = sk.hamming_loss(truth, guess)
        columns = range(len(names))
        found["log_loss"] = float(np.mean([sk.log_loss(truth[:, k], scores[:, k]) for k in columns]))
        found["brier"] = float(np.mean([sk.brier_score_loss(truth[:, k], scores[:, k]) for k in columns]))
        found["auroc"] = sk.roc_auc_score(truth, scores)
    found["ap"] = sk.average_precision_score(truth, scores)
    for average in ("macro", "micro", "weighted", *(["samples"] if task == "multilabel" else [])):
        values = sk.precision_recall_fscore_support(truth, guess, average=average, zero_division=0)
        found |= {
            f"{average}_{name}": value for name, value in zip(("precision", "recall", "f1"), values, strict=False)
        }
    return {name: float(value) for name, value in found.items()}


def measure(side: str, records: int, classes: int, task: str) -> None:
    """Run one side in this process and print its figures as JSON."""
    judge: Callable[[Data, str], Scores] = ringlight_scores if side == "ringlight" else scikit_scores
    judge(made(max(500, 20 * classes), classes, task), task)  # imports are no part of it
    data = made(records, classes, task)
    started = time.perf_counter()
    scores = judge(data, task)
    seconds = time.perf_counter() - started
    held = peak_memory()
    tracemalloc.start()
    judge(data, task)
    working = tracemalloc.get_traced_memory()[1] / 2**20
    print(json.dumps({"seconds": seconds, "working": working, "peak": held, "scores": scores}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--task", choices=("multiclass", "multilabel"), default="multiclass")
    parser.add_argument("--side", choices=SIDES, help="run one side and print its figures as JSON")
    chosen = parser.parse_args()
    if chosen.side:
        measure(chosen.side, chosen.records, chosen.classes, chosen.task)
        return
    print(f"{chosen.records:,} records, {chosen.classes} classes, {chosen.task}")
    print(f"{'':14}{'scores':>8}{'seconds':>9}{'working MiB':>13}{'peak MiB':>10}")
    found = {}
    for side in SIDES:
        done = subprocess.run(
            [sys.executable, __file__, *sys.argv[1:], "--side", side], check=True, capture_output=True
        )
        found[side] = json.loads(done.stdout)
        figures = found[side]
        line = f"{figures['seconds']:9.2f}{figures['working']:13.0f}{figures['peak']:10.0f}"
        print(f"{side:14}{len(figures['scores']):8d}{line}", flush=True)
    ours, theirs = (found[side] for side in SIDES)
    distance = max(abs(ours["scores"][name] - value) for name, value in theirs["scores"].items())
    ratios = [f"{theirs[name] / ours[name]:.1f} ({name})" for name in ("seconds", "working")]
    print(f"scikit-learn : ringlight = {', '.join(ratios)}")
    print(f"largest difference of a score both have: {distance:.1e}")


if __name__ == "__main__":
    main()
