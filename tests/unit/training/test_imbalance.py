"""`imbalance.method`: what each method puts in, that it stays so, and the prior taken out of a trained model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import nn

from ringlight.config.load import compose
from ringlight.config.schema import Config, ImbalanceMethod
from ringlight.data.sampling import SAMPLERS
from ringlight.errors import ConfigError
from ringlight.losses import LOSSES
from ringlight.models import build_model
from ringlight.models.heads import (
    CosineHead,
    NeighborsHead,
    classifier_of,
    features_before_head,
    install_head,
    num_features_of,
)
from ringlight.training.drawing import Seen, criterion_of, sampler_of
from ringlight.training.imbalance import METHODS, PLAIN, plain, shifts_scores, take_out_prior, with_method
from ringlight.types import Dataset, Task

TASKS: tuple[Task, ...] = get_args(Task)
PAIRS = [(name, task) for name, method in METHODS.items() for task in TASKS if method.suits(task)]
REFUSED = [(name, task) for name, method in METHODS.items() for task in TASKS if not method.suits(task)]
SEEN = Seen((20, 8, 4), 40)
LOSS_FILES = [(name, task) for name in LOSSES for task in LOSSES.factory(name).tasks]


def config_of(task: Task = "multiclass", **sections: Any) -> Config:
    return Config.model_validate(
        {"loss": {"name": PLAIN[task]}, "data": {"batch_size": 4}, "training": {"num_epochs": 3}, **sections}
    )


def data_of(task: Task, dataset_of: Callable[..., Dataset]) -> Dataset:
    if task == "multiclass":
        return dataset_of([0] * 20 + [1] * 8 + [2] * 4)
    return dataset_of([[0]] * 16 + [[0, 1]] * 4 + [[1]] * 4 + [[2]] * 4 + [[]] * 12)


# --- the table --------------------------------------------------------------------------------------------------------


def test_every_method_of_the_configuration_is_in_the_table_but_auto() -> None:
    assert set(METHODS) == set(get_args(ImbalanceMethod)) - {"auto"}


def test_what_a_method_names_is_in_the_catalogues() -> None:
    for method in METHODS.values():
        for task, (name, params) in method.loss.items():
            assert task in LOSSES.factory(name).tasks
            assert LOSSES.problems(name, params) == []
        assert method.sampler is None or method.sampler in SAMPLERS


def test_the_combinations_that_are_refused_are_known_ones() -> None:
    assert set(REFUSED) == {
        ("balanced_softmax", "multilabel"), ("ldam_drw", "multilabel"), ("asymmetric", "multiclass"),
    }  # fmt: skip


# --- put in -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "task"), PAIRS)
def test_its_loss_and_sampler_are_built_and_give_a_finite_loss(
    method: str, task: Task, dataset_of: Callable[..., Dataset]
) -> None:
    config, data = with_method(config_of(task), method, task), data_of(task, dataset_of)
    assert config.imbalance.method == method
    sampler_of(config, data, None)
    criterion = criterion_of(config, task, SEEN, reduction="none")
    targets = torch.as_tensor(data.targets()).to(torch.int64 if task == "multiclass" else torch.float32)
    logits = torch.randn(len(data), 3, generator=torch.Generator().manual_seed(0))
    value = criterion(logits, targets)
    assert len(value) == len(data)
    assert torch.isfinite(value).all()


@pytest.mark.parametrize(("method", "task"), PAIRS)
@pytest.mark.parametrize("tau", [None, 0.5])
def test_put_in_again_it_changes_nothing(method: str, task: Task, tau: float | None) -> None:
    once = with_method(config_of(task), method, task, tau)
    assert with_method(once, method, task) == once
    assert with_method(Config.model_validate(once.model_dump(mode="json")), method, task) == once
    if tau is not None:
        assert once.imbalance.tau == tau


@pytest.mark.parametrize(("method", "task"), PAIRS)
@pytest.mark.parametrize("former", LOSS_FILES, ids="-".join)
def test_it_acts_the_same_whatever_loss_was_configured_before(
    method: str, task: Task, former: tuple[str, Task]
) -> None:
    """A loss that was configured with its parameters written out once kept them all.

    `class_weights` on `bce_with_logits` with `pos_weight: null` did nothing, `effective_number` on weighted
    cross-entropy weighed by the plain shares, and on a focal loss kept the focus.
    """
    name, of_task = former
    if of_task != task or not METHODS[method].loss:
        return
    written_out = {parameter.name: parameter.default for parameter in LOSSES.parameters(name)}
    before = config_of(task, loss={"name": name, **written_out})
    config = with_method(before, method, task)
    wanted, params = METHODS[method].loss[task]
    assert config.loss.name == wanted
    assert params.items() <= config.loss.params().items()
    assert (
        criterion_of(config, task, SEEN).get_params()
        == criterion_of(with_method(config_of(task), method, task), task, SEEN).get_params()
    )


def test_parameters_that_do_not_make_the_method_stay() -> None:
    config = config_of(loss={"name": "weighted_cross_entropy", "weights": [1.0, 2.0, 3.0], "label_smoothing": 0.1})
    assert with_method(config, "class_weights", "multiclass").loss.params() == {
        "weights": "balanced", "label_smoothing": 0.1,
    }  # fmt: skip
    focal = config_of(loss={"name": "focal_loss", "gamma": 3.0})
    assert with_method(focal, "focal", "multiclass").loss.params() == {"gamma": 3.0}
    sampler = config_of(sampler={"name": "square_root"})
    assert with_method(sampler, "square_root", "multiclass").sampler == sampler.sampler


def test_what_a_method_does_not_name_stays_as_it_is_set() -> None:
    config = config_of(loss={"name": "focal_loss", "gamma": 3.0}, sampler={"name": "square_root"})
    assert with_method(config, "balanced_batches", "multiclass").loss == config.loss
    assert with_method(config, "class_weights", "multiclass").sampler == config.sampler
    none = with_method(config, "none", "multiclass")
    assert none == config


def test_the_share_of_the_prior_reaches_the_loss() -> None:
    config = with_method(config_of(), "logit_adjustment", "multiclass", 0.5)
    assert config.loss.params() == {"tau": 0.5}
    later = with_method(config.replacing({"imbalance.tau": 2.0}), "logit_adjustment", "multiclass")
    assert later.loss.params() == {"tau": 2.0}


@pytest.mark.parametrize("method", ["post_hoc", "crt"])
def test_what_follows_the_training_begins_with_a_loss_that_knows_no_weights(method: str) -> None:
    """Positives that count more are the prior taken out once already; post-hoc adjustment would do it again."""
    weighted = config_of("multilabel", loss={"name": "bce_with_logits", "pos_weight": "balanced", "smoothing": 0.1})
    config = with_method(weighted, method, "multilabel")
    assert config.loss.params() == {"pos_weight": None, "smoothing": 0.1}
    assert criterion_of(config, "multilabel", SEEN).pos_weight is None


@pytest.mark.parametrize(("method", "task"), REFUSED)
def test_a_method_without_a_form_for_the_task_is_refused_in_one_line(method: str, task: Task) -> None:
    with pytest.raises(ConfigError) as caught:
        with_method(config_of(task), method, task)
    message = str(caught.value)
    assert message.startswith(
        f"imbalance.method: expected a method for {task} data, got {method}; choose from: none, class_weights, "
    )
    assert "\n" not in message
    listed = message.partition("choose from: ")[2].split(", ")
    assert listed == [name for name in METHODS if (name, task) not in REFUSED]


@pytest.mark.parametrize("recipe", ["folder", "severstal"])
@pytest.mark.parametrize("method", ["class_weights", "post_hoc", "focal", "progressive"])
def test_in_a_shipped_recipe_it_acts_as_in_a_bare_configuration(recipe: str, method: str) -> None:
    config = compose(recipe, ["data.root=."])
    task: Task = "multilabel" if recipe == "severstal" else "multiclass"
    wanted = METHODS[method]
    put_in = with_method(config, method, task)
    if wanted.loss:
        assert wanted.loss[task][1].items() <= put_in.loss.params().items()
    if wanted.sampler:
        assert put_in.sampler.name == wanted.sampler


# --- the plain loss ---------------------------------------------------------------------------------------------------


def test_plain_is_the_loss_of_the_task_without_class_weights() -> None:
    assert plain(config_of(loss={"name": "focal_loss"}), "multiclass").loss.name == "cross_entropy"
    smooth = config_of(loss={"name": "cross_entropy", "label_smoothing": 0.1})
    assert plain(smooth, "multiclass") == smooth
    weighted = config_of(loss={"name": "bce_with_logits", "pos_weight": 3.0, "smoothing": 0.1})
    assert plain(weighted, "multilabel").loss.params() == {"smoothing": 0.1}


# --- after the training -----------------------------------------------------------------------------------------------


def model_with(head: str, task: Task) -> nn.Module:
    torch.manual_seed(0)
    module = build_model("resnet10t", num_classes=3, pretrained=False).module.eval()
    size = num_features_of(module)
    if head == "cosine":
        install_head(module, CosineHead(size, 3))
        nn.init.normal_(classifier_of(module).weight)
    elif head == "knn":
        near = NeighborsHead(size, 3, num_records=6, num_neighbors=4, temperature=0.1, task=task)
        near.features.copy_(nn.functional.normalize(torch.rand(6, size), dim=1))
        near.votes.copy_(torch.eye(3).repeat(2, 1))
        install_head(module, near)
    return module.eval()


@pytest.mark.parametrize("head", ["linear", "cosine", "knn"])
@pytest.mark.parametrize("task", TASKS)
def test_the_prior_is_taken_out_of_every_score_whatever_head_gives_it(head: str, task: Task) -> None:
    module = model_with(head, task)
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before = module(images)
    features = features_before_head(module, images)
    take_out_prior(module, SEEN, task, 0.5)
    counts = np.array([20, 8, 4])
    odds = counts / counts.sum() if task == "multiclass" else counts / (40 - counts)
    with torch.no_grad():
        expected = before - 0.5 * torch.tensor(np.log(odds), dtype=torch.float32)
        torch.testing.assert_close(module(images), expected)
    assert torch.equal(features_before_head(module, images), features)


def test_the_note_says_how_much_was_taken_out() -> None:
    told = take_out_prior(model_with("linear", "multiclass"), Seen((30, 10, 10), 50), "multiclass", 1.0)
    assert told == "post_hoc: 1 of the classes' prior is taken out of the scores (+0.51, +1.61, +1.61)"


def test_a_class_that_was_never_seen_has_no_prior_to_take_out() -> None:
    module = model_with("linear", "multiclass")
    before = classifier_of(module).bias.detach().clone()
    with pytest.raises(ConfigError, match=r"leave the logits as they are"):
        take_out_prior(module, Seen((30, 0, 10), 40), "multiclass", 1.0)
    assert torch.equal(classifier_of(module).bias, before)


@pytest.mark.parametrize(
    ("sections", "shifted"),
    [
        ({}, False),
        ({"imbalance": {"method": "stratified_batches"}}, False),
        ({"imbalance": {"method": "post_hoc"}}, True),
        ({"loss": {"name": "asymmetric_loss"}}, True),
        ({"loss": {"name": "bce_with_logits", "pos_weight": "balanced"}}, True),
        ({"sampler": {"name": "class_balanced"}}, True),
        ({"sampler": {"name": "stratified"}}, False),
    ],
)
def test_scores_are_shifted_by_method_loss_or_sampler(sections: dict[str, Any], shifted: bool) -> None:
    """Only the method was looked at: a loss set by hand was moved back by the calibration."""
    assert shifts_scores(config_of("multilabel", **sections)) is shifted
