"""The Python API: `import ringlight as rl; run = rl.train("severstal", ["training.num_epochs=2"])`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ringlight.inference.predictor import Predictor
from ringlight.services import runs
from ringlight.services.runs import Run
from ringlight.training.compare import Comparison, compare_results, load_results

if TYPE_CHECKING:
    from ringlight.types import RunControl, Tracker

__all__ = ["Comparison", "Predictor", "Run", "compare_results", "load", "load_results", "train"]


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


def load(path: Path | str | Run, *, device: str = "auto", threshold: float = 0.5) -> Predictor:
    """Load a saved model: a bundle folder, a run folder, or a :class:`Run`.

    Raises:
        BundleError: it is missing, damaged, or of an unknown version.
    """
    where = path.bundle if isinstance(path, Run) else path
    return Predictor.from_path(where, device=device, threshold=threshold)
