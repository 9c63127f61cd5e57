"""Which layers a quantised model loses its scores in: each is tried alone, on exact inputs.

Beside every layer of the float model stands its quantised twin: the same inputs, rounded as the quantised model rounds
them, the quantised weights. How far apart the two outputs are is the layer's own error; errors of earlier layers,
which pile up in a comparison of the two models, are not in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ringlight.inference.quantize import LayerError
from ringlight.inference.quantize_bias import dequantized
from ringlight.inference.quantize_graph import Graph, Layer

_TWIN = "_ringlight_twin"


def worst_layers(
    graph: Graph, quantized: Path, inputs: Sequence[npt.NDArray[Any]], threads: int | None = None
) -> list[LayerError]:
    """Return the quantised layers with their own errors, the worst first.

    Args:
        graph: the float model.
        quantized: the model that was made of it.
        inputs: a few batches of what it takes.
        threads: of ONNX Runtime.
    """
    import onnx

    from ringlight.inference.engine_onnx import open_session

    constants = {one.name: one for one in onnx.load(quantized).graph.initializer}
    model = onnx.ModelProto()
    model.CopyFrom(graph.proto)
    twins = [layer for layer in graph.layers if _add_twin(model.graph, layer, constants)]
    if not twins:
        return []
    session = open_session(model.SerializeToString(), threads=threads)
    names = [f"{layer.node.output[0]}{_TWIN}_{what}" for layer in twins for what in ("apart", "size")]
    totals = np.zeros(len(names))
    for batch in inputs:
        totals += [float(value) for value in session.run(names, {graph.input: batch})]
    apart, size = totals.reshape(-1, 2).T
    errors = np.sqrt(apart / np.maximum(size, np.finfo(np.float64).tiny))
    found = [LayerError(layer.name, float(error)) for layer, error in zip(twins, errors, strict=True)]
    return sorted(found, key=lambda one: -one.relative)


def _add_twin(graph: Any, layer: Layer, constants: dict[str, Any]) -> bool:
    """Add the quantised twin of a layer and two numbers: the squared size of the difference, and of the output."""
    import onnx
    from onnx import helper, numpy_helper

    weight = dequantized(constants, layer)
    if weight is None:
        return False
    output = layer.node.output[0]
    prefix = f"{output}{_TWIN}"
    graph.initializer.append(numpy_helper.from_array(weight.astype(np.float32), f"{prefix}_weight"))
    given = [layer.input, f"{prefix}_weight"]
    scale, zero = f"{layer.input}_scale", f"{layer.input}_zero_point"
    if scale in constants and zero in constants:
        for name in (scale, zero):
            graph.initializer.append(numpy_helper.from_array(numpy_helper.to_array(constants[name]), f"{prefix}{name}"))
        both = [f"{prefix}{scale}", f"{prefix}{zero}"]
        graph.node.append(helper.make_node("QuantizeLinear", [layer.input, *both], [f"{prefix}_whole"]))
        graph.node.append(helper.make_node("DequantizeLinear", [f"{prefix}_whole", *both], [f"{prefix}_rounded"]))
        given[0] = f"{prefix}_rounded"
    if layer.bias is not None:
        given.append(_bias(graph, layer, constants, prefix))
    twin = onnx.NodeProto()
    twin.CopyFrom(layer.node)
    twin.name = f"{prefix}_node"
    del twin.input[:], twin.output[:]
    twin.input.extend(given)
    twin.output.append(f"{prefix}_output")
    graph.node.append(twin)
    graph.node.append(helper.make_node("Sub", [f"{prefix}_output", output], [f"{prefix}_difference"]))
    for source, name in ((f"{prefix}_difference", "apart"), (output, "size")):
        graph.node.append(helper.make_node("ReduceSumSquare", [source], [f"{prefix}_{name}"], keepdims=0))
        graph.output.append(onnx.ValueInfoProto(name=f"{prefix}_{name}"))
    return True


def _bias(graph: Any, layer: Layer, constants: dict[str, Any], prefix: str) -> str:
    """Add the twin's bias, as it was corrected, and return its name."""
    from onnx import numpy_helper

    stored, scale = constants.get(f"{layer.bias}_quantized"), constants.get(f"{layer.bias}_quantized_scale")
    if stored is None or scale is None:
        return str(layer.bias)
    value = numpy_helper.to_array(stored).astype(np.float64) * numpy_helper.to_array(scale).astype(np.float64)
    graph.initializer.append(numpy_helper.from_array(value.astype(np.float32), f"{prefix}_bias"))
    return f"{prefix}_bias"
