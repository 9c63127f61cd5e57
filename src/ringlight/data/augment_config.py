"""The configuration section `augmentation`: what is on, what is wrong with it, which classes are shown more often.

horizontal_flip: 0.5                        # a number is the probability
rotation: {degrees: 15, probability: 0.5}   # a mapping tunes the parameters
gaussian_blur: true                         # with its defaults
color_jitter: null                          # off, as is false
per_class_factor: {PASS: 20}                # records of the class appear 20 times an epoch,
heavy: {rotation: 0.9, random_crop: true}   # each time through this pipeline instead of the one above

Parts for windows of a signal (`jitter: true`) are written alike; `mixup`, for either, blends whole batches in training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ringlight.data.augmentations import AUGMENTATIONS, RESERVED
from ringlight.data.augmentations_base import Kind
from ringlight.errors import ConfigError, Problems, did_you_mean
from ringlight.registry import Catalogue

MAX_FACTOR = 1000
"""Most copies of a record in an epoch."""

Parts = dict[str, dict[str, Any]]
"""Name of an augmentation -> its parameters, in the order of application."""


def enabled_augmentations(config: Mapping[str, object]) -> Parts:
    """Return the parameters of every augmentation of single records that is on, in the order of application.

    What blends whole batches is in :func:`batch_augmentations`.

    Raises:
        Problems: an unknown name or parameter, a wrong type or value; every mistake, a line each.

    Examples:
        >>> enabled_augmentations({"rotation": {"degrees": 5}, "vertical_flip": None, "horizontal_flip": 0.5})
        {'horizontal_flip': {'probability': 0.5}, 'rotation': {'degrees': 5}}
    """
    _refuse_problems(config)
    return _enabled(config)


def batch_augmentations(config: Mapping[str, object]) -> Parts:
    """Return the parameters of every augmentation of whole batches that is on.

    Raises:
        Problems: see :func:`enabled_augmentations`.

    Examples:
        >>> batch_augmentations({"mixup": {"alpha": 0.4}, "horizontal_flip": 0.5})
        {'mixup': {'alpha': 0.4}}
    """
    _refuse_problems(config)
    return {name: given for name, given in _all_enabled(config).items() if takes_of(name) == "batches"}


def heavy_augmentations(config: Mapping[str, object]) -> Parts | None:
    """Return the parameters of the heavy pipeline's augmentations, None when the section names no such pipeline.

    Raises:
        Problems: see :func:`enabled_augmentations`.
    """
    _refuse_problems(config)
    heavy = config.get("heavy")
    return _enabled(heavy) if isinstance(heavy, Mapping) else None


def class_factors(config: Mapping[str, object]) -> dict[str, int]:
    """Return how often in an epoch the records of a class appear, for the classes that are listed.

    A class that is listed with null or false is not.

    Raises:
        Problems: see :func:`enabled_augmentations`.

    Examples:
        >>> class_factors({"per_class_factor": {"PASS": 20, "crack": None}})
        {'PASS': 20}
    """
    _refuse_problems(config)
    factors = config.get("per_class_factor")
    if not isinstance(factors, Mapping):
        return {}
    return {str(name): factor for name, factor in factors.items() if _is_on(factor)}


def has_augmentation(config: Mapping[str, object]) -> bool:
    """Whether the section changes any record: an augmentation of records is on, or a class is shown more often.

    Examples:
        >>> has_augmentation({"rotation": None}), has_augmentation({"heavy": {"rotation": True}})
        (False, False)
        >>> has_augmentation({"rotation": 0.5}), has_augmentation({"per_class_factor": {"PASS": 20}})
        (True, True)
    """
    return bool(_enabled(config) or class_factors(config))


def augmentation_needs(config: Mapping[str, object]) -> list[str]:
    """Return the augmentations that are on and need boxes or masks, as the keys they stand under.

    Examples:
        >>> augmentation_needs({"rotation": True, "heavy": {"defect_blackout": 0.5}})
        ['heavy.defect_blackout']
    """
    heavy = config.get("heavy")
    keys = {name: name for name in _enabled(config)}
    if isinstance(heavy, Mapping):
        keys |= {f"heavy.{name}": name for name in _enabled(heavy)}
    return [key for key, name in keys.items() if needs_boxes(name)]


def needs_boxes(name: str) -> bool:
    """Whether an augmentation of the catalogue must know where the defects lie."""
    return bool(getattr(AUGMENTATIONS.factory(name), "needs_boxes", False))


def takes_of(name: str) -> str:
    """Return what an augmentation of the catalogue is for: `images`, `windows` or `batches` (of either).

    Examples:
        >>> takes_of("rotation"), takes_of("jitter"), takes_of("mixup")
        ('images', 'windows', 'batches')
    """
    return str(getattr(AUGMENTATIONS.factory(name), "takes", "images"))


def augmentation_names(kind: Kind) -> list[str]:
    """Return the augmentations of single records of a kind, in the order of application."""
    return [name for name in AUGMENTATIONS.names() if takes_of(name) == kind]


def augmentation_problems(
    config: Mapping[str, object], class_names: Sequence[str] | None = None, *, kind: Kind | None = None
) -> list[str]:
    """Return what is wrong with an augmentation section, one readable line each; empty when all is well.

    Args:
        config: the section.
        class_names: of the data; None when they are not known yet: the names in `per_class_factor` are then not looked
            up.
        kind: of the data, `images` or `windows`; None when it is not known yet: augmentations of both are then taken.

    Examples:
        >>> augmentation_problems({"rotatoin": True})
        ['augmentation.rotatoin: expected a known augmentation, got unknown key `rotatoin`; did you mean `rotation`?']
        >>> augmentation_problems({"rotation": True}, kind="windows")
        ['augmentation.rotation: expected an augmentation of windows, got one of images; set it to null']
    """
    lines = []
    for name, value in config.items():
        if name == "per_class_factor":
            lines += _factor_problems(value, class_names)
        elif name == "heavy":
            lines += _heavy_problems(value, kind)
        else:
            lines += _toggle_problems(name, value, "augmentation", (*AUGMENTATIONS.names(), *RESERVED), kind)
    return lines


def _refuse_problems(config: Mapping[str, object]) -> None:
    lines = augmentation_problems(config)
    if lines:
        raise Problems(lines)


def _is_on(value: object) -> bool:
    return value is not None and value is not False


def _enabled(config: Mapping[str, object]) -> Parts:
    return {name: given for name, given in _all_enabled(config).items() if takes_of(name) != "batches"}


def _all_enabled(config: Mapping[str, object]) -> Parts:
    values = {name: config.get(name) for name in AUGMENTATIONS.names()}
    return {name: _parameters(value) for name, value in values.items() if _is_on(value)}


def _parameters(value: object) -> dict[str, Any]:
    if value is True:
        return {}
    return dict(value) if isinstance(value, Mapping) else {"probability": value}


def _toggle_problems(name: str, value: object, section: str, choices: Sequence[str], kind: Kind | None) -> list[str]:
    """Check one key of a pipeline: an augmentation that is off, on, a probability, or tuned."""
    if name not in AUGMENTATIONS.names():
        fix = did_you_mean(str(name), choices)
        return [f"{section}.{name}: expected a known augmentation, got unknown key `{name}`; {fix}"]
    if value is not None and not isinstance(value, bool | int | float | Mapping):
        return [
            f"{section}.{name}: expected true, false, a probability or a mapping of parameters, got {value!r}; "
            "correct the value"
        ]
    if not _is_on(value):
        return []
    return _kind_problems(name, section, kind) or _part_problems(name, _parameters(value), section)


def _kind_problems(name: str, section: str, kind: Kind | None) -> list[str]:
    takes = takes_of(name)
    if takes == "batches" and section != "augmentation":
        return [
            f"{section}.{name}: expected an augmentation of single records, got one of whole batches; "
            f"set augmentation.{name}"
        ]
    if kind is None or takes in (kind, "batches"):
        return []
    return [f"{section}.{name}: expected an augmentation of {kind}, got one of {takes}; set it to null"]


def _part_problems(name: str, parameters: dict[str, Any], section: str) -> list[str]:
    family = f"augmentation.{name}"  # so that the lines name the key in full
    part = Catalogue(family, {name: AUGMENTATIONS.factory(name)})
    lines = [line.replace(f"{family} `{name}`", f"augmentation `{name}`") for line in part.problems(name, parameters)]
    if not lines:
        try:
            part.factory(name)(**parameters)
        except ConfigError as error:
            lines.append(str(error))
    return [line.replace(family, f"{section}.{name}") for line in lines]


def _heavy_problems(value: object, kind: Kind | None) -> list[str]:
    if not _is_on(value):
        return []
    if not isinstance(value, Mapping):
        return [
            f"augmentation.heavy: expected a mapping of augmentations, got {value!r}; write heavy: {{rotation: 0.9}}"
        ]
    return [
        line
        for name, part in value.items()
        for line in _toggle_problems(name, part, "augmentation.heavy", AUGMENTATIONS.names(), kind)
    ]


def _factor_problems(value: object, class_names: Sequence[str] | None) -> list[str]:
    key = "augmentation.per_class_factor"
    if not _is_on(value):
        return []
    if not isinstance(value, Mapping):
        return [f"{key}: expected a mapping from class to copies an epoch, got {value!r}; write {{CLASS: 20}}"]
    lines = []
    for name, factor in value.items():
        if class_names is not None and _is_on(factor) and str(name) not in class_names:
            fix = did_you_mean(str(name), class_names)
            lines.append(f"{key}.{name}: expected a class of the data, got `{name}`; {fix}")
        whole = isinstance(factor, int) and not isinstance(factor, bool)
        if _is_on(factor) and not (whole and 1 <= factor <= MAX_FACTOR):
            lines.append(f"{key}.{name}: expected a whole number from 1 to {MAX_FACTOR}, got {factor!r}; correct it")
    return lines
