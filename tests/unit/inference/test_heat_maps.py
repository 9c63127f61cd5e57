"""From the model's input back to the picture: the way back of what prepared it."""

from __future__ import annotations

import numpy as np
import pytest

from ringlight.data.preprocess import InputSpec, fit_size
from ringlight.inference.heat_maps import as_given


@pytest.mark.parametrize("mode", ["resize", "letterbox"])
@pytest.mark.parametrize("size", [(256, 1600), (90, 60), (64, 64), (300, 80)])
def test_a_map_of_the_input_is_one_of_the_picture(mode: str, size: tuple[int, int]) -> None:
    """The prepared picture itself is the map: a bright quarter comes back where it was."""
    picture = np.zeros((*size, 1), np.uint8)
    picture[: size[0] // 2, size[1] // 2 :] = 255
    spec = InputSpec(1, (64, 96), mode)  # type: ignore[arg-type]
    heat = fit_size(picture, spec)[..., 0].astype(np.float32) / 255
    found = as_given(heat, size, spec)
    assert found.shape == size
    assert found.dtype == np.float32
    assert np.abs(found - picture[..., 0] / np.float32(255)).mean() < 0.04


def test_a_picture_of_its_own_size_keeps_its_map() -> None:
    heat = np.random.default_rng(0).random((20, 30), dtype=np.float32)
    np.testing.assert_array_equal(as_given(heat, (20, 30), InputSpec(1)), heat)
