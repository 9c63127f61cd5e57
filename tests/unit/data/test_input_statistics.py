"""Statistics of inputs: by hand, by a naive loop and as SciPy computes them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from ringlight.data.input_statistics import input_statistics
from ringlight.errors import DataError

RNG = np.random.default_rng(0)


def test_by_hand() -> None:
    """One bright pixel in a dark picture of 3 x 3: its Laplacian is -4 there and 1 at its four neighbours."""
    image = np.zeros((1, 1, 3, 3), np.float32)
    image[0, 0, 1, 1] = 1
    found = input_statistics(image)
    assert found["brightness"][0] == pytest.approx(1 / 9, abs=1e-6)
    assert found["contrast"][0] == pytest.approx(np.sqrt(1 / 9 - 1 / 81), abs=1e-6)
    assert set(found) == {"brightness", "contrast", "sharpness"}


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_images_equal_a_naive_loop_and_scipy(channels: int) -> None:
    inputs = RNG.normal(size=(3, channels, 16, 24)).astype(np.float32)
    found = input_statistics(inputs)
    for row, image in enumerate(inputs.astype(np.float64)):
        gray = sum(image) / channels
        laplacian = ndimage.laplace(gray, mode="mirror")
        expected = {"brightness": image.mean(), "contrast": gray.std(), "sharpness": laplacian.var()}
        if channels > 1:
            expected |= {f"offset {one}": image[one].mean() - image.mean() for one in range(channels)}
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            assert found[name][row] == pytest.approx(value, abs=2e-5)


def test_windows_have_three_numbers_a_channel() -> None:
    inputs = RNG.normal(size=(4, 2, 100)).astype(np.float32)
    found = input_statistics(inputs, ["flow", "pressure"])
    assert list(found) == [f"{what} {name}" for name in ("flow", "pressure") for what in ("mean", "std", "peak")]
    for row, window in enumerate(inputs):
        assert found["mean flow"][row] == pytest.approx(window[0].mean(), abs=1e-5)
        assert found["std pressure"][row] == pytest.approx(window[1].std(), abs=1e-5)
        assert found["peak pressure"][row] == pytest.approx(max(abs(value) for value in window[1]), abs=1e-5)


def test_equal_channels_have_a_constant_offset_to_the_last_digit() -> None:
    """A grey camera in an RGB model: a rounding that came and went would look like a drift of the channels."""
    grey = np.repeat(RNG.random((20, 1, 32, 32)), 3, axis=1).astype(np.float32)
    found = input_statistics(grey)
    assert set(found["offset 0"]) == {0.0}


def test_another_shape_is_refused() -> None:
    with pytest.raises(DataError) as told:
        input_statistics(np.zeros((2, 3), np.float32))
    assert str(told.value) == (
        "inputs: expected images (B, C, H, W) or windows (B, C, T), got shape (2, 3); pass what the model was given"
    )
