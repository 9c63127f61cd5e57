"""Run a model that Ringlight exported (--format onnx --raw-input --calibrated) with ONNX Runtime, NumPy and Pillow.

    python run_onnx.py FOLDER IMAGE

Shrink pictures with an area average, as training did; a picture of the model's size goes in as it is.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image

folder, image = Path(sys.argv[1]), sys.argv[2]
index = json.loads((folder / "export.json").read_text(encoding="utf-8"))
spec, classes, point = index["input_spec"], index["classes"], index["operating_points"].get(index["operating_point"])

picture = Image.open(image).convert("L" if spec["in_chans"] == 1 else "RGB")
if spec["image_size"] is not None:
    height, width = spec["image_size"]
    picture = picture.resize((width, height), Image.Resampling.BOX)
pixels = np.asarray(picture, np.uint8).reshape(1, picture.height, picture.width, spec["in_chans"])

session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
(probabilities,) = session.run(["probabilities"], {"pixels": pixels})
scores = probabilities[0]

if index["task"] == "multilabel":  # every label from its threshold on
    thresholds = [0.5] * len(classes) if point is None else point["thresholds"]
    labels = [name for name, score, least in zip(classes, scores, thresholds, strict=True) if score >= least]
else:  # the best class; docs/how-to/export.md has the other rules
    labels = [classes[int(scores.argmax())]]
told = {"labels": labels, "probabilities": dict(zip(classes, map(float, scores), strict=True))}
sys.stdout.write(json.dumps(told) + "\n")
