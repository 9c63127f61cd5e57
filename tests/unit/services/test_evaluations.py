"""A saved model judged again: what is refused before anything is computed, and what a bundle alone can be judged on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from sklearn.metrics import accuracy_score

from ringlight.data.loader import make_loader
from ringlight.data.preprocess import InputSpec
from ringlight.errors import BundleError, ConfigError, DataError, RunError
from ringlight.evaluation.thresholds import OperatingPoint
from ringlight.inference.bundle import Bundle, read_bundle, write_bundle
from ringlight.inference.predictor import Predictor
from ringlight.models import build_model
from ringlight.services import evaluations
from ringlight.services.evaluations import evaluate, evaluate_ensemble

CLASSES = ("middle", "dark", "bright")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that stands alone: random weights, three classes, one operating point."""
    folder = tmp_path_factory.mktemp("models") / "sorter"
    torch.manual_seed(0)
    point = OperatingPoint(
        name="safe", kind="recall_at_least", task="multiclass", classes=CLASSES, rule="gate",
        thresholds=(None, 0.0, None), label="dark", target=0.9,
    )  # fmt: skip
    bundle = Bundle(
        architecture={"name": "resnet10t", "in_chans": 3, "drop_rate": 0.0, "params": {}},
        task="multiclass", classes=CLASSES,
        input_spec=InputSpec(in_chans=3, image_size=(32, 32), mean=(0.5,) * 3, std=(0.5,) * 3),
        training_config={
            "evaluation": {"num_resamples": 100}, "experiment": {"seed": 3}, "data": {"batch_size": 4},
            "training": {"device": "cuda:9", "num_threads": 3},
        },
        operating_points={"safe": point.to_dict()},
    )  # fmt: skip
    write_bundle(folder, bundle, build_model("resnet10t", num_classes=3, pretrained=False).module)
    return folder


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_a_bundle_alone_is_judged_on_data_that_are_named(saved: Path, tile_folder: Path, tmp_path: Path) -> None:
    found = evaluate(saved, str(tile_folder), workspace=tmp_path / "ws")
    assert found.folder.parent == tmp_path / "ws" / "evaluations"
    assert found.folder.name.startswith("tiles-")
    results = found.results
    assert json.loads((found.folder / "results.json").read_text()) == json.loads(json.dumps(results, allow_nan=False))
    assert (results["run"], results["judged_part"], results["schema_version"]) == ("sorter", "new data", 2)
    assert results["dataset"]["class_counts"] == {"middle": 5, "dark": 6, "bright": 4}
    assert results["split"]["leak_check"] == "not possible"
    assert results["split"]["leaky"] is False
    table = pq.read_table(found.folder / "predictions.parquet").to_pydict()
    scores = np.stack([table[f"probability/{name}"] for name in CLASSES], axis=1)
    truth = [row[0] for row in table["truth"]]
    assert results["test"]["scalars"]["accuracy"] == accuracy_score(truth, scores.argmax(axis=1))
    assert [key.split("/")[0] for key in table["id"]] == [CLASSES[label] for label in truth]
    served = Predictor.from_path(saved, device="cpu").predict([tile_folder / key for key in table["id"]])
    np.testing.assert_allclose(served.probabilities, scores, atol=1e-5)
    assert {"report.html", "report.json", "report.md", "metrics.csv", "figures/confusion.png"} <= files(found.folder)


def test_a_model_is_judged_again_as_it_was_judged(
    saved: Path, tile_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight images at a time instead of the run's 32 changed the last digits of every score. Its device is not here."""
    seen = []

    def spy(*args: Any, **options: Any) -> Any:
        seen.append((options["batch_size"], torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()))
        return make_loader(*args, **options)

    monkeypatch.setattr("ringlight.training.feeding.make_loader", spy)
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    evaluate(saved, str(tile_folder), out=tmp_path / "out")
    evaluate_ensemble([saved, saved], str(tile_folder), out=tmp_path / "both")
    assert seen == [(4, 3, True)] * 3
    assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == before


def test_a_bundle_alone_has_no_part_of_its_own(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError) as caught:
        evaluate(saved, workspace=tmp_path / "ws")
    assert str(caught.value) == (
        f"{saved}: expected a run, which has a test part of its own, got a bundle that stands alone; "
        "name the data: ringlight evaluate MODEL DATA"
    )
    assert not (tmp_path / "ws").exists()


def test_a_stored_point_decides_when_it_is_asked_for(saved: Path, tile_folder: Path, tmp_path: Path) -> None:
    found = evaluate(saved, str(tile_folder), operating_point="safe", out=tmp_path / "safe").results["test"]
    assert found["operating_point"] == "safe"
    assert found["per_class"]["dark"]["predicted"] == 15  # its threshold is 0: everything is called dark
    plain = evaluate(saved, str(tile_folder), out=tmp_path / "plain").results
    assert plain["test"]["operating_point"] == "default"
    assert [point["name"] for point in plain["operating_points"]] == ["safe"]
    assert plain["operating_points"][0]["test"]["recall"] == 1.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"operating_point": "saef"},
            "--operating-point: expected an operating point of the model, got `saef`; did you mean `safe`?",
        ),
        ({"tta_runs": 0}, "tta_runs: expected 1 (off) to 8 views of an image, got 0; use 4"),
        ({"tta_runs": 9}, "tta_runs: expected 1 (off) to 8 views of an image, got 9; use 4"),
    ],
)
def test_what_the_model_does_not_have_is_refused(
    saved: Path, tile_folder: Path, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        evaluate(saved, str(tile_folder), out=tmp_path / "out", **options)
    assert str(caught.value) == message
    assert not (tmp_path / "out").exists()


def test_views_are_judged_with_what_they_gain_and_cost(saved: Path, tile_folder: Path, tmp_path: Path) -> None:
    found = evaluate(saved, str(tile_folder), tta_runs=4, out=tmp_path / "out").results
    assert (found["tta"]["runs"], found["tta"]["space"], found["tta"]["gain"]["metric"]) == (
        4,
        "probability",
        "macro_f1",
    )
    plain = evaluate(saved, str(tile_folder), tta_runs=1, out=tmp_path / "plain").results
    assert plain["tta"] is None
    gained = found["test"]["scalars"]["macro_f1"] - plain["test"]["scalars"]["macro_f1"]
    assert found["tta"]["gain"]["value"] == pytest.approx(gained)


def test_a_certificate_does_not_reach_views_it_was_not_fixed_in(saved: Path, tile_folder: Path, tmp_path: Path) -> None:
    """`--tta-runs 4` showed the certificate of the plain scores beside scores that it says nothing about."""
    plain = evaluate(saved, str(tile_folder), tta_runs=1, out=tmp_path / "plain").results
    found = evaluate(saved, str(tile_folder), tta_runs=4, out=tmp_path / "views").results
    assert found["notes"] == [
        *plain["notes"],
        "judged in 4 view(s) of an image; calibration, thresholds and certificates were fixed in 1 and prove nothing "
        "for these",
    ]


def test_an_ensemble_is_leaky_when_any_member_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the split of the first member was looked at."""
    splits = {"first": {"leaky": False}, "second": {"leaky": True}}
    monkeypatch.setattr(evaluations, "stored_results", lambda run: {"split": splits[run.name]})
    members: Any = [SimpleNamespace(name=name, run=Path(name)) for name in splits]
    split = {"strategy": "stratified_70_15_15", "leaky": False, "leaks": []}
    assert evaluations._with_leaks_of(members, split) == {
        **split, "leaky": True, "leaks": ["the split of the member second leaks"],
    }  # fmt: skip
    assert evaluations._with_leaks_of(members[:1], split) == split


def test_a_run_is_never_written_over(saved: Path, tile_folder: Path, tmp_path: Path) -> None:
    """`--out RUN` replaced the results and predictions of the run by those of the evaluation."""
    run = tmp_path / "runs" / "tiny"
    run.mkdir(parents=True)
    (run / "manifest.json").write_text("{}")
    for judge in (evaluate, evaluate_ensemble):
        with pytest.raises(RunError) as caught:
            judge(saved, str(tile_folder), out=run)  # type: ignore[arg-type]
        assert str(caught.value) == (
            f"--out {run}: expected a folder of its own, got a run; leave it out: there is a place in the run"
        )
    assert files(run) == {"manifest.json"}


def test_two_evaluations_in_one_second_have_a_folder_each(tmp_path: Path) -> None:
    made = {evaluations._new_folder(tmp_path, "parts") for _ in range(3)}
    assert len(made) == 3
    assert all(folder.is_dir() for folder in made)


def test_a_table_without_paths_cannot_be_judged(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("id,label\na,dark\nb,bright\nc,dark\nd,bright\n")
    with pytest.raises(DataError) as caught:
        evaluate(
            saved,
            str(tmp_path / "labels.csv"),
            ["data.label_columns=[label]", "data.task=multiclass"],
            out=tmp_path / "out",
        )
    assert str(caught.value).endswith(
        "expected records with images, got a label-only table; "
        "name the column that holds the paths: data.path_column=COLUMN"
    )
    assert not (tmp_path / "out").exists()


def test_a_label_unseen_in_training_is_refused(saved: Path, tile_folder: Path, tmp_path: Path) -> None:
    (tile_folder / "dark").rename(tile_folder / "burr")
    with pytest.raises(DataError) as caught:
        evaluate(saved, str(tile_folder), out=tmp_path / "out")
    assert str(caught.value) == (
        "tiles: expected labels the model was trained on (middle, dark, bright), got labels unseen in training: "
        "1 (burr on 6 records); rename them, leave those records out, or train a model that knows them"
    )
    assert not (tmp_path / "out").exists()


def test_a_model_at_full_size_judges_one_size_at_a_time(
    saved: Path, tile_folder: Path, tmp_path: Path, make_image: Callable[..., Path]
) -> None:
    bundle, module = read_bundle(saved)
    whole = tmp_path / "whole"
    write_bundle(whole, replace(bundle, input_spec=replace(bundle.input_spec, image_size=None)), module)
    assert evaluate(whole, str(tile_folder), out=tmp_path / "out").results["test"]["num_records"] == 15
    make_image(tile_folder / "dark" / "tall.png", size=(64, 32))
    with pytest.raises(DataError) as caught:
        evaluate(whole, str(tile_folder), out=tmp_path / "other")
    assert str(caught.value) == (
        "tiles: expected images of one size, as the model takes them at full size, got 2 sizes; "
        "judge the sizes one after the other"
    )


def test_one_data_set_has_one_fingerprint_whatever_model_judges_it(
    saved: Path, tile_folder: Path, tmp_path: Path
) -> None:
    """Two models with their classes in another order were told to be judged on different data."""
    bundle, module = read_bundle(saved)
    other = tmp_path / "other"
    write_bundle(other, replace(bundle, classes=CLASSES[::-1], operating_points={}), module)
    cards = [
        evaluate(model, str(tile_folder), out=tmp_path / f"out-{model.name}").results["dataset"]
        for model in (saved, other)
    ]
    assert cards[0]["fingerprint"] == cards[1]["fingerprint"]
    assert cards[0]["classes"] == cards[1]["classes"][::-1]
    assert cards[0]["class_counts"] == cards[1]["class_counts"]


def test_bundles_are_averaged_on_data_that_are_named(saved: Path, tile_folder: Path, tmp_path: Path) -> None:
    bundle, module = read_bundle(saved)
    other = tmp_path / "other"
    write_bundle(other, replace(bundle, classes=CLASSES[::-1], operating_points={}), module)
    found = evaluate_ensemble([saved, other], str(tile_folder), workspace=tmp_path / "ws")
    assert found.folder.parent == tmp_path / "ws" / "evaluations"
    assert found.folder.name.startswith("ensemble-")
    results = found.results
    assert results["run"] == "ensemble of sorter + other"
    assert results["model"]["name"] == "ensemble of 2"
    assert [row["name"] for row in results["ensemble"]["members"]] == ["sorter", "other"]
    assert results["operating_points"] == []
    table = pq.read_table(found.folder / "predictions.parquet").to_pydict()
    # The same weights under names in another order: the mean of both knows no first and no last class.
    np.testing.assert_allclose(table["probability/middle"], table["probability/bright"], atol=1e-6)
    page = (found.folder / "report.html").read_text(encoding="utf-8")
    assert "sorter (" in page
    assert "{&#" not in page


def test_a_missing_or_damaged_model_is_one_line(saved: Path, tile_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="expected a run folder, or the beginning of the name of one run"):
        evaluate("nowhere", str(tile_folder), workspace=tmp_path / "ws")
    broken = tmp_path / "broken"
    shutil.copytree(saved, broken)
    (broken / "model.safetensors").write_bytes(b"")
    with pytest.raises(BundleError, match="the file was changed or damaged: copy the bundle again"):
        evaluate(broken, str(tile_folder), out=tmp_path / "out")


def test_a_run_without_results_is_not_finished(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError) as caught:
        evaluations.stored_results(saved)
    assert str(caught.value).startswith(f"{saved}: expected a finished run, got ")
