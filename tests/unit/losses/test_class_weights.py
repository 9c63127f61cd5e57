from __future__ import annotations

import math
from fractions import Fraction

import pytest

from ringlight.errors import ConfigError
from ringlight.losses.class_weights import WEIGHTS, class_weights, effective_number, negatives_per_positive


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
