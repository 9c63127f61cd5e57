"""Each operation on batches against the same one on a single picture: albumentations, OpenCV, colorsys, plain loops."""

from __future__ import annotations

import colorsys
from types import ModuleType

import cv2
import numpy as np
import pytest
import torch

from ringlight.data import augment_ops as ops
from ringlight.data.augment import _albumentations

RNG = np.random.default_rng(0)
COLORS = RNG.integers(0, 256, (24, 40, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def library() -> ModuleType:
    return _albumentations()


def smooth(height: int = 48, width: int = 80) -> np.ndarray:
    """A picture without sharp edges: there, the ways to interpolate differ by less than a level."""
    y, x = np.mgrid[0:height, 0:width]
    waves = [np.sin(x / 9 + shift) * np.cos(y / 7 - shift) for shift in (0.0, 1.0, 2.0)]
    return np.round(127 + 100 * np.stack(waves, axis=2)).astype(np.uint8)


def batch(*images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float()


def pictures(images: torch.Tensor) -> np.ndarray:
    return images.permute(0, 2, 3, 1).numpy()


def each(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32)


def moves(height: int = 48, width: int = 80, **given: float) -> ops.Warp:
    still = {"angle": 0, "zoom": 1, "shift_x": 0, "shift_y": 0, "left": 0, "top": 0, "wide": width, "tall": height}
    return ops.Warp(**{name: each(value) for name, value in (still | given).items()})


def assert_close(got: torch.Tensor, reference: np.ndarray, *, levels: float = 2.0, rim: int = 2) -> None:
    """Compare where the reference is not black, but for the rim to black, where the two blend differently."""
    solid = (reference.max(2) > 0).astype(np.uint8)
    kernel = np.ones((2 * rim + 1, 2 * rim + 1), np.uint8)
    inside, outside = (
        cv2.erode(area, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0) > 0 for area in (solid, 1 - solid)
    )
    difference = np.abs(pictures(got)[0] - reference.astype(float))
    assert inside.mean() > 0.3
    assert difference[inside].max() <= levels
    assert not difference[outside].any()


def test_a_warp_that_moves_nothing_returns_the_picture() -> None:
    torch.testing.assert_close(ops.warp(batch(COLORS), moves(24, 40)), batch(COLORS), atol=2e-3, rtol=0)


@pytest.mark.parametrize("angle", [-90.0, -30.0, -7.5, 2.0, 45.0, 90.0, 180.0])
def test_turning_is_albumentations_turning(library: ModuleType, angle: float) -> None:
    image = smooth()
    reference = library.Rotate(limit=(angle, angle), fill=0, p=1.0)(image=image)["image"]
    assert_close(ops.warp(batch(image), moves(angle=angle)), reference)


@pytest.mark.parametrize(("zoom", "x", "y"), [(1.0, 5, -3), (1.2, 0, 0), (0.8, 0, 0), (1.1, -8, 4), (0.7, 20, 10)])
def test_shift_and_zoom_are_albumentations_affine(library: ModuleType, zoom: float, x: int, y: int) -> None:
    image = smooth()
    affine = library.Affine(scale=(zoom, zoom), translate_px={"x": (x, x), "y": (y, y)}, fill=0, p=1.0)
    assert_close(ops.warp(batch(image), moves(zoom=zoom, shift_x=x, shift_y=y)), affine(image=image)["image"])


@pytest.mark.parametrize(
    ("left", "top", "wide", "tall"), [(0, 0, 80, 48), (10, 5, 60, 36), (30, 20, 50, 28), (0, 0, 40, 24)]
)
def test_cutting_out_is_cropping_and_resizing(left: int, top: int, wide: int, tall: int) -> None:
    image = smooth()
    reference = cv2.resize(image[top : top + tall, left : left + wide], (80, 48), interpolation=cv2.INTER_LINEAR)
    got = ops.warp(batch(image), moves(left=left, top=top, wide=wide, tall=tall))
    assert np.abs(pictures(got)[0] - reference.astype(float)).max() <= 1.0


def test_all_moves_at_once_are_the_three_one_after_the_other(library: ModuleType) -> None:
    image = smooth()
    reference = library.Rotate(limit=(20, 20), fill=0, p=1.0)(image=image)["image"]
    affine = library.Affine(scale=(0.9, 0.9), translate_px={"x": (6, 6), "y": (-4, -4)}, fill=0, p=1.0)
    reference = affine(image=reference)["image"]
    reference = cv2.resize(reference[6:42, 8:68], (80, 48), interpolation=cv2.INTER_LINEAR)
    given = {"angle": 20, "zoom": 0.9, "shift_x": 6, "shift_y": -4, "left": 8, "top": 6, "wide": 60, "tall": 36}
    assert_close(ops.warp(batch(image), moves(**given)), reference, levels=3, rim=4)


def test_what_a_turn_moved_out_of_the_picture_does_not_come_back() -> None:
    """One interpolation for all must not show what the second step would have found black."""
    white = np.full((40, 40, 1), 255, np.uint8)
    got = pictures(ops.warp(batch(white), moves(40, 40, angle=45, zoom=0.5)))[0, ..., 0]
    assert got[20, 20] == pytest.approx(255)
    assert got[20, 9] == 0  # beyond the half-size frame, though the turned picture's corner would reach here
    alone = pictures(ops.warp(batch(white), moves(40, 40, angle=45)))[0, ..., 0]
    assert alone[20, 1] == pytest.approx(255)


def test_samples_of_a_batch_are_moved_each_its_own_way() -> None:
    image = smooth()
    both = ops.Warp(
        *(torch.cat(pair) for pair in zip(vars_of(moves(angle=10)), vars_of(moves(zoom=1.1, shift_x=3)), strict=True))
    )
    got = ops.warp(batch(image, image), both)
    torch.testing.assert_close(got[:1], ops.warp(batch(image), moves(angle=10)))
    torch.testing.assert_close(got[1:], ops.warp(batch(image), moves(zoom=1.1, shift_x=3)))


def vars_of(warp: ops.Warp) -> list[torch.Tensor]:
    return [getattr(warp, name) for name in ops.Warp.__dataclass_fields__]


def test_brightness_and_contrast_are_albumentations_table(library: ModuleType) -> None:
    for brightness, contrast in ((0.1, 0.0), (-0.3, 0.2), (0.2, -0.4)):
        part = library.RandomBrightnessContrast((brightness, brightness), (contrast, contrast), p=1.0)
        got = ops.contrast(batch(COLORS), each(1 + contrast), each(255 * brightness))
        difference = np.floor(pictures(got)[0]) - part(image=COLORS)["image"]
        assert np.abs(difference).max() <= 1  # where the product is a whole level, the last digit decides
        assert (difference != 0).mean() < 0.02


@pytest.mark.parametrize("factor", [0.0, 0.5, 1.0, 1.4])
def test_saturation_is_albumentations(library: ModuleType, factor: float) -> None:
    still = (1.0, 1.0)
    part = library.ColorJitter(brightness=still, contrast=still, saturation=(factor, factor), hue=(0.0, 0.0), p=1.0)
    got = ops.saturate(batch(COLORS), each(factor))
    assert np.abs(pictures(got)[0] - part(image=COLORS)["image"].astype(float)).max() <= 1.5


@pytest.mark.parametrize("share", [-0.5, -0.2, 0.0, 0.05, 0.5])
def test_hue_is_colorsys(share: float) -> None:
    got = pictures(ops.shift_hue(batch(COLORS), each(share)))[0]
    for row, column in ((0, 0), (3, 7), (23, 39), (11, 20)):
        hue, saturation, value = colorsys.rgb_to_hsv(*(COLORS[row, column] / 255))
        expected = 255 * np.array(colorsys.hsv_to_rgb((hue + share) % 1, saturation, value))
        np.testing.assert_allclose(got[row, column], expected, atol=1e-3)


def test_hue_is_albumentations_up_to_its_180_steps(library: ModuleType) -> None:
    still = (1.0, 1.0)
    part = library.ColorJitter(brightness=still, contrast=still, saturation=still, hue=(0.1, 0.1), p=1.0)
    difference = np.abs(
        pictures(ops.shift_hue(batch(COLORS), each(0.1)))[0] - part(image=COLORS)["image"].astype(float)
    )
    assert difference.max() < 12  # 2 degrees are 8.5 levels at full saturation
    assert difference.mean() < 3


def test_gray_and_black_keep_their_hue() -> None:
    gray = np.repeat(np.array([[[0], [100], [255]]], np.uint8), 3, axis=2)
    torch.testing.assert_close(ops.shift_hue(batch(gray), each(0.3)), batch(gray))
    torch.testing.assert_close(ops.saturate(batch(gray), each(1.7)), batch(gray))


@pytest.mark.parametrize(("sigma", "size"), [(0.1, 3), (1.0, 3), (2.0, 5), (1.5, 9), (2.0, 99)])
def test_blur_is_albumentations(library: ModuleType, sigma: float, size: int) -> None:
    """A kernel wider than the picture is mirrored more than once, as OpenCV does."""
    part = library.GaussianBlur(blur_limit=(size, size), sigma_limit=(sigma, sigma), p=1.0)
    got = ops.blur(batch(COLORS), each(sigma), size)
    assert np.abs(pictures(got)[0] - part(image=COLORS)["image"].astype(float)).max() <= 1.01


def test_blur_by_hand() -> None:
    """sigma such that the neighbour weighs 1/2: kernel (1/4, 1/2, 1/4)."""
    point = np.zeros((3, 3, 1), np.uint8)
    point[1, 1] = 160
    got = pictures(ops.blur(batch(point), each(float(np.sqrt(0.5 / np.log(2)))), 3))[0, ..., 0]
    # The middle keeps half of a half; at the rim the mirrored middle counts twice: 1/2 across and 1/2 down, too.
    np.testing.assert_allclose(got, np.full((3, 3), 40.0), atol=1e-4)


@pytest.mark.parametrize(("side", "border"), [(1, 3), (2, 5), (5, 2), (5, 17)])
def test_mirroring_is_numpys(side: int, border: int) -> None:
    expected = np.pad(np.arange(side), border, mode="reflect")
    assert ops._mirrored(side, border, torch.device("cpu")).tolist() == expected.tolist()


def test_covering_is_a_loop_over_the_rectangles() -> None:
    holes = np.array([[[1, 2, 5, 9], [3, 3, 40, 4], [7, 7, 7, 9]], [[0, 0, 0, 0], [0, 0, 1, 1], [39, 23, 40, 24]]])
    expected = np.stack([COLORS, COLORS])
    for picture, rectangles in zip(expected, holes, strict=True):
        for left, top, right, bottom in rectangles:
            picture[top:bottom, left:right] = 0
    np.testing.assert_array_equal(pictures(ops.cover(batch(COLORS, COLORS), torch.from_numpy(holes))), expected)
