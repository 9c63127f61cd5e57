"""To PyTorch's own formats: an exported program (`.pt2`) or TorchScript (`.ts`), and the engines that run them.

What is read back must not run code of whoever wrote it:

- `.pt2`: `torch.export.load` unpickles tensors that are marked so, falls back to full unpickling where the example
  input is no plain tensor, and evaluates the text of symbolic sizes. Ringlight writes neither pickled tensors nor an
  example, and refuses a file that has one (:func:`check_archive`); the sizes remain, so that **a `.pt2` is to be opened
  only from people you would run a program of**. The checksum in `export.json` tells damage, not intent.
- `.ts`: `torch.jit.load` unpickles in C++, which builds nothing but its own types, and interprets TorchScript, which
  reaches no file and no network.
"""

from __future__ import annotations

import io
import json
import pickle
import warnings
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from ringlight.errors import BundleError, DataError, ModelError
from ringlight.inference.export_files import FEATURES, LOGITS, Inside

if TYPE_CHECKING:
    from torch import Tensor
    from torch.export import ExportedProgram

    from ringlight.inference.engines import Scored
    from ringlight.inference.export_graph import ExportGraph

DEPRECATED = r"`torch\.jit\."
"""PyTorch says so of all of TorchScript; devices with an older PyTorch have nothing else."""


def write_torch_export(program: ExportedProgram, path: Path) -> None:
    """Write a traced graph as `.pt2`; no example input goes with it."""
    program.example_inputs = None
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning, module=r"torch\.export")
        torch.export.save(program, path)


def write_torchscript(graph: ExportGraph, example: Tensor, path: Path) -> None:
    """Write a graph as TorchScript, by tracing.

    A trace keeps what happened for one batch. The graph is therefore traced with two records, and refused where what it
    gives for other numbers of them is something else.

    Raises:
        ModelError: it depends on the number of records.
    """
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.filterwarnings("ignore", message=DEPRECATED)
        # A size that becomes a constant of the trace: the comparison below tells whether it matters.
        warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)  # type: ignore[attr-defined]  # it is there
        traced = torch.jit.trace(graph, (example,), check_trace=False)  # type: ignore[no-untyped-call]
        for number in (1, 3):
            given = example[:1].repeat(number, *[1] * (example.ndim - 1))
            try:
                same = all(
                    torch.allclose(one, two, rtol=1e-3, atol=1e-4)
                    for one, two in zip(traced(given), graph(given), strict=True)
                )
            except RuntimeError:
                same = False
            if not same:
                raise ModelError(
                    "a model that computes alike for every number of records", got=f"others for {number}",
                    where="--format torchscript", fix="use --format torch_export or onnx",
                )  # fmt: skip
        traced.save(str(path))


class TorchFileEngine:
    """Runs a `.ts` or `.pt2` file with PyTorch on the CPU.

    Args:
        path: the file.
        inside: what the export says is in the graph beside the model; None: nothing.
        outputs: what the graph gives, in order.

    Raises:
        BundleError: it cannot be read, or holds something that would be unpickled.
    """

    def __init__(self, path: Path, *, inside: Inside | None = None, outputs: tuple[str, ...] = (LOGITS,)) -> None:
        self.path = Path(path)
        self.inside = inside or Inside()
        self.outputs = outputs
        self.name = "torch_export" if self.path.suffix == ".pt2" else "torchscript"
        self._module = _load_program(self.path) if self.path.suffix == ".pt2" else _load_script(self.path)

    def run(self, inputs: npt.NDArray[np.float32]) -> Scored:
        """Return raw logits (B, K), and features (B, D) where the graph gives them.

        Raises:
            DataError: inputs of another shape than the model takes.
        """
        found = self.everything(inputs)
        return found[LOGITS], found.get(FEATURES)

    def everything(self, inputs: npt.NDArray[np.float32]) -> dict[str, npt.NDArray[np.float32]]:
        """Return every output of the graph by its name."""
        given = torch.from_numpy(np.array(self.inside.fed(inputs)))  # a copy: torch refuses memory it may not write
        try:
            with torch.inference_mode():
                found = self._module(given)
        except (RuntimeError, AssertionError) as error:  # a guard of an exported program is an assertion
            raise DataError(
                "inputs of the shape the model was exported for", got=f"shape {tuple(given.shape)}",
                where=str(self.path), fix="bring them to its size",
            ) from error  # fmt: skip
        return {name: value.numpy() for name, value in zip(self.outputs, found, strict=True)}


def _load_program(path: Path) -> Any:
    check_archive(path)
    try:
        return torch.export.load(path).module()
    except (RuntimeError, ValueError, KeyError, OSError) as error:
        raise _unreadable(path, error) from error


def _load_script(path: Path) -> Any:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=DEPRECATED)
        try:
            return torch.jit.load(str(path), map_location="cpu").eval()  # type: ignore[no-untyped-call]
        except (RuntimeError, ValueError, OSError) as error:
            raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> BundleError:
    lines = str(error).strip().splitlines()
    return BundleError(
        "a model that PyTorch can open", got=lines[0] if lines else type(error).__name__, where=str(path),
        fix="export the model again",
    )  # fmt: skip


def check_archive(path: Path) -> None:
    """Refuse a `.pt2` that `torch.export.load` would unpickle something of.

    Raises:
        BundleError: it would, or it is no archive.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            found = _pickled(archive)
    except (OSError, zipfile.BadZipFile, ValueError) as error:
        raise _unreadable(path, error) from error
    if found is not None:
        raise BundleError(
            "a program without pickled parts", got=found, where=str(path),
            fix="export the model again with Ringlight, which writes none",
        )  # fmt: skip


def _pickled(archive: zipfile.ZipFile) -> str | None:
    """Return the name of what would be unpickled."""
    for name in archive.namelist():
        inner = name.partition("/")[2]
        if inner.endswith("_config.json"):
            entries = json.loads(archive.read(name)).get("config", {})
            pickled = next((key for key, value in entries.items() if value.get("use_pickle")), None)
            if pickled is not None:
                return f"`{pickled}`"
        elif inner.startswith("data/constants/") and "tensor" not in inner:
            return f"`{inner}`"
        elif inner.startswith("data/sample_inputs/"):
            example = archive.read(name)
            try:
                if example:  # none, as Ringlight writes it, is an empty file
                    torch.load(io.BytesIO(example), weights_only=True)
            except (
                pickle.UnpicklingError,
                RuntimeError,
                EOFError,
                ValueError,
                KeyError,
            ):  # next it is unpickled in full
                return f"`{inner}`"
        elif inner.startswith("data/aotinductor"):
            return f"`{inner}`, compiled code"
    return None
