"""A saved model with the engine that is asked for: its own, or an export that is made once and kept."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from ringlight.errors import DataError, RunError, UserError, did_you_mean
from ringlight.files import file_sha256, unwritable
from ringlight.runtime import LOGGER, workspace_folder

if TYPE_CHECKING:
    from ringlight.inference.predictor import Predictor

FORMATS = {"onnxruntime": "onnx", "openvino": "openvino", "torch": "torch_export"}
"""What a model is exported as for an engine."""

ENGINES = tuple(FORMATS)


def require_engine(engine: str | None) -> None:
    """Refuse an engine that nobody knows.

    Raises:
        UserError: it is one.
    """
    if engine is not None and engine not in ENGINES:
        raise UserError("an engine", got=f"`{engine}`", where="--engine", fix=did_you_mean(engine, ENGINES))


def checksum_of(folder: Path) -> str:
    """Return one SHA-256 over the files of a model: of a bundle the one its version is registered with.

    Raises:
        BundleError: its index cannot be read.
    """
    from ringlight.inference.bundle import find_bundle
    from ringlight.inference.bundle_files import listed_files, seal_of
    from ringlight.inference.export_files import EXPORT, is_export

    if is_export(folder):
        return file_sha256(folder if folder.name == EXPORT else folder / EXPORT)  # it holds those of the other files
    return seal_of(listed_files(find_bundle(folder)))


def load_with(
    folder: Path, *, engine: str | None, threads: int | None, workspace: Path | str | None = None
) -> Predictor:
    """Load a model with an engine.

    A bundle is PyTorch's; for another engine it is exported, checked on its validation part, and kept in the
    workspace's cache. An export has the engine it was made for.

    Args:
        folder: a run, a bundle, the files of a version, or an export.
        engine: onnxruntime, openvino or torch; None for the model's own.
        threads: that work on one batch, where the engine can be told.
        workspace: whose cache.

    Raises:
        BundleError: it is damaged.
        UserError: it is an export for another engine.
        ModelError, RunError: it cannot be exported, or there are no records to check the export on.
        MissingExtraError: the engine is not installed.
    """
    from ringlight.inference.export_files import is_export
    from ringlight.inference.exported import open_export
    from ringlight.inference.predictor import Predictor

    if not is_export(folder):
        if engine in (None, "torch"):
            return Predictor.from_path(folder)
        folder = kept_export(folder, str(engine), workspace)
    bundle, opened = open_export(folder, threads=threads, is_alone=False)
    if engine is not None and opened.name != engine:
        raise UserError(
            f"a model that {engine} runs", got=f"an export for {opened.name}", where=str(folder),
            fix=f"export it anew: ringlight models export MODEL --format {FORMATS[engine]}",
        )  # fmt: skip
    return Predictor(bundle, engine=opened)


def kept_export(folder: Path, engine: str, workspace: Path | str | None) -> Path:
    """Return the export of a model for an engine, made where it is not there yet: by one process, others wait.

    Raises:
        ModelError, RunError: see :func:`load_with`.
        WorkspaceError: the cache cannot be written.
    """
    from ringlight.inference.export_files import is_export
    from ringlight.services.exports import export

    place = workspace_folder(workspace) / "cache" / "served" / f"{checksum_of(folder)[:16]}-{FORMATS[engine]}"
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(place.with_suffix(".lock"))
        lock.acquire()
    except OSError as error:
        raise unwritable(place, error) from error
    try:
        if not is_export(place):
            LOGGER.info("%s is exported for %s, once", folder, engine)
            export(folder, format=FORMATS[engine], out=place, workspace=workspace)
    except (RunError, DataError) as error:
        fix = f"export it with records to check it on, and serve that folder: ringlight models export {folder}"
        fix += f" --format {FORMATS[engine]} --data SOURCE --out FOLDER"
        raise type(error)(error.expected, got=error.got, where=error.where, fix=fix) from error
    finally:
        lock.release()
    return place
