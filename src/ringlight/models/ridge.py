"""The penalty of a ridge regression by its leave-one-out errors, in closed form.

What scikit-learn's `RidgeClassifierCV` chooses, several times as fast where there are thousands of features: one
eigendecomposition of the smaller of X^T X and X X^T serves every penalty, in the place of a singular value
decomposition of X. Shapes: N records, D features, K targets, M = min(N, D).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import linalg

Doubles = npt.NDArray[np.float64]


def leave_one_out_errors(
    matrix: npt.ArrayLike, targets: npt.ArrayLike, alphas: Sequence[float], weights: npt.ArrayLike | None = None
) -> Doubles:
    """Return for each penalty the weighted mean squared error of records (N, D) that the fit has not seen.

    The regression minimises sum_i w_i |y_i - x_i b - c|^2 + alpha |b|^2. Without record i its error is (y_i - f_i) /
    (1 - h_i), with f_i the fit to all and h_i = w_i (x_i - m) (X^T W X + alpha)^-1 (x_i - m)^T + w_i / sum w, X centred
    at the weighted mean m (Hastie et al. 2009, The Elements of Statistical Learning, equation 7.64, with weights).

    Args:
        matrix: the features (N, D).
        targets: (N, K).
        alphas: penalties above 0.
        weights: (N,) above 0; None counts every record once.
    """
    x, y = np.asarray(matrix, np.float64), np.asarray(targets, np.float64)
    w = np.ones(len(x)) if weights is None else np.asarray(weights, np.float64)
    root = np.sqrt(w)[:, None]
    x = root * (x - np.average(x, axis=0, weights=w))
    y = root * (y - np.average(y, axis=0, weights=w))
    values, rotated = _rotated(x)
    square, onto = rotated**2, rotated.T @ y
    errors = []
    for alpha in alphas:
        shrunk = 1 / (values + alpha)
        leverage = square @ shrunk + w / w.sum()
        left = (y - rotated @ (shrunk[:, None] * onto)) / (1 - leverage)[:, None]  # times the root of the weight
        errors.append(float((left**2).sum() / (w.sum() * y.shape[1])))
    return np.array(errors)


def _rotated(x: Doubles) -> tuple[Doubles, Doubles]:
    """Return eigenvalues (M,) of X^T X that may not be 0, and X in the directions that belong to them, (N, M)."""
    if len(x) > x.shape[1]:
        values, directions = linalg.eigh(x.T @ x, driver="evd")
        return np.maximum(values, 0), x @ directions
    values, directions = linalg.eigh(x @ x.T, driver="evd")
    values = np.maximum(values, 0)
    return values, directions * np.sqrt(values)


def fit_ridge_classifier(
    matrix: npt.NDArray[Any], labels: npt.NDArray[np.int64], alphas: Sequence[float], weights: Doubles | None = None
) -> Any:
    """Fit scikit-learn's `RidgeClassifier` with the penalty of the least leave-one-out error of targets 1 and -1."""
    from sklearn.linear_model import RidgeClassifier

    classes = np.unique(labels)
    signs = np.where(labels[:, None] == (classes if len(classes) > 2 else classes[1:]), 1.0, -1.0)
    best = alphas[int(np.argmin(leave_one_out_errors(matrix, signs, alphas, weights)))]
    return RidgeClassifier(alpha=best).fit(matrix, labels, sample_weight=weights)
