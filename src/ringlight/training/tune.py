"""Studies: trials chosen by a grid, at random or by what earlier trials scored; Optuna keeps and prunes them.

The one file that imports Optuna. A trial has a place, counted from 0, and what is chosen for it depends on the study's
seed, its place, and (method bayesian) the trials before it. A trial that was interrupted leaves its place to another,
so that a study that was interrupted and resumed makes the choices that it would have made in one go.

References: Bergstra et al. 2011 (tree-structured Parzen estimator), Li et al. 2020 (asynchronous successive halving),
Li et al. 2018 (hyperband), Golovin et al. 2017 (median stopping rule), Hutter et al. 2014 (fANOVA).
"""

from __future__ import annotations

import contextlib
import math
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import optuna
from filelock import FileLock
from optuna.trial import FrozenTrial, Trial, TrialState

from ringlight.config.spaces import MOST_POINTS, Axis, Point, Space, grid, walk
from ringlight.errors import ConfigError, MissingExtraError
from ringlight.runtime import LOGGER
from ringlight.training.tune_places import hidden, is_alive, this_process
from ringlight.training.tune_trials import (
    FailedTrial,
    Objective,
    PrunedTrial,
    Scored,
    State,
    StudySettings,
    TrialRow,
    best_of,
)

STATES: dict[TrialState, State] = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
}
PLACE, REASON, PROCESS, EPOCHS, DETAILS = "place", "reason", "process", "epochs", "details"
BUSY_SECONDS = 60
"""How long a process waits for another one that is writing into the same file."""

OnTrial = Callable[[TrialRow, "Study"], None]


class Study:
    """A space, searched as its settings say; opened again it goes on where it ended.

    Args:
        settings: how trials are chosen and stopped.
        space: what is searched.
        fixed: values of keys that conditions name and no axis searches.

    Raises:
        ConfigError: the storage cannot be opened.
        MissingExtraError: the storage's driver is not installed.
        Problems: a grid over ranges without points.
    """

    def __init__(self, settings: StudySettings, space: Space, fixed: Mapping[str, Any] | None = None) -> None:
        self.settings = settings
        self.space = space
        self.fixed = dict(fixed or {})
        self.grid = self._grid() if settings.method == "grid" or self._draws_from_lists() else None
        with _quiet(), self._turn():
            self._study = optuna.create_study(
                study_name=settings.name, storage=_storage(settings.storage), direction=settings.direction,
                pruner=_pruner(settings), sampler=optuna.samplers.RandomSampler(settings.seed), load_if_exists=True,
            )  # fmt: skip
            self._give_up_stale()

    @property
    def num_places(self) -> int:
        """How many trials the study has in all."""
        return self.settings.n_trials if self.grid is None else min(self.settings.n_trials, len(self.grid))

    def rows(self) -> list[TrialRow]:
        """Return every trial that was not interrupted, in order of their places."""
        with _quiet():
            trials = self._study.get_trials(deepcopy=False)
        rows = [self._row(trial) for trial in trials if _holds_its_place(trial)]
        return sorted(rows, key=lambda row: row.number)

    def best(self) -> TrialRow | None:
        """Return the best finished trial, the first of equals."""
        return best_of(self.rows(), self.settings.direction)

    def run(self, objective: Objective, on_trial: OnTrial | None = None) -> None:
        """Make trials until there are enough, or the time is up; other processes may do so at the same time.

        Args:
            objective: scores values; :class:`FailedTrial` is recorded, anything else that it raises ends the loop, and
                the trial counts as interrupted.
            on_trial: told every trial that has ended here.
        """
        deadline = None if self.settings.timeout is None else time.monotonic() + self.settings.timeout
        while deadline is None or time.monotonic() < deadline:
            begun = self._begin()
            if begun is None:
                return
            trial, values = begun
            place = int(trial.user_attrs[PLACE])
            try:
                self._end(trial, objective(values, place, partial(self._report, trial)))
            except PrunedTrial as stopped:
                self._stop(trial, stopped.epochs)
            except FailedTrial as error:
                self._fail(trial, str(error), error.epochs)
            except BaseException:
                with _quiet(), contextlib.suppress(ValueError):  # told already: the interruption came a moment later
                    self._study.tell(trial, state=TrialState.FAIL)
                raise
            if on_trial is not None:
                on_trial(next(row for row in self.rows() if row.number == place), self)

    def importances(self) -> dict[str, dict[str, float]]:
        """Return how much of the scores' spread each key explains, by fANOVA and by mean decrease in impurity.

        Empty where trials are too few or too alike to tell. Keys that not every finished trial has are left out.
        """
        evaluators = {
            "fanova": optuna.importance.FanovaImportanceEvaluator(seed=self.settings.seed),
            "mdi": optuna.importance.MeanDecreaseImpurityImportanceEvaluator(seed=self.settings.seed),
        }
        done = [row.value for row in self.rows() if row.state == "complete"]
        if len(set(done)) < 2:
            return {}
        found = {}
        for name, evaluator in evaluators.items():
            with _quiet():
                try:
                    scores = optuna.importance.get_param_importances(self._study, evaluator=evaluator)
                except (ValueError, RuntimeError, ZeroDivisionError) as error:
                    LOGGER.debug("no importances (%s): %s", name, error)
                    continue
            found[name] = {key: float(value) for key, value in scores.items() if np.isfinite(value)}
        return {name: scores for name, scores in found.items() if scores}

    def _draws_from_lists(self) -> bool:
        """Whether trials are drawn from lists alone: then none is drawn twice, as scikit-learn does it."""
        listed = all(axis.kind == "categorical" for axis in self.space)
        return self.settings.method == "random" and listed and math.prod(map(_length, self.space)) <= MOST_POINTS

    def _grid(self) -> list[tuple[int, Point]]:
        """Return the grid's points with their places in it, in the order they are tried.

        Trials are compared with those before them, and a grid may be longer than the study: neighbours that come one
        after the other would favour what happens to come first.
        """
        points = list(enumerate(grid(self.space, self.fixed)))
        settings = self.settings
        if settings.method == "random" or settings.pruner != "none" or settings.n_trials < len(points):
            order = np.random.default_rng(settings.seed).permutation(len(points))
            return [points[index] for index in order]
        return points

    def _begin(self) -> tuple[Trial, Point] | None:
        """Take the first place that is free and choose what is tried there; None when all are taken."""
        with _quiet(), self._turn():
            trials = self._study.get_trials(deepcopy=False)
            taken = {int(trial.user_attrs[PLACE]) for trial in trials if _holds_its_place(trial)}
            place = next((place for place in range(self.num_places) if place not in taken), None)
            if place is None:
                return None
            self._study.sampler = self._sampler(place)
            trial = self._study.ask()
            trial.set_user_attr(PLACE, place)
            trial.set_user_attr(PROCESS, this_process())
            return trial, walk(self.space, self.fixed, partial(_suggest, trial))

    def _sampler(self, place: int) -> optuna.samplers.BaseSampler:
        if self.grid is not None:
            point = self.grid[place][1]
            return _Given({axis.key: _stored(axis, point[axis.key]) for axis in self.space if axis.key in point})
        seed = int(np.random.SeedSequence([self.settings.seed, place]).generate_state(1)[0])
        kind = optuna.samplers.TPESampler if self.settings.method == "bayesian" else optuna.samplers.RandomSampler
        return kind(seed=seed)

    def _report(self, trial: Trial, step: int, value: float, *, final: bool = False) -> None:
        with _quiet():
            trial.report(value, step)
            stops = not final and trial.should_prune()
        if stops:
            raise PrunedTrial

    def _stop(self, trial: Trial, epochs: int) -> None:
        with _quiet():
            trial.set_user_attr(EPOCHS, epochs)
            self._study.tell(trial, state=TrialState.PRUNED)

    def _end(self, trial: Trial, scored: Scored) -> None:
        if not np.isfinite(scored.value):
            self._fail(trial, f"expected a score, got {scored.value}: it is not defined here", scored.epochs)
            return
        with _quiet():
            trial.set_user_attr(EPOCHS, scored.epochs)
            trial.set_user_attr(DETAILS, dict(scored.details))
            self._study.tell(trial, scored.value)

    def _fail(self, trial: Trial, reason: str, epochs: int) -> None:
        with _quiet():
            trial.set_user_attr(REASON, reason)
            trial.set_user_attr(EPOCHS, epochs)
            self._study.tell(trial, state=TrialState.FAIL)

    def _give_up_stale(self) -> None:
        """Free the places of trials whose process is gone: killed, or a machine that was switched off."""
        for trial in self._study.get_trials(deepcopy=False, states=[TrialState.RUNNING]):
            if not is_alive(trial.user_attrs.get(PROCESS)):
                LOGGER.info("trial %s was interrupted; its place is free again", trial.user_attrs.get(PLACE, "?"))
                self._study.tell(trial.number, state=TrialState.FAIL)

    def _row(self, trial: FrozenTrial) -> TrialRow:
        place, attrs = int(trial.user_attrs[PLACE]), trial.user_attrs
        spent = trial.duration.total_seconds() if trial.duration is not None else None
        return TrialRow(
            number=place,
            state=STATES[trial.state],
            values={axis.key: _meant(axis, trial.params[axis.key]) for axis in self.space if axis.key in trial.params},
            value=trial.value,
            reason=attrs.get(REASON, ""),
            epochs=int(attrs.get(EPOCHS, 0)),
            seconds=spent,
            order=place if self.grid is None or place >= len(self.grid) else self.grid[place][0],
            steps=tuple(sorted(trial.intermediate_values.items())),
            details=attrs.get(DETAILS, {}),
        )

    def _turn(self) -> contextlib.AbstractContextManager[Any]:
        lock = self.settings.lock
        return contextlib.nullcontext() if lock is None else FileLock(str(lock))


class _Given(optuna.samplers.BaseSampler):
    """Chooses what it was given: a point of the grid. The arguments of its methods are those that Optuna passes."""

    def __init__(self, point: Mapping[str, Any]) -> None:
        self._point = point

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, Any]:  # noqa: ARG002
        """Nothing is chosen together."""
        return {}

    def sample_relative(self, study: optuna.Study, trial: FrozenTrial, search_space: Any) -> dict[str, Any]:  # noqa: ARG002
        """Nothing is chosen together."""
        return {}

    def sample_independent(self, study: Any, trial: Any, param_name: str, param_distribution: Any) -> Any:  # noqa: ARG002
        """Return the point's value."""
        return self._point[param_name]


def _suggest(trial: Trial, axis: Axis) -> Any:
    if axis.kind == "categorical":
        return _meant(axis, trial.suggest_categorical(axis.key, axis.labels))
    if axis.kind == "int":
        return trial.suggest_int(axis.key, int(axis.low), int(axis.high), step=axis.step, log=axis.log)
    return trial.suggest_float(axis.key, float(axis.low), float(axis.high), log=axis.log)


def _stored(axis: Axis, value: Any) -> Any:
    """Return a value as the storage has it. Choices are told apart as objects: 1, 1.0 and true are equal in Python."""
    if axis.kind != "categorical":
        return value
    return next(text for choice, text in zip(axis.choices, axis.labels, strict=True) if choice is value)


def _meant(axis: Axis, stored: Any) -> Any:
    return axis.choices[axis.labels.index(stored)] if axis.kind == "categorical" else stored


def _holds_its_place(trial: FrozenTrial) -> bool:
    """Return whether a trial counts: a failure without a reason was an interruption."""
    return PLACE in trial.user_attrs and (trial.state != TrialState.FAIL or REASON in trial.user_attrs)


def _pruner(settings: StudySettings) -> optuna.pruners.BasePruner:
    if settings.pruner == "median":
        return optuna.pruners.MedianPruner(n_warmup_steps=settings.min_steps)
    if settings.pruner == "successive_halving":
        return optuna.pruners.SuccessiveHalvingPruner(
            min_resource=settings.min_steps, reduction_factor=settings.reduction_factor
        )
    if settings.pruner == "hyperband":
        return optuna.pruners.HyperbandPruner(
            min_resource=settings.min_steps, max_resource=max(settings.min_steps, settings.max_steps),
            reduction_factor=settings.reduction_factor,
        )  # fmt: skip
    return optuna.pruners.NopPruner()


def _storage(address: str | None) -> optuna.storages.BaseStorage | None:
    if address is None:
        return None
    options = {"connect_args": {"timeout": BUSY_SECONDS}} if address.startswith("sqlite") else {}
    try:
        return optuna.storages.RDBStorage(address, engine_kwargs=options)
    except ImportError as error:
        missing = getattr(error.__cause__, "name", None) or "its driver"
        raise MissingExtraError(
            f"the package {missing}, which speaks to {address.partition(':')[0]}", got="none", where="tune.storage",
            fix=f"install it with: pip install {missing}",
        ) from error  # fmt: skip
    # SQLAlchemy's and the driver's own errors have no common base but Exception; none of them is a fault of ours.
    except Exception as error:
        said = " ".join(str(error).partition("\n")[0].split())
        raise ConfigError(
            "a database that can be opened", got=f"{said} ({hidden(address)})", where="tune.storage",
            fix="correct the address, or leave it out: a file in the study's folder",
        ) from error  # fmt: skip


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep Optuna's own lines and its notices of what is experimental to itself; its settings stay as they were."""
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            warnings.filterwarnings("ignore", module=r"(optuna|sqlalchemy|alembic)\b.*")
            yield
    finally:
        optuna.logging.set_verbosity(level)


def _length(axis: Axis) -> int:
    return len(axis.points())
