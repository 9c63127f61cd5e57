"""An export opened again: its bundle's rules over its own engine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ringlight.errors import BundleError
from ringlight.inference.export_files import FEATURES_INPUT, Export, Format, Inside, read_export

if TYPE_CHECKING:
    from ringlight.inference.bundle import Bundle
    from ringlight.inference.engines import Engine


def open_export(path: Path, *, threads: int | None = None, is_alone: bool = True) -> tuple[Bundle, Engine]:
    """Open the folder of an export: what `Predictor.from_path` does with it.

    `threads` work on one run; `is_alone` is :class:`~ringlight.inference.engine_onnx.OnnxEngine`'s.

    Raises:
        BundleError: a file is missing, damaged, or was changed.
        MissingExtraError: the format's library is not installed.
    """
    export = read_export(path)
    return export.bundle, engine_of(export, threads=threads, is_alone=is_alone)


def engine_of(export: Export, *, threads: int | None = None, is_alone: bool = True) -> Engine:
    """Open the engine of an export, in the precision it was exported for.

    Raises:
        BundleError: its model cannot be opened.
        MissingExtraError: the format's library is not installed.
    """
    if export.facts["input"] == FEATURES_INPUT:
        from ringlight.inference.engine_onnx import OnnxEngine
        from ringlight.inference.export_classical import DescribedEngine, describing

        return DescribedEngine(OnnxEngine(export.model, threads=threads, is_alone=is_alone), describing(export.bundle))
    bf16 = export.facts.get("precision") == "bf16"
    engine: Engine = open_engine(
        export.model, export.format, inside=export.inside, outputs=tuple(export.facts["outputs"]), threads=threads,
        bf16=bf16, is_alone=is_alone,
    )  # fmt: skip
    return engine


def open_engine(
    model: Path, format: Format, *, inside: Inside, outputs: tuple[str, ...], threads: int | None,
    bf16: bool = False, is_alone: bool = True,
) -> Any:  # fmt: skip
    """Open a model's file with the engine of its format.

    Raises:
        BundleError: it cannot be read.
        MissingExtraError: the format's library is not installed.
    """
    if format == "onnx":
        from ringlight.inference.engine_onnx import OnnxEngine

        return OnnxEngine(model, threads=threads, inside=inside, is_alone=is_alone)
    if format == "openvino":
        from ringlight.inference.engine_openvino import OpenVinoEngine

        return OpenVinoEngine(model, precision="bf16" if bf16 else "f32", threads=threads, inside=inside)
    if format in ("torchscript", "torch_export"):
        from ringlight.inference.export_torch import TorchFileEngine

        return TorchFileEngine(model, inside=inside, outputs=outputs)
    raise BundleError("a format with an engine", got=f"`{format}`", where=str(model), fix="export the model again")
