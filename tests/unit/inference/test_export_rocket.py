"""MiniRocket and MultiRocket inside a graph: sktime's features, a naive loop's, and the same scores without sktime."""

from __future__ import annotations

import json
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from ringlight.data.window_spec import WindowSpec
from ringlight.errors import DataError
from ringlight.inference.bundle import Bundle
from ringlight.inference.export import ExportOptions, export_model
from ringlight.inference.export_nodes import Nodes
from ringlight.inference.export_parity import Sample
from ringlight.inference.export_rocket import rocket_features
from ringlight.inference.predictor import Predictor
from ringlight.models import build_sequence_model
from ringlight.models.rocket import KernelSet

pytest.importorskip("skl2onnx", reason="the extra `export` is not installed")
pytest.importorskip("numba", reason="the extra `signals` is not installed")
pytest.importorskip("sktime", reason="the extra `signals` is not installed")

NAMES = ("minirocket", "multirocket")
LABELS = np.arange(45) % 3


def windows(length: int) -> np.ndarray:
    """Windows (45, 3, T) of tones of three periods in channels of different units; the last window stands still."""
    rng = np.random.default_rng(0)
    period = np.array([4.0, 8.0, 16.0])[LABELS][:, None, None]
    tone = np.sin(2 * np.pi * np.arange(length) / period + rng.uniform(0, 6, (45, 1, 1)))
    found = (tone + rng.normal(0, 0.3, (45, 3, length))) * np.array([1e-3, 1, 50])[:, None] + 7
    found[-1] = 7
    return found.astype(np.float32)


def fitted(name: str, length: int, task: Any = "multiclass", num_kernels: int = 168, classes: int = 3) -> Any:
    module = build_sequence_model(
        name, num_classes=classes, in_chans=3, length=length, task=task, params={"num_kernels": num_kernels}
    ).module
    given = torch.from_numpy(windows(length))
    module.prepare(given)
    targets = LABELS % classes if task == "multiclass" else np.eye(3, dtype=int)[LABELS]
    module.fit_features(module.describe(given).numpy(), targets)
    return module


def computed(module: Any, given: np.ndarray) -> np.ndarray:
    """Return the features that the graph alone computes."""
    from onnxruntime import InferenceSession

    nodes = Nodes()
    name = rocket_features(nodes, module, "input")
    taken = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", *given.shape[1:]])
    given_back = helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", None])
    graph = helper.make_graph(nodes.nodes, "features", [taken], [given_back], nodes.weights)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(made, full_check=True)
    (found,) = InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"]).run(
        None, {"input": given}
    )
    return np.asarray(found)


def walked(series: np.ndarray, kernels: KernelSet, biases_of: int, *, late: int) -> list[list[float]]:
    """Return proportion, longest stretch, mean and mean place of one window (C, T), feature by feature, in loops."""
    long, rows, combination, begin, first = series.shape[1], [], 0, 0, 0
    for number, (dilation, wide) in enumerate(zip(kernels.dilations, kernels.features_of, strict=True)):
        for kernel, chosen in enumerate(combinations(range(9), 3)):
            count = kernels.channels_of[combination]
            channels = kernels.channels[first : first + count]
            first, combination = first + count, combination + 1
            values = []
            for t in range(long):
                total = 0.0
                for tap in range(9):
                    at = t + (tap - 4) * dilation + (late if tap < 4 else 0)
                    if 0 <= at < long:
                        total += (2 if tap in chosen else -1) * float(series[channels, at].sum())
                values.append(total)
            if (number + kernel) % 2:
                values = values[4 * dilation : long - 4 * dilation]
            for bias in kernels.biases[begin : begin + wide]:
                above = [t for t, value in enumerate(values) if value > bias]
                ends = [0, *(t for t, value in enumerate(values) if value < bias), len(values) - 1]
                rows.append(
                    [
                        len(above) / len(values),
                        max(later - earlier for earlier, later in pairwise(ends)),
                        sum(values[t] + float(bias) for t in above) / len(above) if above else 0,
                        sum(above) / len(above) if above else -1,
                    ][:biases_of]
                )
            begin += wide
    return rows


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("length", [8, 9, 10, 17, 100])
def test_features_are_sktimes(name: str, length: int) -> None:
    module, given = fitted(name, length), windows(length)
    expected = module.describe(torch.from_numpy(given)).numpy()
    found = computed(module, given)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)  # means are added up in another order
    if name == "minirocket":
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", NAMES)
def test_features_are_those_of_a_naive_loop(name: str) -> None:
    module = fitted(name, 41)
    given = windows(41)[:2] + np.random.default_rng(1).normal(0, 0.2, (2, 3, 41)).astype(np.float32)
    standard = (given - module.mean.numpy()[:, None]) / module.std.numpy()[:, None]
    sets = module.kernel_sets
    for row, series in zip(computed(module, given), standard, strict=True):
        kinds = 1 if name == "minirocket" else 4
        expected = [np.array(walked(series, sets[0], kinds, late=0)).T.ravel()]
        if name == "multirocket":
            first = sets[0].channels[: sets[0].channels_of[0]]  # sktime's fault, which the model was trained with
            count = 84 * len(sets[1].dilations)
            shared = sets[1]._replace(channels_of=np.full(count, len(first)), channels=np.tile(first, count))
            expected.append(np.array(walked(np.diff(series), shared, kinds, late=1)).T.ravel())
        np.testing.assert_allclose(row, np.concatenate(expected), rtol=1e-4, atol=1e-4)


def sample(length: int, task: str, classes: int) -> Sample:
    given = windows(length)
    targets = LABELS % classes if task == "multiclass" else np.eye(3, dtype=int)[LABELS]
    return Sample(
        ids=[f"w{row}" for row in range(45)], targets=targets, source="windows",
        batches=lambda: iter([given[:20], given[20:]]),
    )  # fmt: skip


def exported(name: str, module: Any, out: Path, length: int, task: Any = "multiclass", classes: int = 3) -> Any:
    bundle = Bundle(
        architecture={"name": name, "in_chans": 3, "drop_rate": 0.0, "params": {"num_kernels": 168}}, task=task,
        classes=tuple("abc"[:classes]), input_spec=WindowSpec(("p", "q", "r"), length, normalize="none"),
    )  # fmt: skip
    options = ExportOptions(format="onnx", calibrated=True)
    return bundle, export_model(bundle, module, sample(length, task, classes), out, options)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("task", "classes"), [("multiclass", 3), ("multiclass", 2), ("multilabel", 3)])
def test_it_leaves_as_windows_to_scores(
    name: str, task: Any, classes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = fitted(name, 60, task, classes=classes)
    bundle, made = exported(name, module, tmp_path / "out", 60, task, classes)
    assert made.facts["input"] == "input"
    assert made.facts["parity"]["label_agreement"] == 1
    expected = Predictor(bundle, module, device="cpu").predict(windows(60).transpose(0, 2, 1))
    monkeypatch.setattr(type(module), "describe", None)  # sktime is not asked any more
    found = Predictor.from_path(tmp_path / "out").predict(windows(60).transpose(0, 2, 1))
    assert np.abs(found.probabilities - expected.probabilities).max() < 1e-5
    assert json.loads((tmp_path / "out" / "export.json").read_text())["export"]["input"] == "input"


def test_windows_of_another_length_are_told(tmp_path: Path) -> None:
    exported("minirocket", fitted("minirocket", 60), tmp_path / "out", 60)
    engine = Predictor.from_path(tmp_path / "out").engine
    with pytest.raises(DataError, match=r"expected inputs \(B, 3, 60\), got shape \(1, 3, 61\)"):
        engine.run(np.zeros((1, 3, 61), np.float32))
