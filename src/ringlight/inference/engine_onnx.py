"""ONNX Runtime as an engine, on the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ringlight.errors import BundleError, DataError
from ringlight.inference.export_files import FEATURES, FEATURES_INPUT, LOGITS, PREPARED_INPUT, RAW_INPUTS, Inside

if TYPE_CHECKING:
    from ringlight.inference.engines import Scored


INPUTS = (PREPARED_INPUT, *RAW_INPUTS.values(), FEATURES_INPUT)
"""What the input of a graph may be called: prepared, raw, or the features of a classical model."""


class OnnxEngine:
    """Runs an `.onnx` file with ONNX Runtime.

    A graph that takes pixels or windows as they are is given them: prepared inputs are turned back first, which is
    exact (:func:`~ringlight.inference.export_graph.raw_of`).

    Args:
        path: the file.
        threads: how many work on one run; None leaves it to ONNX Runtime, which takes a thread a core.
        inside: what the export says is in the graph beside the model; None: nothing.
        is_alone: whether its threads may keep their cores busy between two runs, waiting for the next: a little faster
            for who has the machine to himself, and a waste where others work beside it.

    Raises:
        BundleError: no readable model, or one with other inputs and outputs than Ringlight exports.
    """

    name = "onnxruntime"

    def __init__(
        self, path: Path, *, threads: int | None = None, inside: Inside | None = None, is_alone: bool = True
    ) -> None:
        self.path = Path(path)
        self.inside = inside or Inside()
        self.session = open_session(self.path, threads=threads, is_alone=is_alone)
        self.input_name = checked_names(
            [one.name for one in self.session.get_inputs()], [one.name for one in self.session.get_outputs()],
            self.inside, self.path,
        )  # fmt: skip
        self._shape = [size if isinstance(size, int) else None for size in self.session.get_inputs()[0].shape]
        names = [one.name for one in self.session.get_outputs()]
        self._names = names
        self._wanted = [name for name in (LOGITS, FEATURES) if name in names]

    def run(self, inputs: npt.NDArray[np.float32]) -> Scored:
        """Return raw logits (B, K), and features (B, D) where the graph gives them.

        Raises:
            DataError: inputs of another shape than the model takes.
        """
        found = self._outputs(inputs, self._wanted)
        return found[0], found[1] if len(found) > 1 else None

    def everything(self, inputs: npt.NDArray[np.float32]) -> dict[str, npt.NDArray[np.float32]]:
        """Return every output of the graph by its name."""
        return dict(zip(self._names, self._outputs(inputs, self._names), strict=True))

    def _outputs(self, inputs: npt.NDArray[np.float32], names: list[str]) -> list[npt.NDArray[np.float32]]:
        given = self.inside.fed(inputs)
        check_shape(given, self._shape, self.path)
        return [np.asarray(one, np.float32) for one in self.session.run(names, {self.input_name: given})]


def open_session(
    model: Path | bytes, *, threads: int | None = None, is_plain: bool = False, is_alone: bool = True
) -> Any:
    """Open a model for the CPU; `is_plain` leaves its graph as it is written, without fusions.

    Raises:
        BundleError: it cannot be read.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors: the rest is for the authors of the runtime
    if threads is not None:
        options.intra_op_num_threads = threads
    if not is_alone:
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if is_plain:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    where = "the exported model" if isinstance(model, bytes) else str(model)
    try:
        return onnxruntime.InferenceSession(
            model if isinstance(model, bytes) else str(model), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # its own classes share no base but this one
        raise BundleError(
            "a model that ONNX Runtime can open", got=str(error).strip().splitlines()[0], where=where,
            fix="export the model again",
        ) from error  # fmt: skip


def checked_names(inputs: list[str], outputs: list[str], inside: Inside, path: Path) -> str:
    """Return the input's name of a graph that is as Ringlight exports it.

    Raises:
        BundleError: it is another.
    """
    if len(inputs) != 1 or inputs[0] not in INPUTS or LOGITS not in outputs:
        raise BundleError(
            f"one input `input`, {' or '.join(f'`{name}`' for name in RAW_INPUTS.values())} and an output `{LOGITS}`",
            got=f"{', '.join(inputs)} -> {', '.join(outputs)}", where=str(path), fix="export the model again",
        )  # fmt: skip
    if (inputs[0] in RAW_INPUTS.values()) != (inside.raw_spec is not None):
        raise BundleError(
            "an input as export.json tells it", got=f"`{inputs[0]}`", where=str(path),
            fix="open the folder of the export, not its file alone",
        )  # fmt: skip
    return inputs[0]


def check_shape(given: npt.NDArray[Any], expected: list[int | None], path: Path) -> None:
    """Refuse an input of another shape; None stands for any size.

    Raises:
        DataError: it is one.
    """
    fits = given.ndim == len(expected) and all(
        want is None or want == size for want, size in zip(expected, given.shape, strict=True)
    )
    if not fits or not given.shape[0]:
        shape = ", ".join("B" if size is None else str(size) for size in expected)
        raise DataError(
            f"inputs ({shape})", got=f"shape {given.shape}", where=str(path),
            fix="bring them to the size the model was exported for",
        )  # fmt: skip
