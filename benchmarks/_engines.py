"""What the benchmarks of engines share: a bundle exported and quantised as Ringlight does it, opened by each engine."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from torch import nn

from ringlight.data.preprocess import InputSpec, prepare
from ringlight.inference.bundle import Bundle
from ringlight.inference.engine_onnx import OnnxEngine
from ringlight.inference.engine_openvino import OpenVinoEngine
from ringlight.inference.engines import Engine, TorchEngine
from ringlight.inference.export import ExportOptions, export_model
from ringlight.inference.export_parity import Sample
from ringlight.inference.quantize import Quantized
from ringlight.inference.quantize_onnx import quantize_onnx
from ringlight.inference.quantize_openvino import quantize_openvino
from ringlight.models import build_model

Array = npt.NDArray[np.float32]
FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "amx_bf16")
"""What INT8 and bfloat16 gain depends on."""


def processor() -> str:
    """Return the processor's name and which of the instructions for INT8 and bfloat16 it has."""
    lines = Path("/proc/cpuinfo").read_text(encoding="ascii").splitlines()
    told = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    known = told.get("flags", "").split()
    name = told.get("model name", platform.processor() or "processor")
    has = [flag for flag in FLAGS if flag in known]
    return f"{name} ({', '.join(has)}; without {', '.join(flag for flag in FLAGS if flag not in has)})"


def has_bf16() -> bool:
    """Return whether the processor computes in bfloat16 by itself."""
    flags = Path("/proc/cpuinfo").read_text(encoding="ascii")
    return "avx512_bf16" in flags or "amx_bf16" in flags


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A model as a bundle with its network, and prepared real images (N, C, H, W) to score and to calibrate on."""

    name: str
    bundle: Bundle
    module: nn.Module
    images: Array
    calibration: Array

    def sample(self, count: int) -> Sample:
        """Return images for the check of an export; their labels mean nothing."""
        kept = self.images[:count]
        targets = np.arange(len(kept)) % len(self.bundle.classes)
        return Sample(
            ids=[f"image {row}" for row in range(len(kept))], targets=targets, batches=lambda: in_batches(kept, 4),
            source="real images",
        )  # fmt: skip


def subject(
    name: str, model: str, size: tuple[int, int], files: Sequence[Path], *, num_judged: int,
    pretrained: bool = False, params: dict[str, object] | None = None, num_classes: int = 6,
) -> Subject:  # fmt: skip
    """Build a model and read real images for it, the first `num_judged` to score, the others to calibrate on."""
    built = build_model(
        model, num_classes=num_classes, pretrained=pretrained, image_size=size, params=params or {}
    )  # fmt: skip
    spec = InputSpec(3, size, mean=tuple(built.mean), std=tuple(built.std))
    images = np.stack([prepare(file, spec).numpy() for file in files])
    bundle = Bundle(
        architecture={"name": model, "in_chans": 3, "drop_rate": 0.0, "params": params or {}}, task="multiclass",
        classes=tuple(f"class {k}" for k in range(num_classes)), input_spec=spec,
    )  # fmt: skip
    return Subject(
        name=name, bundle=bundle, module=built.module.eval(), images=images[:num_judged],
        calibration=images[num_judged:],
    )  # fmt: skip


def in_batches(images: Array, size: int) -> Iterator[Array]:
    """Yield images, so many at a time."""
    for start in range(0, len(images), size):
        yield images[start : start + size]


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """An engine by what it is called here; `quantized` is there where it runs an INT8 model."""

    name: str
    engine: Engine
    quantized: Quantized | None = None


def exported(subject_: Subject, folder: Path, *, num_checked: int) -> Path:
    """Export a model to ONNX, proved, and return its file."""
    sample = subject_.sample(num_checked)
    return export_model(
        subject_.bundle, subject_.module, sample, folder / "onnx", ExportOptions(format="onnx")
    ).model  # fmt: skip


def engines(
    subject_: Subject, folder: Path, *, threads: int, num_checked: int, with_nncf: bool = False
) -> list[Opened]:  # fmt: skip
    """Return PyTorch and every engine that runs the model here, all with so many threads; PyTorch is first."""
    model = exported(subject_, folder, num_checked=num_checked)
    calibration = list(in_batches(subject_.calibration, 4))
    int8 = quantize_onnx(model, folder / "int8.onnx", calibration, threads=threads)
    found = [
        Opened(name="PyTorch, eager", engine=TorchEngine(subject_.module, "cpu")),
        Opened(name="ONNX Runtime", engine=OnnxEngine(model, threads=threads)),
        Opened(name="ONNX Runtime INT8", engine=OnnxEngine(int8.path, threads=threads), quantized=int8),
        Opened(name="OpenVINO", engine=OpenVinoEngine(model, threads=threads)),
        Opened(name="OpenVINO INT8", engine=OpenVinoEngine(int8.path, threads=threads), quantized=int8),
    ]
    if with_nncf:
        nncf = quantize_openvino(model, folder / "nncf.xml", calibration, threads=threads)
        engine = OpenVinoEngine(nncf.path, threads=threads)
        found.append(Opened(name="OpenVINO INT8 (NNCF)", engine=engine, quantized=nncf))
    if has_bf16():
        engine = OpenVinoEngine(model, precision="bf16", threads=threads)
        found.append(Opened(name="OpenVINO bf16", engine=engine))
    return found


def scores(engine: Engine, images: Array, batch: int = 4) -> Array:
    """Return raw logits (N, K)."""
    return np.concatenate([engine.run(part)[0] for part in in_batches(images, batch)])
