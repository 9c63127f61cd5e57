"""From a bundle to the files of another runtime, checked on real records before they are there.

Everything is built in a folder beside the one that was asked for, compared with PyTorch, and renamed at the end: a
refused export leaves nothing.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ringlight.errors import ModelError, UserError, did_you_mean
from ringlight.files import sync_folder, unwritable
from ringlight.inference import export_files
from ringlight.inference.decisions import Decider
from ringlight.inference.engines import Engine, TorchEngine
from ringlight.inference.export_files import MODEL_FILES, Export, Format, Inside, Precision
from ringlight.inference.export_graph import ExportGraph
from ringlight.inference.export_onnx import DEFAULT_OPSET, check_opset, program_of, write_onnx
from ringlight.inference.export_parity import TOLERANCES, Parity, Sample, check_parity, probabilities_of
from ringlight.inference.exported import engine_of
from ringlight.runtime import package_versions

if TYPE_CHECKING:
    from torch import nn

    from ringlight.inference.bundle import Bundle

GRAPH = "graph.onnx"
"""What OpenVINO is converted from; it goes before the folder gets its name."""


Change = Callable[[Export, TorchEngine], Export]
"""What is made of a proved export before it is written, such as a quantised model; the engine is PyTorch's."""
PRECISIONS: tuple[Precision, ...] = ("f32", "f16", "bf16")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportOptions:
    """How a model is exported.

    Args:
        format: onnx, openvino, torchscript or torch_export.
        precision: f32; f16: half precision (OpenVINO: of the stored weights); bf16: OpenVINO computes in it. An export
            in bf16 is judged in f32, and told of in bf16.
        opset: ONNX's operator set, 18 to 24.
        preprocess: the graph takes pixels (uint8, B x H x W x C, already resized) or windows in physical units.
        calibrated: the graph gives calibrated probabilities as well.
        tolerance: how far a probability may move, between 0 and 1; None takes 1e-4 in f32 and bf16, 1e-2 in f16.

    Raises:
        UserError: a choice that the format does not have.
    """

    format: Format
    precision: Precision = "f32"
    opset: int = DEFAULT_OPSET
    preprocess: bool = False
    calibrated: bool = False
    tolerance: float | None = None

    def __post_init__(self) -> None:
        check_opset(self.opset)
        if self.precision not in PRECISIONS:
            raise UserError(
                "f32, f16 or bf16", got=f"`{self.precision}`", where="precision",
                fix=did_you_mean(self.precision, PRECISIONS),
            )  # fmt: skip
        if self.precision == "bf16" and self.format != "openvino":
            raise UserError(
                "--bf16 with --format openvino", got=self.format, where="--bf16",
                fix="use --fp16, or --format openvino, whose runtime computes in bfloat16",
            )  # fmt: skip
        if self.tolerance is not None and not 0 < self.tolerance < 1:
            fix = f"{TOLERANCES['f32']:g} is usual"
            raise UserError("a number above 0 and below 1", got=f"{self.tolerance:g}", where="--tolerance", fix=fix)

    @property
    def allowed(self) -> float:
        """How far a probability may move."""
        return TOLERANCES["f16" if self.precision == "f16" else "f32"] if self.tolerance is None else self.tolerance


def export_model(
    bundle: Bundle, module: nn.Module, sample: Sample, out: Path, options: ExportOptions,
    change: Change | None = None,
) -> Export:  # fmt: skip
    """Export a model and prove on a sample that it is still the same one.

    Args:
        bundle: what the model is and how it decides.
        module: the model, on the CPU.
        sample: labelled records of its validation part.
        out: the folder to write; it must not be there.
        options: how.
        change: what is made of the export once it is proved; it may refuse, and returns the export as it is then.

    Raises:
        UserError: the folder is there.
        ModelError: the model cannot be written so, or what was written is another model: the record that moved most and
            the first layer that differs are named.
        MissingExtraError: the format's library is not installed.
    """
    with new_folder(out) as folder:
        facts = _write(bundle, module, sample, folder, options)
        decider = Decider(bundle)
        engine = engine_of(Export(folder=folder, bundle=bundle, facts=facts))
        reference = TorchEngine(module, "cpu", embeds=decider.needs_features)
        parity = check_parity(reference, engine, decider, sample, tolerance=options.allowed)
        if not parity.is_within:
            raise _refusal(bundle, module, folder, parity, options)
        if options.calibrated:
            _check_probabilities(engine, decider, sample, options.allowed)
        facts["parity"] = parity.to_dict()
        if options.precision == "bf16":
            facts |= {"precision": "bf16", "bf16": _in_bf16(folder, bundle, facts, reference, decider, sample)}
        made = Export(folder=folder, bundle=bundle, facts=facts)
        if change is not None:
            made = change(made, reference)
        export_files.write_index(folder, made.bundle, made.facts, MODEL_FILES[options.format])
        (folder / GRAPH).unlink(missing_ok=True)
    return replace(made, folder=out)


def _write(bundle: Bundle, module: nn.Module, sample: Sample, folder: Path, options: ExportOptions) -> dict[str, Any]:
    """Write the files of a format, unchecked, and return what `export.json` says of them."""
    if getattr(module, "is_estimator", False):
        given, outputs, opset = _write_classical(bundle, module, folder, options)
    else:
        given, outputs, opset = _write_network(bundle, module, sample, folder, options)
    names = MODEL_FILES[options.format]
    return {
        "format": options.format, "precision": "f32" if options.precision == "bf16" else options.precision,
        "opset": opset, "preprocess": options.preprocess, "calibrated": options.calibrated, "input": given,
        "outputs": outputs, "num_bytes": sum((folder / name).stat().st_size for name in names),
        "made_with": package_versions(),
    }  # fmt: skip


def _write_classical(
    bundle: Bundle, module: Any, folder: Path, options: ExportOptions
) -> tuple[str, list[str], int | None]:
    from ringlight.inference.export_classical import OPSET, input_of, write_classical

    if options.format != "onnx" or options.precision != "f32" or options.preprocess:
        raise ModelError(
            "--format onnx alone for a classical model", got=f"{options.format}, {options.precision}"
            + ", --raw-input" * options.preprocess, where=type(module).__name__,
            fix="its estimators are written in single precision, for windows that are prepared",
        )  # fmt: skip
    path = folder / MODEL_FILES["onnx"][0]
    return input_of(module), write_classical(module, path, bundle=bundle, calibrated=options.calibrated), OPSET


def _write_network(
    bundle: Bundle, module: nn.Module, sample: Sample, folder: Path, options: ExportOptions
) -> tuple[str, list[str], int | None]:
    half = options.precision == "f16"
    first = next(sample.batches(), None)
    if first is None or not len(first):
        raise ModelError(
            "records to check the export on", got="none", where=sample.source, fix="name some with --data SOURCE"
        )
    graph = ExportGraph(
        bundle, module, preprocess=options.preprocess, calibrated=options.calibrated,
        embeds=Decider(bundle).needs_features, half=half and options.format in ("torchscript", "torch_export"),
    )  # fmt: skip
    path, example = folder / MODEL_FILES[options.format][0], graph.example(first)
    if options.format == "torchscript":
        from ringlight.inference.export_torch import write_torchscript

        write_torchscript(graph, example, path)
        return graph.input_name, graph.output_names, None
    program = program_of(graph, example)
    if options.format == "torch_export":
        from ringlight.inference.export_torch import write_torch_export

        write_torch_export(program, path)
        return graph.input_name, graph.output_names, None
    if options.format == "onnx":
        write_onnx(graph, program, path, bundle=bundle, opset=options.opset, half=half)
    else:
        from ringlight.inference.export_openvino import write_openvino

        write_onnx(graph, program, folder / GRAPH, bundle=bundle, opset=options.opset)
        write_openvino(folder / GRAPH, path, half=half)
    return graph.input_name, graph.output_names, options.opset


def _in_bf16(
    folder: Path, bundle: Bundle, facts: dict[str, Any], reference: Engine, decider: Decider, sample: Sample
) -> dict[str, Any]:
    """Return how far the model moves when OpenVINO computes in bfloat16; told, not judged: it was asked for."""
    engine = engine_of(Export(folder=folder, bundle=bundle, facts={**facts, "precision": "bf16"}))
    return check_parity(reference, engine, decider, sample, tolerance=1.0).to_dict()


def _check_probabilities(engine: Any, decider: Decider, sample: Sample, tolerance: float) -> None:
    """Refuse a graph whose calibrated probabilities are not those of its logits."""
    inputs = next(sample.batches())
    found = engine.everything(inputs)
    apart = float(np.abs(found[export_files.PROBABILITIES] - probabilities_of(engine.run(inputs)[0], decider)).max())
    if not apart <= tolerance:
        raise ModelError(
            f"calibrated probabilities within {tolerance:g} of those of the logits", got=f"{apart:.2g}",
            where="the exported model", fix="export it without --calibrated",
        )  # fmt: skip


def _refusal(bundle: Bundle, module: nn.Module, folder: Path, parity: Parity, options: ExportOptions) -> ModelError:
    """Describe an export that is another model than the one that was trained."""
    inside = Inside(bundle.input_spec if options.preprocess else None)
    layer, graph = None, folder / (GRAPH if options.format == "openvino" else MODEL_FILES["onnx"][0])
    if graph.is_file() and parity.worst_input is not None and not getattr(module, "is_estimator", False):
        from ringlight.inference.export_layers import first_layer_off

        layer = first_layer_off(
            module, graph, folder / MODEL_FILES[options.format][0], inside.fed(parity.worst_input), parity.worst_input,
            format=options.format, tolerance=parity.tolerance,
        )  # fmt: skip
    got = f"{parity.max_difference:.2g} on `{parity.worst_record}` ({parity.label_agreement:.1%} of the labels alike)"
    if parity.max_difference <= parity.tolerance and parity.feature_difference is not None:
        got = f"features {parity.feature_difference:.2g} of their largest value off"
    told = f"first off: {layer}" if layer else "no single layer could be named"
    return ModelError(
        f"probabilities within {parity.tolerance:g} of PyTorch's on {parity.num_records} records", got=got,
        where=f"--format {options.format}",
        fix=f"{told}; nothing was written: try another --format or --opset, or serve the bundle itself",
    )  # fmt: skip


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """Yield a folder beside `out` that gets its name when the block succeeds, and goes when it does not.

    Raises:
        UserError: `out` is there.
        WorkspaceError: it cannot be written.
    """
    if out.exists():
        raise UserError(
            "a folder that is not there yet", got="one that is", where=f"--out {out}", fix="name another, or remove it"
        )
    part = out.with_name(f".{out.name}.{secrets.token_hex(4)}.part")
    try:
        try:
            part.mkdir(parents=True)
        except OSError as error:
            raise unwritable(out, error) from error
        yield part
        try:
            part.rename(out)
            sync_folder(out.parent)
        except OSError as error:
            raise unwritable(out, error) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
