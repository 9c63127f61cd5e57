"""Engines on this processor: ONNX Runtime and OpenVINO against eager PyTorch, batch 1 and 8, in fp32 and INT8.

Through Ringlight's own bundle: each model is exported and proved on real images, quantised on others, and opened by
`OnnxEngine` and `OpenVinoEngine`. All engines have the same number of threads. They take turns within each round; the
ratio of a round is eager PyTorch's time over the engine's. Of six rounds or more the smallest and the largest ratio are
an interval of the median with 97 % confidence (order statistics: 1 - 2 / 2⁶).

Beside the speed stands the relative error of the scores (`score_error`) on images that nothing was calibrated on.
A model whose scores drift beyond the bound would be refused by `ringlight models export --int8`: it is marked so, its
worst layers named. Weights are random but for EfficientNet-Lite0's, whose package has real ones; what random
weights do to errors says little of trained ones (`int8_accuracy.py` has those).

Budget: a field of 0.5 m at 20 m/s leaves 25 ms an image; what is printed is the budget over the median of a single
image, 1 or more where it is met. Targets here are prototypes' ratios on a processor with VNNI and AMX (INT8 over eager
at batch 1): ResNet18 4.8 and 5.3, EfficientNet-Lite0 5.3 and 6.4, ConvNeXt-Tiny at 256 x 1600 2.6 and 3.0 (ONNX Runtime
and OpenVINO). Without VNNI an 8-bit product costs two instructions more, and less is gained. Usage:

    python benchmarks/engines.py [--rounds 7] [--threads 2] [--models resnet18 ...] [--batches 1 8] [--nncf]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from _data import real_data
from _engines import Opened, Subject, engines, processor, scores, subject
from ringlight.evaluation.score_error import score_error
from ringlight.inference.quantize import MAX_DRIFT
from ringlight.types import Prediction

BUDGET = 0.025
"""Seconds an image: a field of 0.5 m at 20 m/s."""
MODELS = ("resnet18", "efficientnet_b0", "tf_efficientnet_lite0", "convnext_tiny_cbam")
SECONDS = 0.25
"""A turn lasts at least so long, or one run."""


def made(name: str, *, quick: bool) -> Subject:
    """Build a model with real images of its own kind of part."""
    torch.manual_seed(0)
    if name == "convnext_tiny_cbam":
        strips = sorted(real_data("severstal-sample").rglob("*.jpg"))[: 6 if quick else 25]
        return subject(
            "ConvNeXt-Tiny-CBAM at 256 x 1600", name, (256, 1600), strips, num_judged=2 if quick else 9,
            params={"cbam_stages": [3, 4]}, num_classes=4,
        )  # fmt: skip
    images = sorted((real_data("neu-det") / "images").glob("*.jpg"))[:: 60 if quick else 5]
    title = {"resnet18": "ResNet18", "efficientnet_b0": "EfficientNet-B0"}.get(
        name, "EfficientNet-Lite0 (real weights)"
    )
    return subject(
        f"{title} at 224 x 224", name, (224, 224), images, num_judged=len(images) // 6,
        pretrained=name == "tf_efficientnet_lite0",
    )  # fmt: skip


def turn(opened: Opened, images: np.ndarray) -> list[float]:
    """Run an engine for a turn and return the seconds of each run."""
    seconds: list[float] = []
    while not seconds or sum(seconds) < SECONDS:
        started = time.perf_counter()
        opened.engine.run(images)
        seconds.append(time.perf_counter() - started)
    return seconds


def timed(found: Sequence[Opened], images: np.ndarray, rounds: int) -> dict[str, tuple[list[float], list[float]]]:
    """Return, by engine, the ratio of each round to the first engine and the seconds of every run."""
    for opened in found:
        opened.engine.run(images)  # memory is planned, kernels are chosen
    turns = [[turn(opened, images) for opened in found] for _ in range(rounds)]
    return {
        opened.name: (
            [statistics.median(one[0]) / statistics.median(one[column]) for one in turns],
            [seconds for one in turns for seconds in one[column]],
        )
        for column, opened in enumerate(found)
    }


def told_error(opened: Opened, reference: Prediction, images: np.ndarray) -> str:
    """Return how far an engine's scores are off, and whether the export's check would refuse it."""
    logits = scores(opened.engine, images)
    error = score_error(reference, Prediction(reference.ids, logits, reference.classes, reference.task))
    text = f"scores {100 * error.relative:8.4f} % off, probabilities {error.max_probability:.4f}"
    if opened.quantized is not None and error.relative > MAX_DRIFT:
        text += f"  REFUSED (bound {100 * MAX_DRIFT:g} %)"
        layers = ", ".join(map(str, opened.quantized.layers))
        text += f"; worst: {layers}" if layers else ""
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--models", choices=MODELS, nargs="+", default=list(MODELS))
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--nncf", action="store_true", help="quantise by NNCF as well")
    parser.add_argument("--quick", action="store_true", help="few images to calibrate and judge on: a look, no figure")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    print(f"{processor()}, {chosen.threads} thread(s) for each engine, {chosen.rounds} rounds", flush=True)
    met: list[tuple[float, str]] = []
    begun = time.perf_counter()
    for name in chosen.models:
        model = made(name, quick=chosen.quick)
        with tempfile.TemporaryDirectory() as folder:
            found = engines(
                model, Path(folder), threads=chosen.threads, num_checked=min(8, len(model.images)),
                with_nncf=chosen.nncf,
            )  # fmt: skip
            ids = [str(row) for row in range(len(model.images))]
            torch_scores = scores(found[0].engine, model.images)
            reference = Prediction(ids, torch_scores, model.bundle.classes, model.bundle.task)
            print(f"\n{model.name}: {len(model.calibration)} images to calibrate, {len(model.images)} to judge on")
            for opened in found[1:]:
                kept = "" if opened.quantized is None else f"; in fp32: {', '.join(opened.quantized.kept_float)}"
                print(f"  {opened.name:22} {told_error(opened, reference, model.images)}{kept}", flush=True)
            for batch in chosen.batches:
                images = np.concatenate([model.images] * (batch // len(model.images) + 1))[:batch]
                for title, (ratios, seconds) in timed(found, np.ascontiguousarray(images), chosen.rounds).items():
                    middle, tail = (1000 * float(np.quantile(seconds, share)) for share in (0.5, 0.99))
                    line = f"  batch {batch}  {title:22} {statistics.median(ratios):6.2f} times eager "
                    line += f"({min(ratios):.2f} to {max(ratios):.2f}); p50 {middle:8.2f} ms, p99 {tail:8.2f} ms"
                    if batch == 1:
                        line += f"; budget / p50 {1000 * BUDGET / middle:5.2f}"
                        met.append((BUDGET / (middle / 1000), f"{model.name}, {title}"))
                    print(line, flush=True)
    if met:
        best, worst_met = max(met), min((one for one in met if one[0] >= 1), default=None)
        print(f"\n25 ms an image (0.5 m at 20 m/s): {best[1]}: budget / p50 {best[0]:.2f}")
        meets = ", ".join(f"{title} ({ratio:.1f})" for ratio, title in sorted(met, reverse=True) if ratio >= 1)
        print(f"  met by: {meets}" if worst_met is not None else "  met by none")
    print(f"the whole took {(time.perf_counter() - begun) / 60:.1f} minutes")


if __name__ == "__main__":
    main()
