"""The Python API: `import ringlight as rl; run = rl.train("severstal", ["training.num_epochs=2"])`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ringlight.errors import UserError
from ringlight.inference.predictor import Predictor
from ringlight.services import evaluations, model_places, runs
from ringlight.services.evaluations import Evaluation
from ringlight.services.exports import export
from ringlight.services.reproduce import Reproduction
from ringlight.services.run_history import RunCard, list_runs
from ringlight.services.runs import Run
from ringlight.training.compare import Comparison, compare_results, load_results
from ringlight.training.fold_results import CrossValidation

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import nn

    from ringlight.services.activations import Activation
    from ringlight.services.registered import Version
    from ringlight.types import RunControl, Tracker

__all__ = [
    "Comparison", "CrossValidation", "Evaluation", "Predictor", "Reproduction", "Run", "RunCard", "activate",
    "compare_results", "cross_validate", "evaluate", "export", "history", "load", "load_model", "load_results",
    "register", "reproduce", "train",
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
    path: Path | str | Run, *, device: str = "auto", threshold: float | None = None, operating_point: str | None = None,
    module: nn.Module | None = None, workspace: Path | str | None = None,
) -> Predictor:  # fmt: skip
    """Load a saved model: a bundle, an export, a run (its folder, its name or a :class:`Run`), or a registered model.

    A registered model goes by `"strips"`, its active version, or by a version: `"strips:3"`, `"strips@3"`,
    `"strips@active"`. Names are looked up in the workspace; a path that is there comes first.

    It calibrates and decides as was fixed on its validation part; `operating_point` names another of its points,
    `threshold` gives every label of a multi-label model one of your own.

    `module` is the model itself, built as for its training, where it is a network of your own
    (:class:`ringlight.trainers.ModelTrainer`): weights alone do not say what they belong to.

    Raises:
        BundleError: it is missing, damaged, or of an unknown version.
        RunError: nothing has this name.
        ModelError: a registered model has no such version, or none is active.
        DataError: a threshold or an operating point that cannot be used.
    """
    return model_places.load_model(
        path.bundle if isinstance(path, Run) else path, workspace=workspace, device=device, threshold=threshold,
        operating_point=operating_point, module=module,
    )  # fmt: skip


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


def cross_validate(
    model: Any,
    X: Any = None,  # noqa: N803 - scikit-learn's name
    y: Any = None,
    *,
    groups: npt.ArrayLike | None = None,
    time: npt.ArrayLike | None = None,
    cv_method: str | None = None,
    n_splits: int | None = None,
    repeats: int | None = None,
    scoring: str = "macro_f1",
    seed: int | None = None,
    val_share: float | None = None,
    allow_leak: bool | None = None,
    overrides: Sequence[str] = (),
    workspace: Path | str | None = None,
    control: RunControl | None = None,
) -> CrossValidation:
    """Train a model once a fold and summarise its scores: mean, spread, and the interval that knows of the overlap.

    What is left None is as in the recipe; without one: `cv_method` "auto", 5 folds, once, seed 42.

    Args:
        model: a recipe's name or a configuration; a function that builds an `nn.Module` (trained by the engine, as
            `overrides` say) or a `Learner`; or any estimator with scikit-learn's `fit` and `predict`, which is cloned
            for each fold. Recipes and networks leave a run folder with a report, as `ringlight crossval` does.
        X: one row a record: windows (N, T, C) or vectors (N, D) for a network; whatever it takes for an estimator;
            a `Dataset` for a `Learner`. None for a recipe, which reads its own data.
        y: labels (N,), or a binary matrix (N, K).
        groups: (N,) what no fold may divide: the subject, part or recording of each row.
        time: (N,) numbers or dates, for `cv_method="time_series"`; rows need not be in order.
        cv_method: stratified_kfold, kfold, group_kfold, stratified_group_kfold, time_series, leave_one_out,
            leave_one_group_out; or auto: stratified_group_kfold where groups have several rows, else stratified_kfold.
        n_splits: folds of a repeat.
        repeats: how often the records are divided anew.
        scoring: the headline, by Ringlight's name (`macro_f1`, `recall/leak`) or scikit-learn's (`f1_weighted`).
        seed: of the folds and of the training.
        val_share: of each fold's training records, held out to stop, calibrate and set thresholds; estimators get none.
        allow_leak: go on, marked leaky, where a method divides what belongs together.
        overrides: `key=value` as on the command line, for a recipe's name or a network.
        workspace: where runs are kept.
        control: may stop it.

    Raises:
        UserError: the model, the data or the folds cannot be used.
        InterruptedRunError: it was stopped; `ringlight crossval --resume RUN` goes on.

    Examples:
        >>> from sklearn.datasets import load_iris
        >>> from sklearn.naive_bayes import GaussianNB
        >>> results = cross_validate(GaussianNB(), *load_iris(return_X_y=True), scoring="accuracy")
        >>> print(f"{results['mean']:.2f} ± {results['std']:.2f}")
        0.95 ± 0.04
    """
    from ringlight.services.crossval_any import Folding, cross_validate_any
    from ringlight.services.crossval_data import data_of

    data = data_of(X, y, groups=groups, time=time)
    folding = Folding(
        method=cv_method, n_splits=n_splits, repeats=repeats, val_share=val_share, seed=seed, allow_leak=allow_leak
    )
    return cross_validate_any(
        model, data, folding, scoring=scoring, overrides=overrides, workspace=workspace, control=control
    )


def register(
    model: Path | str | Run,
    name: str | None = None,
    *,
    kind: str | None = None,
    description: str | None = None,
    workspace: Path | str | None = None,
) -> Version:
    """Copy the model of a finished run, or a bundle, into the workspace as the next version of a name.

    Args:
        model: a run, its folder or name, or a bundle folder.
        name: of the model; by default the recipe of the run.
        kind: detection, view, defect or window; guessed by default.
        description: a sentence for those who come later.
        workspace: where versions are kept.

    Raises:
        RunError: there is no such run, or it is not finished.
        BundleError: the model is damaged, or something else than Ringlight's own files.
        UserError: a name or kind that cannot be used.
    """
    from ringlight.services.versions import register as do

    return do(_place(model), name=name, kind=kind, description=description, workspace=workspace)


def activate(
    name: str, version: int | str, *, who: str | None = None, why: str | None = None, gate: bool = False,
    guard: Sequence[str] = (), workspace: Path | str | None = None,
) -> Activation:  # fmt: skip
    """Make a version the active one of its name; the change is on the audit trail.

    With `gate` it is refused where it is worse than the active one on a class of `guard` (by default any class), both
    judged on the same test set.

    Raises:
        ModelError: there is no such version, or the gate refused it.
        BundleError: its files are missing or were changed.
    """
    from ringlight.services.activations import activate as do

    return do(name, version, who=who, why=why, gate=gate, guard=guard, workspace=workspace)


def load_model(
    name: str, version: int | str = "active", *, device: str = "auto", workspace: Path | str | None = None
) -> Predictor:
    """Load a registered version: a number, or the one that is active.

    Raises:
        ModelError: there is no such name or version, or none is active.
        BundleError: its files are missing, or were changed since it was registered.
    """
    from ringlight.services.registered import load_version

    return load_version(name, version, workspace=workspace, device=device)


def history(
    *,
    status: Sequence[str] = (),
    recipe: str | None = None,
    kind: str | None = None,
    metric: str | None = None,
    at_least: float | None = None,
    at_most: float | None = None,
    limit: int | None = None,
    workspace: Path | str | None = None,
) -> list[RunCard]:
    """Return what was trained in a workspace, the latest first, or with `metric` the best first.

    Args:
        status: one of these: created, running, paused, interrupted, completed, failed, cancelled.
        recipe: trained from it.
        kind: train, crossval or tune.
        metric: a final score, such as `macro_f1` or `recall/leak`; runs without it are left out.
        at_least: the least value of `metric`.
        at_most: the greatest value of `metric`.
        limit: no more than this many.
        workspace: where runs are kept.

    Raises:
        UserError: a word that names nothing, or limits without a metric.
        WorkspaceError: the store cannot be read.
    """
    return list_runs(
        status=status, recipe=recipe, kind=kind, metric=metric, at_least=at_least, at_most=at_most, limit=limit,
        workspace=workspace,
    )  # fmt: skip


def reproduce(
    run: Path | str | Run, *, keep: bool = False, workspace: Path | str | None = None, control: RunControl | None = None
) -> Reproduction:
    """Run a finished run, or cross-validation, again as a new one, and compare what comes of it.

    On one CPU with the same number of threads weights, predictions, history and scores are the same to the bit; else
    `verdict` tells how far they differ and why the same was not promised. A new run that is the same is removed again
    unless `keep` is set.

    Raises:
        RunError: there is no such run, it is not complete, or its data has changed.
        InterruptedRunError: it was stopped.
    """
    from ringlight.services.reproduce import reproduce as again

    return again(_place(run), keep=keep, workspace=workspace, control=control)


def _place(model: Path | str | Run) -> Path | str:
    return model.folder if isinstance(model, Run) else model
