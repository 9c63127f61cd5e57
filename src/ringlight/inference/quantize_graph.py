"""An ONNX graph as quantisation sees it: its layers with weights, their names, and what stands before and after them.

Shapes: O output channels, I input channels.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ringlight.errors import ModelError, did_you_mean

WEIGHTED = ("Conv", "Gemm", "MatMul")
"""Operators whose weights are quantised."""
SCOPES = "pkg.torch.onnx.name_scopes"
"""Where PyTorch's exporter tells which module a node is of."""
Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """A layer with constant weights: the name of its module, its node, and the names of its tensors."""

    name: str
    node: Any
    weight: str
    bias: str | None

    @property
    def input(self) -> str:
        """The tensor that it takes."""
        return str(self.node.input[0])

    @property
    def axis(self) -> int:
        """The axis of the weight's output channels."""
        if self.node.op_type == "Gemm":
            return 0 if attribute(self.node, "transB", 0) else 1
        return 0 if self.node.op_type == "Conv" else -1


class Graph:
    """A float model that is to be quantised.

    `names` are those of layers by their node, from before a library optimised the graph and renamed their weights.

    Raises:
        ModelError: no layer beside the classifier has weights.
    """

    def __init__(self, path: Path, names: Mapping[str, str] | None = None) -> None:
        import onnx

        self.proto = onnx.load(path)
        graph = self.proto.graph
        self._names = dict(names or {})
        self.nodes = list(graph.node)
        self.constants = {one.name: one for one in graph.initializer}
        self.layers = [layer for layer in map(self._layer, self.nodes) if layer is not None]
        if len(self.layers) < 2:
            raise ModelError(
                f"a layer with weights ({', '.join(WEIGHTED)}) beside the classifier", got="none", where=str(path),
                fix="export it without --int8: there is nothing to gain",
            )  # fmt: skip
        self._maker = {name: node for node in self.nodes for name in node.output}

    @property
    def input(self) -> str:
        """The name of the input."""
        return str(self.proto.graph.input[0].name)

    @property
    def scores(self) -> str:
        """The name of the output with the logits: the first."""
        return str(self.proto.graph.output[0].name)

    def array(self, name: str) -> Array:
        """Return a constant."""
        from onnx import numpy_helper

        return np.asarray(numpy_helper.to_array(self.constants[name]))

    def classifier(self) -> Layer:
        """Return the last layer on the way to the logits."""
        known = {id(layer.node): layer for layer in self.layers}
        waiting, seen = [self.scores], set[str]()
        while waiting:
            name = waiting.pop(0)
            node = self._maker.get(name)
            if node is None or name in seen:
                continue
            seen.add(name)
            if id(node) in known:
                return known[id(node)]
            waiting += list(node.input)
        return self.layers[-1]

    def outside(self) -> list[str]:
        """Return the nodes before the first layers and after the classifier: preparation and calibration stay exact."""
        after = _reached({self.classifier().node.output[0]}, self.nodes)
        behind = _reached({name for layer in self.layers for name in layer.node.output}, self.nodes)
        own = {layer.node.name for layer in self.layers}
        return [node.name for node in self.nodes if node.name in after or node.name not in behind | own]

    def find(self, names: tuple[str, ...]) -> list[Layer]:
        """Return layers by their names.

        Raises:
            ModelError: there is none of a name; the message suggests the nearest.
        """
        known = {layer.name: layer for layer in self.layers}
        for name in names:
            if name not in known:
                raise ModelError(
                    "a layer of the model", got=f"`{name}`", where="keep_float", fix=did_you_mean(name, known)
                )
        return [known[name] for name in names]

    def _layer(self, node: Any) -> Layer | None:
        weights = [name for name in node.input[1:2] if name in self.constants]
        if node.op_type not in WEIGHTED or not weights:
            return None
        bias = node.input[2] if len(node.input) > 2 and node.input[2] in self.constants else None
        return Layer(self._names.get(node.name) or _name_of(node, weights[0]), node, weights[0], bias)


def add_biases(path: Path) -> None:
    """Give every convolution of a file a bias, of zeros where it has none: there is something to correct then."""
    import onnx
    from onnx import numpy_helper

    model = onnx.load(path)
    sizes = {one.name: one.dims[0] for one in model.graph.initializer if one.dims}
    for node in model.graph.node:
        if node.op_type == "Conv" and len(node.input) == 2 and node.input[1] in sizes:
            name = f"{node.input[1]}_zeros"
            zeros = np.zeros(sizes[node.input[1]], np.float32)
            if name not in {one.name for one in model.graph.initializer}:
                model.graph.initializer.append(numpy_helper.from_array(zeros, name))
            node.input.append(name)
    onnx.save(model, path)


def attribute(node: Any, name: str, default: Any) -> Any:
    """Return an attribute of a node, or what it is where it is not told."""
    from onnx import helper

    return next((helper.get_attribute_value(one) for one in node.attribute if one.name == name), default)


def _name_of(node: Any, weight: str) -> str:
    """Return the module's name: from the weight's, else from what the exporter noted, else the node's."""
    if weight.endswith(".weight"):
        return weight.removesuffix(".weight").removeprefix("module.")
    scopes = next((one.value for one in node.metadata_props if one.key == SCOPES), "")
    modules = [one for one in (ast.literal_eval(scopes) if scopes else [])[:-1] if one]
    return str(modules[-1]).removeprefix("module.") if modules else str(node.name)


def _reached(start: set[str], nodes: list[Any]) -> set[str]:
    """Return the names of the nodes that what is in `start` flows into; nodes are in the order of their execution."""
    tensors, found = set(start), set[str]()
    for node in nodes:
        if tensors.intersection(node.input):
            found.add(node.name)
            tensors.update(node.output)
    return found
