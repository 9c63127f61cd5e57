"""What INT8 costs where there are trained weights: EfficientNet-Lite0 on NEU, every image out of fold.

Five grouped folds of 1,800 images: in each the packaged backbone gets a head fitted to the training images (`frozen`),
the whole network is exported and proved, quantised on training images alone, and scores the images held out, as
PyTorch does. Put together, every image is judged once by a model that never saw it; `accept_int8` compares the two
with their paired interval (groups whole), as `ringlight models export --int8` does.

Target: the interval of the macro-F1 loss includes 0.2 points or less; no image is calibrated on and judged. Usage:

    python benchmarks/int8_accuracy.py [--engine onnxruntime|openvino] [--nncf] [--folds 5] [--calibration 300]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from _data import real_data
from _engines import in_batches, processor, scores
from ringlight.config.schema import EvaluationConfig
from ringlight.data.folds import make_folds
from ringlight.data.preprocess import InputSpec, prepare
from ringlight.inference.bundle import Bundle
from ringlight.inference.engine_onnx import OnnxEngine
from ringlight.inference.engine_openvino import OpenVinoEngine
from ringlight.inference.engines import Engine, TorchEngine
from ringlight.inference.export import ExportOptions, export_model
from ringlight.inference.export_parity import Sample
from ringlight.inference.quantize import CALIBRATION_RECORDS, Quantized, calibration_rows, refuse_leak
from ringlight.inference.quantize_onnx import quantize_onnx
from ringlight.inference.quantize_openvino import quantize_openvino
from ringlight.services.runs import configure, plan
from ringlight.training.accept_int8 import accept_int8
from ringlight.training.frozen import Frozen
from ringlight.types import Dataset, Prediction

LABELS = r"data.label_regex=^(.+)_\d+\.jpg$"
TARGET = 0.002
NUM_PROVED = 40
"""Training images on which each fold's export is proved."""


class Study:
    """The folds' models: fitted, exported, quantised, scored."""

    def __init__(self, chosen: argparse.Namespace, workspace: Path) -> None:
        overrides = [f"data.root={real_data('neu-det') / 'images'}", LABELS, "data.image_size=224", "imbalance=none"]
        self.plan = plan(configure("frozen", [*overrides, "model.pretrained=true"]), workspace)
        self.frozen, self.chosen, self.workspace = Frozen.of_plan(self.plan), chosen, workspace
        self.features = self.frozen.table().features
        self.data: Dataset = self.plan.dataset

    def prepared(self, part: Dataset) -> np.ndarray:
        """Return the images of a part as the model takes them, (N, C, H, W)."""
        spec = self.plan.spec
        if not isinstance(spec, InputSpec):
            raise TypeError("images have an InputSpec")
        return np.stack([prepare(str(uri), spec).numpy() for uri in part.uris])

    def fold(self, number: int, rows: np.ndarray, held: np.ndarray) -> tuple[np.ndarray, np.ndarray, Quantized]:
        """Return what PyTorch and the quantised model say of the images held out, (N, K) each, and what was made."""
        train, test = self.data.take(rows), self.data.take(held)
        self.frozen.install(self.frozen.fit(train, self.features[rows]))
        calibration = train.take(calibration_rows(train, size=self.chosen.calibration))
        refuse_leak(calibration, test)
        proved = train.take(np.arange(0, len(train), len(train) // NUM_PROVED))
        inputs = self.prepared(proved)
        sample = Sample(
            ids=proved.ids, targets=np.asarray(proved.targets()), batches=lambda: in_batches(inputs, 8),
            source="training images",
        )  # fmt: skip
        bundle = Bundle(
            architecture={"name": self.plan.config.model.name, "in_chans": 3, "drop_rate": 0.0, "params": {}},
            task=self.data.task, classes=self.data.classes, input_spec=self.plan.spec,
        )  # fmt: skip
        folder = self.workspace / f"fold-{number}"
        made = export_model(bundle, self.frozen.module, sample, folder, ExportOptions(format="onnx"))
        quantized = self._quantized(made.model, self.prepared(calibration))
        threads = torch.get_num_threads()
        engine: Engine = OnnxEngine(quantized.path, threads=threads)
        if self.chosen.engine == "openvino" or self.chosen.nncf:
            engine = OpenVinoEngine(quantized.path, threads=threads)
        judged = self.prepared(test)
        return scores(TorchEngine(self.frozen.module, "cpu"), judged, 8), scores(engine, judged, 8), quantized

    def _quantized(self, model: Path, calibration: np.ndarray) -> Quantized:
        batches, threads = list(in_batches(calibration, 8)), torch.get_num_threads()
        if self.chosen.nncf:
            return quantize_openvino(model, model.with_name("int8.xml"), batches, threads=threads)
        return quantize_onnx(model, model.with_name("int8.onnx"), batches, threads=threads)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=("onnxruntime", "openvino"), default="onnxruntime")
    parser.add_argument("--nncf", action="store_true", help="quantise by NNCF, for OpenVINO")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--only", type=int, default=None, help="stop after so many folds: a look, no figure")
    parser.add_argument("--calibration", type=int, default=CALIBRATION_RECORDS)
    parser.add_argument("--threads", type=int, default=2)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    begun = time.perf_counter()
    print(processor(), flush=True)
    with tempfile.TemporaryDirectory() as name:
        study = Study(chosen, Path(name))
        data = study.data
        first, second = (np.zeros((len(data), len(data.classes)), np.float32) for _ in range(2))
        judged: list[int] = []
        for number, (rows, held) in enumerate(make_folds(data, num_folds=chosen.folds, kind="group", seed=0)):
            if chosen.only is not None and number >= chosen.only:
                break
            first[held], second[held], quantized = study.fold(number, rows, held)
            judged += held.tolist()
            told = f"drift {100 * quantized.drift:.1f} % on calibration, in fp32: {', '.join(quantized.kept_float)}"
            print(f"fold {number}: {len(held)} images held out; {told}", flush=True)
    kept = data.take(judged)
    reference, changed = (
        Prediction(kept.ids, logits[judged], data.classes, data.task, np.asarray(kept.targets()))
        for logits in (first, second)
    )
    found = accept_int8(reference, changed, EvaluationConfig(), groups=kept.groups, max_loss=TARGET)
    loss = found.acceptance.loss
    print(
        f"\n{quantized.method}; {chosen.calibration} images to calibrate in each fold, {len(kept)} judged out of fold"
    )
    for line in found.lines():
        print(f"  {line}")
    interval = f"{100 * loss.low:+.3f} to {100 * loss.high:+.3f} points (90 %: each limit at 95 %)"
    includes = "includes" if loss.low <= TARGET else "DOES NOT include"
    print(f"  macro-F1 loss {100 * loss.value:+.3f} points, {interval}: {includes} {100 * TARGET:g} points or less")
    print(f"the whole took {(time.perf_counter() - begun) / 60:.1f} minutes")


if __name__ == "__main__":
    main()
