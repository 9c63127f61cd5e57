"""Judging again: labels numbered as the model knows them, files known again, models averaged class by class."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.metrics import f1_score

from ringlight.config.schema import EvaluationConfig
from ringlight.errors import DataError, RunError
from ringlight.evaluation.calibration import Calibration, Calibrator
from ringlight.inference.tta import Tta
from ringlight.training.evaluate import Member, check_members, conform, data_for, join, overlap
from ringlight.training.rules import Rules
from ringlight.types import Dataset, Prediction, Task

DatasetOf = Callable[..., Dataset]
CLASSES = ("good", "pit", "scratch")
SETTINGS = EvaluationConfig(num_resamples=100)


class Known:
    """A learner with a fixed score for every record and class, whatever order its classes have."""

    def __init__(self, scores: npt.NDArray[Any], classes: Sequence[str] = CLASSES) -> None:
        order = [CLASSES.index(name) for name in classes]
        self.scores = np.asarray(scores, np.float32)[:, order]
        self.classes = tuple(classes)
        self.asked: list[tuple[str, ...]] = []

    def predict(self, data: Dataset) -> Prediction:
        self.asked.append(data.classes)
        rows = [int(key.removeprefix("r")) for key in data.ids]
        return Prediction(data.ids, self.scores[rows], self.classes, data.task, data.targets())


def member(
    name: str, scores: npt.NDArray[Any], classes: Sequence[str] = CLASSES, *, task: Task = "multiclass",
    calibration: Calibration | None = None,
) -> Member:  # fmt: skip
    rules = Rules(task=task, classes=tuple(classes), calibration=calibration)
    return Member(name=name, learner=Known(scores, classes), rules=rules)  # type: ignore[arg-type]


def noisy(targets: Sequence[int], seed: int) -> npt.NDArray[Any]:
    generator = np.random.default_rng(seed)
    return np.eye(3)[list(targets)] + generator.normal(0, 0.8, (len(targets), 3))


TARGETS = [row % 3 for row in range(60)]


def test_labels_are_numbered_by_the_names_that_the_model_knows(dataset_of: DatasetOf) -> None:
    """New data came with its folders in another order: every good part was called a scratch."""
    data = dataset_of([0, 1, 2, 0], classes=["scratch", "pit", "good"])
    found = conform(data, CLASSES, "multiclass", where="new")
    assert found.classes == CLASSES
    assert list(found.targets()) == [2, 1, 0, 2]
    assert [found.classes[label] for label in found.targets()] == [data.classes[label] for label in data.targets()]
    assert found.ids == data.ids


def test_several_labels_are_numbered_in_order(dataset_of: DatasetOf) -> None:
    data = dataset_of([[0, 1], [], [2]], classes=["scratch", "pit", "good"])
    found = conform(data, CLASSES, "multilabel", where="new")
    assert found.table.column("labels").to_pylist() == [[1, 2], [], [0]]


def test_boxes_keep_their_class(dataset_of: DatasetOf) -> None:
    box = {"x_min": 0.0, "y_min": 0.0, "x_max": 4.0, "y_max": 4.0}
    data = dataset_of([[0], [1]], classes=["scratch", "pit"], boxes=[({"label": 0, **box},), ()])
    found = conform(data, CLASSES, "multilabel", where="new")
    assert [box["label"] for box in found[0].boxes] == [2]
    assert found[1].boxes == ()


def test_new_data_may_lack_classes_and_name_some_that_no_record_has(dataset_of: DatasetOf) -> None:
    data = dataset_of([1, 1], classes=["burr", "pit"])
    found = conform(data, CLASSES, "multiclass", where="new")
    assert found.class_counts() == {"good": 0, "pit": 2, "scratch": 0}


def test_a_label_the_model_never_saw_is_refused_with_its_count(dataset_of: DatasetOf) -> None:
    data = dataset_of([0, 1, 1], classes=["pit", "burr"])
    with pytest.raises(DataError) as caught:
        conform(data, CLASSES, "multiclass", where="new parts")
    assert str(caught.value) == (
        "new parts: expected labels the model was trained on (good, pit, scratch), got labels unseen in training: "
        "1 (burr on 2 records); rename them, leave those records out, or train a model that knows them"
    )


def test_records_of_another_task_are_refused(dataset_of: DatasetOf) -> None:
    with pytest.raises(DataError) as caught:
        conform(dataset_of([0, 1], classes=["good", "pit"]), CLASSES, "multilabel", where="new")
    assert str(caught.value) == (
        "new: expected multilabel records, as the model was trained on, got multiclass; set data.task=multilabel"
    )


def test_records_without_labels_are_told_apart_from_another_task(dataset_of: DatasetOf) -> None:
    """Windows without labels were "multilabel" to `ringlight evaluate`, to be mended by data.task=multiclass."""
    data = dataset_of([0, 1])
    unlabelled = Dataset(data.table, (), "multilabel", "rig", (), data.signals)
    with pytest.raises(DataError, match=r"new: expected labelled records, got none with a label; .*data\.label_key"):
        conform(unlabelled, CLASSES, "multiclass", where="new")


def test_files_are_known_again_by_the_beginning_of_their_digest(dataset_of: DatasetOf) -> None:
    data = dataset_of([0] * 4, content=["aaaa1111", "bbbb2222", None, "cccc3333"])
    assert overlap(data, {"bbbb": "old name", "dddd": "other"}) == ["r1"]
    assert overlap(data, {}) == []
    assert overlap(dataset_of([0, 0]), {"aaaa": "old"}) == []


def test_an_ensemble_is_the_mean_of_its_members_probabilities(dataset_of: DatasetOf) -> None:
    data = dataset_of(TARGETS, classes=CLASSES)
    members = [member(name, noisy(TARGETS, seed)) for seed, name in enumerate("AB")]
    joined = join(members, data, SETTINGS, space="probability", seed=0)
    each = [one.learner.predict(data).probabilities for one in members]
    np.testing.assert_allclose(joined.prediction.probabilities, np.mean(each, axis=0), atol=1e-6)
    assert joined.card["space"] == "probability"
    logits = join(members, data, SETTINGS, space="logit", seed=0).prediction.logits
    np.testing.assert_allclose(logits, (noisy(TARGETS, 0) + noisy(TARGETS, 1)) / 2, atol=1e-6)


def test_members_may_have_their_classes_in_any_order(dataset_of: DatasetOf) -> None:
    """Averaged column by column, a model whose folders sort otherwise cancels the others out."""
    orders = [CLASSES, ("scratch", "good", "pit"), ("pit", "scratch", "good")]
    scores = [noisy(TARGETS, seed) for seed in range(3)]
    data = dataset_of(TARGETS, classes=CLASSES)
    mixed = [member(str(k), scores[k], order) for k, order in enumerate(orders)]
    straight = [member(str(k), scores[k]) for k in range(3)]
    found, expected = (join(members, data, SETTINGS, space="probability", seed=0) for members in (mixed, straight))
    np.testing.assert_array_equal(found.prediction.logits, expected.prediction.logits)
    np.testing.assert_array_equal(found.prediction.targets, TARGETS)  # type: ignore[arg-type]
    assert {**found.card, "cost": None} == {**expected.card, "cost": None}
    assert [one.learner.asked[0] for one in mixed] == orders  # type: ignore[attr-defined]
    turned = dataset_of([2 - label for label in TARGETS], classes=CLASSES[::-1])
    again = join(mixed, turned, SETTINGS, space="probability", seed=0)
    np.testing.assert_array_equal(again.prediction.targets, TARGETS)  # type: ignore[arg-type]
    assert again.card["gain"] == expected.card["gain"]


def test_the_gain_is_told_against_the_member_that_is_best_on_these_records(dataset_of: DatasetOf) -> None:
    data = dataset_of(TARGETS, classes=CLASSES)
    scores = [3 * noisy(TARGETS, 0), -noisy(TARGETS, 1), noisy(TARGETS, 2)]
    members = [member(name, part) for name, part in zip("ABC", scores, strict=True)]
    joined = join(members, data, SETTINGS, space="probability", seed=0)
    singles = [f1_score(TARGETS, part.argmax(axis=1), average="macro") for part in scores]
    assert [row["name"] for row in joined.card["members"]] == ["A", "B", "C"]
    assert [row["macro_f1"] for row in joined.card["members"]] == pytest.approx(singles)
    assert joined.card["against"] == "ABC"[int(np.argmax(singles))]
    mean = f1_score(TARGETS, joined.prediction.logits.argmax(axis=1), average="macro")
    gain = joined.card["gain"]
    assert gain["value"] == pytest.approx(mean - max(singles))
    assert gain["low"] < gain["value"] < gain["high"]


def test_the_cost_is_the_time_of_all_over_that_of_the_best(
    dataset_of: DatasetOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([0.0, 2.0, 2.0, 8.0])  # the first takes two seconds, the second six
    monkeypatch.setattr("ringlight.training.evaluate.time", SimpleNamespace(perf_counter=lambda: next(clock)))
    data = dataset_of(TARGETS, classes=CLASSES)
    perfect = np.eye(3)[TARGETS]
    members = [member("A", perfect), member("B", -perfect)]
    assert join(members, data, SETTINGS, space="probability", seed=0).card["cost"] == 4.0


def test_each_members_own_calibration_counts(dataset_of: DatasetOf) -> None:
    data = dataset_of(TARGETS, classes=CLASSES)
    half = Calibration(kind="temperature", calibrator=Calibrator("temperature", (0.5,)), accepted=True, reason="")
    scores = noisy(TARGETS, 0).astype(np.float32)
    joined = join(
        [member("A", scores, calibration=half), member("B", scores)], data, SETTINGS, space="logit", seed=0
    )  # fmt: skip
    np.testing.assert_allclose(joined.prediction.logits, 0.75 * scores, atol=1e-6)


def test_views_of_a_member_are_taken_as_it_was_saved(dataset_of: DatasetOf) -> None:
    class Viewing(Known):
        def predict_views(self, data: Dataset, tta: Tta) -> Prediction:
            found = self.predict(data)
            return Prediction(found.ids, found.logits * tta.runs, found.classes, found.task, found.targets)

    data = dataset_of(TARGETS, classes=CLASSES)
    scores = noisy(TARGETS, 0)
    members = [
        Member(
            name=name, learner=Viewing(scores), rules=Rules(task="multiclass", classes=CLASSES, tta=Tta(runs=runs))  # type: ignore[arg-type]
        )
        for name, runs in (("A", 1), ("B", 3))
    ]  # fmt: skip
    joined = join(members, data, SETTINGS, space="logit", seed=0)
    np.testing.assert_allclose(joined.prediction.logits, 2 * scores, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ([], "--ensemble: expected two runs or more, got 1; name the members: A B C"),
        (
            [member("B", np.eye(3), ("good", "pit", "scratch")[:2])],
            "B: expected the classes of A (multiclass: good, pit, scratch), got multiclass: good, pit; "
            "only runs with the same classes can be averaged",
        ),
        (
            [member("B", np.eye(3)), member("C", np.eye(3), task="multilabel")],
            "C: expected the classes of A (multiclass: good, pit, scratch), got multilabel: good, pit, scratch; "
            "only runs with the same classes can be averaged",
        ),
    ],
)
def test_models_that_cannot_be_averaged_are_refused(
    others: list[Member], message: str, dataset_of: DatasetOf
) -> None:  # fmt: skip
    members = [member("A", np.eye(3)), *others]
    with pytest.raises(RunError) as caught:
        check_members(members)
    assert str(caught.value) == message
    with pytest.raises(RunError):
        join(members, dataset_of([0, 1, 2], classes=CLASSES), SETTINGS, space="probability", seed=0)


def test_a_member_is_asked_with_its_own_numbers(dataset_of: DatasetOf) -> None:
    data = dataset_of([0, 1], classes=CLASSES)
    found = data_for(member("A", np.eye(3), ("pit", "good", "scratch")), data)
    assert (found.classes, list(found.targets())) == (("pit", "good", "scratch"), [1, 0])
