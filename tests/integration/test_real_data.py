"""The recipes on real images: strips of which two classes have no example, and flat surfaces."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import ringlight as rl
from ringlight.services import runs
from ringlight.services.runs import Run

ONE_EPOCH = ("training.num_epochs=1", "training.device=cpu", "training.num_threads=1")
SMALL = (*ONE_EPOCH, "model.name=resnet10t", "data.batch_size=8")
CLASSES = ("defect_1", "defect_2", "defect_3", "defect_4")


@pytest.fixture(scope="module")
def strips(real_data: Any) -> list[str]:
    """25 real strips: 15 clean, 3 with defect 1, 7 with defect 3; the label file names 12,543 others."""
    root = real_data("severstal-sample")
    return [f"data.root={root}", "data.labels=image_labels_full.csv", "data.missing=skip", "loss.alpha=dynamic"]


def assert_the_bundle_predicts_the_same(run: Run, folder: Path, batch_size: int) -> None:
    table = pq.read_table(run.folder / "predictions.parquet").to_pydict()
    result = rl.load(run.folder / "bundle").predict([folder / key for key in table["id"]], batch_size=batch_size)
    expected = np.stack([table[f"probability/{name}"] for name in result.prediction.classes], axis=1)
    np.testing.assert_allclose(result.probabilities, expected, atol=1e-5)


def assert_absent_classes_are_said(run: Run) -> None:
    """No example is no score: null in the JSON with a note, never NaN, and no class is left out in silence."""
    results = json.loads((run.folder / "results.json").read_text(), parse_constant=pytest.fail)
    assert results["dataset"]["class_counts"] == dict(zip(CLASSES, (3, 0, 7, 0), strict=True))
    # alpha_c = 1 - freq_c / total in the training part: 1 for a class without labels.
    counts = results["split"]["parts"]["train"]["class_counts"]
    total = sum(counts.values())
    assert results["loss"]["alpha"] == pytest.approx([1 - counts[name] / total for name in CLASSES])
    assert results["loss"]["alpha"][1] == results["loss"]["alpha"][3] == 1.0
    assert math.isfinite(results["history"][0]["train/loss"])
    notes = "\n".join(results["notes"])
    for name in ("defect_2", "defect_4"):
        assert f"class `{name}`: expected at least 2 records" in notes
        assert f"`{name}`" in "\n".join(results["test"]["notes"])
        scores = results["test"]["per_class"][name]
        assert scores["support"] == 0
        assert scores["auroc"] is None
        assert scores["ap"] is None
    assert "12543" in notes
    assert 0 <= results["test"]["scalars"]["macro_f1"] <= 1


def test_strips_of_which_two_classes_have_no_example_train(strips: list[str], real_data: Any, tmp_path: Path) -> None:
    run = runs.train("severstal", [*strips, *SMALL, "data.image_size=[32,200]"], workspace=tmp_path)
    assert_absent_classes_are_said(run)
    assert_the_bundle_predicts_the_same(run, real_data("severstal-sample") / "images", 8)


@pytest.mark.slow
def test_the_recipe_severstal_trains_at_full_size(strips: list[str], real_data: Any, tmp_path: Path) -> None:
    run = runs.train("severstal", [*strips, *ONE_EPOCH, "data.batch_size=2"], workspace=tmp_path)
    assert run.results["model"]["name"] == "convnext_tiny_cbam"
    assert 27e6 < run.results["model"]["num_parameters"] < 29e6
    assert run.results["model"]["input"]["image_size"] is None
    assert_absent_classes_are_said(run)
    assert_the_bundle_predicts_the_same(run, real_data("severstal-sample") / "images", 2)


def test_flat_surfaces_named_by_class_train(real_data: Any, tmp_path: Path) -> None:
    """Of each of NEU's six classes twelve images, linked: the archive itself stays as it is."""
    images = tmp_path / "few"
    images.mkdir()
    for name in ("crazing", "inclusion", "patches", "pitted_surface", "rolled-in_scale", "scratches"):
        for number in range(1, 13):
            (images / f"{name}_{number}.jpg").symlink_to(real_data("neu-det") / "images" / f"{name}_{number}.jpg")
    run = runs.train("neu", [f"data.root={images}", *SMALL, "data.image_size=32"], workspace=tmp_path)
    assert set(run.results["dataset"]["class_counts"].values()) == {12}
    assert run.results["judged_part"] == "test"
    assert_the_bundle_predicts_the_same(run, images, 8)


def test_every_real_label_row_is_counted_and_split(real_data: Any, tmp_path: Path) -> None:
    from ringlight.services.datasets import open_data

    opened = open_data(str(real_data("severstal-sample") / "image_labels_full.csv"))
    assert opened.dataset.class_counts() == dict(zip(CLASSES, (897, 247, 5150, 801), strict=True))
    assert opened.statistics().label_combinations["defect_2 + defect_4"] == 1
    split = opened.split(tmp_path / "split.csv")
    with (tmp_path / "split.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len({row["id"] for row in rows}) == len(rows) == 12568
    whole = opened.dataset.label_matrix().mean(0)
    for part in split.parts().values():
        assert np.abs(opened.dataset.take(part).label_matrix().mean(0) - whole).max() < 0.005
