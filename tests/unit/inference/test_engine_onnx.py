"""Engines that run a file: the same scores as by hand, and one line for what does not fit."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from ringlight.data.preprocess import InputSpec, prepare
from ringlight.errors import BundleError, DataError, MissingExtraError, UserError
from ringlight.inference.engine_onnx import OnnxEngine
from ringlight.inference.export_files import Inside
from small_onnx import records, write_net

WEIGHT = np.arange(12, dtype=np.float32).reshape(4, 3)
SPEC = InputSpec(1, (2, 2), mean=(0.0,), std=(1.0,))


def write_model(path: Path, *, name: str = "input", output: str = "logits", features: bool = True) -> Path:
    """Write logits = flattened input times WEIGHT; `pixels` are divided by 255 first."""
    raw = name == "pixels"
    kind, shape = (TensorProto.UINT8, ["batch", 2, 2, 1]) if raw else (TensorProto.FLOAT, ["batch", 1, 2, 2])
    nodes = [helper.make_node("Cast", [name], ["cast"], to=TensorProto.FLOAT)]
    nodes += [helper.make_node("Div", ["cast", "whole"], ["given"])] if raw else []
    nodes += [
        helper.make_node("Flatten", ["given" if raw else "cast"], ["features"], axis=1),
        helper.make_node("MatMul", ["features", "weight"], [output]),
    ]
    outputs = [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch", 3])]
    outputs += [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", 4])] * features
    weights = [numpy_helper.from_array(WEIGHT, "weight")]
    weights += [numpy_helper.from_array(np.float32(255), "whole")] * raw
    graph = helper.make_graph(nodes, "hand", [helper.make_tensor_value_info(name, kind, shape)], outputs, weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path


def openvino_engine(path: Path, **options: Any) -> Any:
    pytest.importorskip("openvino", reason="the extra `openvino` is not installed")
    from ringlight.inference.engine_openvino import OpenVinoEngine

    return OpenVinoEngine(path, **options)


ENGINES = [pytest.param(OnnxEngine, id="onnxruntime"), pytest.param(openvino_engine, id="openvino")]


@pytest.mark.parametrize("engine", ENGINES)
def test_scores_and_features_are_those_by_hand(engine: Any, tmp_path: Path) -> None:
    opened = engine(write_model(tmp_path / "model.onnx"), threads=1)
    for batch in (1, 3):
        inputs = np.random.default_rng(batch).normal(size=(batch, 1, 2, 2)).astype(np.float32)
        logits, features = opened.run(inputs)
        assert np.allclose(logits, inputs.reshape(batch, 4) @ WEIGHT, atol=1e-6)
        assert np.allclose(features, inputs.reshape(batch, 4))
    assert opened.name in ("onnxruntime", "openvino")


@pytest.mark.parametrize("engine", ENGINES)
def test_a_graph_that_takes_pixels_is_given_them(engine: Any, tmp_path: Path) -> None:
    opened = engine(write_model(tmp_path / "model.onnx", name="pixels", features=False), inside=Inside(SPEC))
    pixels = np.array([[[0], [51]], [[102], [255]]], np.uint8)
    logits, features = opened.run(prepare(pixels, SPEC).numpy()[None])
    assert np.allclose(logits, np.float32([[0, 0.2, 0.4, 1.0]]) @ WEIGHT, atol=1e-6)
    assert features is None
    assert list(opened.everything(prepare(pixels, SPEC).numpy()[None])) == ["logits"]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("shape", [(2, 1, 2, 3), (2, 3, 2, 2), (2, 2), (0, 1, 2, 2)])
def test_inputs_of_another_shape_are_told(engine: Any, shape: tuple[int, ...], tmp_path: Path) -> None:
    path = write_model(tmp_path / "model.onnx")
    with pytest.raises(DataError) as caught:
        engine(path).run(np.zeros(shape, np.float32))
    assert str(caught.value) == (
        f"{path}: expected inputs (B, 1, 2, 2), got shape {shape}; bring them to the size the model was exported for"
    )


@pytest.mark.parametrize("engine", ENGINES)
def test_another_graph_is_refused(engine: Any, tmp_path: Path) -> None:
    path = write_model(tmp_path / "model.onnx", output="scores")
    with pytest.raises(BundleError) as caught:
        engine(path)
    assert str(caught.value) == (
        f"{path}: expected one input `input`, `pixels` or `windows` and an output `logits`, "
        "got input -> scores, features; export the model again"
    )
    with pytest.raises(BundleError, match=r"expected an input as export\.json tells it, got `pixels`; open the folder"):
        engine(write_model(path, name="pixels"))


@pytest.mark.parametrize("engine", ENGINES)
def test_a_damaged_file_is_one_line(engine: Any, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"no model")
    with pytest.raises(BundleError, match=r"expected a model that .* can open, got .*; export the model again") as told:
        engine(path)
    assert "\n" not in str(told.value)


def test_a_precision_that_openvino_does_not_have_here(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="precision: expected f32 or bf16, got `f16`; did you mean `bf16`"):
        openvino_engine(write_model(tmp_path / "model.onnx"), precision="f16")


def test_weights_written_over_while_openvino_serves_change_nothing(tmp_path: Path) -> None:
    """OpenVINO maps the file by itself: a copy over it changed the scores, a shorter one ended the process."""
    openvino = pytest.importorskip("openvino", reason="the extra `openvino` is not installed")
    path = tmp_path / "model.xml"
    openvino.save_model(openvino.Core().read_model(write_net(tmp_path / "model.onnx")), path, compress_to_fp16=False)
    engine = openvino_engine(path, threads=1)
    first, _ = engine.run(records(4))
    weights = path.with_suffix(".bin")
    with weights.open("r+b") as file:
        file.write(bytes(weights.stat().st_size))
    second, _ = engine.run(records(4))
    np.testing.assert_array_equal(second, first)
    assert np.abs(first).max() > 0


def test_a_signal_after_engines_are_gone_ends_no_process(tmp_path: Path) -> None:
    """OpenVINO left a stack for signals that was unmapped: the next child that ended took the process along."""
    pytest.importorskip("openvino", reason="the extra `openvino` is not installed")
    program = (
        "import faulthandler, os, signal, sys\n"
        "from pathlib import Path\n"
        "from ringlight.inference.engine_openvino import OpenVinoEngine\n"
        "faulthandler.enable()\n"
        "signal.signal(signal.SIGUSR1, lambda *_: print('heard'))\n"
        "first, second = (OpenVinoEngine(Path(sys.argv[1])) for _ in range(2))\n"
        "del first\n"
        "del second\n"
        "os.kill(os.getpid(), signal.SIGUSR1)\n"
    )
    command = [sys.executable, "-c", program, str(write_model(tmp_path / "model.onnx"))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (0, "heard\n"), done.stderr


def test_openvino_that_is_not_installed_is_told_with_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ringlight.inference.engine_openvino import OpenVinoEngine

    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'ringlight\[openvino\]'"):
        OpenVinoEngine(write_model(tmp_path / "model.onnx"))
