"""How well a heat map shows where the defect is, which a mask or a box says.

Shapes: H x W pixels.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from ringlight.errors import DataError

Heat = npt.NDArray[np.floating[Any]]
Mask = npt.NDArray[Any]


def pointing_game(heat: Heat, mask: Mask, *, tolerance: int = 0) -> bool:
    """Return whether the map's greatest value lies on the defect (Zhang et al. 2016, arXiv:1608.00507, section 5.1).

    Of several equal ones the first counts, row by row. A map without any difference points nowhere, and misses.

    Args:
        heat: (H, W).
        mask: (H, W), not 0 on the defect.
        tolerance: pixels by which it may be missed (the paper: 15); within a circle.

    Raises:
        DataError: sizes that differ, values that are not finite, or a mask of nothing.

    Examples:
        >>> pointing_game(np.array([[0.1, 0.9], [0.2, 0.3]]), np.array([[0, 1], [0, 0]]))
        True
    """
    inside = _checked(heat, mask)
    if tolerance < 0:
        raise DataError("0 pixels or more", got=str(tolerance), where="tolerance", fix="use 0, or the paper's 15")
    if heat.min() == heat.max():
        return False
    row, column = np.unravel_index(int(np.argmax(heat)), heat.shape)
    if tolerance == 0:
        return bool(inside[row, column])
    rows, columns = np.nonzero(inside)
    return bool(((rows - row) ** 2 + (columns - column) ** 2).min() <= tolerance**2)


def mask_iou(heat: Heat, mask: Mask, *, threshold: float = 0.5) -> float:
    """Return the intersection over union of the defect with what the map marks.

    Marked is what reaches `threshold` of the map's greatest value (Zhou et al. 2016, arXiv:1512.04150, section 3.2,
    with 0.2). A map of nothing but zeros marks nothing.

    Args:
        heat: (H, W), 0 or more.
        mask: (H, W), not 0 on the defect.
        threshold: above 0, up to 1.

    Raises:
        DataError: sizes that differ, values that are not finite or below 0, a threshold out of range, or a mask of
            nothing.

    Examples:
        >>> mask_iou(np.array([[1.0, 0.6], [0.4, 0.0]]), np.array([[1, 0], [0, 0]]))
        0.5
    """
    inside = _checked(heat, mask, positive=True)
    if not 0 < threshold <= 1:
        raise DataError("a share above 0, up to 1", got=repr(threshold), where="threshold", fix="use 0.5")
    marked = (heat >= threshold * heat.max()) & (heat > 0)
    return float((marked & inside).sum() / (marked | inside).sum())


def energy_inside(heat: Heat, mask: Mask) -> float:
    """Return the share of the map's sum that lies on the defect (Wang et al. 2020, arXiv:1910.01279, section 4.3).

    Args:
        heat: (H, W), 0 or more; of nothing but zeros the share is 0.
        mask: (H, W), not 0 on the defect.

    Raises:
        DataError: sizes that differ, values that are not finite or below 0, or a mask of nothing.

    Examples:
        >>> energy_inside(np.array([[3.0, 1.0]]), np.array([[1, 0]]))
        0.75
    """
    inside = _checked(heat, mask, positive=True)
    total = float(heat.sum(dtype=np.float64))
    return float(heat[inside].sum(dtype=np.float64)) / total if total > 0 else 0.0


def similarity(first: Heat, second: Heat) -> tuple[float, float]:
    """Return how alike two maps (H, W) are: Spearman's rank correlation, and the structural similarity.

    As in the sanity checks of Adebayo et al. 2018 (arXiv:1810.03292, section 3): a map that stays the same when the
    weights are made random says nothing of the model. SSIM is that of Wang et al. 2004 (equation 13, 11 x 11 Gaussian
    windows of deviation 1.5, constants for a range of 1), its mean over all pixels, mirrored at the border. The rank
    correlation with a map without any difference is 0.

    Raises:
        DataError: sizes that differ, values that are not finite, or maps smaller than a window.
    """
    from scipy import stats

    if first.shape != second.shape or first.ndim != 2 or min(first.shape) < 11:
        raise DataError(
            "two maps (H, W) of the same size, 11 x 11 or more", got=f"{first.shape} and {second.shape}",
            where="similarity", fix="compare maps of the same image",
        )  # fmt: skip
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise DataError("finite values", got="others", where="similarity", fix="make the maps again")
    flat = first.min() == first.max() or second.min() == second.max()
    ranks = 0.0 if flat else float(stats.spearmanr(first.ravel(), second.ravel()).statistic)
    return ranks, _ssim(first.astype(np.float64), second.astype(np.float64))


def _ssim(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> float:
    def mean(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.asarray(cv2.GaussianBlur(values, (11, 11), 1.5), np.float64)

    steady, spread = 0.01**2, 0.03**2
    mean_a, mean_b = mean(a), mean(b)
    variances = mean(a * a) - mean_a**2 + mean(b * b) - mean_b**2
    common = mean(a * b) - mean_a * mean_b
    values = (2 * mean_a * mean_b + steady) * (2 * common + spread)
    return float((values / ((mean_a**2 + mean_b**2 + steady) * (variances + spread))).mean())


def _checked(heat: Heat, mask: Mask, *, positive: bool = False) -> npt.NDArray[np.bool_]:
    if heat.ndim != 2 or heat.shape != mask.shape or not heat.size:
        raise DataError(
            "a map (H, W) and a mask of its size", got=f"{heat.shape} and {mask.shape}", where="localisation",
            fix="bring the map to the size of the picture",
        )  # fmt: skip
    if not np.isfinite(heat).all() or (positive and heat.min() < 0):
        raise DataError(
            "finite values" + (" of 0 or more" if positive else ""), got="others", where="localisation",
            fix="pass the map as the explainer made it",
        )  # fmt: skip
    inside = np.asarray(mask != 0)
    if not inside.any():
        raise DataError("a mask of a defect", got="one of nothing", where="localisation", fix="leave the picture out")
    return inside
