"""A backbone's file and a classifier's are a model, once something says which; never a pickle of code."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ringlight.data.preprocess import InputSpec
from ringlight.errors import ModelError, RinglightError, UserError
from ringlight.inference.bundle import Bundle
from ringlight.inference.predictor import Predictor
from ringlight.models import MARGINS, build_model
from ringlight.models.heads import install_head, num_features_of
from ringlight.services.two_file_models import ask_two_files

NAME, CLASSES = "test_efficientnet", "good,crack,pore"
PICTURE = np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8)


def network(*, cosine: bool = False) -> tuple[torch.nn.Module, InputSpec]:
    torch.manual_seed(0)
    built = build_model(NAME, num_classes=3, pretrained=False)
    if cosine:
        install_head(
            built.module,
            MARGINS.build("arcface", in_features=num_features_of(built.module), out_features=3, scale=30.0),
        )
    return built.module, InputSpec(3, (32, 32), mean=built.mean, std=built.std)


def saved(folder: Path, module: torch.nn.Module) -> tuple[Path, Path]:
    """Save a model as the seeds do: `snapshots/NAME.pth` and `snapshots/head/NAME.pth`."""
    state = module.state_dict()
    heads = {name: tensor for name, tensor in state.items() if name.startswith("classifier.")}
    (folder / "head").mkdir(parents=True, exist_ok=True)
    backbone, head = folder / "snapshot_epoch_30.pth", folder / "head" / "snapshot_epoch_30.pth"
    torch.save({f"backbone.{name}": tensor for name, tensor in state.items() if name not in heads}, backbone)
    torch.save(heads, head)
    return backbone, head


def probabilities(backbone: Path, head: Path, **given: Any) -> np.ndarray:
    scorer = ask_two_files(backbone, head, **given).scorer
    found = scorer.score([scorer.prepare(PICTURE)], ["a"])
    assert found.prediction.classes == tuple(CLASSES.split(","))
    return found.probabilities


def test_both_files_give_the_scores_of_the_whole_model(tmp_path: Path) -> None:
    module, spec = network()
    whole = Predictor(Bundle(architecture={}, task="multiclass", classes=("a", "b", "c"), input_spec=spec), module)
    expected = whole.predict(PICTURE).probabilities
    files = saved(tmp_path, module)
    found = probabilities(*files, architecture=NAME, classes=CLASSES, image_size=32)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    beside = {"architecture": NAME, "classes": CLASSES.split(","), "image_size": [32, 32], "mean": [0.0], "std": [1.0]}
    (tmp_path / "snapshot_epoch_30.json").write_text(json.dumps(beside))
    assert not np.allclose(probabilities(*files), expected, atol=1e-6), "with another mean"
    beside |= {"mean": list(spec.mean), "std": list(spec.std)}
    (tmp_path / "snapshot_epoch_30.json").write_text(json.dumps(beside))
    np.testing.assert_allclose(probabilities(*files), expected, atol=1e-6)


def test_a_head_without_a_bias_is_one_of_cosines(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    module, spec = network(cosine=True)
    whole = Predictor(Bundle(architecture={}, task="multiclass", classes=("a", "b", "c"), input_spec=spec), module)
    found = probabilities(*saved(tmp_path, module), architecture=NAME, classes=CLASSES, image_size=32)
    np.testing.assert_allclose(found, whole.predict(PICTURE).probabilities, atol=1e-6)
    assert "has no bias: taken for a head of cosines, scaled by 30" in caplog.text


def test_the_same_files_are_the_same_model(tmp_path: Path) -> None:
    files = saved(tmp_path, network()[0])
    asked = [ask_two_files(*files, architecture=NAME, classes=CLASSES, image_size=32) for _ in range(2)]
    assert asked[0].settings == asked[1].settings
    assert len(asked[0].settings["checksum"]) == 2


@pytest.mark.parametrize(
    ("beside", "line"),
    [
        (None, "snapshot_epoch_30.pth: expected the architecture and the classes of the model, got weights, which do "
               "not say; add --architecture NAME --classes A,B,C, or write snapshot_epoch_30.json beside the file"),
        ({"architecture": NAME}, "expected the classes of the model, got weights, which do not say; add --classes A"),
        ({"architecture": NAME, "classes": ["a", "a"]}, "expected the names of the classes, each once, got ['a', 'a']"),
        ({"architecture": NAME, "classes": ["a"], "archtecture": 1}, "got `archtecture`; did you mean `architecture`?"),
        ({"architecture": NAME, "classes": ["a"], "task": "x"}, ".json: task: expected multiclass or multilabel"),
        ({"architecture": 5, "classes": ["a"]}, ".json: architecture: expected a name, got 5; correct the value"),
        ([1], "snapshot_epoch_30.json: expected an object of keys, got list; correct the file"),
    ],
)  # fmt: skip
def test_what_is_not_known_is_asked_for_in_one_line(tmp_path: Path, beside: Any, line: str) -> None:
    files = saved(tmp_path, network()[0])
    if beside is not None:
        (tmp_path / "snapshot_epoch_30.json").write_text(json.dumps(beside))
    with pytest.raises(UserError) as caught:
        ask_two_files(*files)
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_of_another_model_are_refused(tmp_path: Path) -> None:
    backbone, head = saved(tmp_path, network()[0])
    with pytest.raises(ModelError, match=r"expected a classifier with .* got .*; save the classifier of a model of "):
        ask_two_files(backbone, head, architecture=NAME, classes="a,b", image_size=32)
    with pytest.raises(ModelError, match="expected tensors that fit the backbone, got size mismatch"):
        ask_two_files(backbone, head, architecture="resnet10t", classes=CLASSES, image_size=32)
    with pytest.raises(RinglightError, match=r"gone.pth: expected a file of weights, got nothing there"):
        ask_two_files(backbone, tmp_path / "gone.pth", architecture=NAME, classes=CLASSES)


def test_a_pickle_of_code_is_never_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (tmp_path / "pwned",))

    backbone, head = saved(tmp_path, network()[0])
    for target in (backbone, head):
        before = target.read_bytes()
        target.write_bytes(pickle.dumps(Evil(), protocol=2))
        with pytest.raises(ModelError, match="expected a file of named tensors"):
            ask_two_files(backbone, head, architecture=NAME, classes=CLASSES, image_size=32)
        target.write_bytes(before)
    assert not (tmp_path / "pwned").exists()
