"""The nodes and constants of an ONNX graph as they come together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt


class Nodes:
    """Nodes and constants, every value with a name of its own."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.weights: list[Any] = []

    def add(self, kind: str, inputs: Sequence[str], output: str | None = None, **attributes: Any) -> str:
        """Add a node and return its output's name."""
        from onnx import helper

        name = output or f"value_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], name=f"node_{len(self.nodes)}", **attributes))
        return name

    def weight(self, values: npt.ArrayLike, kind: Any = np.float32) -> str:
        """Add a constant and return its name."""
        from onnx import numpy_helper

        name = f"weight_{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(values, kind), name))
        return name

    def whole(self, *values: int) -> str:
        """Add whole numbers, such as axes, places or lengths, and return their name."""
        return self.weight(values, np.int64)

    def cut(self, value: str, axis: int, start: int, stop: int, step: int = 1) -> str:
        """Take `start` to `stop` of an axis."""
        return self.add("Slice", [value, *map(self.whole, (start, stop, axis, step))])
