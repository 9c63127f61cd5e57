"""Leave-one-out errors of ridge regression: by leaving each record out, and against scikit-learn's choice."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge, RidgeClassifierCV

from ringlight.models.ridge import fit_ridge_classifier, leave_one_out_errors

ALPHAS = (0.01, 1.0, 30.0)


def problem(count: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(count)
    matrix = rng.normal(size=(count, width))
    targets = matrix[:, :2] + rng.normal(size=(count, 2))
    return matrix, targets, rng.uniform(0.5, 3, count)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("count", "width"), [(20, 5), (12, 30), (8, 8)])
def test_errors_are_those_of_leaving_each_record_out(count, width, weighted):
    matrix, targets, weights = problem(count, width)
    w = weights if weighted else np.ones(count)
    expected = []
    for alpha in ALPHAS:
        squares = []
        for row in range(count):
            rest = np.arange(count) != row
            fitted = Ridge(alpha=alpha).fit(matrix[rest], targets[rest], sample_weight=w[rest])
            squares.append(w[row] * ((targets[row] - fitted.predict(matrix[[row]])[0]) ** 2).mean())
        expected.append(sum(squares) / w.sum())
    found = leave_one_out_errors(matrix, targets, ALPHAS, weights if weighted else None)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("num_classes", [2, 4])
@pytest.mark.parametrize(("count", "width"), [(60, 10), (40, 80)])
def test_the_classifier_is_the_one_that_scikit_learn_chooses(count, width, num_classes):
    matrix, targets, _ = problem(count, width)
    labels = np.digitize(targets[:, 0], np.quantile(targets[:, 0], np.arange(1, num_classes) / num_classes))
    alphas = np.logspace(-3, 3, 10)
    own = fit_ridge_classifier(matrix, labels, alphas.tolist())
    other = RidgeClassifierCV(alphas=alphas).fit(matrix, labels)
    assert own.alpha == pytest.approx(other.alpha_)
    np.testing.assert_allclose(own.decision_function(matrix), other.decision_function(matrix), atol=1e-6)
