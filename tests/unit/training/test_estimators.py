"""Classical models in a run: features once, one row of history, the same scores from the bundle."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ringlight.config.load import compose
from ringlight.errors import InterruptedRunError, RunError
from ringlight.models.estimator import EstimatorModel
from ringlight.training.arrays import dataset_of
from ringlight.training.estimators import EstimatorLearner
from ringlight.training.learners import learner_of
from ringlight.training.plan import Plan, part_problems, plan_on, prepare
from ringlight.training.splitting import split_as_configured
from ringlight.training.trackers import QuietControl, QuietTracker
from ringlight.types import History, Prediction

MakePlan = Callable[..., Plan]
SMALL = {"random_forest": ["model.n_estimators=10"], "gradient_boosting": ["model.n_estimators=5"]}


def arrays(task: str = "multiclass") -> tuple[np.ndarray, np.ndarray]:
    """Windows (60, 24, 2) of three classes, 30 / 20 / 10, told apart by their deviation."""
    labels = np.repeat([0, 1, 2], [30, 20, 10])
    rng = np.random.default_rng(0)
    windows = rng.normal(size=(60, 24, 2)) * (1 + 2 * labels)[:, None, None]
    return windows.astype(np.float32), labels if task == "multiclass" else np.stack([labels > 0, labels > 1], 1) * 1


@pytest.fixture
def make_window_plan(tmp_path: Path) -> MakePlan:
    def make(name: str, *overrides: str, task: str = "multiclass") -> Plan:
        windows, labels = arrays(task)
        data = dataset_of(windows, labels, folder=tmp_path / "arrays")
        settings = [
            f"model={name}", f"data.root={tmp_path}", "training.device=cpu", "training.num_threads=1",
            "data.batch_size=16", *SMALL.get(name, []), *overrides,
        ]  # fmt: skip
        prepared = prepare(compose("windows", settings, check_parts=part_problems), tmp_path / "cache", dataset=data)
        records, split = split_as_configured(prepared.config, data, prepared.cache)
        return plan_on(prepared, records, split)

    return make


class Heard:
    """What a learner told while it was fitted."""

    def __init__(self) -> None:
        self.epochs: list[tuple[History, Prediction | None]] = []

    def __call__(self, history: History, validation: Prediction | None) -> None:
        self.epochs.append((history, validation))


def fit(plan: Plan, folder: Path, heard: Heard | None = None, **options: Any) -> tuple[EstimatorLearner, History]:
    learner = learner_of(plan, folder, heard or Heard())
    assert isinstance(learner, EstimatorLearner)
    val = plan.part("val") if len(plan.split.val) else None
    history = learner.fit(
        plan.part("train"), val, tracker=QuietTracker(), control=options.get("control", QuietControl()), resume=None
    )
    return learner, history


@pytest.mark.parametrize("name", ["random_forest", "svm", "logistic_regression", "gradient_boosting", "minirocket"])
def test_a_fit_is_one_row_and_the_saved_model_scores_the_same_bits(name, make_window_plan, tmp_path):
    if name == "minirocket":
        pytest.importorskip("sktime")
    heard = Heard()
    plan = make_window_plan(name, *(["model.num_kernels=84"] if name == "minirocket" else []))
    learner, history = fit(plan, tmp_path / "run", heard)
    assert len(history.rows) == 1
    assert {"epoch", "train/loss", "val/loss", "val/macro_f1", "val/accuracy"} <= set(history.rows[0])
    assert all(np.isfinite(value) for value in history.rows[0].values())
    assert history.rows[0]["val/accuracy"] > 0.6
    assert [len(one[0].rows) for one in heard.epochs] == [1]
    known = learner.predict(plan.part("test"))
    np.testing.assert_array_equal(heard.epochs[0][1].logits, learner.predict(plan.part("val")).logits)
    learner.save(tmp_path / "bundle")
    assert sorted(path.name for path in (tmp_path / "bundle").iterdir()) == ["bundle.json", "model.safetensors"]
    loaded = EstimatorLearner.load(tmp_path / "bundle").predict(plan.part("test"))
    np.testing.assert_array_equal(loaded.logits, known.logits)
    assert loaded.ids == known.ids


def test_several_labels_have_an_estimator_each(make_window_plan, tmp_path):
    plan = make_window_plan("random_forest", "loss=bce_with_logits", task="multilabel")
    learner, history = fit(plan, tmp_path / "run")
    assert learner.predict(plan.part("test")).logits.shape == (len(plan.split.test), 2)
    assert np.isfinite(history.rows[0]["train/loss"])


def test_the_loss_told_is_the_configured_one_on_the_scores(make_window_plan, tmp_path):
    plan = make_window_plan("random_forest")
    learner, history = fit(plan, tmp_path / "run")
    for part in ("train", "val"):
        scored = learner.predict(plan.part(part))
        expected = torch.nn.functional.cross_entropy(torch.tensor(scored.logits), torch.tensor(scored.targets))
        assert history.rows[0][f"{part}/loss"] == pytest.approx(float(expected), rel=1e-5)


def test_known_records_are_scored_without_describing_them_again(make_window_plan, tmp_path, monkeypatch):
    plan = make_window_plan("svm")
    learner, _ = fit(plan, tmp_path / "run")
    expected = learner.predict(plan.part("test"))

    def never(*_: Any) -> None:
        raise RuntimeError("described again")

    monkeypatch.setattr(type(learner.module), "describe", never)
    np.testing.assert_array_equal(learner.predict(plan.part("test")).logits, expected.logits)
    stranger = plan.part("test").with_column("id", [f"new {row}" for row in range(len(plan.split.test))])
    with pytest.raises(RuntimeError, match="described again"):
        learner.predict(stranger)
    monkeypatch.undo()
    np.testing.assert_array_equal(learner.predict(stranger).logits, expected.logits)


def test_two_runs_share_one_pass(make_window_plan, tmp_path):
    fit(make_window_plan("svm"), tmp_path / "a")
    fit(make_window_plan("random_forest"), tmp_path / "b")
    assert len(list((tmp_path / "cache").glob("features-*.npz"))) == 1


def test_a_sampler_weighs_the_records(make_window_plan, tmp_path, monkeypatch):
    seen: list[Any] = []
    whole = EstimatorModel.fit_features

    def overheard(self: Any, features: Any, targets: Any, sample_weight: Any = None) -> None:
        seen.append((np.asarray(targets), sample_weight))
        whole(self, features, targets, sample_weight)

    monkeypatch.setattr(EstimatorModel, "fit_features", overheard)
    fit(make_window_plan("svm"), tmp_path / "a")
    fit(make_window_plan("svm", "sampler=class_balanced"), tmp_path / "b")
    assert seen[0][1] is None
    targets, weights = seen[1]
    sums = np.bincount(targets, weights)
    np.testing.assert_allclose(sums / sums.sum(), 1 / 3, atol=0.05)  # every class counts alike


def test_a_validation_part_teaches_nothing(make_window_plan, tmp_path):
    plan = make_window_plan("svm")
    learner, _ = fit(plan, tmp_path / "a")
    alone = learner_of(make_window_plan("svm"), tmp_path / "b", Heard())
    history = alone.fit(plan.part("train"), None, tracker=QuietTracker(), control=QuietControl(), resume=None)
    assert set(history.rows[0]) == {"epoch", "train/loss"}
    np.testing.assert_array_equal(alone.predict(plan.part("test")).logits, learner.predict(plan.part("test")).logits)


def test_kernels_know_the_training_windows_alone(make_window_plan, tmp_path):
    pytest.importorskip("sktime")
    plan = make_window_plan("minirocket", "model.num_kernels=84")
    learner, _ = fit(plan, tmp_path / "run")
    windows, _ = arrays()
    rows = [int(key.split()[1]) for key in plan.part("train").ids]
    np.testing.assert_allclose(learner.module.mean.numpy(), windows[rows].mean((0, 1)), atol=1e-5)


def test_a_control_stops_it_while_features_are_computed(make_window_plan, tmp_path):
    class Cancels(QuietControl):
        def heartbeat(self, progress: Any) -> Any:
            return "cancel"

    with pytest.raises(InterruptedRunError):
        fit(make_window_plan("svm"), tmp_path / "run", control=Cancels())


def test_a_loaded_learner_predicts_and_is_not_fitted_again(make_window_plan, tmp_path):
    plan = make_window_plan("svm")
    learner, _ = fit(plan, tmp_path / "run")
    learner.save(tmp_path / "bundle")
    loaded = EstimatorLearner.load(tmp_path / "bundle")
    with pytest.raises(RunError, match=r"got one that was loaded to predict; build it with"):
        loaded.fit(plan.part("train"), None, tracker=QuietTracker(), control=QuietControl(), resume=None)
