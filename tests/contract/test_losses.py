"""What every loss of the catalogue promises, run on each."""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
from importlib.resources import files

import pytest
import torch
import yaml
from torch import nn

import ringlight.losses
from ringlight.errors import ConfigError, Problems
from ringlight.losses import CONTRASTIVE, LOSSES, SAME_LOSS, ContrastiveLoss, DistillationLoss

COUNTS = [30, 5, 10]
COMMON = ("num_classes", "task", "class_counts", "num_records")
NAMES = {"classes": ("good", "small", "large"), "good_class": "good"}
RECORDS = {"multiclass": 45, "multilabel": 60}
CASES = [(name, task) for name in LOSSES for task in LOSSES.factory(name).tasks]


def _build(name, task, **params):
    records = RECORDS.get(task)
    taken = inspect.signature(LOSSES.factory(name)).parameters
    names = {key: value for key, value in NAMES.items() if key in taken}
    return LOSSES.build(name, num_classes=3, task=task, class_counts=COUNTS, num_records=records, **names, **params)


def _targets(task):
    if task == "multiclass":
        return torch.tensor([0, 1, 2, 2])
    return torch.tensor([[1.0, 0, 0], [0, 1, 1], [0, 0, 0], [0, 0, 1]])


@pytest.mark.parametrize("name", list(LOSSES))
def test_the_tasks_it_names_are_those_it_can_be_built_for(name):
    """A tool that tries every loss asks `tasks`; it once went by the name, which a new loss need not follow."""
    tasks = LOSSES.factory(name).tasks
    assert tasks
    assert set(tasks) <= set(RECORDS)
    for task in tasks:
        assert _build(name, task).task == task
    for task in set(RECORDS) - set(tasks):
        with pytest.raises(
            ConfigError, match=rf"a {tasks[0]} data set for `{SAME_LOSS.get(name, name)}`, got {task}; use \w+"
        ) as caught:
            _build(name, task)
        advised = [word for word in str(caught.value).rpartition("; use ")[2].split() if word in LOSSES]
        assert advised, "the way out is named"
        assert all(task in LOSSES.factory(other).tasks for other in advised)


@pytest.mark.parametrize("name", list(LOSSES))
def test_its_name_is_that_of_the_catalogue_and_it_takes_what_the_engine_supplies(name):
    kind = LOSSES.factory(name)
    assert kind.name == SAME_LOSS.get(name, name)
    assert set(COMMON) <= set(inspect.signature(kind).parameters)
    assert set(LOSSES.supplied) == {*COMMON, *NAMES}


@pytest.mark.parametrize(("theirs", "ours"), list(SAME_LOSS.items()))
def test_keras_names_build_the_same(theirs, ours):
    assert LOSSES.factory(theirs) is LOSSES.factory(ours)
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(3))
    assert torch.equal(
        _build(theirs, "multiclass")(logits, _targets("multiclass")),
        _build(ours, "multiclass")(logits, _targets("multiclass")),
    )


@pytest.mark.parametrize("name", list(LOSSES))
def test_it_has_a_group_file_that_builds(name):
    file = files("ringlight") / "configs" / "loss" / f"{name}.yaml"
    params = yaml.safe_load(file.read_text())
    assert params.pop("name") == name
    assert LOSSES.problems(name, params) == []
    assert _build(name, LOSSES.factory(name).tasks[0], **params).get_params()


@pytest.mark.parametrize(("name", "task"), CASES)
def test_one_that_changes_with_the_epoch_comes_back_from_a_checkpoint_as_it_was(name, task):
    """A resumed training looks at the validation part before its first epoch starts."""
    loss = _build(name, task)
    set_progress = getattr(loss, "set_progress", None)
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(2))
    before = loss(logits, _targets(task))
    if set_progress is None:
        assert torch.equal(loss(logits, _targets(task)), before), "without set_progress it is the same all along"
        return
    set_progress(9, 10)
    late = loss(logits, _targets(task))
    assert late != before
    resumed = _build(name, task)
    resumed.load_state_dict(loss.state_dict())
    assert torch.equal(resumed(logits, _targets(task)), late)
    resumed.set_progress(0, 10)
    assert torch.equal(resumed(logits, _targets(task)), before)


def test_nothing_public_is_missing_from_the_catalogues():
    found = set()
    for info in pkgutil.iter_modules(ringlight.losses.__path__):
        module = importlib.import_module(f"ringlight.losses.{info.name}")
        for name, value in vars(module).items():
            if inspect.isclass(value) and issubclass(value, nn.Module) and value.__module__ == module.__name__:
                found |= set() if name.startswith("_") else {value}
    assert found - {ContrastiveLoss, DistillationLoss} == {*LOSSES.parts.values(), *CONTRASTIVE.parts.values()}


@pytest.mark.parametrize(("name", "task"), CASES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_it_is_one_finite_float32_number_whose_gradient_reaches_every_logit(name, task, dtype):
    # Near the middle: the tail of a focal gradient is below what half precision can hold.
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)).to(dtype).requires_grad_()
    value = _build(name, task)(logits, _targets(task))
    value.backward()
    assert value.shape == ()
    assert value.dtype == torch.float32
    assert torch.isfinite(logits.grad).all()
    assert (logits.grad != 0).all()


@pytest.mark.parametrize(("name", "task"), CASES)
def test_it_is_finite_for_extreme_logits(name, task):
    for sign in (1, -1):
        logits = torch.full((4, 3), 1e4 * sign)
        logits[:, 0] *= -1
        logits.requires_grad_()
        value = _build(name, task)(logits, _targets(task))
        value.backward()
        assert torch.isfinite(value)
        assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize(("name", "task"), CASES)
def test_learning_to_be_right_lowers_it(name, task):
    loss = _build(name, task)
    targets = _targets(task)
    truth = torch.eye(3)[targets] if task == "multiclass" else targets
    values = [float(loss((truth * 2 - 1) * margin, targets)) for margin in (-4.0, 0.0, 4.0)]
    assert values[0] > values[1] > values[2] >= 0


@pytest.mark.parametrize(("name", "task"), CASES)
def test_sum_and_mean_follow_from_none(name, task):
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(1))
    parts = _build(name, task, reduction="none")(logits, _targets(task))
    torch.testing.assert_close(_build(name, task, reduction="sum")(logits, _targets(task)), parts.sum())
    if SAME_LOSS.get(name, name) != "weighted_cross_entropy":  # its mean is weighted; proved by hand in its own test
        torch.testing.assert_close(_build(name, task, reduction="mean")(logits, _targets(task)), parts.mean())


@pytest.mark.parametrize(("name", "task"), CASES)
def test_its_parameters_are_json_and_its_state_round_trips(name, task):
    loss = _build(name, task)
    assert json.loads(json.dumps(loss.get_params())) == loss.get_params()
    twin = _build(name, task)
    twin.load_state_dict(loss.state_dict())
    logits = torch.randn(4, 3)
    assert torch.equal(loss(logits, _targets(task)), twin(logits, _targets(task)))


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_an_unknown_task_or_reduction_is_refused(name):
    with pytest.raises(ConfigError, match=r"loss\.name: expected a multi"):
        _build(name, "detection")
    with pytest.raises(Problems, match=r"loss\.reduction: expected 'mean', 'sum' or 'none', got 'median'"):
        _build(name, LOSSES.factory(name).tasks[0], reduction="median")


@pytest.mark.parametrize("name", list(CONTRASTIVE))
def test_a_contrastive_loss_has_the_catalogues_name_and_its_parameters_build_the_same(name):
    loss = CONTRASTIVE.build(name, temperature=0.3)
    assert loss.name == name
    assert isinstance(loss, ContrastiveLoss)
    embeddings, labels = torch.randn(6, 4, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2] * 2)
    twin = CONTRASTIVE.build(name, **json.loads(json.dumps(loss.get_params())))
    assert torch.equal(twin(embeddings, labels), loss(embeddings, labels))
    apart, together = (loss(torch.eye(3)[rows], labels) for rows in ([0, 1, 2, 1, 2, 0], [0, 1, 2] * 2))
    assert together < apart


def test_a_misspelt_loss_or_parameter_gets_the_near_miss():
    assert LOSSES.problems("focal_los", {}) == [
        "loss.name: expected a known loss, got `focal_los`; did you mean `focal_loss`?"
    ]
    assert LOSSES.problems("focal_loss", {"gama": 2}) == [
        "loss.gama: expected a parameter of loss `focal_loss`, got unknown key `loss.gama`; did you mean `gamma`?"
    ]


@pytest.mark.parametrize(
    "alpha", ["dynamic", "inverse_frequency", "effective_number", "first_batch", 0.25, [0.2, 0.3, 0.4], None]
)
def test_a_configuration_may_give_alpha_in_every_form(alpha):
    assert LOSSES.problems("focal_loss", {"alpha": alpha, "gamma": 2}) == []
