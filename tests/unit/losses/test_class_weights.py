from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight

from ringlight.errors import ConfigError
from ringlight.losses import WeightedCrossEntropy
from ringlight.losses.class_weights import (
    WEIGHTS,
    class_number,
    class_weights,
    effective_number,
    listed_weights,
    negatives_per_positive,
)


@pytest.mark.parametrize("beta", [0.3, 0.9, 0.999, 1 - 2**-40])
@pytest.mark.parametrize("count", [1, 2, 57, 3000])
def test_effective_numbers_are_exact(count, beta):
    """Against exact fractions: near beta = 1 the written formula subtracts two numbers that are almost equal."""
    exact = Fraction(beta)
    expected = float((1 - exact**count) / (1 - exact))
    assert effective_number(count, beta) == pytest.approx(expected, rel=1e-10)


def test_effective_numbers_end_at_one_over_one_minus_beta():
    assert effective_number(10**7, 0.999) == pytest.approx(1000)
    assert effective_number(10**7, 0.0) == 1.0
    assert effective_number(10**7, 1.0) == 1e7


@pytest.mark.parametrize("rule", WEIGHTS)
def test_a_rarer_class_never_weighs_less(rule):
    weights = class_weights([735, 154, 154, 16], rule, beta=0.999, where="", fix="")
    assert weights[0] < weights[1] == weights[2] < weights[3]
    if rule == "balanced":
        assert math.fsum(w * n for w, n in zip(weights, [735, 154, 154, 16], strict=True)) == pytest.approx(1059)
    else:
        assert math.fsum(weights) == pytest.approx(4)


@pytest.mark.parametrize("rule", WEIGHTS)
def test_a_class_without_images_is_refused(rule):
    with pytest.raises(ConfigError) as caught:
        class_weights([3, 0], rule, beta=0.999, where="imbalance", fix="drop the class")
    assert str(caught.value) == (
        f"imbalance: expected training images of every class for {rule}, got none of class 1 ([3, 0]); "
        "add images of it, or drop the class"
    )


def test_negatives_per_positive_by_hand():
    assert negatives_per_positive([1, 2, 3], 4) == [3.0, 1.0, pytest.approx(1 / 3)]


@pytest.mark.parametrize("counts", [[30, 10], [735, 154, 154, 16], [1, 999], [7, 7, 7]])
def test_balanced_is_scikit_learns_to_the_last_bit(counts):
    labels = np.repeat(np.arange(len(counts)), counts)
    expected = compute_class_weight("balanced", classes=np.arange(len(counts)), y=labels)
    assert class_weights(counts, "balanced", beta=0, where="", fix="") == expected.tolist()


def test_weights_by_name_number_or_text_of_a_number():
    names = ("good", "small", "large")
    assert listed_weights({"large": 3, "1": 1.5}, 3, names) == [1.0, 1.5, 3.0]
    assert listed_weights({0: 2.0, 1: 1.5, 2: 1.5}, 3, ()) == [2.0, 1.5, 1.5]
    loss = WeightedCrossEntropy(3, classes=names, weights={"large": 3, 1: 1.5})
    assert loss.get_params()["weights"] == [1.0, 1.5, 3.0]


def test_a_name_that_is_a_number_is_the_name():
    """In a data set of the classes 1, 2, 3, the class 1 is the first one, not the second."""
    assert class_number("1", 3, ("1", "2", "3"), where="") == 0
    assert class_number(1, 3, ("1", "2", "3"), where="") == 1


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"lage": 2.0}, "a class of the data set, by name or number, got `lage`; did you mean `large`?"),
        ({True: 2.0}, "a class of the data set, by name or number, got `True`; choose from: "),
        ({-1: 2.0}, "a class of the data set, by name or number, got `-1`; did you mean `1`?"),
        ({"large": 2.0, 2: 3.0}, "one weight for each class, got two for class 2; drop `2`"),
        ({"large": -2.0}, "a number of 0 or more, got -2; correct the value"),
    ],
)
def test_weights_of_no_class_are_one_line(weights, message):
    with pytest.raises(ConfigError) as caught:
        WeightedCrossEntropy(3, classes=("good", "small", "large"), weights=weights)
    assert str(caught.value).startswith(f"loss.weights: expected {message}")
