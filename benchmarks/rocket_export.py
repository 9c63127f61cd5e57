"""MiniRocket and MultiRocket by their ONNX graph and by sktime's compiled kernels: one window, the same features.

Random windows of nine channels: speed does not depend on what is in them. Each measure is the median of --rounds runs,
both on all cores, taken in turns. Usage:

    python benchmarks/rocket_export.py [--rounds 7]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from onnx import TensorProto, helper
from onnxruntime import InferenceSession

from ringlight.inference.export_nodes import Nodes
from ringlight.inference.export_rocket import rocket_features
from ringlight.models import build_sequence_model

CHANNELS = 9
CASES = ((128, 840), (1024, 840), (1024, 9996))
"""Samples of a window, kernels (of MultiRocket so many too)."""


def session_of(model: Any, length: int) -> InferenceSession:
    """Open the graph that describes windows."""
    nodes = Nodes()
    name = rocket_features(nodes, model, "input")
    taken = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", CHANNELS, length])
    given = helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", None])
    graph = helper.make_graph(nodes.nodes, "features", [taken], [given], nodes.weights)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])


def seconds(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    print(f"{'model':12} samples  kernels  sktime's time over the graph's  largest difference")
    for length, kernels in CASES:
        windows = np.random.default_rng(0).normal(size=(40, CHANNELS, length)).astype(np.float32)
        for name in ("minirocket", "multirocket"):
            model: Any = build_sequence_model(
                name, num_classes=3, in_chans=CHANNELS, length=length, params={"num_kernels": kernels}
            ).module
            model.prepare(torch.from_numpy(windows))
            session, one = session_of(model, length), windows[:1]
            expected = model.describe(torch.from_numpy(one)).numpy()
            apart = float(np.abs(session.run(None, {"input": one})[0] - expected).max())
            times = [
                (
                    seconds(lambda: model.describe(torch.from_numpy(one))),  # noqa: B023 - called at once
                    seconds(lambda: session.run(None, {"input": one})),  # noqa: B023 - called at once
                )
                for _ in range(rounds)
            ]
            ratio = statistics.median(sktime / graph for sktime, graph in times)
            print(f"{name:12} {length:7} {kernels:8}  {ratio:30.2f}  {apart:18.1g}", flush=True)


if __name__ == "__main__":
    main()
