"""Optimisers and learning-rate schedules."""

from __future__ import annotations

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from ringlight.optim.build import Schedule, build_optimizer, build_schedule, parameter_groups
from ringlight.optim.keras_names import KERAS_NAMES, from_keras_names
from ringlight.optim.optimizers import adam, adamw, rmsprop, sgd
from ringlight.optim.sam import ASAM, SAM, Summit
from ringlight.optim.schedules import Constant, OneCycle, Plateau, WarmupCosine
from ringlight.optim.schedules_rates import RATES
from ringlight.optim.schedules_steps import Cosine, Exponential, Polynomial, Warmup
from ringlight.optim.wrappers import (
    GradientCentralization,
    centralize,
    holding_slow_weights,
    slow_weights,
    with_lookahead,
)
from ringlight.registry import Catalogue

OPTIMIZERS: Catalogue[Optimizer] = Catalogue(
    "optimizer",
    {"adamw": adamw, "sgd": sgd, "adam": adam, "rmsprop": rmsprop},
    supplied=("parameters", "lr", "weight_decay"),
    entry_point_group="ringlight.optimizers",
)
"""What `optimizer.name` may be. Each is called with `parameters` (groups), `lr` and `weight_decay`."""

SCHEDULERS: Catalogue[LRScheduler] = Catalogue(
    "scheduler",
    {
        "warmup_cosine": WarmupCosine,
        "one_cycle": OneCycle,
        "plateau": Plateau,
        "constant": Constant,
        "warmup": Warmup,
        "cosine": Cosine,
        "exponential": Exponential,
        "polynomial": Polynomial,
    },
    supplied=("optimizer", "num_epochs", "steps_per_epoch", "warmup_epochs", "mode"),
    entry_point_group="ringlight.schedulers",
)
"""What `scheduler.name` may be. Each is called with `optimizer`, `num_epochs`, `steps_per_epoch` and `warmup_epochs`;
a subclass of PyTorch's ReduceLROnPlateau also with `mode`, and is stepped once an epoch with the metric of its own
`monitor`, if it has one, or of the training's."""

__all__ = [
    "ASAM",
    "KERAS_NAMES",
    "OPTIMIZERS",
    "RATES",
    "SAM",
    "SCHEDULERS",
    "Constant",
    "Cosine",
    "Exponential",
    "GradientCentralization",
    "OneCycle",
    "Plateau",
    "Polynomial",
    "Schedule",
    "Summit",
    "Warmup",
    "WarmupCosine",
    "adam",
    "adamw",
    "build_optimizer",
    "build_schedule",
    "centralize",
    "from_keras_names",
    "holding_slow_weights",
    "parameter_groups",
    "rmsprop",
    "sgd",
    "slow_weights",
    "with_lookahead",
]
