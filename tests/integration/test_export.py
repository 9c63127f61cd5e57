"""From a run to a folder for another runtime, as a user does it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ringlight.cli.main import main
from ringlight.inference.predictor import Predictor
from ringlight.services.model_places import load_model
from ringlight.services.runs import Run

PROJECT = Path(__file__).resolve().parents[2]
NEEDED = ("numpy", "onnxruntime", "PIL", "flatbuffers", "google", "packaging", "sympy", "mpmath")
"""Packages that ONNX Runtime, NumPy and Pillow bring, and nothing else of this environment."""
REFUSED = ("torch", "ringlight", "timm", "cv2", "onnx", "lightning")


def test_a_run_is_exported_checked_and_predicts_as_before(
    finished: Run, shared_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    workspace = finished.folder.parent.parent
    options = [
        "--format",
        "torchscript",
        "--raw-input",
        "--calibrated",
        "--out",
        str(out),
        "--workspace",
        str(workspace),
    ]
    assert main(["models", "export", str(finished.folder), *options]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith(f"{out}/model.ts: torchscript, f32, ")
    assert said[1] == "pixels -> logits, probabilities"
    assert said[2].startswith("checked on ")
    assert f"({finished.folder.name}, val)" in said[2]
    assert said[4].endswith("100.00% alike")
    images = sorted(path for path in shared_root.rglob("*") if path.suffix in (".png", ".jpg"))
    assert images
    expected = load_model(finished.folder).predict(images[:6])
    found = Predictor.from_path(out).predict(images[:6])
    assert np.allclose(found.probabilities, expected.probabilities, atol=1e-5)
    assert found.labels == expected.labels


def test_what_cannot_be_exported_is_one_line(finished: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "export", str(finished.folder), "--format", "tflite", "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert main(["models", "export", str(finished.folder), "--fp16", "--bf16"]) == 2
    assert "expected one of --fp16 and --bf16, got both" in capsys.readouterr().err
    assert not any(tmp_path.iterdir())


@pytest.mark.slow
def test_the_onnx_file_runs_where_neither_ringlight_nor_torch_is(
    finished: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A process of its own, which finds NumPy, ONNX Runtime and Pillow and whose imports of anything of ours fail."""
    out, place = tmp_path / "out", tmp_path / "site"
    options = ["--raw-input", "--calibrated", "--json", "--out", str(out)]
    assert main(["models", "export", str(finished.folder), *options]) == 0
    assert json.loads(capsys.readouterr().out)["parity"]["label_agreement"] == 1
    place.mkdir()
    packages = Path(np.__file__).parents[1]
    for name in (*NEEDED, "numpy.libs", "pillow.libs"):
        if (packages / name).exists():
            (place / name).symlink_to(packages / name)
    height, width = load_model(finished.folder).bundle.input_spec.image_size
    picture = tmp_path / "part.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width), dtype=np.uint8)).save(picture)
    program = (
        "import sys, runpy, importlib.util\n"
        f"sys.path.append({str(place)!r})\n"
        f"assert all(importlib.util.find_spec(name) is None for name in {REFUSED!r})\n"
        f"sys.argv = ['run_onnx.py', {str(out)!r}, {str(picture)!r}]\n"
        f"runpy.run_path({str(PROJECT / 'examples' / 'run_onnx.py')!r}, run_name='__main__')\n"
        f"assert not set({REFUSED!r}) & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    expected = load_model(finished.folder).predict([picture])
    assert told["labels"] == expected.labels[0]
    for name, value in zip(expected.prediction.classes, expected.probabilities[0], strict=True):
        assert told["probabilities"][name] == pytest.approx(value, abs=1e-5)
