"""Boosted trees as a `TreeEnsembleRegressor` of ONNX: skl2onnx 1.20 fails on those of scikit-learn 1.9.

Shapes: B records, D features, K classes (one column for two of them).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ringlight.errors import ModelError

DOMAIN = "ai.onnx.ml"


def is_boosted(estimator: Any) -> bool:
    """Whether an estimator is scikit-learn's boosting on histograms."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    return isinstance(estimator, HistGradientBoostingClassifier)


def below(thresholds: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """Return the largest float32 that is not above each threshold: x <= t is the same for every float32 x.

    Examples:
        >>> float(below([0.1])[0])  # the nearest float32 is 0.10000000149
        0.09999999403953552
    """
    exact = np.asarray(thresholds, np.float64)
    rounded = exact.astype(np.float32)
    return np.where(rounded > exact, np.nextafter(rounded, np.float32(-np.inf)), rounded)


def boosted_trees(estimator: Any, features: str, output: str, *, name: str) -> Any:
    """Return the node that computes the raw scores (B, 1) or (B, K) of fitted boosted trees from float32 (B, D).

    Raises:
        ModelError: a tree asks for a category.
    """
    from onnx import helper

    nodes: dict[str, list[Any]] = {
        key: [] for key in ("treeids", "nodeids", "featureids", "values", "modes", "truenodeids", "falsenodeids",
                            "missing_value_tracks_true")
    }  # fmt: skip
    leaves: dict[str, list[Any]] = {key: [] for key in ("treeids", "nodeids", "ids", "weights")}
    trees = [(column, tree.nodes) for step in estimator._predictors for column, tree in enumerate(step)]
    for number, (column, table) in enumerate(trees):
        leaf = table["is_leaf"].astype(bool)
        if table["is_categorical"].any():
            raise ModelError(
                "numbers as features", got="a category", where="ringlight models export", fix="serve the bundle itself"
            )
        places = range(len(table))
        nodes["treeids"] += [number] * len(table)
        nodes["nodeids"] += places
        nodes["featureids"] += np.where(leaf, 0, table["feature_idx"]).tolist()
        nodes["values"] += below(np.where(leaf, 0.0, table["num_threshold"])).tolist()
        nodes["modes"] += np.where(leaf, "LEAF", "BRANCH_LEQ").tolist()
        nodes["truenodeids"] += np.where(leaf, 0, table["left"]).tolist()
        nodes["falsenodeids"] += np.where(leaf, 0, table["right"]).tolist()
        nodes["missing_value_tracks_true"] += table["missing_go_to_left"].astype(int).tolist()
        leaves["treeids"] += [number] * int(leaf.sum())
        leaves["nodeids"] += np.flatnonzero(leaf).tolist()
        leaves["ids"] += [column] * int(leaf.sum())
        leaves["weights"] += table["value"][leaf].tolist()
    base = np.ravel(estimator._baseline_prediction)
    attributes: dict[str, Any] = {f"nodes_{key}": values for key, values in nodes.items()}
    attributes |= {f"target_{key}": values for key, values in leaves.items()}
    return helper.make_node(
        "TreeEnsembleRegressor", [features], [output], name=name, domain=DOMAIN, n_targets=len(base),
        aggregate_function="SUM", post_transform="NONE", base_values=base.tolist(), **attributes,
    )  # fmt: skip
