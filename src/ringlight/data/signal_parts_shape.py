"""Augmentations that stretch or move windows of a signal smoothly: in size and in time.

Windows arrive with about unit deviation in every channel, so that factors act about a channel's mean. Smooth curves run
through random knots as in T. T. Um and others, "Data Augmentation of Wearable Sensor Data for Parkinson's Disease
Monitoring using Convolutional Neural Networks", 2017, arXiv:1706.00527.

Shapes: T samples, C channels, k inner knots.
"""

from __future__ import annotations

import functools
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from ringlight.data.augmentations_base import Window, check_range

SLOWEST = 0.1
"""Least local speed of a warped time, as a share of the true one: time never stands still or runs backward."""


@functools.lru_cache(maxsize=32)
def spline_basis(length: int, knots: int) -> npt.NDArray[np.float32]:
    """Return the matrix (T, k + 2) that turns values at evenly spaced knots, both ends included, into a smooth curve.

    A cubic spline is linear in its knots' values: it is solved once for each unit vector, and a curve costs a product.

    Examples:
        >>> curve = spline_basis(5, 3) @ np.array([0, 1, 4, 9, 16], np.float32)
        >>> curve.round(3).tolist()
        [0.0, 1.0, 4.0, 9.0, 16.0]
    """
    from scipy.interpolate import CubicSpline

    places = np.linspace(0.0, 1.0, knots + 2)
    basis: npt.NDArray[np.float32] = CubicSpline(places, np.eye(knots + 2))(np.linspace(0.0, 1.0, length))
    basis = basis.astype(np.float32)
    basis.flags.writeable = False
    return basis


class TimeWarp:
    """Let time run faster here and slower there, in all channels alike; the window keeps its length and its ends.

    The local speed is a smooth curve about 1 (Um et al. 2017, "TimeW"), at least a tenth; between samples the signal
    is interpolated linearly.

    Args:
        deviation: standard deviation of the speed at a knot, 0 to 1.
        knots: between the ends, 1 to 64: more of them warp more often.
        probability: of a window being warped.
    """

    takes: ClassVar[str] = "windows"

    def __init__(self, *, deviation: float = 0.2, knots: int = 4, probability: float = 0.5) -> None:
        check_range("deviation", deviation, 0, 1, "time_warp")
        check_range("knots", knots, 1, 64, "time_warp")
        check_range("probability", probability, 0, 1, "time_warp")
        self.deviation = deviation
        self.knots = knots
        self.probability = probability

    def apply(self, window: Window, rng: np.random.Generator) -> Window:
        """Return the window read at warped times."""
        length = len(window)
        if length < 2:
            return window.copy()
        values = rng.normal(1.0, self.deviation, self.knots + 2)
        speed = np.maximum(spline_basis(length, self.knots) @ values, SLOWEST)
        elapsed = np.concatenate([[0.0], np.cumsum((speed[1:] + speed[:-1]) / 2)])
        times = elapsed * ((length - 1) / elapsed[-1])
        before = np.minimum(times.astype(np.int64), length - 2)
        share = (times - before).astype(np.float32)[:, None]
        warped: Window = window[before] * (1 - share) + window[before + 1] * share
        return warped


class TimeShift:
    """Move the window earlier or later by whole samples; the gap holds the value at that end.

    Rolled around, the end would follow the beginning with a jump that no sensor shows.

    Args:
        share: largest move either way, as a share of the length, 0 to 0.5.
        probability: of a window being moved.
    """

    takes: ClassVar[str] = "windows"

    def __init__(self, *, share: float = 0.1, probability: float = 0.5) -> None:
        check_range("share", share, 0, 0.5, "time_shift")
        check_range("probability", probability, 0, 1, "time_shift")
        self.share = share
        self.probability = probability

    def apply(self, window: Window, rng: np.random.Generator) -> Window:
        """Return the moved window."""
        most = int(self.share * len(window))
        move = int(rng.integers(-most, most, endpoint=True))
        return window[np.clip(np.arange(len(window)) - move, 0, len(window) - 1)]


class MagnitudeWarp:
    """Multiply each channel by a smooth curve about 1 of its own: gains that drift (Um et al. 2017, "MagW").

    Args:
        deviation: standard deviation of the curve at a knot, 0 to 1.
        knots: between the ends, 1 to 64: more of them change the gain more often.
        probability: of a window being changed.
    """

    takes: ClassVar[str] = "windows"

    def __init__(self, *, deviation: float = 0.2, knots: int = 4, probability: float = 0.5) -> None:
        check_range("deviation", deviation, 0, 1, "magnitude_warp")
        check_range("knots", knots, 1, 64, "magnitude_warp")
        check_range("probability", probability, 0, 1, "magnitude_warp")
        self.deviation = deviation
        self.knots = knots
        self.probability = probability

    def apply(self, window: Window, rng: np.random.Generator) -> Window:
        """Return the window times its curves."""
        values = rng.normal(1.0, self.deviation, (self.knots + 2, window.shape[1])).astype(np.float32)
        warped: Window = window * (spline_basis(len(window), self.knots) @ values)
        return warped


class Scaling:
    """Multiply each channel by a constant factor of its own about 1: gains that differ (Um et al. 2017, "Scale").

    Args:
        deviation: standard deviation of the factor, 0 to 1.
        probability: of a window being scaled.
    """

    takes: ClassVar[str] = "windows"

    def __init__(self, *, deviation: float = 0.1, probability: float = 0.5) -> None:
        check_range("deviation", deviation, 0, 1, "scaling")
        check_range("probability", probability, 0, 1, "scaling")
        self.deviation = deviation
        self.probability = probability

    def apply(self, window: Window, rng: np.random.Generator) -> Window:
        """Return the window times a factor a channel."""
        factors = np.asarray(rng.normal(1.0, self.deviation, window.shape[1]), np.float32)
        scaled: Window = window * factors
        return scaled
