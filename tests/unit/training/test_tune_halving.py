"""Who goes on and who waits: by hand, against the published algorithm as a loop, and beside Optuna's pruner."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import optuna
import pytest

from ringlight.config.spaces import read_space
from ringlight.training.tune import Study
from ringlight.training.tune_halving import Halving, Standing, rungs
from ringlight.training.tune_optuna import quiet
from ringlight.training.tune_trials import PrunedTrial, Report, Scored, StudySettings

FACTOR, STEPS, TRIALS = 4, 20, 32


def standing(place: int, state: Any, *scores: float) -> Standing:
    return Standing(place=place, state=state, scores=dict(enumerate(scores, start=1)))


def halving(**changed: Any) -> Halving:
    given: dict[str, Any] = {"brackets": ((1, 2),), "factor": 2, "direction": "maximize", **changed}
    return Halving(**given)


def curves(seed: int) -> np.ndarray[Any, Any]:
    """Scores of trials by step, (N, S): each has an end, a speed, and luck at every step."""
    draw = np.random.default_rng(seed)
    end, speed = draw.uniform(0.7, 1.0, (TRIALS, 1)), draw.uniform(1, 8, (TRIALS, 1))
    rising = end * (1 - np.exp(-np.arange(1, STEPS + 1) / speed))
    return np.asarray(rising + draw.normal(0, 0.02, (TRIALS, STEPS)))


class Trained:
    """An objective that reads its scores from curves, and goes on where a trial waited."""

    def __init__(self, scores: np.ndarray[Any, Any]) -> None:
        self.scores, self.spent = scores, 0

    def __call__(self, values: Mapping[str, Any], number: int, report: Report) -> Scored:
        curve = self.scores[values["a"]]
        for step in range(report.done + 1, STEPS + 1):
            self.spent += 1
            try:
                report(step, float(curve[step - 1]), final=step == STEPS)
            except PrunedTrial as stopped:
                stopped.epochs = step
                raise
        return Scored(value=float(curve[-1]), epochs=STEPS)


def halved(scores: np.ndarray[Any, Any], **changed: Any) -> tuple[Study, Trained]:
    given: dict[str, Any] = {
        "name": "s", "method": "grid", "direction": "maximize", "n_trials": TRIALS, "max_steps": STEPS,
        "pruner": "successive_halving", "reduction_factor": FACTOR, "seed": 1, **changed,
    }  # fmt: skip
    study = Study(StudySettings(**given), read_space({"a": list(range(TRIALS))}))
    objective = Trained(scores)
    study.run(objective)
    return study, objective


def test_one_in_so_many_goes_on_and_the_others_wait() -> None:
    trials = [standing(0, "pruned", 0.3), standing(1, "pruned", 0.9), standing(2, "pruned", 0.5)]
    assert halving().next_on(trials, is_filled=False) == (1, 2)  # one of three
    trials[1] = standing(1, "running", 0.9)
    assert halving().next_on(trials, is_filled=False) is None
    fourth = [*trials, standing(3, "pruned", 0.4)]
    assert halving().next_on(fourth, is_filled=False) == (2, 2)  # two of four: it waited, and its turn came
    assert halving(direction="minimize").next_on(fourth, is_filled=False) == (0, 2)


def test_what_is_furthest_goes_on_first_and_then_to_its_end() -> None:
    trials = [standing(0, "pruned", 0.9, 0.1), standing(1, "pruned", 0.8, 0.2), standing(2, "pruned", 0.1)]
    assert halving().next_on(trials, is_filled=False) == (1, None)


def test_of_equals_the_first_goes_on_and_what_has_no_score_never() -> None:
    nan = float("nan")
    trials = [standing(2, "pruned", 0.5), standing(1, "pruned", 0.5), standing(0, "pruned", nan)]
    assert halving().next_on(trials, is_filled=False) == (1, 2)
    assert halving().next_on([trials[2]], is_filled=True) is None


def test_a_study_shorter_than_the_factor_finishes_its_best() -> None:
    """One in four of three trials is none, and the study ended without a finished trial."""
    trials = [standing(0, "pruned", 0.3), standing(1, "pruned", 0.9)]
    short = halving(factor=4)
    assert short.next_on(trials, is_filled=False) is None
    assert short.next_on(trials, is_filled=True) == (1, 2)
    failed = [trials[0], standing(1, "failed", 0.9, 0.9)]
    assert short.next_on(failed, is_filled=True) == (0, 2)  # the next best, where the best could not be trained
    assert short.next_on([trials[0], standing(1, "running", 0.9)], is_filled=True) is None
    study, _ = halved(curves(0), n_trials=3)
    assert Counter(row.state for row in study.rows()) == {"complete": 1, "pruned": 2}


def test_what_can_go_on_is_kept_and_no_more() -> None:
    """A checkpoint a trial would fill the disk: of 64 trials at most 16 can still go on from the first rung."""
    trials = [standing(place, "pruned", place / 10) for place in range(4)]
    assert halving().out(trials, 4) == [1, 0]
    assert halving().out(trials, 6) == [0]  # two more may come, and then three of six go on
    assert halving().out([standing(0, "pruned", float("nan"))], 4) == [0]
    assert halving().out([standing(0, "complete", 0.1, 0.1), standing(1, "running", 0.2)], 2) == []


def test_hyperbands_brackets_begin_later_and_later() -> None:
    made = Halving.of(
        StudySettings(name="s", method="random", direction="maximize", n_trials=1, pruner="hyperband", max_steps=16)
    )
    assert made is not None
    assert made.brackets == ((1, 4), (4,), ())
    dealt = Counter(made.bracket(place) for place in range(4000))
    # Li et al. 2018, algorithm 1: n = ceil((s_max + 1) / (s + 1) eta^s) trials in bracket s: 16, 6, 3.
    assert [dealt[one] / 4000 for one in range(3)] == pytest.approx(np.array([16, 6, 3]) / 25, abs=0.02)
    assert made.first_stop(next(place for place in range(99) if made.bracket(place) == 2)) is None


@pytest.mark.parametrize(("least", "most", "factor"), [(1, 40, 4), (2, 9, 3), (5, 5, 2), (7, 3, 2)])
def test_rungs_are_powers_before_the_end(least: int, most: int, factor: int) -> None:
    assert rungs(least, most, factor) == tuple(
        least * factor**power for power in range(20) if least * factor**power < most
    )


@pytest.mark.parametrize("seed", [0, 1])
def test_a_study_of_a_list_is_the_published_algorithm(seed: int) -> None:
    """Jamieson and Talwalkar 2016: all to the first rung, the best quarter to the second, and so on."""
    scores = curves(seed)
    study, objective = halved(scores)
    left, reached, before, spent = list(range(TRIALS)), dict.fromkeys(range(TRIALS), 1), 0, 0
    for step in (*rungs(1, STEPS, FACTOR), STEPS):
        spent += len(left) * (step - before)
        reached.update(dict.fromkeys(left, step))
        left = sorted(left, key=lambda one: -scores[one, step - 1])[: max(1, len(left) // FACTOR)]
        before = step
    assert {row.values["a"]: row.epochs for row in study.rows()} == reached
    assert spent == objective.spent == sum(row.epochs for row in study.rows()) == 32 + 8 * 3 + 2 * 12 + 4
    assert study.is_whole()
    assert Counter(row.state for row in study.rows()) == {"complete": 1, "pruned": TRIALS - 1}
    assert len(study.out()) == TRIALS - TRIALS // FACTOR


def test_a_study_whose_trials_still_wait_is_not_whole() -> None:
    """Every trial has ended, but one in four goes on: a study out of time called itself completed."""
    scores, made = curves(0), {"n_trials": 4, "reduction_factor": 4}
    study, objective = halved(scores, **made, timeout=1e-9)
    assert not study.rows()
    assert not study.is_whole()

    def begun_all(values: Mapping[str, Any], number: int, report: Report) -> Scored:
        if report.done:
            raise KeyboardInterrupt
        return objective(values, number, report)

    study = Study(replace(study.settings, timeout=None), study.space)
    with pytest.raises(KeyboardInterrupt):
        study.run(begun_all)
    assert [row.state for row in study.rows()] == ["pruned"] * 4
    assert not study.is_whole()
    study.run(objective)
    assert study.is_whole()


@pytest.mark.parametrize("changed", [{"timeout": 999.0}, {"method": "bayesian", "n_trials": 20}])
def test_what_may_end_early_finishes_a_trial_before_it_has_begun_all(changed: Any) -> None:
    """Asynchronous (Li et al. 2020): in the end at least the best quarter of every rung has gone on."""
    scores = curves(2)
    study, _ = halved(scores, **changed)
    rows = study.rows()
    assert min(row.number for row in rows if row.state == "complete") < 20
    for step in rungs(1, STEPS, FACTOR):
        at = {row.number: dict(row.steps)[step] for row in rows if step in dict(row.steps)}
        best = sorted(at, key=lambda place: -at[place])[: len(at) // FACTOR]
        assert all(rows[place].epochs > step for place in best)


@pytest.mark.parametrize(("falls", "let_on"), [(True, 1), (False, TRIALS)])
def test_who_goes_on_does_not_hang_on_who_came_first(falls: bool, let_on: int) -> None:
    """Optuna's pruner decides when a trial arrives and never again. Where good trials come first, all but the very
    first are stopped for good beside it; where they come last, each is better than those before and all go on. Studies
    used it, and said that one in four goes on.
    """
    scores = curves(0)
    order = np.argsort(-scores[:, 0] if falls else scores[:, 0])
    assert len(_at_the_door(scores[order])) == let_on
    study, _ = halved(scores)
    assert {row.values["a"] for row in study.rows() if row.epochs > 1} == set(
        np.argsort(-scores[:, 0])[: TRIALS // FACTOR].tolist()
    )


def _at_the_door(scores: np.ndarray[Any, Any]) -> set[int]:
    """Return the trials that go on from the first rung by Optuna's pruner."""
    with quiet():
        pruner = optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=FACTOR)
        study, found = optuna.create_study(direction="maximize", pruner=pruner), set()
        for row in range(TRIALS):
            trial = study.ask()
            trial.report(float(scores[row, 0]), 1)
            if not trial.should_prune():
                found.add(row)
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
    return found
