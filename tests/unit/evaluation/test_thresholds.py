"""Operating points: rules by hand, what each kind reaches, certificates that hold, refusals that say what is needed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import f1_score

from ringlight.errors import DataError, Problems
from ringlight.evaluation.thresholds import OperatingPoint, decision_confidence, fix_point

CLASSES = ("good", "scratch", "dent")


def make(rule: str, thresholds: tuple[float | None, ...], task: Any = "multiclass") -> OperatingPoint:
    return OperatingPoint(
        name="p",
        kind="max_f1",
        task=task,
        classes=CLASSES,
        rule=rule,
        thresholds=thresholds,  # type: ignore[arg-type]
    )


def multiclass(count: int = 600, seed: int = 0, skew: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    targets = generator.choice(3, count, p=[0.6, 0.25, 0.15])
    logits = 2.0 * np.eye(3)[targets] + generator.normal(size=(count, 3)) + [skew, 0, 0]
    return targets, np.exp(logits) / np.exp(logits).sum(1, keepdims=True)


def multilabel(count: int = 600, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    targets = (generator.random((count, 3)) < [0.3, 0.2, 0.1]).astype(int)
    logits = 3.0 * targets - 3 + generator.normal(size=(count, 3))
    return targets, 1 / (1 + np.exp(-logits))


@pytest.mark.parametrize(
    ("point", "chosen"),
    [
        (make("default", (None, None, None)), [0, 1, 0]),
        (make("scaled", (0.6, 0.2, 0.2)), [0, 1, 2]),
        (make("gate", (None, None, 0.2)), [0, 2, 2]),
        (make("gate", (0.9, None, None)), [1, 1, 2]),
        (make("good", (0.3, None, None)), [0, 1, 2]),
        (make("good", (0.5, None, None)), [0, 1, 0]),
    ],
)
def test_each_multiclass_rule_decides_as_it_says(point: OperatingPoint, chosen: list[int]) -> None:
    decisions = point.decide([[0.75, 0.15, 0.1], [0.1, 0.6, 0.3], [0.6, 0.1, 0.3]])
    np.testing.assert_array_equal(decisions, np.eye(3, dtype=bool)[chosen])


def test_multilabel_rules_take_every_class_at_or_above_its_threshold() -> None:
    scores = [[0.5, 0.49, 0.9], [0.1, 0.2, 0.3]]
    assert OperatingPoint.default("multilabel", CLASSES).decide(scores).tolist() == [[True, False, True], [False] * 3]
    each = make("each", (0.1, 0.5, 0.9), "multilabel")
    assert each.decide(scores).tolist() == [[True, False, True], [True, False, False]]
    assert not OperatingPoint.default("multilabel", CLASSES, threshold=0.95).decide(scores).any()


def test_scores_of_another_model_are_refused() -> None:
    with pytest.raises(DataError, match=r"probabilities: expected shape \(N, 3\), got \(1, 2\); pass one column"):
        make("default", (None, None, None)).decide([[0.5, 0.5]])


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_a_broken_model_decides_nothing(task: Any, broken: float) -> None:
    """Weights that became NaN gave no label, or the first class: every part of the line was called good."""
    point = OperatingPoint.default(task, ("good", "scratch"))
    with pytest.raises(DataError) as caught:
        point.decide([[0.5, 0.5], [broken, 0.5]])
    assert str(caught.value) == (
        "probabilities: expected finite numbers, got NaN or infinity in row 1; check the model's weights for NaN"
    )


def test_max_f1_of_every_label_is_never_below_one_half() -> None:
    targets, scores = multilabel()
    point = fix_point("best", "max_f1", targets, scores, CLASSES, "multilabel")
    found, plain = (f1_score(targets, d, average="macro") for d in (point.decide(scores), scores >= 0.5))
    assert (point.rule, point.refused) == ("each", False)
    assert found > plain + 0.05
    assert point.validation["macro_f1"] == pytest.approx(found)
    assert len(set(point.thresholds)) == 3


def test_max_f1_of_one_label_leaves_the_others() -> None:
    targets, scores = multilabel()
    point = fix_point("dents", "max_f1", targets, scores, CLASSES, "multilabel", label="dent")
    assert point.thresholds[:2] == (0.5, 0.5)
    assert point.validation["f1"] == pytest.approx(f1_score(targets[:, 2], point.decide(scores)[:, 2]))


def test_max_f1_of_several_classes_beats_the_best_class() -> None:
    targets, scores = multiclass(skew=2.0)
    point = fix_point("best", "max_f1", targets, scores, CLASSES, "multiclass")
    found = f1_score(targets, point.decide(scores).argmax(1), average="macro")
    assert point.rule == "scaled"
    assert found > f1_score(targets, scores.argmax(1), average="macro") + 0.02
    assert point.validation["macro_f1"] == pytest.approx(found)


def test_max_f1_of_one_class_gates_it() -> None:
    targets, scores = multiclass()
    point = fix_point("dents", "max_f1", targets, scores, CLASSES, "multiclass", label="dent")
    decisions = point.decide(scores)
    assert point.rule == "gate"
    np.testing.assert_array_equal(decisions[:, 2], scores[:, 2] >= point.thresholds[2])
    assert (decisions.sum(1) == 1).all()


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_a_recall_target_is_reached_and_certified(task: Any) -> None:
    targets, scores = multiclass(2000) if task == "multiclass" else multilabel(2000)
    positive = targets == 1 if task == "multiclass" else targets[:, 1] == 1
    point = fix_point("safe", "recall_at_least", targets, scores, CLASSES, task, label="scratch", target=0.95)
    assert point.certificate is not None
    assert point.certificate.num_positives == positive.sum()
    assert point.certificate.bound >= 0.95 - 1e-9
    assert point.validation["recall"] == pytest.approx(1 - point.certificate.misses / positive.sum()) != 1.0
    assert point.decide(scores)[positive, 1].mean() == point.validation["recall"]


def test_a_recall_certificate_holds_in_a_thousand_validations() -> None:
    """Dents have probabilities spread as u^0.2, so that a threshold t has the true recall 1 - t^5."""
    generator = np.random.default_rng(8)
    targets = np.repeat([0, 2], [51, 149])
    violated = 0
    for _ in range(1000):
        scores = np.zeros((200, 3))
        scores[:, 2] = np.where(targets == 2, generator.random(200) ** 0.2, 0.01)
        scores[:, 0] = 1 - scores[:, 2]
        point = fix_point("safe", "recall_at_least", targets, scores, CLASSES, "multiclass", label="dent", target=0.98)
        assert point.thresholds[2] is not None
        violated += 1 - point.thresholds[2] ** 5 < 0.98
    assert 0.02 < violated / 1000 <= 0.05 + 3 * (0.05 * 0.95 / 1000) ** 0.5


def test_a_recall_target_without_enough_parts_says_how_many_it_needs() -> None:
    targets, scores = multiclass(300)
    point = fix_point("safe", "recall_at_least", targets, scores, CLASSES, "multiclass", label="dent", target=0.98)
    count = int((targets == 2).sum())
    assert point.refused
    assert point.reason == (
        f"recall 0.98 of dent at 95 % confidence needs 149 positive records in validation even if none is missed; "
        f"there are {count}"
    )
    np.testing.assert_array_equal(point.decide(scores).argmax(1), scores.argmax(1))
    assert (point.rule, point.certificate) == ("default", None)


def test_a_certificate_counts_groups_never_records() -> None:
    targets, scores = multiclass(2000)
    groups = [f"part {row // 10}" for row in range(2000)]
    alone = fix_point("a", "recall_at_least", targets, scores, CLASSES, "multiclass", label="dent", target=0.95)
    parts = fix_point(
        "a", "recall_at_least", targets, scores, CLASSES, "multiclass", label="dent", target=0.95, groups=groups
    )
    assert alone.certificate is not None
    assert parts.certificate is not None
    assert parts.certificate.unit == "group"
    assert parts.certificate.num_positives == len({row // 10 for row in np.flatnonzero(targets == 2)})
    assert parts.certificate.num_positives < alone.certificate.num_positives
    one = fix_point(
        "a",
        "recall_at_least",
        targets,
        scores,
        CLASSES,
        "multiclass",
        label="dent",
        target=0.95,
        groups=["coil"] * 2000,
    )
    assert one.reason.endswith("needs 59 positive groups in validation even if none is missed; there are 1")


def test_a_recall_over_every_label_is_an_expectation() -> None:
    targets, scores = multilabel(1000)
    point = fix_point("all", "recall_at_least", targets, scores, CLASSES, "multilabel", target=0.95)
    assert point.certificate is not None
    assert (point.certificate.kind, point.certificate.confidence) == ("risk_control", None)
    assert len(set(point.thresholds)) == 1
    few = fix_point("all", "recall_at_least", targets[:20], scores[:20], CLASSES, "multilabel", target=0.98)
    assert few.reason.startswith("an expected recall of 0.98 over all classes needs 49 records with a label")


def test_a_precision_target_is_certified_or_refused() -> None:
    targets, scores = multilabel(3000)
    point = fix_point("sure", "precision_at_least", targets, scores, CLASSES, "multilabel", label="good", target=0.9)
    assert point.certificate is not None
    assert point.certificate.bound >= 0.9 - 1e-9
    assert point.validation["precision"] >= 0.9
    all_of_them = fix_point("sure", "precision_at_least", targets, scores, CLASSES, "multilabel", target=0.8)
    assert all_of_them.certificate is not None
    assert all_of_them.certificate.label is None
    few = fix_point(
        "sure", "precision_at_least", targets[:60], scores[:60], CLASSES, "multilabel", label="dent", target=0.95
    )
    assert few.reason == (
        "no threshold proves precision 0.95 of dent at 95 % confidence; without a false alarm it needs about 94 "
        "flagged records in validation"
    )


def test_the_cheapest_point_weighs_escapes_by_cost_and_prevalence() -> None:
    targets, scores = multiclass(1000)
    common: dict[str, Any] = {"good_class": "good", "overkill_cost": 1.0}
    costs = {}
    for escape_cost in (0.1, 1.0, 100.0):
        point = fix_point(
            "cheap", "min_cost", targets, scores, CLASSES, "multiclass", escape_cost=escape_cost, **common
        )
        called, bad = point.decide(scores).argmax(1) != 0, targets != 0
        escape, overkill = (~called[bad]).mean(), called[~bad].mean()
        reached = escape_cost * bad.mean() * escape + (1 - bad.mean()) * overkill
        assert point.rule == "good"
        assert point.validation["cost_per_part"] == pytest.approx(reached)
        default = scores.argmax(1) != 0
        plain = escape_cost * bad.mean() * (~default[bad]).mean() + (1 - bad.mean()) * default[~bad].mean()
        assert reached <= plain + 1e-12
        costs[escape_cost] = (escape, overkill)
    assert costs[100.0][0] < costs[1.0][0] < costs[0.1][0]
    rare = fix_point(
        "cheap", "min_cost", targets, scores, CLASSES, "multiclass", escape_cost=1.0, prevalence=0.001, **common
    )
    assert rare.validation["prevalence"] == 0.001
    assert rare.validation["overkill_rate"] < costs[1.0][1]


@pytest.mark.parametrize("label", [None, "scratch"])
def test_the_cheapest_point_of_labels_decides_by_the_largest_or_by_the_named_one(label: str | None) -> None:
    targets, scores = multilabel(500)
    point = fix_point(
        "cheap", "min_cost", targets, scores, CLASSES, "multilabel", label=label, escape_cost=20.0, overkill_cost=1.0
    )
    bad = targets.any(1) if label is None else targets[:, 1] == 1
    called = point.decide(scores).any(1) if label is None else point.decide(scores)[:, 1]
    assert point.validation["escape_rate"] == pytest.approx((~called[bad]).mean())
    assert point.thresholds == (point.thresholds[1],) * 3 if label is None else (0.5, point.thresholds[1], 0.5)


@pytest.mark.parametrize(
    ("kind", "arguments", "targets", "reason"),
    [
        ("max_f1", {"label": "dent"}, [0, 1], "validation has no example of dent"),
        ("recall_at_least", {"label": "dent", "target": 0.9}, [0, 1], "validation has no example of dent"),
        ("precision_at_least", {"label": "dent", "target": 0.9}, [0, 1], "validation has no example of dent"),
        (
            "min_cost",
            {"escape_cost": 1.0, "overkill_cost": 1.0, "good_class": "good"},
            [0, 0],
            "validation has no defective part: its cost cannot be weighed",
        ),
        (
            "min_cost",
            {"escape_cost": 1.0, "overkill_cost": 1.0, "good_class": "good"},
            [1, 2],
            "validation has no good part: its cost cannot be weighed",
        ),
        ("max_f1", {}, [], "the validation part is empty: nothing to fix it on"),
    ],
)
def test_what_validation_cannot_bear_is_refused(
    kind: str, arguments: dict[str, Any], targets: list[int], reason: str
) -> None:
    scores = np.full((len(targets), 3), 1 / 3)
    point = fix_point("p", kind, targets, scores, CLASSES, "multiclass", **arguments)
    assert (point.status, point.reason) == ("refused", reason)


def test_clean_parts_alone_give_no_label_thresholds() -> None:
    point = fix_point("p", "max_f1", np.zeros((30, 3), int), np.full((30, 3), 0.2), CLASSES, "multilabel")
    assert point.reason == "no class has an example in validation"


def test_an_absent_class_is_named_and_the_rest_fixed() -> None:
    targets, scores = multilabel()
    targets[:, 2] = 0
    point = fix_point("p", "max_f1", targets, scores, CLASSES, "multilabel")
    assert (point.status, point.thresholds[2]) == ("ok", 0.5)
    assert point.reason == "no example in validation, its threshold stays as it was: dent"


def test_impossible_scores_and_points_are_refused_in_one_line_each() -> None:
    with pytest.raises(DataError, match="got nan in row 0, class `good`"):
        fix_point("p", "max_f1", [0], [[np.nan, 0.5, 0.5]], CLASSES, "multiclass")
    with pytest.raises(DataError, match=r"confidence: expected a number in \(0, 1\), got 95"):
        fix_point("p", "max_f1", [0], [[1.0, 0.0, 0.0]], CLASSES, "multiclass", confidence=95)
    with pytest.raises(Problems) as caught:
        fix_point("p", "recall_at_least", [0], [[1.0, 0.0, 0.0]], CLASSES, "multiclass", label="x", target=98)
    assert len(caught.value.problems) == 2
    assert all(line.startswith("p.") for line in caught.value.problems)


def test_a_point_survives_json() -> None:
    import json

    targets, scores = multilabel(2000)
    point = fix_point("safe", "recall_at_least", targets, scores, CLASSES, "multilabel", label="good", target=0.95)
    again = OperatingPoint.from_dict(json.loads(json.dumps(point.to_dict())) | {"test": {"recall": 1.0}})
    assert again == replace(point, validation=dict(point.validation))
    np.testing.assert_array_equal(again.decide(scores), point.decide(scores))


@pytest.mark.parametrize(
    ("change", "got"),
    [
        ({"rule": "each"}, "the rule 'each' in a multiclass model"),
        ({"rule": "sometimes"}, "the rule 'sometimes' in a multiclass model"),
        ({"thresholds": [0.5, None]}, "2 thresholds for 3 classes"),
        ({"thresholds": [None, None, 1.5]}, "thresholds [1.5]"),
        ({"thresholds": [None, 0.5, 0.5]}, "2 thresholds for the rule 'gate', which has one"),
        ({"rule": "scaled"}, "scales (None, None, 0.2)"),
        ({"classes": 5}, "TypeError"),
    ],
)
def test_a_point_that_cannot_decide_is_not_read(change: dict[str, Any], got: str) -> None:
    values = make("gate", (None, None, 0.2)).to_dict() | change
    with pytest.raises(DataError) as caught:
        OperatingPoint.from_dict(values)
    assert str(caught.value).startswith("operating point: expected an operating point as Ringlight writes it, got ")
    assert got in str(caught.value)
    with pytest.raises(DataError, match="KeyError: 'rule'"):
        OperatingPoint.from_dict({key: value for key, value in values.items() if key != "rule"})


def test_how_sure_a_decision_is_goes_from_threshold_to_certainty() -> None:
    assert decision_confidence([[0.7, 0.2, 0.1]], make("gate", (None, None, 0.05))).tolist() == [0.7]
    each = make("each", (0.2, 0.5, 0.8), "multilabel")
    found = decision_confidence([[0.2, 0.0, 0.0], [1.0, 0.75, 1.0], [0.1, 0.0, 0.0], [1.0, 1.0, 0.0]], each)
    np.testing.assert_allclose(found, [0.0, 0.5, 0.5, 1.0])
    assert decision_confidence([[0.0, 1.0, 0.5]], make("each", (0.0, 1.0, 0.5), "multilabel")).tolist() == [0.0]
