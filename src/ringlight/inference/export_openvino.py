"""To OpenVINO's own format, from the ONNX file: one conversion from PyTorch, checked once, serves both."""

from __future__ import annotations

from pathlib import Path

from ringlight.errors import ModelError
from ringlight.inference.engine_openvino import openvino_module, read_model


def write_openvino(onnx_file: Path, path: Path, *, half: bool) -> None:
    """Convert an `.onnx` file to `path` (`.xml`) and the `.bin` beside it.

    Args:
        onnx_file: what is converted.
        path: the `.xml` to write.
        half: store the weights in half precision; what is computed in is the engine's choice.

    Raises:
        MissingExtraError: OpenVINO is not installed.
        BundleError: it cannot read the file.
        ModelError: it cannot write the model.
    """
    openvino = openvino_module()
    model = read_model(onnx_file)
    try:
        openvino.save_model(model, path, compress_to_fp16=half)
    except RuntimeError as error:
        raise ModelError(
            "a model that OpenVINO can write", got=str(error).strip().splitlines()[-1], where=str(path),
            fix="use --format onnx, which OpenVINO reads as well",
        ) from error  # fmt: skip
