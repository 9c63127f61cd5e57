"""Where saved models lie: found by a path, the name of a run, or that of a registered version; and loaded.

Nothing of a training is loaded for it: a server and a prediction start with what they need.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from ringlight.errors import BundleError, RunError
from ringlight.inference.bundle_files import INDEX
from ringlight.inference.export_files import EXPORT
from ringlight.runtime import workspace_folder
from ringlight.services.registered import registered_folder
from ringlight.services.standing import MANIFEST, read_manifest
from ringlight.training.fold_files import is_cross_validation

if TYPE_CHECKING:
    from torch import nn

    from ringlight.inference.predictor import Predictor


def load_model(
    model: Path | str, *, workspace: Path | str | None = None, device: str = "auto", threshold: float | None = None,
    operating_point: str | None = None, module: nn.Module | None = None,
) -> Predictor:  # fmt: skip
    """Load a saved model by any of its names (:func:`model_folder`); `module` is one that is in no catalogue.

    Raises:
        UserError: nothing has this name; the bundle is damaged or unknown; a threshold or a point that cannot be used.
    """
    from ringlight.inference.predictor import Predictor

    return Predictor.from_path(
        model_folder(model, workspace), device=device, threshold=threshold, operating_point=operating_point,
        module=module,
    )  # fmt: skip


def model_folder(model: Path | str, workspace: Path | str | None = None) -> Path:
    """Return where a saved model lies: a bundle, a finished run (its path or name), a registered version (`NAME@3`).

    A path that holds a model is that model. Of equal names a run's whole name wins, then a registered model's, then the
    beginning of a run's: a folder of parts may be called as the model that judges them.

    Raises:
        BundleError: the run has no model yet.
        RunError: there is no such run.
        ModelError: a registered model has no such version, or none is active.
    """
    path = Path(model).expanduser()
    named = None if holds_model(path) else registered_folder(str(model), workspace)
    folder = named or (path if path.exists() else find_run(model, workspace))
    if is_cross_validation(folder):
        raise BundleError(
            "a run, which has a model", got="a cross-validation, which keeps none of its folds' models",
            where=str(folder), fix="train the recipe with ringlight train",
        )  # fmt: skip
    if (folder / MANIFEST).is_file() and not (folder / "bundle" / INDEX).is_file():
        raise BundleError(
            "a finished run, which has a model", got=f"one that is {read_manifest(folder).get('status')}",
            where=str(folder), fix=f"finish it with ringlight train --resume {shlex.quote(str(folder))}",
        )  # fmt: skip
    return folder


def holds_model(path: Path) -> bool:
    """Return whether a path is a model: a file, or a folder of a run, a bundle or an export."""
    return path.is_file() or any((path / name).exists() for name in (INDEX, "bundle", MANIFEST, EXPORT))


def find_run(run: Path | str, workspace: Path | str | None = None) -> Path:
    """Return a run's folder: a path, or the (beginning of the) name of a run in the workspace.

    Raises:
        RunError: there is none, or more than one.
    """
    path = Path(run).expanduser()
    if (path / MANIFEST).is_file():
        return path
    runs = workspace_folder(workspace) / "runs"
    known = sorted(manifest.parent for manifest in runs.glob(f"[!.]*/{MANIFEST}"))
    found = [folder for folder in known if str(run) and folder.name.startswith(str(run))]
    exact = [folder for folder in found if folder.name == str(run)]
    if len(found) == 1 or exact:
        return (exact or found)[0]
    listed = [folder.name for folder in (found or known)[-5:]]
    raise RunError(
        "a run folder, or the beginning of the name of one run",
        got=f"`{run}`, which names {len(found)}",
        where=str(runs),
        fix=f"name one of them, such as {', '.join(listed)}"
        if listed
        else "there is no run yet: start with ringlight train",
    )
