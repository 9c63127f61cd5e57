"""OpenVINO as an engine, on the CPU: in single precision, or in bfloat16 where that is asked for.

Left to itself OpenVINO computes in bfloat16 on a processor that knows it, which moves probabilities by up to a tenth
(8 bits of mantissa): the same file then decides otherwise on another machine. So its precision hint is always set.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

import numpy as np
import numpy.typing as npt

from ringlight.errors import BundleError, UserError, did_you_mean
from ringlight.inference.engine_onnx import check_shape, checked_names
from ringlight.inference.export_files import FEATURES, LOGITS, Inside
from ringlight.optional import require

if TYPE_CHECKING:
    from ringlight.inference.engines import Scored

Hint = Literal["f32", "bf16"]


class OpenVinoEngine:
    """Runs an OpenVINO model (`.xml` beside its `.bin`) or an `.onnx` file on the CPU.

    Args:
        path: the file.
        precision: what is computed in: f32 (parity with PyTorch), or bf16 (quicker on processors that know it, and
            another model: probabilities move).
        threads: how many work on one run; None leaves it to OpenVINO.
        inside: what the export says is in the graph beside the model; None: nothing.

    Raises:
        MissingExtraError: OpenVINO is not installed.
        UserError: an unknown precision.
        BundleError: no readable model, or one with other inputs and outputs than Ringlight exports.
    """

    name = "openvino"

    def __init__(
        self, path: Path, *, precision: Hint = "f32", threads: int | None = None, inside: Inside | None = None
    ) -> None:
        if precision not in get_args(Hint):
            raise UserError(
                "f32 or bf16", got=f"`{precision}`", where="precision", fix=did_you_mean(precision, get_args(Hint))
            )
        self.path = Path(path)
        self.precision = precision
        self.inside = inside or Inside()
        model = read_model(self.path)
        outputs = [name for one in model.outputs for name in one.get_names()]
        self.input_name = checked_names(
            [name for one in model.inputs for name in one.get_names()], outputs, self.inside, self.path
        )
        shape = model.inputs[0].get_partial_shape()
        self._shape = [side.get_length() if side.is_static else None for side in shape]
        self._names = outputs
        self._compiled = compile_model(model, precision=precision, threads=threads)
        self._request = self._compiled.create_infer_request()

    def run(self, inputs: npt.NDArray[np.float32]) -> Scored:
        """Return raw logits (B, K), and features (B, D) where the graph gives them.

        Raises:
            DataError: inputs of another shape than the model takes.
        """
        found = self.everything(inputs)
        return found[LOGITS], found.get(FEATURES)

    def everything(self, inputs: npt.NDArray[np.float32]) -> dict[str, npt.NDArray[np.float32]]:
        """Return every output of the graph by its name."""
        given = self.inside.fed(inputs)
        check_shape(given, self._shape, self.path)
        found = self._request.infer({self.input_name: given})
        # Copies: the request's own memory is used again.
        return {name: np.array(found[name], np.float32) for name in self._names}


def read_model(path: Path) -> Any:
    """Read a model without compiling it, its weights into memory: a mapped file that changes would change the model.

    Raises:
        MissingExtraError: OpenVINO is not installed.
        BundleError: it cannot be read.
    """
    core = openvino_module().Core()
    core.set_property({"ENABLE_MMAP": False})
    try:
        return core.read_model(path)
    except RuntimeError as error:
        raise BundleError(
            "a model that OpenVINO can open", got=str(error).strip().splitlines()[-1], where=str(path),
            fix="export the model again",
        ) from error  # fmt: skip


def compile_model(model: Any, *, precision: Hint = "f32", threads: int | None = None) -> Any:
    """Compile a model for the CPU, for one run at a time."""
    settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"}
    if threads is not None:
        settings["INFERENCE_NUM_THREADS"] = threads
    with signal_stack_kept():
        return openvino_module().Core().compile_model(model, "CPU", settings)


class _SignalStack(ctypes.Structure):
    """`stack_t` of sigaltstack(2)."""

    _fields_: ClassVar = [("ss_sp", ctypes.c_void_p), ("ss_flags", ctypes.c_int), ("ss_size", ctypes.c_size_t)]


@contextmanager
def signal_stack_kept() -> Iterator[None]:
    """Give this thread its stack for signals back after a block that loads OpenVINO's CPU plugin.

    On Linux each instance of the plugin puts a stack of its own in the place of the one there is (room for the
    registers of AMX); when it is destroyed it puts that one back, if its own still is in use, and unmaps its own. Of
    two that are not destroyed in the reverse order of their making, the second puts back what the first has unmapped:
    the next signal (SIGCHLD of a child, SIGTERM to a server that has changed its model) then ends the process without
    a word. Python's own stack has room for those registers, and without one a handler runs on the thread's.
    """
    if sys.platform != "linux":
        yield
        return
    library, kept = ctypes.CDLL(None), _SignalStack()
    library.sigaltstack(None, ctypes.byref(kept))
    try:
        yield
    finally:
        library.sigaltstack(ctypes.byref(kept), None)


def openvino_module() -> Any:
    """Import OpenVINO.

    Its `convert_model` is not used: it reports every call to its makers unless the user has opted out. Reading an
    `.onnx` file does the same conversion and reports nothing.

    Raises:
        MissingExtraError: it is not installed.
    """
    return require("openvino", extra="openvino")
