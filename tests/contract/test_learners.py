"""What every learner promises: a row an epoch, scores in the records' order, a saved folder that scores alike."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ringlight.config.load import compose
from ringlight.errors import RunError
from ringlight.training.arrays import dataset_of
from ringlight.training.learner import DeepLearner
from ringlight.training.learners import learner_of
from ringlight.training.plan import Plan, make_plan, part_problems, plan_on, prepare
from ringlight.training.splitting import split_as_configured
from ringlight.training.trackers import QuietControl, QuietTracker
from ringlight.types import Dataset, History, Learner, Prediction

CLASSES = ("dark", "bright", "riß")


def deep(plan: Plan, folder: Path) -> Learner:
    return DeepLearner.from_plan(plan, folder, lambda *_: None)


LEARNERS: Mapping[str, Callable[[Plan, Path], Learner]] = {"deep": deep}
"""How each learner of images is built from a plan; a new one joins here."""

FOREST = "{name: random_forest, n_estimators: 5, feature_groups: [statistics]}"
NETWORK = "{name: cnn1d, filters: [4, 4]}"
WINDOWS: Mapping[str, tuple[str, ...]] = {
    "network": ("model.name=cnn1d", "model.filters=[4,4]"),
    "estimator": ("model.name=random_forest", "model.n_estimators=5"),
    "ensemble": ("model.name=ensemble", f"model.members=[{FOREST}, {NETWORK}]", "model.num_folds=2"),
    "stacking": ("model.name=ensemble", f"model.members=[{FOREST}, svm]", "model.num_folds=2", "model.voting=stacking"),
}
"""The models of windows, each with the learner a plan gives it; a new kind of learner joins here."""
COMMON = (
    "training.num_epochs=2", "training.device=cpu", "training.num_threads=1", "scheduler.warmup_epochs=0",
)  # fmt: skip


@dataclass(frozen=True)
class Fitted:
    """A learner after `fit`, with what it was given and gave."""

    learner: Learner
    train: Dataset
    val: Dataset
    history: History


def table(folder: Path, task: str) -> Path:
    """Write eighteen small pictures and their label table: a class each, or (multi-label) also none or two."""
    lines = ["path,label"]
    for index in range(18):
        labels = [CLASSES[index % 3]] if task == "multiclass" or index % 3 else [CLASSES[0], CLASSES[2]][: index % 4]
        noise = np.random.default_rng(index).normal(60 + 60 * (index % 3), 9, (32, 32)).clip(0, 255)
        Image.fromarray(noise.astype(np.uint8)).save(folder / f"tile_{index:02d}.png")
        lines.append(f"tile_{index:02d}.png,{' '.join(labels)}")
    path = folder / "labels.csv"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def image_plan(folder: Path, task: str) -> Plan:
    """Plan a training of a small network on the pictures."""
    overrides = [
        f"data.root={table(folder, task)}", "data.source=table", "data.path_column=path", "data.label_columns=label",
        f"data.task={task}", "data.image_size=32", "data.batch_size=4", "data.num_workers=0", "model.name=resnet10t",
        "model.pretrained=false", f"loss.name={LOSS[task]}", *COMMON,
    ]  # fmt: skip
    return make_plan(compose("folder", overrides, check_parts=part_problems), folder)


def window_plan(folder: Path, task: str, model: Iterable[str]) -> Plan:
    """Plan a training on forty-eight windows of two channels, in groups of two: a class each, or none to three."""
    rng, place = np.random.default_rng(0), np.arange(48) // 2
    truth = np.eye(3, dtype=int)[place % 3] if task == "multiclass" else (place[:, None] >> np.arange(3)) & 1
    windows = rng.normal(size=(48, 16, 2)) + (truth @ np.array([[2.0, 0.0], [0.0, 2.0], [-2.0, -2.0]]))[:, None]
    data = dataset_of(windows.astype(np.float32), truth, folder=folder, classes=CLASSES, groups=place)
    overrides = ["data.batch_size=4", f"loss.name={LOSS[task]}", *model, *COMMON]
    prepared = prepare(compose("windows", overrides, check_parts=part_problems), folder, dataset=data)
    return plan_on(prepared, *split_as_configured(prepared.config, prepared.inspection.dataset, folder))


LOSS = {"multiclass": "cross_entropy", "multilabel": "bce_with_logits"}


@pytest.fixture(
    scope="module", params=[(name, task) for name in (*LEARNERS, *WINDOWS) for task in ("multiclass", "multilabel")]
)
def fitted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fitted]:
    name, task = request.param
    folder = tmp_path_factory.mktemp(f"{name}-{task}")
    with torch.random.fork_rng():
        plan = image_plan(folder, task) if name in LEARNERS else window_plan(folder, task, WINDOWS[name])
        make = LEARNERS.get(name) or (lambda plan, folder: learner_of(plan, folder, lambda *_: None))
        learner = make(plan, folder / "checkpoints")
        train, val = plan.part("train"), plan.part("val")
        history = learner.fit(train, val, tracker=QuietTracker(), control=QuietControl(), resume=None)
        yield Fitted(learner, train, val, history)


def test_it_keeps_the_protocol(fitted: Fitted) -> None:
    assert isinstance(fitted.learner, Learner)


def test_fitting_gives_a_row_of_finite_numbers_an_epoch_that_json_can_hold(fitted: Fitted) -> None:
    rows = fitted.history.rows
    assert [row["epoch"] for row in rows] == list(range(len(rows)))
    assert {"train/loss", "val/loss", "val/macro_f1"} <= set(rows[-1])
    assert json.loads(json.dumps(rows, allow_nan=False)) == rows


def test_scores_are_raw_single_precision_and_in_the_records_order(fitted: Fitted) -> None:
    prediction = fitted.learner.predict(fitted.train)
    assert isinstance(prediction, Prediction)
    assert prediction.logits.shape == (len(fitted.train), len(fitted.train.classes))
    assert prediction.logits.dtype == np.float32
    assert list(prediction.ids) == fitted.train.ids
    assert prediction.classes == fitted.train.classes
    assert prediction.task == fitted.train.task
    np.testing.assert_array_equal(prediction.targets, fitted.train.targets())
    order = np.arange(len(fitted.train))[::-1]
    turned = fitted.learner.predict(fitted.train.take(order))
    assert list(turned.ids) == fitted.train.ids[::-1]
    np.testing.assert_allclose(turned.logits, prediction.logits[order], atol=1e-5)


def test_predicting_twice_gives_the_same_bits(fitted: Fitted) -> None:
    first, second = (fitted.learner.predict(fitted.val).logits for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_a_saved_learner_scores_alike_to_the_bit(fitted: Fitted, tmp_path: Path) -> None:
    fitted.learner.save(tmp_path / "saved")
    loaded = type(fitted.learner).load(tmp_path / "saved")
    again = loaded.predict(fitted.val)
    first = fitted.learner.predict(fitted.val)
    np.testing.assert_array_equal(again.logits, first.logits)
    assert (again.classes, again.task) == (first.classes, first.task)


def test_nothing_that_is_saved_is_a_pickle(fitted: Fitted, tmp_path: Path) -> None:
    fitted.learner.save(tmp_path)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files
    for path in files:
        content = path.read_bytes()
        assert not content.startswith((b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05", b"PK")), path.name


def test_a_loaded_learner_is_not_trained_further(fitted: Fitted, tmp_path: Path) -> None:
    fitted.learner.save(tmp_path)
    loaded: Any = type(fitted.learner).load(tmp_path)
    with pytest.raises(RunError, match=r"got one that was loaded to predict; build it with"):
        loaded.fit(fitted.train, fitted.val, tracker=QuietTracker(), control=QuietControl(), resume=None)


def test_it_can_be_saved_again_after_loading(fitted: Fitted, tmp_path: Path) -> None:
    fitted.learner.save(tmp_path / "first")
    type(fitted.learner).load(tmp_path / "first").save(tmp_path / "second")
    for name in sorted(path.name for path in (tmp_path / "first").iterdir()):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes(), name
