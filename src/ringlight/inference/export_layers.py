"""Where an export leaves the model: the first layer whose output differs, found on the record that differs most.

The nodes of an exported graph say which module they are of. The last node of each module is made an output of the
graph, and what it gives is compared with what the module gave in PyTorch, in the order in which they finish. A layer
that the exporter merged into the one before (a batch normalisation into a convolution) stands under the name of the
later one, so that names and outputs agree.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ringlight.inference.export_onnx import SCOPES

if TYPE_CHECKING:
    from ringlight.inference.export_files import Format

Values = Mapping[str, npt.NDArray[Any]]
PREFIX = "module."
"""What the names of the model's own modules begin with inside an :class:`ExportGraph`."""


def first_layer_off(
    module: nn.Module, graph: Path, model: Path, given: npt.NDArray[Any], prepared: npt.NDArray[np.float32],
    *, format: Format, tolerance: float,
) -> str | None:  # fmt: skip
    """Return the name of the first module whose output differs, with how far; None where no single one can be named.

    Args:
        module: the model, in single precision.
        graph: the `.onnx` file, whose nodes name their modules.
        model: the file that is run: the same one, or what OpenVINO made of it.
        given: what the graph takes, one record.
        prepared: the same for the module.
        format: of `model`.
        tolerance: how far an output may be off, as a share of its largest value.
    """
    outputs = outputs_by_module(graph)
    wanted = list(outputs.values())
    run = _onnx_values if format == "onnx" else _openvino_values
    found = run(model, wanted, given)
    for name, expected in outputs_in_torch(module, prepared).items():
        value = found.get(outputs.get(name, ""))
        if value is None or value.shape != expected.shape:
            continue  # merged with what follows, or in another layout
        largest = max(float(np.abs(expected).max()), 1e-6)
        apart = float(np.nan_to_num(np.abs(value.astype(np.float32) - expected), nan=np.inf).max()) / largest
        if apart > tolerance:
            return f"`{name}`, whose output is {apart:.2g} of its largest value off"
    return None


def outputs_by_module(graph: Path) -> dict[str, str]:
    """Return the last value that each module of a graph computes, by the module's name."""
    import onnx

    found: dict[str, str] = {}
    for node in onnx.load(graph).graph.node:
        scopes = next((one.value for one in node.metadata_props if one.key == SCOPES), "[]")
        names = ast.literal_eval(scopes)
        if len(names) > 1 and names[-2].startswith(PREFIX) and node.output:
            found[names[-2].removeprefix(PREFIX)] = node.output[0]
    return found


def outputs_in_torch(module: nn.Module, prepared: npt.NDArray[np.float32]) -> dict[str, npt.NDArray[np.float32]]:
    """Return what every module gave for an input, in the order in which they finished."""
    heard: dict[str, npt.NDArray[np.float32]] = {}

    def listen(name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _given: Any, output: Any) -> None:
            if isinstance(output, Tensor):
                # A copy: an activation that works in place would change it afterwards.
                heard[name] = output.detach().float().cpu().numpy().copy()

        return hook

    handles = [child.register_forward_hook(listen(name)) for name, child in module.named_modules() if name]
    try:
        with torch.inference_mode():
            module(torch.from_numpy(np.array(prepared)))
    finally:
        for handle in handles:
            handle.remove()
    return heard


def _onnx_values(path: Path, names: list[str], given: npt.NDArray[Any]) -> Values:
    import onnx

    from ringlight.inference.engine_onnx import open_session

    model = onnx.load(path)
    present = {one for node in model.graph.node for one in node.output}
    known = {one.name for one in model.graph.output}
    chosen = [name for name in names if name in present]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in chosen if name not in known)
    session = open_session(model.SerializeToString(), is_plain=True)
    return dict(zip(chosen, session.run(chosen, {session.get_inputs()[0].name: given}), strict=True))


def _openvino_values(path: Path, names: list[str], given: npt.NDArray[Any]) -> Values:
    from ringlight.inference.engine_openvino import compile_model, read_model

    model = read_model(path)
    present = {name for node in model.get_ordered_ops() for port in node.outputs() for name in port.get_names()}
    outputs = {name for port in model.outputs for name in port.get_names()}
    chosen = [name for name in names if name in present]
    model.add_outputs([name for name in chosen if name not in outputs])
    found = compile_model(model).create_infer_request().infer({model.inputs[0].get_any_name(): given})
    return {name: np.array(found[name]) for name in chosen}
