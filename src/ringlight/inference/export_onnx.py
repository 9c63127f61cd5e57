"""To ONNX, through `torch.export`: a dynamic batch, the modules' names on the nodes, what a user needs as metadata."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ringlight.errors import ModelError, UserError

if TYPE_CHECKING:
    from torch import Tensor
    from torch.export import ExportedProgram

    from ringlight.inference.bundle import Bundle
    from ringlight.inference.export_graph import ExportGraph

OPSETS = range(18, 25)
"""Operator sets: PyTorch's exporter knows 18 and raises it; converting down fails for most models."""
DEFAULT_OPSET = 18
"""The one that most runtimes know (ONNX 1.13, of 2022)."""
SCOPES = "pkg.torch.onnx.name_scopes"
"""Where a node says which module it is of: a list of names, from the outermost in."""
LARGEST = 2**31 - 1
"""Bytes of one protocol-buffer file; larger weights would need a second file."""


def check_opset(opset: int) -> int:
    """Return an operator set that can be written.

    Raises:
        UserError: it cannot.
    """
    if opset not in OPSETS:
        raise UserError(
            f"an operator set from {OPSETS[0]} to {OPSETS[-1]}", got=str(opset), where="--opset",
            fix=f"{DEFAULT_OPSET} is what most runtimes know",
        )  # fmt: skip
    return opset


def program_of(graph: ExportGraph, example: Tensor) -> ExportedProgram:
    """Trace a graph for batches of any size.

    Raises:
        ModelError: what it computes depends on values, or on the number of records, in a way that cannot be written.
    """
    batch = torch.export.Dim("batch", min=1)
    with quiet("torch"), _translated(graph), warnings.catch_warnings():
        # Recurrent layers list their weights anew when they are called: the same ones, in the same order.
        warnings.filterwarnings("ignore", message=r"The tensor attributes? .*_flat_weights")
        return torch.export.export(graph, (example,), dynamic_shapes=({0: batch},))


def write_onnx(
    graph: ExportGraph, program: ExportedProgram, path: Path, *, bundle: Bundle, opset: int, half: bool = False
) -> None:
    """Write a traced graph as `.onnx`, checked by ONNX's own checker.

    Args:
        graph: what was traced, for the names.
        program: from :func:`program_of`.
        path: the file.
        bundle: what is told in the file's metadata.
        opset: of :data:`OPSETS`.
        half: compute in half precision where the runtime can; what goes in and comes out stays in single precision.

    Raises:
        ModelError: an operator that ONNX has no counterpart of; weights beyond 2 GB.
    """
    import onnx

    with quiet("torch", "onnxscript", "onnx_ir"), _translated(graph):
        found = torch.onnx.export(
            program, dynamo=True, opset_version=opset, input_names=[graph.input_name],
            output_names=graph.output_names, verbose=False,
        )  # fmt: skip
    if found is None:  # only so where `f` is given
        raise ModelError("an ONNX program", got="none", where="torch.onnx.export", fix="use another format")
    model = found.model_proto
    written = next(one.version for one in model.opset_import if one.domain in ("", "ai.onnx"))
    if written != opset:
        raise ModelError(
            f"operator set {opset}", got=str(written), where="--opset", fix=f"use --opset {written}",
        )  # fmt: skip
    if half:
        model = _halved(model)
    _forget(model)
    onnx.helper.set_model_props(model, metadata_texts(bundle, preprocess=graph.preprocess))
    if model.ByteSize() > LARGEST:
        raise ModelError(
            "weights of less than 2 GB", got=f"{model.ByteSize() / 1e9:.1f} GB", where="--format onnx",
            fix="use --format torch_export, or --fp16",
        )  # fmt: skip
    path.write_bytes(model.SerializeToString())
    onnx.checker.check_model(str(path), full_check=True)


def _halved(model: Any) -> Any:
    """Let a model compute in half precision between single-precision inputs and outputs."""
    from onnxruntime.transformers.float16 import convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    halved = OnnxModel(convert_float_to_float16(model, keep_io_types=True))
    halved.topological_sort()  # the converter puts its casts at the end, which ONNX's checker refuses
    return halved.model


def _forget(model: Any) -> None:
    """Keep which module each node is of, and nothing else of how it came about: there are paths of this machine."""
    for node in model.graph.node:
        kept = [(one.key, one.value) for one in node.metadata_props if one.key == SCOPES]
        del node.metadata_props[:]
        for key, value in kept:
            node.metadata_props.add(key=key, value=value)


def metadata_texts(bundle: Bundle, *, preprocess: bool) -> dict[str, str]:
    """Return what an `.onnx` file says of itself (`metadata_props`): names and texts, everything else as JSON."""
    return {
        "producer": "ringlight",
        "architecture": str(bundle.architecture["name"]),
        "task": bundle.task,
        "classes": json.dumps(list(bundle.classes), ensure_ascii=False),
        "input": json.dumps(bundle.input_spec.to_dict()),
        "preprocess": json.dumps(preprocess),
        "calibration": json.dumps(bundle.calibration.get("calibrator", {})),
        "operating_point": bundle.operating_point,
        "operating_points": json.dumps(bundle.operating_points),
        "reject_threshold": json.dumps(bundle.reject_threshold),
        "dataset_fingerprint": bundle.dataset_fingerprint,
    }


def retell(path: Path, bundle: Bundle, *, preprocess: bool) -> None:
    """Write the metadata of an `.onnx` file anew: its graph was changed, or the rules that go with it."""
    import onnx

    model = onnx.load(path)
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, metadata_texts(bundle, preprocess=preprocess))
    path.write_bytes(model.SerializeToString())


def metadata_in(path: Path) -> Mapping[str, Any]:
    """Return the metadata of an `.onnx` file as texts."""
    import onnx

    return {one.key: one.value for one in onnx.load(path, load_external_data=False).metadata_props}


@contextmanager
def _translated(graph: ExportGraph) -> Iterator[None]:
    """Tell what the exporters of PyTorch refuse in one line; their own messages have hundreds."""
    name = type(graph.module).__name__
    try:
        yield
    except (RuntimeError, ValueError, TypeError, NotImplementedError, AttributeError, KeyError) as error:
        lines = [line.strip() for line in str(error.__cause__ or error).splitlines() if line.strip()]
        raise ModelError(
            "a model that PyTorch can export", got=f"{type(error).__name__}: {lines[0] if lines else ''}"[:300],
            where=name, fix="serve the bundle itself, or try --format torchscript",
        ) from error  # fmt: skip


@contextmanager
def quiet(*names: str) -> Iterator[None]:
    """Keep the exporters' own remarks out of the user's log while they work; errors still come."""
    loggers = [logging.getLogger(name) for name in names]
    before = [one.level for one in loggers]
    for one in loggers:
        one.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for one, level in zip(loggers, before, strict=True):
            one.setLevel(level)
