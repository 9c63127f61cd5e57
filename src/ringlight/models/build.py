"""From a name to a model that is ready to train: arguments checked, weights chosen, input statistics known."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from ringlight.errors import ModelError, Problems
from ringlight.models.sequence import SHORTEST
from ringlight.models.timm_family import accepted_keywords, hub_of, pretrained_cfg
from ringlight.models.weights import Pretrained, WeightsChoice, choose_weights
from ringlight.types import Task

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
SMALLEST = 32
"""Pixels a side: five halvings leave one place."""

_NOTHING: Mapping[str, object] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class BuiltModel:
    """A model, the weights it starts from, and what its input is normalised with: `in_chans` values each.

    Images lie in 0..1 before that. For windows the values are 0 and 1, as their statistics come from the training data.
    """

    module: nn.Module
    weights: WeightsChoice
    mean: tuple[float, ...]
    std: tuple[float, ...]


def build_model(
    name: str,
    *,
    num_classes: int,
    in_chans: int = 3,
    drop_rate: float = 0.0,
    pretrained: Pretrained = "auto",
    weights_folder: Path | None = None,
    image_size: int | Sequence[int] | None = None,
    params: Mapping[str, object] = _NOTHING,
) -> BuiltModel:
    """Build a model of images and choose its weights.

    `image_size` is the side, or height and width, in pixels of what it will see, None when images keep their own.
    An architecture with a fixed input size is built for it. `params` are the part's own arguments.

    Mean and standard deviation are those the weights were trained with, ImageNet's for random weights; one-channel
    models get the mean of the three values, as their adapted stem sums the three channels' filters.

    Raises:
        Problems: unknown name or parameters, a line each.
        ModelError: a model of windows; impossible sizes; weights that were asked for and are not there, or do not fit.
    """
    factory = _factory(name, params, kind="images")
    _check_classes(num_classes, drop_rate)
    height_width = _check_sizes(in_chans, image_size)
    if getattr(factory, "is_composite", False):
        return _build_composite(
            name, factory, params, num_classes=num_classes, in_chans=in_chans, drop_rate=drop_rate,
            pretrained=pretrained, weights_folder=weights_folder, image_size=height_width,
        )  # fmt: skip
    architecture: str | None = getattr(factory, "architecture", None)
    hub = hub_of(architecture) if architecture is not None and pretrained is not False else None
    choice = choose_weights(name, pretrained, architecture=architecture, folder=weights_folder, hub=hub)
    fixed = architecture is not None and _has_fixed_size(architecture)
    own = dict(params)
    if fixed and height_width is not None:
        own.setdefault("img_size", height_width)
    module = _call(
        factory, own, num_classes=num_classes, in_chans=in_chans, drop_rate=drop_rate, pretrained=choice.argument
    )
    if fixed and height_width is not None:
        _try_forward(name, module, in_chans, height_width)
    cfg = pretrained_cfg(architecture) if architecture is not None and choice.source != "random" else {}
    return BuiltModel(
        module,
        choice,
        mean=_per_channel(cfg.get("mean", IMAGENET_MEAN), in_chans),
        std=_per_channel(cfg.get("std", IMAGENET_STD), in_chans),
    )


def _build_composite(
    name: str, factory: Callable[..., nn.Module], params: Mapping[str, object], *, in_chans: int,
    image_size: tuple[int, int] | None, **supplied: object,
) -> BuiltModel:  # fmt: skip
    """Build a model of several architectures, each with weights of its own: it chooses them itself and tells which."""
    module: Any = _call(factory, params, in_chans=in_chans, image_size=image_size, **supplied)
    if module.needs_size and image_size is None:
        raise ModelError(
            f"one image size, which {' and '.join(module.needs_size)} is built for", got="none",
            where="data.image_size", fix="set it, as data.image_size=[256,1600]",
        )  # fmt: skip
    if module.needs_size and image_size is not None:
        _try_forward(name, module, in_chans, image_size)
    return BuiltModel(
        module, module.weights, mean=_per_channel(module.mean, in_chans), std=_per_channel(module.std, in_chans)
    )


def build_sequence_model(
    name: str,
    *,
    num_classes: int,
    in_chans: int,
    length: int,
    drop_rate: float = 0.0,
    task: Task = "multiclass",
    seed: int = 0,
    params: Mapping[str, object] = _NOTHING,
) -> BuiltModel:
    """Build a model of windows (B, in_chans, length): a network or a classical estimator, with random weights.

    Of `length` in time steps, `task`, `seed` and the rest each model is given what it takes. A network's weights are
    drawn from PyTorch's generator as it stands; `seed` is for estimators, which have their own.

    Raises:
        Problems: unknown name or parameters, a line each.
        ModelError: a model of images; impossible sizes.
    """
    factory = _factory(name, params, kind="windows")
    _check_classes(num_classes, drop_rate)
    if in_chans < 1:
        raise ModelError(
            "at least one channel", got=str(in_chans), where="model.in_chans",
            fix="leave it out to take the data's channels",
        )  # fmt: skip
    if length < SHORTEST:
        raise ModelError(
            f"windows of {SHORTEST} time steps or more", got=str(length), where="length", fix="cut longer windows"
        )
    module = _call(
        factory, params,
        num_classes=num_classes, in_chans=in_chans, drop_rate=drop_rate, length=length, task=task, seed=seed,
    )  # fmt: skip
    note = f"random weights: {name} learns windows from scratch"
    if is_estimator(factory):
        note = f"no weights to start from: {name} is fitted to the features of the training windows"
    choice = WeightsChoice(source="random", note=note)
    return BuiltModel(module, choice, mean=(0.0,) * in_chans, std=(1.0,) * in_chans)


def takes_of(factory: Callable[..., nn.Module]) -> str:
    """Return what a model's input is, `images` or `windows`: its class attribute `takes`, images without one."""
    return str(getattr(factory, "takes", "images"))


def is_estimator(factory: Callable[..., nn.Module]) -> bool:
    """Return whether a model is fitted on features as a whole (`fit_features`), without gradients or epochs."""
    return hasattr(factory, "fit_features")


def _factory(name: str, params: Mapping[str, object], *, kind: str) -> Callable[..., nn.Module]:
    from ringlight.models import MODELS

    lines = MODELS.problems(name, params)
    if lines and name not in MODELS:
        raise Problems(lines)
    factory = MODELS.factory(name)
    if takes_of(factory) != kind:  # before its parameters, which are beside the point then
        others = [other for other in MODELS if takes_of(MODELS.parts[other]) == kind]
        listed = f"choose from: {', '.join(others)}" + (", or a timm name" if kind == "images" else "")
        raise ModelError(
            f"a model of {kind}", got=f"`{name}`, which takes {takes_of(factory)}", where="model.name", fix=listed
        )
    if lines:
        raise Problems(lines)
    return factory


def _call(factory: Callable[..., nn.Module], own: Mapping[str, object], **supplied: object) -> nn.Module:
    """Give a model its own arguments and what it takes of those the engine supplies."""
    taken = inspect.signature(factory).parameters
    return factory(**{key: value for key, value in supplied.items() if key in taken}, **own)


def _check_classes(num_classes: int, drop_rate: float) -> None:
    if num_classes < 1:
        raise ModelError(
            "at least one class", got=str(num_classes), where="model.num_classes", fix="leave it out to take the data's"
        )
    if not 0 <= drop_rate < 1:
        raise ModelError(
            "a share of at least 0 and below 1", got=str(drop_rate), where="model.drop_rate", fix="try 0.1"
        )


def _check_sizes(in_chans: int, image_size: int | Sequence[int] | None) -> tuple[int, int] | None:
    if in_chans not in (1, 3):
        raise ModelError("1 or 3 channels", got=str(in_chans), where="model.in_chans", fix="gray is 1, colour is 3")
    if image_size is None:
        return None
    size = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
    if len(size) != 2 or min(size) < SMALLEST:
        raise ModelError(
            f"a height and width of {SMALLEST} pixels or more",
            got=str(list(size)),
            where="data.image_size",
            fix=f"resize to at least {SMALLEST}",
        )
    return (size[0], size[1])


def _has_fixed_size(architecture: str) -> bool:
    return bool(pretrained_cfg(architecture).get("fixed_input_size")) and "img_size" in accepted_keywords(architecture)


def _try_forward(name: str, module: nn.Module, in_chans: int, height_width: tuple[int, int]) -> None:
    """Run one gray image through a model of fixed size: its own checks know which sizes divide into its windows."""
    was_training = module.training
    module.eval()
    try:
        with torch.no_grad():
            module(torch.zeros(1, in_chans, *height_width))
    except (AssertionError, RuntimeError) as error:
        raise ModelError(
            f"an image size that `{name}` takes",
            got=f"{height_width[0]} x {height_width[1]} ({str(error).partition(chr(10))[0]})",
            where="data.image_size",
            fix="try multiples of 32, or its published size",
        ) from error
    finally:
        module.train(was_training)


def _per_channel(values: Sequence[float], in_chans: int) -> tuple[float, ...]:
    if len(values) == in_chans:
        return tuple(float(value) for value in values)
    return (sum(values) / len(values),) * in_chans
