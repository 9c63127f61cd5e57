"""`ringlight crossval` from a recipe to a run folder: folds, out-of-fold report, a stop and going on, leaks."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import ringlight as rl
from ringlight.cli.main import main
from ringlight.config.load import read_config
from ringlight.errors import BundleError, InterruptedRunError, RunError, SplitError
from ringlight.evaluation.cross_validated import summarize_folds
from ringlight.services import crossval, runs
from ringlight.training import features
from ringlight.training.fold_results import CrossValidation
from ringlight.types import Signal

MakeImage = Callable[..., Path]

SMALL = (
    "data.image_size=32", "data.num_workers=0", "data.batch_size=8", "split.leak_probe=false", "model.name=resnet10t",
    "model.pretrained=false", "evaluation.num_resamples=100", "evaluation.num_mistakes=0", "training.device=cpu",
    "training.num_threads=1", "imbalance.method=none", "data.group_regex=([a-z]\\d+)-",
)  # fmt: skip
TRAINED = ("training.precision=32", "training.num_epochs=1", "scheduler.warmup_epochs=0", "augmentation=none")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, make_image: MakeImage) -> Path:
    """Three classes told apart by brightness, 12, 10 and 8 tiles of 32 x 32; two tiles are of one part."""
    root = tmp_path_factory.mktemp("crossval") / "tiles"
    for place, (name, brightness) in enumerate({"dark": 50.0, "middle": 128.0, "bright": 205.0}.items()):
        for index in range((12, 10, 8)[place]):
            file = f"{name[0]}{index // 2}-{index}.png"
            make_image(root / name / file, brightness=brightness, seed=1000 * place + index)
    return root


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("crossval") / "workspace"


def settings(folder: Path, *overrides: str) -> list[str]:
    return [*SMALL, f"data.root={folder}", *overrides]


@pytest.fixture(scope="module")
def finished(folder: Path, workspace: Path) -> CrossValidation:
    """Three folds, twice, on frozen features."""
    return crossval.cross_validate(
        "frozen", settings(folder, "cv.n_splits=3", "cv.repeats=2", "cv.val_share=0.3"), workspace=workspace
    )


def test_it_leaves_a_run_folder_as_any_other(finished: CrossValidation) -> None:
    assert finished.folder is not None
    for name in (
        "config.yaml", "manifest.json", "train.log", "results.json", "report.html", "report.md", "metrics.csv",
        "per_class.csv", "predictions.parquet", "figures/folds.png", "folds/division.parquet",
        "folds/repeat1_fold2/fold.json", "folds/repeat1_fold2/prediction.parquet",
    ):  # fmt: skip
        assert (finished.folder / name).exists(), name
    assert runs.read_manifest(finished.folder)["status"] == "completed"
    assert not list(finished.folder.rglob("*.part"))
    assert not list(finished.folder.rglob("*.ckpt"))


def test_the_results_have_the_keys_of_a_run_and_one_more(finished: CrossValidation) -> None:
    results = finished.results
    assert results["judged_part"] == "out-of-fold"
    assert results["schema_version"] == 2
    assert results["split"]["strategy"] == "stratified_group_kfold, 3 folds, 2 times"
    assert results["split"]["leak_check"] == "groups, identical files: no leak found"
    assert results["hyper_parameters"]["cv.n_splits"] == 3
    card = results["cross_validation"]
    assert (card["method"], card["num_folds"], card["repeats"]) == ("stratified_group_kfold", 3, 2)
    assert [(fold["repeat"], fold["fold"]) for fold in card["folds"]] == [
        (0, 0),
        (0, 1),
        (0, 2),
        (1, 0),
        (1, 1),
        (1, 2),
    ]
    assert results["test"]["num_records"] == 30


def test_every_record_is_scored_once_by_a_model_that_did_not_know_its_part(finished: CrossValidation) -> None:
    assert finished.folder is not None
    kept = pq.read_table(finished.folder / "predictions.parquet")
    assert sorted(kept.column("id").to_pylist()) == sorted(set(kept.column("id").to_pylist()))
    assert kept.num_rows == 30
    division = pq.read_table(finished.folder / "folds" / "division.parquet")
    groups = np.array(division.column("group").to_pylist())
    for index in range(6):
        place = division.column(f"{index}").to_numpy()
        parts = [set(groups[place == part]) for part in (1, 2, 3)]
        assert not parts[0] & parts[1]
        assert not parts[2] & (parts[0] | parts[1])


def test_mean_spread_and_interval_are_those_of_the_folds(finished: CrossValidation) -> None:
    scores = [card["scores"]["macro_f1"] for card in finished.folds]
    sizes = [(card["test"]["num_records"], 30 - card["test"]["num_records"]) for card in finished.folds]
    share = float(np.mean([test / train for test, train in sizes]))
    expected = summarize_folds(scores, test_share=share, bounds=(0.0, 1.0))
    assert finished.summary == expected
    assert finished["mean"] == finished.mean == pytest.approx(np.mean(scores))
    assert finished["std"] == pytest.approx(np.std(scores, ddof=1))


def test_the_report_shows_the_folds(finished: CrossValidation) -> None:
    assert finished.folder is not None
    page = (finished.folder / "report.html").read_text()
    assert "Cross-validation" in page
    assert "Nadeau and Bengio" in page
    assert "out-of-fold predictions" in page
    sections = {section["key"] for section in json.loads((finished.folder / "report.json").read_text())["sections"]}
    assert {"folds", "scores", "confusion"} <= sections


@pytest.mark.slow
def test_two_of_them_compare_like_runs(finished: CrossValidation, folder: Path, workspace: Path) -> None:
    other = crossval.cross_validate(
        "frozen", settings(folder, "cv.n_splits=3", "cv.val_share=0", "head.name=knn"), workspace=workspace
    )
    found = runs.compare_runs([str(finished.folder), str(other.folder)])
    assert [pair.refused for pair in found.pairs] == [""]
    assert {row["run"] for row in found.to_dicts()} == {finished.results["run"], other.results["run"]}
    assert "cv.repeats" in found.settings


def test_without_held_out_records_it_says_so(folder: Path, tmp_path: Path) -> None:
    found = crossval.cross_validate("frozen", settings(folder, "cv.n_splits=2", "cv.val_share=0"), workspace=tmp_path)
    assert [card["val"]["num_records"] for card in found.folds] == [0, 0]
    (note,) = [note for note in found.notes if "cv.val_share=0" in note]
    assert note.startswith("no early stopping, calibration or threshold in any fold")


def test_folds_of_frozen_features_share_one_pass(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    passes: list[int] = []
    compute = features._compute

    def counting(dataset: Any, *arguments: Any) -> Any:
        passes.append(len(dataset))
        return compute(dataset, *arguments)

    monkeypatch.setattr(features, "_compute", counting)
    crossval.cross_validate("frozen", settings(folder, "cv.n_splits=2", "cv.repeats=2"), workspace=tmp_path)
    assert passes == [30]


class StopBefore:
    """A control that pauses when a fold is about to begin."""

    def __init__(self, fold: int) -> None:
        self.fold = fold

    def heartbeat(self, progress: Mapping[str, float]) -> Signal:
        return "pause" if progress["fold"] == self.fold else "go"


def out_of_fold(folder: Path) -> bytes:
    kept = pq.read_table(folder / "predictions.parquet")
    return b"".join(kept.column(name).to_numpy().tobytes() for name in kept.column_names if name.startswith("logit/"))


@pytest.mark.parametrize("recipe", ["frozen", pytest.param("folder", marks=pytest.mark.slow)])
def test_one_that_was_stopped_goes_on_and_comes_to_the_same_to_the_bit(
    recipe: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = settings(folder, *(TRAINED if recipe == "folder" else ()), "cv.n_splits=3", "cv.val_share=0.25")
    whole = crossval.cross_validate(recipe, asked, workspace=tmp_path)
    with pytest.raises(InterruptedRunError) as caught:
        crossval.cross_validate(recipe, asked, workspace=tmp_path / "second", control=StopBefore(2))
    (stopped,) = (tmp_path / "second" / "runs").iterdir()
    assert str(caught.value) == (
        "cross-validation: expected a cross-validation to its end, got `pause` before fold 3 of 3; finished folds are "
        f"kept: go on with ringlight crossval --resume {stopped}"
    )
    assert runs.read_manifest(stopped)["status"] == "paused"
    assert sorted(path.parent.name for path in stopped.rglob("fold.json")) == ["repeat0_fold0", "repeat0_fold1"]

    from ringlight.training import folds

    trained: list[tuple[int, int]] = []
    train = folds.train_fold

    def counting(plan: Any, place: tuple[int, int], *others: Any) -> Any:
        trained.append(place)
        return train(plan, place, *others)

    monkeypatch.setattr(folds, "train_fold", counting)
    again = crossval.resume(stopped)
    assert trained == [(0, 2)]
    assert again.folder is not None
    assert whole.folder is not None
    assert out_of_fold(again.folder) == out_of_fold(whole.folder)
    assert [card["scores"] for card in again.folds] == [card["scores"] for card in whole.folds]
    assert again.summary == whole.summary
    assert len({card["seed"] for card in whole.folds}) == (3 if recipe == "folder" else 1)


def test_a_finished_one_and_a_single_run_are_not_gone_on_with(finished: CrossValidation, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="expected an interrupted cross-validation, got a completed one"):
        crossval.resume(str(finished.folder))
    single = tmp_path / "single"
    assert finished.folder is not None
    shutil.copytree(finished.folder, single)
    shutil.rmtree(single / "folds")
    with pytest.raises(RunError, match="expected the folder of a cross-validation, got a single run"):
        crossval.resume(single)


def test_what_wants_a_model_or_a_single_run_says_what_this_is(finished: CrossValidation) -> None:
    with pytest.raises(BundleError, match="got a cross-validation, which keeps none of its folds' models"):
        rl.evaluate(finished.folder)  # type: ignore[arg-type]
    with pytest.raises(RunError, match="expected a single run, got a cross-validation; go on with it with"):
        runs.resume(finished.folder)  # type: ignore[arg-type]


def test_a_damaged_fold_is_named(finished: CrossValidation, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    assert finished.folder is not None
    shutil.copytree(finished.folder, copy)
    manifest = runs.read_manifest(copy)
    (copy / "manifest.json").write_text(json.dumps({**manifest, "status": "failed"}))
    (copy / "folds" / "repeat0_fold1" / "prediction.parquet").write_bytes(b"nothing")
    with pytest.raises(RunError, match="remove this folder, and the fold is trained again"):
        crossval.resume(copy)


def test_a_method_that_divides_parts_stops_or_is_marked(folder: Path, tmp_path: Path) -> None:
    asked = settings(folder, "cv.method=stratified_kfold", "cv.n_splits=2")
    with pytest.raises(SplitError) as caught:
        crossval.cross_validate("frozen", asked, workspace=tmp_path)
    assert str(caught.value).startswith(
        "cv.method=stratified_kfold, fold 1: expected what belongs together in one part, got "
    )
    assert str(caught.value).endswith(
        "; keep them together with cv.method=stratified_group_kfold, or set split.allow_leak=true: the result is then "
        "marked leaky"
    )
    assert not (tmp_path / "runs").exists()
    found = crossval.cross_validate("frozen", [*asked, "split.allow_leak=true"], workspace=tmp_path)
    assert found.leaky
    assert found.results["split"]["leaky"]
    assert found.folder is not None
    assert "This run is leaky" in (found.folder / "report.md").read_text()


def test_the_choices_are_written_out(finished: CrossValidation) -> None:
    assert finished.folder is not None
    config = read_config(finished.folder / "config.yaml")
    assert config.training.precision == "32"
    assert config.data.num_workers == 0
    assert config.cv.n_splits == 3


# --- the command and the function -------------------------------------------------------------------------------------


def test_the_command_prints_folds_mean_and_verdict(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["crossval", "frozen", *settings(folder, "cv.n_splits=2"), "--workspace", str(tmp_path)])
    out = capsys.readouterr().out.splitlines()
    assert code == 0
    assert out[0] == "folds, stratified_group_kfold"
    assert out[1].split() == [
        "fold", "trained", "held", "out", "tested", "groups", "macro_f1", "accuracy", "balanced_accuracy", "auroc",
    ]  # fmt: skip
    assert [line.split()[0] for line in out[2:4]] == ["1", "2"]
    assert out[4].startswith("macro_f1 ")
    assert " over 2 folds" in out[4]
    assert out[-1].startswith("run: ")


def test_the_command_prints_json(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["crossval", "frozen", *settings(folder, "cv.n_splits=2"), "--json", "--workspace", str(tmp_path)])
    values = json.loads(capsys.readouterr().out)
    assert code == 0
    assert values["cross_validation"]["num_folds"] == 2
    assert Path(values["folder"]).is_dir()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["cv.method=kfolds"], "cv.method: expected "),
        (["cv.n_splits=99"], "cv.n_splits: expected at most 15, the groups of tiles, got 99; use cv.n_splits=15"),
        (
            ["cv.method=time_series"],
            "tiles: cv.method=time_series: expected a time for every record, got none for 30 (first: ",
        ),
        (
            ["cv.method=leave_one_group_out", "cv.repeats=2"],
            "cv.repeats: expected 1 with cv.method=leave_one_group_out, which divides the records in one way only, got "
            "2; use cv.repeats=1",
        ),
    ],
)
def test_what_cannot_be_divided_is_one_line_and_exit_code_2(
    words: list[str], message: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["crossval", "frozen", *settings(folder, *words), "--workspace", str(tmp_path)]) == 2
    err = capsys.readouterr().err.strip().splitlines()
    assert err[-1].startswith(message)


def test_resume_stands_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["crossval", "frozen", "--resume", "x"]) == 2
    assert "expected --resume RUN alone, got frozen" in capsys.readouterr().err


@pytest.mark.slow
def test_the_function_takes_a_recipe_and_another_score(folder: Path, tmp_path: Path) -> None:
    found = rl.cross_validate(
        "frozen", n_splits=2, scoring="f1_weighted", overrides=settings(folder), workspace=tmp_path, seed=7
    )
    assert found.metric == "f1_weighted"
    assert found.results["hyper_parameters"]["seed"] == 7
    assert found["mean"] == pytest.approx(np.mean([card["scores"]["weighted_f1"] for card in found.folds]))
    assert found.scores == [card["scores"]["weighted_f1"] for card in found.folds]
    config = read_config(found.folder / "config.yaml")  # type: ignore[operator]
    assert rl.cross_validate(config, n_splits=2, workspace=tmp_path, seed=7).folds[0]["scores"] == {
        name: value for name, value in found.folds[0]["scores"].items() if name != "f1_weighted"
    } | {"macro_f1": found.folds[0]["scores"]["macro_f1"]}
