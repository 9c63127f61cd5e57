"""The bundle: what is written can be loaded again with the same scores; what was damaged is refused."""

from __future__ import annotations

import errno
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ringlight.data.preprocess import InputSpec
from ringlight.errors import BundleError, DataError, WorkspaceError
from ringlight.evaluation.calibration import Calibration, Calibrator
from ringlight.evaluation.open_set import OpenSetRule
from ringlight.inference.bundle import FORMAT_VERSION, Bundle, read_bundle, write_bundle
from ringlight.inference.bundle_files import INDEX, digest
from ringlight.inference.predictor import Predictor
from ringlight.models import build_model

SINCE_FOUR = ("licence", "snapshot", "watch")
SPEC = InputSpec(in_chans=3, image_size=(32, 32), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle")
    torch.manual_seed(0)
    module = build_model("resnet10t", num_classes=3, pretrained=False).module
    bundle = Bundle(
        architecture={"name": "resnet10t", "in_chans": 3, "drop_rate": 0.0, "params": {}},
        task="multiclass",
        classes=("gut", "riß", "pore"),
        input_spec=SPEC,
        metrics={"macro_f1": 0.5},
    )
    write_bundle(folder, bundle, module)
    return folder


@pytest.fixture
def copied(saved: Path, tmp_path: Path) -> Path:
    for name in ("model.safetensors", "bundle.json"):
        (tmp_path / name).write_bytes((saved / name).read_bytes())
    return tmp_path


def edit(folder: Path, **changes: object) -> None:
    """Change the index and its checksum: what remains to be refused is not caught by the checksum."""
    values = json.loads((folder / "bundle.json").read_text())
    values.update(changes)
    del values["index_sha256"]
    (folder / "bundle.json").write_text(json.dumps({**values, "index_sha256": digest(values)}))


def test_a_bundle_round_trip_keeps_every_weight_and_the_description(saved: Path) -> None:
    bundle, module = read_bundle(saved)
    torch.manual_seed(0)
    original = build_model("resnet10t", num_classes=3, pretrained=False).module
    assert bundle.classes == ("gut", "riß", "pore")
    assert bundle.input_spec == SPEC
    assert bundle.metrics == {"macro_f1": 0.5}
    assert not module.training
    for name, tensor in original.state_dict().items():
        assert torch.equal(module.state_dict()[name], tensor), name


def test_the_index_says_version_and_checksum(saved: Path) -> None:
    values = json.loads((saved / "bundle.json").read_text())
    assert values["format_version"] == FORMAT_VERSION
    assert set(values["files"]) == {"model.safetensors"}
    assert len(values["files"]["model.safetensors"]) == 64


def test_a_changed_byte_in_the_weights_is_refused(copied: Path) -> None:
    weights = bytearray((copied / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (copied / "model.safetensors").write_bytes(weights)
    with pytest.raises(BundleError, match=r"model.safetensors: expected SHA-256 .*changed or damaged: copy the bundle"):
        read_bundle(copied)


@pytest.mark.parametrize("version", [FORMAT_VERSION + 1, 0, None, "1"])
def test_an_unknown_format_version_is_refused(copied: Path, version: object) -> None:
    edit(copied, format_version=version)
    with pytest.raises(BundleError, match=r"expected bundle format version 1 or 2 or 3 or 4, got "):
        read_bundle(copied)


def test_a_bundle_of_format_one_is_read_as_one_without_rules(copied: Path) -> None:
    values = json.loads((copied / "bundle.json").read_text())
    added = (
        "calibration", "operating_points", "operating_point", "tta", "good_class", "reject_threshold", "open_set",
        *SINCE_FOUR, "index_sha256",
    )  # fmt: skip
    old = {key: value for key, value in values.items() if key not in added} | {"format_version": 1}
    (copied / "bundle.json").write_text(json.dumps({**old, "index_sha256": digest(old)}))
    bundle, _ = read_bundle(copied)
    assert (bundle.calibration, bundle.operating_points, bundle.operating_point) == ({}, {}, "default")
    assert (bundle.tta, bundle.reject_threshold) == ({"runs": 1, "space": "probability"}, None)
    assert bundle.format_version == FORMAT_VERSION  # what is written again is of today's format


def test_a_bundle_of_format_two_flags_no_strangers(copied: Path) -> None:
    values = json.loads((copied / "bundle.json").read_text())
    old = {key: value for key, value in values.items() if key not in ("open_set", *SINCE_FOUR, "index_sha256")}
    old["format_version"] = 2
    (copied / "bundle.json").write_text(json.dumps({**old, "index_sha256": digest(old)}))
    bundle, _ = read_bundle(copied)
    assert bundle.open_set == {}
    assert Predictor.from_path(copied, device="cpu").predict(np.zeros((32, 32, 3), np.uint8)).unknown is None


def test_a_bundle_of_format_three_does_not_say_what_came_later(copied: Path) -> None:
    values = json.loads((copied / "bundle.json").read_text())
    old = {key: value for key, value in values.items() if key not in (*SINCE_FOUR, "index_sha256")}
    old["format_version"] = 3
    (copied / "bundle.json").write_text(json.dumps({**old, "index_sha256": digest(old)}))
    bundle, _ = read_bundle(copied)
    assert (bundle.licence, bundle.snapshot, bundle.watch) == (None, None, {})


def test_the_reference_names_every_key(copied: Path) -> None:
    page = (Path(__file__).parents[3] / "docs" / "reference" / "bundle.md").read_text()
    rows = [line.split(" | ")[0] for line in page.splitlines() if line.startswith("| `")]
    assert {key for row in rows for key in re.findall(r"`(\w+)`", row)} == set(json.loads((copied / INDEX).read_text()))


@pytest.mark.parametrize(
    ("means", "message"),
    [
        (np.eye(2, 8), "open_set: expected 3 class means, one a class, got 2; export it again"),
        (None, "open_set: expected class means beside a distance, got none"),
    ],
)
def test_an_open_set_rule_of_another_model_is_refused(copied: Path, means: Any, message: str) -> None:
    rule = OpenSetRule(accept=0.95, thresholds={"distance": 0.3}, num_records=9, accepted=1.0, means=means)
    edit(copied, open_set=rule.to_dict())
    with pytest.raises(BundleError, match=message):
        read_bundle(copied)


GATE = {
    "name": "safe", "kind": "recall_at_least", "task": "multiclass", "classes": ["gut", "riß", "pore"], "rule": "gate",
    "thresholds": [None, 0.1, None], "label": "riß", "target": 0.98, "certificate": None, "validation": {},
    "status": "ok", "reason": "",
}  # fmt: skip


def test_rules_travel_with_the_model(copied: Path) -> None:
    scaled = {"kind": "temperature", "scale": [0.5], "offset": []}
    calibration = Calibration(
        kind="temperature", calibrator=Calibrator.from_dict(scaled), accepted=True, reason="it helps"
    ).to_dict()
    edit(
        copied, calibration=calibration, operating_points={"safe": GATE}, operating_point="safe", good_class="gut",
        tta={"runs": 2, "space": "logit"}, reject_threshold=0.4,
    )  # fmt: skip
    bundle, module = read_bundle(copied)
    assert bundle.point("safe").thresholds == (None, 0.1, None)
    assert bundle.point("default").rule == "default"
    write_bundle(copied / "again", bundle, module)
    assert read_bundle(copied / "again")[0] == bundle


@pytest.mark.parametrize(
    ("change", "got"),
    [
        ({"operating_point": "save", "operating_points": {"safe": GATE}}, "did you mean `safe`?"),
        (
            {"operating_points": {"safe": GATE | {"classes": ["gut", "pore", "riß"]}}},
            "the task and classes of the model",
        ),
        ({"operating_points": {"safe": {"name": "safe"}}}, "KeyError: 'kind'"),
        ({"operating_points": ["safe"]}, "'list' object has no attribute 'items'"),
        ({"calibration": {"kind": "temperature"}}, "a calibration as Ringlight writes it"),
        ({"tta": {"runs": 99}}, "tta with runs from 1 to 8"),
        ({"tta": 5}, "'int' object has no attribute 'get'"),
        ({"reject_threshold": 2}, "reject_threshold: expected a number from 0 to 1, got 2"),
    ],
)
def test_rules_that_do_not_fit_the_model_are_refused(copied: Path, change: dict[str, object], got: str) -> None:
    """They would decide about parts, and nobody would notice."""
    edit(copied, **change)
    with pytest.raises(BundleError) as caught:
        read_bundle(copied)
    assert str(caught.value).startswith(f"{copied / 'bundle.json'}: expected ")
    assert got in str(caught.value)


def test_a_calibration_for_another_number_of_classes_is_refused(copied: Path) -> None:
    wide = Calibrator("vector", (1.0, 1.0), (0.0, 0.0))
    calibration = Calibration(kind="vector", calibrator=wide, accepted=True, reason="").to_dict()
    edit(copied, calibration=calibration)
    with pytest.raises(BundleError, match=r"expected logits \(N, 2\), got \(1, 3\)"):
        read_bundle(copied)


def test_missing_pieces_are_named(copied: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    (copied / "model.safetensors").unlink()
    with pytest.raises(BundleError, match=r"model.safetensors: expected a file the bundle lists"):
        read_bundle(copied)
    (copied / "bundle.json").write_text("{ half")
    with pytest.raises(BundleError, match=r"bundle.json: expected readable JSON"):
        read_bundle(copied)
    with pytest.raises(BundleError, match="got a folder without it"):
        read_bundle(tmp_path_factory.mktemp("empty"))
    with pytest.raises(BundleError, match="got nothing there"):
        read_bundle(copied / "nowhere")


def test_a_missing_key_is_named(copied: Path) -> None:
    values = json.loads((copied / "bundle.json").read_text())
    del values["classes"]
    (copied / "bundle.json").write_text(json.dumps(values))
    with pytest.raises(BundleError, match=r"expected the key 'classes', got none"):
        read_bundle(copied)


def test_weights_of_another_architecture_are_refused(copied: Path) -> None:
    edit(copied, architecture={"name": "resnet18", "in_chans": 3, "drop_rate": 0.0, "params": {}})
    with pytest.raises(BundleError, match="expected weights of `resnet18`"):
        read_bundle(copied)


def test_a_bundle_without_a_checksum_is_refused(copied: Path) -> None:
    edit(copied, files={})
    with pytest.raises(BundleError, match=r"expected a checksum of model.safetensors, got none"):
        read_bundle(copied)


def test_a_pickle_in_place_of_the_weights_is_never_run(copied: Path) -> None:
    """torch.load of a downloaded model has run strangers' code; the weights of a bundle are only ever read as data."""

    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (copied / "pwned",))

    import pickle

    from ringlight.files import file_sha256

    (copied / "model.safetensors").write_bytes(pickle.dumps(Evil()))
    edit(copied, files={"model.safetensors": file_sha256(copied / "model.safetensors")})
    with pytest.raises(BundleError, match="expected weights of"):
        read_bundle(copied)
    assert not (copied / "pwned").exists()


def test_a_listed_file_outside_the_bundle_is_not_opened(copied: Path) -> None:
    edit(copied, files={"../../secret": "0" * 64, "model.safetensors": "0" * 64})
    with pytest.raises(BundleError, match=f"{copied / 'secret'}: expected a file the bundle lists"):
        read_bundle(copied)


def test_one_and_many_images_paths_and_arrays_give_the_same_scores(saved: Path, tmp_path: Path) -> None:
    from PIL import Image

    predictor = Predictor.from_path(saved, device="cpu")
    pixels = np.random.default_rng(0).integers(0, 255, (40, 50, 3), np.uint8)
    path = tmp_path / "teil ü 1.png"
    Image.fromarray(pixels).save(path)
    alone = predictor.predict(pixels)
    together = predictor.predict([path, pixels, pixels[:32, :32]], batch_size=2)
    assert together.probabilities.shape == (3, 3)
    np.testing.assert_allclose(together.probabilities[0], alone.probabilities[0], atol=1e-6)
    np.testing.assert_allclose(together.probabilities.sum(1), 1.0, atol=1e-12)
    assert together.prediction.ids == [str(path), "array 1", "array 2"]
    assert [len(labels) for labels in together.labels] == [1, 1, 1]
    assert together.rows()[0]["id"] == str(path)


def test_a_threshold_outside_zero_and_one_and_an_empty_list_are_refused(saved: Path) -> None:
    with pytest.raises(DataError, match=r"threshold: expected a number in \(0, 1\), got 1.5"):
        Predictor.from_path(saved, threshold=1.5)
    with pytest.raises(DataError, match="expected at least one image, got none"):
        Predictor.from_path(saved, device="cpu").predict([])


@pytest.mark.parametrize(
    "change",
    [{"classes": ["riß", "gut", "pore"]}, {"task": "foo"}, {"architecture": {"name": "resnet10t"}}, {"metrics": {}}],
    ids=["classes-reordered", "task", "architecture", "metrics"],
)
def test_an_edited_index_is_refused(copied: Path, change: dict[str, object]) -> None:
    """Classes in another order load without complaint elsewhere, and every score then has another name."""
    values = json.loads((copied / "bundle.json").read_text())
    (copied / "bundle.json").write_text(json.dumps({**values, **change}))
    with pytest.raises(BundleError, match=r"bundle\.json: expected an index as it was written, got another checksum"):
        read_bundle(copied)


@pytest.mark.parametrize("change", [{"classes": 5}, {"files": 3}, {"input_spec": {"in_chans": 7}}])
def test_an_index_of_wrong_types_is_one_line(copied: Path, change: dict[str, object]) -> None:
    edit(copied, **change)
    with pytest.raises(BundleError, match=r"bundle\.json: expected"):
        read_bundle(copied)


def test_a_disk_that_fills_while_weights_are_written_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """safetensors' own writer raised an error of its own kind, which ended as an internal error."""

    def full(self: Path, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    module = build_model("resnet10t", num_classes=3, pretrained=False).module
    monkeypatch.setattr(Path, "write_bytes", full)
    bundle = Bundle(architecture={}, task="multiclass", classes=("a", "b", "c"), input_spec=SPEC)
    with pytest.raises(WorkspaceError, match="expected room on the disk"):
        write_bundle(tmp_path, bundle, module)
    assert list(tmp_path.iterdir()) == []


def test_a_batch_of_none_is_refused(saved: Path) -> None:
    with pytest.raises(DataError, match="expected a batch of 1 or more, got 0"):
        Predictor.from_path(saved, device="cpu").predict(np.zeros((32, 32), np.uint8), batch_size=0)
