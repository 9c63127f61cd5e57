"""Procedural pictures of rolled steel: a surface, its lighting, its harmless marks and four kinds of defect.

The kinds follow the four classes of the Severstal strips: 1 pits (clusters of small dark spots), 2 cracks (short dark
lines across the strip), 3 scratches (bundles of bright lines along it), 4 patches (large areas of rolled-in scale).
Harmless on purpose, as in the real pictures: oxide stains, glints and the black beyond the end of the strip.

Lengths scale with the picture's height H (a strip is 256 pixels high), line widths with the square root of it, so that
a 64-pixel tile still shows its defects. Gray values are float32, 0 to 255.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from ringlight.types import Box

Image = npt.NDArray[np.uint8]
Field = npt.NDArray[np.float32]
Mark = tuple[npt.NDArray[Any], int, int]
"""What is added to the surface: gray values, and the column and row of its upper left corner."""

STRIP_HEIGHT = 256.0
VISIBLE = 6.0
"""Gray values from which a mark counts as part of its defect's box."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What every painter of marks needs to know: size in pixels, and how plain or hidden a defect is.

    `start` and `stop` bound the columns that show steel; `contrast`, `size` and `number` are factors around 1.
    """

    height: int
    start: int
    stop: int
    contrast: float
    size: float
    number: float

    @property
    def length(self) -> float:
        """Factor for lengths."""
        return self.height / STRIP_HEIGHT

    @property
    def stroke(self) -> float:
        """Factor for line widths and spots."""
        return float(np.sqrt(self.height / STRIP_HEIGHT))

    def extent(self, rng: np.random.Generator, low: float, high: float, limit: int) -> int:
        """Draw a length, given in pixels of a full-size strip, and keep it within `limit` pixels."""
        wanted = rng.uniform(low, high) * self.length * self.size
        return int(np.clip(round(wanted), 4, max(4, limit)))

    def count(self, rng: np.random.Generator, low: int, high: int) -> int:
        """Draw a number of things, at least one."""
        return max(1, round(int(rng.integers(low, high + 1)) * self.number))

    def place(self, rng: np.random.Generator, width: int, height: int) -> tuple[int, int]:
        """Draw the corner of a mark so that it lies on the steel."""
        x = int(rng.integers(self.start, max(self.start, self.stop - width) + 1))
        y = int(rng.integers(0, max(0, self.height - height) + 1))
        return x, y


def render_strip(
    labels: tuple[int, ...], *, height: int, width: int, difficulty: float, rng: np.random.Generator
) -> tuple[Image, tuple[Box, ...]]:
    """Paint one strip with the defects `labels` names (0 pits, 1 cracks, 2 scratches, 3 patches).

    `difficulty` from 0 to 1 lowers the contrast, size and number of defects and adds noise and harmless marks.

    Returns:
        The gray picture (H, W) and a box around every defect.
    """
    start, stop = _visible_columns(rng, width)
    scene = Scene(height, start, stop, 1.55 - 1.1 * difficulty, 1.2 - 0.4 * difficulty, 1.25 - 0.5 * difficulty)
    surface = _surface(rng, height, width, difficulty)
    _harmless(rng, surface, scene, difficulty)
    boxes = []
    for label in labels:
        for mark in PAINTERS[label](rng, scene):
            box = _stamp(surface, mark, scene, label)
            if box is not None:
                boxes.append(box)
    surface *= _lighting(rng, height, width)
    _darken_ends(rng, surface, scene)
    return np.clip(surface, 0, 255).astype(np.uint8), tuple(boxes)


def _visible_columns(rng: np.random.Generator, width: int) -> tuple[int, int]:
    """Return the columns that show steel: about one strip in four ends in the picture."""
    kind, share = rng.random(), rng.uniform(0.03, 0.25)
    if kind < 0.12:
        return int(width * share), width
    if kind < 0.24:
        return 0, int(width * (1 - share))
    return 0, width


def _surface(rng: np.random.Generator, height: int, width: int, difficulty: float) -> Field:
    """Return the bare steel: bands across, fine grain along the rolling direction, sensor noise."""
    steel = np.full((height, width), rng.uniform(70, 115), np.float32)
    bands = _smooth_noise(rng, (2, max(3, width // 60)), (height, width)) * rng.uniform(1, 5)
    bands += _smooth_noise(rng, (3, max(3, width // 12)), (height, width)) * rng.uniform(0.5, 3)
    bands += _smooth_noise(rng, (6, max(3, width // 3)), (height, width)) * rng.uniform(0.5, 2.5)
    clouds = _smooth_noise(rng, (3, max(3, width // 120)), (height, width)) * rng.uniform(2, 7)
    noise = rng.standard_normal((2, height, width), dtype=np.float32)
    grain = cv2.blur(noise[0], (31, 1)) * (31**0.5 * rng.uniform(1.5, 3.0))
    steel += bands + clouds + grain + noise[1] * (2.0 + 4.0 * difficulty)
    return steel


def _smooth_noise(rng: np.random.Generator, cells: tuple[int, int], shape: tuple[int, int]) -> Field:
    coarse = rng.standard_normal(cells, dtype=np.float32)
    return np.asarray(cv2.resize(coarse, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC), np.float32)


def _lighting(rng: np.random.Generator, height: int, width: int) -> Field:
    """Return the lamp's factor (H, W): a slope across, and a broad maximum somewhere along the strip."""
    across = 1 + rng.uniform(-0.2, 0.2) * np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    position = np.linspace(0, 1, width, dtype=np.float32)[None, :]
    along = 1 + rng.uniform(-0.15, 0.3) * np.exp(-(((position - rng.random()) / rng.uniform(0.25, 0.6)) ** 2))
    return np.asarray(across * along, np.float32)


def _darken_ends(rng: np.random.Generator, surface: Field, scene: Scene) -> None:
    """Blacken what lies beyond the steel, with the soft, slightly slanted border of real strips, in place."""
    height, width = surface.shape
    slant = np.linspace(-1, 1, height, dtype=np.float32)[:, None] * rng.uniform(-2, 2)
    columns = np.arange(width, dtype=np.float32)[None, :] + slant
    softness = 3.0 * scene.stroke
    if scene.start > 0:
        surface *= np.clip((columns - scene.start) / softness + 0.5, 0.04, 1)
    if scene.stop < width:
        surface *= np.clip((scene.stop - columns) / softness + 0.5, 0.04, 1)


def _harmless(rng: np.random.Generator, surface: Field, scene: Scene, difficulty: float) -> None:
    """Add oxide stains (soft, broad, across the strip) and a rare glint, in place."""
    if rng.random() < 0.4 + 0.4 * difficulty:
        for _ in range(int(rng.integers(1, 5))):
            wide, high = scene.extent(rng, 40, 260, scene.stop - scene.start), scene.extent(rng, 120, 256, scene.height)
            ragged = _smooth_noise(rng, (max(3, high // 60), max(3, wide // 8)), (high, wide))
            ragged += 0.5 * _smooth_noise(rng, (max(3, high // 16), max(3, wide // 4)), (high, wide))
            stain = _ellipse(high, wide) * np.clip(2 * (ragged - 0.3), 0, 1)
            x, y = scene.place(rng, wide, high)
            _add(surface, (stain * rng.uniform(-24, -9) * (0.6 + 0.6 * difficulty), x, y), scene)
    if rng.random() < 0.1:
        side = scene.extent(rng, 10, 24, scene.height)
        x, y = scene.place(rng, side, side)
        _add(surface, (_ellipse(side, side) * rng.uniform(60, 130), x, y), scene)


def _ellipse(height: int, width: int) -> Field:
    """Return a soft ellipse (H, W): 1 in the middle, 0 at the border."""
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    inside: Field = np.clip(1.4 * (1 - x * x - y * y), 0, 1)
    return inside


def _pits(rng: np.random.Generator, scene: Scene) -> list[Mark]:
    """Clusters of small dark spots with a bright rim."""
    marks: list[Mark] = []
    for _ in range(scene.count(rng, 2, 4)):
        wide, high = scene.extent(rng, 50, 130, scene.stop - scene.start), scene.extent(rng, 40, 120, scene.height)
        spots = np.zeros((high, wide), np.uint8)
        for _ in range(scene.count(rng, 8, 24)):
            radius = max(1.0, rng.uniform(1.2, 4.2) * scene.stroke * scene.size)
            centre = rng.uniform((0.1 * wide, 0.1 * high), (0.9 * wide, 0.9 * high))
            axes = (round(radius), max(1, round(radius * rng.uniform(0.7, 1.6))))
            cv2.ellipse(spots, np.round(centre).astype(int).tolist(), axes, rng.uniform(-20, 20), 0, 360, 255, -1)
        spot = _soften(spots, 0.7)
        rim = np.clip(_soften(cv2.dilate(spots, np.ones((3, 3), np.uint8)), 0.8) - spot, 0, 1)
        marks.append(((rim * 12 - spot * rng.uniform(30, 50)) * scene.contrast, *scene.place(rng, wide, high)))
    return marks


def _cracks(rng: np.random.Generator, scene: Scene) -> list[Mark]:
    """Short, crooked dark lines across the strip, one side lit."""
    marks: list[Mark] = []
    for _ in range(scene.count(rng, 2, 5)):
        wide, high = scene.extent(rng, 14, 30, scene.stop - scene.start), scene.extent(rng, 40, 110, scene.height)
        steps = max(3, high // 5)
        x = np.cumsum(rng.normal(0, 0.09 * wide, steps))
        x = np.clip(x - x.mean() + wide / 2, 3, max(3, wide - 4))
        points = np.stack([x, np.linspace(1, high - 2, steps)], 1).round().astype(np.int32)
        line = np.zeros((high, wide), np.uint8)
        cv2.polylines(
            line, [points], False, 255, max(1, round(rng.uniform(1.6, 2.8) * scene.stroke * scene.size)), cv2.LINE_AA
        )
        taper = np.clip(_smooth_noise(rng, (max(3, high // 10), 2), (high, wide)) * 0.4 + 0.9, 0.3, 1.2)
        dark = _soften(line, 0.6) * taper
        lit = np.clip(np.roll(dark, 3, axis=1) - dark, 0, 1)
        lit[:, :3] = 0
        x0, y0 = scene.place(rng, wide, high)
        if rng.random() < 0.4:  # many real ones start at the edge of the picture
            y0 = 0 if rng.random() < 0.5 else max(0, scene.height - high)
        marks.append(((lit * 22 - dark * rng.uniform(45, 65)) * scene.contrast, x0, y0))
    return marks


def _scratches(rng: np.random.Generator, scene: Scene) -> list[Mark]:
    """Bundles of bright, broken lines along the strip."""
    marks: list[Mark] = []
    for _ in range(scene.count(rng, 1, 3)):
        wide = scene.extent(rng, 160, 520, scene.stop - scene.start)
        high = scene.extent(rng, 24, 70, scene.height)
        lines = np.zeros((high, wide), np.uint8)
        slope = rng.uniform(-0.5, 0.5) * high
        for _ in range(scene.count(rng, 3, 7)):
            begin, end = sorted(rng.uniform(0, wide - 1, 2).tolist())
            y = rng.uniform(0.3, 0.7) * high
            first = (round(begin), round(y + slope * (begin / wide - 0.5)))
            last = (round(end), round(y + slope * (end / wide - 0.5)))
            cv2.line(lines, first, last, 255, max(1, round(rng.uniform(1.0, 2.6) * scene.stroke)), cv2.LINE_AA)
        broken = np.clip(0.75 + 0.5 * _smooth_noise(rng, (2, max(4, wide // 12)), (high, wide)), 0.15, 1.3)
        bright = _soften(lines, 0.5) * broken * rng.uniform(40, 70)
        marks.append((bright * scene.contrast, *scene.place(rng, wide, high)))
    return marks


def _patches(rng: np.random.Generator, scene: Scene) -> list[Mark]:
    """Large, ragged, rough areas of rolled-in scale, darker than the steel around them."""
    marks: list[Mark] = []
    for _ in range(scene.count(rng, 1, 2)):
        wide, high = scene.extent(rng, 110, 330, scene.stop - scene.start), scene.extent(rng, 90, 200, scene.height)
        ragged = _ellipse(high, wide)
        ragged += 0.25 * _smooth_noise(rng, (max(3, high // 25), max(3, wide // 25)), (high, wide))
        ragged += 0.2 * _smooth_noise(rng, (max(3, high // 8), max(3, wide // 8)), (high, wide))
        ragged[_ellipse(high, wide) == 0] = 0  # the noise must not reach the straight border of the drawing
        inside = _soften(((ragged > 0.55) * 255).astype(np.uint8), 1.2)
        rough = _smooth_noise(rng, (max(3, high // 3), max(3, wide // 5)), (high, wide))
        gray = rng.uniform(-30, -18) + 13 * rough
        marks.append((np.asarray(inside * gray * scene.contrast, np.float32), *scene.place(rng, wide, high)))
    return marks


PAINTERS: tuple[Callable[[np.random.Generator, Scene], list[Mark]], ...] = (_pits, _cracks, _scratches, _patches)


def _soften(drawing: npt.NDArray[Any], sigma: float) -> Field:
    """Blur a drawing a little and scale it to 0..1: no edge on a real picture is sharper than the lens."""
    return np.asarray(cv2.GaussianBlur(drawing, (0, 0), sigma), np.float32) / np.float32(255)


def _add(surface: Field, mark: Mark, scene: Scene) -> Field:
    """Add a mark to the surface in place, cut at the border of the steel; return the part that was added."""
    gray, x, y = mark
    part = gray[: surface.shape[0] - y, : scene.stop - x]
    surface[y : y + part.shape[0], x : x + part.shape[1]] += part
    return part


def _stamp(surface: Field, mark: Mark, scene: Scene, label: int) -> Box | None:
    """Add a defect and return the box around what can be seen of it, None when nothing can."""
    _, x, y = mark
    visible = np.abs(_add(surface, mark, scene)) >= VISIBLE
    rows, columns = np.flatnonzero(visible.any(1)), np.flatnonzero(visible.any(0))
    if not rows.size:
        return None
    return Box(
        label=label,
        x_min=float(x + columns[0]),
        y_min=float(y + rows[0]),
        x_max=float(x + columns[-1] + 1),
        y_max=float(y + rows[-1] + 1),
    )
