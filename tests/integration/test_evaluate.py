"""`ringlight evaluate`: the run's own scores again, new data, ensembles; nothing of the run is touched."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from ringlight.cli.main import main
from ringlight.services import runs
from ringlight.services.runs import Run

CLASSES = {"good": 60.0, "pit": 128.0, "scratch": 200.0}
TINY = (
    "data.image_size=32", "data.batch_size=5", "data.num_workers=0", "model.name=resnet10t", "training.num_epochs=1",
    "training.device=cpu", "training.num_threads=1", "training.precision=32", "scheduler.warmup_epochs=0",
    "optimizer.lr=0.001", "evaluation.num_resamples=200", "evaluation.operating_point=max_f1", "split.leak_probe=false",
)  # fmt: skip

Typed = Callable[..., Any]
Draw = Callable[..., Path]


def draw(folder: Path, make_image: Draw, *, count: int, seed: int, classes: Any = tuple(CLASSES)) -> Path:
    """Write a folder of noisy tiles for each class; another seed draws other tiles."""
    for name in classes:
        for number in range(count):
            place = folder / name / f"{name}_{seed}_{number}.png"
            make_image(place, brightness=CLASSES.get(name, 90.0), seed=1000 * seed + number + len(name))
    return folder


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory, make_image: Draw) -> Path:
    """The data that the runs here are trained on: three classes of 16 tiles."""
    return draw(tmp_path_factory.mktemp("data") / "parts", make_image, count=16, seed=1)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("evaluate")


@pytest.fixture(scope="module")
def train(place: Path) -> Callable[..., Run]:
    def make(data: Path, *overrides: str) -> Run:
        return runs.train("folder", [*TINY, f"data.root={data}", *overrides], workspace=place)

    return make


@pytest.fixture(scope="module")
def first(train: Callable[..., Run], parts: Path) -> Run:
    return train(parts)


@pytest.fixture(scope="module")
def second(train: Callable[..., Run], parts: Path, first: Run) -> Run:
    """Another training on the very split of the first."""
    return train(parts, f"split.file={first.folder / 'split.csv'}", "experiment.seed=7")


@pytest.fixture
def typed(capsys: pytest.CaptureFixture[str]) -> Typed:
    """Run a command; return what it printed, or its JSON, or with another exit code its standard error."""

    def run(*words: object, code: int = 0) -> Any:
        capsys.readouterr()
        assert main([str(word) for word in words]) == code
        captured = capsys.readouterr()
        if code:
            assert captured.out == ""
            return captured.err.rstrip("\n")
        return json.loads(captured.out, parse_constant=pytest.fail) if "--json" in words else captured.out

    return run


def contents(folder: Path) -> dict[str, str]:
    """Every file below a folder with its digest, what was evaluated later left out."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.relative_to(folder).parts[0] != "evaluations"
    }


def trained(run: Run) -> set[str]:
    """The ids of the records that a run was trained on."""
    with (run.folder / "split.csv").open(encoding="utf-8", newline="") as stream:
        return {row["id"] for row in csv.DictReader(stream) if row["split"] == "train"}


def evaluations(run: Run) -> set[Path]:
    return set((run.folder / "evaluations").glob("*"))


@pytest.fixture
def untouched(first: Run) -> Any:
    """Fail when the run itself was changed."""
    before = contents(first.folder)
    yield
    assert contents(first.folder) == before


@pytest.mark.usefixtures("untouched")
def test_a_run_gets_exactly_its_own_test_scores_again(typed: Typed, first: Run) -> None:
    before = evaluations(first)
    found = typed("evaluate", first.folder, "--json")
    (folder,) = evaluations(first) - before
    assert found["folder"] == str(folder)
    for key in ("scalars", "per_class", "confusion", "intervals", "plant", "operating_point", "num_groups", "notes"):
        assert found["test"][key] == first.results["test"][key], key
    same = ("dataset", "split", "calibration", "operating_points", "reject", "curves", "energy", "slices", "mistakes")
    for key in same:
        assert found[key] == json.loads(json.dumps(first.results[key])), key
    assert found["judged_part"] == "test"
    assert found["run"] == first.folder.name
    assert found["test"]["operating_point"] == "max_f1"
    a, b = (pq.read_table(where / "predictions.parquet").to_pydict() for where in (folder, first.folder))
    assert a == b


@pytest.mark.usefixtures("untouched")
def test_an_evaluation_leaves_its_report_and_results_in_a_folder_of_its_own(typed: Typed, first: Run) -> None:
    before = evaluations(first)
    text = typed("evaluate", first.folder)
    (folder,) = evaluations(first) - before
    assert text.splitlines()[0] == "test part, resnet10t"
    assert text.splitlines()[-1] == f"run: {folder}"
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert {
        "results.json", "predictions.parquet", "report.html", "report.json", "report.md", "metrics.csv",
        "per_class.csv", "confusion.csv", "figures/confusion.png", "figures/reliability.png",
    } <= names  # fmt: skip
    assert not [name for name in names if name.endswith(".part")]


def test_a_run_is_found_by_the_beginning_of_its_name(typed: Typed, first: Run, place: Path, tmp_path: Path) -> None:
    found = typed("evaluate", first.folder.name, "--workspace", place, "--out", tmp_path / "out", "--json")
    assert found["folder"] == str(tmp_path / "out")
    assert found["test"]["scalars"] == first.results["test"]["scalars"]


def test_a_run_of_several_labels_gets_its_own_scores_again(typed: Typed, finished: Run) -> None:
    before = contents(finished.folder)
    found = typed("evaluate", finished.folder, "--json")
    assert found["test"]["scalars"] == finished.results["test"]["scalars"]
    assert found["test"]["intervals"] == finished.results["test"]["intervals"]
    assert found["test"]["plant"] == finished.results["test"]["plant"]
    assert contents(finished.folder) == before


@pytest.mark.usefixtures("untouched")
def test_new_data_are_judged_by_the_names_of_their_classes(
    typed: Typed, first: Run, tmp_path: Path, make_image: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In another order, and without a class: what counts is the name, never the number."""
    data = draw(tmp_path / "new parts", make_image, count=6, seed=2, classes=("scratch", "good"))
    monkeypatch.chdir(tmp_path)
    plain, turned = (
        typed("evaluate", first.folder, data, *keys, "--json") for keys in ((), ("data.classes=[scratch,pit,good]",))
    )
    assert plain["test"] == turned["test"]
    assert plain["dataset"]["classes"] == ["good", "pit", "scratch"]
    assert plain["dataset"]["class_counts"] == {"good": 6, "pit": 0, "scratch": 6}
    assert plain["judged_part"] == plain["split"]["strategy"] == "new data"
    assert (plain["split"]["leaky"], plain["split"]["leaks"]) == (False, [])
    assert plain["split"]["leak_check"] == (
        "files compared with those of training and validation, byte for byte; near-duplicates were not looked for"
    )
    assert plain["test"]["per_class"]["pit"]["support"] == 0
    table = pq.read_table(Path(plain["folder"]) / "predictions.parquet").to_pydict()
    names = [list(CLASSES)[row[0]] for row in table["truth"]]
    assert names == [key.split("/")[0] for key in table["id"]]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "new parts"
    ]  # no workspace sprang up where it was typed


@pytest.mark.usefixtures("untouched")
def test_thresholds_and_calibration_stay_whatever_the_new_data_are(
    typed: Typed, first: Run, tmp_path: Path, make_image: Draw
) -> None:
    bundle = json.loads((first.folder / "bundle" / "bundle.json").read_text())
    found = typed("evaluate", first.folder, draw(tmp_path / "new", make_image, count=6, seed=3), "--json")
    (point,) = found["operating_points"]
    assert point["thresholds"] == bundle["operating_points"]["max_f1"]["thresholds"]
    assert point["validation"] == bundle["operating_points"]["max_f1"]["validation"]
    assert found["calibration"]["calibrator"] == bundle["calibration"]["calibrator"]
    assert found["test"]["operating_point"] == "max_f1"


@pytest.mark.usefixtures("untouched")
def test_data_the_model_was_trained_on_are_flagged(
    typed: Typed, first: Run, parts: Path, tmp_path: Path, make_image: Draw
) -> None:
    """Renamed copies of training pictures among new ones would praise the model for what it has seen."""
    seen = sorted(trained(first))[:2]
    data = draw(tmp_path / "mixed", make_image, count=6, seed=4)
    for number, key in enumerate(seen):
        shutil.copy(parts / key, data / key.split("/")[0] / f"copy_{number}.png")
    found = typed("evaluate", first.folder, data, "--json")
    assert found["split"]["leaky"] is True
    copies = sorted(f"{key.split('/')[0]}/copy_{number}.png" for number, key in enumerate(seen))
    assert found["split"]["leaks"] == [f"the model was trained or tuned on 2 ({', '.join(copies)}) of these files"]
    page = (Path(found["folder"]) / "report.html").read_text(encoding="utf-8")
    assert "the model was trained or tuned on 2 (" in page


@pytest.mark.usefixtures("untouched")
def test_a_label_unseen_in_training_leaves_nothing_behind(
    typed: Typed, first: Run, tmp_path: Path, make_image: Draw
) -> None:
    data = draw(tmp_path / "new", make_image, count=6, seed=5, classes=("good", "burr"))
    before = evaluations(first)
    assert typed("evaluate", first.folder, data, "--out", tmp_path / "out", code=2) == (
        "new: expected labels the model was trained on (good, pit, scratch), got labels unseen in training: "
        "1 (burr on 6 records); rename them, leave those records out, or train a model that knows them"
    )
    assert not (tmp_path / "out").exists()
    assert evaluations(first) == before


def test_a_model_of_several_labels_asks_for_such_data(
    typed: Typed, finished: Run, tmp_path: Path, make_image: Draw
) -> None:
    data = draw(tmp_path / "new", make_image, count=3, seed=6)
    assert typed("evaluate", finished.folder, data, code=2) == (
        "new: expected multilabel records, as the model was trained on, got multiclass; set data.task=multilabel"
    )
    told = typed("evaluate", finished.folder, data, "data.task=multilabel", code=2)
    assert told.startswith("new: expected labels the model was trained on (defect_1, ")


def test_drawn_data_lie_in_the_workspace_of_the_run(
    typed: Typed, finished: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that is named by its path brings its workspace along; none springs up where the command was typed."""
    monkeypatch.chdir(tmp_path)
    keys = ("data.num_images=12", "data.height=64", "data.width=64", "data.seed=5")
    found = typed("evaluate", finished.folder, "demo", *keys, "--json")
    assert (found["test"]["num_records"], found["split"]["leaky"]) == (12, False)
    assert list(tmp_path.iterdir()) == []
    assert list((finished.folder.parent.parent / "cache").glob("synthetic-*"))


def test_changed_data_are_one_line(
    typed: Typed, train: Callable[..., Run], parts: Path, tmp_path: Path, make_image: Draw
) -> None:
    """One picture more, and the run's own test part is not what it was judged on."""
    data = tmp_path / "parts"
    shutil.copytree(parts, data)
    run = train(data)
    make_image(data / "good" / "late.png", brightness=60.0, seed=99)
    told = typed("evaluate", run.folder, code=2)
    assert told.startswith(f"{run.folder}: expected the data of the run (fingerprint ")
    assert told.endswith("; bring it back as it was, or judge the new data: ringlight evaluate RUN DATA")
    assert "\n" not in told
    (data / "good" / "late.png").unlink()
    assert typed("evaluate", run.folder, "--json")["test"]["scalars"] == run.results["test"]["scalars"]
    shutil.rmtree(data)
    gone = typed("evaluate", run.folder, code=2)
    assert "\n" not in gone
    assert str(data) in gone
    assert not list(run.folder.glob("evaluations/*/*.part"))


@pytest.mark.usefixtures("untouched")
def test_another_stored_point_and_the_default_decide_when_asked(typed: Typed, first: Run) -> None:
    default = typed("evaluate", first.folder, "--operating-point", "default", "--json")
    assert default["test"]["operating_point"] == "default"
    table = pq.read_table(Path(default["folder"]) / "predictions.parquet").to_pydict()
    scores = np.stack([table[f"probability/{name}"] for name in CLASSES], axis=1)
    right = np.mean(scores.argmax(axis=1) == [row[0] for row in table["truth"]])
    assert default["test"]["scalars"]["accuracy"] == pytest.approx(right)
    assert typed("evaluate", first.folder, "--operating-point", "max-f1", code=2) == (
        "--operating-point: expected an operating point of the model, got `max-f1`; did you mean `max_f1`?"
    )


@pytest.mark.usefixtures("untouched")
def test_views_are_judged_with_gain_and_cost(typed: Typed, first: Run) -> None:
    found = typed("evaluate", first.folder, "--tta-runs", 4, "--json")
    assert (found["tta"]["runs"], found["tta"]["space"]) == (4, "probability")
    assert found["tta"]["gain"]["metric"] == "macro_f1"
    assert found["tta"]["cost"] > 0
    assert "Test-time augmentation" in (Path(found["folder"]) / "report.html").read_text(encoding="utf-8")
    typed("evaluate", first.folder, "--tta-runs", 9, code=2)


@pytest.mark.usefixtures("untouched")
def test_members_that_share_a_split_are_averaged(typed: Typed, first: Run, second: Run, place: Path) -> None:
    found = typed("evaluate", first.folder, second.folder, "--ensemble", "--workspace", place, "--json")
    assert Path(found["folder"]).parent == place / "evaluations"
    card = found["ensemble"]
    assert [row["name"] for row in card["members"]] == [first.folder.name, second.folder.name]
    assert card["against"] in {first.folder.name, second.folder.name}
    assert card["cost"] > 1
    assert found["test"]["operating_point"] == "default"
    assert found["judged_part"] == "test"
    tables = [
        pq.read_table(folder / "predictions.parquet").to_pydict()
        for folder in (Path(found["folder"]), first.folder, second.folder)
    ]
    assert set(tables[0]["id"]) == set(tables[1]["id"]) == set(tables[2]["id"])
    for name in CLASSES:
        mean, *each = (dict(zip(table["id"], table[f"probability/{name}"], strict=True)) for table in tables)
        for key, value in mean.items():
            assert value == pytest.approx(np.mean([one[key] for one in each]), abs=1e-5)


def test_members_are_averaged_on_new_data(
    typed: Typed, first: Run, second: Run, place: Path, tmp_path: Path, make_image: Draw
) -> None:
    data = draw(tmp_path / "new", make_image, count=4, seed=8)
    words = ("evaluate", first.folder, second.folder, "--ensemble", "--data", data, "--workspace", place)
    found = typed(*words, "--json")
    assert found["judged_part"] == "new data"
    assert found["test"]["num_records"] == 12


def test_a_member_that_was_trained_on_the_judged_records_is_refused(
    typed: Typed, first: Run, train: Callable[..., Run], parts: Path, place: Path, tmp_path: Path
) -> None:
    """Runs with a split each: what tests the one has trained the other."""
    other = train(parts, "experiment.seed=3")
    before = set((place / "evaluations").glob("*"))
    told = typed("evaluate", first.folder, other.folder, "--ensemble", "--workspace", place, code=2)
    assert told.startswith("--ensemble: expected records that no member was trained or tuned on, got ")
    assert f"got those of {other.folder.name}: " in told
    assert told.endswith("; train the members on one split (split.file=RUN/split.csv), or name other data")
    alone = sorted(trained(first) - trained(other))
    for key in alone:
        shutil.copytree(parts / Path(key).parent, tmp_path / "seen" / Path(key).parent, dirs_exist_ok=True)
    for path in (tmp_path / "seen").rglob("*.png"):
        if path.relative_to(tmp_path / "seen").as_posix() not in alone:
            path.unlink()
    words = ("evaluate", first.folder, other.folder, "--ensemble", "--data", tmp_path / "seen", "--workspace", place)
    assert f"got those of {first.folder.name}: {len(alone)} (" in typed(*words, code=2).splitlines()[-1]
    assert set((place / "evaluations").glob("*")) == before


def test_models_with_other_classes_are_not_averaged(typed: Typed, first: Run, finished: Run, place: Path) -> None:
    told = typed("evaluate", first.folder, finished.folder, "--ensemble", "--workspace", place, code=2)
    assert told == (
        f"{finished.folder.name}: expected the classes of {first.folder.name} (multiclass: good, pit, scratch), got "
        "multilabel: defect_1, defect_2, defect_3, defect_4; only runs with the same classes can be averaged"
    )


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (
            ("RUN", "a", "b"),
            "ringlight evaluate: expected one run, and at most one source of data, got RUN a b; "
            "put --ensemble to average runs, or use ringlight compare to put them side by side",
        ),
        (
            ("RUN", "a", "--data", "b"),
            "ringlight evaluate: expected one run, and at most one source of data, got RUN a b; "
            "put --ensemble to average runs, or use ringlight compare to put them side by side",
        ),
        (
            ("data.task=multilabel",),
            "ringlight evaluate: expected a run, got keys alone; name it first: its folder or name",
        ),
        (
            ("RUN", "--ensemble", "--tta-runs", "4"),
            "ringlight evaluate: expected --ensemble without --operating-point and --tta-runs, got both; "
            "leave them out: no threshold was fixed for the mean of several models",
        ),
        (("RUN", "--ensemble"), "--ensemble: expected two runs or more, got 1; name the members: A B C"),
    ],
)
def test_words_that_do_not_go_together_are_one_line(
    typed: Typed, first: Run, words: tuple[str, ...], line: str
) -> None:
    shown = str(first.folder)
    given = [shown if word == "RUN" else word for word in words]
    assert typed("evaluate", *given, code=2) == line.replace("RUN a b", f"{shown} a b")


@pytest.mark.usefixtures("untouched")
def test_a_bundle_alone_needs_data(typed: Typed, first: Run, tmp_path: Path, make_image: Draw) -> None:
    bundle = tmp_path / "model"
    shutil.copytree(first.folder / "bundle", bundle)
    assert typed("evaluate", bundle, code=2) == (
        f"{bundle}: expected a run, which has a test part of its own, got a bundle that stands alone; "
        "name the data: ringlight evaluate MODEL DATA"
    )
    data = draw(tmp_path / "new", make_image, count=4, seed=9)
    alone, of_run = (
        typed("evaluate", model, data, "--out", tmp_path / model.name, "--json") for model in (bundle, first.folder)
    )
    assert alone["test"] == of_run["test"]
    assert alone["split"]["leak_check"] == "not possible"
    typed("evaluate", first.folder, "--out", first.folder, code=2)


def test_an_interrupted_run_has_no_model_to_judge(typed: Typed, tmp_path: Path) -> None:
    run = tmp_path / "runs" / "half"
    run.mkdir(parents=True)
    (run / "manifest.json").write_text('{"status": "interrupted"}')
    assert typed("evaluate", run, code=2) == (
        f"{run}: expected a finished run, which has a model, got one that is interrupted; "
        f"finish it with ringlight train --resume {run}"
    )
