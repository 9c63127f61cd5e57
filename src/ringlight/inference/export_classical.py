"""Classical models to ONNX: features (B, D) -> logits (B, K), the estimators by skl2onnx (boosted trees by
:mod:`ringlight.inference.export_trees`).

Window features stay outside: `models/window_features.py` computes them with NumPy, here as in training. The graph's
input is therefore `features`; random kernels are inside (:mod:`ringlight.inference.export_rocket`), and the graph takes
windows (B, C, T). Inside are also the standardisation (in double precision, as scikit-learn does it), the estimators,
and what Ringlight makes of their scores (:mod:`ringlight.models.estimator`).

Shapes: B windows, C channels, T time steps, D features, K classes.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from ringlight.errors import ModelError
from ringlight.evaluation.calibration import Calibration, Calibrator
from ringlight.inference.export_files import FEATURES_INPUT, LOGITS, PREPARED_INPUT, PROBABILITIES
from ringlight.inference.export_nodes import Nodes
from ringlight.inference.export_rocket import rocket_features
from ringlight.inference.export_trees import boosted_trees, is_boosted
from ringlight.models import build_sequence_model
from ringlight.models.classical import FeatureModel
from ringlight.models.estimator import ABSENT, EstimatorModel
from ringlight.models.rocket import Rocket
from ringlight.optional import require

if TYPE_CHECKING:
    from ringlight.inference.bundle import Bundle
    from ringlight.inference.engine_onnx import OnnxEngine
    from ringlight.inference.engines import Scored

ML_OPSET = 3
OPSET = 18
SHIFTED = r"Attribute `prob[AB]_`"
"""skl2onnx looks at attributes of support-vector machines that scikit-learn is about to drop."""


class DescribedEngine:
    """Runs an export of a classical model: windows are described first, then scored.

    Args:
        engine: of the graph.
        model: what describes windows; it need not be fitted.
    """

    def __init__(self, engine: OnnxEngine, model: FeatureModel) -> None:
        self.name = engine.name
        self.engine = engine
        self.model = model

    def run(self, inputs: npt.NDArray[np.float32]) -> Scored:
        """Return raw logits (B, K) of windows (B, C, T).

        Raises:
            ModelError: another number of channels.
            DataError: windows that are too short or not finite.
        """
        return self.engine.run(self.described(inputs))

    def everything(self, inputs: npt.NDArray[np.float32]) -> dict[str, npt.NDArray[np.float32]]:
        """Return every output of the graph by its name."""
        return self.engine.everything(self.described(inputs))

    def described(self, inputs: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return the features (B, D) of windows (B, C, T)."""
        return self.model.describe(torch.from_numpy(np.array(inputs))).numpy()


def describing(bundle: Bundle) -> FeatureModel:
    """Build what describes the windows of a classical model, from its bundle alone."""
    made = build_sequence_model(
        bundle.architecture["name"], num_classes=len(bundle.classes), in_chans=bundle.architecture["in_chans"],
        length=getattr(bundle.input_spec, "length", 0), task=bundle.task, params=bundle.architecture["params"],
    ).module  # fmt: skip
    if not isinstance(made, FeatureModel):
        raise ModelError(
            "a model of window features", got=type(made).__name__, where="the export", fix="export the model again"
        )
    return made


def write_classical(module: EstimatorModel, path: Path, *, bundle: Bundle, calibrated: bool) -> list[str]:
    """Write a fitted classical model as `.onnx`; return the names of the outputs.

    Raises:
        ModelError: it was not fitted, or it is an estimator that skl2onnx cannot write.
        MissingExtraError: skl2onnx is not installed.
    """
    import onnx
    from onnx import TensorProto, helper

    from ringlight.inference.export_onnx import metadata_texts

    fitted = module.fitted()
    graph = _Graph()
    given = input_of(module)
    shape: list[str | int | None] = ["batch", int(fitted["num_features"])]
    features = given
    if isinstance(module, Rocket):
        shape = ["batch", module.in_chans, int(module.length)]
        features = rocket_features(graph, module, given)
    matrix = graph.scaled(features, fitted["scaler"])
    heads = [graph.head(module, head, matrix, place) for place, head in enumerate(fitted["heads"])]
    graph.add("Concat", heads, LOGITS, axis=1)
    outputs = [LOGITS]
    if calibrated:
        outputs.append(graph.calibrated(bundle))
    kind = TensorProto.FLOAT
    made = helper.make_model(
        helper.make_graph(
            graph.nodes, "ringlight", [helper.make_tensor_value_info(given, kind, shape)],
            [helper.make_tensor_value_info(name, kind, ["batch", len(bundle.classes)]) for name in outputs],
            graph.weights,
        ),
        opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", ML_OPSET)], ir_version=10,
        producer_name="ringlight",
    )  # fmt: skip
    onnx.helper.set_model_props(made, metadata_texts(bundle, preprocess=False))
    onnx.save(made, path)
    onnx.checker.check_model(str(path), full_check=True)
    return outputs


def input_of(module: EstimatorModel) -> str:
    """Return what the input of a classical model's graph is called: `input` for windows, else `features`."""
    return PREPARED_INPUT if isinstance(module, Rocket) else FEATURES_INPUT


class _Graph(Nodes):
    """A classical model's graph."""

    def scaled(self, features: str, scaler: Any) -> str:
        """Standardise features as scikit-learn does: in double precision, float32 afterwards."""
        from onnx import TensorProto

        if scaler is None:
            return features
        whole = self.add("Cast", [features], to=TensorProto.DOUBLE)
        centred = self.add("Sub", [whole, self.weight(scaler.mean_, np.float64)])
        scaled = self.add("Div", [centred, self.weight(scaler.scale_, np.float64)])
        return self.add("Cast", [scaled], to=TensorProto.FLOAT)

    def head(self, model: EstimatorModel, head: Mapping[str, Any], matrix: str, place: int) -> str:
        """Add one estimator; return the name of its logits: (B, K) of several classes, (B, 1) of a label."""
        classes, estimator = head["classes"], head["estimator"]
        wide = model.num_classes if model.task == "multiclass" else 1
        if estimator is None:
            return self._constant(matrix, classes, wide, is_label=model.task == "multilabel")
        scores = self.estimator(estimator, matrix, f"head{place}_")
        if model.task == "multilabel":
            return self._label(estimator, scores)
        count = _num_trees(estimator)
        if count is not None:
            votes = self.add("Mul", [scores, self.weight(count)])
            shares = self.add("Div", [self.add("Add", [votes, self.weight(1 / wide)]), self.weight(count)])
            found = self.add("Log", [shares])
        else:  # of two classes: columns -d and d, whose halves have the sigmoid of d as their soft-max
            found = self.add("Mul", [scores, self.weight(0.5)]) if len(classes) == 2 else scores
        if len(classes) == wide:
            return found
        least = self.add("ReduceMin", [found, self.whole(1)], keepdims=1)
        absent = self.add("Sub", [least, self.weight(ABSENT)])
        joined = self.add("Concat", [found, absent], axis=1)
        order = [classes.index(number) if number in classes else len(classes) for number in range(wide)]
        return self.add("Gather", [joined, self.whole(*order)], axis=1)

    def _label(self, estimator: Any, scores: str) -> str:
        """Return the logit (B, 1) of a label: log odds of a forest's votes, else the score of its presence."""
        yes, no = (self.add("Gather", [scores, self.whole(column)], axis=1) for column in (1, 0))
        trees = _num_trees(estimator)
        if trees is None:
            return yes
        count, half = self.weight(trees), self.weight(0.5)
        odds = [self.add("Add", [self.add("Mul", [share, count]), half]) for share in (yes, no)]
        return self.add("Log", [self.add("Div", odds)])

    def _constant(self, matrix: str, classes: list[int], wide: int, *, is_label: bool) -> str:
        """Return logits where the training records held one class."""
        row = np.full(wide, -ABSENT, np.float32)
        if is_label:
            row[:] = ABSENT if classes == [1] else -ABSENT
        else:
            row[classes] = 0.0
        first = self.add("Gather", [matrix, self.whole(0)], axis=1)
        return self.add("Add", [self.add("Mul", [first, self.weight(0.0)]), self.weight(row)])

    def estimator(self, estimator: Any, matrix: str, prefix: str) -> str:
        """Add what skl2onnx makes of an estimator; return the name of its scores, (B, classes)."""
        if is_boosted(estimator):
            return self._boosted(estimator, matrix, prefix)
        converter = require("skl2onnx", extra="export")
        types = require("skl2onnx.common.data_types", extra="export")
        import onnx

        options: dict[str, Any] = {"zipmap": False}
        if _num_trees(estimator) is None:
            options["raw_scores"] = True
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message=SHIFTED)
                made = converter.convert_sklearn(
                    estimator, initial_types=[("X", types.FloatTensorType([None, estimator.n_features_in_]))],
                    options={id(estimator): options}, target_opset={"": OPSET, "ai.onnx.ml": ML_OPSET},
                )  # fmt: skip
        except (RuntimeError, ValueError, TypeError, AttributeError, NotImplementedError) as error:
            raise ModelError(
                "an estimator that skl2onnx can write", got=f"{type(estimator).__name__}: {_short(error)}",
                where="ringlight models export", fix="serve the bundle itself, or train random_forest or a network",
            ) from error  # fmt: skip
        sub = onnx.compose.add_prefix(made, prefix).graph
        self.nodes.append(onnx.helper.make_node("Identity", [matrix], [f"{prefix}X"], name=f"{prefix}input"))
        self.nodes.extend(sub.node)
        self.weights.extend(sub.initializer)
        return str(sub.output[1].name)

    def _boosted(self, estimator: Any, matrix: str, prefix: str) -> str:
        """Add boosted trees; of two classes they have one score, whose opposite stands beside it as elsewhere."""
        found = f"{prefix}scores"
        self.nodes.append(boosted_trees(estimator, matrix, found, name=f"{prefix}trees"))
        if len(estimator.classes_) > 2:
            return found
        return self.add("Concat", [self.add("Neg", [found]), found], axis=1)

    def calibrated(self, bundle: Bundle) -> str:
        """Add calibrated probabilities behind the logits; return their name."""
        calibrator = Calibration.from_dict(bundle.calibration).calibrator if bundle.calibration else Calibrator()
        scaled = self.add("Mul", [LOGITS, self.weight(calibrator.scale)])
        moved = self.add("Add", [scaled, self.weight(calibrator.offset or (0.0,))])
        if bundle.task == "multilabel":
            return self.add("Sigmoid", [moved], PROBABILITIES)
        return self.add("Softmax", [moved], PROBABILITIES, axis=1)


def _num_trees(estimator: Any) -> int | None:
    """Return the number of trees of a forest, whose scores are votes; None of anything else."""
    trees = getattr(estimator, "estimators_", None)
    return None if trees is None else len(trees)


def _short(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:120] if lines else type(error).__name__
