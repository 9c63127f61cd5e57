"""Assessment: every number is scikit-learn's or a count by hand, under the rules that were fixed before."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from sklearn import metrics as sk

from ringlight.config.schema import EvaluationConfig
from ringlight.errors import DataError
from ringlight.evaluation.calibration import Calibration, Calibrator
from ringlight.evaluation.thresholds import OperatingPoint
from ringlight.training.assess import Assessment, assess
from ringlight.training.rules import Rules
from ringlight.types import Prediction, Task

CLASSES = ("good", "pit", "scratch")
GATE = OperatingPoint(
    name="careful", kind="recall_at_least", task="multiclass", classes=CLASSES, rule="gate",
    thresholds=(None, 0.2, None), label="pit", target=0.9,
)  # fmt: skip
LOW = OperatingPoint(
    name="low", kind="max_f1", task="multilabel", classes=CLASSES, rule="each", thresholds=(0.2, 0.3, 0.4)
)


def config(**values: Any) -> EvaluationConfig:
    return EvaluationConfig.model_validate({"num_resamples": 200, **values})


def scored(num_records: int = 60, task: Task = "multiclass", seed: int = 0) -> Prediction:
    generator = np.random.default_rng(seed)
    if task == "multiclass":
        targets: npt.NDArray[Any] = generator.integers(0, 3, num_records)
        signal = 1.5 * np.eye(3)[targets]
    else:
        targets = generator.integers(0, 2, (num_records, 3)).astype(np.uint8)
        signal = 2.0 * targets - 1
    logits = (signal + generator.normal(0, 1, (num_records, 3))).astype(np.float32)
    return Prediction([f"r{row}" for row in range(num_records)], logits, CLASSES, task, targets)


def rules(task: Task = "multiclass", **values: Any) -> Rules:
    good = {"good_class": "good"} if task == "multiclass" else {}
    return Rules(**{"task": task, "classes": CLASSES, **good, **values})


def judged(
    raw: Prediction, given: Rules | None = None, settings: EvaluationConfig | None = None, *,
    groups: Sequence[str] | None = None,
) -> Assessment:  # fmt: skip
    return assess(raw, given or rules(raw.task), settings or config(), groups=groups, seed=0)


def test_the_scores_of_one_label_are_scikit_learns() -> None:
    raw = scored()
    found = judged(raw).test
    chosen = raw.probabilities.argmax(axis=1)
    precision, recall, f1, support = sk.precision_recall_fscore_support(raw.targets, chosen, labels=[0, 1, 2])
    for k, name in enumerate(CLASSES):
        row = found["per_class"][name]
        assert [row["precision"], row["recall"], row["f1"]] == pytest.approx([precision[k], recall[k], f1[k]])
        assert row["support"] == support[k]
        assert row["auroc"] == pytest.approx(sk.roc_auc_score(raw.targets == k, raw.probabilities[:, k]))
    assert found["scalars"]["accuracy"] == pytest.approx(sk.accuracy_score(raw.targets, chosen))
    assert found["scalars"]["macro_f1"] == pytest.approx(f1.mean())
    assert found["scalars"]["log_loss"] == pytest.approx(sk.log_loss(raw.targets, raw.probabilities))
    np.testing.assert_array_equal(found["confusion"], sk.confusion_matrix(raw.targets, chosen))


def test_the_scores_of_several_labels_are_scikit_learns_under_the_point_that_decides() -> None:
    raw = scored(task="multilabel")
    given = rules("multilabel", points={"low": LOW}, point="low")
    found = judged(raw, given).test
    chosen = raw.probabilities >= [0.2, 0.3, 0.4]
    assert found["operating_point"] == "low"
    assert found["scalars"]["macro_f1"] == pytest.approx(sk.f1_score(raw.targets, chosen, average="macro"))
    assert found["scalars"]["subset_accuracy"] == pytest.approx((chosen == raw.targets).all(axis=1).mean())
    assert found["scalars"]["ap"] == pytest.approx(sk.average_precision_score(raw.targets, raw.probabilities))
    default = judged(raw, rules("multilabel", points={"low": LOW})).test
    assert default["scalars"]["macro_f1"] == pytest.approx(
        sk.f1_score(raw.targets, raw.probabilities >= 0.5, average="macro")
    )


def test_scores_are_those_of_calibrated_probabilities_and_both_reliabilities_are_told() -> None:
    raw = scored()
    half = Calibration(kind="temperature", calibrator=Calibrator("temperature", (0.5,)), accepted=True, reason="")
    found = judged(raw, rules(calibration=half))
    softer = Prediction(raw.ids, raw.logits * np.float32(0.5), CLASSES, "multiclass").probabilities
    np.testing.assert_allclose(found.decided.probabilities, softer)
    assert found.test["scalars"]["log_loss"] == pytest.approx(sk.log_loss(raw.targets, softer))
    card = found.sections["calibration"]
    assert card["accepted"] is True
    assert card["calibrator"]["scale"] == [0.5]
    assert sum(card["reliability"]["before"]["count"]) == sum(card["reliability"]["after"]["count"]) == 60
    assert card["reliability"]["before"] != card["reliability"]["after"]
    plain = judged(raw).sections["calibration"]
    assert set(plain) == {"reliability"}
    assert plain["reliability"]["before"] == plain["reliability"]["after"] == card["reliability"]["before"]


def test_the_plants_measures_are_counted_by_hand() -> None:
    raw = scored()
    chosen, truth = raw.probabilities.argmax(axis=1), np.asarray(raw.targets)
    escapes = sum(1 for t, c in zip(truth, chosen, strict=True) if t != 0 and c == 0) / sum(t != 0 for t in truth)
    overkill = sum(1 for t, c in zip(truth, chosen, strict=True) if t == 0 and c != 0) / sum(t == 0 for t in truth)
    plant = judged(raw, None, config(prevalence=0.01, escape_cost=100, overkill_cost=2)).test["plant"]
    assert plant["escape_rate"] == pytest.approx(escapes)
    assert plant["overkill_rate"] == pytest.approx(overkill)
    assert plant["escapes_ppm"] == pytest.approx(1e6 * 0.01 * escapes)
    assert plant["cost_per_part"] == pytest.approx(100 * 0.01 * escapes + 2 * 0.99 * overkill)
    for name, value in (("escape_rate", escapes), ("overkill_rate", overkill)):
        low, high = plant["intervals"][name]
        assert 0 <= low < value < high <= 1


def test_a_part_without_a_label_is_a_good_one() -> None:
    truth = np.array([[0, 0, 0], [0, 0, 0], [1, 0, 0], [0, 1, 1]], np.uint8)
    logits = np.array([[-3, -3, -3], [3, -3, -3], [-3, -3, -3], [-3, -3, 3]], np.float32)
    plant = judged(Prediction(list("abcd"), logits, CLASSES, "multilabel", truth)).test["plant"]
    assert (plant["escape_rate"], plant["overkill_rate"]) == (0.5, 0.5)


def test_without_a_class_of_good_parts_nothing_is_said_of_escapes() -> None:
    raw = scored()
    found = judged(raw, rules(good_class=None, points={"careful": GATE}))
    assert found.test["plant"] is None
    assert found.test["good_class"] is None
    reached = found.sections["operating_points"][0]["test"]
    assert [reached[name] for name in ("escape_rate", "overkill_rate", "cost_per_part")] == [None] * 3


def test_every_point_is_judged_also_those_that_do_not_decide() -> None:
    raw = scored()
    found = judged(raw, rules(points={"careful": GATE}))
    assert found.test["operating_point"] == "default"
    (point,) = found.sections["operating_points"]
    assert OperatingPoint.from_dict(point) == GATE
    probabilities = raw.probabilities
    chosen = np.where(probabilities[:, 1] >= 0.2, 1, np.where(probabilities[:, 2] > probabilities[:, 0], 2, 0))
    precision, recall, f1, _ = sk.precision_recall_fscore_support(raw.targets, chosen, labels=[0, 1, 2])
    reached = point["test"]
    assert [reached[name] for name in ("precision", "recall", "f1")] == pytest.approx([precision[1], recall[1], f1[1]])
    assert reached["macro_f1"] == pytest.approx(f1.mean())
    assert reached["overkill_rate"] == pytest.approx((chosen[np.asarray(raw.targets) == 0] != 0).mean())
    for name in ("precision", "recall", "f1", "macro_f1", "escape_rate", "overkill_rate"):
        low, high = reached["intervals"][name]
        assert low <= reached[name] <= high
    active = judged(raw, rules(points={"careful": GATE}, point="careful")).test
    assert active["per_class"]["pit"]["recall"] == pytest.approx(recall[1])


def test_a_point_about_every_class_tells_macro_means() -> None:
    raw = scored(task="multilabel")
    (point,) = judged(raw, rules("multilabel", points={"low": LOW})).sections["operating_points"]
    chosen = raw.probabilities >= [0.2, 0.3, 0.4]
    assert point["test"]["recall"] == pytest.approx(sk.recall_score(raw.targets, chosen, average="macro"))
    assert point["test"]["f1"] == point["test"]["macro_f1"]


def test_a_point_is_judged_by_the_costs_it_was_fixed_with() -> None:
    """A point with costs of its own had a cost per part on validation and none on the test part."""
    raw = scored()
    chosen, bad = raw.probabilities.argmax(axis=1) != 0, np.asarray(raw.targets) != 0
    escapes, overkill = (bad & ~chosen).sum() / bad.sum(), (~bad & chosen).sum() / (~bad).sum()
    point = OperatingPoint(
        name="cheap", kind="min_cost", task="multiclass", classes=CLASSES, rule="default", thresholds=(None,) * 3
    )
    own = {"kind": "min_cost", "escape_cost": 30, "overkill_cost": 1, "prevalence": 0.1}
    given = rules(points={"cheap": point})
    for settings, expected in (
        (config(operating_points={"cheap": own}), 30 * 0.1 * escapes + 0.9 * overkill),
        (config(operating_points={"cheap": {**own, "overkill_cost": None}}, escape_cost=7, overkill_cost=2),
         30 * 0.1 * escapes + 2 * 0.9 * overkill),
        (config(operating_points={}), None),
    ):  # fmt: skip
        (row,) = judged(raw, given, settings).sections["operating_points"]
        assert row["test"]["cost_per_part"] == (None if expected is None else pytest.approx(expected))


def test_groups_are_counted_and_widen_every_interval() -> None:
    raw = scored(90)
    groups = [f"coil {row // 10}" for row in range(90)]
    alone, grouped = judged(raw), judged(raw, groups=groups)
    assert (alone.test["num_groups"], alone.test["intervals"]["unit"]) == (None, "record")
    assert (grouped.test["num_groups"], grouped.test["intervals"]["unit"]) == (9, "group")
    assert grouped.test["per_class"]["pit"]["support_groups"] == len(
        {group for group, target in zip(groups, np.asarray(raw.targets), strict=True) if target == 1}
    )
    assert grouped.test["scalars"] == alone.test["scalars"]
    assert grouped.test["intervals"]["too_few"] == list(CLASSES)
    right = np.repeat(np.arange(9) < 7, 10)  # two coils fail as a whole
    targets = np.where(right, 1, 0)
    logits = np.tile(np.float32([0, 4, 0]), (90, 1))
    whole = Prediction(raw.ids, logits, CLASSES, "multiclass", targets)
    wide, narrow = (
        np.ptp(judged(whole, groups=part).test["plant"]["intervals"]["overkill_rate"]) for part in (groups, None)
    )
    assert wide > 2 * narrow


def test_sections_have_the_keys_that_the_reference_lists_and_plain_values() -> None:
    raw = scored()
    found = judged(raw, rules(points={"careful": GATE}, reject_threshold=0.6))
    assert set(found.sections) == {"calibration", "operating_points", "reject", "curves", "energy"}
    assert set(found.test) == {
        "task", "classes", "num_records", "num_groups", "threshold", "scalars", "per_class", "confusion", "notes",
        "intervals", "operating_point", "good_class", "plant",
    }  # fmt: skip
    assert set(found.sections["reject"]) == {"coverage", "error", "threshold", "limit", "reached"}
    assert found.sections["reject"]["limit"] == 0.6
    kept = raw.probabilities.max(axis=1) >= 0.6
    wrong = raw.probabilities.argmax(axis=1)[kept] != raw.targets[kept]
    assert found.sections["reject"]["reached"] == {"coverage": kept.mean(), "error": wrong.mean()}
    assert found.sections["reject"]["error"][-1] == pytest.approx(1 - found.test["scalars"]["accuracy"])
    assert set(found.sections["curves"]) == set(CLASSES)
    assert set(found.sections["curves"]["pit"]) == {"roc", "pr"}
    assert sum(map(sum, found.sections["energy"]["counts"].values())) == 60
    values = {"test": found.test, **found.sections}
    assert json.loads(json.dumps(values, allow_nan=False)) == values


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_one_record_is_judged_without_a_number_that_is_none(task: Task) -> None:
    raw = scored(1, task)
    found = judged(raw, rules(task, points={"careful": GATE} if task == "multiclass" else {"low": LOW}))
    values = {"test": found.test, **found.sections}
    assert json.loads(json.dumps(values, allow_nan=False)) == values
    assert found.test["num_records"] == 1
    assert any("there is one record" in note for note in found.test["notes"])


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_a_class_that_the_judged_part_lacks_is_named_and_has_no_curve(task: Task) -> None:
    raw = scored(task=task)
    targets = np.asarray(raw.targets)
    rows = np.flatnonzero(targets != 1 if task == "multiclass" else targets[:, 1] == 0)
    part = Prediction([raw.ids[row] for row in rows], raw.logits[rows], CLASSES, task, targets[rows])
    found = judged(part, rules(task, points={"careful": GATE} if task == "multiclass" else {"low": LOW}))
    assert found.test["per_class"]["pit"]["support"] == 0
    assert found.test["per_class"]["pit"]["auroc"] is None
    assert found.sections["curves"]["pit"] == {"roc": None, "pr": None}
    assert "pit" in found.test["intervals"]["too_few"]
    assert any("class `pit` has no example here" in note for note in found.test["notes"])
    values = {"test": found.test, **found.sections}
    assert json.loads(json.dumps(values, allow_nan=False)) == values


def test_a_judged_part_of_good_parts_alone_has_overkill_and_no_escapes() -> None:
    raw = scored()
    rows = np.flatnonzero(np.asarray(raw.targets) == 0)
    part = Prediction([raw.ids[row] for row in rows], raw.logits[rows], CLASSES, "multiclass", raw.targets[rows])  # type: ignore[index]
    plant = judged(part).test["plant"]
    assert plant["escape_rate"] is None
    assert set(plant["intervals"]) == {"overkill_rate"}


def test_scores_without_truth_are_refused() -> None:
    raw = scored()
    with pytest.raises(DataError, match="expected labelled records, got none with a label"):
        judged(Prediction(raw.ids, raw.logits, CLASSES, "multiclass"))


def test_the_seed_moves_the_bootstrap_and_nothing_else() -> None:
    raw = scored()
    first, second, other = (assess(raw, rules(), config(), groups=None, seed=seed) for seed in (1, 1, 2))
    assert first.test == second.test
    assert first.test["intervals"]["scalars"]["macro_f1"] != other.test["intervals"]["scalars"]["macro_f1"]
    assert first.test["scalars"] == other.test["scalars"]
