"""The dictionary of the first air-leak system (`training.loss`, `loss_config`, `callbacks`, ...) in canonical keys.

One table says what each of its keys means, :data:`SEED_LAYOUT`; :func:`read_seed_layout` follows it. Keys that are in
no row are refused. What two keys say against each other is settled here:

- `lr_schedule` and `reduce_lr_on_plateau`: the schedule by step counts, unless it is `constant`; a note says so.
- `class_weights` at the top and inside `training`: they have to be equal.
- A metric is named as Keras names it, `val_loss` or `val_accuracy`; it becomes `loss` or `accuracy`, since only the
  validation part is ever watched. A training metric (`loss`) is refused: it says nothing about new records.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from ringlight.errors import Problems, did_you_mean


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a key of the layout means: the canonical key, what it is when left out, and what else is to be said."""

    key: str
    default: Any = None
    note: str = ""


SEED_LAYOUT: Final[dict[str, Meaning]] = {
    "training.loss": Meaning("loss.name", "categorical_crossentropy"),
    "training.loss_config.NAME": Meaning("loss.NAME", note="a parameter of that loss"),
    "training.optimizer": Meaning("optimizer.name", "adam"),
    "training.learning_rate": Meaning("optimizer.lr", 0.001, "or what `get_learning_rate_schedule` returns"),
    "training.optimizer_config.NAME": Meaning("optimizer.NAME", note="Keras' names too: `beta_1`, `epsilon`, `rho`"),
    "training.lr_schedule": Meaning("scheduler.name", "constant"),
    "training.lr_schedule_config.NAME": Meaning("scheduler.NAME", note="a parameter of that schedule"),
    "training.epochs": Meaning("training.num_epochs", 50),
    "training.batch_size": Meaning("data.batch_size", 32),
    "training.metrics": Meaning("training.metrics", ["accuracy"], "`accuracy` and its like are told of every run"),
    "training.validation_split": Meaning("cv.val_share", 0.15, "held out of X where no X_val is given"),
    "training.seed": Meaning("experiment.seed", 42),
    "training.device": Meaning("training.device", "auto"),
    "training.class_weights": Meaning("loss.weights", note="by class number; of focal_loss `loss.alpha` times them"),
    "class_weights": Meaning("loss.weights", note="the same"),
    "training.callbacks.early_stopping": Meaning(
        "training.early_stopping_patience", False, "false is null; the best weights are put back either way"
    ),
    "training.callbacks.early_stopping_patience": Meaning("training.early_stopping_patience", 15),
    "training.callbacks.early_stopping_min_delta": Meaning("training.early_stopping_min_delta", 0.0),
    "training.callbacks.early_stopping_monitor": Meaning("training.early_stopping_monitor", "val_loss"),
    "training.callbacks.model_checkpoint": Meaning(
        "training.monitor", True, "every run keeps the best and the last weights; false changes nothing"
    ),
    "training.callbacks.checkpoint_monitor": Meaning("training.monitor", "early_stopping_monitor"),
    "training.callbacks.reduce_lr_on_plateau": Meaning("scheduler.name", False, "true is `plateau`"),
    "training.callbacks.reduce_lr_monitor": Meaning("scheduler.monitor", "val_loss"),
    "training.callbacks.reduce_lr_factor": Meaning("scheduler.factor", 0.5),
    "training.callbacks.reduce_lr_patience": Meaning("scheduler.patience", 5),
    "training.callbacks.reduce_lr_min_lr": Meaning("scheduler.min_lr", 0.0),
    "training.callbacks.tensorboard": Meaning("training.trackers", False, "true is `[tensorboard]`"),
    "models.MODEL.NAME": Meaning("model.NAME", note="a parameter of that model, for the builders"),
    "data.normalize": Meaning("data.normalize", "auto", "`none` gives the model X as it is"),
    "evaluation.NAME": Meaning("evaluation.NAME", note="any key of the section"),
}
"""Key of the layout: what it means. NAME stands for any name, MODEL for a model of the catalogue."""

TRAINING: Final = "training"
CALLBACKS: Final = "training.callbacks"
SECTIONS: Final = ("training", "class_weights", "models", "data", "evaluation")


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedSettings:
    """A dictionary of the layout in canonical keys.

    `values` go over a configuration; `optimizer_config` are the optimiser's own parameters under Keras' or our names;
    `class_weights` are by class number; `metrics` as the dictionary names them; `models` parameters by model.
    """

    values: dict[str, Any]
    optimizer_config: dict[str, Any]
    class_weights: dict[int | str, float]
    metrics: tuple[str, ...]
    models: dict[str, dict[str, Any]]
    notes: tuple[str, ...] = ()


def read_seed_layout(config: Mapping[str, Any] | None = None) -> SeedSettings:
    """Translate a dictionary of the layout; what it leaves out has the defaults of :data:`SEED_LAYOUT`.

    Raises:
        Problems: every key that is not known and every value of another kind, a line each.

    Examples:
        >>> training = {"loss": "focal_loss", "loss_config": {"gamma": 2.0}, "epochs": 9}
        >>> settings = read_seed_layout({"training": training})
        >>> settings.values["loss.name"], settings.values["loss.gamma"], settings.values["training.num_epochs"]
        ('focal_loss', 2.0, 9)
    """
    tree: Mapping[str, Any] = {} if config is None else config
    lines = _faults(tree)
    if lines:
        raise Problems(lines)
    training = tree.get("training", {})
    callbacks = training.get("callbacks") or {}
    weights, faults = _class_weights(tree, training)
    values = {
        SEED_LAYOUT[f"training.{key}"].key: training.get(key, SEED_LAYOUT[f"training.{key}"].default)
        for key in ("loss", "optimizer", "learning_rate", "epochs", "batch_size", "validation_split", "seed", "device")
    }
    values |= {f"loss.{key}": value for key, value in (training.get("loss_config") or {}).items()}
    scheduler, notes = _scheduler(training, callbacks)
    watched, more = _watched(callbacks)
    if scheduler.get("scheduler.monitor") is not None:
        scheduler["scheduler.monitor"], line = _validation("reduce_lr_monitor", scheduler["scheduler.monitor"])
        more += line
    if faults or more:
        raise Problems([*faults, *more])
    for section in ("data", "evaluation"):
        values |= {f"{section}.{key}": value for key, value in tree.get(section, {}).items()}
    return SeedSettings(
        values={**values, **scheduler, **watched},
        optimizer_config=dict(training.get("optimizer_config") or {}), class_weights=weights,
        metrics=tuple(training.get("metrics", SEED_LAYOUT["training.metrics"].default)),
        models={name: dict(params or {}) for name, params in tree.get("models", {}).items()}, notes=tuple(notes),
    )  # fmt: skip


def layout_table() -> str:
    """Return the table as Markdown, for the documentation.

    Examples:
        >>> print(layout_table().splitlines()[2])
        | `training.loss` | `loss.name` | `categorical_crossentropy` |  |
    """
    rows = ["| key of the dictionary | canonical key | left out | |", "|---|---|---|---|"]
    for name, meaning in SEED_LAYOUT.items():
        default = "" if meaning.default is None else f"`{_plain(meaning.default)}`"
        rows.append(f"| `{name}` | `{meaning.key}` | {default} | {meaning.note} |")
    return "\n".join(rows)


def _plain(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value).replace("'", "")


def _faults(tree: object) -> list[str]:
    """Return a line for every key that is in no row, and for every section that is no mapping."""
    if not isinstance(tree, Mapping):
        return [f"config: expected a dict, got {type(tree).__name__}; pass {{'training': {{...}}}}"]
    lines = _unknown(tree, "config", SECTIONS)
    for section in ("training", "models", "data", "evaluation", "class_weights"):
        lines += _mapping(tree, section, section)
    training = tree.get("training", {})
    if isinstance(training, Mapping):
        lines += _unknown(training, TRAINING, _children(TRAINING))
        for section in ("loss_config", "optimizer_config", "lr_schedule_config", "callbacks"):
            lines += _mapping(training, section, f"training.{section}", empty=True)
        metrics = training.get("metrics", ())
        if isinstance(metrics, str) or not isinstance(metrics, list | tuple):
            lines.append(f"training.metrics: expected a list of names, got {metrics!r}; write ['accuracy']")
        callbacks = training.get("callbacks") or {}
        if isinstance(callbacks, Mapping):
            lines += _unknown(callbacks, CALLBACKS, _children(CALLBACKS))
            lines += [
                f"{CALLBACKS}.{key}: expected true or false, got {callbacks[key]!r}; write True or False"
                for key in ("early_stopping", "model_checkpoint", "reduce_lr_on_plateau", "tensorboard")
                if not isinstance(callbacks.get(key, False), bool)
            ]
    for name, params in tree.get("models", {}).items() if isinstance(tree.get("models", {}), Mapping) else ():
        lines += _mapping({name: params}, name, f"models.{name}", empty=True)
    if isinstance(tree.get("data"), Mapping):
        lines += _unknown(tree["data"], "data", ("normalize",))
    return lines


def _children(section: str) -> list[str]:
    names = [key.removeprefix(f"{section}.") for key in SEED_LAYOUT if key.startswith(f"{section}.")]
    return list(dict.fromkeys(name.partition(".")[0] for name in names))


def _unknown(values: Mapping[str, Any], where: str, known: Any) -> list[str]:
    return [
        f"{where}.{key}: expected a key of the layout, got `{key}`; {did_you_mean(str(key), known)}"
        for key in values
        if key not in known
    ]


def _mapping(values: Mapping[str, Any], key: str, where: str, *, empty: bool = False) -> list[str]:
    value = values.get(key, {})
    if isinstance(value, Mapping) or (empty and value is None):
        return []
    return [f"{where}: expected a dict, got {type(value).__name__}; write {{'NAME': value}}"]


def _class_weights(tree: Mapping[str, Any], training: Mapping[str, Any]) -> tuple[dict[int | str, float], list[str]]:
    given = {"class_weights": tree.get("class_weights"), "training.class_weights": training.get("class_weights")}
    found = {where: dict(weights) for where, weights in given.items() if isinstance(weights, Mapping) and weights}
    lines = [
        f"{where}: expected a dict of weights by class number, got {weights!r}; write {{0: 1.0, 1: 1.5}}"
        for where, weights in given.items()
        if weights is not None and not isinstance(weights, Mapping)
    ]
    lines += [
        f"{where}: expected a weight above 0 for class {key}, got {value!r}; correct the value"
        for where, weights in found.items()
        for key, value in weights.items()
        if isinstance(value, bool | str) or not value > 0
    ]
    if len(found) == 2 and found["class_weights"] != found["training.class_weights"]:
        lines.append("class_weights: expected one set of weights, got two that differ; keep one of the two")
    return next(iter(found.values()), {}), lines


def _scheduler(training: Mapping[str, Any], callbacks: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return the section `scheduler`; of a schedule by step and a plateau the schedule counts."""
    name = training.get("lr_schedule") or "constant"
    own = {f"scheduler.{key}": value for key, value in (training.get("lr_schedule_config") or {}).items()}
    if not callbacks.get("reduce_lr_on_plateau"):
        return {"scheduler.name": name, **own}, []
    if name not in ("constant", "plateau"):
        return {"scheduler.name": name, **own}, [
            f"lr_schedule={name} sets the rate of every step: reduce_lr_on_plateau is left out"
        ]
    plateau = {
        SEED_LAYOUT[f"{CALLBACKS}.{key}"].key: callbacks.get(key, SEED_LAYOUT[f"{CALLBACKS}.{key}"].default)
        for key in ("reduce_lr_monitor", "reduce_lr_factor", "reduce_lr_patience", "reduce_lr_min_lr")
    }
    return {"scheduler.name": "plateau", **plateau, **(own if name == "plateau" else {})}, []


def _watched(callbacks: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return what stops the training and what chooses its weights."""
    stops = bool(callbacks.get("early_stopping"))
    stopping, lines = _validation("early_stopping_monitor", callbacks.get("early_stopping_monitor", "val_loss"))
    best, more = _validation("checkpoint_monitor", callbacks.get("checkpoint_monitor", f"val_{stopping}"))
    patience = callbacks.get("early_stopping_patience", SEED_LAYOUT[f"{CALLBACKS}.early_stopping_patience"].default)
    values = {
        "training.monitor": best,
        "training.early_stopping_monitor": stopping if stops else None,
        "training.early_stopping_patience": patience if stops else None,
        "training.early_stopping_min_delta": callbacks.get("early_stopping_min_delta", 0.0),
        "training.trackers": ["tensorboard"] if callbacks.get("tensorboard", False) else [],
    }
    return values, [*lines, *more]


def _validation(key: str, name: object) -> tuple[str, list[str]]:
    """Return a metric of the validation part under our name, and a line where it is none."""
    text = str(name)
    if not text.startswith("val_"):
        return text, [f"{CALLBACKS}.{key}: expected a metric of the validation part, got `{text}`; write `val_{text}`"]
    text = text.removeprefix("val_")
    return KERAS_METRICS.get(text, text), []


KERAS_METRICS: Final = {
    "acc": "accuracy",
    "categorical_accuracy": "accuracy",
    "sparse_categorical_accuracy": "accuracy",
    "auc": "auroc",
    "AUC": "auroc",
}
"""Keras' name of a metric: ours."""
