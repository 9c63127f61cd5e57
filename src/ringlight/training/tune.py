"""Studies: trials chosen by a grid, at random or by what earlier trials scored; Optuna keeps them.

A trial has a place, counted from 0, and what is chosen for it depends on the study's
seed, its place, and (method bayesian) the trials before it. A trial that was interrupted leaves its place to another,
so that a study that was interrupted and resumed makes the choices that it would have made in one go.

A trial that halving lets go on is a trial of its own to Optuna, which knows none that wait: it stands at the place of
the former one, with its values and its steps, and counts in its stead.

References: Bergstra et al. 2011 (tree-structured Parzen estimator), Golovin et al. 2017 (median stopping rule),
Hutter et al. 2014 (fANOVA); those of halving stand in `tune_halving.py`.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import optuna
from filelock import FileLock
from optuna.trial import FrozenTrial, Trial, TrialState

from ringlight.config.spaces import MOST_POINTS, Axis, Point, Space, grid, walk
from ringlight.runtime import LOGGER
from ringlight.training.tune_halving import Halving, Standing
from ringlight.training.tune_optuna import Given, Told, pruner_of, quiet, storage_at
from ringlight.training.tune_places import is_alive, this_process
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
        self.halving = Halving.of(settings)
        self.grid = self._grid() if settings.method == "grid" or self._draws_from_lists() else None
        with quiet(), self._turn():
            self._study = optuna.create_study(
                study_name=settings.name, storage=storage_at(settings.storage), direction=settings.direction,
                pruner=pruner_of(settings), sampler=optuna.samplers.RandomSampler(settings.seed), load_if_exists=True,
            )  # fmt: skip
            self._give_up_stale()

    @property
    def num_places(self) -> int:
        """How many trials the study has in all."""
        return self.settings.n_trials if self.grid is None else min(self.settings.n_trials, len(self.grid))

    def rows(self) -> list[TrialRow]:
        """Return every trial that was not interrupted, in order of their places."""
        with quiet():
            held = self._held()
        return [self._row(trials) for _, trials in sorted(held.items())]

    def best(self) -> TrialRow | None:
        """Return the best finished trial, the first of equals."""
        return best_of(self.rows(), self.settings.direction)

    def is_whole(self) -> bool:
        """Return whether every trial has ended, and none that waits goes on."""
        with quiet():
            held = self._held()
        running = any(trials[-1].state == TrialState.RUNNING for trials in held.values())
        return not running and self._next(held) is None

    def out(self) -> list[int]:
        """Return the places of trials that the pruner stopped for good."""
        if self.halving is None:
            return [row.number for row in self.rows() if row.state == "pruned"]
        with quiet():
            return self.halving.out(_standings(self._held()), self.num_places)

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
            trial, values, report = begun
            place = int(trial.user_attrs[PLACE])
            try:
                self._end(trial, objective(values, place, report))
            except PrunedTrial as stopped:
                self._stop(trial, stopped.epochs)
            except FailedTrial as error:
                self._fail(trial, str(error), error.epochs)
            except BaseException:
                with quiet(), contextlib.suppress(ValueError):  # told already: the interruption came a moment later
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
            with quiet():
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

    def _held(self) -> dict[int, list[FrozenTrial]]:
        """Return the trials that count by their places: that which began there, and what went on from it."""
        held: dict[int, list[FrozenTrial]] = {}
        for trial in self._study.get_trials(deepcopy=False):  # in the order in which they began
            if _holds_its_place(trial):
                held.setdefault(int(trial.user_attrs[PLACE]), []).append(trial)
        return held

    def _next(self, held: Mapping[int, list[FrozenTrial]]) -> tuple[int, int | None] | None:
        """Return the place to work at and the step at which its trial waits (None: it runs to its end)."""
        free = next((place for place in range(self.num_places) if place not in held), None)
        if self.halving is None:
            return None if free is None else (free, None)
        if free is None or self.halving.eager:
            chosen = self.halving.next_on(_standings(held), is_filled=free is None)
            if chosen is not None or free is None:
                return chosen
        return free, self.halving.first_stop(free)

    def _begin(self) -> tuple[Trial, Point, Told] | None:
        """Take the first place that is free and choose what is tried there, or go on where a trial waits; None when
        there is nothing left to do, or nothing that others have not begun.
        """
        with quiet(), self._turn():
            held = self._held()
            chosen = self._next(held)
            if chosen is None:
                return None
            place, stop = chosen
            former = held[place][-1] if place in held else None
            self._study.sampler = self._sampler(place) if former is None else Given(former.params)
            trial = self._study.ask()
            trial.set_user_attr(PROCESS, this_process())
            steps = {} if former is None else former.intermediate_values
            for step, value in steps.items():
                trial.report(value, step)
            trial.set_user_attr(PLACE, place)  # the last: from here on it counts in the former one's stead
            report = Told(trial, max(steps, default=0), stop=stop, halves=self.halving is not None)
            return trial, walk(self.space, self.fixed, partial(_suggest, trial)), report

    def _sampler(self, place: int) -> optuna.samplers.BaseSampler:
        if self.grid is not None:
            point = self.grid[place][1]
            return Given({axis.key: _stored(axis, point[axis.key]) for axis in self.space if axis.key in point})
        seed = int(np.random.SeedSequence([self.settings.seed, place]).generate_state(1)[0])
        kind = optuna.samplers.TPESampler if self.settings.method == "bayesian" else optuna.samplers.RandomSampler
        return kind(seed=seed)

    def _stop(self, trial: Trial, epochs: int) -> None:
        with quiet():
            trial.set_user_attr(EPOCHS, epochs)
            self._study.tell(trial, state=TrialState.PRUNED)

    def _end(self, trial: Trial, scored: Scored) -> None:
        if not np.isfinite(scored.value):
            self._fail(trial, f"expected a score, got {scored.value}: it is not defined here", scored.epochs)
            return
        with quiet():
            trial.set_user_attr(EPOCHS, scored.epochs)
            trial.set_user_attr(DETAILS, dict(scored.details))
            self._study.tell(trial, scored.value)

    def _fail(self, trial: Trial, reason: str, epochs: int) -> None:
        with quiet():
            trial.set_user_attr(REASON, reason)
            trial.set_user_attr(EPOCHS, epochs)
            self._study.tell(trial, state=TrialState.FAIL)

    def _give_up_stale(self) -> None:
        """Free the places of trials whose process is gone: killed, or a machine that was switched off."""
        for trial in self._study.get_trials(deepcopy=False, states=[TrialState.RUNNING]):
            if not is_alive(trial.user_attrs.get(PROCESS)):
                LOGGER.info("trial %s was interrupted; its place is free again", trial.user_attrs.get(PLACE, "?"))
                self._study.tell(trial.number, state=TrialState.FAIL)

    def _row(self, trials: Sequence[FrozenTrial]) -> TrialRow:
        trial = trials[-1]
        place, attrs = int(trial.user_attrs[PLACE]), trial.user_attrs
        spent = [one.duration.total_seconds() for one in trials if one.duration is not None]
        return TrialRow(
            number=place,
            state=STATES[trial.state],
            values={axis.key: _meant(axis, trial.params[axis.key]) for axis in self.space if axis.key in trial.params},
            value=trial.value,
            reason=attrs.get(REASON, ""),
            epochs=max(int(one.user_attrs.get(EPOCHS, 0)) for one in trials),
            seconds=sum(spent) if spent else None,
            order=place if self.grid is None or place >= len(self.grid) else self.grid[place][0],
            steps=tuple(sorted(trial.intermediate_values.items())),
            details=attrs.get(DETAILS, {}),
        )

    def _turn(self) -> contextlib.AbstractContextManager[Any]:
        lock = self.settings.lock
        return contextlib.nullcontext() if lock is None else FileLock(str(lock))


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


def _standings(held: Mapping[int, Sequence[FrozenTrial]]) -> list[Standing]:
    return [
        Standing(place=place, state=STATES[trials[-1].state], scores=trials[-1].intermediate_values)
        for place, trials in held.items()
    ]


def _length(axis: Axis) -> int:
    return len(axis.points())
