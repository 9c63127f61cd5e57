"""A run from a recipe to its folder: what is there, what it says; the saved model gives the run's own scores."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from sklearn.metrics import f1_score

import ringlight as rl
from ringlight.config.load import read_config
from ringlight.services.runs import Run


def test_the_folder_holds_what_the_reference_lists_and_no_litter(finished: Run) -> None:
    names = {str(path.relative_to(finished.folder)) for path in finished.folder.rglob("*") if path.is_file()}
    fixed = {
        "config.yaml", "split.csv", "manifest.json", "train.log", "history.csv", "results.json", "predictions.parquet",
        "report.html", "report.json", "report.md", "metrics.csv", "per_class.csv", "confusion.csv",
        "figures/confusion.png", "figures/per_class.png", "figures/history.png", "figures/roc_pr.png",
        "figures/reliability.png", "figures/operating.png", "figures/reject.png", "figures/energy.png",
        "mistakes/mistake-01.png", "bundle/bundle.json",
        "bundle/model.safetensors", "checkpoints/last.ckpt",
    }  # fmt: skip
    assert fixed <= names
    rest = {name for name in names - fixed if not name.startswith("evaluations/")}  # other tests judge it again
    assert sum(name.startswith("checkpoints/best_epoch00") and "_macro_f1_" in name for name in rest) == 1
    assert all(name.startswith(("checkpoints/best_", "logs/", "mistakes/")) for name in rest)
    assert not [name for name in names if name.endswith(".part")]


def test_results_agree_with_the_files_beside_them(finished: Run) -> None:
    results = json.loads((finished.folder / "results.json").read_text(encoding="utf-8"))
    assert results == json.loads(json.dumps(finished.results))
    assert results["schema_version"] == 2
    with (finished.folder / "history.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [float(row["train/loss"]) for row in rows] == [row["train/loss"] for row in results["history"]]
    with (finished.folder / "split.csv").open() as stream:
        parts = [row["split"] for row in csv.DictReader(stream)]
    assert {name: parts.count(name) for name in set(parts)} == {
        name: part["num_records"] for name, part in results["split"]["parts"].items()
    }
    manifest = json.loads((finished.folder / "manifest.json").read_text())
    assert manifest["status"] == "completed"
    assert manifest["dataset_fingerprint"] == results["dataset"]["fingerprint"]
    assert manifest["num_threads"] == results["environment"]["num_threads"] == 1


def test_scores_of_the_test_part_are_scikit_learns(finished: Run) -> None:
    table = pq.read_table(finished.folder / "predictions.parquet").to_pydict()
    classes = finished.results["dataset"]["classes"]
    scores = np.stack([table[f"probability/{name}"] for name in classes], axis=1)
    truth = np.array([[int(k in row) for k in range(len(classes))] for row in table["truth"]])
    expected = f1_score(truth, scores >= 0.5, average="macro", zero_division=0)
    assert finished.results["test"]["scalars"]["macro_f1"] == pytest.approx(expected, abs=1e-9)


def test_the_loaded_model_gives_the_runs_own_test_scores(finished: Run, shared_root: Path) -> None:
    """A peer's exported model scored otherwise than the trained one: sizes, colours or modes had changed in between."""
    table = pq.read_table(finished.folder / "predictions.parquet").to_pydict()
    files = {path.stem: path for path in shared_root.rglob("*") if path.is_file()}
    paths = [files[key] for key in table["id"]]
    result = rl.load(finished).predict(paths, batch_size=8)
    expected = np.stack([table[f"probability/{name}"] for name in result.prediction.classes], axis=1)
    np.testing.assert_allclose(result.probabilities, expected, atol=1e-5)


def test_the_bundle_says_how_good_the_model_is_and_what_it_saw(finished: Run) -> None:
    bundle, test = rl.load(finished).bundle, finished.results["test"]
    assert bundle.metrics["part"] == finished.results["judged_part"]
    for key in ("scalars", "per_class", "intervals", "operating_point", "plant"):
        assert bundle.metrics[key] == test[key], key
    assert bundle.metrics["intervals"]["scalars"]
    name, _, digits = str(bundle.snapshot).partition("@")
    data = finished.results["dataset"]
    assert (name, digits) == (data["name"], data["fingerprint"][:16])
    assert (finished.folder.parents[1] / "snapshots" / f"{digits}.parquet").is_file()
    assert bundle.licence is None, "random weights are the user's own"


def test_the_bundle_holds_the_best_weights(finished: Run) -> None:
    best = next((finished.folder / "checkpoints").glob("best_*.ckpt"))
    epoch = int(best.name.removeprefix("best_epoch")[:3])
    assert epoch == finished.results["best"]["epoch"]
    state = torch.load(best, weights_only=True)["state_dict"]
    loaded = rl.load(finished.folder).module.state_dict()
    assert all(torch.equal(state[f"module.{name}"], tensor) for name, tensor in loaded.items())


def test_config_yaml_has_no_open_choice(finished: Run) -> None:
    config = read_config(finished.folder / "config.yaml")
    values = config.model_dump()
    open_choices = [
        f"{section}.{key}"
        for section, keys in values.items()
        if isinstance(keys, dict) and section not in ("cv", "tune")  # of studies of the recipe, not of this run
        for key, value in keys.items()
        if value == "auto" or value == "dynamic"
    ]
    assert open_choices == []
    assert config.schema_version == 1
    assert config.model.num_classes == 4
    assert len(config.loss.params()["alpha"]) == 4


def test_tensorboard_holds_scalars_pictures_and_hyper_parameters(finished: Run) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(finished.folder / "logs"))
    events.Reload()
    tags = events.Tags()
    assert {"train/loss", "val/loss", "val/macro_f1", "lr", "val/recall/defect_1"} <= set(tags["scalars"])
    assert {"test/confusion", "test/reliability"} <= set(tags["images"])
    assert (finished.folder / "logs" / "hparams").is_dir()


def test_the_log_says_device_and_weights(finished: Run) -> None:
    log = (finished.folder / "train.log").read_text()
    assert "device cpu (asked for), precision 32" in log
    assert "epoch 2/2" in log
    assert "random weights" in log


def test_runs_are_read_and_compared(finished: Run) -> None:
    results = rl.load_results(str(finished.folder.parent / "*" / "results.json"))
    assert [run["run"] for run in results] == [finished.folder.name]
    table = rl.compare_results(results)
    assert table.to_dicts()[0]["macro_f1"] == finished.results["test"]["scalars"]["macro_f1"]
    assert finished.folder.name in str(table)


def test_the_confusion_matrix_of_validation_comes_every_n_epochs(train_small: Callable[..., Run]) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = train_small("training.num_epochs=5", "training.confusion_every_n_epochs=2")
    events = EventAccumulator(str(run.folder / "logs"))
    events.Reload()
    for name in ("val/confusion", "val/samples"):
        assert [event.step for event in events.Images(name)] == [1, 3]  # after the second and the fourth epoch


def test_the_manifest_says_what_the_promise_rests_on(finished: Run) -> None:
    manifest = json.loads((finished.folder / "manifest.json").read_text())
    assert (manifest["device"], manifest["precision"], manifest["num_threads"]) == ("cpu", "32", 1)
    assert manifest["versions"]["torch"] == finished.results["environment"]["versions"]["torch"] != "not installed"
    assert "1 thread(s): identical history and weights" in manifest["reproducibility"]


def test_the_loss_of_the_test_part_is_recorded(finished: Run) -> None:
    assert 0 < finished.results["test"]["loss"] < 10
