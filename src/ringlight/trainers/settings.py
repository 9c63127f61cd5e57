"""From the seed's dictionary, and what `compile` was given, to a run's configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ringlight.config.load import vary
from ringlight.config.schema import Config
from ringlight.config.seed_layout import KERAS_METRICS, SeedSettings, read_seed_layout
from ringlight.errors import ConfigError, did_you_mean
from ringlight.evaluation.custom_metrics import METRICS
from ringlight.evaluation.metric_names import METRIC_NAMES
from ringlight.optim import from_keras_names
from ringlight.services.array_runs import ARRAYS
from ringlight.trainers.losses import LossFunction, with_class_weights
from ringlight.trainers.rates import LearningRateSchedule, OptimizerFactory
from ringlight.training.plan import part_problems

DECAY = {"adamw": 0.01}
"""The weight decay of an optimiser where none is given: PyTorch's; 0 of the others, as in Keras."""


def settings_of(
    config: Mapping[str, Any] | None, *, optimizer: OptimizerFactory | str | None = None,
    loss: LossFunction | str | None = None, metrics: Sequence[str] | None = None, epochs: int | None = None,
    batch_size: int | None = None,
) -> SeedSettings:  # fmt: skip
    """Read a dictionary of the seed with what a call says instead.

    Raises:
        Problems: keys that are not known, a line each.
    """
    tree = dict(config or {})
    training = dict(tree.get("training") or {})
    if isinstance(loss, str):
        training |= {"loss": loss, "loss_config": {}}
    elif loss is not None:
        training["loss"] = loss
    if isinstance(optimizer, str):
        training |= {"optimizer": optimizer, "optimizer_config": {}}
    elif optimizer is not None:
        training |= {
            "optimizer": optimizer.name, "learning_rate": optimizer.learning_rate,
            "optimizer_config": dict(optimizer.params),
        }  # fmt: skip
    if isinstance(training.get("loss"), LossFunction):
        training |= {"loss": training["loss"].name, "loss_config": dict(training["loss"].params)}
    rate = training.get("learning_rate")
    if isinstance(rate, LearningRateSchedule):
        training |= {
            "learning_rate": rate.base_learning_rate, "lr_schedule": rate.name, "lr_schedule_config": dict(rate.params),
        }  # fmt: skip
    given = {"metrics": metrics, "epochs": epochs, "batch_size": batch_size}
    training |= {key: value for key, value in given.items() if value is not None}
    return read_seed_layout({**tree, "training": training} if isinstance(config, Mapping | None) else config)


def config_of(settings: SeedSettings, *, name: str | None = None, classes: Sequence[str] | None = None) -> Config:
    """Return the configuration of a run; `classes` are the data's, None before they are known.

    Raises:
        Problems: names, parameters or values that cannot be used, a line each.
        ConfigError: an optimiser's parameter that is not known, class weights that the loss does not take.
    """
    values = dict(settings.values)
    optimizer = str(values["optimizer.name"]).lower()
    own = from_keras_names(optimizer, settings.optimizer_config)
    values |= {"optimizer.name": optimizer, "optimizer.weight_decay": DECAY.get(optimizer, 0.0)}
    values |= {f"optimizer.{key}": list(value) if isinstance(value, tuple) else value for key, value in own.items()}
    loss = {key.removeprefix("loss."): value for key, value in values.items() if key.startswith("loss.")}
    name_of_loss = loss.pop("name")
    if settings.class_weights and classes is not None:
        name_of_loss, loss = with_class_weights(name_of_loss, loss, settings.class_weights, classes)
    values = {key: value for key, value in values.items() if not key.startswith("loss.")}
    values |= {"loss.name": name_of_loss, **{f"loss.{key}": value for key, value in loss.items()}}
    values["training.metrics"] = _further(settings.metrics)
    if name is not None:
        values["experiment.name"] = name
    return vary(Config(), values, check_parts=part_problems)


def with_model(config: Config, model: Mapping[str, Any], *, vectors: bool) -> Config:
    """Return the configuration with the model that a caller brings, and data that no source reads."""
    tree = config.model_dump()
    tree["model"] = {**model, "pretrained": False}
    tree["data"] = {**tree["data"], "source": ARRAYS}
    if vectors:
        tree["split"]["leak_probe"] = False  # it looks at windows, and vectors have no course
    return Config.model_validate(tree)


def metric_name(name: str) -> str:
    """Return a metric's name as Ringlight has it: `val_accuracy` and `acc` are `accuracy`."""
    plain = name.removeprefix("val_")
    return KERAS_METRICS.get(plain, plain)


def _further(names: Sequence[Any]) -> list[str]:
    """Return the metrics that have to be asked for: those of every run are told anyway."""
    for name in names:
        if not isinstance(name, str):
            raise ConfigError(
                "names of metrics", got=type(name).__name__, where="training.metrics", fix="write ['accuracy']"
            )
    found = dict.fromkeys(metric_name(name) for name in names)
    asked = [name for name in found if name not in METRIC_NAMES and name != "loss"]
    for name in asked:
        if name not in METRICS:
            raise ConfigError(
                "a metric of the catalogue", got=f"`{name}`", where="training.metrics",
                fix=did_you_mean(name, [*METRIC_NAMES, *METRICS]),
            )  # fmt: skip
    return asked
