"""From a run to an INT8 model, as a user does it: judged by rules of its own, refused or written."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest

from ringlight.cli.main import main
from ringlight.inference.predictor import Predictor
from ringlight.services.runs import Run


@pytest.mark.slow
def test_a_run_becomes_an_int8_model_with_its_own_rules(
    finished: Run, shared_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A handful of validation records cannot rule out a loss: nothing is written until the user says that it may be."""
    out = tmp_path / "out"
    asked = ["models", "export", str(finished.folder), "--int8", "--out", str(out)]
    assert main(asked) == 2
    refusal = capsys.readouterr().err
    assert "--int8: expected an INT8 model as good as its original, got " in refusal
    assert refusal.count("\n") == 1
    assert not out.exists()
    lenient = ["--max-loss", "1", "--accept-undecided"]
    assert main([*asked, *lenient, "--max-drift", "1e-6"]) == 2
    refusal = capsys.readouterr().err
    assert "the bound is 0.0001 %; the worst layers by themselves: " in refusal
    worst = refusal.partition("by themselves: ")[2].partition(" (")[0]
    assert main([*asked, *lenient, "--keep-float", worst, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["precision"] == "int8"
    assert told["int8"]["quantized"]["weight_bits"] == 7
    assert worst in told["int8"]["quantized"]["kept_float"]
    index = json.loads((out / "export.json").read_text(encoding="utf-8"))
    assert index["operating_points"].keys() == finished_points(finished).keys()
    model = onnx.load(out / "model.onnx")
    assert any(node.op_type == "QuantizeLinear" for node in model.graph.node)
    images = sorted(path for path in shared_root.rglob("*") if path.suffix in (".png", ".jpg"))[:3]
    assert len(Predictor.from_path(out).predict(images).labels) == 3


def finished_points(run: Run) -> dict[str, object]:
    points: dict[str, object] = json.loads((run.folder / "bundle" / "bundle.json").read_text(encoding="utf-8"))[
        "operating_points"
    ]
    return points
