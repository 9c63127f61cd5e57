"""The flow of air through the leak rig: orifices, a line with a volume, valve cycles. Formulas with their sources.

Supply (about 7 bar) -> regulator -> sensor `pressure_upstream` -> filter and line -> flow meter -> a volume with the
sensor `pressure_downstream` -> a valve that feeds a machine in cycles. A leak is a hole in the volume's wall; a block
is a filter that has lost most of its opening.

Flow through an orifice follows ISO 6358-1:2013: with r = p2 / p1 and the critical ratio b,

    q = C p1 phi(r),    phi = 1 for r <= b (choked),    sqrt(1 - ((r - b) / (1 - b))^2) above,

straight from phi(0.995) to 0 at r = 1, as the standard advises, where the root's slope is infinite. For a sharp hole of
area A the choked mass flow is Cd A p1 sqrt(g / (R T)) (2 / (g + 1))^((g + 1) / (2 (g - 1))) (J. D. Anderson, "Modern
Compressible Flow", equation 5.21, times a coefficient of discharge). The volume V obeys the isothermal balance
dp/dt = p0 / V (q_in - q_leak - q_valve), q in volume at the ambient pressure p0.

Units: bar (absolute), normal litres a minute (NL/min), litres, mm, s. Shapes: N windows, T samples.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Reals = npt.NDArray[np.float64]

AMBIENT = 1.013
"""Pressure outside, bar."""
TEMPERATURE = 293.0
GAMMA = 1.4
GAS_CONSTANT = 287.05
DENSITY = 1.204
"""Of air outside, kg/m3."""
DISCHARGE = 0.65
"""Coefficient of a hole with sharp edges."""
LINE_CONDUCTANCE = 180.0
"""Sonic conductance of line and clean filter, NL/min for each bar."""
LINE_CRITICAL, HOLE_CRITICAL = 0.30, 0.528
LAMINAR = 0.995
VOLUME = 2.0
DROOP = 8e-4
"""What the regulator loses, bar for each NL/min."""
REGULATOR_LAG, METER_LAG, EXHAUST_LAG = 0.02, 0.03, 0.045
RUN_IN = 2.0
"""Seconds that the rig runs before a window begins."""
LONGEST_STEP = 0.002


def orifice_share(ratio: Reals, critical: float) -> Reals:
    """Return phi(p2 / p1), the share of the choked flow that passes an orifice.

    Examples:
        >>> orifice_share(np.array([0.1, 0.528, 0.764, 1.0]), 0.528).round(4).tolist()
        [1.0, 1.0, 0.866, 0.0]
    """
    place = np.maximum((ratio - critical) / (1 - critical), 0.0)
    smooth = np.sqrt(1 - np.minimum(place, (LAMINAR - critical) / (1 - critical)) ** 2)
    return np.asarray(smooth * np.minimum(np.maximum((1 - ratio) / (1 - LAMINAR), 0.0), 1.0))


def hole_conductance(diameter: Reals) -> Reals:
    """Return the choked flow through a round hole of `diameter` mm, NL/min for each bar before it.

    Examples:
        A hole of 1 mm at 7 bar loses about 42 NL/min.

        >>> (7 * hole_conductance(np.array([1.0, 2.0]))).round(1).tolist()
        [42.0, 168.2]
    """
    area = math.pi / 4 * (diameter * 1e-3) ** 2
    critical_flow = math.sqrt(GAMMA / (GAS_CONSTANT * TEMPERATURE)) * (2 / (GAMMA + 1)) ** (
        (GAMMA + 1) / (2 * (GAMMA - 1))
    )
    mass_flow = DISCHARGE * area * 1e5 * critical_flow  # kg/s for each bar
    return np.asarray(mass_flow / DENSITY * 60_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What drives the flow of each window, (N,) each."""

    supply: Reals
    """Pressure before the regulator's droop, bar."""
    opening: Reals
    """Share of the clean filter's conductance, 0 to 1."""
    hole: Reals
    """Diameter of the leak, mm; 0 where there is none."""
    demand: Reals
    """Flow that the open valve takes at 7 bar, NL/min."""
    cycle: Reals
    """Valve cycles a second."""
    duty: Reals
    """Share of a cycle that the valve is open."""
    phase: Reals
    """Of the cycle when the window begins, radians."""


class Flow(NamedTuple):
    """What happens in the line, (T, N) each: bar, NL/min; `valve` and `exhaust` from 0 to about 1."""

    upstream: Reals
    downstream: Reals
    inflow: Reals
    metered: Reals
    leak: Reals
    valve: Reals
    exhaust: Reals


def simulate_flow(line: Line, length: int, sampling_rate: float) -> Flow:
    """Integrate the line over a run-in and the window, by Euler's method in steps of 2 ms at most."""
    per_sample = math.ceil(1 / (sampling_rate * LONGEST_STEP))
    step = 1 / (sampling_rate * per_sample)
    before = round(RUN_IN / LONGEST_STEP)
    run_in = RUN_IN / before
    valve = _valve(line, np.concatenate([(np.arange(before) - before) * run_in, np.arange(length * per_sample) * step]))
    hole, opened = hole_conductance(line.hole), line.demand / 7.0
    upstream, downstream = line.supply - 0.1, line.supply - 0.3
    metered, exhaust = np.zeros_like(line.supply), np.zeros_like(line.supply)
    kept = np.empty((7, length, len(line.supply)))
    last = valve[0]
    for index, open_now in enumerate(valve):
        dt = run_in if index < before else step
        inflow = line.opening * LINE_CONDUCTANCE * upstream * orifice_share(downstream / upstream, LINE_CRITICAL)
        leak = hole * downstream * orifice_share(AMBIENT / downstream, HOLE_CRITICAL)
        taken = opened * downstream * open_now
        place, rest = divmod(index - before, per_sample)
        if index >= before and not rest:
            kept[:, place] = (upstream, downstream, inflow, metered, leak, open_now, exhaust)
        upstream = upstream + dt / REGULATOR_LAG * (line.supply - DROOP * inflow - upstream)
        downstream = np.maximum(downstream + dt * AMBIENT / (60 * VOLUME) * (inflow - leak - taken), AMBIENT)
        metered = metered + dt / METER_LAG * (inflow - metered)
        exhaust = exhaust - dt / EXHAUST_LAG * exhaust + np.maximum(last - open_now, 0.0)
        last = open_now
    return Flow(*kept)


def _valve(line: Line, times: Reals) -> Reals:
    """Return how far the valve is open, 0 to 1, at each time (steps, N): a soft square wave of the given duty."""
    wave = np.sin(2 * math.pi * line.cycle * times[:, None] + line.phase)
    return 1 / (1 + np.exp(-20.0 * (wave - np.cos(math.pi * line.duty))))
