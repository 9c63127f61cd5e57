"""Metric learning in phases on few labelled images: what each phase adds, and what the small student keeps.

NEU steel surfaces at 96 px, the small hybrid of a ConvNeXt-V2 and a Swin-V2 from random weights, few training images a
class, all others judged. For each seed, on one split:

* cross-entropy: the hybrid, trained the ordinary way for as many epochs as the two phases below have together;
* + SupCon: the contrastive warm start, then a plain linear classifier;
* + margin: the same warm start, then an ArcFace head;
* student: a MobileNetV3-Small taught by the margin model; and the same network alone, as long, by the labels only.

Printed are accuracy and macro-F1 with their 95 % intervals, recall@1 and mAP@R of the embedding, and how many times
faster the student scores a picture than its teacher. Then open set: each run holds one class out of training; energy
and the distance to class means tell it from the known ones (AUROC), on the embedding of the margin model and on frozen
features. Usage:

    python benchmarks/metric_learning.py [--seeds 0 1 2] [--per-class 24] [--quick]
        [--only phases|open_set|open_set_frozen]
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch

import ringlight as rl
from _data import real_data

TEST = 60
"""Test images of a class."""
HELD_OUT = ("crazing", "scratches")
"""Classes that the open-set study holds out, in turn."""


def parts(folder: Path, images: Path, per_class: int, seed: int) -> Path:
    """Link `per_class` training images of each class, a quarter of them for validation, and TEST others."""
    rng = np.random.default_rng(seed)
    for name in sorted({path.name.rpartition("_")[0] for path in images.glob("*.jpg")}):
        files = sorted(images.glob(f"{name}_*.jpg"))
        order = [files[row] for row in rng.permutation(len(files))]
        held = max(2, per_class // 4)
        for part, some in (
            ("val", order[:held]), ("train", order[held:per_class]), ("test", order[per_class : per_class + TEST]),
        ):  # fmt: skip
            target = folder / part / name
            target.mkdir(parents=True)
            for path in some:
                os.link(path, target / path.name)
    return folder


def settings(root: Path, seed: int, scale: float) -> list[str]:
    """Return what all runs have in common; `scale` shortens every phase."""

    def epochs(count: int) -> int:
        return max(1, round(count * scale))

    return [
        f"data.root={root}", "split=predefined", "split.groups=none", "split.allow_leak=true", "split.leak_probe=false",
        "data.image_size=96", "data.batch_size=16", "model.pretrained=false", f"experiment.seed={seed}",
        f"supcon.num_epochs={epochs(15)}", f"margin.num_epochs={epochs(15)}", f"distill.num_epochs={epochs(30)}",
        "training.tensorboard=false", "training.restore=last",
    ]  # fmt: skip


def seconds_a_picture(run: Path) -> float:
    """Return the median time a loaded model takes to score one picture of 96 px, in seconds."""
    module = rl.load(run).module
    picture, times = torch.randn(1, 3, 96, 96), []
    with torch.inference_mode():
        for _ in range(30):
            started = time.perf_counter()
            module(picture)
            times.append(time.perf_counter() - started)
    return float(np.median(times[5:]))


def line(name: str, seed: int, results: dict[str, Any], minutes: float) -> None:
    """Print one model's scores."""
    scalars, intervals = results["test"]["scalars"], results["test"]["intervals"]["scalars"]
    told = []
    for score in ("accuracy", "macro_f1"):
        low, high = intervals.get(score) or (float("nan"), float("nan"))
        told.append(f"{scalars[score]:.3f} [{low:.3f}, {high:.3f}]")
    retrieval = results["retrieval"]
    found = f"recall@1 {retrieval['recall_at']['1']:.3f}  mAP@R {retrieval['map_at_r']:.3f}"
    print(f"{name:28} seed {seed}  accuracy {told[0]}  macro-F1 {told[1]}  {found}  {minutes:.1f} min", flush=True)


def study(images: Path, seed: int, per_class: int, scale: float) -> None:
    """Train the five models of one seed and print a line for each."""
    with tempfile.TemporaryDirectory(dir=images.parents[1]) as scratch:
        root = parts(Path(scratch) / "data", images, per_class, seed)
        common, workspace = settings(root, seed, scale), Path(scratch) / "ws"

        def train(name: str, *overrides: str) -> Any:
            started = time.perf_counter()
            run = rl.train("metric_learning", [*common, *overrides], workspace=workspace)
            line(name, seed, run.results, (time.perf_counter() - started) / 60)
            return run

        both = max(1, round(15 * scale)) * 2
        train("cross-entropy", "phases=null", f"training.num_epochs={both}")
        warm = train("SupCon alone (neighbours)", "phases=[supcon]")
        start = f"margin.start_from={warm.folder}"
        train("+ SupCon, linear", "phases=[margin]", start, "margin.head=linear")
        teacher = train("+ SupCon, ArcFace", "phases=[margin]", start)
        student = train("student, distilled", "phases=[distill]", f"distill.teacher={teacher.folder}")
        train("student network alone", "phases=null", "model.name=mobilenetv3_small_100", f"training.num_epochs={both}")
        times = seconds_a_picture(teacher.folder), seconds_a_picture(student.folder)
        print(f"{'':28} seed {seed}  the student scores a picture {times[0] / times[1]:.1f} times faster", flush=True)


def open_set(images: Path, seed: int, per_class: int, scale: float, kinds: Sequence[str]) -> None:
    """Hold classes out in turn, and print how well they are told from the known ones.

    By the metric-learning model from random weights, and by a head on the frozen features of the packaged
    EfficientNet-Lite0, with half of all images to train on.
    """
    with tempfile.TemporaryDirectory(dir=images.parents[1]) as scratch:
        root, half = parts(Path(scratch) / "data", images, per_class, seed), Path(scratch) / "half"
        recipes = {
            "phases": ("metric_learning", [*settings(root, seed, scale), "phases=[supcon,margin]"]),
            "frozen": ("frozen", [
                f"data.root={parts(half, images, 150, seed)}", "split=predefined", "split.groups=none",
                "split.allow_leak=true", "split.leak_probe=false", f"experiment.seed={seed}", "data.image_size=224",
            ]),
        }  # fmt: skip
        for kind, name in product(kinds, HELD_OUT):
            recipe, overrides = recipes[kind]
            held = [f"split.held_out_class={name}", "evaluation.open_set=both"]
            run = rl.train(recipe, [*overrides, *held], workspace=Path(scratch) / "ws")
            told = []
            for score, found in run.results["open_set"]["scores"].items():
                auroc = found["auroc"]
                told.append(f"{score} AUROC {auroc['value']:.3f} [{auroc['low']:.3f}, {auroc['high']:.3f}]")
            reached = run.results["open_set"]["reached"]
            kept, flagged = reached["known_accepted"]["value"], reached["unknown_flagged"]["value"]
            print(
                f"{kind}, {name} held out, seed {seed}: {', '.join(told)}; at the stored limits {kept:.0%} of "
                f"the known are accepted and {flagged:.0%} of {name} flagged", flush=True,
            )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--per-class", type=int, default=24)

    parser.add_argument("--quick", action="store_true", help="a tenth of the epochs: shows that it works")
    parser.add_argument("--only", choices=("phases", "open_set", "open_set_frozen"))
    asked = parser.parse_args()
    images, scale = real_data("neu-det") / "images", 0.1 if asked.quick else 1.0
    for seed in asked.seeds:
        if asked.only in (None, "phases"):
            study(images, seed, asked.per_class, scale)
    if asked.only != "phases":
        kinds = ("frozen",) if asked.only == "open_set_frozen" else ("phases", "frozen")
        open_set(images, asked.seeds[0], asked.per_class, scale, kinds)


if __name__ == "__main__":
    main()
