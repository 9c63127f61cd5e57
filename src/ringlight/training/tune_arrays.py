# ruff: noqa: N803 - X is what scikit-learn, and the whole field, calls the records
"""Search over the keys of a recipe on arrays from Python: the trials of a study, kept nowhere."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ringlight.config.load import compose
from ringlight.config.schema import Config
from ringlight.config.spaces_keys import configuration_space
from ringlight.errors import SplitError, TrainingError
from ringlight.training.arrays import dataset_of
from ringlight.training.plan import part_problems
from ringlight.training.trackers import QuietControl
from ringlight.training.tune import Study
from ringlight.training.tune_objective import RecipeObjective, make_bench
from ringlight.training.tune_results import best_configuration, direction_of
from ringlight.training.tune_trials import Method, StudySettings


def search_recipe(
    model: str | Config, X: Any, y: Any, *, space: Mapping[str, Any], method: Method, n_trials: int, cv: Any,
    scoring: str | None, seed: int, groups: Any, timeout: float | None,
) -> dict[str, Any]:  # fmt: skip
    """Search keys of a recipe on arrays; see :func:`ringlight.training.tune_estimators.search`.

    Raises:
        SplitError: `cv` is no number of folds.
        TrainingError: no trial could be finished.
        UserError: the recipe, the space or the arrays cannot be used.
    """
    if not isinstance(cv, int) or isinstance(cv, bool):
        raise SplitError("a number of folds, for a recipe", got=type(cv).__name__, where="cv", fix="use cv=5")
    config = compose(model, check_parts=part_problems) if isinstance(model, str) else model
    metric = scoring or "macro_f1"
    config = config.replacing({
        "tune.objective": "crossval", "tune.metric": metric, "cv.n_splits": cv, "experiment.seed": seed,
    })  # fmt: skip
    axes, fixed = configuration_space(config, space, check_parts=part_problems)
    with tempfile.TemporaryDirectory(prefix="ringlight-search-") as kept:
        folder = Path(kept)
        bench = make_bench(config, folder, dataset=dataset_of(X, y, folder=folder, groups=groups))
        settings = StudySettings(
            name="search", method=method, direction=direction_of(metric), seed=seed, timeout=timeout,
            n_trials=n_trials if method != "grid" else 10**9, max_steps=len(bench.divisions),
        )  # fmt: skip
        study = Study(settings, axes, fixed)
        study.run(RecipeObjective(bench, folder / "trials", QuietControl()))
    rows, best = study.rows(), study.best()
    if best is None:
        told = f"{len(rows)} that failed, the last with: {rows[-1].reason}" if rows else "none in that time"
        fix = "correct the space or the data" if rows else "raise timeout"
        raise TrainingError("a trial that was finished", got=told, where="search", fix=fix)
    trials = [
        {"params": dict(row.values), "score": row.value, "std": None, "state": row.state,
         "scores": row.details.get("folds", []), "seconds": row.seconds, "reason": row.reason}
        for row in rows
    ]  # fmt: skip
    return {
        "best_params": dict(best.values),
        "best_score": best.value,
        "best_std": None,
        "best_index": best.number,
        "best_config": best_configuration(config, best.values),
        "trials": trials,
        "method": method,
    }
