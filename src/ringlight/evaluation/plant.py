"""The plant's words: escapes, overkill, parts per million, first-pass yield, cost per part.

A part is good or defective, in truth and by decision. On a test set:

- escape rate e = P(decided good | defective): defects let through, of all defects
- overkill rate o = P(decided defective | good): good parts thrown away, of all good parts

Both are conditional on the truth, so they carry over to a line with another share p of defective parts (prevalence):

- `escapes_ppm` = 10⁶ p e and `overkill_ppm` = 10⁶ (1-p) o, each per million parts *inspected*
- `first_pass_yield` = (1-p)(1-o) + p e: the share of parts that pass, escapes among them (a line cannot see those)
- `shipped_ppm` = 10⁶ p e / first_pass_yield: defective parts per million that *passed*, what a customer counts
- `cost_per_part` = p e c_escape + (1-p) o c_overkill, per part inspected

Without a prevalence the test set's own share of defective parts is taken, which is seldom the line's. What rests on a
kind of part that the test set lacks is None: without a defective part nobody has seen whether one would escape.

Shapes: N parts, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ringlight.errors import DataError, did_you_mean
from ringlight.evaluation.inputs import BoolArray, as_numbers, checked_decisions, checked_flags, checked_labels
from ringlight.types import Task

GOOD_NAMES = frozenset({
    "good", "ok", "okay", "pass", "passed", "accept", "accepted", "normal", "clean", "free", "intact", "healthy",
    "none", "sound", "flawless", "faultless", "perfect", "defectfree", "faultfree", "flawfree", "nodefect", "nodefects",
    "nofault", "nofaults", "noleak", "nodamage", "nocrack", "nondefective", "undamaged", "conforming",
    "gut", "io", "inordnung", "fehlerfrei", "gutteil", "bon", "conforme", "bueno", "buono",
    "良品", "合格", "正常",
})  # fmt: skip
"""The names of good parts that are known, in small letters without spaces, dots, hyphens and underscores."""


@dataclass(frozen=True, slots=True)
class PlantMeasures:
    """What an inspection does to a line; None where it is undefined."""

    escape_rate: float | None
    overkill_rate: float | None
    escapes_ppm: float | None
    overkill_ppm: float | None
    shipped_ppm: float | None
    first_pass_yield: float | None
    cost_per_part: float | None
    prevalence: float
    num_good: int
    num_defective: int

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


def plant_measures(
    defective_truth: npt.ArrayLike,
    defective_decision: npt.ArrayLike,
    *,
    prevalence: float | None = None,
    escape_cost: float | None = None,
    overkill_cost: float | None = None,
) -> PlantMeasures:
    """Return the plant's measures of decisions.

    Args:
        defective_truth: (N,), which parts are defective.
        defective_decision: (N,), which parts were decided to be.
        prevalence: share of defective parts on the line, between 0 and 1; None takes the share among these parts.
        escape_cost: cost of a defective part let through, from 0.
        overkill_cost: cost of a good part thrown away, from 0; both costs or none.

    Raises:
        DataError: no part, lengths that do not fit, a prevalence outside (0, 1), a cost below zero or without the
            other.

    Examples:
        >>> truth, decision = [True] * 10 + [False] * 90, [True] * 9 + [False] + [True] * 9 + [False] * 81
        >>> line = plant_measures(truth, decision, prevalence=0.01, escape_cost=100.0, overkill_cost=2.0)
        >>> line.escape_rate, line.overkill_rate, round(line.escapes_ppm), round(line.cost_per_part, 3)
        (0.1, 0.1, 1000, 0.298)
    """
    truth, decision = checked_flags("defective_truth", defective_truth, "defective_decision", defective_decision)
    _check_line(prevalence, escape_cost, overkill_cost)
    defective = int(np.count_nonzero(truth))
    good = len(truth) - defective
    escape = int(np.count_nonzero(truth & ~decision)) / defective if defective else None
    overkill = int(np.count_nonzero(~truth & decision)) / good if good else None
    share = defective / len(truth) if prevalence is None else float(prevalence)
    escapes = None if escape is None else share * escape
    overkills = None if overkill is None else (1 - share) * overkill
    passed = _passed(decision, share, escapes, overkills, seen=prevalence is None)
    cost = None
    if escapes is not None and overkills is not None and escape_cost is not None and overkill_cost is not None:
        cost = escapes * escape_cost + overkills * overkill_cost
    return PlantMeasures(
        escape_rate=escape,
        overkill_rate=overkill,
        escapes_ppm=None if escapes is None else 1e6 * escapes,
        overkill_ppm=None if overkills is None else 1e6 * overkills,
        shipped_ppm=1e6 * escapes / passed if escapes is not None and passed else None,
        first_pass_yield=passed,
        cost_per_part=cost,
        prevalence=share,
        num_good=good,
        num_defective=defective,
    )


def _passed(
    decision: BoolArray, share: float, escapes: float | None, overkills: float | None, *, seen: bool
) -> float | None:
    if seen:  # the share among these parts: it was counted
        return int(np.count_nonzero(~decision)) / len(decision)
    return None if escapes is None or overkills is None else 1 - share - overkills + escapes


def _check_line(prevalence: float | None, escape_cost: float | None, overkill_cost: float | None) -> None:
    if prevalence is not None and not 0 < prevalence < 1:
        fix = "pass a share such as 0.01, or None for the share among these parts"
        raise DataError("a number between 0 and 1", got=f"{prevalence}", where="prevalence", fix=fix)
    for name, cost in (("escape_cost", escape_cost), ("overkill_cost", overkill_cost)):
        if cost is not None and not 0 <= cost < float("inf"):
            fix = "pass what it costs, in any currency"
            raise DataError("a finite number of at least 0", got=f"{cost}", where=name, fix=fix)
    if (escape_cost is None) != (overkill_cost is None):
        missing = "escape_cost" if escape_cost is None else "overkill_cost"
        raise DataError("both costs or none", got="one", where=missing, fix="set it too; 0 is a cost")


def is_defective(values: npt.ArrayLike, classes: Sequence[str], task: Task, good_class: str | None) -> BoolArray:
    """Return which parts are defective (N,), from targets or decisions.

    Multi-class: every class but the good one is a defect. Multi-label: a part is defective when it carries any class
    but the good one, and good when it carries none.

    Args:
        values: class numbers (N,) or a one-hot matrix (N, K), multi-class; a binary matrix (N, K), multi-label.
        classes: the K class names.
        task: multi-class or multi-label.
        good_class: the class of good parts; multi-label data may have none.

    Raises:
        DataError: no such class, none in multi-class data, or values that do not fit the classes.

    Examples:
        >>> is_defective([0, 2, 1], ["good", "pit", "crack"], "multiclass", "good").tolist()
        [False, True, True]
        >>> is_defective([[0, 0], [0, 1]], ["pit", "crack"], "multilabel", None).tolist()
        [False, True]
    """
    names = list(classes)
    if good_class is None and task == "multiclass":
        fix = f"name the class of good parts; {did_you_mean('good', names)}"
        raise DataError("a class of good parts in a multiclass data set", got="none", where="good_class", fix=fix)
    if good_class is not None and good_class not in names:
        fix = did_you_mean(good_class, names)
        raise DataError("a class of the data set", got=f"`{good_class}`", where="good_class", fix=fix)
    array = as_numbers("values", values)
    shape = (array.shape[0] if array.ndim else 0, len(names))
    if task == "multiclass" and array.ndim == 1:
        return np.asarray(checked_labels(array, shape) != names.index(str(good_class)))
    defects = [k for k, name in enumerate(names) if name != good_class]
    return np.asarray(checked_decisions(array, shape, task)[:, defects].any(axis=1))


def find_good_class(classes: Sequence[str]) -> str | None:
    """Return the class of good parts if exactly one class has a name of :data:`GOOD_NAMES`, else None.

    Examples:
        >>> find_good_class(["Blowhole", "Free", "Crack"]), find_good_class(["scratch", "pit"])
        ('Free', None)
        >>> find_good_class(["i.O.", "n.i.O."])
        'i.O.'
    """
    known = [name for name in classes if "".join(filter(str.isalnum, name.casefold())) in GOOD_NAMES]
    return known[0] if len(known) == 1 else None
