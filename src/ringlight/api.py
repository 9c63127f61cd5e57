"""The Python API: `import ringlight as rl; run = rl.train("severstal", ["training.num_epochs=2"])`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ringlight.errors import UserError
from ringlight.inference.predictor import Predictor
from ringlight.services import evaluations, runs
from ringlight.services.evaluations import Evaluation
from ringlight.services.runs import Run
from ringlight.training.compare import Comparison, compare_results, load_results

if TYPE_CHECKING:
    from ringlight.types import RunControl, Tracker

__all__ = [
    "Comparison", "Evaluation", "Predictor", "Run", "compare_results", "evaluate", "load", "load_results", "train",
]  # fmt: skip


def train(
    recipe: str | None = None,
    overrides: Sequence[str] = (),
    *,
    config: Path | str | None = None,
    workspace: Path | str | None = None,
    control: RunControl | None = None,
    trackers: Sequence[Tracker] = (),
) -> Run:
    """Train a recipe (or a configuration file) and judge it.

    `overrides` are `key=value` as on the command line; the workspace is `./workspace` unless given here or in
    `RINGLIGHT_WORKSPACE`.

    Raises:
        UserError: the configuration or the data cannot be used; nothing was written.
        InterruptedRunError: it was stopped; `ringlight train --resume RUN` goes on.
    """
    file = None if config is None else Path(config)
    return runs.train(recipe, overrides, file=file, workspace=workspace, control=control, trackers=trackers)


def load(
    path: Path | str | Run, *, device: str = "auto", threshold: float | None = None, operating_point: str | None = None
) -> Predictor:
    """Load a saved model: a bundle folder, a run folder, or a :class:`Run`.

    It calibrates and decides as was fixed on its validation part; `operating_point` names another of its points,
    `threshold` gives every label of a multi-label model one of your own.

    Raises:
        BundleError: it is missing, damaged, or of an unknown version.
        DataError: a threshold or an operating point that cannot be used.
    """
    where = path.bundle if isinstance(path, Run) else path
    return Predictor.from_path(where, device=device, threshold=threshold, operating_point=operating_point)


def evaluate(
    model: Path | str | Run | Sequence[Path | str | Run],
    data: str | None = None,
    overrides: Sequence[str] = (),
    *,
    operating_point: str | None = None,
    tta_runs: int | None = None,
    out: Path | None = None,
    workspace: Path | str | None = None,
) -> Evaluation:
    """Judge a trained model again, or several as an ensemble: on the run's own test part, or on new `data`.

    Nothing is fitted: calibration and thresholds stay as they were fixed on validation. `data` is a recipe, a folder or
    a table of labelled records, `overrides` say how it is read. The results and the report are written to `out`, or
    into the run's `evaluations/`.

    Raises:
        UserError: an ensemble with a point or views: no threshold was fixed for the mean of several models.
        RunError: there is no such run, its data changed, or the members of an ensemble do not fit each other.
        BundleError: a model is damaged.
        DataError: records that the model cannot be judged on.
    """
    if isinstance(model, str | Path | Run):
        return evaluations.evaluate(
            _place(model), data, overrides, operating_point=operating_point, tta_runs=tta_runs, out=out,
            workspace=workspace,
        )  # fmt: skip
    if operating_point is not None or tta_runs is not None:
        raise UserError(
            "an ensemble without operating_point and tta_runs", got="both", where="evaluate",
            fix="leave them out: no threshold was fixed for the mean of several models",
        )  # fmt: skip
    return evaluations.evaluate_ensemble(
        [_place(member) for member in model], data, overrides, out=out, workspace=workspace
    )


def _place(model: Path | str | Run) -> Path | str:
    return model.folder if isinstance(model, Run) else model
