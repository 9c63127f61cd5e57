"""What every loss checks before its formula: configured numbers once, tensor shapes at each call (no device sync)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from ringlight.errors import ConfigError, DataError, did_you_mean
from ringlight.types import Task


def check_task(num_classes: int, task: Task, *, name: str, tasks: Sequence[Task], fix: str = "") -> None:
    """Refuse a task the loss has no meaning for, and class counts below one (two for multi-class).

    Raises:
        ConfigError: either is the case.
    """
    if task not in tasks:
        raise ConfigError(f"a {' or '.join(tasks)} data set for `{name}`", got=task, where="loss.name", fix=fix)
    least = 2 if task == "multiclass" else 1
    if num_classes < least:
        raise ConfigError(
            f"{least} or more classes for a {task} loss",
            got=str(num_classes),
            where="num_classes",
            fix="add images of another class: of one class there is nothing to learn",
        )


def check_number(value: float, *, key: str, low: float, high: float = math.inf) -> float:
    """Return the number, which must lie within `low` and `high`, both included.

    Raises:
        ConfigError: it is outside, infinite or not a number.
    """
    if not (math.isfinite(value) and low <= value <= high):
        bounds = f"of {low:g} or more" if math.isinf(high) else f"between {low:g} and {high:g}"
        raise ConfigError(f"a number {bounds}", got=f"{value:g}", where=f"loss.{key}", fix="correct the value")
    return float(value)


def check_word(value: object, words: Sequence[str], *, key: str, expected: str) -> None:
    """Refuse a text that is none of `words`; anything but a text is left to others.

    Raises:
        ConfigError: it is another word.
    """
    if isinstance(value, str) and value not in words:
        raise ConfigError(expected, got=f"`{value}`", where=f"loss.{key}", fix=did_you_mean(value, words))


def check_list(values: Sequence[float], num_classes: int, *, key: str, high: float = math.inf) -> list[float]:
    """Return the numbers, one a class, each of 0 or more.

    Raises:
        ConfigError: another length, or a number outside 0 to `high`.
    """
    if len(values) != num_classes:
        raise ConfigError(
            f"a list of {num_classes} numbers, one a class",
            got=f"{len(values)}",
            where=f"loss.{key}",
            fix="list the classes in the data set's order",
        )
    return [check_number(value, key=key, low=0.0, high=high) for value in values]


def check_counts(
    counts: Sequence[int] | None, num_classes: int, *, value: str, key: str = "name", fix: str = ""
) -> list[int]:
    """Return the label counts of the training set, which `loss.<key>=<value>` is computed from.

    Raises:
        ConfigError: there are none, or not one a class.
    """
    if counts is None or len(counts) != num_classes or min(counts) < 0:
        raise ConfigError(
            f"the training set's label count of each of {num_classes} classes for {value}",
            got="none" if counts is None else str(list(counts)),
            where=f"loss.{key}",
            fix="pass class_counts=[...]" + (f", or {fix}" if fix else ""),
        )
    return [int(count) for count in counts]


def check_every_class(counts: Sequence[int], *, value: str, where: str, fix: str) -> None:
    """Refuse counts in which a class has no training images: its weight, margin or log prior is infinite.

    Raises:
        ConfigError: a class has none.
    """
    if min(counts) == 0:
        raise ConfigError(
            f"training images of every class for {value}",
            got=f"none of class {list(counts).index(0)} ({list(counts)})",
            where=where,
            fix=f"add images of it, or {fix}",
        )


def check_records(counts: Sequence[int], num_records: int | None, *, value: str, where: str, fix: str) -> int:
    """Return the number of training records, of which each class must leave some out: it has negatives, too.

    Raises:
        ConfigError: the number is missing or smaller than a count, or a class is on every record.
    """
    if num_records is None or num_records < max(counts):
        raise ConfigError(
            f"the number of training records for {value}",
            got="none" if num_records is None else f"{num_records} for label counts {list(counts)}",
            where=where,
            fix=f"pass num_records=N, or {fix}",
        )
    if num_records == max(counts):
        raise ConfigError(
            f"training records without each class for {value}",
            got=f"class {list(counts).index(num_records)} on all {num_records}",
            where=where,
            fix=f"add records without it, or {fix}",
        )
    return num_records


def check_shapes(logits_bk: Tensor, targets: Tensor, num_classes: int, *, indices: bool, scores: bool) -> None:
    """Refuse logits that are not (B, K), and targets that are neither (B,) `indices` nor (B, K) `scores`.

    Raises:
        DataError: the shapes do not fit.
    """
    fits = logits_bk.ndim == 2 and logits_bk.shape[1] == num_classes
    is_index = indices and targets.shape == logits_bk.shape[:1] and not targets.is_floating_point()
    is_score = scores and targets.shape == logits_bk.shape
    if fits and (is_index or is_score):
        return
    wanted = [*(["(B,) class indices"] if indices else []), *([f"(B, {num_classes}) scores"] if scores else [])]
    raise DataError(
        f"logits (B, {num_classes}) and targets of {' or '.join(wanted)}",
        got=f"logits {tuple(logits_bk.shape)}, targets {tuple(targets.shape)} of {targets.dtype}",
        where="loss",
        fix="compare model.num_classes and the task with the data set",
    )


def exact(values: Tensor) -> list[float]:
    """Return single-precision numbers as short decimals that read back to the same bits (9 digits do).

    A run's configuration holds the weights its loss used; running it again must give the same loss.
    """
    return [float(f"{float(value):.9g}") for value in values]
