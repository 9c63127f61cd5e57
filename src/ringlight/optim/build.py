"""From names to an optimiser with its parameter groups, and to a schedule that says how it wants to be stepped."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from ringlight.errors import ConfigError, ModelError, Problems
from ringlight.optim.wrappers import GradientCentralization, with_lookahead

_NOTHING: Mapping[str, object] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Schedule:
    """A learning-rate schedule: step it after every optimiser step or every epoch, with the monitored metric or not.

    `monitor` is the metric it asks for; None is the one that the training monitors.
    """

    scheduler: LRScheduler
    interval: Literal["step", "epoch"]
    needs_metric: bool
    monitor: str | None = None


def parameter_groups(module: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Return the trainable parameters in two groups: `decay` and `no_decay`.

    Parameters of one dimension or none (biases, the scales and shifts of normalisation and of layer scale) are not
    decayed: shrinking them limits what the layer can express and does not regularise it. Neither are those that the
    module lists in `no_weight_decay()` (position embeddings of transformers). Empty groups are left out.

    Parts of a module may learn at a rate of their own: `lr_scales()` maps the beginning of their parameters' names to a
    factor. Each factor but 1 makes two groups more, `decay x0.1` and `no_decay x0.1`, which carry it as `lr_scale`.

    Raises:
        ModelError: nothing is trainable.

    Examples:
        >>> groups = parameter_groups(nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2)), 0.1)
        >>> [(group["name"], len(group["params"]), group["weight_decay"]) for group in groups]
        [('decay', 1, 0.1), ('no_decay', 3, 0.0)]
    """
    listed, scaled = getattr(module, "no_weight_decay", None), getattr(module, "lr_scales", None)
    spared = set(listed()) if callable(listed) else set()
    scales: Mapping[str, float] = scaled() if callable(scaled) else {}
    found: dict[float, tuple[list[nn.Parameter], list[nn.Parameter]]] = {1.0: ([], [])}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            scale = next((factor for start, factor in scales.items() if name.startswith(start)), 1.0)
            decayed, others = found.setdefault(scale, ([], []))
            (others if parameter.ndim <= 1 or name in spared else decayed).append(parameter)
    kept: list[dict[str, Any]] = []
    for scale, pair in found.items():
        own = ("", {}) if scale == 1 else (f" x{scale:g}", {"lr_scale": scale})
        for name, params, decay in zip(("decay", "no_decay"), pair, (weight_decay, 0.0), strict=True):
            if params:
                kept.append({"name": f"{name}{own[0]}", "params": params, "weight_decay": decay, **own[1]})
    if not kept:
        raise ModelError(
            "a model with trainable parameters", got="none", where="model", fix="unfreeze a layer before training"
        )
    return kept


def build_optimizer(
    name: str,
    module: nn.Module,
    *,
    lr: float,
    weight_decay: float,
    params: Mapping[str, object] = _NOTHING,
    gradient_centralization: bool = False,
    lookahead: Mapping[str, Any] | None = None,
) -> Optimizer:
    """Build an optimiser of the catalogue over the module's :func:`parameter_groups`; `params` are its own arguments.

    `gradient_centralization` takes the means out of its gradients; `lookahead` (`k`, `alpha`) puts slow weights behind
    all of it (:mod:`ringlight.optim.wrappers`). Sharpness-aware minimisation is no wrapper: it changes where the
    gradient is taken (:mod:`ringlight.optim.sam`).
    A group with a scale has that many times `lr` as its rate, and schedules move it in proportion.

    Raises:
        Problems: unknown name or parameters, a line each.
        ConfigError: a number out of range.
    """
    from ringlight.optim import OPTIMIZERS

    if not (math.isfinite(lr) and lr > 0):
        raise ConfigError("a learning rate above 0", got=f"{lr:g}", where="optimizer.lr", fix="try 0.001")
    if not (math.isfinite(weight_decay) and weight_decay >= 0):
        raise ConfigError(
            "a weight decay of 0 or more", got=f"{weight_decay:g}", where="optimizer.weight_decay", fix="try 0.01"
        )
    lines = OPTIMIZERS.problems(name, params)
    if lines:
        raise Problems(lines)
    groups = parameter_groups(module, weight_decay)
    for group in groups:
        if "lr_scale" in group:
            group["lr"] = lr * group["lr_scale"]
    built = OPTIMIZERS.build(name, parameters=groups, lr=lr, weight_decay=weight_decay, **params)
    if gradient_centralization:
        built = GradientCentralization(built)
    return built if lookahead is None else with_lookahead(built, **lookahead)


def build_schedule(
    name: str,
    optimizer: Optimizer,
    *,
    num_epochs: int,
    steps_per_epoch: int,
    warmup_epochs: float = 0,
    mode: Literal["min", "max"] = "max",
    params: Mapping[str, object] = _NOTHING,
) -> Schedule:
    """Build a schedule of the catalogue.

    `steps_per_epoch` counts optimiser steps (batches over accumulated batches, rounded up); `mode` says whether the
    monitored metric is better when larger; only schedules that wait for a metric use it.

    Raises:
        Problems: unknown name or parameters, a line each.
        ConfigError: a number out of range, a warm-up longer than the run.
    """
    from ringlight.optim import SCHEDULERS

    lines = SCHEDULERS.problems(name, params)
    if lines:
        raise Problems(lines)
    waits = SCHEDULERS.factory(name)
    needs_metric = isinstance(waits, type) and issubclass(waits, ReduceLROnPlateau)
    supplied: dict[str, Any] = {"mode": mode} if needs_metric else {}
    scheduler = SCHEDULERS.build(
        name,
        optimizer=optimizer,
        num_epochs=num_epochs,
        steps_per_epoch=steps_per_epoch,
        warmup_epochs=warmup_epochs,
        **supplied,
        **params,
    )
    monitor = getattr(scheduler, "monitor", None) if needs_metric else None
    return Schedule(scheduler, "epoch" if needs_metric else "step", needs_metric, monitor)
