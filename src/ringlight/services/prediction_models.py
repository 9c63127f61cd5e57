"""The models that `predict` asks: opened by any of their names, with the point and the views that are wanted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ringlight.errors import DataError, RunError, UserError
from ringlight.files import file_sha256
from ringlight.inference.bundle_files import INDEX
from ringlight.inference.decisions import class_columns
from ringlight.inference.ensembling import Scorer, in_views
from ringlight.inference.predictor import Predictor
from ringlight.inference.tta import VIEWS
from ringlight.services.model_places import load_model, model_folder
from ringlight.services.prediction_files import Column
from ringlight.services.version_files import reference_of

INDEXES = (INDEX, f"bundle/{INDEX}", "export.json")
"""What says everything about a model, checksums of its weights included, wherever it lies."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One model, or an ensemble, with what makes its rows: `settings` are plain values, the same for the same rows."""

    scorer: Scorer
    settings: dict[str, Any]

    @property
    def columns(self) -> list[Column]:
        """The columns of a file of rows."""
        classes = set(class_columns(self.scorer.decider.bundle.classes))
        kinds = {"to_human": "flag", "unknown": "flag", "uncertainty": "number"}
        found = [
            Column(name, "number" if name in classes else kinds.get(name, "text"))  # type: ignore[arg-type]
            for name in self.scorer.decider.columns
        ]
        return [*found, Column("error", "text")]


def ask(
    models: Sequence[Path | str], *, threshold: float | None = None, operating_point: str | None = None,
    tta_runs: int | None = None, workspace: Path | str | None = None,
) -> Asked:  # fmt: skip
    """Open one model, or several as an ensemble.

    Args:
        models: runs, bundles, exports or versions; the first names the classes' order.
        threshold: of every label of a multi-label model.
        operating_point: one of the model's own, or `default`.
        tta_runs: views of each image, 1 to 8; as the model was saved when None.
        workspace: where names are looked up.

    Raises:
        UserError: an ensemble with a threshold or a point, or views that are not 1 to 8.
        RunError: there is no such run, or members of an ensemble do not know the same classes.
        BundleError: a model is missing, damaged, or of an unknown version.
        DataError: a point or a threshold that the model cannot be asked with.
    """
    check_views(tta_runs)
    if len(models) > 1 and (threshold is not None or operating_point is not None):
        raise UserError(
            "--ensemble without --operating-point and --threshold", got="both", where="ringlight predict",
            fix="leave them out: no threshold was fixed for the mean of several models",
        )  # fmt: skip
    members: dict[str, Predictor] = {}
    identities: list[str] = []
    for model in models:
        folder = model_folder(model, workspace)
        identity, name = identity_of(folder), reference_of(folder) or folder.absolute().name
        if identity in identities:
            raise RunError("every model once", got=f"`{name}` twice", where="--ensemble", fix="name another one")
        one = load_model(folder, threshold=threshold, operating_point=operating_point)
        if tta_runs is not None:
            in_views(one, tta_runs)
        members[str(model) if name in members else name] = one
        identities.append(identity)
    return asked_of(Scorer(members), identities)


def check_views(tta_runs: int | None) -> None:
    """Refuse a number of views that there is not.

    Raises:
        UserError: it is not 1 to 8.
    """
    if tta_runs is not None and tta_runs not in range(1, len(VIEWS) + 1):
        raise UserError(f"1 (off) to {len(VIEWS)} views of an image", got=str(tta_runs), where="--tta", fix="use 4")


def asked_of(scorer: Scorer, identities: Sequence[str]) -> Asked:
    """Return loaded models with what makes their rows; `identities` are checksums that stand for their weights."""
    point = scorer.decider.point
    return Asked(
        scorer,
        {
            "model": list(scorer.names),
            "checksum": list(identities),
            "operating_point": point.name,
            "thresholds": list(point.thresholds),
            "views": [member.tta.runs for member in scorer.members],
        },
    )


def identity_of(folder: Path) -> str:
    """Return the SHA-256 of a model's index, which holds the checksums of its weights.

    Raises:
        DataError: there is none.
    """
    for name in INDEXES:
        if (folder / name).is_file():
            return file_sha256(folder / name)
    if folder.is_file():
        return identity_of(folder.parent)
    raise DataError("a model", got="a folder without one", where=str(folder), fix="name a bundle or a finished run")
