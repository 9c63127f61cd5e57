"""The one-minute path: a head on frozen features against fine-tuning the same backbone; NEU, 1,800 images of 200 px.

One run of each, EfficientNet-Lite0 with its packaged weights at the same image size and the same split:

* `frozen`: from the folder to the report, features included; then once more, with the features kept.
* `finetune`: until its validation macro-F1 is within 99 % of the frozen one's, or --epochs are over.
* grouped 5-fold cross-validation of the frozen head with 3 seeds, penalty chosen anew in each fold, against one pass
  of all images through the backbone.

Targets: 99 % accuracy; fine-tuning takes 10 times as long end to end, and 50 times as long as a refit on kept features;
the 15 folds and the one pass that they share cost 1.2 times that pass. Usage:

    python benchmarks/frozen_finetune.py [--image-size 224] [--epochs 6]
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from _data import real_data
from ringlight.data.folds import make_folds
from ringlight.errors import InterruptedRunError
from ringlight.evaluation.metrics import classification_metrics
from ringlight.services.runs import configure, plan, train
from ringlight.training.frozen import Frozen
from ringlight.types import Prediction

LABELS = r"data.label_regex=^(.+)_\d+\.jpg$"


class Watch:
    """Notes when each epoch ends and its validation macro-F1, and ends the run once `target` is reached."""

    def __init__(self, target: float) -> None:
        self.target = target
        self.started = time.perf_counter()
        self.first_step: float | None = None
        self.epochs: list[tuple[float, float]] = []

    def heartbeat(self, progress: Mapping[str, float]) -> str:  # noqa: ARG002
        """Stop at the first step after the target."""
        self.first_step = self.first_step or time.perf_counter()
        return "cancel" if self.epochs and self.epochs[-1][1] >= self.target else "go"

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:  # noqa: ARG002
        """Take the epoch's score."""
        if "val/macro_f1" in metrics:
            self.epochs.append((time.perf_counter() - self.started, metrics["val/macro_f1"]))

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Not wanted."""

    def log_figure(self, name: str, figure: Any, step: int) -> None:
        """Not wanted."""

    def log_artifact(self, path: Path) -> None:
        """Not wanted."""

    def set_status(self, status: str) -> None:
        """Not wanted."""


def frozen_run(overrides: list[str], workspace: Path) -> tuple[float, dict[str, Any]]:
    started = time.perf_counter()
    found = train("frozen", overrides, workspace=workspace)
    return time.perf_counter() - started, found.results


def folds(overrides: list[str], workspace: Path) -> tuple[float, float, float]:
    """Return seconds of a pass, seconds of 15 folds, and their mean out-of-fold accuracy."""
    made = plan(configure("frozen", [*overrides, "imbalance=none"]), workspace)
    frozen = Frozen.of_plan(made)
    started = time.perf_counter()
    table = frozen.table()
    passed = time.perf_counter() - started
    accuracies = []
    started = time.perf_counter()
    for seed in range(3):
        for rows, held in make_folds(made.dataset, num_folds=5, kind="group", seed=seed):
            part = made.dataset.take(rows)
            fitted = frozen.fit(part, table.features[rows])
            test = made.dataset.take(held)
            logits = fitted.scores(torch.as_tensor(table.features[held])).numpy()
            scored = Prediction(test.ids, logits, test.classes, test.task, test.targets())
            metrics = classification_metrics(test.targets(), scored.probabilities, test.classes, test.task)
            accuracies.append(float(metrics.scalars["accuracy"] or 0))
    return passed, time.perf_counter() - started, float(np.mean(accuracies))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--epochs", type=int, default=6)
    chosen = parser.parse_args()
    common = [f"data.root={real_data('neu-det') / 'images'}", LABELS, f"data.image_size={chosen.image_size}"]
    common.append("model.pretrained=true")
    with tempfile.TemporaryDirectory() as name:
        passed, folded, accuracy = folds(common, Path(name))
    print(f"{chosen.image_size} px; one pass {passed:.1f} s, 15 folds {folded:.1f} s (mean accuracy {accuracy:.4f})")
    print(f"  pass and folds / pass: {(passed + folded) / passed:.2f} (target 1.2)", flush=True)
    with tempfile.TemporaryDirectory() as name:
        whole, results = frozen_run(common, Path(name))
        _, again = frozen_run(common, Path(name))
        scalars, target = results["test"]["scalars"], 0.99 * results["best"]["metrics"]["val/macro_f1"]
        refit = again["timings"]["fit"]
    print(f"frozen: accuracy {scalars['accuracy']:.4f}, macro-F1 {scalars['macro_f1']:.4f} (target 0.99)")
    print(f"  folder to report {whole:.1f} s (about a minute), refit on kept features {refit:.2f} s", flush=True)
    with tempfile.TemporaryDirectory() as name:
        watch = Watch(target)
        settings = [
            "training.mode=finetune",
            "imbalance=none",
            "augmentation=light",
            f"training.num_epochs={chosen.epochs}",
        ]
        settings += ["training.early_stopping_patience=null", "scheduler.warmup_epochs=1", "evaluation.num_mistakes=0"]
        with contextlib.suppress(InterruptedRunError):
            train("frozen", [*common, *settings], workspace=name, control=watch, trackers=[watch])
    seconds = watch.epochs[-1][0]
    fit = watch.started + seconds - (watch.first_step or watch.started)
    told = ", ".join(f"{score:.4f} after {when:.0f} s" for when, score in watch.epochs)
    reached = "reached" if watch.epochs[-1][1] >= target else "not reached"
    print(f"finetune: validation macro-F1 {told}; {target:.4f} {reached}")
    print(f"  finetune / frozen, whole commands: {seconds / whole:.1f} (target 10)")
    print(f"  finetune / pass and fit alone: {fit / (passed + refit):.1f}")
    print(f"  finetune / refit on kept features: {fit / refit:.0f} (target 50)")


if __name__ == "__main__":
    main()
