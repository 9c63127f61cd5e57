"""Studies of a recipe, from the command line to the folder: what is tried and kept, what goes on, what is refused."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ringlight.cli.main import main
from ringlight.config.load import read_config
from ringlight.errors import InterruptedRunError, RunError, TrainingError, UserError
from ringlight.services import runs
from ringlight.services.tune import StudyResult, tune
from ringlight.training import tune_objective
from ringlight.training.learner import DeepLearner
from ringlight.types import History, Signal

SPACE = "tune.space={optimizer.lr:{type:float,low:0.0001,high:0.01,log:true,num:2},loss.gamma:[1.0,2.0]}"

Tune = Callable[..., StudyResult]


@pytest.fixture
def tune_small(tmp_path: Path, small: list[str]) -> Tune:
    def made(*overrides: str, workspace: str = "workspace", **options: Any) -> StudyResult:
        given = [*small, "training.num_epochs=1", SPACE, "tune.method=random", "tune.n_trials=3", *overrides]
        return tune("demo", given, workspace=tmp_path / workspace, **options)

    return made


def told(found: StudyResult) -> list[Any]:
    return [
        {key: trial[key] for key in ("number", "state", "values", "value", "steps")} for trial in found.study["trials"]
    ]


def test_a_grid_leaves_its_folder_and_a_recipe_that_train_takes(tune_small: Tune, tmp_path: Path) -> None:
    found = tune_small("tune.method=grid", "tune.n_trials=50", "tune.pruner=none")
    assert {path.name for path in found.folder.iterdir()} == {
        "config.yaml", "study.db", "study.lock", "study.log", "study.json", "trials.csv", "best.yaml", "report.html",
        "figures", "trials",
    }  # fmt: skip
    assert [trial["values"] for trial in found.study["trials"]] == [
        {"optimizer.lr": lr, "loss.gamma": gamma} for lr in (0.0001, 0.01) for gamma in (1.0, 2.0)
    ]
    assert found.study["states"] == {"complete": 4, "pruned": 0, "failed": 0, "running": 0}
    assert found.study["epochs"] == 4
    assert found.study == json.loads((found.folder / "study.json").read_text())
    rows = list(csv.DictReader((found.folder / "trials.csv").read_text().splitlines()))
    assert [float(row["value"]) for row in rows] == [trial["value"] for trial in found.study["trials"]]
    assert not list((found.folder / "trials").rglob("*.ckpt"))
    best = read_config(found.recipe)
    assert {"optimizer.lr": best.optimizer.lr, "loss.gamma": best.loss.params()["gamma"]} == found.study["best"][
        "values"
    ]
    assert best.tune.space is None
    run = runs.train(None, file=found.recipe, workspace=tmp_path / "workspace")
    assert run.results["history"][0]["val/macro_f1"] == found.study["best"]["value"]  # the same training, to the bit


def test_the_test_part_is_never_seen(
    tune_small: Tune, small: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A study that looks at the test part chooses by it, and the score that is told in the end is a lie."""
    plan = runs.plan(runs.configure("demo", small), tmp_path / "workspace")
    test, seen = set(plan.part("test").ids), set()
    plan_on = tune_objective.plan_on

    def spied(prepared: Any, dataset: Any, split: Any) -> Any:
        made = plan_on(prepared, dataset, split)
        seen.update(made.given.ids, made.dataset.ids, prepared.inspection.dataset.ids)
        assert len(made.split.test) == 0
        return made

    monkeypatch.setattr(tune_objective, "plan_on", spied)
    found = tune_small("tune.n_trials=1")
    assert test
    assert not test & seen
    assert seen == {*plan.part("train").ids, *plan.part("val").ids}
    assert found.study["data"]["num_held_back"] == len(test)


def test_folds_are_made_of_the_training_and_validation_parts_alone(
    tune_small: Tune, small: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = runs.plan(runs.configure("demo", small), tmp_path / "workspace")
    known = {*plan.part("train").ids, *plan.part("val").ids}
    judged: list[str] = []
    score_of = tune_objective.score_of

    def spied(prediction: Any, metric: str, criterion: Any, further: Any) -> float:
        judged.extend(prediction.ids)
        return score_of(prediction, metric, criterion, further)

    monkeypatch.setattr(tune_objective, "score_of", spied)
    found = tune_small("tune.objective=crossval", "cv.n_splits=2", "tune.n_trials=1")
    (trial,) = found.study["trials"]
    assert sorted(judged) == sorted(known)  # each once
    assert trial["value"] == pytest.approx(np.mean(trial["details"]["folds"]))
    assert trial["epochs"] == 2


class StopAt:
    """A control that lets so many steps pass."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def heartbeat(self, progress: Mapping[str, float]) -> Signal:
        self.left -= 1
        return "go" if self.left > 0 else "pause"


@pytest.mark.slow
def test_an_interrupted_study_goes_on_to_the_same_end(tune_small: Tune, tmp_path: Path) -> None:
    whole = tune_small(workspace="whole")
    with pytest.raises(
        InterruptedRunError, match=r"got `pause` after 1 of 3 trials; go on with ringlight tune --resume"
    ):
        tune_small(control=StopAt(6))
    folder = tmp_path / "workspace" / "studies" / "demo"
    assert json.loads((folder / "study.json").read_text())["status"] == "paused"
    assert told(tune(None, resume=folder)) == told(whole)


class StopWhatGoesOn:
    """A control that stops a trial in its second epoch, which none but one that waited comes to."""

    def heartbeat(self, progress: Mapping[str, float]) -> Signal:
        return "pause" if progress["epoch"] == 1 else "go"


HALVING = (
    "training.num_epochs=2", "tune.method=grid", "tune.n_trials=50", "tune.pruner=successive_halving",
    "tune.reduction_factor=2",
)  # fmt: skip


@pytest.mark.slow
def test_a_trial_that_waited_goes_on_to_the_bit(tune_small: Tune, tmp_path: Path) -> None:
    """Halving began trials anew or stopped them for good. One that goes on from its checkpoint has the scores of one
    that was never stopped, also where Ctrl-C came while it went on, and costs only what it trains further.
    """
    full = told(tune_small(*HALVING, "tune.pruner=none", workspace="full"))
    found = tune_small(*HALVING, workspace="halved")
    assert found.study["states"] == {"complete": 2, "pruned": 2, "failed": 0, "running": 0}
    assert found.study["epochs"] == 4 * 1 + 2 * 1
    assert [trial["epochs"] for trial in found.study["trials"]] == [
        len(trial["steps"]) for trial in found.study["trials"]
    ]
    by_values = {str(trial["values"]): trial for trial in full}
    for trial in told(found):
        whole = by_values[str(trial["values"])]
        assert trial["steps"] == whole["steps"][: len(trial["steps"])]
        assert trial["state"] == "pruned" or trial["value"] == whole["value"]
    assert not list((found.folder / "trials").rglob("*.ckpt"))
    folder = tmp_path / "workspace" / "studies" / "demo"
    with pytest.raises(InterruptedRunError):
        tune_small(*HALVING, control=StopWhatGoesOn())
    assert len(list((folder / "trials").rglob("last.ckpt"))) == 2  # of those that may go on
    assert told(tune(None, resume=folder)) == told(found)


@pytest.mark.slow
def test_folds_that_a_trial_has_behind_it_are_not_trained_again(tune_small: Tune) -> None:
    given = (*HALVING, "training.num_epochs=1", "tune.objective=crossval", "cv.n_splits=2")
    full = {str(trial["values"]): trial for trial in told(tune_small(*given, "tune.pruner=none", workspace="full"))}
    found = tune_small(*given)
    assert found.study["epochs"] == 4 * 1 + 2 * 1
    done = [trial for trial in told(found) if trial["state"] == "complete"]
    assert done == [{**full[str(trial["values"])], "number": trial["number"]} for trial in done]
    assert len(done) == 2


def test_a_trial_is_compared_by_the_weights_that_would_count(tune_small: Tune, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pruner saw the score of the last epoch where the study judges by the best one, and stopped an unlucky one."""
    rows = [0.5, 0.8, 0.6]

    def epochs(self: Any, train: Any, val: Any, **_: Any) -> History:
        history = History()
        for epoch, score in enumerate(rows):
            history.rows.append({"epoch": epoch, "train/loss": 1.0, "val/macro_f1": score})
            self.on_epoch(history, None)
        return history

    monkeypatch.setattr(DeepLearner, "fit", epochs)
    for restore, seen in (("best", [0.5, 0.8, 0.8]), ("last", rows)):
        found = tune_small("tune.n_trials=1", "training.num_epochs=3", f"training.restore={restore}", workspace=restore)
        assert [value for _, value in found.study["trials"][0]["steps"]] == seen


def test_a_study_may_grow_and_nothing_else(tune_small: Tune) -> None:
    first = tune_small()
    grown = tune_small("tune.n_trials=4")
    assert told(grown)[:3] == told(first)
    assert len(told(grown)) == 4
    with pytest.raises(
        RunError, match=r"the study's own settings \(training.num_epochs=1\), got training.num_epochs=2"
    ):
        tune_small("training.num_epochs=2")


def test_a_study_that_is_asked_for_fewer_trials_than_it_has_tells_those_it_has(tune_small: Tune) -> None:
    """It told the best one "in trial 3 of 2", and the report's trials were "3 of 2"."""
    tune_small("tune.n_trials=2")
    again = tune_small("tune.n_trials=1")
    assert (again.study["num_trials"], again.study["status"]) == (2, "completed")


def test_trials_that_fail_are_told_and_do_not_end_the_study(tune_small: Tune, monkeypatch: pytest.MonkeyPatch) -> None:
    plan_on, calls = tune_objective.plan_on, []

    def fails(prepared: Any, dataset: Any, split: Any) -> Any:
        calls.append(1)
        if len(calls) in (2, 3):  # the first call is the recipe itself
            raise MemoryError("no room") if len(calls) == 2 else RuntimeError("shapes do not fit")
        return plan_on(prepared, dataset, split)

    monkeypatch.setattr(tune_objective, "plan_on", fails)
    found = tune_small()
    assert [trial["reason"] for trial in found.study["trials"]] == [
        "out of memory: no room", "RuntimeError: shapes do not fit", "",
    ]  # fmt: skip
    assert found.study["best"]["number"] == 2
    assert "shapes do not fit" in (found.folder / "report.html").read_text()


def test_a_study_without_a_finished_trial_says_why(tune_small: Tune) -> None:
    nan = "tune.space={optimizer.lr:[1.0e30]}"
    with pytest.raises(
        TrainingError, match=r"expected a trial that was finished, got 1 that failed, the last with: .*loss"
    ):
        tune_small(
            nan, "tune.n_trials=1", "optimizer.name=sgd", "scheduler.name=constant", "scheduler.warmup_epochs=0",
            "training.num_epochs=2",
        )  # fmt: skip


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("tune.metric=macro_f3", "tune.metric: expected a validation metric, got `macro_f3`; did you mean"),
        ("tune.metric=recall/dent", "tune.metric: expected a validation metric, got `recall/dent`"),
        ("tune.space=reznet", "tune.space: expected a shipped space, got `reznet`"),
        ("split.strategy=stratified_80_20", "tune.objective: expected a split with a validation part"),
        ("tune.storage=nonsense", "tune.storage: expected a database that can be opened"),
        (
            "tune.storage=postgresql://me:s3cret@host/t",
            "tune.storage: expected an address without a password (~/.pgpass ",
        ),
        ("tune.timeout=soon", "tune.timeout: expected"),
        ("data.root=/no/such/folder/", "data.root"),
    ],
)
def test_what_holds_for_every_trial_is_refused_before_the_first(
    tune_small: Tune, override: str, line: str, tmp_path: Path
) -> None:
    if override.startswith("data.root"):
        with pytest.raises(UserError):
            tune("folder", [f"data.root={tmp_path / 'none'}", SPACE], workspace=tmp_path / "workspace")
        return
    with pytest.raises(UserError) as error:
        tune_small(override)
    assert str(error.value).startswith(line)
    assert not list((tmp_path / "workspace" / "studies").glob("*/trials"))


def test_a_bad_space_is_told_on_the_command_line_in_one_line(
    small: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = "tune.space={optimizer.lr:{type:float,low:2.0,high:1.0}}"
    assert main(["tune", "demo", *small, bad, "--workspace", str(tmp_path)]) == 2
    assert capsys.readouterr().err == "tune.space.optimizer.lr: expected low <= high, got low=2 and high=1; swap them\n"
    assert not (tmp_path / "studies").exists()


def test_the_command_line_tells_trials_and_the_best(
    small: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [*small, "training.num_epochs=1", SPACE, "tune.n_trials=2", "--workspace", str(tmp_path)]
    assert main(["tune", "demo", *given]) == 0
    printed = capsys.readouterr()
    lines = [line for line in printed.err.splitlines() if line.startswith("trial ")]
    assert [line.split("  ")[0] for line in lines] == ["trial 1/2", "trial 2/2"]
    assert "epoch 1/1" not in printed.err  # a trial is a line; its epochs are in the log
    assert "epoch 1/1" in (tmp_path / "studies" / "demo" / "study.log").read_text()
    assert "Study" not in printed.err
    assert "best macro_f1" in printed.out
    assert printed.out.splitlines()[-1].startswith(f"recipe: {tmp_path / 'studies' / 'demo' / 'best.yaml'}")
    assert main(["tune", "demo", *given, "--json"]) == 0
    study = json.loads(capsys.readouterr().out)
    assert study["folder"] == str(tmp_path / "studies" / "demo")
    assert len(study["trials"]) == 2


def test_spaces_are_shown_and_suggested(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tune", "demo", "--show-space"]) == 0
    shown = capsys.readouterr().out
    assert "optimizer.lr" in shown
    assert "1e-05 to 0.01 (log)" in shown
    assert main(["tune", "--suggest", "svm"]) == 0
    assert "model.gamma: {type: categorical" in capsys.readouterr().out
    assert main(["tune", "--suggest", "resnet18"]) == 0
    assert capsys.readouterr().out.startswith("# Images, ")
    assert main(["tune", "--suggest", "reznet18"]) == 2
    assert "model.name: expected a known model, got `reznet18`; did you mean `resnet18`?" in capsys.readouterr().err
    assert main(["tune", "demo", "--resume", "x"]) == 2
    assert "expected --resume FOLDER, with no recipe and no file" in capsys.readouterr().err


def test_a_metric_that_training_does_not_compute_by_itself_may_be_tuned(tune_small: Tune) -> None:
    found = tune_small("tune.metric=g_mean", "tune.n_trials=1", "tune.space={optimizer.lr:[0.001]}")
    (trial,) = found.study["trials"]
    assert trial["value"] == trial["steps"][0][1]
    assert read_config(found.recipe).training.metrics == ("g_mean",)


@pytest.mark.slow
def test_several_processes_share_a_study(tune_small: Tune) -> None:
    alone = tune_small("tune.n_trials=4", workspace="alone")
    found = tune_small("tune.n_trials=4", "tune.workers=2")
    assert told(found) == told(alone)
    assert found.study["status"] == "completed"


@pytest.mark.slow
def test_a_killed_study_goes_on(tune_small: Tune, small: list[str], tmp_path: Path) -> None:
    """Power cuts ask nobody: the trial at work is lost, its place is not."""
    whole = tune_small("tune.n_trials=4", workspace="whole")
    command = [
        sys.executable, "-m", "ringlight", "tune", "demo", *small, "training.num_epochs=1", SPACE,
        "tune.method=random", "tune.n_trials=4", "--workspace", str(tmp_path / "k"),
    ]  # fmt: skip
    folder = tmp_path / "k" / "studies" / "demo"
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not (folder / "trials" / "0002").exists():
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert told(tune(None, resume=folder)) == told(whole)
