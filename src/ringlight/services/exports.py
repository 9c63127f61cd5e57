"""Export a trained model, proved on real records of its validation part."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ringlight.data.preprocess import InputSpec
from ringlight.errors import BundleError, DataError
from ringlight.inference.export import ExportOptions, export_model
from ringlight.inference.export_files import Export, check_format, is_export
from ringlight.inference.export_parity import NUM_RECORDS
from ringlight.runtime import workspace_folder
from ringlight.services.export_records import sample_of
from ringlight.services.exports_int8 import Int8Change, Int8Options
from ringlight.services.model_places import model_folder
from ringlight.services.runs import Run, cache_of
from ringlight.services.saved_models import SavedModel, open_model

if TYPE_CHECKING:
    from torch import nn

EXPORTS = "exports"
"""Where exports lie in a workspace."""


def export(
    model: Path | str | Run,
    *,
    format: str = "onnx",
    precision: str = "f32",
    opset: int | None = None,
    preprocess: bool = False,
    calibrated: bool = False,
    tolerance: float | None = None,
    data: str | None = None,
    overrides: Sequence[str] = (),
    num_records: int = NUM_RECORDS,
    int8: bool = False,
    max_loss: float | None = None,
    guarded: Sequence[str] | None = None,
    accept_undecided: bool = False,
    max_drift: float | None = None,
    keep_float: Sequence[str] = (),
    out: Path | str | None = None,
    module: nn.Module | None = None,
    workspace: Path | str | None = None,
) -> Export:
    """Write a model for another runtime, once it was found to score as PyTorch does.

    Args:
        model: a run (itself, its folder or name), a bundle folder, or a registered version (`NAME`, `NAME@3`).
        format: onnx, openvino, torchscript or torch_export.
        precision: f32, f16 or, with OpenVINO, bf16.
        opset: ONNX's operator set, 18 to 24; None takes 18.
        preprocess: the graph takes pixels, or windows in physical units, and normalises them itself.
        calibrated: the graph gives calibrated probabilities as well.
        tolerance: how far a probability may move, between 0 and 1; None takes 1e-4, in half precision 1e-2.
        data: a recipe, folder or table with labelled records to check it on; None takes the run's validation part.
        overrides: configuration keys that say how `data` is read.
        num_records: no more than so many, evenly spaced over the part.
        int8: 8-bit whole numbers (onnx, openvino) once it is proved: calibrated on training records, with operating
            points fixed again, refused where it decides worse.
        max_loss: with `int8`: macro-F1 that may be lost; None takes 0.002.
        guarded: with `int8`: classes whose recall may not fall; None takes those of operating points.
        accept_undecided: with `int8`: go on where too few records say how good it is.
        max_drift: with `int8`: relative error of the scores that is refused whatever the labels say; None takes 0.15.
        keep_float: with `int8`: layers that stay in single precision, as a refusal names them.
        out: the folder to write; None takes one in the workspace's `exports/`.
        module: the model itself, where it is in no catalogue.
        workspace: where runs and versions are looked up by name.

    Raises:
        UserError: a format or a choice that is not there, or a folder that is.
        RunError: there is no such run, or its data changed.
        BundleError: the model is damaged.
        DataError: no records to check it on.
        ModelError: the model cannot be written so, or was written as another one.
        MissingExtraError: the format's library is not installed.
    """
    options = ExportOptions(
        format=check_format(format), precision=precision,  # type: ignore[arg-type]  # checked there
        opset=18 if opset is None else opset, preprocess=preprocess,
        calibrated=calibrated, tolerance=tolerance,
    )  # fmt: skip
    _check_number(num_records)
    folder = model_folder(model.folder if isinstance(model, Run) else model, workspace)
    if is_export(folder):
        raise BundleError(
            "a run, a bundle or a version", got="an export", where=str(folder),
            fix="name the model that it was made of",
        )  # fmt: skip
    opened = open_model(folder, workspace, None, None, module)
    choices = Int8Options(
        max_loss=max_loss, guarded=guarded, accept_undecided=accept_undecided, max_drift=max_drift,
        keep_float=keep_float,
    )  # fmt: skip
    change = Int8Change(opened, options, choices, workspace) if int8 else None
    sample = sample_of(opened, data, overrides, num_records=num_records, workspace=workspace)
    place = default_folder(opened, options, workspace, is_int8=int8) if out is None else Path(out)
    with opened.conditions():
        return export_model(opened.bundle, opened.learner.module, sample, place, options, change)


def default_folder(
    opened: SavedModel, options: ExportOptions, workspace: Path | str | None, *, is_int8: bool = False
) -> Path:
    """Return where an export goes: `exports/NAME-3-onnx`, with what sets it apart from others of its kind."""
    home = workspace_folder(workspace) if opened.run is None else cache_of(opened.run, workspace).parent
    words = [opened.name.replace("@", "-"), options.format.replace("_", "-")]
    words += ["int8"] * is_int8 + [options.precision] * (options.precision != "f32")
    words += ["pixels" if isinstance(opened.bundle.input_spec, InputSpec) else "windows"] * options.preprocess
    return home / EXPORTS / "-".join(words)


def _check_number(num_records: int) -> None:
    if num_records < 2:
        raise DataError("2 records or more", got=str(num_records), where="--records", fix=f"{NUM_RECORDS} is usual")
