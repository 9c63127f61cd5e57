"""An export is there whole and proved, or it is not there."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from ringlight.data.preprocess import InputSpec, prepare
from ringlight.errors import BundleError, DataError, ModelError, UserError, WorkspaceError
from ringlight.evaluation.calibration import Calibration, Calibrator
from ringlight.inference import export as exporting
from ringlight.inference.bundle import Bundle
from ringlight.inference.bundle_files import digest
from ringlight.inference.export import ExportOptions, export_model
from ringlight.inference.export_files import check_format, is_export, read_export
from ringlight.inference.export_onnx import metadata_in
from ringlight.inference.export_parity import Sample
from ringlight.inference.export_torch import TorchFileEngine, check_archive, write_torchscript
from ringlight.inference.predictor import Predictor

SPEC = InputSpec(3, (16, 16), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
KEPT = Calibration(kind="temperature", calibrator=Calibrator("temperature", (0.5,)), accepted=True, reason="")
PIXELS = np.random.default_rng(0).integers(0, 256, (10, 16, 16, 3), dtype=np.uint8)
INPUTS = np.stack([prepare(one, SPEC).numpy() for one in PIXELS])


class Tiny(nn.Module):
    """A convolution with its normalisation, and a linear classifier of the means."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 5, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(5)
        self.act = nn.ReLU()
        self.fc = nn.Linear(5, 3)
        self.norm.running_mean = torch.randn(5)
        self.eval()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.fc(self.act(self.norm(self.conv(images))).mean((2, 3)))
        return logits

    def get_classifier(self) -> nn.Module:
        return self.fc


class Counting(Tiny):
    """Scores that depend on how many records came together."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return super().forward(images) * len(images)


def bundle() -> Bundle:
    return Bundle(
        architecture={"name": "tiny"}, task="multiclass", classes=("a", "b", "c"), input_spec=SPEC,
        calibration=KEPT.to_dict(), dataset_fingerprint="f" * 64,
    )  # fmt: skip


def sample(total: int = 10) -> Sample:
    def batches() -> Iterator[np.ndarray]:
        for start in range(0, total, 4):
            yield INPUTS[start : min(start + 4, total)]

    return Sample(
        ids=[f"part{row}.png" for row in range(total)], targets=np.arange(total) % 3, batches=batches, source="parts"
    )


def export(out: Path, module: nn.Module | None = None, **options: Any) -> Any:
    return export_model(
        bundle(), module or Tiny(), sample(), out, ExportOptions(**({"format": "torchscript"} | options))
    )


def nothing_is_left(folder: Path) -> bool:
    return not any(folder.iterdir())


@pytest.mark.parametrize("format", ["torchscript", pytest.param("torch_export", marks=pytest.mark.slow)])
def test_pytorchs_own_formats_score_alike_and_load_by_their_folder(format: Any, tmp_path: Path) -> None:
    made = export(tmp_path / "out", format=format, preprocess=True, calibrated=True)
    assert sorted(path.name for path in made.folder.iterdir()) == sorted(["export.json", made.model.name])
    assert made.facts["parity"]["max_difference"] < 1e-6
    assert made.facts["outputs"] == ["logits", "probabilities"]
    loaded = Predictor.from_path(tmp_path / "out")
    expected = Predictor(bundle(), Tiny(), device="cpu").predict(list(PIXELS))
    found = loaded.predict(list(PIXELS))
    assert loaded.engine.name == format
    assert np.allclose(found.probabilities, expected.probabilities, atol=1e-6)
    assert found.labels == expected.labels


def test_half_precision_has_a_tolerance_of_its_own(tmp_path: Path) -> None:
    made = export(tmp_path / "out", precision="f16")
    assert 1e-6 < made.facts["parity"]["max_difference"] < 1e-2
    assert made.facts["parity"]["tolerance"] == 1e-2


def test_an_export_outside_the_tolerance_is_refused_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(graph: Any, example: Any, path: Path) -> None:
        graph.module.fc.bias.data += torch.tensor([0.5, 0.0, 0.0])
        write_torchscript(graph, example, path)

    monkeypatch.setattr("ringlight.inference.export_torch.write_torchscript", broken)
    with pytest.raises(ModelError) as caught:
        export(tmp_path / "out")
    told = str(caught.value)
    assert told.startswith(
        "--format torchscript: expected probabilities within 0.0001 of PyTorch's on 10 records, got 0.0"
    )
    assert " on `part" in told
    assert told.endswith("nothing was written: try another --format or --opset, or serve the bundle itself")
    assert nothing_is_left(tmp_path)


def test_a_trace_that_kept_the_number_of_records_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ModelError, match="expected a model that computes alike for every number of records, got others"
    ):
        export(tmp_path / "out", Counting())
    assert nothing_is_left(tmp_path)


def test_calibration_in_the_graph_that_is_off_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "probabilities_of", lambda logits, _: np.full(logits.shape, 0.5))
    with pytest.raises(ModelError, match="expected calibrated probabilities within"):
        export(tmp_path / "out", calibrated=True)
    assert nothing_is_left(tmp_path)


def test_a_folder_that_is_there_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError) as caught:
        export(tmp_path / "out")
    assert str(caught.value) == (
        f"--out {tmp_path / 'out'}: expected a folder that is not there yet, got one that is; "
        "name another, or remove it"
    )


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WorkspaceError, match="expected a place that can be written"):
        export(tmp_path / "file" / "out")


def test_no_records_prove_nothing(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="parts: expected records to check the export on, got none"):
        export_model(bundle(), Tiny(), sample(0), tmp_path / "out", ExportOptions(format="torchscript"))
    assert nothing_is_left(tmp_path)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"opset": 17}, "--opset: expected an operator set from 18 to 24, got 17; 18 is what most runtimes know"),
        ({"opset": 25}, "--opset: expected an operator set from 18 to 24, got 25"),
        ({"precision": "bf16"}, "--bf16: expected --bf16 with --format openvino, got onnx"),
        ({"tolerance": 0.0}, "--tolerance: expected a number above 0 and below 1, got 0; 0.0001 is usual"),
        ({"tolerance": float("nan")}, "--tolerance: expected a number above 0 and below 1, got nan"),
        ({"precision": "f64"}, "precision: expected f32, f16 or bf16, got `f64`"),
    ],
)
def test_choices_that_a_format_does_not_have(options: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError) as caught:
        ExportOptions(**({"format": "onnx"} | options))
    assert str(caught.value).startswith(told)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("onx", "--format: expected a format, got `onx`; did you mean `onnx`?"),
        ("tflite", "--format: expected a format that is written without TensorFlow (onnx, openvino, torchscript, "
         "torch_export), got `tflite`; ringlight models export MODEL --format onnx, then onnx2tf"),
        ("saved_model", "--format: expected a format that is written without TensorFlow"),
    ],
)  # fmt: skip
def test_formats_that_are_not_written(name: str, told: str) -> None:
    with pytest.raises(UserError) as caught:
        check_format(name)
    assert str(caught.value).startswith(told)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kept") / "out"
    export(folder)
    return folder


@pytest.fixture
def folder(kept: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(kept, tmp_path / "out"))


def test_the_index_is_the_bundles_and_how_it_was_exported(folder: Path) -> None:
    found = read_export(folder)
    assert found.bundle == bundle()
    assert is_export(folder)
    assert is_export(folder / "export.json")
    assert not is_export(folder / "model.ts")
    assert found.to_dict()["parity"]["num_records"] == 10
    assert read_export(folder / "export.json").folder == folder


def test_a_changed_file_is_refused(folder: Path) -> None:
    (folder / "model.ts").write_bytes(b"other")
    with pytest.raises(BundleError, match="the file was changed or damaged"):
        Predictor.from_path(folder)


def test_an_edited_index_is_refused(folder: Path) -> None:
    text = (folder / "export.json").read_text()
    (folder / "export.json").write_text(text.replace('"a"', '"b"').replace('"b",\n    "b"', '"b",\n    "a"'))
    with pytest.raises(BundleError, match="it was edited or damaged: export the model again"):
        Predictor.from_path(folder)


def test_a_missing_file_is_refused(folder: Path) -> None:
    (folder / "model.ts").unlink()
    with pytest.raises(BundleError, match="expected a file the bundle lists, got No such file"):
        Predictor.from_path(folder)


def test_an_unknown_format_is_refused(folder: Path) -> None:
    values = json.loads((folder / "export.json").read_text())
    del values["index_sha256"]
    values["export"]["format"] = "coreml"
    (folder / "export.json").write_text(json.dumps({**values, "index_sha256": digest(values)}))
    with pytest.raises(
        BundleError, match="expected an export as onnx, openvino, torchscript, torch_export, got 'coreml'"
    ):
        read_export(folder)


def test_inputs_of_another_shape_are_told(folder: Path) -> None:
    engine = TorchFileEngine(folder / "model.ts")
    with pytest.raises(DataError, match=r"got shape \(1, 4, 16, 16\); bring them to its size"):
        engine.run(np.zeros((1, 4, 16, 16), np.float32))


def test_a_damaged_script_is_one_line(folder: Path) -> None:
    (folder / "model.ts").write_bytes(b"no script")
    with pytest.raises(BundleError, match="expected a model that PyTorch can open, got ") as told:
        TorchFileEngine(folder / "model.ts")
    assert "\n" not in str(told.value)


def archive(path: Path, **entries: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as made:
        for name, content in entries.items():
            made.writestr(name, content)
    return path


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("model/data/weights/model_weights_config.json", b'{"config": {"w": {"use_pickle": true}}}', "`w`"),
        ("model/data/sample_inputs/model.pt", b"cos\nsystem\n(S'true'\ntR.", "data/sample_inputs/model.pt"),
        ("model/data/constants/opaque_obj_0", b"", "data/constants/opaque_obj_0"),
        ("model/data/aotinductor/model/x.so", b"", "data/aotinductor/model/x.so`, compiled code"),
    ],
)  # fmt: skip
def test_a_program_that_would_be_unpickled_or_run_is_refused(
    name: str, content: bytes, told: str, tmp_path: Path
) -> None:
    """`torch.export.load` falls back to full unpickling: a program could run anything on whoever opens it."""
    path = archive(tmp_path / "model.pt2", **{name: content})
    with pytest.raises(BundleError, match="expected a program without pickled parts, got") as caught:
        check_archive(path)
    assert told in str(caught.value)
    path.write_bytes(b"no archive")
    with pytest.raises(BundleError, match="expected a model that PyTorch can open"):
        TorchFileEngine(path)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return export(tmp_path_factory.mktemp("onnx") / "out", format="onnx", preprocess=True, calibrated=True, opset=20)


@pytest.mark.slow
def test_the_file_tells_what_it_is(made: Any) -> None:
    model = onnx.load(made.model)
    assert model.opset_import[0].version == 20
    batch = model.graph.input[0].type.tensor_type.shape.dim[0]
    assert batch.dim_param
    assert not batch.dim_value
    told = metadata_in(made.model)
    assert (json.loads(told["classes"]), told["task"]) == (["a", "b", "c"], "multiclass")
    assert json.loads(told["input"]) == SPEC.to_dict()
    # The exporter writes where each line of source lies on the machine that it ran on.
    assert b"site-packages" not in made.model.read_bytes()
    assert str(Path.cwd()).encode() not in made.model.read_bytes()


@pytest.mark.slow
def test_it_loads_and_decides_as_the_bundle(made: Any) -> None:
    found = Predictor.from_path(made.folder).predict(list(PIXELS))
    expected = Predictor(bundle(), Tiny(), device="cpu").predict(list(PIXELS))
    assert np.allclose(found.probabilities, expected.probabilities, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("format", ["onnx", "openvino"])
def test_a_broken_layer_is_refused_by_its_name(format: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A weight that went wrong on the way: what merged with it keeps the name of the later module, `norm`."""
    if format == "openvino":
        pytest.importorskip("openvino", reason="the extra `openvino` is not installed")
    write = exporting.write_onnx

    def broken(graph: Any, program: Any, path: Path, **options: Any) -> None:
        write(graph, program, path, **options)
        model = onnx.load(path)
        convolution = next(node for node in model.graph.node if node.op_type == "Conv")
        weight = next(one for one in model.graph.initializer if one.name == convolution.input[1])
        weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * 1.05, weight.name))
        onnx.save(model, path)

    monkeypatch.setattr(exporting, "write_onnx", broken)
    with pytest.raises(ModelError) as caught:
        export(tmp_path / "out", format=format)
    assert "first off: `norm`, whose output is" in str(caught.value)
    assert "on `part" in str(caught.value)
    assert nothing_is_left(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("format", "precision"), [("onnx", "f16"), ("openvino", "f16"), ("openvino", "bf16")])
def test_less_precision_is_half_the_file_or_told(format: Any, precision: Any, tmp_path: Path) -> None:
    if format == "openvino":
        pytest.importorskip("openvino", reason="the extra `openvino` is not installed")
    made = export(tmp_path / "out", format=format, precision=precision)
    assert sorted(path.name for path in made.folder.glob("model.*")) == sorted(
        ["model.onnx"] if format == "onnx" else ["model.bin", "model.xml"]
    )
    if precision == "bf16":
        assert made.facts["parity"]["max_difference"] < 1e-4
        assert made.facts["bf16"]["num_records"] == 10
    engine = Predictor.from_path(made.folder).engine
    assert getattr(engine, "precision", "f32") == ("bf16" if precision == "bf16" else "f32")
