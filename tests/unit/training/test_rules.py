"""Rules: fixed on validation with its groups, refused with a reason, and the same decisions from a saved bundle."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from ringlight.config.schema import EvaluationConfig
from ringlight.data.preprocess import InputSpec
from ringlight.errors import ConfigError, DataError
from ringlight.evaluation.calibration import Calibration, Calibrator
from ringlight.inference.bundle import Bundle
from ringlight.inference.tta import Tta
from ringlight.training.rules import (
    Rules,
    fix_rules,
    good_class,
    resolved_rules,
    rule_problems,
    truth_matrix,
    truth_of,
)
from ringlight.types import Prediction, Task

CLASSES = ("good", "pit", "scratch")


def settings(**values: Any) -> EvaluationConfig:
    return EvaluationConfig.model_validate(values)


def noisy(num_records: int, task: Task = "multiclass", *, sureness: float = 8.0, seed: int = 0) -> Prediction:
    """Scores of a model that is right most of the time and surer than it should be."""
    generator = np.random.default_rng(seed)
    if task == "multiclass":
        targets = generator.integers(0, 3, num_records)
        signal = np.eye(3)[targets]
    else:
        targets = generator.integers(0, 2, (num_records, 3)).astype(np.uint8)
        signal = 2.0 * targets - 1
    logits = sureness * (signal + generator.normal(0, 0.8, (num_records, 3)))
    return Prediction([f"r{row}" for row in range(num_records)], logits.astype(np.float32), CLASSES, task, targets)


def fixed(
    validation: Prediction | None, config: EvaluationConfig, *, groups: Sequence[str] | None = None,
    task: Task = "multiclass",
) -> Rules:  # fmt: skip
    return fix_rules(validation, groups, config, task=task, classes=CLASSES, seed=0)


def test_a_model_that_is_too_sure_is_calibrated_and_its_thresholds_hold_for_calibrated_scores() -> None:
    validation = noisy(300)
    config = settings(operating_points={"found": {"kind": "recall_at_least", "label": "pit", "target": 0.8}})
    rules = fixed(validation, config)
    assert rules.calibration is not None
    assert rules.calibration.accepted
    assert rules.calibration.calibrator.scale[0] < 0.5
    decided = rules.decide(validation)
    np.testing.assert_array_equal(
        decided.prediction.logits, rules.calibration.calibrator.apply(validation.logits)
    )  # fmt: skip
    np.testing.assert_array_equal(decided.probabilities, decided.prediction.probabilities)
    chosen = rules.points["found"].decide(decided.probabilities)
    pits = np.asarray(validation.targets) == 1
    assert chosen[pits, 1].mean() == pytest.approx(rules.points["found"].validation["recall"])
    assert chosen[pits, 1].mean() >= 0.8
    raw = rules.points["found"].decide(validation.probabilities)
    assert raw[pits, 1].mean() != chosen[pits, 1].mean()


def test_the_same_validation_part_gives_the_same_rules() -> None:
    config = settings(
        operating_points={"best": {}, "found": {"kind": "recall_at_least", "label": "pit", "target": 0.8}}
    )
    assert fixed(noisy(200), config) == fixed(noisy(200), config)
    assert fixed(noisy(200), config) != fixed(noisy(200, seed=1), config)


def test_without_a_validation_part_the_default_rule_decides_and_a_note_says_why() -> None:
    rules = fixed(None, settings(operating_point="max_f1"))
    assert rules.notes == ("no calibration and no operating point: there is no validation part to fix it on",)
    assert (rules.calibration, dict(rules.points)) == (None, {})
    prediction = noisy(20)
    decided = rules.decide(prediction)
    assert decided.prediction is prediction
    assert (decided.decisions.argmax(axis=1) == prediction.logits.argmax(axis=1)).all()


def test_nothing_is_said_about_what_nobody_asked_for() -> None:
    assert fixed(None, settings(calibration="none", operating_points={})).notes == ()
    rules = fixed(noisy(40), settings(calibration="none", operating_points={}))
    assert (rules.calibration, rules.notes) == (None, ())


def test_what_is_refused_says_so_and_changes_no_decision() -> None:
    """Eight pits cannot prove a recall of 99 %: the point is kept, with its reason, and decides as the default does."""
    few = noisy(12)
    config = settings(
        operating_points={"found": {"kind": "recall_at_least", "label": "pit", "target": 0.99}}, operating_point="found"
    )
    rules = fixed(few, config)
    assert rules.points["found"].refused
    assert rules.active is rules.points["found"]
    calibration, point = rules.notes
    assert calibration == "calibration refused: validation has 12 records; 20 are the least that can be judged held out"
    assert point.startswith("operating point found refused: ")
    assert point.endswith(rules.points["found"].reason)
    decided = rules.decide(few)
    assert decided.prediction is few
    assert (decided.decisions.argmax(axis=1) == few.logits.argmax(axis=1)).all()


def test_a_certificate_counts_parts_not_their_pictures() -> None:
    """120 pictures of six parts are six trials: they prove no recall of 90 %, 120 single parts do."""
    targets = np.repeat([0, 1], 120)
    logits = (9.0 * np.eye(3)[targets]).astype(np.float32)
    validation = Prediction([f"r{row}" for row in range(240)], logits, CLASSES, "multiclass", targets)
    config = settings(
        calibration="none", operating_points={"found": {"kind": "recall_at_least", "label": "pit", "target": 0.9}}
    )
    parts = [f"part {row // 20}" for row in range(240)]
    alone, grouped = (fixed(validation, config, groups=groups).points["found"] for groups in (None, parts))
    assert not alone.refused
    assert alone.certificate is not None
    assert alone.certificate.num_positives == 120
    assert grouped.refused


def test_a_points_own_costs_stand_before_those_of_the_section() -> None:
    points = {"dear": {"kind": "min_cost", "escape_cost": 500}, "plain": {"kind": "min_cost"}}
    validation = noisy(300)
    rules = fixed(validation, settings(escape_cost=1, overkill_cost=1, operating_points=points, prevalence=0.2))
    dear, plain = (rules.points[name] for name in ("dear", "plain"))
    assert dear.validation["escape_rate"] < plain.validation["escape_rate"]
    assert dear.validation["prevalence"] == plain.validation["prevalence"] == 0.2
    by_hand = 500 * 0.2 * dear.validation["escape_rate"] + 0.8 * dear.validation["overkill_rate"]
    assert dear.validation["cost_per_part"] == pytest.approx(by_hand)


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_a_bundle_gives_the_rules_back_and_they_decide_alike(task: Task) -> None:
    config = settings(
        operating_points={"best": {}, "found": {"kind": "recall_at_least", "label": "pit", "target": 0.7}},
        operating_point="found", tta_runs=4, tta_space="logit", reject_error=0.05,
    )  # fmt: skip
    rules = fixed(noisy(300, task), config, task=task)
    assert rules.calibration is not None
    assert rules.calibration.accepted
    bundle = Bundle(
        architecture={},
        task=task,
        classes=CLASSES,
        input_spec=InputSpec(in_chans=3, image_size=32),
        **rules.for_bundle(),
    )
    read = Bundle.from_dict(json.loads(json.dumps(bundle.to_dict(), allow_nan=False)), "bundle.json")
    again = Rules.of_bundle(read)
    assert again.tta == Tta(runs=4, space="logit")
    assert again.good_class == ("good" if task == "multiclass" else None)
    assert again.reject_threshold == rules.reject_threshold is not None
    assert again.active.name == "found"
    fresh = noisy(100, task, seed=7)
    for name in ("best", "found", "default"):
        first, second = (
            Rules(task=task, classes=CLASSES, calibration=one.calibration, points=one.points, point=name).decide(fresh)
            for one in (rules, again)
        )
        np.testing.assert_array_equal(first.decisions, second.decisions)
        np.testing.assert_array_equal(first.probabilities, second.probabilities)


def test_a_bundle_of_the_first_format_has_no_rules_but_the_default() -> None:
    bundle = Bundle(
        architecture={}, task="multilabel", classes=CLASSES, input_spec=InputSpec(in_chans=3), format_version=1
    )
    rules = Rules.of_bundle(bundle)
    prediction = noisy(30, "multilabel")
    assert rules.calibration is None
    np.testing.assert_array_equal(rules.decide(prediction).decisions, prediction.probabilities >= 0.5)


def test_a_refused_calibration_is_never_applied() -> None:
    """A file that says `accepted: false` beside a calibrator must not change a score."""
    odd = Calibration(kind="temperature", calibrator=Calibrator("temperature", (0.1,)), accepted=False, reason="no")
    prediction = noisy(5)
    assert Rules(task="multiclass", classes=CLASSES, calibration=odd).calibrated(prediction) is prediction


def test_parts_that_the_model_is_surer_of_err_at_most_as_wished_on_validation() -> None:
    validation = noisy(400, sureness=2.0)
    rules = fixed(validation, settings(calibration="none", reject_error=0.1))
    limit = rules.reject_threshold
    assert limit is not None
    decided = rules.decide(validation)
    sure = decided.probabilities.max(axis=1) >= limit
    assert 0 < (~decided.right[sure]).mean() <= 0.1 < (~decided.right).mean()
    assert fixed(validation, settings(calibration="none")).reject_threshold is None


def test_no_reject_option_where_even_the_surest_are_wrong() -> None:
    validation = noisy(50)
    inverted = Prediction(
        validation.ids, validation.logits, CLASSES, "multiclass", (validation.logits.argmax(axis=1) + 1) % 3
    )
    rules = fixed(inverted, settings(calibration="none", operating_points={}, reject_error=0.1))
    assert rules.reject_threshold is None
    assert rules.notes == ("no reject option: no share of the validation part has an error of at most 0.1",)


def test_the_good_class_is_found_named_or_absent() -> None:
    assert good_class(settings(), CLASSES, "multiclass") == "good"
    assert good_class(settings(), ("pit", "scratch"), "multiclass") is None
    assert good_class(settings(good_class="pit"), CLASSES, "multiclass") == "pit"
    assert good_class(settings(good_class=None), CLASSES, "multiclass") is None
    assert good_class(settings(good_class="pit"), CLASSES, "multilabel") is None
    with pytest.raises(ConfigError) as caught:
        good_class(settings(good_class="god"), CLASSES, "multiclass")
    assert str(caught.value) == (
        "evaluation.good_class: expected a class of the data set, auto or null, got `god`; did you mean `good`?"
    )


def test_automatic_choices_are_written_out() -> None:
    assert resolved_rules(settings(), CLASSES, "multiclass") == {
        "evaluation.good_class": "good", "evaluation.calibration": "temperature",
    }  # fmt: skip
    assert resolved_rules(settings(calibration="none"), ("a", "b"), "multilabel") == {
        "evaluation.good_class": None, "evaluation.calibration": "none",
    }  # fmt: skip
    assert resolved_rules(settings(), CLASSES, "multilabel")["evaluation.calibration"] == "platt"


@pytest.mark.parametrize(
    ("values", "lines"),
    [
        ({}, []),
        (
            {"operating_point": "max_f2"},
            ["evaluation.operating_point: expected an operating point, got `max_f2`; did you mean `max_f1`?"],
        ),
        (
            {"operating_points": {"default": {}}},
            ["evaluation.operating_points: expected names other than default, got it; rename the point"],
        ),
        (
            {"good_class": "gut"},
            ["evaluation.good_class: expected a class of the data set, auto or null, got `gut`; "
             "choose from: good, pit, scratch"],
        ),
        (
            {"operating_points": {"found": {"kind": "recall_at_least", "label": "pitt"}}},
            ["evaluation.operating_points.found: label: expected a class of the data set, got `pitt`; "
             "did you mean `pit`?",
             "evaluation.operating_points.found: target: expected the recall to reach, got none; set one such as 0.98"],
        ),
        (
            {"escape_cost": 10.0},
            ["evaluation.overkill_cost: expected both costs or none, got one; set it too; 0 is a cost"],
        ),
        (
            {"overkill_cost": 0.0},
            ["evaluation.escape_cost: expected both costs or none, got one; set it too; 0 is a cost"],
        ),
        ({"escape_cost": 10.0, "overkill_cost": 0.0}, []),
        (
            {"operating_points": {"best": {"escape_cost": 5.0}}},
            ["evaluation.operating_points.best.overkill_cost: expected both costs or none, got one; "
             "set it too; 0 is a cost"],
        ),
        (
            {"escape_cost": 10.0, "overkill_cost": 1.0,
             "operating_points": {"cheap": {"kind": "min_cost", "escape_cost": 80.0}, "best": {"overkill_cost": 2.0}}},
            [],
        ),
        (
            {"operating_points": {"cheap": {"kind": "min_cost", "escape_cost": 80.0}}},
            ["evaluation.operating_points.cheap: overkill_cost: expected a cost, got none; "
             "set it in any currency, or in units of the other cost"],
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_met_is_said_before_training_a_line_each(values: dict[str, Any], lines: list[str]) -> None:
    """One cost alone was only refused after the last epoch, when the cost per part was counted."""
    assert rule_problems(settings(**values), CLASSES, "multiclass") == lines


def test_costs_of_data_without_a_good_class_ask_for_one() -> None:
    config = settings(escape_cost=10, overkill_cost=1, operating_points={"cheap": {"kind": "min_cost"}})
    assert rule_problems(config, ("pit", "scratch"), "multiclass") == [
        "evaluation.operating_points.cheap: good_class: expected the class of good parts, got none; "
        "set evaluation.good_class"
    ]
    assert rule_problems(config, ("pit", "scratch"), "multilabel") == []


def test_truth_is_told_as_numbers_and_as_a_matrix_or_refused() -> None:
    prediction = Prediction(["a", "b"], np.zeros((2, 3), np.float32), CLASSES, "multiclass", np.array([2, 0]))
    assert truth_of(prediction).tolist() == [2, 0]
    assert truth_matrix(prediction).tolist() == [[False, False, True], [True, False, False]]
    several = Prediction(["a"], np.zeros((1, 3), np.float32), CLASSES, "multilabel", np.array([[1, 0, 1]], np.uint8))
    assert truth_matrix(several).tolist() == [[True, False, True]]
    unlabelled = Prediction(["a"], np.zeros((1, 3), np.float32), CLASSES, "multiclass")
    for ask in (truth_of, truth_matrix):
        with pytest.raises(DataError) as caught:
            ask(unlabelled)
        assert str(caught.value) == (
            "evaluation: expected labelled records, got none with a label; label them first"
        )  # fmt: skip


def test_scores_that_were_moved_for_a_rare_class_are_not_moved_back() -> None:
    """Platt's offset undid what `imbalance.method` had done: a rare label came back to a recall of 0 at 0.5."""
    values = resolved_rules(settings(), CLASSES, "multilabel", shifted=True)
    assert values["evaluation.calibration"] == "temperature"
    asked = resolved_rules(settings(calibration="platt"), CLASSES, "multilabel", shifted=True)
    assert asked["evaluation.calibration"] == "platt"
