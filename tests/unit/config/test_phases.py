"""The sections of the phases: their defaults, the short way to name them, and what they refuse."""

from __future__ import annotations

import pytest

from ringlight.config.load import compose
from ringlight.config.phases import PHASES
from ringlight.errors import Problems


def test_an_ordinary_run_has_no_phases() -> None:
    config = compose("demo")
    assert config.phases.order == ()
    assert (config.supcon.num_views, config.margin.head, config.distill.temperature) == (2, "arcface", 4.0)


def test_the_order_may_be_written_short() -> None:
    short, long = (compose("demo", [key]).phases for key in ("phases=[supcon,margin]", "phases.order=[supcon,margin]"))
    assert short == long
    assert short.order == PHASES[:2]
    assert compose("metric_learning").phases.order == PHASES
    assert compose("metric_learning", ["phases=[]"]).phases.order == ()


def test_a_heads_own_parameters_stay_beside_those_of_its_phase() -> None:
    margin = compose("metric_learning", ["margin.margin=0.25", "margin.num_epochs=3"]).margin
    assert margin.params() == {"scale": 16.0, "margin": 0.25}
    assert margin.num_epochs == 3


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("phases=[supcon,finetune]", r"phases\.order.*: expected .*supcon.* got .*finetune"),
        ("supcon.num_views=0", r"supcon\.num_views: "),
        ("supcon.steps=0", r"supcon\.steps: "),
        ("supcon.temperature=0", r"supcon\.temperature: "),
        ("supcon.loss=triplet", r"supcon\.loss: .*nt_xent"),
        ("distill.hard_weight=-1", r"distill\.hard_weight: "),
        ("margin.lr=0", r"margin\.lr: "),
        ("supcon.view=3", r"supcon\.view: .*num_views"),
    ],
)
def test_values_that_cannot_be_are_refused(override: str, told: str) -> None:
    with pytest.raises(Problems, match=told):
        compose("metric_learning", [override])
