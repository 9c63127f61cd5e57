"""INT8 by NNCF, of the same small network; left out where the extra is not installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ringlight.errors import MissingExtraError, ModelError
from ringlight.evaluation.score_error import centred, relative_error
from ringlight.inference.engine_onnx import open_session
from ringlight.inference.engine_openvino import OpenVinoEngine
from ringlight.inference.export_openvino import write_openvino
from ringlight.inference.quantize_openvino import quantize_openvino
from small_onnx import batches, records, write_net


@pytest.mark.slow
def test_nncf_quantises_and_openvino_scores_nearly_alike(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    pytest.importorskip("nncf")
    source = write_net(tmp_path / "model.onnx")
    found = quantize_openvino(source, tmp_path / "out" / "model.xml", batches(), threads=1)
    assert (found.num_calibration, found.weight_bits, len(found.kept_float)) == (32, 7, 1)
    assert found.drift < 0.05
    inputs = records(64, seed=9)
    scores, _ = OpenVinoEngine(found.path, threads=1).run(inputs)
    expected = open_session(source, threads=1).run(None, {"input": inputs})[0]
    assert relative_error(*(centred(one, "multiclass") for one in (expected, scores))) < 0.05
    written = tmp_path / "whole.xml"
    write_openvino(source, written, half=False)
    in_place = quantize_openvino(written, written, batches(), threads=1)
    np.testing.assert_allclose(OpenVinoEngine(in_place.path, threads=1).run(inputs)[0], scores, atol=1e-4)
    with pytest.raises(ModelError, match="keep_float: expected an operation of the model, got `n9`; "):
        quantize_openvino(source, tmp_path / "other.xml", batches(), keep_float=["n9"])


@pytest.mark.slow
def test_nncf_reports_nothing_to_its_makers() -> None:
    """A process of its own: under pytest it reports nothing anyway."""
    pytest.importorskip("nncf")
    code = (
        "import sys; from ringlight.inference.quantize_openvino import nncf_module; nncf_module();"
        "from nncf.telemetry import wrapper;"
        "print(isinstance(wrapper.telemetry, wrapper.NNCFTelemetryStub), 'openvino_telemetry' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=300)
    assert done.stdout.split() == ["True", "False"], done.stderr


def test_without_the_extra_its_name_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nncf", None)
    with pytest.raises(MissingExtraError, match=r"import nncf: expected the package nncf, .* install it with: pip"):
        quantize_openvino(tmp_path / "model.onnx", tmp_path / "model.xml", [])
