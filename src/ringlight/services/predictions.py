"""Score files with a saved model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ringlight.data.files import find_images
from ringlight.errors import DataError
from ringlight.inference.predictor import Result
from ringlight.services.runs import load_model


def predict_files(
    model: Path | str,
    paths: Sequence[Path],
    *,
    batch_size: int = 8,
    threshold: float | None = None,
    operating_point: str | None = None,
    workspace: Path | str | None = None,
) -> Result:
    """Score images; a folder stands for every image below it, in order of name.

    Raises:
        DataError: an image cannot be read, or a folder holds none.
        BundleError: the model is missing, damaged, or of an unknown version.
        RunError: there is no such run.
    """
    files = [file for path in paths for file in _files(path.expanduser())]
    loaded = load_model(model, workspace=workspace, threshold=threshold, operating_point=operating_point)
    return loaded.predict(files, batch_size=batch_size)


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    images = list(find_images(path).images.values())
    if not images:
        raise DataError("at least one image", got="none", where=str(path), fix="name images, or a folder that has some")
    return images
