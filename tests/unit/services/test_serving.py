"""Models are found by what people call them, and looked up again when another version is activated."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from ringlight.errors import BundleError, ModelError, UserError
from ringlight.models import build_model
from ringlight.services.activations import activate, deactivate
from ringlight.services.registered import get_version
from ringlight.services.serving import Shelf, Wish, wish_of
from ringlight.services.serving_engines import load_with
from ringlight.services.versions import register

MakeRun = Callable[..., Path]


@pytest.fixture(scope="module")
def module() -> torch.nn.Module:
    return build_model(
        "resnet10t", num_classes=3, in_chans=3, drop_rate=0.0, pretrained=False, image_size=(32, 32), params={}
    ).module


@pytest.fixture
def workspace(tmp_path: Path, make_finished: MakeRun, module: torch.nn.Module) -> Path:
    """A workspace with a run, and two versions of `strips`, the first of them active."""
    make_finished(tmp_path, "strips-1", module=module)
    for _ in range(2):
        register("strips-1", workspace=tmp_path)
    activate("strips", 1, workspace=tmp_path)
    return tmp_path


def test_a_model_is_called_by_its_version_its_folder_or_as_it_is_named(workspace: Path) -> None:
    run = workspace / "runs" / "strips-1"
    assert wish_of("strips", workspace) == Wish("strips", "strips", True)
    assert wish_of("strips@active", workspace) == Wish("strips", "strips@active", True)
    assert wish_of("strips@2", workspace) == Wish("strips", "strips@2", False)
    assert wish_of("strips:2", workspace) == Wish("strips", "strips:2", False)  # once it followed a name of that kind
    assert wish_of("strips-1", workspace) == Wish("strips-1", "strips-1", False)
    assert wish_of(str(run), workspace) == Wish("strips-1", str(run), False)
    assert wish_of(str(run / "bundle"), workspace) == Wish("strips-1", str(run / "bundle"), False)
    assert wish_of(f"line2={run}", workspace) == Wish("line2", str(run), False)
    place = workspace / "models" / "defect" / "strips" / "v2"
    assert wish_of(str(place), workspace) == Wish("strips", str(place), False)


def test_a_folder_of_parts_that_is_called_as_the_model_changes_nothing(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (workspace / "strips").mkdir()
    monkeypatch.chdir(workspace)
    assert wish_of("strips", workspace) == Wish("strips", "strips", True)


def test_what_cannot_be_served_is_told_before_anything_is_loaded(workspace: Path) -> None:
    with pytest.raises(ModelError, match="expected a version that is there, got 7"):
        Shelf(["strips@7"], workspace=workspace)
    with pytest.raises(
        UserError, match=r"expected a name for each model, got `strips` for strips and strips@2; name one"
    ):
        Shelf(["strips", "strips@2"], workspace=workspace)
    with pytest.raises(UserError, match="--engine: expected an engine, got `onnx`; choose from: onnx"):
        Shelf(["strips"], engine="onnx", workspace=workspace)
    odd = workspace / "my model"
    (workspace / "runs" / "strips-1" / "bundle").rename(odd)
    with pytest.raises(UserError, match="expected a name for the address of the model, got 'my model'; name it: NAME="):
        Shelf([str(odd)], workspace=workspace)


def test_a_followed_name_tells_when_another_version_is_active(workspace: Path) -> None:
    shelf = Shelf(["strips:active", "fixed=strips@1", "run=strips-1"], workspace=workspace)
    try:
        served = {name: shelf.open(name) for name in shelf.names}
        assert [(one.reference, one.version) for one in served.values()] == [
            ("strips@1", 1), ("strips@1", 1), ("strips-1", None),
        ]  # fmt: skip
        assert served["strips"].checksum == get_version("strips", 1, workspace=workspace).checksum
        serving = {name: one.version for name, one in served.items()}
        assert shelf.moved(serving) == {}
        activate("strips", 2, workspace=workspace)
        assert shelf.moved(serving) == {"strips": 2}
        assert shelf.open("strips").version == 2
        deactivate("strips", workspace=workspace)
        assert shelf.moved(serving) == {"strips": None}
    finally:
        shelf.close()


def test_a_version_whose_files_were_changed_is_refused(workspace: Path) -> None:
    shelf = Shelf(["strips"], workspace=workspace)
    weights = workspace / "models" / "defect" / "strips" / "v1" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(BundleError, match="expected SHA-256"):
        shelf.open("strips")


def test_a_file_that_is_replaced_changes_nothing_that_is_loaded(workspace: Path) -> None:
    """The weights are copied out of the file, which is mapped: cut short, it would end the process by a bus error."""
    folder = workspace / "runs" / "strips-1"
    predictor = load_with(folder, engine=None, threads=None, workspace=workspace)
    inputs = torch.ones(1, 3, 32, 32).numpy()
    before = predictor.predict_prepared(inputs, ["a"]).probabilities
    with (folder / "bundle" / "model.safetensors").open("r+b") as weights:
        weights.write(bytes(4096))
        weights.truncate(10)
    assert (predictor.predict_prepared(inputs, ["a"]).probabilities == before).all()
