"""`loss=evidential` from a configuration to predictions that tell how much evidence there is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from ringlight.cli.main import app
from ringlight.errors import ConfigError
from ringlight.services import runs
from ringlight.services.model_places import load_model
from ringlight.services.runs import Run

SMALL = (
    "data.image_size=32", "data.batch_size=8", "data.num_workers=0", "data.cache=off", "augmentation=none",
    "split.groups=none", "split.leak_probe=false", "model.name=resnet10t", "model.pretrained=false",
    "training.num_epochs=2", "training.device=cpu", "training.num_threads=1", "training.precision=32",
    "training.memory_format=contiguous", "scheduler.warmup_epochs=0", "evaluation.num_resamples=100",
    "evaluation.num_mistakes=0", "loss=evidential",
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, make_image: Callable[..., Path]) -> Path:
    root = tmp_path_factory.mktemp("evidential") / "tiles"
    for place, name in enumerate(("dark", "middle", "bright")):
        for index in range(14):
            make_image(root / name / f"{index}.png", brightness=50.0 + 75 * place, seed=100 * place + index)
    return root


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> Run:
    workspace = tmp_path_factory.mktemp("evidential") / "workspace"
    return runs.train("folder", [*SMALL, f"data.root={folder}"], workspace=workspace)


def test_it_is_saved_with_its_head_and_predicts_with_an_uncertainty(run: Run, folder: Path, own_logging: None) -> None:
    index = json.loads((run.folder / "bundle" / "bundle.json").read_text())
    assert index["architecture"]["head"] == {"name": "evidential", "of": {"name": "linear", "bias": True}}
    assert yaml.safe_load((run.folder / "config.yaml").read_text())["loss"]["name"] == "evidential"
    done = CliRunner().invoke(app, ["predict", str(run.folder), str(folder / "dark"), "--json"])
    assert done.exit_code == 0, done.output
    rows = json.loads(done.stdout)
    assert len(rows) == 14
    for row in rows:
        assert set(row) >= {"id", "labels", "dark", "middle", "bright", "uncertainty"}
        assert 0 < row["uncertainty"] <= 1
    loaded = load_model(run.folder).predict(folder / "dark" / "0.png")
    assert loaded.uncertainties is not None
    assert (loaded.prediction.logits >= 0).all(), "alpha is 1 or more"
    np.testing.assert_allclose(loaded.uncertainties, 3 / np.exp(loaded.prediction.logits.astype(float)).sum(axis=1))


def test_a_head_on_frozen_features_gives_no_evidence_and_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        runs.train("folder", [*SMALL, f"data.root={folder}", "training.mode=frozen"], workspace=tmp_path)
    assert str(caught.value) == (
        "training.mode: expected finetune for loss `evidential`, got frozen; set training.mode=finetune, or "
        "loss=cross_entropy"
    )
