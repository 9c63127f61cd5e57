"""The physics of the air-leak rig: flows by hand, what each class does to the sensors, chance by seed alone."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ringlight.data.air_leak_flow import (
    AMBIENT,
    VOLUME,
    Flow,
    Line,
    hole_conductance,
    orifice_share,
    simulate_flow,
)
from ringlight.data.air_leak_rig import CHANNELS, CLASSES, draw_recording, jet_share, simulate_windows


def line(**changes: float) -> Line:
    settings = {"supply": 7.0, "opening": 1.0, "hole": 0.0, "demand": 300.0, "cycle": 2.0, "duty": 0.35, "phase": 0.0}
    return Line(**{name: np.array([value]) for name, value in {**settings, **changes}.items()})


def flow(length: int = 1000, rate: float = 1000.0, **changes: float) -> Flow:
    return simulate_flow(line(**changes), length, rate)


def test_a_hole_passes_the_choked_flow_of_the_textbook() -> None:
    """7 bar, 1 mm: 0.65 A p sqrt(1.4 / (287 * 293)) (5/6)^3 kg/s, at 1.204 kg/m3."""
    area, pressure = math.pi * 0.5e-3**2, 7e5
    mass_flow = 0.65 * area * pressure * math.sqrt(1.4 / (287.05 * 293)) * (5 / 6) ** 3
    assert 7 * hole_conductance(np.array([1.0]))[0] == pytest.approx(mass_flow / 1.204 * 60_000)


def test_an_orifice_is_choked_below_its_critical_ratio_and_shut_at_equal_pressures() -> None:
    ratios = np.array([0.0, 0.528, 0.9, 0.995, 0.9975, 1.0, 1.1])
    shares = orifice_share(ratios, 0.528)
    by_hand = math.sqrt(1 - ((0.9 - 0.528) / 0.472) ** 2)
    edge = math.sqrt(1 - ((0.995 - 0.528) / 0.472) ** 2)
    np.testing.assert_allclose(shares, [1, 1, by_hand, edge, edge / 2, 0, 0], atol=1e-12)


def test_a_line_at_rest_fills_up_to_the_supply() -> None:
    still = flow(demand=0.0)
    np.testing.assert_allclose(still.downstream[-1], 7.0, atol=1e-3)
    np.testing.assert_allclose(still.inflow[-1], 0.0, atol=1.0)


def test_a_leak_alone_takes_what_flows_in() -> None:
    leaking = flow(demand=0.0, hole=1.0)
    np.testing.assert_allclose(leaking.inflow[-1], leaking.leak[-1], rtol=1e-3)
    assert leaking.leak[-1][0] == pytest.approx(float(hole_conductance(np.array([1.0]))[0] * leaking.downstream[-1][0]))


def test_the_volume_balances_what_flows_in_and_out() -> None:
    """A closed filter: the pressure falls exponentially with the time constant of hole and volume."""
    closed = flow(length=400, opening=0.0, demand=0.0, hole=2.0)
    fall = np.log(closed.downstream[0, 0] / closed.downstream[-1, 0]) / 0.399
    assert closed.downstream[-1, 0] > AMBIENT / 0.528, "still choked"
    assert fall == pytest.approx(float(hole_conductance(np.array([2.0]))[0]) * AMBIENT / (60 * VOLUME), rel=1e-3)


@pytest.mark.parametrize("rate", [500.0, 2000.0, 8000.0])
def test_the_flow_hardly_depends_on_the_sampling_rate(rate: float) -> None:
    coarse, fine = flow(1000), flow(int(rate), rate)
    for quantity in ("upstream", "downstream", "inflow", "metered", "leak"):
        one, other = getattr(coarse, quantity)[:, 0], getattr(fine, quantity)[:, 0]
        assert other.mean() == pytest.approx(one.mean(), rel=0.02, abs=1e-3)
        assert other.std() == pytest.approx(one.std(), rel=0.05, abs=1e-3)


def test_a_valve_is_open_for_its_duty_in_every_cycle() -> None:
    valve = flow(2000, duty=0.3, cycle=2.0).valve[:, 0]
    assert valve.mean() == pytest.approx(0.3, abs=0.03)
    assert int((np.diff((valve > 0.5).astype(int)) == 1).sum()) == 4


def test_a_block_lifts_the_pressure_before_it_and_holds_the_flow_back() -> None:
    free, blocked = flow(), flow(opening=0.15)
    assert blocked.upstream.mean() > free.upstream.mean()
    assert blocked.downstream.mean() < free.downstream.mean()
    assert blocked.inflow.mean() < free.inflow.mean()
    assert blocked.metered.std() < 0.3 * free.metered.std()


def test_a_larger_hole_is_louder_and_its_sound_lower() -> None:
    holes = np.array([0.3, 1.0, 3.0])
    audible, ultrasonic = jet_share((1e3, 1e4), holes), jet_share((3.6e4, 4.4e4), holes)
    assert (np.diff(audible) > 0).all()
    assert (np.diff(audible / ultrasonic) > 0).all()
    frequencies = np.linspace(1e3, 1e4, 20_001)  # the closed form against a plain sum
    x = frequencies / (0.2 * 313.0 / 1e-3)
    assert audible[1] == pytest.approx(float(np.trapezoid(4 / math.pi * x**2 / (1 + x**2) ** 2, x)), rel=1e-6)


def windows(difficulty: float = 0.0, count: int = 40, seed: int = 0, label: int | None = None) -> np.ndarray:
    labels = [window % 4 if label is None else label for window in range(count)]
    states = [draw_recording(one, difficulty, np.random.default_rng([seed, 1, at])) for at, one in enumerate(labels)]
    rngs = [np.random.default_rng([seed, 2, at]) for at in range(count)]
    settings = {"length": 512, "sampling_rate": 1000.0, "difficulty": difficulty}
    return simulate_windows(states, np.full(count, 0.5), rngs, **settings)


def test_each_class_shows_in_the_channels_that_its_physics_names() -> None:
    seen = windows()
    assert seen.shape == (40, 512, len(CHANNELS))
    assert np.isfinite(seen).all()
    level = {name: np.median(seen[..., at], axis=1) for at, name in enumerate(CHANNELS)}
    tight, small, large, blocked = (np.arange(first, 40, len(CLASSES)) for first in range(4))
    assert level["ultrasound_near"][small].min() > level["ultrasound_near"][tight].max()
    assert level["ultrasound_near"][large].min() > level["ultrasound_near"][small].max()
    assert (level["ultrasound_near"] > level["ultrasound_far"])[large].all()
    assert level["flow"][large].min() > level["flow"][small].mean()
    assert seen[blocked][..., 2].std(1).max() < seen[tight][..., 2].std(1).min()
    assert seen[large][..., 6:].std(1).mean() > 1.5 * seen[tight][..., 6:].std(1).mean()


def test_a_block_lowers_the_tone_of_the_column_of_air() -> None:
    def tone(label: int) -> float:
        along = windows(label=label)[..., 6]
        power = (np.abs(np.fft.rfft(along - along.mean(1, keepdims=True), axis=1)) ** 2).mean(0)
        frequencies = np.fft.rfftfreq(512, 1e-3)
        band = (frequencies > 60) & (frequencies < 130)
        return float(power[band].sum() / power[frequencies > 15].sum())

    assert tone(CLASSES.index("blocked")) < 0.5 * tone(CLASSES.index("no_leak"))


def test_a_window_depends_on_its_own_chance_alone() -> None:
    np.testing.assert_allclose(windows(count=12)[:4], windows(count=4), rtol=1e-9, atol=1e-9)
    assert not np.allclose(windows(count=4), windows(count=4, seed=1))


def test_classes_draw_near_each_other_when_difficulty_rises() -> None:
    """The margin between the ultrasound of tight and slightly leaking rigs, in deviations of a class."""

    def margin(difficulty: float) -> float:
        level = np.log(np.maximum(np.median(windows(difficulty, 160)[..., 4], axis=1), 1e-4))
        tight, small = level[0::4], level[1::4]
        return float((small.mean() - tight.mean()) / (tight.std() + small.std()))

    margins = [margin(difficulty) for difficulty in (0.0, 0.5, 1.0)]
    assert margins[0] > 2 * margins[1] > 2 * margins[2] > 0
