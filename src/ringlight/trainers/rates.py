"""Learning rates as functions of the step, and optimisers that wait for a model's parameters."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ringlight.errors import ConfigError, did_you_mean
from ringlight.optim import OPTIMIZERS, RATES, from_keras_names

if TYPE_CHECKING:
    import torch
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LambdaLR


@dataclass(frozen=True, slots=True)
class LearningRateSchedule:
    """A rate by step: `schedule(step)`; a pure function, the one of `ringlight.optim.RATES`."""

    name: str
    base_learning_rate: float
    params: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, step: int) -> float:
        """Return the learning rate of a step, from 0."""
        return RATES[self.name](step, base_lr=self.base_learning_rate, **self.params)


@dataclass(frozen=True, slots=True)
class OptimizerFactory:
    """An optimiser that waits for a model; `ModelTrainer.compile(optimizer=...)` takes it.

    By hand: `optimizer = factory.build(model.parameters())`, and with a schedule `factory.schedule(optimizer).step()`
    after each step.
    """

    name: str
    learning_rate: float | LearningRateSchedule
    params: Mapping[str, Any] = field(default_factory=dict)

    def build(self, parameters: Iterable[torch.nn.Parameter]) -> Optimizer:
        """Return the optimiser over parameters, at the schedule's base rate."""
        rate = self.learning_rate
        base = rate.base_learning_rate if isinstance(rate, LearningRateSchedule) else rate
        return OPTIMIZERS.build(
            self.name, parameters=list(parameters), **{"lr": base, "weight_decay": 0.0, **self.params}
        )

    def schedule(self, optimizer: Optimizer) -> LambdaLR:
        """Return PyTorch's scheduler that sets the rate of each step; a rate that is a number stays."""
        from torch.optim.lr_scheduler import LambdaLR

        rate = self.learning_rate
        if not isinstance(rate, LearningRateSchedule):
            return LambdaLR(optimizer, lambda _: 1.0)
        return LambdaLR(optimizer, lambda step: rate(step) / rate.base_learning_rate)


def get_learning_rate_schedule(
    name: str, base_learning_rate: float = 0.001, config: Mapping[str, Any] | None = None
) -> LearningRateSchedule:
    """Return a learning rate by step.

    Args:
        name: constant, warmup, cosine, exponential, polynomial, one_cycle.
        base_learning_rate: the full rate.
        config: the schedule's own numbers, such as `warmup_steps`; see `ringlight.optim.schedules_rates`.

    Raises:
        ConfigError: an unknown schedule, a number that is missing, unknown or out of range.

    Examples:
        >>> seed = {"initial_lr": 1e-4, "warmup_steps": 1000, "decay_steps": 5000, "decay_rate": 0.96}
        >>> schedule = get_learning_rate_schedule("warmup", base_learning_rate=0.001, config=seed)
        >>> [round(schedule(step), 6) for step in (0, 500, 1000, 6000)]
        [0.0001, 0.00055, 0.001, 0.00096]
    """
    if name not in RATES:
        fix = "set callbacks.reduce_lr_on_plateau: it follows a metric, not the step"
        raise ConfigError(
            "a schedule by step", got=f"`{name}`", where="get_learning_rate_schedule",
            fix=fix if name == "plateau" else did_you_mean(name, RATES),
        )  # fmt: skip
    params = dict(config or {})
    taken = {
        key: part for key, part in inspect.signature(RATES[name]).parameters.items() if key not in ("step", "base_lr")
    }
    for key in params:
        if key not in taken:
            raise ConfigError(
                f"a number of schedule `{name}`", got=f"`{key}`", where="config", fix=did_you_mean(key, taken)
            )
    missing = [key for key, part in taken.items() if part.default is part.empty and key not in params]
    if missing:
        raise ConfigError(
            f"{', '.join(missing)} of schedule `{name}`", got="none", where="config",
            fix=f"pass config={{'{missing[0]}': 1000, ...}}",
        )  # fmt: skip
    schedule = LearningRateSchedule(name, float(base_learning_rate), params)
    if not base_learning_rate > 0:
        raise ConfigError(
            "a learning rate above 0", got=f"{base_learning_rate}", where="base_learning_rate", fix="0.001"
        )
    schedule(0)  # numbers out of range are refused here
    return schedule


def get_optimizer(
    name: str = "adam", learning_rate: float | LearningRateSchedule = 0.001, **config: Any
) -> OptimizerFactory:
    """Return an optimiser that waits for a model's parameters.

    Args:
        name: adam, adamw, sgd, rmsprop.
        learning_rate: a number, or what :func:`get_learning_rate_schedule` returns.
        config: its own parameters, in Keras' names (`beta_1`) or PyTorch's (`betas`).

    Raises:
        ConfigError: an unknown optimiser or parameter.

    Examples:
        >>> get_optimizer("adam", learning_rate=0.01, beta_1=0.8).params
        {'betas': (0.8, 0.999)}
    """
    if name.lower() not in OPTIMIZERS:
        fix = did_you_mean(name, list(OPTIMIZERS))
        raise ConfigError("a known optimizer", got=f"`{name}`", where="get_optimizer", fix=fix)
    params = from_keras_names(name, config)
    if "lr" in params:
        raise ConfigError("one learning rate", got="`lr` in config, too", where="get_optimizer", fix="leave it out")
    return OptimizerFactory(name.lower(), learning_rate, params)
