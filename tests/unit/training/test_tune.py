"""Studies by themselves, on objectives that are formulas: what is tried, stopped and kept, and what resumes."""

from __future__ import annotations

import json
import multiprocessing
import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest

from ringlight.config.spaces import grid, read_space
from ringlight.errors import ConfigError, MissingExtraError
from ringlight.training.tune import Study
from ringlight.training.tune_places import hidden, is_alive, sqlite_address, this_process, trial_line
from ringlight.training.tune_trials import (
    METHODS,
    FailedTrial,
    PrunedTrial,
    Report,
    Scored,
    StudySettings,
    TrialRow,
    best_of,
)

SPACE = read_space({
    "a": ["x", "y", None, [1, 2], True, 1],
    "b": {"type": "float", "low": 0.001, "high": 1, "log": True, "num": 3, "when": {"a": ["x", "y"]}},
    "c": {"type": "int", "low": 1, "high": 9, "step": 2},
})  # fmt: skip
STEPS = 4


def settings(folder: Path | None = None, **changed: Any) -> StudySettings:
    made = StudySettings(name="s", method="random", direction="maximize", n_trials=8, max_steps=STEPS, seed=3)
    if folder is not None:
        made = replace(made, storage=sqlite_address(folder / "s.db"), lock=folder / "lock")
    return replace(made, **changed)


def climb(values: Mapping[str, Any], number: int, report: Report) -> Scored:
    """Rise by c times b a step; c = 9 cannot be trained."""
    score = 0.0
    for step in range(1, STEPS + 1):
        score += values["c"] * values.get("b", 0.5)
        try:
            report(step, score, final=step == STEPS)
        except PrunedTrial as stopped:
            stopped.epochs = step
            raise
    if values["c"] == 9:
        raise FailedTrial("it does\nnot train", epochs=STEPS)
    return Scored(value=score, epochs=STEPS, details={"left": STEPS})


def told(study: Study) -> list[tuple[Any, ...]]:
    return [(row.number, row.state, dict(row.values), row.value, row.steps, row.reason) for row in study.rows()]


def run(made: StudySettings, objective: Callable[..., Scored] = climb) -> Study:
    study = Study(made, SPACE)
    study.run(objective)
    return study


@pytest.mark.parametrize("pruner", ["none", "median", "successive_halving"])
@pytest.mark.parametrize("method", METHODS)
def test_a_study_that_was_interrupted_ends_like_one_that_was_not(method: Any, pruner: Any, tmp_path: Path) -> None:
    """Two Ctrl-C and a new process between them change no trial: values, scores, what was pruned and what failed."""
    made = settings(tmp_path, method=method, pruner=pruner, reduction_factor=2)
    calls = 0

    def interrupted(values: Mapping[str, Any], number: int, report: Report) -> Scored:
        nonlocal calls
        calls += 1
        if calls in (3, 6):
            raise KeyboardInterrupt
        return climb(values, number, report)

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            run(made, interrupted)
    whole = run(replace(made, storage=None, lock=None))
    assert told(run(made, interrupted)) == told(whole)
    assert [row.number for row in whole.rows()] == list(range(8))


def test_a_finished_study_has_nothing_left_to_do(tmp_path: Path) -> None:
    first = told(run(settings(tmp_path)))

    def never(values: Mapping[str, Any], number: int, report: Report) -> Scored:
        raise AssertionError("a trial too many")

    assert told(run(settings(tmp_path), never)) == first
    assert told(run(settings(tmp_path, n_trials=9)))[:8] == first  # and it may grow


def test_a_grid_is_tried_in_order_and_ends_when_it_is_used_up() -> None:
    study = run(settings(method="grid", n_trials=1000))
    assert [row.values for row in study.rows()] == grid(SPACE)
    assert study.num_places == 50 == len(study.rows())


def test_a_grid_that_is_longer_than_the_study_is_tried_all_over() -> None:
    values = [row.values for row in run(settings(method="grid")).rows()]
    assert all(value in grid(SPACE) for value in values)
    assert values != grid(SPACE)[:8]
    assert len({str(value) for value in values}) == 8


def test_trials_depend_on_the_seed_and_on_nothing_else() -> None:
    assert told(run(settings())) == told(run(settings()))
    assert told(run(settings())) != told(run(settings(seed=4)))


def test_choices_come_back_as_they_were_given() -> None:
    """1, 1.0 and true are equal in Python; a list and null are no parameter that a storage takes."""
    seen = [row.values["a"] for row in run(settings(method="grid", n_trials=1000)).rows()]
    assert {repr(value) for value in seen} == {"'x'", "'y'", "None", "[1, 2]", "True", "1"}


def test_a_failed_trial_is_recorded_in_one_line_and_the_study_goes_on() -> None:
    failed = [row for row in run(settings(method="grid", n_trials=1000)).rows() if row.state == "failed"]
    assert len(failed) == 10
    assert {row.reason for row in failed} == {"it does not train"}
    assert {(row.value, row.epochs) for row in failed} == {(None, STEPS)}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_score_that_is_not_finite_is_a_failure(value: float) -> None:
    study = run(settings(n_trials=2), lambda *_: Scored(value=value))
    assert [row.state for row in study.rows()] == ["failed", "failed"]
    assert study.best() is None
    assert "expected a score, got" in study.rows()[0].reason
    json.dumps([row.to_dict() for row in study.rows()], allow_nan=False)


def test_the_median_pruner_stops_what_is_behind() -> None:
    study = run(settings(method="grid", n_trials=50, pruner="median"))
    pruned = [row for row in study.rows() if row.state == "pruned"]
    assert pruned
    assert all(0 < row.epochs < STEPS and len(row.steps) == row.epochs for row in pruned)
    best = study.best()
    assert best is not None
    unheard: Any = lambda *_, **__: None  # noqa: E731
    assert best.value == max(climb(values, 0, unheard).value for values in grid(SPACE) if values["c"] < 9)


@pytest.mark.parametrize("pruner", ["successive_halving", "hyperband"])
def test_halving_spends_a_fraction_of_the_epochs(pruner: Any) -> None:
    study = run(settings(method="grid", n_trials=50, pruner=pruner, reduction_factor=2))
    assert sum(row.epochs for row in study.rows()) < 0.8 * 50 * STEPS


def test_nothing_is_stopped_before_its_least_number_of_steps() -> None:
    study = run(settings(method="grid", n_trials=50, pruner="successive_halving", min_steps=3))
    assert min(row.epochs for row in study.rows()) == 3


def test_the_best_of_equals_is_the_first() -> None:
    rows = [TrialRow(number=n, state="complete", values={}, value=1.0, order=9 - n) for n in range(3)]
    assert best_of(rows, "maximize") is rows[2]  # a shuffled grid: the first point of the grid itself
    assert best_of([], "minimize") is None
    lower = [*rows, TrialRow(number=3, state="complete", values={}, value=0.5, order=99)]
    assert best_of(lower, "minimize") is lower[3]


def test_no_trial_begins_after_the_timeout() -> None:
    assert run(settings(timeout=1e-9)).rows() == []


def test_importances_are_shares_and_find_what_matters() -> None:
    study = run(settings(n_trials=25), lambda values, *_: Scored(value=float(values["c"])))
    found = study.importances()
    assert set(found) == {"fanova", "mdi"}
    for scores in found.values():
        assert sum(scores.values()) == pytest.approx(1.0)
        assert scores["c"] > 0.9
    same = run(settings(n_trials=3), lambda *_: Scored(value=1.0))
    assert same.importances() == {}


def test_a_trial_whose_process_was_killed_leaves_its_place(tmp_path: Path) -> None:
    """kill -9 asks nobody: the trial stays running in the storage, and its place was lost to the study."""
    context = multiprocessing.get_context("fork")  # SQLite alone: no thread of torch is at work here
    process = context.Process(target=run, args=(settings(tmp_path), _die))
    process.start()
    process.join()
    assert process.exitcode == 9
    study = Study(settings(tmp_path), SPACE)
    assert [row.state for row in study.rows()] == ["complete"]  # the first; the second is free again
    study.run(climb)
    assert told(study) == told(run(settings()))


def _die(values: Mapping[str, Any], number: int, report: Report) -> Scored:
    if number == 1:
        os._exit(9)
    return climb(values, number, report)


def test_a_trial_of_a_process_at_work_keeps_its_place(tmp_path: Path) -> None:
    """A second terminal on the same study must not take what the first one is training."""
    seen = []

    def second(values: Mapping[str, Any], number: int, report: Report) -> Scored:
        if number == 0:
            other = Study(settings(tmp_path, n_trials=3), SPACE)
            seen.append([row.state for row in other.rows()])
            other.run(climb)
        return climb(values, number, report)

    study = run(settings(tmp_path, n_trials=3), second)
    assert seen == [["running"]]
    assert told(study) == told(run(settings(n_trials=3)))


def test_a_process_is_known_by_more_than_its_number() -> None:
    assert is_alive(this_process())
    assert not is_alive({**this_process(), "started": 0.0})  # the number was given to another process since
    assert not is_alive({**this_process(), "pid": 2**22 + 1})
    assert not is_alive(None)
    assert is_alive({"host": "elsewhere", "pid": 1, "started": 0.0})  # nobody here can tell


def test_a_folder_with_signs_that_mean_something_in_an_address_can_hold_a_study(tmp_path: Path) -> None:
    folder = tmp_path / "what? 100% #1"
    folder.mkdir()
    assert len(run(settings(folder, n_trials=2)).rows()) == 2
    assert (folder / "s.db").is_file()


def test_optuna_says_nothing_and_its_settings_stay(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    before = optuna.logging.get_verbosity()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(settings(tmp_path, n_trials=3, method="bayesian", pruner="hyperband")).importances()
    assert capfd.readouterr() == ("", "")
    assert optuna.logging.get_verbosity() == before


@pytest.mark.parametrize(
    ("address", "kind", "line"),
    [
        (
            "postgresql://me:secret@host/db",
            MissingExtraError,
            r"the package psycopg\w*, which speaks to postgresql, got",
        ),
        ("postgresqlx://me:secret@host/db", ConfigError, r"tune.storage: expected a database that can be opened, got"),
        ("sqlite:////no/such/folder/s.db", ConfigError, r"unable to open database file .*correct the address"),
        ("nonsense", ConfigError, r"tune.storage: expected a database that can be opened"),
    ],
)
def test_a_storage_that_cannot_be_opened_is_one_line_without_the_password(address: str, kind: Any, line: str) -> None:
    with pytest.raises(kind, match=line) as error:
        Study(settings(storage=address), SPACE)
    assert "secret" not in str(error.value)
    assert "\n" not in str(error.value)
    assert "secret" not in hidden(address)


def test_a_trial_is_told_in_one_line() -> None:
    best = TrialRow(number=1, state="complete", values={}, value=0.9)
    row = TrialRow(number=4, state="pruned", values={"optimizer.lr": 0.000123456, "model.filters": [1, 2]}, value=0.5)
    assert trial_line(row, 9, "macro_f1", best) == (
        "trial 5/9  pruned at macro_f1 0.5000  (best 0.9000, trial 2)  optimizer.lr=0.0001235  model.filters=[1, 2]"
    )
    row = TrialRow(number=0, state="failed", values={}, reason="out of memory")
    assert trial_line(row, 9, "macro_f1", None).rstrip() == "trial 1/9  failed: out of memory"
