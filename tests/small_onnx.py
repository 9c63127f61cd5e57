"""A small network as an ONNX file, and pictures for it: what tests of quantisation share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIZE = 8


def write_net(path: Path, *, outlier: float = 0.0, seed: int = 0) -> Path:
    """Two convolutions, one of them by channel, and a classifier of three classes.

    `outlier` is added to a channel that the next layer has no weight for: it widens that tensor's scale, nothing else.
    """
    generator = np.random.default_rng(seed)
    weights = {
        "stem.weight": generator.normal(0, 0.4, (6, 3, 3, 3)),
        "stem.bias": generator.normal(0, 0.2, 6) + np.array([outlier, 0, 0, 0, 0, 0]),
        "deep.weight": generator.normal(0, 0.5, (6, 1, 3, 3)),
        "deep.bias": generator.normal(0, 0.2, 6),
        "mix.weight": generator.normal(0, 0.5, (8, 6, 1, 1)),
        "mix.bias": generator.normal(0, 0.2, 8),
        "classifier.weight": generator.normal(0, 1, (3, 8)),
        "classifier.bias": generator.normal(0, 0.2, 3),
    }
    if outlier:
        weights["deep.weight"][0] = 0
    nodes = [
        helper.make_node("Conv", ["input", "stem.weight", "stem.bias"], ["a"], "n0", pads=[1] * 4),
        helper.make_node("Relu", ["a"], ["b"], "n1"),
        helper.make_node("Conv", ["b", "deep.weight", "deep.bias"], ["c"], "n2", pads=[1] * 4, group=6),
        helper.make_node("Conv", ["c", "mix.weight", "mix.bias"], ["d"], "n3"),
        helper.make_node("Relu", ["d"], ["e"], "n4"),
        helper.make_node("GlobalAveragePool", ["e"], ["f"], "n5"),
        helper.make_node("Flatten", ["f"], ["g"], "n6"),
        helper.make_node("Gemm", ["g", "classifier.weight", "classifier.bias"], ["logits"], "n7", transB=1),
    ]
    graph = helper.make_graph(
        nodes, "net", [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, SIZE, SIZE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path


def records(num: int = 32, seed: int = 1) -> np.ndarray:
    """Pictures of very different contrast, so that scores differ."""
    generator = np.random.default_rng(seed)
    contrast = generator.uniform(-2, 2, (num, 1, 1, 1)).astype(np.float32)
    return generator.random((num, 3, SIZE, SIZE), np.float32) * contrast


def batches(num: int = 32, seed: int = 1) -> list[np.ndarray]:
    return list(np.split(records(num, seed), num // 8))
