"""Classical models leave as ONNX with their window features ahead, and score as scikit-learn does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from ringlight.data.window_spec import WindowSpec
from ringlight.errors import ModelError
from ringlight.evaluation.calibration import Calibration, Calibrator
from ringlight.inference.bundle import Bundle
from ringlight.inference.export import ExportOptions, export_model
from ringlight.inference.export_parity import Sample
from ringlight.inference.export_trees import DOMAIN, below, boosted_trees
from ringlight.inference.predictor import Predictor
from ringlight.models import build_sequence_model

pytest.importorskip("skl2onnx", reason="the extra `export` is not installed")

SPEC = WindowSpec(("p", "q"), 40, normalize="none")
RNG = np.random.default_rng(0)
LABELS = np.arange(60) % 3
WINDOWS = (RNG.normal(size=(60, 40, 2)) * (1 + LABELS[:, None, None]) + LABELS[:, None, None]).astype(np.float32)
KEPT = Calibration(kind="temperature", calibrator=Calibrator("temperature", (0.5,)), accepted=True, reason="")
SMALL = {
    "random_forest": {"n_estimators": 8},
    "extra_trees": {"n_estimators": 8},
    "gradient_boosting": {"n_estimators": 3},
}


def built(name: str, task: Any = "multiclass", classes: int = 3) -> Any:
    params = SMALL.get(name, {})
    return build_sequence_model(name, num_classes=classes, in_chans=2, length=40, task=task, params=params).module


def fitted(name: str, task: Any = "multiclass", classes: int = 3, targets: np.ndarray | None = None) -> Any:
    module = built(name, task, classes)
    inputs = SPEC.apply(WINDOWS)
    truth = LABELS if targets is None else targets
    module.fit_features(module.describe(inputs).numpy(), truth)
    return module


def exported(name: str, module: Any, out: Path, task: Any = "multiclass", classes: int = 3, **options: Any) -> Any:
    bundle = Bundle(
        architecture={"name": name, "in_chans": 2, "drop_rate": 0.0, "params": SMALL.get(name, {})}, task=task,
        classes=tuple("abc"[:classes]), input_spec=SPEC, calibration=KEPT.to_dict() if task == "multiclass" else {},
    )  # fmt: skip

    def batches() -> Iterator[np.ndarray]:
        for start in range(0, 60, 25):
            yield SPEC.apply(WINDOWS[start : start + 25]).numpy()

    targets = LABELS % classes if task == "multiclass" else np.eye(3, dtype=int)[LABELS]
    sample = Sample(ids=[f"w{row}" for row in range(60)], targets=targets, batches=batches, source="windows")
    return bundle, export_model(bundle, module, sample, out, ExportOptions(**({"format": "onnx"} | options)))


@pytest.mark.parametrize("name", ["random_forest", "extra_trees", "gradient_boosting", "svm", "logistic_regression"])
def test_three_classes(name: str, tmp_path: Path) -> None:
    module = fitted(name)
    bundle, made = exported(name, module, tmp_path / "out", calibrated=True)
    assert made.facts["parity"]["max_difference"] < 1e-5
    assert made.facts["input"] == "features"
    found = Predictor.from_path(tmp_path / "out").predict(WINDOWS)
    expected = Predictor(bundle, module, device="cpu").predict(WINDOWS)
    assert np.allclose(found.probabilities, expected.probabilities, atol=1e-5)
    onnx.checker.check_model(str(made.model), full_check=True)


@pytest.mark.parametrize("name", ["random_forest", "gradient_boosting", "svm", "logistic_regression"])
def test_two_classes_and_several_labels(name: str, tmp_path: Path) -> None:
    two = fitted(name, classes=2, targets=LABELS % 2)
    assert exported(name, two, tmp_path / "two", classes=2)[1].facts["parity"]["max_difference"] < 1e-5
    labels = fitted(name, "multilabel", targets=np.stack([LABELS == 0, LABELS == 1, LABELS >= 0], axis=1).astype(int))
    made = exported(name, labels, tmp_path / "labels", "multilabel", calibrated=True)[1]
    assert made.facts["parity"]["max_difference"] < 1e-5


def test_a_class_that_training_never_saw_stays_unlikely(tmp_path: Path) -> None:
    module = fitted("random_forest", targets=np.where(LABELS == 1, 2, LABELS))
    made = exported("random_forest", module, tmp_path / "out")[1]
    assert made.facts["parity"]["max_difference"] < 1e-5
    alone = fitted("logistic_regression", targets=np.full(60, 1))
    assert exported("logistic_regression", alone, tmp_path / "alone")[1].facts["parity"]["max_difference"] < 1e-5


def test_boosted_trees_are_those_of_a_naive_walk(tmp_path: Path) -> None:
    """Thresholds are doubles: rounded up, a feature between the two went the other way. NaN goes where it was told."""
    from onnxruntime import InferenceSession
    from sklearn.ensemble import HistGradientBoostingClassifier

    features = RNG.normal(size=(400, 4)).astype(np.float32)
    features[::7, 1] = np.nan
    labels = (np.nan_to_num(features[:, 1]) + features[:, 0] > 0).astype(int) + (features[:, 2] > 1)
    fitted_trees = HistGradientBoostingClassifier(max_iter=5, early_stopping=False).fit(features, labels)
    node = boosted_trees(fitted_trees, "X", "Y", name="trees")
    graph = onnx.helper.make_graph(
        [node], "trees", [onnx.helper.make_tensor_value_info("X", onnx.TensorProto.FLOAT, ["n", 4])],
        [onnx.helper.make_tensor_value_info("Y", onnx.TensorProto.FLOAT, ["n", 3])],
    )  # fmt: skip
    opsets = [onnx.helper.make_opsetid("", 18), onnx.helper.make_opsetid(DOMAIN, 3)]
    made = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10)
    session = InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    thresholds = np.concatenate([tree.nodes["num_threshold"] for step in fitted_trees._predictors for tree in step])
    edges = np.repeat(below(thresholds[np.isfinite(thresholds)])[:, None], 4, axis=1)  # at each threshold, and above
    asked = np.concatenate([features, edges, np.nextafter(edges, np.float32(np.inf))])
    (found,) = session.run(None, {"X": asked})

    def walked(row: np.ndarray, column: int) -> float:
        total = float(np.ravel(fitted_trees._baseline_prediction)[column])
        for step in fitted_trees._predictors:
            table, place = step[column].nodes, 0
            while not table[place]["is_leaf"]:
                value, here = float(row[table[place]["feature_idx"]]), table[place]
                left = bool(here["missing_go_to_left"]) if np.isnan(value) else value <= here["num_threshold"]
                place = int(here["left"] if left else here["right"])
            total += float(table[place]["value"])
        return total

    naive = [[walked(row, column) for column in range(3)] for row in asked]
    np.testing.assert_allclose(found, naive, atol=1e-5)
    np.testing.assert_allclose(found, fitted_trees.decision_function(asked), atol=1e-5)


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("svm", {"format": "openvino"}, "SVM: expected --format onnx alone for a classical model, got openvino"),
        ("svm", {"preprocess": True}, "SVM: expected --format onnx alone for a classical model, got onnx, "
         "f32, --raw-input; its estimators are written in single precision"),
    ],
)  # fmt: skip
def test_what_cannot_leave_is_one_line(name: str, options: dict[str, Any], told: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError) as caught:
        exported(name, fitted(name), tmp_path / "out", **options)
    assert str(caught.value).startswith(told)
    assert "\n" not in str(caught.value)
    assert not any(tmp_path.iterdir())


def test_windows_that_do_not_fit_are_told(tmp_path: Path) -> None:
    exported("random_forest", fitted("random_forest"), tmp_path / "out")
    engine = Predictor.from_path(tmp_path / "out").engine
    with pytest.raises(ModelError, match=r"expected windows \(B, 2, T\)"):
        engine.run(torch.zeros(1, 3, 40).numpy())
