"""The plane of an embedding: the same again, close to scikit-learn's PCA, few records, and which points are drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ringlight.errors import DataError
from ringlight.evaluation.projection import choose_points, principal_components, project


@pytest.fixture(scope="module")
def clusters() -> Any:
    rng = np.random.default_rng(0)
    return (np.eye(3, 60)[np.repeat([0, 1, 2], 20)] + 0.05 * rng.normal(size=(60, 60))).astype(np.float32)


def test_clusters_stay_apart_and_come_again(clusters: Any) -> None:
    laid, again = project(clusters, seed=1), project(clusters, seed=1)
    np.testing.assert_array_equal(laid.points, again.points)
    assert laid.method == "t-SNE"
    middles = laid.points.reshape(3, 20, 2).mean(axis=1)
    nearest = ((laid.points[:, None] - middles) ** 2).sum(axis=2).argmin(axis=1)
    assert nearest.tolist() == np.repeat([0, 1, 2], 20).tolist()


def test_components_equal_scikit_learns(clusters: Any) -> None:
    from sklearn.decomposition import PCA

    theirs = PCA(5, svd_solver="full").fit(clusters)
    ours, explained = principal_components(clusters.astype(float), 5)
    np.testing.assert_allclose(np.abs(ours), np.abs(theirs.transform(clusters)), atol=1e-5)
    assert explained == pytest.approx(theirs.explained_variance_ratio_[:2].sum(), abs=1e-6)
    assert ours.shape == (60, 5)


@pytest.mark.parametrize(
    "rows", [np.ones((1, 4)), np.eye(3), np.ones((40, 3)), np.random.default_rng(0).random((9, 1))]
)
def test_few_or_equal_records_are_shown_by_their_components(rows: Any) -> None:
    laid = project(rows)
    assert laid.method == "PCA"
    assert laid.points.shape == (len(rows), 2)
    assert np.isfinite(laid.points).all()


def test_fifteen_records_are_enough_for_neighbourhoods() -> None:
    assert project(np.random.default_rng(0).normal(size=(15, 4))).method == "t-SNE"


def test_rare_classes_are_all_drawn() -> None:
    labels = np.array([0] * 500 + [1] * 4 + [2] * 100)
    rows = choose_points(labels, 60, seed=2)
    assert np.bincount(labels[rows]).tolist() == [28, 4, 28]
    assert (np.diff(rows) > 0).all()
    assert rows.tolist() == choose_points(labels, 60, seed=2).tolist()
    assert choose_points(labels, 604).tolist() == list(range(604))


def test_no_point_is_refused() -> None:
    with pytest.raises(DataError, match="most: expected 1 point or more, got 0; use 2000"):
        choose_points([0], 0)
