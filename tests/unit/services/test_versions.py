"""Registered versions: copied whole or not at all, named, loaded, and never unpickled."""

from __future__ import annotations

import errno
import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from sqlalchemy import text

from ringlight.data.window_spec import WindowSpec
from ringlight.errors import BundleError, ModelError, RunError, UserError, WorkspaceError
from ringlight.files import file_sha256
from ringlight.inference.bundle_files import digest
from ringlight.models import build_model
from ringlight.services import version_files, versions
from ringlight.services.activations import activate
from ringlight.services.model_places import load_model, model_folder
from ringlight.services.registered import events_of, get_version, list_versions, load_version, registered_folder
from ringlight.services.saved_models import open_model
from ringlight.services.stores import open_store
from ringlight.services.versions import kind_of, register

MakeRun = Callable[..., Path]


def files_in(workspace: Path) -> list[str]:
    """Everything below `models/` but the lock."""
    models = workspace / "models"
    return sorted(path.relative_to(models).as_posix() for path in models.rglob("*") if path.name != ".lock")


def execute(workspace: Path, statement: str, **values: Any) -> None:
    with open_store(workspace) as store, store.engine.begin() as connection:
        connection.execute(text(statement), values)


def test_a_run_is_registered_with_what_is_known_of_it(tmp_path: Path, make_finished: MakeRun) -> None:
    make_finished(tmp_path, "strips-1", {"crack": 10})
    told: list[Any] = []

    def fails(_version: Any, _folder: Path) -> None:
        raise RuntimeError("no server")

    made = register(
        "strips-1",
        description="first",
        who="kim",
        workspace=tmp_path,
        listeners=[fails, lambda *all_: told.append(all_)],
    )
    assert (str(made), made.kind, made.run, made.description) == ("strips@1", "defect", "strips-1", "first")
    assert made.metrics == {"macro_f1": 0.9167, "recall/crack": 0.75, "recall/good": 1.0, "recall/scratch": 1.0}
    assert made.label == made.created.strftime("%Y%m%d_%H%M%S_macro_f1_0.92")
    assert (made.classes, made.is_active, made.path) == (("crack", "good", "scratch"), False, "models/defect/strips/v1")
    assert told == [(made, tmp_path / made.path)]
    assert files_in(tmp_path) == [
        "defect", "defect/strips", "defect/strips/v1", "defect/strips/v1/bundle.json",
        "defect/strips/v1/model.safetensors",
    ]  # fmt: skip
    assert get_version("strips", "v1", workspace=tmp_path) == made
    assert json.loads(json.dumps(made.to_dict()))["run"] == "strips-1"
    assert [(event["what"], event["who"]) for event in events_of("strips", workspace=tmp_path)] == [
        ("registered", "kim")
    ]


def test_the_mlflow_that_a_run_reported_to_has_its_versions_too(
    tmp_path: Path, make_finished: MakeRun, fake_mlflow: Any, caplog: pytest.LogCaptureFixture
) -> None:
    folder = make_finished(tmp_path, "strips-1")
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["training"]["trackers"] = ["mlflow"]
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    register("strips-1", workspace=tmp_path)
    (told,) = fake_mlflow.versions["strips"]
    assert told.tags["ringlight.version"] == "1"
    fake_mlflow.fault = lambda request: (_ for _ in ()).throw(OSError(f"{request}: the server is down"))
    assert str(register("strips-1", workspace=tmp_path)) == "strips@2"
    assert len(fake_mlflow.versions["strips"]) == 1
    assert "strips@2 is registered, but not told on: TrackerError" in caplog.text


def test_a_bundle_alone_needs_a_name_and_has_no_run(tmp_path: Path, make_finished: MakeRun) -> None:
    bundle = make_finished(tmp_path / "elsewhere", "x", recipe="") / "bundle"
    with pytest.raises(UserError, match="expected a name, got none, and no recipe to take it from; pass --name NAME"):
        register(bundle, workspace=tmp_path)
    made = register(bundle, name="tiles", kind="view", workspace=tmp_path)
    assert (made.run, made.kind, made.metrics["macro_f1"]) == (None, "view", 1.0)
    # A run of another workspace is not recorded in this one.
    assert register(bundle.parent, name="tiles", kind="view", workspace=tmp_path).run is None
    assert [one.version for one in list_versions(name="tiles", workspace=tmp_path)] == [2, 1]
    assert list_versions(kind="defect", workspace=tmp_path) == []


def test_the_kind_is_guessed_and_has_to_fit(tmp_path: Path, make_finished: MakeRun) -> None:
    spec = WindowSpec(channels=("a",), length=8, normalize="none")
    windows = make_finished(tmp_path, "air-1", recipe="air_leak", spec=spec)
    assert register(windows, workspace=tmp_path).kind == "window"
    assert register(make_finished(tmp_path, "view-1", recipe="view_classifier"), workspace=tmp_path).kind == "view"
    image = SimpleNamespace(input_spec=None, training_config={}, task="multiclass")
    for kind, message in (
        ("shelf", "expected a kind of model, got `shelf`; choose from: detection, view, defect, window"),
        (
            "window",
            r"expected a model of kind window, got one of whole images \(multiclass\); leave it out: defect fits",
        ),
        ("detection", "expected a model of kind detection"),
    ):
        with pytest.raises(UserError, match=message):
            kind_of(image, kind)  # type: ignore[arg-type]
    with pytest.raises(
        ModelError, match="expected a model of kind window, as the other versions of air_leak, got view"
    ):
        register("view-1", name="air_leak", workspace=tmp_path)


def test_names_that_could_lead_elsewhere_are_refused(tmp_path: Path, make_finished: MakeRun) -> None:
    make_finished(tmp_path, "strips-1", recipe="../up")
    for name in ("..", "../x", "/etc", "a/b", "a\\b", "a\0b", "", " ", ".x", "-x", "é", "a" * 101, "a\n", None):
        with pytest.raises(UserError, match=r"^--name: expected a name of 1 to 100 letters") as caught:
            register("strips-1", name=name, workspace=tmp_path)
        assert "\n" not in str(caught.value)
    assert files_in(tmp_path) == []


def test_only_finished_runs_are_registered(tmp_path: Path, make_finished: MakeRun) -> None:
    make_finished(tmp_path, "strips-1", status="running")
    with pytest.raises(RunError, match="expected a completed run, got one that is running"):
        register("strips-1", workspace=tmp_path)
    with pytest.raises(RunError, match="which names 0"):
        register("nosuch", workspace=tmp_path)
    make_finished(tmp_path, "b")
    for given, message in (
        ({"description": "x" * 2001}, "--description: expected one line of up to 2000 characters, got 2001 characters"),
        ({"description": "a\nb"}, "--description: .*, got line breaks or signs that cannot be printed"),
        ({"who": "x" * 201}, "--who: expected one line of up to 200 characters"),
    ):
        with pytest.raises(UserError, match=message):
            register("b", **given, workspace=tmp_path)
    assert not (tmp_path / "models").exists()


def test_what_lies_beside_a_bundle_stays_there(tmp_path: Path, make_finished: MakeRun) -> None:
    bundle = make_finished(tmp_path, "strips-1") / "bundle"
    (bundle / "payload.ckpt").write_bytes(b"x")
    (bundle / "more").symlink_to("/etc")
    register("strips-1", workspace=tmp_path)
    assert {path.name for path in (tmp_path / "models/defect/strips/v1").iterdir()} == {
        "bundle.json", "model.safetensors",
    }  # fmt: skip


class Payload:
    """What a pickle may do to whoever loads it."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


def resealed(bundle: Path, **files: str) -> None:
    """Write an index whose checksums fit, as somebody would who wants a pickle to be loaded."""
    index = json.loads((bundle / "bundle.json").read_text())
    digests = {path.name: file_sha256(path) for path in bundle.iterdir() if path.name != "bundle.json"}
    index = {key: value for key, value in index.items() if key != "index_sha256"} | {"files": digests | files}
    (bundle / "bundle.json").write_text(json.dumps({**index, "index_sha256": digest(index)}))


def test_a_pickle_is_never_loaded(tmp_path: Path, make_finished: MakeRun) -> None:
    """Weights replaced by a pickle, with checksums that fit; another one beside them, where a checkpoint would lie."""
    mark = tmp_path / "executed"
    for weights in (pickle.dumps(Payload(mark)), None):
        bundle = make_finished(tmp_path, f"strips-{weights is None}") / "bundle"
        target = bundle / ("payload.ckpt" if weights is None else "model.safetensors")
        target.write_bytes(pickle.dumps(Payload(mark)))
        if weights is None:
            torch.save(Payload(mark), target)
            register(bundle, workspace=tmp_path)  # it is left where it was
            (tmp_path / "models/defect/strips/v1/payload.ckpt").write_bytes(target.read_bytes())
            with pytest.raises(BundleError):  # the fake has no weights of its architecture
                load_version("strips", 1, workspace=tmp_path)
            continue
        with pytest.raises(BundleError, match=r"model.safetensors: expected SHA-256"):
            register(bundle, workspace=tmp_path)
        resealed(bundle)
        with pytest.raises(BundleError, match=r"expected weights in safetensors, got .*; export the model again$"):
            register(bundle, workspace=tmp_path)
    assert not mark.exists()


def test_a_bundle_that_reaches_out_of_its_folder_is_refused(tmp_path: Path, make_finished: MakeRun) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s")
    bundle = make_finished(tmp_path, "strips-1") / "bundle"
    weights = bundle / "model.safetensors"
    for name in ("../../../secret", str(secret), "a\\b", ".."):
        resealed(bundle, **{name: file_sha256(secret)})
        with pytest.raises(BundleError, match="expected names of files and their checksums"):
            register(bundle, workspace=tmp_path)
    weights.rename(tmp_path / "weights")
    weights.symlink_to(tmp_path / "weights")
    resealed(bundle)
    with pytest.raises(BundleError, match="expected a file that the bundle lists, got a link"):
        register(bundle, workspace=tmp_path)
    assert files_in(tmp_path) == []


@pytest.mark.parametrize("fails", ["copy", "rename", "row"])
def test_a_failure_leaves_neither_files_nor_rows(
    tmp_path: Path, make_finished: MakeRun, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    make_finished(tmp_path, "strips-1")
    with monkeypatch.context() as patched:
        if fails == "copy":
            patched.setattr(version_files.shutil, "copyfileobj", full)
        elif fails == "rename":
            patched.setattr(version_files.Path, "rename", full)
        else:
            patched.setattr(versions, "shown", full)
        with pytest.raises((WorkspaceError, OSError), match=r"No space left|room on the disk"):
            register("strips-1", workspace=tmp_path)
    assert files_in(tmp_path) == []
    assert list_versions(workspace=tmp_path) == []
    assert str(register("strips-1", workspace=tmp_path)) == "strips@1"


def test_what_lies_in_the_place_of_a_version_without_a_row_is_left_alone(
    tmp_path: Path, make_finished: MakeRun
) -> None:
    """A database that was lost: its models are still there, and none is written over."""
    make_finished(tmp_path, "strips-1")
    register("strips-1", workspace=tmp_path)
    (tmp_path / "ringlight.db").unlink()
    assert register("strips-1", workspace=tmp_path).version == 2
    assert (tmp_path / "models/defect/strips/v1/bundle.json").is_file()


def test_a_model_is_loaded_by_its_name(tmp_path: Path, make_finished: MakeRun) -> None:
    torch.manual_seed(0)
    network = build_model("resnet10t", num_classes=3, pretrained=False).module
    run = make_finished(tmp_path, "strips-1", module=network)
    register("strips-1", workspace=tmp_path)
    image = np.full((40, 40, 3), 200, np.uint8)
    expected = load_model(run).predict(image).probabilities
    for loaded in (load_version("strips", 1, workspace=tmp_path), load_model("strips@1", workspace=tmp_path)):
        assert np.array_equal(loaded.predict(image).probabilities, expected)
    # Judged, it has the test part of its run, and what the run has seen counts as seen.
    opened = open_model("strips@1", tmp_path, None, None)
    assert (opened.name, opened.run) == ("strips@1", run)
    shutil.move(run / "results.json", run / "elsewhere")
    assert open_model("strips@1", tmp_path, None, None).run is None
    # The name of a model wins over the beginning of a run's, and says why it stands for nothing yet.
    with pytest.raises(ModelError) as caught:
        load_model("strips", workspace=tmp_path)
    assert str(caught.value) == (
        "strips: expected an active version, got none of 1; activate one: ringlight models activate strips 1"
    )
    assert model_folder("strips-1", tmp_path) == run
    execute(tmp_path, "UPDATE model_versions SET is_active = 1")
    folder = tmp_path / "models/defect/strips/v1"
    for name in ("strips", "strips@active", "strips@v1", "strips:1", "strips:active"):
        assert model_folder(name, tmp_path) == folder
    make_finished(tmp_path, "strips")
    assert model_folder("strips", tmp_path) == tmp_path / "runs" / "strips"  # a run's whole name wins


def test_a_folder_of_parts_may_be_called_as_the_model_that_judges_them(
    tmp_path: Path, make_finished: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`ringlight predict strips strips/` once said that the folder of images was no model."""
    make_finished(tmp_path, "first")
    register("first", name="strips", workspace=tmp_path)
    activate("strips", 1, workspace=tmp_path)
    (tmp_path / "strips").mkdir()
    monkeypatch.chdir(tmp_path)
    assert model_folder("strips", tmp_path) == tmp_path / "models/defect/strips/v1"
    assert model_folder("runs/first", tmp_path) == Path("runs/first")
    (tmp_path / "nothing").mkdir()
    assert model_folder("nothing", tmp_path) == Path("nothing")  # what it lacks is told when it is opened


def test_versions_that_are_not_there(tmp_path: Path, make_finished: MakeRun) -> None:
    make_finished(tmp_path, "strips-1")
    register("strips-1", workspace=tmp_path)
    for version in ("", "2", "x", "-1", "1.0", "٣", "9" * 30):
        with pytest.raises(ModelError, match=r"^strips: expected a version"):
            model_folder(f"strips@{version}", tmp_path)
        with pytest.raises(ModelError):
            model_folder(f"strips:{version}", tmp_path)
    for name in ("a\nb", "a\0b", "../x"):
        with pytest.raises(
            ModelError, match=r"^models: expected a registered model, got '[^\n]*'; choose from: strips$"
        ):
            get_version(name, 1, workspace=tmp_path)
    with pytest.raises(
        ModelError, match=r"^models: expected a registered model, got `strip`; did you mean `strips`\?$"
    ):
        load_version("strip", workspace=tmp_path)


def test_asking_for_a_name_makes_no_store(tmp_path: Path) -> None:
    assert registered_folder("strips", tmp_path / "nothing") is None
    assert not (tmp_path / "nothing").exists()


def test_a_row_that_was_edited_leads_nowhere(tmp_path: Path, make_finished: MakeRun) -> None:
    workspace = tmp_path / "workspace"
    make_finished(workspace, "strips-1")
    register("strips-1", workspace=workspace)
    shutil.copytree(workspace / "models/defect/strips/v1", tmp_path / "outside")
    upwards = "models/defect/strips/v1/../../../../outside"
    for path in ("/etc", "../outside", upwards, "runs", "runs/strips-1/bundle", "models/defect/strips/v2", "a\0", ""):
        execute(workspace, "UPDATE model_versions SET path = :path", path=path)
        with pytest.raises(WorkspaceError, match=r"the store was edited") as caught:
            load_version("strips", 1, workspace=workspace)
        assert "\n" not in str(caught.value)


def test_a_link_in_the_place_of_a_version_leads_nowhere(tmp_path: Path, make_finished: MakeRun) -> None:
    workspace, outside = tmp_path / "workspace", tmp_path / "outside"
    make_finished(workspace, "strips-1")
    register("strips-1", workspace=workspace)
    (workspace / "models/defect").rename(outside)
    (workspace / "models/defect").symlink_to(outside)
    with pytest.raises(WorkspaceError, match="expected a path inside the workspace, got 'models/defect/strips/v1'"):
        load_version("strips", 1, workspace=workspace)
    with pytest.raises(WorkspaceError, match="expected a path inside the workspace"):
        register("strips-1", workspace=workspace)
    assert [path.name for path in (outside / "strips").iterdir()] == ["v1"]


def test_files_that_were_changed_are_not_loaded(tmp_path: Path, make_finished: MakeRun) -> None:
    for name in ("strips-1", "strips-2"):
        make_finished(tmp_path, name)
        register(name, workspace=tmp_path)
    home = tmp_path / "models/defect/strips"
    shutil.copy(home / "v2" / "bundle.json", home / "v1" / "bundle.json")  # a whole bundle, but another one
    shutil.copy(home / "v2" / "model.safetensors", home / "v1" / "model.safetensors")
    with pytest.raises(BundleError, match="expected strips@1 as it was registered, got another checksum"):
        load_version("strips", 1, workspace=tmp_path)
    shutil.rmtree(home / "v2")
    with pytest.raises(BundleError, match="expected the files of strips@2, got nothing there"):
        load_version("strips", 2, workspace=tmp_path)


@pytest.mark.parametrize("committed", [False, True])
def test_a_registration_that_was_cut_off_is_taken_back_or_kept(
    tmp_path: Path, make_finished: MakeRun, committed: bool
) -> None:
    make_finished(tmp_path, "strips-1")
    register("strips-1", workspace=tmp_path)
    home = tmp_path / "models/defect/strips"
    (home / ".adding-v1").touch()
    (tmp_path / "models/.copy-00000000").mkdir()
    if not committed:
        execute(tmp_path, "DELETE FROM model_versions")
    with version_files.alone(tmp_path):  # somebody is at it: nothing is touched
        list_versions(workspace=tmp_path)
        assert (home / ".adding-v1").exists()
    assert len(list_versions(workspace=tmp_path)) == int(committed)
    assert files_in(tmp_path) == (
        ["defect", "defect/strips", "defect/strips/v1", "defect/strips/v1/bundle.json",
         "defect/strips/v1/model.safetensors"] if committed else []
    )  # fmt: skip
