"""NEU steel surfaces: can the probabilities be believed, before and after calibration?

70/15/15 by several seeds. The model is fitted on train, temperature scaling on the 270 validation images (kept only if
it lowers the held-out likelihood there), NLL and calibration error (ECE, 15 bins) are measured on the 270 test images.
Models: logistic regression on frozen EfficientNet-Lite0 features, once with the leak probe's penalty (C = 0.1), once
with scikit-learn's own (C = 1); with --fine-tune also the recipe `neu_lite0`, five epochs, some five minutes a seed on
two cores. The last rows of a model pool the test images of all seeds; 95 % intervals are bootstrapped over images, the
change's on the same resamples. ECE is never zero on so few images: `perfect` is what a model would show whose every
probability is true (mean of 200 draws of right and wrong from its own confidences).
Target: no NLL that is worse for the calibration beyond chance. Usage:

    python benchmarks/neu_calibration.py [--seeds 0 1 2 3 4] [--fine-tune]
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import ringlight as rl
from _data import real_data
from ringlight.data.content import hash_contents
from ringlight.data.folder import FolderSource
from ringlight.data.split import split_dataset
from ringlight.evaluation.calibration import fit_calibration
from ringlight.evaluation.intervals import Interval, metric_intervals, paired_intervals
from ringlight.evaluation.probabilities import calibration_error, expected_calibration_error, log_loss
from ringlight.training.features import Features, embedder, features_of
from ringlight.types import Dataset

Logits = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]
Scored = tuple[Rows, Rows, Logits]
"""Rows of validation and test, and the logits of all records (only those rows are looked at)."""


def frozen(dataset: Dataset, features: Features, strength: float) -> Callable[[int], Scored]:
    def fit(seed: int) -> Scored:
        split = split_dataset(dataset, strategy="stratified_70_15_15", seed=seed)
        model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=2000))
        model.fit(features[split.train], dataset.targets()[split.train])
        return split.val, split.test, model.decision_function(features)

    return fit


def fine_tuned(dataset: Dataset, root: Path) -> Callable[[int], Scored]:
    def fit(seed: int) -> Scored:
        with tempfile.TemporaryDirectory() as workspace:
            settings = [f"data.root='{root}'", f"experiment.seed={seed}", "split.strategy=stratified_70_15_15"]
            run = rl.train("neu_lite0", settings, workspace=workspace)
            with (run.folder / "split.csv").open(newline="", encoding="utf-8") as stream:
                home = {row["id"]: row["split"] for row in csv.DictReader(stream)}
            parts = np.array([home[key] for key in dataset.ids])
            judged = np.flatnonzero(parts != "train")
            result = rl.load(run).predict([str(dataset.uris[row]) for row in judged])
        logits = np.zeros((len(dataset), len(dataset.classes)))
        logits[judged] = result.prediction.logits  # before the run's own calibration
        return np.flatnonzero(parts == "val"), np.flatnonzero(parts == "test"), logits

    return fit


def softmax(logits: Logits) -> Logits:
    powers: Logits = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def measure(title: str, dataset: Dataset, fit: Callable[[int], Scored], seeds: Sequence[int]) -> None:
    print(f"\n{title}\nseed accuracy  NLL before   after  ECE before   after  perfect  temperature")
    targets = dataset.targets()
    pooled: list[tuple[Rows, Logits, Logits]] = []
    for seed in seeds:
        val, test, logits = fit(seed)
        calibration = fit_calibration(logits[val], targets[val], dataset.task, seed=seed)
        before, after = softmax(logits[test]), softmax(calibration.calibrator.apply(logits[test]).astype(float))
        pooled.append((test, before, after))
        accuracy = float((before.argmax(axis=1) == targets[test]).mean())
        nll, ece = ([score(targets[test], part) for part in (before, after)] for score in (log_loss, calibration_error))
        kept = f"{calibration.calibrator.temperature:.3f}" if calibration.accepted else "refused: does not help"
        scores = f"{nll[0]:12.4f} {nll[1]:7.4f} {ece[0]:11.4f} {ece[1]:7.4f} {perfect_error(after):8.4f}"
        print(f"{seed:4d} {accuracy:8.4f} {scores}  {kept}", flush=True)
    rows, before, after = (np.concatenate(column) for column in zip(*pooled, strict=True))
    arguments = (dataset.classes, dataset.task)
    first, last = (metric_intervals(targets[rows], part, *arguments, groups=rows).scalars for part in (before, after))
    change = paired_intervals(targets[rows], before, after, *arguments, groups=rows).get("log_loss")
    print(f"NLL  before {shown(first['log_loss'])}  after {shown(last['log_loss'])}  change {shown(change)}")
    print(f"ECE  before {shown(first['ece'])}  after {shown(last['ece'])}")


def perfect_error(probabilities: Logits) -> float:
    confidence, rng = probabilities.max(axis=1), np.random.default_rng(0)
    draws = (rng.random(len(confidence)) < confidence for _ in range(200))
    return float(np.mean([expected_calibration_error(confidence, right) for right in draws]))


def shown(interval: Interval | None) -> str:
    return "none" if interval is None else f"{interval.value:.4f} [{interval.low:.4f}, {interval.high:.4f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--fine-tune", action="store_true")
    chosen = parser.parse_args()
    root = real_data("neu-det") / "images"
    dataset = hash_contents(FolderSource(root, label_regex=r"^(.+)_\d+\.jpg$").load())
    eyes = embedder()
    features = features_of(dataset, eyes)
    for strength in (0.1, 1.0):
        title = f"logistic regression (C = {strength:g}) on {eyes.title}"
        measure(title, dataset, frozen(dataset, features, strength), chosen.seeds)
    if chosen.fine_tune:
        measure("recipe neu_lite0, fine-tuned", dataset, fine_tuned(dataset, root), chosen.seeds)


if __name__ == "__main__":
    main()
