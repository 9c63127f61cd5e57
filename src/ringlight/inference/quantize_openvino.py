"""INT8 for OpenVINO by NNCF, where both are installed.

NNCF's own post-training quantisation with its bias correction, weights of seven bits unless the line's processors have
VNNI (:mod:`ringlight.inference.quantize_onnx` says why), and the classifier in single precision. OpenVINO runs the QDQ
model of ONNX Runtime as well: `ringlight models export --format onnx --int8`, then `--engine openvino`.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ringlight.errors import ModelError, did_you_mean
from ringlight.evaluation.score_error import centred, relative_error
from ringlight.inference.engine_openvino import compile_model, openvino_module, read_model, signal_stack_kept
from ringlight.inference.quantize import NUM_JUDGED, Batches, Inputs, Quantized, check_model_file
from ringlight.optional import require
from ringlight.types import Task

WEIGHTED = ("Convolution", "GroupConvolution", "MatMul")
"""OpenVINO's operators whose weights are quantised."""
TELEMETRY = "openvino_telemetry"


def quantize_openvino(
    model: Path,
    out: Path,
    calibration: Iterable[Inputs],
    *,
    task: Task = "multiclass",
    keep_float: Sequence[str] = (),
    full_range: bool = False,
    threads: int | None = None,
) -> Quantized:
    """Quantise an exported model.

    Args:
        model: the `.xml` file (or an `.onnx` one) in single precision; its first output are the logits (B, K).
        out: where the quantised `.xml` goes, its `.bin` beside it; `model` itself is written over.
        calibration: what the graph takes, of **training** records, in batches; gone through several times.
        task: of the model.
        keep_float: OpenVINO's names of operations that stay in single precision beside the classifier.
        full_range: eight bits for weights, for processors with VNNI.
        threads: of OpenVINO while the drift is measured; None leaves it to it.

    Raises:
        MissingExtraError: OpenVINO or NNCF is not installed.
        ModelError: no such model, nothing in it to quantise, or an operation to keep that it does not have.
        DataError: calibration inputs that cannot be used.
    """
    nncf, openvino = nncf_module(), openvino_module()
    source, batches = check_model_file(model, (".xml", ".onnx")), Batches(calibration)
    logging.getLogger("nncf").setLevel(logging.ERROR)
    network = read_model(source)
    kept = [_classifier(network), *_known(network, keep_float)]
    advanced = require("nncf.quantization.advanced_parameters", extra="openvino")
    fix = advanced.OverflowFix.DISABLE if full_range else advanced.OverflowFix.ENABLE
    with signal_stack_kept():
        quantized = nncf.quantize(
            network, nncf.Dataset(batches), subset_size=sum(1 for _ in batches), preset=nncf.QuantizationPreset.MIXED,
            ignored_scope=nncf.IgnoredScope(names=kept),
            advanced_parameters=advanced.AdvancedQuantizationParameters(overflow_fix=fix),
        )  # fmt: skip
    judged = batches.first(NUM_JUDGED)
    first, second = (_scores(one, judged, task, threads) for one in (read_model(source), quantized))
    out.parent.mkdir(parents=True, exist_ok=True)
    openvino.save_model(quantized, str(out), compress_to_fp16=False)
    return Quantized(
        path=out, method="NNCF, mixed, bias correction", num_calibration=batches.count(),
        drift=relative_error(first, second), weight_bits=8 if full_range else 7, kept_float=tuple(kept),
    )  # fmt: skip


def nncf_module() -> Any:
    """Import NNCF without the package that reports every call to its makers, which it uses unasked.

    Raises:
        MissingExtraError: it is not installed.
    """
    before = sys.modules.get(TELEMETRY)
    sys.modules[TELEMETRY] = None  # type: ignore[assignment]  # an import of it fails, and NNCF goes without
    try:
        return require("nncf", extra="openvino")
    finally:
        del sys.modules[TELEMETRY]
        if before is not None:
            sys.modules[TELEMETRY] = before


def _scores(model: Any, batches: list[Inputs], task: Task, threads: int | None) -> npt.NDArray[np.float64]:
    """Return the logits (N, K) in single precision, without what a soft-max does not see."""
    compiled = compile_model(model, threads=threads)
    return centred(np.concatenate([np.array(compiled(batch)[0]) for batch in batches]), task)


def _classifier(network: Any) -> str:
    """Return the name of the last layer with weights on the way to the logits.

    Raises:
        ModelError: there is none.
    """
    waiting, seen = [network.outputs[0].get_node()], set[str]()
    while waiting:
        node = waiting.pop(0)
        name = str(node.get_friendly_name())
        if name in seen:
            continue
        seen.add(name)
        if node.get_type_name() in WEIGHTED:
            return name
        waiting += [port.get_source_output().get_node() for port in node.inputs()]
    raise ModelError("a layer with weights", got="none", where="the model", fix="a classical model stays as it is")


def _known(network: Any, names: Sequence[str]) -> list[str]:
    nodes = network.get_ordered_ops()
    known = [str(node.get_friendly_name()) for node in nodes if node.get_type_name() in WEIGHTED]
    for name in names:
        if name not in known:
            raise ModelError(
                "an operation of the model", got=f"`{name}`", where="keep_float", fix=did_you_mean(name, known)
            )  # fmt: skip
    return list(names)
