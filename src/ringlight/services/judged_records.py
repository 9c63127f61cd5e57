"""Labelled records that a saved model is looked at with: a part of its own run, or what a user names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ringlight.config.load import read_config
from ringlight.data.checks import Inspection
from ringlight.data.specs import Spec
from ringlight.data.window_spec import WindowSpec
from ringlight.errors import DataError, RunError
from ringlight.services.datasets import OpenedData, open_data
from ringlight.services.runs import cache_of, refuse_arrays
from ringlight.services.saved_models import SavedModel
from ringlight.services.standing import read_manifest
from ringlight.training.evaluate import conform
from ringlight.training.open_set import hold_out
from ringlight.training.records import check_dataset, load_dataset
from ringlight.types import Dataset


def require_run(opened: SavedModel, part: str, fix: str) -> Path:
    """Return the folder of the run of a model.

    Raises:
        RunError: it stands alone, or its run was trained on arrays; `fix` says what to do then.
    """
    if opened.run is None or opened.saved is None:
        raise RunError(
            f"a run, which has a {part} part of its own", got="a bundle that stands alone", where=str(opened.folder),
            fix=fix,
        )  # fmt: skip
    refuse_arrays(opened.run)
    return opened.run


def part_of_run(opened: SavedModel, part: str, workspace: Path | str | None, *, fix: str) -> Dataset:
    """Return a part of a run, exactly as its split file says.

    Args:
        opened: a model whose run is there (:func:`require_run`).
        part: train, val or test.
        workspace: where runs are looked up by name.
        fix: what to do where the data has changed, beside bringing it back.

    Raises:
        RunError: the data is no longer what the run saw.
    """
    run, saved = opened.run, opened.saved
    if run is None or saved is None:
        raise RunError("a run", got="a bundle that stands alone", where=str(opened.folder), fix=fix)
    config = read_config(run / "config.yaml")
    data, _ = hold_out(load_dataset(config, cache_of(run, workspace)).dataset, config.split.held_out_class)
    expected = read_manifest(run).get("dataset_fingerprint")
    if expected != data.fingerprint:
        raise RunError(
            f"the data of the run (fingerprint {str(expected)[:12]})", got=data.fingerprint[:12],
            where=str(run), fix=f"bring it back as it was, or {fix}",
        )  # fmt: skip
    rows = [row for row, key in enumerate(data.ids) if saved.parts.get(key) == part]
    groups = [saved.groups.get(key) for key in data.ids]
    return data.with_column("group", groups).take(rows)


def named_records(
    opened: SavedModel, source: str, overrides: Sequence[str], workspace: Path | str | None
) -> tuple[OpenedData, Inspection, Dataset]:
    """Open labelled records and number their labels as the model does.

    Returns:
        What was opened, what was found in it, and the records.

    Raises:
        DataError: nothing there, no images, labels the model never saw, or records that it was not made for.
    """
    home = workspace if opened.run is None else cache_of(opened.run, workspace).parent
    shown = open_data(source, overrides, workspace=home)
    if not shown.dataset.has_content:
        raise DataError(
            "records with images", got="a label-only table", where=shown.dataset.name,
            fix="name the column that holds the paths: data.path_column=COLUMN",
        )  # fmt: skip
    inspection = check_dataset(shown.dataset)
    require_input(opened.bundle.input_spec, inspection)
    data = conform(inspection.dataset, opened.bundle.classes, opened.bundle.task, where=shown.dataset.name)
    return shown, inspection, data


def require_input(spec: Spec, inspection: Inspection) -> None:
    """Refuse records that the model was not made for: pictures of many sizes at full size, other channels, images.

    Raises:
        DataError: they are such.
    """
    data, sizes = inspection.dataset, len(inspection.image_sizes)
    if isinstance(spec, WindowSpec):
        spec.require(data.signals, data.name)
    elif data.signals is not None:
        raise DataError(
            "images", got="windows of a signal", where=data.name, fix="choose data of images for this model"
        )
    elif spec.image_size is None and sizes > 1:
        raise DataError(
            "images of one size, as the model takes them at full size", got=f"{sizes} sizes", where=data.name,
            fix="judge the sizes one after the other",
        )  # fmt: skip
