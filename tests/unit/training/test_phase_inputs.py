"""What a phase begins with that another run left: loaded whole, asked in its own numbers, refused in a line."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from ringlight.data.split import write_split
from ringlight.data.window_spec import WindowSpec
from ringlight.errors import BundleError, ModelError, RinglightError, RunError
from ringlight.inference.bundle import read_bundle
from ringlight.models import build_model, build_sequence_model
from ringlight.models.embedding import take_apart
from ringlight.training.learner import DeepLearner
from ringlight.training.phase_inputs import lesson_of, start_backbone, teacher_of_bundle, teacher_of_files
from ringlight.training.plan import Plan

PlanOf = Callable[..., Plan]


def saved(plan: Plan, folder: Path, **changed: Any) -> Path:
    """Save a plan's model as a bundle, whose description may be changed."""
    learner = DeepLearner.from_plan(replace(plan, **changed), folder / "checkpoints", lambda *_: None)
    learner.save(folder)
    return folder


@pytest.fixture
def plan(plan_of: PlanOf) -> Plan:
    return plan_of()


@pytest.fixture
def other(plan: Plan, tmp_path: Path) -> Path:
    """A bundle of a model of the same architecture with weights of its own."""
    torch.manual_seed(7)
    module = build_model("resnet10t", num_classes=3, pretrained=False).module
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.uniform_(-0.1, 0.1)  # type: ignore[union-attr]
    return saved(plan, tmp_path / "other", module=module)


def told(call: Callable[[], object], kind: type[RinglightError]) -> str:
    with pytest.raises(kind) as caught:
        call()
    lines = str(caught.value).splitlines()
    assert len(lines) == 1
    return lines[0]


# --- a backbone to start from -----------------------------------------------------------------------------------------


def test_the_backbone_is_the_other_runs_and_the_last_layer_stays(plan: Plan, other: Path) -> None:
    theirs = read_bundle(other)[1].state_dict()
    before = {name: tensor.clone() for name, tensor in plan.module.state_dict().items()}
    note = start_backbone(plan, plan.module, other, "margin.start_from")
    for name, tensor in plan.module.state_dict().items():
        assert torch.equal(tensor, (before if name.startswith("fc.") else theirs)[name])
    assert note == (
        f"margin.start_from: the backbone starts from {other}; what it was trained on is not known, and scores may be "
        "too good"
    )


def test_a_backbone_is_loaded_into_a_model_with_adapters(plan_of: PlanOf, other: Path) -> None:
    """Adapters give the weights beside them other names, and come back afterwards."""
    adapted = plan_of("model.lora={rank: 2}")
    start_backbone(adapted, adapted.module, other, "margin.start_from")
    theirs = read_bundle(other)[1].state_dict()
    assert adapted.module.state_dict().keys() == theirs.keys()
    assert all(
        torch.equal(tensor, theirs[name])
        for name, tensor in adapted.module.state_dict().items()
        if not name.startswith("fc.")
    )


def test_what_another_run_was_trained_on_is_known_by_its_split(plan: Plan, other: Path) -> None:
    write_split(plan.split, plan.dataset, other / "split.csv")
    note = start_backbone(plan, plan.module, other, "margin.start_from")
    assert note == f"margin.start_from: the backbone starts from {other}"
    swapped = replace(plan.split, train=plan.split.test, test=plan.split.train)
    write_split(swapped, plan.dataset, other / "split.csv")
    line = told(lambda: start_backbone(plan, plan.module, other, "margin.start_from"), RunError)
    assert line.startswith("margin.start_from: expected records of the test part that no earlier run was trained or")


def test_a_backbone_that_has_seen_the_strangers_is_refused(plan: Plan, other: Path) -> None:
    """A class that is held out here but was learned there would look like one that is told apart by itself."""
    write_split(plan.split, plan.dataset, other / "split.csv")
    open_set = replace(plan, unknown=plan.part("train").take([0]))
    line = told(lambda: start_backbone(open_set, open_set.module, other, "margin.start_from"), RunError)
    assert "expected records of the class that is held out that no earlier run was trained or tuned on, got" in line
    assert line.endswith("train all with the same split.held_out_class")


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["model.name=resnet18"], "with name resnet18, got resnet10t; "),
        (["data.in_chans=1"], "with in_chans 1, got 3; "),
    ],
)
def test_a_backbone_of_another_kind_is_refused(plan_of: PlanOf, other: Path, overrides: list[str], line: str) -> None:
    mine = plan_of(*(one.replace("data.in_chans", "model.in_chans") for one in overrides))
    found = told(lambda: start_backbone(mine, mine.module, other, "supcon.start_from"), RunError)
    assert found == (
        f"supcon.start_from: {other}: expected a model like this run's, {line}set the section model as it is in that "
        "run's config.yaml"
    )


def test_a_folder_without_a_model_is_no_start(plan: Plan, tmp_path: Path) -> None:
    line = told(lambda: start_backbone(plan, plan.module, tmp_path, "supcon.start_from"), BundleError)
    assert "got a folder without it; check the path" in line


# --- a teacher --------------------------------------------------------------------------------------------------------


def test_a_teacher_answers_as_it_does_by_itself(plan: Plan, other: Path) -> None:
    lesson, note = teacher_of_bundle(plan, other)
    inputs = torch.randn(3, 3, 32, 32)
    logits, embedding = lesson.ask(inputs)
    whole = read_bundle(other)[1]
    with torch.no_grad():
        assert torch.equal(logits, whole(inputs))
    assert (embedding.shape, lesson.width) == ((3, 512), 512)
    assert not logits.requires_grad
    assert note.startswith(f"distill.teacher: {other}; what it was trained on is not known")


def test_a_teacher_of_another_normalisation_is_asked_in_its_own(plan: Plan) -> None:
    """The picture itself, normalised by either side's mean and deviation, gets the same answer."""
    torch.manual_seed(3)
    theirs = replace(plan.spec, mean=(0.5, 0.25, 0.75), std=(0.5, 0.25, 0.125))  # type: ignore[type-var]
    module = build_model("resnet10t", num_classes=3, pretrained=False).module.eval()
    pixels = torch.rand(4, 3, 32, 32)

    def normalised(spec: Any) -> torch.Tensor:
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (spec.mean, spec.std))
        return (pixels - mean) / std

    with torch.no_grad():
        alone = module(normalised(theirs))
    logits, _ = lesson_of(module, theirs, plan).ask(normalised(plan.spec))
    torch.testing.assert_close(logits, alone, atol=1e-4, rtol=1e-4)
    wrong, _ = lesson_of_again(module, plan).ask(normalised(plan.spec))
    assert not torch.allclose(wrong, alone, atol=1e-3), "without it the answers would differ"


@pytest.mark.parametrize("normalize", ["channel", "window"])
def test_a_teacher_of_windows_is_asked_in_the_means_that_its_own_run_has_measured(plan: Plan, normalize: Any) -> None:
    here, there = (
        WindowSpec(("p", "q"), 64, normalize=normalize, mean=mean, std=std)
        for mean, std in (((1.0, 0.0), (2.0, 1.0)), ((0.0, 5.0), (1.0, 4.0)))
    )
    module = build_sequence_model(
        "cnn1d", num_classes=3, in_chans=2, length=64, drop_rate=0.0, task="multiclass", seed=0, params={}
    ).module.eval()
    windows = torch.randn(2, 64, 2).numpy() * 3
    with torch.no_grad():
        alone = module(there.apply(windows))
    logits, _ = lesson_of(module, there, replace(plan, spec=here)).ask(here.apply(windows))
    torch.testing.assert_close(logits, alone, atol=1e-4, rtol=1e-4)


def lesson_of_again(trunk: nn.Module, plan: Plan) -> Any:
    """Ask a trunk that was taken apart once more, as if it had been trained on this plan's numbers."""
    torch.manual_seed(3)
    module = build_model("resnet10t", num_classes=3, pretrained=False).module
    return lesson_of(module, plan.spec, plan)


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        (
            {"classes": ["bright", "dark", "other"]},
            "expected a teacher of the classes of the data (multiclass: bright, dark, middle), got multiclass: bright, "
            "dark, other; train the teacher on the same classes, in the same order",
        ),
        (
            {"size": 64},
            "expected a teacher of the same input, image_size [32, 32], got [64, 64]; set the section data as it is "
            "in the teacher's config.yaml",
        ),
    ],
)
def test_a_teacher_of_something_else_is_refused(
    plan_of: PlanOf, plan: Plan, tmp_path: Path, changed: dict[str, Any], line: str
) -> None:
    if "size" in changed:
        folder = saved(plan_of("data.image_size=64"), tmp_path / "large")
    else:
        dataset = replace(plan.dataset, classes=tuple(changed["classes"]))
        folder = saved(plan, tmp_path / "classes", dataset=dataset)
    found = told(lambda: teacher_of_bundle(plan, folder), RunError)
    assert found == f"distill.teacher: {folder}: {line}"


def test_a_damaged_bundle_is_no_teacher(plan: Plan, other: Path) -> None:
    weights = next(other.rglob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-10])
    told(lambda: teacher_of_bundle(plan, other), BundleError)


# --- a teacher of two files -------------------------------------------------------------------------------------------


@pytest.fixture
def files(other: Path, tmp_path: Path) -> tuple[dict[str, torch.Tensor], Path, Path]:
    """The tensors of a teacher, and its two files, the backbone's with the prefix that wrappers leave."""
    state = read_bundle(other)[1].state_dict()
    backbone, head = tmp_path / "backbone.safetensors", tmp_path / "head.pth"
    save_file({f"backbone.{name}": tensor for name, tensor in state.items() if not name.startswith("fc.")}, backbone)
    torch.save({"classifier.weight": state["fc.weight"], "classifier.bias": state["fc.bias"]}, head)
    return state, backbone, head


def test_two_files_are_a_teacher(plan: Plan, other: Path, files: Any) -> None:
    _, backbone, head = files
    lesson, note = teacher_of_files(plan, plan.module, plan.spec, backbone, head)
    inputs = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(lesson.ask(inputs)[0], read_bundle(other)[1](inputs))
    assert note == (
        "distill.teacher_backbone_path: what backbone.safetensors was trained on is not known; scores may be too good"
    )


def test_files_that_do_not_fit_are_told_in_a_line_each(plan: Plan, files: Any, tmp_path: Path) -> None:
    state, backbone, head = files
    trunk = {name: tensor for name, tensor in state.items() if not name.startswith("fc.")}

    def with_backbone(tensors: dict[str, torch.Tensor]) -> str:
        torch.save(tensors, tmp_path / "other.pth")
        module = build_model("resnet10t", num_classes=3, pretrained=False).module
        return told(lambda: teacher_of_files(plan, module, plan.spec, tmp_path / "other.pth", head), ModelError)

    where, fix = f"{tmp_path / 'other.pth'}: expected", "; set the section model as it was when they were trained"
    name = next(iter(trunk))
    missing = {key: tensor for key, tensor in trunk.items() if key != name}
    assert with_backbone(missing) == f"{where} every tensor of the backbone, and no other, got no `{name}`{fix}"
    unknown = with_backbone({**trunk, "stem.weight": torch.zeros(1)})
    assert unknown == f"{where} every tensor of the backbone, and no other, got the unknown `stem.weight`{fix}"
    shapes = with_backbone({**trunk, name: torch.zeros(1)})
    assert shapes.startswith(f"{where} tensors that fit the backbone, got size mismatch for {name}: copying a param")

    (tmp_path / "torn.safetensors").write_bytes(backbone.read_bytes()[:100])
    torn = told(lambda: teacher_of_files(plan, plan.module, plan.spec, tmp_path / "torn.safetensors", head), ModelError)
    assert torn.startswith(f"{tmp_path / 'torn.safetensors'}: expected a file of named tensors, got ")

    torch.save({"weight": torch.zeros(4, 512), "bias": torch.zeros(4)}, tmp_path / "four.pth")
    four = told(lambda: teacher_of_files(plan, plan.module, plan.spec, backbone, tmp_path / "four.pth"), ModelError)
    assert four == (
        f"distill.teacher_head_path: {tmp_path / 'four.pth'}: expected a classifier with {{'weight': (3, 512), 'bias': "
        "(3,)}, got {'weight': (4, 512), 'bias': (4,)}; save the classifier of a model of these 3 classes"
    )


def test_the_files_of_a_teacher_may_hold_its_classifier_too(plan: Plan, files: Any, tmp_path: Path) -> None:
    state, _, head = files
    torch.save({"state_dict": state}, tmp_path / "whole.pth")
    lesson, _ = teacher_of_files(plan, plan.module, plan.spec, tmp_path / "whole.pth", head)
    inputs = torch.randn(2, 3, 32, 32)
    _, embedding = lesson.ask(inputs)
    whole = build_model("resnet10t", num_classes=3, pretrained=False).module
    whole.load_state_dict(state)
    with torch.no_grad():
        assert torch.equal(take_apart(whole.eval())[0](inputs), embedding)
    assert json.dumps(lesson.width) == "512"
