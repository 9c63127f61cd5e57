"""Bundles that earlier releases wrote, kept as files, load and score as they did."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from ringlight.inference.bundle import FORMAT_VERSION, read_bundle
from ringlight.inference.predictor import Predictor

KEPT = Path(__file__).resolve().parents[2] / "data" / "bundles"


def picture() -> np.ndarray:
    """The picture of `tests/data/bundles/make.py`."""
    rows, columns = np.mgrid[0:48, 0:40]
    return np.stack([rows * 5 % 256, columns * 6 % 256, (rows + columns) * 3 % 256], axis=-1).astype(np.uint8)


@pytest.mark.parametrize("version", range(1, FORMAT_VERSION))
def test_a_kept_bundle_of_every_earlier_format_loads_and_scores_as_it_did(tmp_path: Path, version: int) -> None:
    shutil.copy(KEPT / f"format{version}.json", tmp_path / "bundle.json")
    shutil.copy(KEPT / "model.safetensors", tmp_path)
    assert json.loads((tmp_path / "bundle.json").read_text("utf-8"))["format_version"] == version
    bundle, module = read_bundle(tmp_path)
    found = Predictor(bundle, module, device="cpu").predict(picture())
    expected = json.loads((KEPT / "scores.json").read_text("utf-8"))
    np.testing.assert_allclose(found.probabilities[0], expected, atol=1e-5)
    assert bundle.classes == ("good", "riß", "pore")
    assert (bundle.licence, bundle.snapshot, bundle.watch, bundle.reject_threshold) == (None, None, {}, None)
    assert found.verdicts == [None]
