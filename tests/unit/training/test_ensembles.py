"""Ensembles as they are trained: nobody scores what he has learned, runs are taken as they are, folds are kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ringlight.config.load import compose
from ringlight.data import folds
from ringlight.data.split import write_split
from ringlight.errors import BundleError, DataError, InterruptedRunError, Problems, RunError, SplitError
from ringlight.inference.bundle import read_bundle
from ringlight.inference.predictor import Predictor
from ringlight.training import ensemble_plan, ensembles
from ringlight.training.arrays import dataset_of
from ringlight.training.ensemble_plan import fold_splits, member_names, specs_of
from ringlight.training.ensemble_weights import fit_temperatures, fit_votes
from ringlight.training.ensembles import EnsembleLearner
from ringlight.training.learners import learner_of
from ringlight.training.plan import Plan, part_problems, plan_on, prepare
from ringlight.training.splitting import split_as_configured
from ringlight.training.trackers import QuietControl, QuietTracker

CLASSES = ("calm", "small", "large")
TREES = "{name: extra_trees, n_estimators: 9, feature_groups: [statistics]}"
FLAT = "{name: logistic_regression, C: 1.0e-6, feature_groups: [statistics]}"
LINE = "{name: logistic_regression, feature_groups: [statistics]}"
NETWORK = "{name: cnn1d, filters: [4, 4]}"
Make = Callable[..., Plan]


@pytest.fixture(autouse=True)
def one_thread():
    """Hold torch to one thread: what is kept of a run depends on their number."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Plan on windows (N, 16, 2) in groups of three that are alike; `skill` is how much the class shows in them."""
    return partial(plan_of, tmp_path)


def arrays(count: int = 90, *, skill: float = 1.0, seed: int = 0) -> tuple[Any, Any, Any]:
    rng, groups = np.random.default_rng(seed), np.arange(count) // 3
    truth = rng.permutation(groups[::3] % 3)[groups]
    windows = rng.normal(size=(count // 3, 16, 2))[groups] * (1 + skill * truth)[:, None, None]
    windows += rng.normal([3.0, -40.0], 0.02, (count, 16, 2))
    return windows.astype(np.float32), truth, groups


def plan_of(
    folder: Path, *overrides: str, members: str = f"[{TREES}, {LINE}]", skill: float = 1.0,
    classes: tuple[str, ...] = CLASSES, channels: Any = None, count: int = 90,
) -> Plan:  # fmt: skip
    windows, truth, groups = arrays(count, skill=skill)
    data = dataset_of(
        windows, truth, folder=folder / "cache", classes=classes, groups=groups, channels=channels, name="rig"
    )
    named = [] if any(one.startswith("model.name") for one in overrides) else ["model.name=ensemble"]
    chosen = [] if not named else [f"model.members={members}", "model.num_folds=3"]
    settings = ["training.num_epochs=2", "training.device=cpu", "training.num_threads=1", "scheduler.warmup_epochs=0"]
    config = compose("windows", [*settings, *named, *chosen, *overrides], check_parts=part_problems)
    prepared = prepare(config, folder / "cache", dataset=data)
    return plan_on(prepared, *split_as_configured(prepared.config, prepared.inspection.dataset, folder / "cache"))


def fitted(plan: Plan, folder: Path, control: Any = None) -> EnsembleLearner:
    learner = learner_of(plan, folder, lambda *_: None)
    val = plan.part("val") if len(plan.split.val) else None
    learner.fit(plan.part("train"), val, tracker=QuietTracker(), control=control or QuietControl(), resume=None)
    return learner  # type: ignore[return-value]


def saved_run(folder: Path, *overrides: str, split: bool = True, **chosen: Any) -> Path:
    """Train a single model and leave it as a run would: a bundle, and the split it was trained on."""
    plan = plan_of(folder, *overrides, **chosen)
    run = folder / "runs" / f"run-{len(list(folder.glob('runs/*')))}"
    fitted(plan, run / "checkpoints").save(run / "bundle")
    if split:
        write_split(plan.split, plan.dataset, run / "split.csv")
    return run


FOREST_RUN = ("model.name=random_forest", "model.n_estimators=5", "model.feature_groups=[statistics]")
LINE_RUN = ("model.name=logistic_regression", "model.feature_groups=[statistics]")


# --- out of fold ------------------------------------------------------------------------------------------------------


def test_the_folds_keep_groups_whole_cover_the_training_part_and_touch_no_other(make: Make):
    plan = make()
    splits = fold_splits(plan, plan.split, 3)
    assert sorted(np.concatenate([split.test for split in splits]).tolist()) == sorted(plan.split.train.tolist())
    for split in splits:
        groups = [set(plan.dataset.take(rows).groups or ()) for rows in (split.train, split.test)]
        assert not groups[0] & groups[1]
        assert set(split.train) | set(split.test) == set(plan.split.train)
        np.testing.assert_array_equal(split.val, plan.split.val)


def test_a_member_that_learns_by_heart_earns_nothing_by_it(make: Make, tmp_path: Path, monkeypatch):
    """Classes that windows do not show, in groups of three alike: trees know them by heart, a flat model knows nothing.

    Scored on what they were trained on, or on a window whose twin they were trained on, the trees would get all.
    """
    plan = make("model.scaled=false", members=f"[{TREES}, {FLAT}]", skill=0.0)
    honest = fitted(plan, tmp_path / "a").module.weights.tolist()
    assert honest[0] < 0.2
    by_record = partial(folds.make_folds)
    monkeypatch.setattr(ensemble_plan, "make_folds", lambda data, **kw: by_record(data, **{**kw, "kind": "stratified"}))
    assert fitted(plan, tmp_path / "b").module.weights.tolist()[0] > 0.8


def test_the_weights_are_fitted_to_the_scores_of_every_fold_in_the_records_order(make: Make, tmp_path: Path):
    plan = make()
    train = plan.part("train")
    expected = np.empty((2, len(train), 3), np.float32)
    for place, spec in enumerate(specs_of(plan.config)):
        for split in fold_splits(plan, plan.split, 3):
            made = ensemble_plan.member_plan(plan, spec, split)
            learner = fitted(made, tmp_path / "alone")
            expected[place, np.searchsorted(plan.split.train, split.test)] = learner.predict(made.part("test")).logits
    assert (np.diff(plan.split.train) > 0).all()
    heat = fit_temperatures(expected, train.targets(), "multiclass")
    weights = fit_votes(expected / heat[:, None, None], train.targets(), "multiclass")
    found = fitted(plan, tmp_path / "whole").module
    np.testing.assert_allclose(found.temperatures, heat, rtol=1e-9)
    np.testing.assert_allclose(found.weights, weights, atol=1e-9)


def test_a_member_is_what_it_would_be_alone(make: Make, tmp_path: Path):
    """The same configuration trained by itself scores alike; the normalisation of the network goes with it."""
    plan = make("model.voting=soft", members=f"[{LINE}, {NETWORK}]")
    learner = fitted(plan, tmp_path / "both")
    test = plan.part("test")
    scores = learner._member_scores(test)
    batch = f"data.batch_size={plan.config.data.batch_size}"
    for place, alone in enumerate((LINE_RUN, ("model.name=cnn1d", "model.filters=[4,4]", "model.drop_rate=0.3"))):
        made = make(*alone, batch)
        expected = fitted(made, tmp_path / f"alone-{place}").predict(made.part("test"))
        np.testing.assert_allclose(scores[place], expected.logits, rtol=1e-5, atol=1e-5)


def test_all_folds_and_members_share_one_pass_for_the_features(make: Make, tmp_path: Path):
    """What a fold measures of its channels is no part of features of plain windows, or each fold would have its own."""
    fitted(make(), tmp_path / "run")
    assert len(list((tmp_path / "cache").glob("features-*"))) == 1


def test_the_history_is_a_row_and_the_notes_tell_weights_and_gain(make: Make, tmp_path: Path):
    told: list[Any] = []
    plan = make()
    learner = learner_of(plan, tmp_path / "run", lambda history, validation: told.append((history, validation)))
    history = learner.fit(
        plan.part("train"), plan.part("val"), tracker=QuietTracker(), control=QuietControl(), resume=None
    )
    assert len(history.rows) == 1
    assert told[0][0] is history
    assert told[0][1].ids == plan.part("val").ids
    assert {"train/loss", "val/loss", "val/macro_f1"} <= set(history.rows[0])
    note = learner.notes[-1]
    assert note.startswith("ensemble: weights extra_trees ")
    assert "fitted on the scores of 3 folds of the training part; log loss there" in note
    assert not (tmp_path / "run" / "members").exists()


def test_without_a_validation_part_the_folds_still_fit_the_weights(make: Make, tmp_path: Path):
    plan = make("split=stratified_80_20")
    learner = fitted(plan, tmp_path / "run")
    assert sum(learner.module.weights.tolist()) == pytest.approx(1)


# --- saved and served -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("voting", ["soft", "stacking"])
def test_a_bundle_predicts_windows_in_physical_units_alone(make: Make, tmp_path: Path, voting: str):
    plan = make(f"model.voting={voting}", members=f"[{LINE}, {NETWORK}]")
    learner = fitted(plan, tmp_path / "run")
    learner.save(tmp_path / "bundle")
    test = plan.part("test")
    windows = arrays()[0][plan.split.test]
    found = Predictor.from_path(tmp_path / "bundle").predict(windows)
    np.testing.assert_allclose(found.prediction.logits, learner.predict(test).logits, rtol=1e-5, atol=1e-5)
    assert found.prediction.classes == CLASSES


def test_the_configuration_has_every_setting_of_the_members_written_out(make: Make):
    plan = make(members="[random_forest, {name: cnn1d, kernel_size: 3}]")
    members = plan.config.model.params()["members"]
    assert members[0] == {"name": "random_forest", "normalize": "none", "n_estimators": 300}
    assert members[1]["kernel_size"] == 3
    assert (members[1]["normalize"], members[1]["drop_rate"]) == ("channel", 0.3)
    again = plan_on(
        prepare(plan.config, plan.cache, dataset=plan.given), plan.dataset, plan.split
    )  # a run that is resumed reads its own configuration
    assert again.config == plan.config
    assert plan.spec.normalize == "none"


# --- interrupted ------------------------------------------------------------------------------------------------------


class StopsAfter(QuietControl):
    """Cancels when a number of trainings are done."""

    def __init__(self, trainings: int, total: int) -> None:
        self.share = trainings / total
        self.told: list[float] = []

    def heartbeat(self, progress: Any) -> Any:
        self.told.append(progress["done"] / progress["total"])
        return "cancel" if self.told[-1] >= self.share else "go"


def test_an_interrupted_ensemble_goes_on_with_the_folds_it_has(make: Make, tmp_path: Path, monkeypatch):
    plan = make()
    whole = fitted(plan, tmp_path / "whole")
    control = StopsAfter(4, 8)
    with pytest.raises(InterruptedRunError, match=r"got `cancel` after training 4 of 8; go on with ringlight train"):
        fitted(plan, tmp_path / "run", control)
    assert control.told == sorted(control.told)
    trained: list[str] = []
    real = ensembles.member_plan
    monkeypatch.setattr(ensembles, "member_plan", lambda *args: trained.append(args[1].name) or real(*args))
    again = fitted(replace(plan, module=make().module), tmp_path / "run")
    assert trained == ["logistic_regression", "logistic_regression", "extra_trees", "logistic_regression"]
    assert again.module.weights.tolist() == whole.module.weights.tolist()
    test = plan.part("test")
    np.testing.assert_array_equal(again.predict(test).logits, whole.predict(test).logits)


# --- trained runs -----------------------------------------------------------------------------------------------------


@pytest.fixture
def runs(tmp_path: Path) -> tuple[Path, Path]:
    return saved_run(tmp_path, *FOREST_RUN), saved_run(tmp_path, *LINE_RUN)


def of_runs(*runs: Path | str) -> str:
    return "[" + ", ".join(one if one.startswith("{") else f"{{run: {one}}}" for one in map(str, runs)) + "]"


@pytest.mark.parametrize("voting", ["soft", "stacking"])
def test_runs_are_members_as_they_are_and_the_validation_part_weighs_them(make: Make, tmp_path, runs, voting):
    plan = make(f"model.voting={voting}", "model.scaled=false", members=of_runs(*runs))
    learner = fitted(plan, tmp_path / "run")
    test, val = plan.part("test"), plan.part("val")
    for place, run in enumerate(runs):
        member = EnsembleLearner.load(run / "bundle")
        np.testing.assert_array_equal(learner._member_scores(test)[place], member.predict(test).logits)
    if voting == "soft":
        expected = fit_votes(learner._member_scores(val), val.targets(), "multiclass")
        np.testing.assert_array_equal(learner.module.weights, expected)
        assert learner.module.temperatures.tolist() == [1.0, 1.0]
    assert "fitted on the scores of the validation part" in learner.notes[-1]


def test_a_bundle_needs_the_runs_no_more(make: Make, tmp_path: Path, runs):
    learner = fitted(make(members=of_runs(*runs)), tmp_path / "run")
    learner.save(tmp_path / "bundle")
    bundle, _ = read_bundle(tmp_path / "bundle")
    names = [(one["name"], one.get("n_estimators")) for one in bundle.architecture["params"]["members"]]
    assert names == [("random_forest", 5), ("logistic_regression", None)]
    assert str(runs[0]) not in str(bundle.architecture)


def test_runs_and_configured_members_mix_and_the_validation_part_weighs_all(make: Make, tmp_path: Path, runs):
    learner = fitted(make(members=of_runs(runs[0], NETWORK)), tmp_path / "run")
    assert "validation part" in learner.notes[-1]
    assert f"weights {runs[0].name} " in learner.notes[-1]


def test_a_run_is_found_by_the_beginning_of_its_name(make: Make, runs):
    """The workspace is where the cache lies; here `runs/run-0` and `runs/run-1`."""
    plan = make(members=of_runs("run-0", "run-1"))
    assert [spec.run for spec in specs_of(plan.config)] == [str(run) for run in runs]
    with pytest.raises(RunError, match=r"got `run-`, which names 2; give the folder of a finished run"):
        make(members=of_runs("run-", "run-1"))


def test_a_bundle_that_stands_alone_is_taken_with_a_note(make: Make, tmp_path: Path, runs):
    alone = saved_run(tmp_path, *LINE_RUN, split=False)
    learner = fitted(make(members=of_runs(runs[0], alone / "bundle")), tmp_path / "run")
    assert any("was trained on is not known; its scores may be too good" in note for note in learner.notes)


def test_a_run_that_was_trained_on_what_weighs_or_judges_is_refused(make: Make, tmp_path: Path, runs):
    other = saved_run(tmp_path, *LINE_RUN, "experiment.seed=7")
    with pytest.raises(RunError, match=r"part that no member was trained or tuned on, got .*split.file=RUN/split.csv"):
        fitted(make(members=of_runs(runs[0], other)), tmp_path / "run")


def test_runs_need_a_validation_part(make: Make, tmp_path: Path, runs):
    with pytest.raises(RunError, match=r"expected a validation part, which fits the weights of trained runs, got none"):
        fitted(make("split=stratified_80_20", members=of_runs(*runs)), tmp_path / "run")


def test_runs_that_cannot_be_members_are_refused_in_one_line(make: Make, tmp_path: Path, runs):
    unfinished = tmp_path / "runs" / "unfinished"
    unfinished.mkdir()
    nested = tmp_path / "nested"
    fitted(make(), tmp_path / "run").save(nested)
    cases: list[tuple[Path, type[Exception], str]] = [
        (unfinished, BundleError, r"unfinished: expected a bundle .* or a finished run, got a folder without it"),
        (nested, RunError, r"members\[1\]: .*nested: expected the run of a single model, got `ensemble`"),
        (
            saved_run(tmp_path, *LINE_RUN, classes=("calm", "small", "huge")), RunError,
            r"expected the classes of the data \(multiclass: calm, small, large\), got multiclass: calm, small, huge",
        ),
        (saved_run(tmp_path, *LINE_RUN, channels=("p", "q")), DataError, r"members\[1\]: .*channel"),
    ]  # fmt: skip
    for run, kind, line in cases:
        with pytest.raises(kind, match=line) as caught:
            make(members=of_runs(runs[0], run))
        assert "\n" not in str(caught.value)
    with pytest.raises(RunError, match=r"model.members: expected a run folder, .* got `nowhere`, which names 0"):
        make(members=of_runs(runs[0], "nowhere"))


# --- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (
            ["data.normalize=window"],
            "data.normalize: expected auto for an ensemble, whose members normalise their own input, got window; "
            "say it of a member: {name: cnn1d, normalize: window}",
        ),
        (
            ["imbalance.method=post_hoc"],
            "imbalance.method: expected none, or for an ensemble a method that draws records, which every member hears "
            "of, got post_hoc; choose from:",
        ),
        (["model.members=[svm]"], "model.members: expected two members or more, got 1; name them:"),
        (["model.members=[svm,svn]"], "model.members[1].name: expected a known model of windows, got `svn`; did you"),
        (["model.members=[svm,ensemble]"], "model.members[1].name: expected a single model, got an ensemble in an"),
    ],
)  # fmt: skip
def test_what_an_ensemble_does_not_have_is_refused_before_anything_is_trained(make: Make, overrides, line):
    with pytest.raises(Problems) as caught:
        make(*overrides)
    assert str(caught.value).startswith(line)
    assert len(str(caught.value).splitlines()) == 1


def test_a_method_that_draws_records_reaches_the_members(make: Make, tmp_path: Path):
    plan = make("imbalance.method=class_balanced")
    fitted(plan, tmp_path / "run")
    assert plan.config.sampler.name == "class_balanced"


def test_fewer_groups_than_folds_are_refused_in_one_line(make: Make, tmp_path: Path):
    plan = make("model.num_folds=40")
    with pytest.raises(SplitError, match=r"^rig: folds: expected at least 40 groups, got \d+; use fewer folds$"):
        fitted(plan, tmp_path / "run")


def test_names_of_members_are_told_apart():
    specs = ensemble_plan.parse_members(["svm", "svm", {"run": "/a/b"}])[0]
    assert member_names(specs) == ["svm", "svm (2)", "b"]
