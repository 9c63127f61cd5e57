"""May a changed model stand in: by hand, by simulation, and against scipy and scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import f1_score

from ringlight.errors import DataError
from ringlight.evaluation.acceptance import (
    judge,
    loss_if_changed,
    macro_f1,
    macro_f1_loss,
    needed_units,
    recall_change,
)
from ringlight.evaluation.decided import Decided, decided
from ringlight.types import Task

CLASSES = ("good", "pit", "scratch")


def of(truth: Any, chosen: Any, *, groups: Any = None, task: Task = "multiclass") -> Decided:
    """Decisions as class numbers (N,) or a matrix (N, K), with probabilities that say nothing else."""
    one_hot = np.eye(3)[np.asarray(chosen)] if task == "multiclass" else np.asarray(chosen)
    return decided(truth, np.clip(one_hot, 0, 1), CLASSES, task, groups=groups)


def parts(num: int = 300, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 3, num)


def wrong(truth: np.ndarray, rows: Any) -> np.ndarray:
    changed = truth.copy()
    changed[rows] = (changed[rows] + 1) % 3
    return changed


def test_macro_f1_is_scikit_learns() -> None:
    truth = parts()
    chosen = wrong(truth, slice(0, 60))
    assert macro_f1(of(truth, chosen)) == pytest.approx(f1_score(truth, chosen, average="macro"))
    matrix, found = (np.random.default_rng(seed).integers(0, 2, (50, 3)) for seed in (1, 2))
    assert macro_f1(of(matrix, found, task="multilabel")) == pytest.approx(f1_score(matrix, found, average="macro"))


def test_the_loss_of_three_records_by_hand() -> None:
    """Of 3 x 100 right ones 3 of `good` become `pit`: F1 of good 194/197, of pit 200/203, of scratch 1."""
    truth = np.repeat([0, 1, 2], 100)
    found = macro_f1_loss(of(truth, truth), of(truth, wrong(truth, [0, 1, 2])))
    assert found.value == pytest.approx(1 - (194 / 197 + 200 / 203 + 1) / 3)
    assert found.low < found.value < found.high
    assert (found.changed, found.num_records, found.num_units, found.reference) == (3, 300, 300, 1.0)


def test_its_upper_limit_holds_as_often_as_it_says() -> None:
    """One of 100 records is changed for the worse in truth: 95 of 100 parts must not rule the true loss out."""
    generator = np.random.default_rng(0)
    missed = 0
    for _ in range(40):
        truth = generator.integers(0, 3, 250)
        chosen = wrong(truth, np.flatnonzero(generator.random(250) < 0.01))
        missed += macro_f1_loss(of(truth, truth), of(truth, chosen), num_resamples=100).high < 0.01
    assert missed / 40 <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 40)


def test_models_that_decide_alike_have_no_loss_of_zero_with_certainty() -> None:
    """50 records without a change still allow 1 - 0.05^(1/50) = 5.8 % that change."""
    truth = np.repeat([0, 1], 25)
    data = of(truth, truth)
    found = macro_f1_loss(data, data)
    share = 1 - 0.05 ** (1 / 50)
    assert (found.value, found.low) == (0, 0)
    assert found.high == pytest.approx(loss_if_changed(data, share))
    grouped = of(truth, truth, groups=[row // 5 for row in range(50)])
    assert macro_f1_loss(grouped, grouped).high > found.high
    assert judge(data, data).verdict == "undecided"


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_the_loss_of_a_share_is_what_a_simulation_finds(task: Task) -> None:
    generator = np.random.default_rng(3)
    truth: Any = generator.integers(0, 3, 30_000) if task == "multiclass" else generator.random((30_000, 3)) < 0.2
    data = of(truth, truth, task=task) if task == "multiclass" else of(truth.astype(int), truth, task=task)
    if task == "multiclass":
        hit = generator.random(30_000) < 0.04
        chosen = np.where(hit, (truth + generator.integers(1, 3, 30_000)) % 3, truth)
        loss = 1 - f1_score(truth, chosen, average="macro")
    else:
        loss = 1 - f1_score(truth, truth ^ (generator.random((30_000, 3)) < 0.04), average="macro")
    assert loss_if_changed(data, 0.04) == pytest.approx(loss, abs=0.005)


def test_enough_records_without_a_change_are_accepted_and_how_many_is_told() -> None:
    truth = np.resize([0, 1, 2], 1497)
    data = of(truth, truth)
    assert needed_units(data, 0.002, 0.95) == 1497
    assert judge(data, data, num_resamples=100).verdict == "accepted"
    fewer = of(truth[:1494], truth[:1494])
    found = judge(fewer, fewer, num_resamples=100)
    assert found.verdict == "undecided"
    assert found.reasons == (
        "too few records to tell: macro-F1 is equal (0 of 1494 records decided otherwise), with 95 % confidence by at "
        "most 0.20; the bound is 0.2 (1,497 records without a changed decision would show it)",
    )
    assert needed_units(data, 0.0, 0.95) is None


def test_a_loss_beyond_the_bound_is_refused() -> None:
    truth = parts(600)
    found = judge(of(truth, truth), of(truth, wrong(truth, slice(0, 40))))
    assert found.verdict == "refused"
    assert found.reasons[0].startswith("macro-F1 fell by 6.")
    assert "at least" in found.reasons[0]
    assert found.to_dict()["verdict"] == "refused"


def test_a_changed_model_may_be_the_better_one() -> None:
    truth = parts(600)
    found = judge(of(truth, wrong(truth, slice(0, 60))), of(truth, wrong(truth, slice(0, 20))))
    assert (found.verdict, found.loss.value < 0) == ("accepted", True)


@pytest.mark.parametrize(("lost", "gained"), [(0, 0), (1, 0), (5, 0), (7, 2), (2, 7), (30, 10)])
def test_the_test_of_a_fallen_recall_is_scipys(lost: int, gained: int) -> None:
    truth = np.zeros(100, int)
    first, second = truth.copy(), truth.copy()
    second[:lost] = 1
    first[50 : 50 + gained] = 1
    found = recall_change(of(truth, first), of(truth, second), "good")
    assert (found.lost, found.gained, found.num_positives) == (lost, gained, 100)
    wanted = stats.binomtest(lost, lost + gained, alternative="greater").pvalue if lost + gained else 1.0
    assert found.p_value == pytest.approx(wanted)
    assert found.reference - found.changed == pytest.approx((lost - gained) / 100)


def test_a_part_counts_once_however_many_pictures_of_it_are_missed() -> None:
    truth, groups = np.zeros(60, int), [row // 6 for row in range(60)]
    chosen = truth.copy()
    chosen[:12] = 1  # two parts of six pictures
    found = recall_change(of(truth, truth, groups=groups), of(truth, chosen, groups=groups), "good")
    assert (found.lost, found.num_positives, found.unit) == (2, 10, "group")
    assert found.p_value == pytest.approx(0.25)


def test_a_guarded_class_that_loses_is_refused_whatever_macro_f1_says() -> None:
    """5 of 50 cracks lost and none gained (p = 1/32), macro-F1 falls by less than its bound."""
    truth = np.concatenate([np.full(50, 2), np.resize([0, 1], 550)])
    chosen = truth.copy()
    chosen[:5] = 0
    found = judge(of(truth, truth), of(truth, chosen), max_loss=0.2, guarded=["scratch"])
    assert found.verdict == "refused"
    assert found.reasons == (
        "recall of scratch fell from 1.000 to 0.900: of 50 records 5 found by the original alone, 0 by the changed "
        "model alone (p = 0.031)",
    )
    chosen[1:5] = 2
    found = judge(of(truth, truth), of(truth, chosen), max_loss=0.2, guarded=["scratch"])
    assert found.verdict == "undecided"
    assert found.reasons[0].endswith("(p = 0.5); too few to rule out chance")


def test_a_guarded_class_without_an_example_cannot_be_told() -> None:
    truth = np.resize([0, 1], 400)
    found = judge(of(truth, truth), of(truth, truth), max_loss=0.05, guarded=["scratch"])
    assert found.reasons == ("validation has no example of the guarded class scratch",)


def test_one_unit_says_nothing() -> None:
    truth = np.resize([0, 1, 2], 30)
    first, second = (of(truth, chosen, groups=["coil"] * 30) for chosen in (truth, wrong(truth, [0])))
    found = macro_f1_loss(first, second)
    assert (found.low, found.high) == (-1, 1)


def test_what_cannot_be_is_refused() -> None:
    truth = parts(20)
    data = of(truth, truth)
    with pytest.raises(DataError, match=r"max_loss: expected a loss of macro-F1 from 0 to 1, got 2; use 0.002: 0.2 po"):
        judge(data, data, max_loss=2)
    with pytest.raises(DataError, match=r"guarded: expected a class of the model, got `scratsh`; did you mean `scrat"):
        judge(data, data, guarded=["scratsh"])
    with pytest.raises(DataError, match=r"expected two predictions of the same labelled records, got other records"):
        judge(data, of(wrong(truth, [3]), truth))
    with pytest.raises(DataError, match=r"confidence: expected a number between 0.5 and 1, got 0.4; use 0.95"):
        judge(data, data, confidence=0.4)
