"""Every shipped recipe trains, with its own model and loss, on fake data of its format; one epoch at a tiny size."""

from __future__ import annotations

import json
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ringlight as rl
from ringlight.cli.main import main
from ringlight.config.load import recipe_names
from ringlight.data.window_spec import WindowSpec
from ringlight.services import runs

FAKE = Path(__file__).parents[1] / "data"


def fake(format_name: str, function: str = "make") -> Callable[..., None]:
    """Return a function of `tests/data/<format>/make.py`."""
    made: dict[str, Any] = runpy.run_path(str(FAKE / format_name / "make.py"))
    return made[function]  # type: ignore[no-any-return]


def strips(root: Path) -> list[str]:
    fake("severstal")(root)
    return [f"data.root={root}", "data.image_size=[32,64]"]


def drawn(root: Path) -> list[str]:
    return [f"data.root={root}", "data.num_images=12", "data.height=32", "data.width=64", "data.image_size=null"]


def folders(root: Path) -> list[str]:
    fake("folder")(root)
    return [f"data.root={root}", "data.image_size=32"]


def flat(root: Path) -> list[str]:
    fake("folder", "make_flat")(root)
    # A machine without the package of weights trains from random ones here.
    return [f"data.root={root}", "data.image_size=32", "model.pretrained=auto"]


def frozen(root: Path) -> list[str]:
    # A machine without the package of weights fits the head to random features here.
    return [*folders(root), "model.pretrained=auto"]


def tiles(root: Path) -> list[str]:
    # The recipe reads JPEG alone, as masks lie beside the tiles as PNG.
    fake("folder")(root)
    for path in [path for path in root.rglob("*") if path.suffix.lower() == ".png" and path.is_file()]:
        path.rename(path.with_suffix(".jpg"))
    return [f"data.root={root}", "data.image_size=32", "model.pretrained=auto"]


def parts_with_good(root: Path) -> list[str]:
    fake("folder")(root)
    name = sorted(path.name for path in root.iterdir() if path.is_dir())[0]
    (root / name).rename(root / "PASS")
    return [f"data.root={root}", "data.image_size=32"]


def table(root: Path) -> list[str]:
    fake("table")(root)
    return [f"data.root={root}", "data.file=labels.csv", "data.image_size=32", "split.strategy=stratified_80_20"]


def rig(_: Path) -> list[str]:
    return ["data.num_windows=48", "data.length=64", "data.windows_per_recording=2"]


def windows(folder: Path) -> list[str]:
    """Write 36 windows of two channels whose classes have frequencies of their own, two windows a recording."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    y = np.arange(36) // 2 % 3
    time = np.arange(64)
    waves = np.sin(2 * np.pi * (0.05 + 0.08 * y)[:, None] * time + rng.uniform(0, 6, (36, 1)))
    X = waves[..., None] + rng.normal(0, 0.3, (36, 64, 2))  # noqa: N806
    np.savez(folder / "w.npz", X=X.astype(np.float32), y=y, group=np.arange(36) // 2, class_names=["a", "b", "c"])
    return [f"data.root={folder / 'w.npz'}"]


def cifar(root: Path) -> list[str]:
    fake("cifar")(root)
    return [f"data.root={root}", "data.image_size=32"]


def phases(root: Path) -> list[str]:
    short = [f"{phase}.num_epochs=1" for phase in ("supcon", "margin", "distill")]
    return [*folders(root), "model.pretrained=false", "evaluation.num_resamples=100", *short]


CASES: dict[str, Callable[[Path], list[str]]] = {
    "air_leak": rig,
    "cifar100": cifar,
    "defect_classifier": parts_with_good,
    "demo": drawn,
    "folder": folders,
    "frozen": frozen,
    "magnetic_tile": tiles,
    "metric_learning": phases,
    "neu": flat,
    "neu_lite0": flat,
    "severstal": strips,
    "strips": drawn,
    "table": table,
    "view_classifier": folders,
    "windows": windows,
    "windows_features": windows,
}
TINY = (
    "data.batch_size=4",
    "training.num_epochs=1",
    "training.device=cpu",
    "training.num_threads=1",
)


def test_every_recipe_has_a_case() -> None:
    assert sorted(CASES) == recipe_names()


@pytest.mark.parametrize("recipe", sorted(CASES))
def test_a_recipe_trains_judges_saves_and_predicts(recipe: str, tmp_path: Path) -> None:
    overrides = [*CASES[recipe](tmp_path / "data"), *TINY]
    run = runs.train(recipe, overrides, workspace=tmp_path / "ws")
    assert run.results["recipe"] == recipe
    assert len(run.results["history"]) == max(1, len(run.results["phases"]))
    assert np.isfinite(run.results["history"][0]["train/loss"])
    assert 0 <= run.results["test"]["scalars"]["macro_f1"] <= 1
    spec = rl.load(run).bundle.input_spec
    given = np.zeros((40, 70, 3), np.uint8)
    if isinstance(spec, WindowSpec):
        given = np.zeros((1, spec.length, spec.in_chans), np.float32)
    result = rl.load(run).predict(given)
    assert result.probabilities.shape == (1, len(run.results["dataset"]["classes"]))
    assert np.isfinite(result.probabilities).all()


def test_the_documented_strip_training_runs_as_written_where_the_data_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As typed in a project that keeps `data/images` and `data/annotations`; the dry run does all but the epochs."""
    fake("severstal")(tmp_path / "data", "supervisely")
    monkeypatch.chdir(tmp_path)
    command = (
        "train severstal model.name=convnext_tiny_cbam loss.name=focal_loss loss.alpha=dynamic loss.gamma=2.0 "
        "data.batch_size=4 training.num_epochs=50 training.early_stopping_patience=15 "
        "split.strategy=stratified_80_10_10 experiment.seed=42 --dry-run --json"
    )
    assert main(command.split()) == 0
    seen = json.loads(capsys.readouterr().out)
    assert seen["config"]["data"]["root"] == str(tmp_path / "data")
    assert seen["model"]["num_parameters"] == pytest.approx(28e6, rel=0.02)
    assert seen["split"]["strategy"] == "stratified_80_10_10"
    assert not (tmp_path / "workspace" / "runs").exists()


def test_trees_take_several_labels_a_window_without_a_word_about_the_loss(tmp_path: Path) -> None:
    """Nothing is trained by the loss of a recipe of trees, and yet its cross-entropy refused multi-label data."""
    rng = np.random.default_rng(0)
    y = (rng.random((60, 2)) < 0.5).astype(int)
    X = (rng.normal(size=(60, 16, 2)) + 2 * y[:, None]).astype(np.float32)  # noqa: N806
    np.savez(tmp_path / "w.npz", X=X, y=y, class_names=["a", "b"])
    overrides = [f"data.root={tmp_path / 'w.npz'}", "split.groups=none", "model.n_estimators=20", *TINY]
    run = runs.train("windows_features", overrides, workspace=tmp_path / "ws")
    assert run.results["loss"]["name"] == "bce_with_logits"
    assert run.results["test"]["scalars"]["macro_f1"] > 0.8
