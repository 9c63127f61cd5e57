"""What a model's inputs look like, in a few numbers each: what a dark lamp, a lens out of focus or a loose cable moves.

Of images (B, C, H, W), as the model takes them:

    brightness    the mean over channels and pixels
    contrast      the standard deviation over pixels of the mean channel
    sharpness     the variance of its Laplacian (Pech-Pacheco et al. 2000, ICPR 3:314, "Diatom autofocusing")
    offset c      the mean of channel c less the brightness; of a single channel there is none

Of windows (B, C, T), for each channel: `mean`, `std` and `peak`, the largest absolute value.

Shapes: B records, C channels, H x W pixels, T time steps.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from ringlight.errors import DataError

DECIMALS = 6
"""Inputs are normalised: below this lies rounding, which must not look like a drift where a statistic is constant."""


def input_statistics(
    inputs: npt.NDArray[np.float32], channels: Sequence[str] | None = None
) -> dict[str, npt.NDArray[np.float64]]:
    """Return statistics of prepared inputs, (B,) each, by name.

    Args:
        inputs: images (B, C, H, W) or windows (B, C, T), float32.
        channels: what the C channels are called; their numbers when None.

    Raises:
        DataError: another shape.

    Examples:
        >>> white = np.ones((1, 1, 4, 4), np.float32)
        >>> {name: column.tolist() for name, column in input_statistics(white).items()}
        {'brightness': [1.0], 'contrast': [0.0], 'sharpness': [0.0]}
    """
    if inputs.ndim not in (3, 4) or not inputs.size:
        got = f"shape {inputs.shape}"
        fix = "pass what the model was given"
        raise DataError("images (B, C, H, W) or windows (B, C, T)", got=got, where="inputs", fix=fix)
    names = list(map(str, range(inputs.shape[1]))) if channels is None else list(channels)
    found = _of_images(inputs, names) if inputs.ndim == 4 else _of_windows(inputs, names)
    return {name: np.round(column, DECIMALS) for name, column in found.items()}


def _of_images(inputs: npt.NDArray[np.float32], names: Sequence[str]) -> dict[str, npt.NDArray[np.float64]]:
    table = np.array([_of_image(image) for image in inputs])
    means, spread, sharpness = table[:, :-2], table[:, -2], table[:, -1]
    brightness = means.mean(axis=1)
    found = {"brightness": brightness, "contrast": spread, "sharpness": sharpness}
    if inputs.shape[1] > 1:
        found |= {f"offset {name}": means[:, column] - brightness for column, name in enumerate(names)}
    return found


def _of_image(image: npt.NDArray[np.float32]) -> tuple[float, ...]:
    """Return the mean of each channel, the spread of their mean, and the variance of its Laplacian.

    OpenCV adds up in double precision and in one pass, ten times as fast as numpy does.
    """
    share, gray = 1 / len(image), image[0]
    if len(image) > 1:
        gray = np.asarray(cv2.addWeighted(image[0], share, image[1], share, 0))
    for channel in image[2:]:
        gray = np.asarray(cv2.scaleAdd(channel, share, gray))
    spread = float(cv2.meanStdDev(gray)[1][0, 0])
    edges = float(cv2.meanStdDev(cv2.Laplacian(gray, cv2.CV_32F))[1][0, 0])
    return (*(cv2.mean(channel)[0] for channel in image), spread, edges**2)


def _of_windows(inputs: npt.NDArray[np.float32], names: Sequence[str]) -> dict[str, npt.NDArray[np.float64]]:
    means = inputs.mean(axis=2, dtype=np.float64)
    spreads = inputs.std(axis=2, dtype=np.float64)
    peaks = np.abs(inputs).max(axis=2).astype(np.float64)
    return {
        f"{what} {name}": table[:, column]
        for column, name in enumerate(names)
        for what, table in (("mean", means), ("std", spreads), ("peak", peaks))
    }
