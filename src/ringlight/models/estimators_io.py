"""Fitted scikit-learn estimators as bytes, without pickle: skops writes and reads them against a closed list of types.

The bytes are a SHA-256 digest and an archive of skops (JSON and `.npy` files). Reading refuses a digest that is wrong,
every type outside :data:`TRUSTED`, and trees whose nodes point outside themselves: the compiled code that walks a tree
trusts its nodes, so that an edited one could make it read anywhere.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from ringlight.errors import ModelError

TRUSTED = (
    "sklearn.tree._tree.Tree", "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.utils._bunch.Bunch", "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
)  # fmt: skip
"""Types beside those that skops itself trusts (numpy arrays, plain values, scikit-learn's estimators): two compiled
ones, whose nodes are checked, and plain ones that ensembles, calibrated classifiers and small networks are made of."""

DAMAGE = (
    OSError, ValueError, TypeError, KeyError, IndexError, AttributeError, ImportError, EOFError, RuntimeError,
    json.JSONDecodeError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip
"""What reading an archive with edited bytes may raise."""

DIGEST = 32
"""Bytes of SHA-256 in front."""


def to_bytes(fitted: object) -> bytes:
    """Return plain values and fitted estimators as bytes that :func:`from_bytes` reads."""
    from skops.io import dumps

    data: bytes = dumps(fitted, compression=zipfile.ZIP_DEFLATED)
    return hashlib.sha256(data).digest() + data


def from_bytes(data: bytes, where: str) -> Any:
    """Return what :func:`to_bytes` was given.

    Raises:
        ModelError: damaged or edited bytes, a type that is not trusted, a tree that is none.
    """
    from skops.io import get_untrusted_types, loads

    body = data[DIGEST:]
    if hashlib.sha256(body).digest() != data[:DIGEST]:
        raise _refused("an estimator as it was written", "another checksum", where)
    try:
        unknown = sorted(set(get_untrusted_types(data=body)) - set(TRUSTED))
        if unknown:
            raise _refused("only types of fitted estimators", ", ".join(unknown), where)
        fitted = loads(body, trusted=list(TRUSTED))
        for estimator in _inside(fitted):
            _check_trees(estimator, where)
            _check_machine(estimator, where)
    except DAMAGE as error:
        if isinstance(error, ModelError):
            raise
        raise _refused("an estimator as it was written", f"{type(error).__name__}: {error}", where) from error
    return fitted


def _refused(expected: str, got: str, where: str) -> ModelError:
    return ModelError(expected, got=got.partition("\n")[0], where=where, fix="train or export the model again")


def _inside(fitted: Any) -> Iterator[Any]:
    """Yield every estimator in nested dicts, lists, tuples, arrays of objects, and other estimators."""
    waiting, seen = [fitted], set()
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, dict):
            waiting += one.values()
        elif isinstance(one, list | tuple):
            waiting += one
        elif isinstance(one, np.ndarray) and one.dtype == object:
            waiting += one.ravel().tolist()
        elif type(one).__module__.startswith("sklearn."):
            yield one
            waiting += getattr(one, "__dict__", {}).values()


def _check_trees(estimator: Any, where: str) -> None:
    num_features = int(getattr(estimator, "n_features_in_", 0))
    members = getattr(estimator, "estimators_", ())
    members = members.ravel().tolist() if isinstance(members, np.ndarray) else list(members)
    for member in [estimator, *members]:
        tree = getattr(member, "tree_", None)
        if tree is None:
            continue  # an estimator of another kind, which is looked at for itself
        inner = tree.children_left >= 0
        _check_nodes(inner, tree.children_left, tree.children_right, tree.feature, num_features, where)
    for stage in getattr(estimator, "_predictors", ()):
        for predictor in stage:
            nodes = predictor.nodes
            inner = nodes["is_leaf"] == 0
            if nodes["is_categorical"].any():
                raise _refused("trees over numbers", "categories", where)
            _check_nodes(inner, nodes["left"], nodes["right"], nodes["feature_idx"], num_features, where)


def _check_machine(estimator: Any, where: str) -> None:
    """Refuse a support-vector machine whose arrays do not fit together: libsvm takes their sizes from each other."""
    if not hasattr(estimator, "support_vectors_"):
        return
    classes, vectors = len(estimator.classes_), len(estimator.support_vectors_)
    expected = {
        "support_vectors_": (vectors, int(estimator.n_features_in_)), "_dual_coef_": (classes - 1, vectors),
        "_intercept_": (classes * (classes - 1) // 2,), "_n_support": (classes,), "support_": (vectors,),
    }  # fmt: skip
    found = {name: np.shape(getattr(estimator, name)) for name in expected}
    per_class = np.asarray(estimator._n_support, np.int64)
    if found != expected or per_class.sum() != vectors or per_class.min() < 0:
        raise _refused("a support-vector machine whose arrays fit together", f"{found}", where)


def _check_nodes(inner: Any, left: Any, right: Any, feature: Any, num_features: int, where: str) -> None:
    """Refuse a node whose children do not stand behind it (a walk might never end) or that asks for no feature."""
    place = np.arange(len(inner))[inner]
    for child in (np.asarray(left, np.int64)[inner], np.asarray(right, np.int64)[inner]):
        if ((child <= place) | (child >= len(inner))).any():
            raise _refused("trees whose nodes point behind themselves", "one that does not", where)
    asked = np.asarray(feature, np.int64)[inner]
    if ((asked < 0) | (asked >= num_features)).any() or not len(inner):
        raise _refused(f"trees over {num_features} features", "one that asks for others", where)
