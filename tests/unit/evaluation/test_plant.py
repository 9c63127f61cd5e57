"""The plant's measures: by hand, by a simulated line, undefined ones as None; which parts and classes are good."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk

from ringlight.errors import DataError
from ringlight.evaluation.plant import find_good_class, is_defective, plant_measures


def test_a_test_set_by_hand() -> None:
    truth = [True] * 4 + [False] * 6
    decision = [True, True, True, False] + [True] * 2 + [False] * 4
    found = plant_measures(truth, decision, escape_cost=50, overkill_cost=3)
    assert (found.escape_rate, found.overkill_rate) == pytest.approx((1 / 4, 2 / 6))
    assert (found.escapes_ppm, found.overkill_ppm) == pytest.approx((100_000, 200_000))
    assert found.first_pass_yield == 0.5
    assert found.shipped_ppm == pytest.approx(200_000)  # one of the five that passed
    assert found.cost_per_part == pytest.approx((50 + 2 * 3) / 10)
    assert (found.prevalence, found.num_good, found.num_defective) == (0.4, 6, 4)


@given(st.integers(0, 2**32 - 1), st.integers(4, 80))
def test_rates_equal_scikit_learn_and_the_sums_close(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    truth, decision = rng.random(count) < 0.5, rng.random(count) < 0.4
    truth[:2] = [True, False]
    found = plant_measures(truth, decision, escape_cost=7, overkill_cost=2)
    assert found.escape_rate == pytest.approx(1 - sk.recall_score(truth, decision))
    assert found.overkill_rate == pytest.approx(1 - sk.recall_score(~truth, ~decision))
    cost = sum(
        7 if bad and not said else 2 if said and not bad else 0 for bad, said in zip(truth, decision, strict=True)
    )
    assert found.cost_per_part == pytest.approx(cost / count)
    same = plant_measures(truth, decision, prevalence=float(truth.mean()), escape_cost=7, overkill_cost=2)
    assert same.first_pass_yield == pytest.approx(found.first_pass_yield)
    assert same.cost_per_part == pytest.approx(found.cost_per_part)


def test_a_line_with_another_prevalence_is_what_a_simulation_says() -> None:
    """A test set is half defective so that there is something to see; a line is not."""
    rng = np.random.default_rng(0)
    truth = np.repeat([True, False], 200)
    decision = np.where(truth, np.arange(400) % 200 >= 10, np.arange(400) % 200 < 6)  # 5 % escape, 3 % overkill
    found = plant_measures(truth, decision, prevalence=0.02, escape_cost=100, overkill_cost=5)
    bad = rng.random(2_000_000) < 0.02
    said = np.where(bad, rng.random(len(bad)) >= 0.05, rng.random(len(bad)) < 0.03)
    assert found.escapes_ppm == pytest.approx(1e6 * (bad & ~said).mean(), rel=0.05)
    assert found.overkill_ppm == pytest.approx(1e6 * (~bad & said).mean(), rel=0.02)
    assert found.first_pass_yield == pytest.approx((~said).mean(), abs=0.001)
    assert found.shipped_ppm == pytest.approx(1e6 * bad[~said].mean(), rel=0.05)
    assert found.cost_per_part == pytest.approx(((bad & ~said) * 100 + (~bad & said) * 5).mean(), rel=0.03)


class TestUndefined:
    def test_without_a_defective_part_nobody_knows_what_escapes(self) -> None:
        found = plant_measures([False] * 4, [False, False, False, True], escape_cost=1, overkill_cost=1)
        undefined = {name for name, value in found.to_dict().items() if value is None}
        assert undefined == {"escape_rate", "escapes_ppm", "shipped_ppm", "cost_per_part"}
        assert (found.overkill_rate, found.first_pass_yield, found.prevalence) == (0.25, 0.75, 0.0)
        elsewhere = plant_measures([False] * 4, [False] * 4, prevalence=0.1)
        assert elsewhere.first_pass_yield is None
        assert elsewhere.overkill_ppm == 0.0

    def test_without_a_good_part_nobody_knows_what_is_thrown_away(self) -> None:
        found = plant_measures([True, True], [True, False], escape_cost=1, overkill_cost=1)
        assert (found.escape_rate, found.overkill_rate, found.overkill_ppm) == (0.5, None, None)
        assert (found.escapes_ppm, found.shipped_ppm, found.cost_per_part) == (500_000, 1_000_000, None)

    def test_where_nothing_passes_nothing_is_shipped(self) -> None:
        found = plant_measures([True, False], [True, True])
        assert (found.first_pass_yield, found.shipped_ppm, found.cost_per_part) == (0.0, None, None)

    def test_the_dictionary_is_json_without_nan(self) -> None:
        told = json.loads(json.dumps(plant_measures([True], [False]).to_dict(), allow_nan=False))
        assert told["overkill_rate"] is None
        assert told["num_defective"] == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prevalence": 0.0}, "prevalence: expected a number between 0 and 1, got 0.0; pass a share such as 0.01"),
        ({"prevalence": 1}, "prevalence: expected a number between 0 and 1, got 1"),
        ({"prevalence": float("nan")}, "prevalence: expected a number between 0 and 1, got nan"),
        ({"escape_cost": -1, "overkill_cost": 1}, "escape_cost: expected a finite number of at least 0, got -1"),
        ({"escape_cost": 1, "overkill_cost": float("nan")}, "overkill_cost: expected a finite number of at least 0"),
        ({"escape_cost": float("inf"), "overkill_cost": 1}, "escape_cost: expected a finite number of at least 0"),
        ({"escape_cost": 1}, "overkill_cost: expected both costs or none, got one; set it too; 0 is a cost"),
        ({"overkill_cost": 1}, "escape_cost: expected both costs or none, got one"),
        ({"defective_decision": [True]}, "defective_decision: expected shape (2,), got (1,); pass one for each record"),
        ({"defective_truth": [], "defective_decision": []}, "defective_truth: expected at least one record, got none"),
        ({"defective_truth": [0, 2]}, "defective_truth: expected only 0 and 1, got 2 in row 1; pass booleans"),
    ],
)
def test_impossible_lines_are_refused(change: dict[str, Any], message: str) -> None:
    good: dict[str, Any] = {"defective_truth": [True, False], "defective_decision": [True, False]}
    with pytest.raises(DataError) as caught:
        plant_measures(**(good | change))
    assert message in str(caught.value)


class TestIsDefective:
    def test_every_class_but_the_good_one_is_a_defect(self) -> None:
        names = ["pit", "Free", "crack"]
        assert is_defective([0, 1, 2], names, "multiclass", "Free").tolist() == [True, False, True]
        assert is_defective(np.eye(3), names, "multiclass", "Free").tolist() == [True, False, True]

    def test_a_multilabel_part_without_a_defect_is_good(self) -> None:
        rows = [[0, 0, 0], [0, 1, 0], [1, 0, 0], [0, 1, 1]]
        assert is_defective(rows, ["pit", "ok", "crack"], "multilabel", "ok").tolist() == [False, False, True, True]
        assert is_defective(rows, ["pit", "ok", "crack"], "multilabel", None).tolist() == [False, True, True, True]

    @pytest.mark.parametrize(
        ("values", "task", "good", "message"),
        [
            (
                [0],
                "multiclass",
                None,
                "good_class: expected a class of good parts in a multiclass data set, got none; ",
            ),
            (
                [0],
                "multiclass",
                "goood",
                "good_class: expected a class of the data set, got `goood`; did you mean `good`",
            ),
            ([2], "multiclass", "good", "targets: expected class numbers from 0 to 1, got 2 in row 0"),
            ([[0, 0]], "multiclass", "good", "decisions: expected exactly one class a record"),
            ([0], "multilabel", None, "decisions: expected shape (1, 2), got (1,)"),
            ([[1], [1, 0]], "multilabel", None, "values: expected an array of numbers, got rows of different lengths"),
        ],
    )
    def test_what_does_not_fit_is_refused(self, values: Any, task: Any, good: str | None, message: str) -> None:
        with pytest.raises(DataError) as caught:
            is_defective(values, ["good", "pit"], task, good)
        assert message in str(caught.value)


@pytest.mark.parametrize(
    ("classes", "good"),
    [
        (["PASS", "FAIL"], "PASS"),
        (["scratch", "No Defect"], "No Defect"),
        (["no_defect", "pit"], "no_defect"),
        (["defect-free", "pit"], "defect-free"),
        (["ok", "good", "pit"], None),
        (["no good", "bad"], None),
        (["not ok", "OK"], "OK"),
        (["良品", "不良品"], "良品"),
        (["defect_1", "defect_2"], None),
        ([], None),
    ],
)
def test_the_good_class_is_known_by_its_name_or_not_at_all(classes: list[str], good: str | None) -> None:
    assert find_good_class(classes) == good
