"""A model is exported on the proof of its own records, or of those that are named."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ringlight.data.preprocess import InputSpec
from ringlight.data.window_spec import WindowSpec
from ringlight.errors import BundleError, DataError, RunError, UserError
from ringlight.inference.bundle import Bundle, write_bundle
from ringlight.inference.export_files import read_export
from ringlight.models import build_model, build_sequence_model
from ringlight.services.export_records import spaced
from ringlight.services.exports import export

CLASSES = ("middle", "dark", "bright")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that stands alone: random weights, three classes."""
    folder = tmp_path_factory.mktemp("models") / "sorter"
    torch.manual_seed(0)
    bundle = Bundle(
        architecture={"name": "resnet10t", "in_chans": 3, "drop_rate": 0.0, "params": {}},
        task="multiclass", classes=CLASSES,
        input_spec=InputSpec(in_chans=3, image_size=(32, 32), mean=(0.5,) * 3, std=(0.5,) * 3),
    )  # fmt: skip
    write_bundle(folder, bundle, build_model("resnet10t", num_classes=3, pretrained=False).module)
    return folder


def test_a_bundle_alone_is_proved_on_records_that_are_named(saved: Path, tile_folder: Path, tmp_path: Path) -> None:
    made = export(
        saved, format="torchscript", preprocess=True, data=str(tile_folder), num_records=6, workspace=tmp_path
    )
    assert made.folder == tmp_path / "exports" / "sorter-torchscript-pixels"
    report = read_export(made.folder).facts["parity"]
    assert (report["num_records"], report["source"]) == (6, "tiles")
    assert report["worst_record"].split("/")[0] in CLASSES
    with pytest.raises(UserError, match="expected a folder that is not there yet, got one that is"):
        export(saved, format="torchscript", preprocess=True, data=str(tile_folder), workspace=tmp_path)
    with pytest.raises(BundleError) as caught:
        export(made.folder, format="torchscript", workspace=tmp_path)
    assert str(caught.value) == (
        f"{made.folder}: expected a run, a bundle or a version, got an export; name the model that it was made of"
    )


def test_without_records_nothing_is_proved(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError) as caught:
        export(saved, workspace=tmp_path)
    assert str(caught.value) == (
        f"{saved}: expected a run, which has a validation part of its own, got a bundle that stands alone; "
        "name labelled records to check the export on: --data SOURCE"
    )


@pytest.mark.parametrize(
    ("options", "kind", "told"),
    [
        ({"format": "tensorrt"}, UserError, "--format: expected a format, got `tensorrt`"),
        ({"opset": 11}, UserError, "--opset: expected an operator set from 18 to 24, got 11"),
        ({"num_records": 1}, DataError, "--records: expected 2 records or more, got 1; 200 is usual"),
    ],
)
def test_what_is_asked_wrongly_is_told_before_anything_is_opened(
    options: dict[str, Any], kind: type[Exception], told: str, tmp_path: Path
) -> None:
    with pytest.raises(kind) as caught:
        export(tmp_path / "nothing", **options)
    assert str(caught.value).startswith(told)


@pytest.mark.parametrize(
    ("options", "kind", "told"),
    [
        ({"format": "torchscript"}, UserError, "--int8: expected --int8 with --format onnx or openvino alone, got "),
        ({"precision": "f16"}, UserError, "--int8: expected --int8 with --format onnx or openvino alone, got onnx,"),
        ({"calibrated": True}, UserError, "--int8: expected --int8 without --calibrated, got both; leave"),
        ({"max_drift": 15}, UserError, "--max-drift: expected a relative error above 0, 1 at most, got 15; leave it"),
        ({}, RunError, "{saved}: expected a run, which has a training part of its own, got a bundle that stands "
         "alone; export the run itself: INT8 is calibrated on its training records"),
    ],
)  # fmt: skip
def test_int8_that_cannot_be_is_told_before_anything_is_exported(
    options: dict[str, Any], kind: type[Exception], told: str, saved: Path, tmp_path: Path
) -> None:
    with pytest.raises(kind) as caught:
        export(saved, int8=True, data=str(tmp_path), workspace=tmp_path, **options)
    assert str(caught.value).startswith(told.format(saved=saved))
    assert not any(tmp_path.iterdir())


def test_int8_of_a_classical_model_is_refused(tmp_path: Path) -> None:
    """Its kernels, or what stands for them in the graph, would have been quantised as if they were weights."""
    module: Any = build_sequence_model("svm", num_classes=2, in_chans=1, length=32).module
    windows = torch.randn(8, 1, 32, generator=torch.Generator().manual_seed(0))
    module.fit_features(module.describe(windows).numpy(), np.arange(8) % 2)
    bundle = Bundle(
        architecture={"name": "svm", "in_chans": 1, "drop_rate": 0.0, "params": {}}, task="multiclass",
        classes=("sound", "leak"), input_spec=WindowSpec(("flow",), 32, normalize="none"),
    )  # fmt: skip
    write_bundle(tmp_path / "svm", bundle, module)
    with pytest.raises(UserError) as caught:
        export(tmp_path / "svm", int8=True, data=str(tmp_path), workspace=tmp_path / "w")
    assert str(caught.value) == (
        "--int8: expected a network for --int8, got svm; "
        "leave it out: a classical model is computed in single precision"
    )


def test_a_changed_bundle_is_refused(saved: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(saved, tmp_path / "copy"))
    with (copy / "model.safetensors").open("ab") as weights:
        weights.write(b"0")
    with pytest.raises(BundleError, match="the file was changed or damaged"):
        export(copy, data=str(tmp_path))


def test_records_are_taken_from_everywhere() -> None:
    """Records lie in order of their class: the first ones would prove one class."""
    assert spaced(100, 5) == [0, 25, 50, 74, 99]
    assert len(set(spaced(1000, 200))) == 200
