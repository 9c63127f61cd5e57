"""How long the whole evaluation of a 10,000-record run takes: rules on validation, metrics, intervals, curves, report.

Scores are drawn, not predicted: a classifier of six classes that is right nine times in ten and too sure of itself, on
records in groups of four. Everything else is what a run does after its last epoch: calibration, three operating points
with their certificates, every metric with 2,000 bootstrap resamples, figures and the report. The budget is about a
minute on two cores; printed beside it is the time of scikit-learn's scores in a plain loop of resamples, measured on a
few and multiplied up.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from ringlight.config.schema import EvaluationConfig, PointConfig
from ringlight.training.judge import verdict_of
from ringlight.training.pages import write_pages
from ringlight.training.rules import fix_rules
from ringlight.types import Dataset, Prediction, Record

CLASSES = ("good", "scratch", "dent", "stain", "crack", "chip")
SHARES = (0.6, 0.15, 0.1, 0.08, 0.05, 0.02)
BUDGET = 60.0
LOOP = 10


def drawn(count: int, seed: int) -> tuple[Dataset, Prediction]:
    """Return labelled records in groups of four, and overconfident scores for them."""
    rng = np.random.default_rng(seed)
    targets = np.repeat(rng.choice(len(CLASSES), (count + 3) // 4, p=SHARES), 4)[:count]
    records = [Record(id=f"r{row}", labels=(int(label),), group=f"g{row // 4}") for row, label in enumerate(targets)]
    data = Dataset.from_records(records, CLASSES, "multiclass", name="drawn")
    logits = rng.normal(0, 1.5, (count, len(CLASSES))) + 5.0 * np.eye(len(CLASSES))[targets]
    return data, Prediction(data.ids, (1.7 * logits).astype(np.float32), CLASSES, "multiclass", targets)


def results_of(data: Dataset, verdict_sections: dict[str, object]) -> dict[str, object]:
    """Return what a report needs beside the sections of a verdict."""
    counts = data.class_counts()
    part = {"num_records": len(data), "num_groups": len(set(data.groups or ())), "class_counts": counts}
    return {
        "schema_version": 2, "run": "drawn", "recipe": None, "experiment": None, "model": {"name": "drawn scores"},
        "hyper_parameters": {}, "loss": {"name": "none"}, "best": {"monitor": None}, "history": [], "timings": {},
        "dataset": {"name": "drawn", "fingerprint": data.fingerprint, "task": data.task, "classes": list(CLASSES),
                    "num_records": len(data), "class_counts": counts},
        "split": {"strategy": "drawn", "seed": 0, "groups": "drawn", "leak_check": "", "leaky": False, "leaks": [],
                  "probe": None, "parts": {"test": part}},
        "environment": {}, "notes": [], **verdict_sections,
    }  # fmt: skip


def loop_seconds(prediction: Prediction, resamples: int) -> float:
    """Return the time of scikit-learn's macro-F1, AUROC and AP over that many resamples, from a few of them."""
    rng = np.random.default_rng(0)
    targets, scores = np.asarray(prediction.targets), prediction.probabilities
    one_hot = np.eye(len(CLASSES))
    started = time.perf_counter()
    for _ in range(LOOP):
        rows = rng.integers(0, len(targets), len(targets))
        f1_score(targets[rows], scores[rows].argmax(1), average="macro")
        roc_auc_score(targets[rows], scores[rows], multi_class="ovr")
        average_precision_score(one_hot[targets[rows]], scores[rows], average="macro")
    return (time.perf_counter() - started) * resamples / LOOP


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=10_000)
    count = parser.parse_args().records
    settings = EvaluationConfig(
        operating_points={
            "max_f1": PointConfig(),
            "safe": PointConfig(kind="recall_at_least", label="crack", target=0.8),
            "cheap": PointConfig(kind="min_cost", escape_cost=50.0, overkill_cost=1.0, prevalence=0.02),
        }
    )
    (validation, scores), (data, prediction) = drawn(count, 1), drawn(count, 2)
    steps = [time.perf_counter()]
    rules = fix_rules(scores, validation.groups, settings, task="multiclass", classes=CLASSES, seed=0)
    steps.append(time.perf_counter())
    verdict = verdict_of("test", data, prediction, rules, settings, seed=0, in_chans=3)
    steps.append(time.perf_counter())
    with tempfile.TemporaryDirectory() as folder:
        write_pages(results_of(data, verdict.sections()), verdict.pictures, Path(folder))
        size = (Path(folder) / "report.html").stat().st_size
    steps.append(time.perf_counter())
    rules_s, judge_s, pages_s = np.diff(steps)
    print(f"{count:,} records, {len(CLASSES)} classes, groups of four, {settings.num_resamples:,} resamples")
    print(f"calibration and {len(rules.points)} operating points {rules_s:6.1f} s")
    print(f"metrics, intervals, curves, points on the test part {judge_s:6.1f} s")
    print(f"figures and report ({size / 1e6:.1f} MB) {pages_s:6.1f} s")
    total = steps[-1] - steps[0]
    loop = loop_seconds(prediction, settings.num_resamples)
    print(f"in all {total:.1f} s (budget about {BUDGET:.0f} s)")
    what = f"macro-F1, AUROC and AP alone in a loop of {settings.num_resamples:,} resamples"
    print(f"ratio {loop / total:.0f}: scikit-learn's {what} would take {loop:.0f} s (told from {LOOP})")


if __name__ == "__main__":
    main()
