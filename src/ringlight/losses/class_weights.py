"""How much a class counts, from how often it is seen: the formulas that several losses share.

n_c training labels of class c, n all of them, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from ringlight.errors import ConfigError, did_you_mean
from ringlight.losses._checks import check_every_class, check_records

WEIGHTS = ("balanced", "inverse", "effective_number")
"""What :func:`class_weights` computes."""


def class_weights(
    class_counts: Sequence[int], rule: str, *, beta: float, where: str, fix: str, value: str | None = None
) -> list[float]:
    """Return the weight of each class by one of the rules of :data:`WEIGHTS`.

    Args:
        class_counts: n_c.
        rule: `balanced` n / (K n_c); `inverse` and `effective_number` (1 / E_c, see :func:`effective_number`) scaled to
            a mean of 1 over the classes.
        beta: 0 to 1, for `effective_number`.
        where: the key an error names.
        fix: what an error advises besides adding images.
        value: what the user wrote for the rule, when it was another word.

    Raises:
        ConfigError: a class has no images.

    Examples:
        >>> class_weights([30, 10], "balanced", beta=0, where="", fix="")
        [0.6666666666666666, 2.0]
        >>> class_weights([30, 10], "inverse", beta=0, where="", fix="")
        [0.5, 1.5]
    """
    check_every_class(class_counts, value=value or rule, where=where, fix=fix)
    if rule == "balanced":
        total = sum(class_counts)
        return [total / (len(class_counts) * count) for count in class_counts]
    inverse = rule == "inverse"
    raw = [1 / (count if inverse else effective_number(count, beta)) for count in class_counts]
    return [weight * len(raw) / math.fsum(raw) for weight in raw]


def effective_number(count: int, beta: float) -> float:
    """Return how many different images `count` of them amount to: (1 - beta^n) / (1 - beta), `count` for beta = 1.

    Each new image repeats what is known with a chance that grows with what is known; beta = (N - 1) / N when there are
    N different ones in all (Cui et al. 2019, arXiv:1901.05555, proposition 1).

    Examples:
        >>> effective_number(2, 0.5), effective_number(10, 0), effective_number(10, 1)
        (1.5, 1.0, 10.0)
    """
    if beta in (0, 1):
        return float(count if beta else 1)
    return -math.expm1(count * math.log(beta)) / (1 - beta)  # beta^n itself loses its digits near 1


def negatives_per_positive(class_counts: Sequence[int], num_records: int | None) -> list[float]:
    """Return (N - n_c) / n_c for each class of N records: what `loss.pos_weight=balanced` stands for.

    Raises:
        ConfigError: the number of records is missing, or a class is on no record or on every one.

    Examples:
        >>> negatives_per_positive([30, 10], 40)
        [0.3333333333333333, 3.0]
    """
    where, fix = "loss.pos_weight", "list the weights"
    check_every_class(class_counts, value="balanced", where=where, fix=fix)
    records = check_records(class_counts, num_records, value="balanced", where=where, fix=fix)
    return [(records - count) / count for count in class_counts]


def class_number(name: str | int, num_classes: int, classes: Sequence[str], *, where: str) -> int:
    """Return the number of a class that is named, or given by its number (also as text, as JSON has its keys).

    A name comes first: in a data set with the classes "1" and "2", "1" is the first.

    Raises:
        ConfigError: there is no such class.

    Examples:
        >>> [class_number(name, 2, ("tight", "leak"), where="") for name in ("leak", 0, "1")]
        [1, 0, 1]
    """
    if isinstance(name, str) and name in classes:
        return list(classes).index(name)
    text = str(name)
    if not isinstance(name, bool) and text.isdecimal() and int(text) < num_classes:
        return int(text)
    known = [*classes, *map(str, range(num_classes))]
    raise ConfigError(
        "a class of the data set, by name or number", got=f"`{name}`", where=where, fix=did_you_mean(text, known)
    )


def listed_weights(weights: Mapping[str | int, float], num_classes: int, classes: Sequence[str]) -> list[float]:
    """Return `{class: weight}` as a list, one number a class; a class that is not named counts 1.

    Raises:
        ConfigError: there is no such class, or one is given twice.

    Examples:
        >>> listed_weights({"leak": 1.5}, 2, ("tight", "leak"))
        [1.0, 1.5]
    """
    where = "loss.weights"
    found: dict[int, float] = {}
    for name, weight in weights.items():
        number = class_number(name, num_classes, classes, where=where)
        if number in found:
            raise ConfigError(
                "one weight for each class", got=f"two for class {number}", where=where, fix=f"drop `{name}`"
            )
        found[number] = float(weight)
    return [found.get(number, 1.0) for number in range(num_classes)]
