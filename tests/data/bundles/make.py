"""Write the kept bundles: each by the Ringlight of its time, whose source is on the path.

    git archive 90c60e8 src | tar -x -C /tmp/one && PYTHONPATH=/tmp/one/src python tests/data/bundles/make.py

Format 1 is of 90c60e8, format 2 of 1a0d967, format 3 of 034a189. All three have the same weights, with few different
values, so that they pack well. `scores.json` holds what the first predicted for a picture that the test draws.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import torch

from ringlight.data.preprocess import InputSpec
from ringlight.inference.bundle import Bundle, write_bundle
from ringlight.inference.predictor import Predictor
from ringlight.models import build_model

HERE = Path(__file__).parent
CLASSES = ("good", "riß", "pore")


def picture() -> np.ndarray:
    rows, columns = np.mgrid[0:48, 0:40]
    return np.stack([rows * 5 % 256, columns * 6 % 256, (rows + columns) * 3 % 256], axis=-1).astype(np.uint8)


def main() -> None:
    torch.manual_seed(0)
    module = build_model("test_efficientnet", num_classes=3, pretrained=False).module
    with torch.no_grad():
        for tensor in module.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_((tensor * 8).round() / 8 + (tensor.ndim < 2) * 0.125)
    bundle = Bundle(
        architecture={"name": "test_efficientnet", "in_chans": 3, "drop_rate": 0.0, "params": {}},
        task="multiclass",
        classes=CLASSES,
        input_spec=InputSpec(in_chans=3, image_size=(32, 32), mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25)),
        metrics={"scalars": {"macro_f1": 0.5}},
    )
    with tempfile.TemporaryDirectory() as place:
        write_bundle(Path(place), bundle, module)
        index = json.loads((Path(place) / "bundle.json").read_text("utf-8"))
        version = index["format_version"]
        shutil.copy(Path(place) / "bundle.json", HERE / f"format{version}.json")
        if version == 1:
            shutil.copy(Path(place) / "model.safetensors", HERE / "model.safetensors")
            found = Predictor.from_path(Path(place), device="cpu").predict(picture())
            (HERE / "scores.json").write_text(json.dumps(found.probabilities[0].tolist()) + "\n")


if __name__ == "__main__":
    main()
