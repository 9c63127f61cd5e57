"""Run a model that Ringlight exported (--format onnx --raw-input --calibrated) with ONNX Runtime, NumPy and Pillow.

    python run_onnx.py FOLDER IMAGE

Pillow's box filter shrinks pictures nearly as training did; a picture of the model's size goes in as it is.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image

index = json.loads((Path(sys.argv[1]) / "export.json").read_text(encoding="utf-8"))
session = onnxruntime.InferenceSession(str(Path(sys.argv[1]) / "model.onnx"), providers=["CPUExecutionProvider"])

picture = Image.open(sys.argv[2]).convert("L" if index["input_spec"]["in_chans"] == 1 else "RGB")
if index["input_spec"]["image_size"] is not None:
    height, width = index["input_spec"]["image_size"]
    picture = picture.resize((width, height), Image.Resampling.BOX)
pixels = np.asarray(picture, np.uint8).reshape(1, picture.height, picture.width, -1)
scores = session.run(["probabilities"], {"pixels": pixels})[0][0]

# The operating point that was fixed on validation: one threshold a class (or none), and a rule that uses them.
point = index["operating_points"].get(index["operating_point"], {"rule": "default", "thresholds": [None] * len(scores)})
limits = np.array([0.5 if value is None else value for value in point["thresholds"]])
if index["task"] == "multilabel":  # every label from its threshold on
    chosen = np.flatnonzero(scores >= limits)
elif point["rule"] in ("gate", "good"):  # one class from (up to) its threshold, else the best of the others
    one = next(k for k, value in enumerate(point["thresholds"]) if value is not None)
    taken = scores[one] >= limits[one] if point["rule"] == "gate" else 1 - scores[one] < limits[one]
    chosen = [one if taken else int(np.where(np.arange(len(scores)) == one, -1, scores).argmax())]
else:  # the best class, each measured by its threshold where there are any
    chosen = [int((scores / limits if point["rule"] == "scaled" else scores).argmax())]

named = dict(zip(index["classes"], map(float, scores), strict=True))
sys.stdout.write(json.dumps({"labels": [index["classes"][k] for k in chosen], "probabilities": named}) + "\n")
