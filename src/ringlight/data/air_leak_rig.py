"""The air-leak rig: what nine sensors see of a pneumatic line that is tight, leaks a little or a lot, or is blocked.

The flow is that of :mod:`ringlight.data.air_leak_flow`. Sound and vibration follow from it:

* A leak is a choked jet. Its sound power is a share of the stream's power, W = eta q_m c^2 / 2, so that pressure
  amplitudes grow with the hole's diameter; its spectrum has its hump at f_p = 0.2 c / d (a Strouhal number of 0.2;
  M. J. Lighthill 1952; M. E. Goldstein, "Aeroacoustics", 1976), as x^2 / (1 + x^2)^2 with x = f / f_p. A small hole
  therefore whistles in the ultrasound (d = 1 mm: 60 kHz) and a larger one is heard more. At a distance r the square of
  the sound pressure is rho c W / (4 pi r^2). Two detectors give the level from 36 to 44 kHz, as hand-held leak
  detectors do, one the level from 1 to 10 kHz.
* The machine's exhaust after each valve cycle is a jet, too, and so are workshop noises: a leak is not simply loud.
* Pipes ring when the valve opens and closes, hum with a compressor of 24.5 Hz, and shake with the turbulence of the
  flow. The column of air resonates at f_H ~ sqrt(opening) (Helmholtz: the neck's area under a root), so that a block,
  which holds the flow back and lifts the pressure before it, lowers that tone, too.

A recording is one state of the rig with its own sensors' gains, offsets and drifts: its windows belong together.

Shapes: N windows, T samples, C = 9 channels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ringlight.data.air_leak_flow import DENSITY, Flow, Line, Reals, simulate_flow

CLASSES = ("no_leak", "small_leak", "large_leak", "blocked")
CHANNELS = (
    "pressure_upstream", "pressure_downstream", "flow", "sound", "ultrasound_near", "ultrasound_far",
    "vibration_x", "vibration_y", "vibration_z",
)  # fmt: skip
UNITS = ("bar", "bar", "NL/min", "Pa", "Pa", "Pa", "m/s2", "m/s2", "m/s2")
FULL_SCALE = (12.0, 12.0, 2000.0, 10.0, 10.0, 5.0, 20.0, 20.0, 20.0)
"""What 32,767 steps of a channel's 16-bit converter are."""

JET_SPEED = 313.0
"""Of choked air, m/s."""
SOUND_SPEED = 343.0
EFFICIENCY = 2e-4
"""Share of a stream's power that becomes sound."""
STROUHAL = 0.2
AUDIBLE, ULTRASOUND = (1e3, 1e4), (3.6e4, 4.4e4)
HUM = 24.5
PIPE_DAMPING, COLUMN_DAMPING = 0.04, 0.06

_NOISE = np.array([0.01, 0.01, 3.0, 0.01, 0.002, 0.001, 0.05, 0.05, 0.05])
"""Standard deviations of the sensors' own noise at a difficulty of 0.5, in their units."""
_OFFSET = np.array([0.05, 0.05, 5.0, 0.0, 0.0, 0.0, 0.05, 0.05, 0.05])
_GAIN = np.array([0.01, 0.01, 0.03, 0.2, 0.2, 0.2, 0.1, 0.1, 0.1])


@dataclass(frozen=True, slots=True)
class Recording:
    """One state of the rig: numbers of :class:`Line`, the surroundings, and the sensors' errors."""

    supply: float
    opening: float
    hole: float
    demand: float
    cycle: float
    duty: float
    near: float
    """Distance from the leak to the near detectors, m."""
    far: float
    workshop: float
    """Sound pressure of the surroundings, Pa."""
    hum: float
    pipe: float
    """Frequency at which the pipe rings, Hz."""
    column: float
    """Frequency of the column of air with a clean filter, Hz."""
    gain: Reals
    offset: Reals
    drift: Reals


def draw_recording(label: int, difficulty: float, rng: np.random.Generator) -> Recording:
    """Draw a state of the rig of a class; with the difficulty, holes shrink and blocks are less complete."""

    def between(easy: tuple[float, float], hard: tuple[float, float]) -> float:
        low, high = (first + difficulty * (last - first) for first, last in zip(easy, hard, strict=True))
        return float(math.exp(rng.uniform(math.log(low), math.log(high))))

    opening = between((0.9, 1.0), (0.55, 1.0))
    hole = 0.0
    if CLASSES[label] == "small_leak":
        hole = between((0.6, 0.9), (0.1, 1.0))
    elif CLASSES[label] == "large_leak":
        hole = between((1.8, 3.0), (1.0, 2.0))
    elif CLASSES[label] == "blocked":
        opening = between((0.08, 0.15), (0.2, 0.55))
    near = rng.uniform(0.4, 0.8 + 1.2 * difficulty)
    return Recording(
        supply=rng.normal(7.0, 0.05 + 0.2 * difficulty),
        opening=opening,
        hole=hole,
        demand=rng.uniform(250 - 100 * difficulty, 300 + 150 * difficulty),
        cycle=rng.uniform(1.5, 4.0),
        duty=rng.uniform(0.25, 0.45),
        near=near,
        far=near + rng.uniform(2.0, 4.0),
        workshop=float(math.exp(rng.normal(math.log(0.03), 0.3 + difficulty))),
        hum=rng.uniform(0.05, 0.3),
        pipe=rng.uniform(140.0, 190.0),
        column=rng.uniform(80.0, 110.0),
        gain=1 + rng.normal(size=9) * _GAIN * (0.3 + 1.4 * difficulty),
        offset=rng.normal(size=9) * _OFFSET * (0.3 + 1.4 * difficulty),
        drift=rng.normal(size=9) * _OFFSET * (0.3 + 1.4 * difficulty),
    )


def simulate_windows(
    recordings: Sequence[Recording],
    progress: Reals,
    rngs: Sequence[np.random.Generator],
    *,
    length: int,
    sampling_rate: float,
    difficulty: float,
) -> npt.NDArray[np.float64]:
    """Return what the sensors show in a window of each recording.

    Args:
        recordings: N of them; one may stand several times.
        progress: how far each window lies into its recording, 0 to 1: offsets drift (N,).
        rngs: where the chance of each window comes from.
        length: T.
        sampling_rate: hertz.
        difficulty: 0 to 1: the sensors' noise, and how often somebody uses compressed air near by.

    Returns:
        (N, T, 9), in :data:`UNITS`.
    """
    chance = np.array([rng.random(5) for rng in rngs])
    noise = np.stack([np.asarray(rng.standard_normal((17, length)), np.float64) for rng in rngs])
    of = {name: np.array([getattr(one, name) for one in recordings]) for name in Recording.__slots__}
    names = ("supply", "opening", "hole", "demand", "cycle", "duty")
    line = Line(**{name: of[name] for name in names}, phase=2 * math.pi * chance[:, 0])
    flow = Flow(*(values.T for values in simulate_flow(line, length, sampling_rate)))
    seconds, rate = np.arange(length) / sampling_rate, sampling_rate
    gun = _air_gun(chance[:, 1:4], seconds, difficulty)
    workshop = of["workshop"][:, None] * (1 + 0.3 * _low_pass(noise[:, 0], 5.0, rate))
    levels = _levels(flow, of, workshop, gun) * (1 + 0.15 * _low_pass(noise[:, 1:4], 0.1 * rate, rate))
    shaking = _vibration(flow, of, noise[:, 4:8], 2 * math.pi * chance[:, 4], seconds)
    pressures = np.stack([flow.upstream, flow.downstream, flow.metered], axis=1)
    pressures[:, :2] += 0.004 * _resonate(noise[:, 4], column_tone(of), COLUMN_DAMPING, rate)[:, None]
    seen = np.concatenate([pressures, np.abs(levels), shaking], axis=1)
    seen = seen * of["gain"][:, :, None] + (of["offset"] + of["drift"] * (progress[:, None] - 0.5))[:, :, None]
    seen += (0.2 + 1.6 * difficulty) * _NOISE[:, None] * noise[:, 8:17]
    return np.ascontiguousarray(seen.transpose(0, 2, 1))


def jet_share(band: tuple[float, float], diameter: Reals) -> Reals:
    """Return the share of a jet's sound power between two frequencies; `diameter` in mm, 0 gives 0.

    The integral of (4 / pi) x^2 / (1 + x^2)^2 is (2 / pi) (atan x - x / (1 + x^2)).

    Examples:
        >>> jet_share((0.0, 1e9), np.array([1.0])).round(3).tolist()
        [1.0]
        >>> audible = jet_share((1e3, 1e4), np.array([0.5, 3.0]))
        >>> bool(audible[1] > 100 * audible[0])
        True
    """
    peak = STROUHAL * JET_SPEED / np.maximum(diameter * 1e-3, 1e-6)
    high, low = (2 / math.pi * (np.arctan(x) - x / (1 + x**2)) for x in (band[1] / peak, band[0] / peak))
    share: Reals = high - low
    return share


def _levels(flow: Flow, of: dict[str, Reals], workshop: Reals, gun: Reals) -> Reals:
    """Return sound pressures (N, 3, T): audible and ultrasonic near the leak, ultrasonic far from it."""
    power = EFFICIENCY * 0.5 * (flow.leak / 60_000 * DENSITY) * JET_SPEED**2
    source = DENSITY * SOUND_SPEED * power / (4 * math.pi)  # Pa^2 at 1 m
    exhaust = 0.15 * of["demand"][:, None] / 300 * flow.exhaust
    squares = []
    for band, place, part in ((AUDIBLE, "near", 1.0), (ULTRASOUND, "near", 0.12), (ULTRASOUND, "far", 0.1)):
        jet = source * jet_share(band, of["hole"])[:, None] / of[place][:, None] ** 2
        others = (part * workshop) ** 2 + (part * gun) ** 2
        squares.append(jet + others + (part * exhaust / of[place][:, None]) ** 2)
    return np.sqrt(np.stack(squares, axis=1))


def column_tone(of: dict[str, Reals]) -> Reals:
    """Return the frequency of the column of air (N,), Hz: a Helmholtz resonator whose neck is the filter's opening."""
    return np.asarray(of["column"] * np.sqrt(of["opening"]))


def _vibration(flow: Flow, of: dict[str, Reals], noise: Reals, phase: Reals, seconds: Reals) -> Reals:
    """Return accelerations (N, 3, T) along the pipe, across it and upright."""
    rate = 1 / (seconds[1] - seconds[0])
    column = _resonate(noise[:, 0], column_tone(of), COLUMN_DAMPING, rate)
    ringing = _resonate(noise[:, 1], of["pipe"], PIPE_DAMPING, rate)
    clicks = _clicks(flow.valve, of["pipe"], rate)
    turbulence = flow.inflow / 300
    jet = np.sqrt(flow.leak / 300) * noise[:, 2]
    angle = 2 * math.pi * HUM * seconds + phase[:, None]
    hum = of["hum"][:, None] * (np.sin(angle) + 0.5 * np.sin(2 * angle + 1) + 0.2 * np.sin(4 * angle + 2))
    rough = 0.1 * noise[:, 3]
    along = hum + 0.5 * turbulence * column + 0.6 * clicks + 0.25 * jet + rough
    across = 0.4 * hum + 0.3 * turbulence * (column + ringing) + 2.0 * clicks + 0.35 * jet + np.roll(rough, 1, axis=1)
    upright = 0.7 * hum + 0.4 * turbulence * ringing + 1.2 * clicks + 0.3 * jet + np.roll(rough, 2, axis=1)
    return np.stack([along, across, upright], axis=1)


def _air_gun(chance: Reals, seconds: Reals, difficulty: float) -> Reals:
    """Return the sound pressure (N, T) of somebody blowing off chips near by, in some of the windows."""
    used = chance[:, 0] < 0.05 + 0.35 * difficulty
    middle, width = chance[:, 1] * seconds[-1], (0.1 + 0.3 * chance[:, 2]) * max(seconds[-1], 1e-9)
    hump = np.clip(1 - np.abs(seconds - middle[:, None]) / width[:, None], 0, 1)
    return np.asarray(used[:, None] * (0.1 + 0.6 * chance[:, 2:3]) * np.sin(np.pi / 2 * hump) ** 2)


def _resonate(signal: Reals, frequency: Reals, damping: float, rate: float) -> Reals:
    """Return white noise (N, T) as an oscillator of each window's `frequency` (N,) answers it, of unit deviation."""
    answer = _oscillator(signal.shape[-1], frequency, damping, rate)
    answer /= np.sqrt(np.mean(np.abs(answer) ** 2, axis=1, keepdims=True))
    return np.asarray(np.fft.irfft(np.fft.rfft(signal, axis=-1) * answer, signal.shape[-1], axis=-1))


def _clicks(valve: Reals, frequency: Reals, rate: float) -> Reals:
    """Return how the pipe rings (N, T) after each stroke of the valve: about 1 at the opening, less at the closing.

    What rings on beyond the window's end comes in at its beginning, as after a stroke just before it.
    """
    is_open = (valve > 0.5).astype(np.float64)
    strokes = np.diff(is_open, axis=1, prepend=is_open[:, :1])
    strokes = np.where(strokes < 0, 0.6 * strokes, strokes)
    answer = _oscillator(valve.shape[-1], frequency, PIPE_DAMPING, rate) * (rate / (2 * math.pi * frequency[:, None]))
    return np.asarray(np.fft.irfft(np.fft.rfft(strokes, axis=-1) * answer, valve.shape[-1], axis=-1))


def _oscillator(length: int, frequency: Reals, damping: float, rate: float) -> npt.NDArray[np.complex128]:
    ratio = np.fft.rfftfreq(length, 1 / rate) / frequency[:, None]
    return np.asarray(1 / (1 - ratio**2 + 2j * damping * ratio))


def _low_pass(noise: Reals, cutoff: float, rate: float) -> Reals:
    """Return white noise (..., T) of unit deviation without what lies far above `cutoff` hertz, of unit deviation."""
    bins = np.fft.rfftfreq(noise.shape[-1], 1 / rate)
    answer = 1 / np.sqrt(1 + (bins / cutoff) ** 4)
    answer /= math.sqrt(float(np.mean(answer**2)))
    return np.asarray(np.fft.irfft(np.fft.rfft(noise, axis=-1) * answer, noise.shape[-1], axis=-1))
