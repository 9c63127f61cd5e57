"""Score files with a saved model: images, or windows of a signal."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ringlight.data.files import find_images
from ringlight.data.window_spec import WindowSpec
from ringlight.data.windows import WindowsSource
from ringlight.errors import DataError
from ringlight.inference.decisions import Result
from ringlight.inference.predictor import Predictor
from ringlight.runtime import LOGGER, workspace_folder
from ringlight.services.runs import load_model

ARRAYS = ".npz"
UNNAMED = r"channel_\d+"
"""What the source calls the channels of a file that does not name them."""


def predict_files(
    model: Path | str,
    paths: Sequence[Path],
    *,
    batch_size: int | None = None,
    threshold: float | None = None,
    operating_point: str | None = None,
    workspace: Path | str | None = None,
) -> Result:
    """Score images, a folder standing for every image below it, in order of name; or the windows of one file or folder.

    Windows come from an `.npz` file or a folder of recordings, which are cut as the model needs them; no labels are
    needed.

    Raises:
        DataError: an image cannot be read, or a folder holds none; windows of other channels or another length.
        BundleError: the model is missing, damaged, or of an unknown version.
        RunError: there is no such run.
    """
    loaded = load_model(model, workspace=workspace, threshold=threshold, operating_point=operating_point)
    if isinstance(loaded.bundle.input_spec, WindowSpec):
        return _predict_windows(loaded, loaded.bundle.input_spec, paths, workspace)
    files = [file for path in paths for file in _files(path.expanduser())]
    return loaded.predict(files, batch_size=batch_size)


def _predict_windows(
    loaded: Predictor, spec: WindowSpec, paths: Sequence[Path], workspace: Path | str | None
) -> Result:
    if len(paths) != 1:
        raise DataError(
            "one .npz file or one folder of recordings", got=f"{len(paths)} paths", where="ringlight predict",
            fix="predict them one after the other",
        )  # fmt: skip
    root = paths[0].expanduser().absolute()
    # What recordings are called stands in for labels, which nobody has when he asks for them.
    cut: dict[str, Any] = {} if root.suffix == ARRAYS else {"window_length": spec.length, "label_regex": "(.+)"}
    source = WindowsSource(root, cache=workspace_folder(workspace) / "cache", **cut)
    data = source.load()
    signals = data.signals
    unnamed = signals is not None and all(re.fullmatch(UNNAMED, name) for name in signals.channels)
    if signals is not None and unnamed and len(signals.channels) == spec.in_chans:
        LOGGER.warning("%s names no channels: taken in the model's order, %s", root, ", ".join(spec.channels))
        data = replace(data, signals=replace(signals, channels=spec.channels))
    return loaded.predict_records(data)


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    images = list(find_images(path).images.values())
    if not images:
        raise DataError("at least one image", got="none", where=str(path), fix="name images, or a folder that has some")
    return images
