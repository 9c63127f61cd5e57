"""An export as files: a folder with the graph and `export.json`, the bundle's index with how it was exported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from ringlight.data.specs import Spec
from ringlight.errors import BundleError, UserError, did_you_mean
from ringlight.files import file_sha256, write_json
from ringlight.inference.bundle import Bundle
from ringlight.inference.bundle_files import check_file, digest, read_index

Format = Literal["onnx", "openvino", "torchscript", "torch_export"]
Precision = Literal["f32", "f16", "bf16", "int8"]
FORMATS: tuple[Format, ...] = get_args(Format)
EXPORT = "export.json"
MODEL_FILES: Mapping[Format, tuple[str, ...]] = {
    "onnx": ("model.onnx",),
    "openvino": ("model.xml", "model.bin"),
    "torchscript": ("model.ts",),
    "torch_export": ("model.pt2",),
}
"""The files of each format; the first is the one that is opened."""

LOGITS, FEATURES, PROBABILITIES = "logits", "features", "probabilities"
"""The outputs of a graph: raw scores (B, K), what reaches the classifier (B, D), calibrated probabilities (B, K)."""
PREPARED_INPUT = "input"
FEATURES_INPUT = "features"
"""What the input of a graph is called: images or windows that are prepared, or window features."""
RAW_INPUTS = {"images": "pixels", "windows": "windows"}
"""What the input of a graph is called that prepares it itself."""

NEEDS_TENSORFLOW = {
    "tflite": "ringlight models export MODEL --format onnx, then onnx2tf or a runtime for ONNX on the device",
    "saved_model": "ringlight models export MODEL --format onnx, then onnx2tf in an environment with TensorFlow",
    "savedmodel": "ringlight models export MODEL --format onnx, then onnx2tf in an environment with TensorFlow",
}
"""Formats that only TensorFlow's own tools write, and the way there (docs/how-to/export.md)."""


def check_format(name: str) -> Format:
    """Return a format by its name.

    Raises:
        UserError: there is none of that name, or it needs TensorFlow.
    """
    found = next((one for one in FORMATS if one == name), None)
    if found is not None:
        return found
    if name.lower() in NEEDS_TENSORFLOW:
        raise UserError(
            f"a format that is written without TensorFlow ({', '.join(FORMATS)})", got=f"`{name}`", where="--format",
            fix=f"{NEEDS_TENSORFLOW[name.lower()]} (see docs/how-to/export.md)",
        )  # fmt: skip
    raise UserError("a format", got=f"`{name}`", where="--format", fix=did_you_mean(name, FORMATS))


@dataclass(frozen=True, slots=True)
class Inside:
    """What is in a graph beside the model: `raw_spec` is there where it prepares its input itself."""

    raw_spec: Spec | None = None

    def fed(self, inputs: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
        """Return what the graph takes in the place of prepared inputs."""
        if self.raw_spec is None:
            return np.ascontiguousarray(inputs, np.float32)
        from ringlight.inference.export_graph import raw_of

        return raw_of(inputs, self.raw_spec)


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """A finished export: its folder, and what `export.json` says of it under `export`.

    Beside format, precision and opset these are what the graph takes and gives, the files' sizes, and the parity report
    (:class:`ringlight.inference.export_parity.Parity`).
    """

    folder: Path
    bundle: Bundle
    facts: Mapping[str, Any]

    @property
    def format(self) -> Format:
        """The format."""
        found: Format = self.facts["format"]
        return found

    @property
    def model(self) -> Path:
        """The file that an engine opens."""
        return self.folder / MODEL_FILES[self.format][0]

    @property
    def inside(self) -> Inside:
        """What is in the graph beside the model."""
        return Inside(self.bundle.input_spec if self.facts["preprocess"] else None)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {"folder": str(self.folder), "model": self.model.name, **self.facts}


def write_index(folder: Path, bundle: Bundle, facts: Mapping[str, Any], names: tuple[str, ...]) -> None:
    """Write `export.json` beside the files of a graph."""
    files = {name: file_sha256(folder / name) for name in names}
    index = {**bundle.to_dict(), "export": dict(facts), "files": files}
    write_json(folder / EXPORT, {**index, "index_sha256": digest(index)})


def is_export(path: Path) -> bool:
    """Say whether `path` is the folder of an export, or its index."""
    return (path / EXPORT).is_file() or (path.name == EXPORT and path.is_file())


def read_export(path: Path) -> Export:
    """Read the folder of an export and check every file of it; the graph is not opened.

    Raises:
        BundleError: there is none, or a file is missing, damaged or was changed.
    """
    folder = path.parent if path.name == EXPORT else path
    index = folder / EXPORT
    values = read_index(index)
    bundle = Bundle.from_dict(values, str(index))
    facts, files = values.get("export"), values.get("files")
    rest = {key: value for key, value in values.items() if key != "index_sha256"}
    if values.get("index_sha256") != digest(rest):
        raise BundleError(
            "an index as it was written", got="another checksum", where=str(index),
            fix="it was edited or damaged: export the model again",
        )  # fmt: skip
    if not isinstance(facts, dict) or facts.get("format") not in FORMATS or not isinstance(files, dict):
        raise BundleError(
            f"an export as {', '.join(FORMATS)}", got=repr(facts.get("format") if isinstance(facts, dict) else None),
            where=str(index), fix="open it with the Ringlight that wrote it (see `versions` in the file)",
        )  # fmt: skip
    for name in MODEL_FILES[facts["format"]]:
        if name not in files:
            raise BundleError(f"a checksum of {name}", got="none", where=str(index), fix="export the model again")
    for name, expected in files.items():
        check_file(folder / Path(name).name, expected)
    return Export(folder=folder, bundle=bundle, facts=facts)
