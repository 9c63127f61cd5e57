"""Bias correction: what the rounding of weights adds to the mean of each output channel is taken out of its bias.

Nagel et al. 2019, "Data-free quantization through weight equalization and bias correction", arXiv:1906.04721, equation
17: E[Wq x] - E[W x] = (Wq - W) E[x]. There E[x] is derived from batch normalisation; here it is measured on the
calibration records.

Shapes: O output channels, I input channels, G groups of a convolution.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ringlight.inference.quantize_graph import Graph, Layer, attribute

FloatArray = npt.NDArray[np.float64]
_MEAN = "_ringlight_mean"


def mean_inputs(graph: Graph, batches: Iterable[npt.NDArray[Any]], threads: int | None = None) -> dict[str, FloatArray]:
    """Return E[x] (I,) of what each layer of a float model takes, over records and places.

    Computed inside the graph, so that no activation leaves it.
    """
    import onnx
    from onnx import helper, numpy_helper

    from ringlight.inference.engine_onnx import open_session

    wanted = correctable(graph)
    if not wanted:
        return {}  # asked for no output, ONNX Runtime would give all of them
    model = onnx.ModelProto()
    model.CopyFrom(graph.proto)
    ranks = {one.name: len(one.type.tensor_type.shape.dim) for one in [*model.graph.value_info, *model.graph.input]}
    axes: dict[str, int] = {}
    for layer in wanted:
        name, rank = layer.input, ranks.get(layer.input, graph.array(layer.weight).ndim)
        if name in axes:
            continue
        axes[name] = rank
        over = [axis for axis in range(rank) if axis != (1 if layer.node.op_type == "Conv" else rank - 1)]
        model.graph.initializer.append(numpy_helper.from_array(np.array(over, np.int64), f"{name}{_MEAN}_axes"))
        model.graph.node.append(
            helper.make_node("ReduceMean", [name, f"{name}{_MEAN}_axes"], [f"{name}{_MEAN}"], keepdims=0)
        )
        model.graph.output.append(onnx.ValueInfoProto(name=f"{name}{_MEAN}"))
    session = open_session(model.SerializeToString(), threads=threads)
    names = [f"{name}{_MEAN}" for name in axes]
    sums, count = [np.zeros(1)] * len(names), 0
    for batch in batches:
        found = session.run(names, {graph.input: batch})
        sums = [total + len(batch) * value.astype(np.float64) for total, value in zip(sums, found, strict=True)]
        count += len(batch)
    return {name: total / count for name, total in zip(axes, sums, strict=True)}


def correctable(graph: Graph) -> list[Layer]:
    """Return the layers whose bias is a constant of their own."""
    return [layer for layer in graph.layers if layer.bias is not None and layer.node.op_type in ("Conv", "Gemm")]


def correct_biases(graph: Graph, quantized: Path, means: Mapping[str, FloatArray]) -> int:
    """Correct the biases of a quantised model in its file; return of how many layers.

    Args:
        graph: the float model.
        quantized: what ONNX Runtime made of it; biases are 32-bit numbers with a scale for each channel.
        means: from :func:`mean_inputs`.
    """
    import onnx
    from onnx import numpy_helper

    model = onnx.load(quantized)
    constants = {one.name: one for one in model.graph.initializer}
    corrected = 0
    for layer in correctable(graph):
        stored, weight = constants.get(f"{layer.bias}_quantized"), dequantized(constants, layer)
        if stored is None or weight is None:
            continue  # kept in single precision
        scale = numpy_helper.to_array(constants[f"{layer.bias}_quantized_scale"]).astype(np.float64).reshape(-1)
        shift = mean_shift(weight - graph.array(layer.weight), means[layer.input], layer)
        moved = np.rint(numpy_helper.to_array(stored) - shift / scale)
        limits = np.iinfo(np.int32)
        stored.CopyFrom(
            numpy_helper.from_array(moved.clip(limits.min, limits.max).astype(np.int32), stored.name)
        )  # fmt: skip
        corrected += 1
    onnx.save(model, quantized)
    return corrected


def dequantized(constants: Mapping[str, Any], layer: Layer) -> FloatArray | None:
    """Return a layer's weights as the quantised model computes with them; None where they are not quantised."""
    from onnx import numpy_helper

    names = [f"{layer.weight}_{part}" for part in ("quantized", "scale", "zero_point")]
    if any(name not in constants for name in names):
        return None
    values, scale, zero = (numpy_helper.to_array(constants[name]).astype(np.float64) for name in names)
    shape = [1] * values.ndim
    shape[layer.axis] = -1
    return np.asarray((values - zero.reshape(shape)) * scale.reshape(shape))


def mean_shift(error: FloatArray, mean: FloatArray, layer: Layer) -> FloatArray:
    """Return (Wq - W) E[x] (O,), the places of a kernel added up (at an edge some of them see padding).

    Args:
        error: Wq - W: (O, I/G, ...) of a convolution, (O, I) or (I, O) of a matrix.
        mean: E[x] (I,).
        layer: whose weights they are.
    """
    if layer.node.op_type != "Conv":
        return np.asarray(error @ mean if layer.axis == 0 else mean @ error)
    groups = int(attribute(layer.node, "group", 1))
    summed = error.reshape(groups, error.shape[0] // groups, error.shape[1], -1).sum(axis=-1)
    return np.asarray(np.einsum("goi,gi->go", summed, mean.reshape(groups, -1))).reshape(-1)
