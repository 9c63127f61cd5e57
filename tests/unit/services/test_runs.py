"""Runs are found by path or by the beginning of their name, loaded, compared and named."""

from __future__ import annotations

import errno
import json
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from ringlight.data.preprocess import InputSpec
from ringlight.errors import (
    BundleError,
    DataError,
    InterruptedRunError,
    Problems,
    RunError,
    TrainingError,
    WorkspaceError,
)
from ringlight.inference.bundle import Bundle, write_bundle
from ringlight.models import build_model
from ringlight.runtime import DeviceChoice
from ringlight.services import runs
from ringlight.services.dry_run import dry_run
from ringlight.services.model_places import find_run, load_model
from ringlight.services.predictions import predict_files
from ringlight.training.trackers import QuietTracker

MakeImage = Callable[..., Path]


def make_run(workspace: Path, name: str, status: str = "completed") -> Path:
    folder = workspace / "runs" / name
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(json.dumps({"status": status}))
    return folder


def write_results(folder: Path, score: float, **changes: Any) -> None:
    values = {
        "schema_version": 1,
        "run": folder.name,
        "model": {"name": "resnet10t"},
        "loss": {"name": "focal_loss"},
        "hyper_parameters": {"seed": 1},
        "dataset": {"fingerprint": "f"},
        "split": {"strategy": "s", "seed": 1},
        "judged_part": "test",
        "test": {"scalars": {"macro_f1": score}},
        **changes,
    }
    (folder / "results.json").write_text(json.dumps(values))


@pytest.fixture(scope="module")
def model_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder that holds nothing but a manifest and a small model of two classes."""
    folder = make_run(tmp_path_factory.mktemp("ws"), "tiny-1")
    torch.manual_seed(0)
    architecture = {"name": "resnet10t", "in_chans": 3, "drop_rate": 0.0, "params": {}}
    spec = InputSpec(in_chans=3, image_size=(32, 32), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    bundle = Bundle(architecture=architecture, task="multiclass", classes=("dark", "bright"), input_spec=spec)
    write_bundle(folder / "bundle", bundle, build_model("resnet10t", num_classes=2, pretrained=False).module)
    return folder


def test_a_run_is_found_by_path_name_and_beginning_of_its_name(tmp_path: Path) -> None:
    first, second = make_run(tmp_path, "demo-20260101-a"), make_run(tmp_path, "demo-20260101-ab")
    other = make_run(tmp_path, "größe [1]*-x")
    (tmp_path / "runs" / "demo-2027-no-run").mkdir()
    assert find_run(first) == first
    assert find_run(str(second), tmp_path) == second
    assert find_run("demo-20260101-a", tmp_path) == first  # a whole name wins over a beginning
    assert find_run("demo-20260101-ab", tmp_path) == second
    assert find_run("größe [", tmp_path) == other


@pytest.mark.parametrize("name", ["", "/no/such/run", "../ws", "*", "demo-2027"])
def test_what_names_no_run_is_refused_with_the_runs_there_are(tmp_path: Path, name: str) -> None:
    """An absolute path was once taken for a pattern, which pathlib refuses with a traceback."""
    make_run(tmp_path, "demo-a")
    with pytest.raises(RunError, match=r"which names 0; name one of them, such as demo-a$"):
        find_run(name, tmp_path)


def test_a_name_of_several_runs_lists_them_and_an_empty_workspace_says_so(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"which names 0; there is no run yet: start with ringlight train"):
        find_run("demo", tmp_path)
    for letter in "ab":
        make_run(tmp_path, f"demo-{letter}")
    with pytest.raises(RunError) as caught:
        find_run("demo", tmp_path)
    assert str(caught.value) == (
        f"{tmp_path / 'runs'}: expected a run folder, or the beginning of the name of one run, "
        "got `demo`, which names 2; name one of them, such as demo-a, demo-b"
    )


def test_a_model_is_loaded_from_bundle_run_or_name(model_run: Path) -> None:
    workspace = model_run.parent.parent
    image = np.full((40, 40, 3), 200, np.uint8)
    scores = [
        load_model(where, workspace=workspace).predict(image).probabilities
        for where in (model_run / "bundle", model_run, str(model_run), "tiny")
    ]
    assert all(np.array_equal(scores[0], other) for other in scores)


def test_a_run_without_a_model_says_how_to_finish_it(tmp_path: Path) -> None:
    folder = make_run(tmp_path, "stopped", "interrupted")
    with pytest.raises(BundleError) as caught:
        load_model("stop", workspace=tmp_path)
    assert str(caught.value) == (
        f"{folder}: expected a finished run, which has a model, got one that is interrupted; "
        f"finish it with ringlight train --resume {folder}"
    )
    with pytest.raises(BundleError, match="got a folder without it"):
        load_model(tmp_path)


def test_a_folder_stands_for_its_images(model_run: Path, tile_folder: Path, tmp_path: Path) -> None:
    result = predict_files(model_run, [tile_folder / "dark", tile_folder / "bright" / "bright_0.png"])
    names = [Path(key).name for key in result.prediction.ids]
    assert names == [*(f"dark_{number}.png" for number in range(6)), "bright_0.png"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="expected at least one image, got none; name images"):
        predict_files(model_run, [tmp_path / "empty"])


def test_runs_are_compared_by_name_path_and_pattern(tmp_path: Path) -> None:
    for letter, score in (("a", 0.5), ("b", 0.75)):
        write_results(make_run(tmp_path, f"demo-{letter}"), score)
    by_name = runs.compare_runs(["demo-a", "demo-b"], workspace=tmp_path)
    assert by_name.rows == (
        ("demo-b", "resnet10t", "focal_loss", 0.75),
        ("demo-a", "resnet10t", "focal_loss", 0.5),
    )
    assert runs.compare_runs([str(tmp_path / "runs")]) == by_name
    assert runs.compare_runs([str(tmp_path / "runs" / "*" / "results.json")]) == by_name
    with pytest.raises(RunError, match="which names 0"):
        runs.compare_runs(["demo-a", "nosuch"], workspace=tmp_path)


def test_runs_on_different_data_say_so(tmp_path: Path) -> None:
    write_results(make_run(tmp_path, "a"), 0.5)
    write_results(make_run(tmp_path, "b"), 0.5, dataset={"fingerprint": "other"})
    assert "judged on different data" in runs.compare_runs([str(tmp_path / "runs")]).notes[0]


def test_a_damaged_manifest_is_one_line(tmp_path: Path) -> None:
    folder = make_run(tmp_path, "a")
    (folder / "manifest.json").write_text("{")
    with pytest.raises(RunError, match="expected a readable manifest"):
        runs.resume(folder)


TINY = (
    "data.num_images=12",
    "data.height=32",
    "data.width=32",
    "data.image_size=32",
    "model.name=resnet10t",
    "training.num_epochs=1",
    "training.device=cpu",
    "training.num_threads=1",
)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return [*TINY, f"data.root={tmp_path_factory.mktemp('tiny') / 'strips'}"]


@pytest.fixture
def no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "fit", lambda _, folder, **__: SimpleNamespace(results={"run": folder.name}))


@pytest.mark.parametrize(
    ("overrides", "name"), [([], "demo"), (["experiment.name=Coil 7 größer"], "Coil 7 größer")], ids=["recipe", "own"]
)
def test_a_run_is_named_after_the_experiment_or_the_recipe(
    tiny: list[str], tmp_path: Path, no_training: None, overrides: list[str], name: str
) -> None:
    run = runs.train("demo", [*tiny, *overrides], workspace=tmp_path)
    assert re.fullmatch(rf"{name}-\d{{8}}-\d{{6}}-[0-9a-f]{{4}}", run.folder.name)
    assert run.bundle == run.folder / "bundle"
    assert {path.name for path in run.folder.iterdir()} >= {"config.yaml", "split.csv", "manifest.json", "train.log"}
    assert runs.read_manifest(run.folder)["status"] == "completed"


@pytest.mark.parametrize(
    ("error", "raised", "status"),
    [
        (KeyboardInterrupt(), InterruptedRunError, "interrupted"),
        (OSError(errno.ENOSPC, "full"), WorkspaceError, "failed"),
        (FileNotFoundError(errno.ENOENT, "an image is gone"), FileNotFoundError, "failed"),
        (RuntimeError("a bug"), RuntimeError, "failed"),
    ],
    ids=["ctrl-c", "full-disk", "lost-file", "bug"],
)
def test_however_a_run_ends_its_manifest_says_so(
    tiny: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    raised: type[BaseException],
    status: str,
) -> None:
    """A lost image was once reported as a workspace that cannot be written, and the run stayed "running"."""

    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(runs, "fit", fail)
    with pytest.raises(raised) as caught:
        runs.train("demo", tiny, workspace=tmp_path)
    (folder,) = (tmp_path / "runs").iterdir()
    assert runs.read_manifest(folder)["status"] == status
    if status == "interrupted":
        assert str(caught.value).endswith(f"got Ctrl-C; go on with ringlight train --resume {folder}")


def failing_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the first plan fail as one does whose trial steps break a GPU."""
    make, faults = runs.make_plan, [RuntimeError("CUDA error: an illegal memory access was encountered")]

    def planning(config: Any, cache: Path) -> Any:
        if faults:
            raise faults.pop()
        return make(config, cache)

    monkeypatch.setattr(runs, "make_plan", planning)


def test_a_gpu_that_fails_while_the_run_is_planned_leaves_it_to_the_cpu(
    tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trial steps and features run on the GPU before there is a run; their failure was once a traceback."""
    failing_once(monkeypatch)
    made = runs.plan(runs.configure("demo", [*tiny, "training.device=auto", "training.precision=16"]), tmp_path)
    reason = "auto: cuda failed (CUDA error: an illegal memory access was encountered)"
    assert (made.device.device, made.device.reason) == ("cpu", reason)
    assert (made.config.training.device, made.config.training.precision) == ("cpu", "32")
    assert f"{reason}; the run is on the CPU" in made.notes


def test_a_named_gpu_that_fails_while_the_run_is_planned_is_one_line(
    tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing_once(monkeypatch)
    with pytest.raises(
        TrainingError, match=r"expected cuda:1 to work until the run's end, got CUDA error: .*nvidia-smi"
    ):
        runs.plan(runs.configure("demo", [*tiny, "training.device=cuda:1"]), tmp_path)


def test_trackers_are_told_how_the_run_stands(tiny: list[str], tmp_path: Path, no_training: None) -> None:
    heard = []

    class Listener(QuietTracker):
        def set_status(self, status: str) -> None:
            heard.append(status)

    runs.train("demo", tiny, workspace=tmp_path, trackers=[Listener()])
    assert heard == ["running", "completed"]


def test_a_server_that_fails_leaves_its_reason_without_the_password_in_a_whole_run(
    tiny: list[str], tmp_path: Path, no_training: None, fake_mlflow: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = "http://me:s3cret@127.0.0.1:5000"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)

    def answers(request: str) -> None:
        if request != "create_run" and fake_mlflow.runs:
            raise ConnectionError(f"no answer from {address}/api")

    fake_mlflow.fault = answers
    run = runs.train("demo", [*tiny, "training.trackers=[mlflow,csv]"], workspace=tmp_path)
    assert runs.read_manifest(run.folder)["status"] == "completed"
    files = [path for path in run.folder.rglob("*") if path.is_file()]
    assert {path.name for path in files} >= {"config.yaml", "mlflow.json", "metrics.csv", "train.log"}
    assert [path.name for path in files if b"s3cret" in path.read_bytes()] == []
    log = (run.folder / "train.log").read_text()
    assert log.count("tracker MlflowTracker failed and is left out: no answer from http://***@127.0.0.1:5000/api") == 1


def test_a_resumed_run_reads_its_own_workspace(
    tmp_path: Path, no_training: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Resumed by its path from elsewhere, a synthetic run once drew its images a second time, into ./workspace."""
    run = runs.train("demo", TINY, workspace=tmp_path / "ws")
    text = (run.folder / "manifest.json").read_text()
    (run.folder / "manifest.json").write_text(text.replace("completed", "interrupted"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    runs.resume(run.folder)
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_run_that_began_on_a_gpu_goes_on_without_one(
    tiny: list[str], tmp_path: Path, no_training: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What had been chosen for the GPU was once kept: fp16, which no CPU trains in, ended it."""
    run = runs.train("demo", tiny, workspace=tmp_path)
    for name, changes in {
        "manifest.json": {'"completed"': '"interrupted"', '"cpu"': '"cuda:0"', '"asked for"': '"auto: found an H200"'},
        "config.yaml": {"device: cpu": "device: cuda:0", "precision: '32'": "precision: '16'"},
    }.items():
        text = (run.folder / name).read_text()
        for old, new in changes.items():
            assert old in text
            text = text.replace(old, new)
        (run.folder / name).write_text(text)
    monkeypatch.setattr(runs, "choose_device", lambda _: DeviceChoice("cpu", "auto: no CUDA device found"))
    runs.resume(run.folder)
    config = runs.read_config(run.folder / "config.yaml")
    assert (config.training.device, config.training.precision, config.data.num_workers) == ("cpu", "32", 0)
    assert "the run began on cuda:0 and goes on on cpu" in (run.folder / "train.log").read_text()


def test_a_dry_run_says_what_would_happen_and_writes_nothing(tiny: list[str], tmp_path: Path) -> None:
    preview = dry_run("demo", [*tiny, "data.batch_size=4"], workspace=tmp_path / "ws")
    assert not (tmp_path / "ws").exists()
    rows = preview.class_rows()
    assert preview.parts == ("train", "val", "test")
    assert rows[-1][0] == "records"
    assert sum(rows[-1][1:]) == 12
    assert f"would train up to 1 epochs of {-(-rows[-1][1] // 4)} step(s) of 4 images" in preview.lines
    assert f"would write a folder in {tmp_path / 'ws' / 'runs'}" in preview.lines
    assert "num_classes: 4" in preview.config_yaml
    values = json.loads(json.dumps(preview.to_dict(), allow_nan=False))
    assert values["config"]["model"]["num_classes"] == 4
    assert len(set(preview.lines)) == len(preview.lines)
    with pytest.raises(Problems):
        dry_run("demo", [*tiny, "loss.gama=1"])


@pytest.mark.parametrize(
    ("mode", "line"),
    [
        ("frozen", "would fit the head logistic to frozen features of 10 images"),
        ("head_then_finetune", "would fit the head logistic, then train up to 1 epochs of 3 step(s) of 4 images"),
    ],
)
def test_a_dry_run_tells_which_work_it_is(mode: str, line: str, tiny: list[str], tmp_path: Path) -> None:
    """It spoke of epochs and steps where a head is fitted."""
    preview = dry_run("demo", [*tiny, "data.batch_size=4", f"training.mode={mode}"], workspace=tmp_path / "ws")
    assert line in preview.lines


def test_a_dry_run_tells_the_epochs_of_each_phase(tiny: list[str], tmp_path: Path) -> None:
    """It spoke of `training.num_epochs`, which no phase trains."""
    asked = [
        "phases=[supcon,margin]",
        "supcon.loss=nt_xent",
        "supcon.steps=7",
        "margin.head=cosine",
        "margin.num_epochs=4",
    ]
    preview = dry_run("demo", [*tiny, "data.batch_size=4", *asked], workspace=tmp_path / "ws")
    assert "would train in phases on 10 images: supcon up to 3 epochs, margin up to 4 epochs" in preview.lines


def rig(path: Path, **arrays: Any) -> Path:
    """Sixty windows (16, 1) of three classes."""
    usual = {"X": np.random.default_rng(0).normal(size=(60, 16, 1)).astype(np.float32), "y": np.arange(60) % 3}
    np.savez(path, **{name: values for name, values in {**usual, **arrays}.items() if values is not None})
    return path


@pytest.mark.parametrize(
    ("recipe", "line"),
    [
        ("windows", "would train up to 12 epochs of 21 step(s) of 2 windows"),
        ("windows_features", "would fit extra_trees to the features of 42 windows, without epochs"),
    ],
)
def test_a_dry_run_of_windows_speaks_of_windows(recipe: str, line: str, tmp_path: Path) -> None:
    """It counted images, and told of 50 epochs of trees; 64 windows a step left a small set with no steps to learn."""
    preview = dry_run(recipe, [f"data.root={rig(tmp_path / 'rig.npz')}"], workspace=tmp_path / "ws")
    assert line in preview.lines
    assert not [line for line in preview.lines if "images" in line or "0.00 M" in line]


def test_windows_without_labels_cannot_be_trained_on_and_it_says_why(tmp_path: Path) -> None:
    """The message spoke of model.num_classes, which nobody had set."""
    with pytest.raises(DataError, match=r"^rig: expected labels to learn, got none; name the array .*data\.label_key"):
        dry_run("windows", [f"data.root={rig(tmp_path / 'rig.npz', y=None)}"], workspace=tmp_path / "ws")
