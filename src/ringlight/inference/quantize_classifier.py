"""The classifier of a quantised model, fitted to the features that it gets now.

The classifier stays in single precision, and was trained on exact features. Those of a quantised body are noisy, each
by another amount: one that hardly varies (of a ReLU that is mostly off) is nothing but noise now, and a classifier that
was fitted to standardised features weighs just those the most. Each feature f is therefore replaced by its best linear
estimate from the quantised one q, a q + b, by least squares over the calibration records:

    a = cov(f, q) / var(q), at least 0        b = mean(f) - a mean(q)

which shrinks a feature by its share of signal (the reliability ratio of errors in variables: Fuller 1987, Measurement
Error Models, equation 1.1.11). It costs nothing when the model runs: W' = W diag(a), bias' = bias + W b.

Shapes: N records, D features, K classes.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ringlight.inference.quantize_graph import Graph

FloatArray = npt.NDArray[np.float64]


def refit_classifier(graph: Graph, quantized: Path, exact: FloatArray, noisy: FloatArray) -> None:
    """Fit the classifier of a quantised model in its file.

    Args:
        graph: the float model.
        quantized: the model that was made of it, its classifier in single precision.
        exact: what reaches the classifier of the float model (N, D).
        noisy: the same of the quantised model.
    """
    import onnx
    from onnx import numpy_helper

    layer = graph.classifier()
    scale, offset = estimate(exact, noisy)
    weight, bias = graph.array(layer.weight).astype(np.float64), graph.array(str(layer.bias)).astype(np.float64)
    along = scale[None, :] if layer.axis == 0 else scale[:, None]
    moved = bias + (weight @ offset if layer.axis == 0 else offset @ weight)
    model = onnx.load(quantized)
    for constant in model.graph.initializer:
        for name, value in ((layer.weight, weight * along), (layer.bias, moved)):
            if constant.name == name:
                constant.CopyFrom(numpy_helper.from_array(value.astype(np.float32), name))
    onnx.save(model, quantized)


def can_refit(graph: Graph) -> bool:
    """Say whether the classifier is a matrix with a bias, over features (N, D)."""
    layer = graph.classifier()
    return layer.node.op_type == "Gemm" and layer.bias is not None


def classifier_inputs(
    graph: Graph, path: Path, batches: Iterable[npt.NDArray[Any]], threads: int | None = None
) -> FloatArray:
    """Return what reaches the classifier (N, D) in a model: the float one, or what was made of it."""
    import onnx

    from ringlight.inference.engine_onnx import open_session

    model, weight = onnx.load(path), graph.classifier().weight
    name = next(node.input[0] for node in model.graph.node if len(node.input) > 1 and node.input[1] == weight)
    model.graph.output.append(onnx.ValueInfoProto(name=name))
    session = open_session(model.SerializeToString(), threads=threads)
    return np.concatenate([session.run([name], {graph.input: batch})[0] for batch in batches]).astype(np.float64)


def estimate(exact: FloatArray, noisy: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return scale and offset (D,) of the best linear estimate of each exact feature from its noisy one.

    Examples:
        Twice the feature, three more; and noise that says nothing:

        >>> exact = np.array([[1.0, 5.0], [2.0, 6.0], [3.0, 5.0], [4.0, 6.0]])
        >>> noisy = np.array([[5.0, 1.0], [7.0, 1.0], [9.0, 2.0], [11.0, 2.0]])
        >>> [values.tolist() for values in estimate(exact, noisy)]
        [[0.5, 0.0], [-1.5, 5.5]]
    """
    centred, moved = exact - exact.mean(axis=0), noisy - noisy.mean(axis=0)
    size = (moved**2).sum(axis=0)
    scale = np.divide((centred * moved).sum(axis=0), size, out=np.zeros_like(size), where=size > 0).clip(min=0)
    return scale, exact.mean(axis=0) - scale * noisy.mean(axis=0)
