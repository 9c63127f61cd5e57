"""Export a trained model, proved on real records of its validation part."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ringlight.data.preprocess import InputSpec
from ringlight.errors import BundleError, DataError
from ringlight.inference.export import ExportOptions, export_model
from ringlight.inference.export_files import Export, check_format, is_export
from ringlight.inference.export_parity import NUM_RECORDS, Inputs, Sample
from ringlight.runtime import workspace_folder
from ringlight.services.judged_records import named_records, part_of_run, require_run
from ringlight.services.runs import cache_of, model_folder
from ringlight.services.saved_models import SavedModel, open_model
from ringlight.training.feeding import Feeder

if TYPE_CHECKING:
    from torch import nn

    from ringlight.types import Dataset

EXPORTS = "exports"
"""Where exports lie in a workspace."""


def export(
    model: Path | str,
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
    out: Path | None = None,
    module: nn.Module | None = None,
    workspace: Path | str | None = None,
) -> Export:
    """Write a model for another runtime, once it was found to score as PyTorch does.

    Args:
        model: a run (its folder or name), a bundle folder, or a registered version (`NAME`, `NAME@3`).
        format: onnx, openvino, torchscript or torch_export.
        precision: f32, f16 or, with OpenVINO, bf16.
        opset: ONNX's operator set, 18 to 24; None takes 18.
        preprocess: the graph takes pixels, or windows in physical units, and normalises them itself.
        calibrated: the graph gives calibrated probabilities as well.
        tolerance: how far a probability may move, between 0 and 1; None takes 1e-4, in half precision 1e-2.
        data: a recipe, folder or table with labelled records to check it on; None takes the run's validation part.
        overrides: configuration keys that say how `data` is read.
        num_records: no more than so many, evenly spaced over the part.
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
        format=check_format(format), precision=precision, opset=18 if opset is None else opset, preprocess=preprocess,
        calibrated=calibrated, tolerance=tolerance,
    )  # fmt: skip
    _check_number(num_records)
    folder = model_folder(model, workspace)
    if is_export(folder):
        raise BundleError(
            "a run, a bundle or a version", got="an export", where=str(folder),
            fix="name the model that it was made of",
        )  # fmt: skip
    opened = open_model(folder, workspace, None, None, module)
    sample = sample_of(opened, data, overrides, num_records=num_records, workspace=workspace)
    with opened.conditions():
        return export_model(
            opened.bundle, opened.learner.module, sample, out or default_folder(opened, options, workspace), options
        )


def sample_of(
    opened: SavedModel, source: str | None, overrides: Sequence[str] = (), *, num_records: int,
    workspace: Path | str | None = None, part: str = "val",
) -> Sample:  # fmt: skip
    """Return labelled records of a model's validation part (or another), or of a source that is named.

    Raises:
        RunError: the model stands alone and no source is named, or its run's data changed.
        DataError: there is no record, or none that the model was made for.
    """
    if source is None:
        require_run(opened, "validation", "name labelled records to check the export on: --data SOURCE")
        records = part_of_run(opened, part, workspace, fix="name other records with --data SOURCE")
        told = f"{opened.name}, {part}"
        if not len(records):
            raise DataError(
                "records in the validation part", got="none", where=str(opened.run),
                fix="name labelled records to check the export on: --data SOURCE",
            )  # fmt: skip
    else:
        records = named_records(opened, source, overrides, workspace)[2]
        told = records.name
    chosen = records.take(spaced(len(records), num_records))
    return Sample(
        ids=chosen.ids, targets=np.asarray(chosen.targets()), batches=lambda: _batches(opened, chosen), source=told,
        groups=chosen.groups,
    )  # fmt: skip


def spaced(total: int, wanted: int) -> list[int]:
    """Return up to `wanted` of `total` rows, evenly spaced, so that records in order of class are all represented.

    Examples:
        >>> spaced(10, 4), spaced(3, 5)
        ([0, 3, 6, 9], [0, 1, 2])
    """
    if total <= wanted:
        return list(range(total))
    return [int(row) for row in np.linspace(0, total - 1, wanted).round()]


def _batches(opened: SavedModel, records: Dataset) -> Iterator[Inputs]:
    """Yield prepared inputs as they are judged: the same loader, the same batches."""
    for batch in Feeder(opened.bundle.input_spec, opened.learner.device).loader(records):
        yield batch["input"].numpy()


def default_folder(opened: SavedModel, options: ExportOptions, workspace: Path | str | None) -> Path:
    """Return where an export goes: `exports/NAME-3-onnx`, with what sets it apart from others of its kind."""
    home = workspace_folder(workspace) if opened.run is None else cache_of(opened.run, workspace).parent
    words = [opened.name.replace("@", "-"), options.format.replace("_", "-")]
    words += [options.precision] * (options.precision != "f32")
    words += ["pixels" if isinstance(opened.bundle.input_spec, InputSpec) else "windows"] * options.preprocess
    return home / EXPORTS / "-".join(words)


def _check_number(num_records: int) -> None:
    if num_records < 2:
        raise DataError("2 records or more", got=str(num_records), where="--records", fix=f"{NUM_RECORDS} is usual")
