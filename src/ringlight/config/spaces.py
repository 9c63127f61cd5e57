"""Search spaces: which keys of a configuration are searched, and between what; checked before anything is trained.

A space maps a key to one of

- `{type: float, low: 1.0e-5, high: 1.0e-2, log: true}`; `num: 5` says how many points a grid takes of it;
- `{type: int, low: 16, high: 128, step: 16}`, or `log: true` in the place of a step;
- `{type: categorical, choices: [adam, sgd]}`, or the list alone.

An entry with `when: {loss.name: focal_loss}` is searched only where that key has that value, or one of a list.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from typing import Any, Literal

from ringlight.errors import Problems, did_you_mean

Kind = Literal["float", "int", "categorical"]
KINDS: tuple[Kind, ...] = ("float", "int", "categorical")
TAKES: dict[str, tuple[str, ...]] = {
    "float": ("low", "high", "log", "num"),
    "int": ("low", "high", "step", "log", "num"),
    "categorical": ("choices",),
}
"""The keys of each kind of entry, beside `type` and `when`."""

MOST_POINTS = 100_000
"""A grid with more points than this is nobody's intention."""

Point = dict[str, Any]
"""A value for every key that is searched there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """What is searched of one key: numbers from `low` to `high`, or `choices`.

    `when` holds, by key, the values with which the axis is searched; empty: always.
    """

    key: str
    kind: Kind
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    step: int = 1
    num: int | None = None
    choices: tuple[Any, ...] = ()
    when: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)

    @property
    def labels(self) -> tuple[str, ...]:
        """The choices as distinct texts: a list, null and true are choices, too, which no storage keeps as such."""
        texts = [label(choice) for choice in self.choices]
        return tuple(text if texts.index(text) == at else f"{text} #{at + 1}" for at, text in enumerate(texts))

    def ends(self) -> list[Any]:
        """Return the values at which a wrong space shows: both ends, or every choice."""
        return list(self.choices) if self.kind == "categorical" else [self._cast(self.low), self._cast(self.high)]

    def points(self) -> list[Any]:
        """Return the values that a grid takes.

        Examples:
            >>> Axis(key="lr", kind="float", low=0.001, high=0.1, log=True, num=3).points()
            [0.001, 0.01, 0.1]
            >>> Axis(key="depth", kind="int", low=2, high=8, step=3).points()
            [2, 5, 8]
        """
        if self.kind == "categorical":
            return list(self.choices)
        if self.num is None:
            return list(range(int(self.low), int(self.high) + 1, self.step))
        if self.num == 1 or self.low == self.high:
            return [self._cast(self.low)]
        shares = [index / (self.num - 1) for index in range(self.num)]
        if self.log:
            inner = [10 ** ((1 - at) * math.log10(self.low) + at * math.log10(self.high)) for at in shares[1:-1]]
        else:
            inner = [(1 - at) * self.low + at * self.high for at in shares[1:-1]]
        return list(dict.fromkeys(self._cast(value) for value in (self.low, *inner, self.high)))

    def is_active(self, values: Mapping[str, Any]) -> bool:
        """Return whether the axis is searched beside these values."""
        return all(values.get(key) in allowed for key, allowed in self.when.items())

    def _cast(self, value: float) -> float | int:
        return round(value) if self.kind == "int" else float(f"{value:.12g}")

    def to_dict(self) -> dict[str, Any]:
        """Return the entry as a space has it."""
        found: dict[str, Any] = {"type": self.kind}
        if self.kind == "categorical":
            found["choices"] = list(self.choices)
        else:
            found |= {"low": self._cast(self.low), "high": self._cast(self.high)}
            found |= {"log": True} if self.log else {}
            found |= {"step": self.step} if self.step != 1 else {}
            found |= {"num": self.num} if self.num is not None else {}
        return found | ({"when": {key: list(values) for key, values in self.when.items()}} if self.when else {})

    def __str__(self) -> str:
        if self.kind == "categorical":
            text = ", ".join(label(choice) for choice in self.choices)
        else:
            text = f"{self._cast(self.low):g} to {self._cast(self.high):g}" + (" (log)" if self.log else "")
            text += f", {self.num} points" if self.num else f", by {self.step}" if self.step != 1 else ""
        named = " and ".join(
            f"{key} is {' or '.join(label(value) for value in values)}" for key, values in self.when.items()
        )
        return text + (f"; when {named}" if named else "")


Space = tuple[Axis, ...]


def label(value: Any) -> str:
    """Return a value as text.

    Examples:
        >>> label("scale"), label(1e-5), label(None), label([64, 400])
        ('scale', '1e-05', 'null', '[64, 400]')
    """
    return value if isinstance(value, str) else json.dumps(value, default=str)


def read_space(given: Mapping[str, Any], *, where: str = "tune.space") -> Space:
    """Read and check a space; axes come in an order in which every condition stands before what hangs on it.

    Raises:
        Problems: every mistake, a line each.

    Examples:
        >>> space = read_space({"loss.gamma": {"type": "float", "low": 0, "high": 4}, "loss.name": ["focal_loss"]})
        >>> [(axis.key, axis.kind) for axis in space]
        [('loss.gamma', 'float'), ('loss.name', 'categorical')]
    """
    entries = {key: entry for key, entry in _entries(given) if entry is not None}
    if not entries:
        raise Problems([f"{where}: expected keys to search, got none; write KEY: {{type: float, low: 0.1, high: 1}}"])
    axes, lines = [], []
    for key, entry in entries.items():
        found = _axis(key, entry, f"{where}.{key}")
        if isinstance(found, Axis):
            axes.append(found)
        else:
            lines += found
    lines += _condition_faults(axes, where)
    if lines:
        raise Problems(lines)
    return _in_order(axes, where)


def _entries(given: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield dotted keys: `optimizer: {lr: {...}}` is `optimizer.lr`."""
    for name, entry in given.items():
        key = f"{prefix}{name}"
        if isinstance(entry, Mapping) and _is_section(entry):
            yield from _entries(entry, f"{key}.")
        else:
            yield key, entry


def _is_section(entry: Mapping[str, Any]) -> bool:
    """Return whether a mapping holds entries below it, and is none itself."""
    own = {"type", "when", *(name for names in TAKES.values() for name in names)}
    return bool(entry) and not own & set(entry) and all(isinstance(one, Mapping | list) for one in entry.values())


def _axis(key: str, entry: Any, where: str) -> Axis | list[str]:
    if isinstance(entry, Sequence) and not isinstance(entry, str):
        entry = {"type": "categorical", "choices": entry}
    if not isinstance(entry, Mapping):
        hint = "write {type: float, low: 0.1, high: 1}, or a list of choices"
        return [f"{where}: expected a mapping with type, got {entry!r:.60}; {hint}"]
    kind = entry.get("type", "categorical" if "choices" in entry else None)
    if kind not in KINDS:
        fix = "add one" if kind is None else did_you_mean(str(kind), KINDS)
        return [
            f"{where}.type: expected float, int or categorical, got {'none' if kind is None else f'`{kind}`'}; {fix}"
        ]
    allowed = ("type", *TAKES[kind], "when")
    lines = [
        f"{where}.{name}: expected a key of type {kind}, got unknown key `{name}`; {did_you_mean(str(name), allowed)}"
        for name in entry
        if name not in allowed
    ]
    when, faults = _when(entry.get("when"), where)
    found = _choices(entry, where) if kind == "categorical" else _range(entry, kind, where)
    if isinstance(found, list):
        faults += found
        found = {}
    lines += faults
    return lines or Axis(key=key, kind=kind, when=when, **found)


def _choices(entry: Mapping[str, Any], where: str) -> dict[str, Any] | list[str]:
    choices = entry.get("choices")
    if not isinstance(choices, Sequence) or isinstance(choices, str):
        return [f"{where}.choices: expected a list, got {choices!r:.60}; write [a, b]"]
    if not choices:
        return [f"{where}.choices: expected at least one choice, got an empty list; name some, or leave the key out"]
    return {"choices": tuple(choices)}


def _range(entry: Mapping[str, Any], kind: str, where: str) -> dict[str, Any] | list[str]:
    wanted = (int,) if kind == "int" else (int, float)
    noun = "a whole number" if kind == "int" else "a number"
    lines = []
    ends: list[float] = []
    for name in ("low", "high"):
        value = entry.get(name)
        if isinstance(value, wanted) and not isinstance(value, bool) and math.isfinite(value):
            ends.append(value)
        else:
            lines.append(f"{where}.{name}: expected {noun}, got {'none' if value is None else repr(value)}; set it")
    log = entry.get("log", False)
    if not isinstance(log, bool):
        lines.append(f"{where}.log: expected true or false, got {log!r}; correct it")
    for name in ("step", "num"):
        value = entry.get(name)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
            lines.append(f"{where}.{name}: expected a whole number from 1, got {value!r}; correct it")
    if lines:
        return lines
    low, high = ends
    if low > high:
        return [f"{where}: expected low <= high, got low={low:g} and high={high:g}; swap them"]
    if log and low <= 0:
        return [f"{where}.low: expected a number above 0, as log is true, got {low:g}; raise it, or set log: false"]
    step = entry.get("step") or 1
    if log and step != 1:
        return [f"{where}.step: expected no step beside log: true, got {step}; leave one of them out"]
    return {"low": low, "high": low + (high - low) // step * step if kind == "int" else high, "log": log,
            "step": step, "num": entry.get("num")}  # fmt: skip


def _when(given: Any, where: str) -> tuple[dict[str, tuple[Any, ...]], list[str]]:
    if given is None:
        return {}, []
    if not isinstance(given, Mapping) or not given:
        return {}, [
            f"{where}.when: expected KEY: value or [values], got {given!r:.60}; write when: {{model.name: NAME}}"
        ]
    return {key: tuple(one) if isinstance(one, list | tuple) else (one,) for key, one in given.items()}, []


def _condition_faults(axes: Sequence[Axis], where: str) -> list[str]:
    """Refuse a condition on a value that its key never takes; a key that is not searched keeps one value."""
    known = {axis.key: axis for axis in axes}
    lines = []
    for axis in axes:
        for key, values in axis.when.items():
            if key == axis.key:
                lines.append(f"{where}.{key}.when: expected another key, got `{key}` itself; leave it out")
            other = known.get(key)
            if other is None or other.kind != "categorical":
                continue
            never = [value for value in values if value not in other.choices]
            lines += [
                f"{where}.{axis.key}.when: expected a choice of {key}, got `{label(value)}`; "
                f"{did_you_mean(label(value), other.labels)}"
                for value in never
            ]
    return lines


def _in_order(axes: Sequence[Axis], where: str) -> Space:
    keys = {axis.key for axis in axes}
    done: list[Axis] = []
    left = list(axes)
    while left:
        placed = {axis.key for axis in done}
        ready = [axis for axis in left if all(key in placed or key not in keys for key in axis.when)]
        if not ready:
            names = ", ".join(axis.key for axis in left)
            raise Problems([f"{where}: expected conditions that end somewhere, got a circle of {names}; leave one out"])
        done += ready
        left = [axis for axis in left if axis not in ready]
    return tuple(done)


def walk(space: Space, fixed: Mapping[str, Any], pick: Callable[[Axis], Any]) -> Point:
    """Choose a value on every axis that is searched, in order.

    Args:
        space: the axes.
        fixed: values of keys that conditions name and no axis searches.
        pick: what chooses.
    """
    values: Point = {}
    for axis in space:
        if axis.is_active({**fixed, **values}):
            values[axis.key] = pick(axis)
    return values


def _chosen(values: Mapping[str, Any], axis: Axis) -> Any:
    return values[axis.key]


def grid(space: Space, fixed: Mapping[str, Any] | None = None, *, where: str = "tune.space") -> list[Point]:
    """Return every point of the grid once; the last axis changes quickest.

    Raises:
        Problems: a range of numbers without a number of points; more points than anybody wants.

    Examples:
        >>> grid(read_space({"a": [1, 2], "b": {"choices": [3, 4], "when": {"a": 1}}}))
        [{'a': 1, 'b': 3}, {'a': 1, 'b': 4}, {'a': 2}]
    """
    lines = [
        f"{where}.{axis.key}.num: expected how many points a grid takes, got none; add num: 5, or list choices"
        for axis in space
        if axis.kind == "float" and axis.num is None
    ]
    if lines:
        raise Problems(lines)
    columns = [axis.points() for axis in space]
    total = math.prod(len(column) for column in columns)
    if total > MOST_POINTS:
        raise Problems(
            [f"{where}: expected a grid of at most {MOST_POINTS:,} points, got {total:,}; use method=random"]
        )
    found: dict[str, Point] = {}
    for combination in product(*columns):
        chosen = {axis.key: value for axis, value in zip(space, combination, strict=True)}
        point = walk(space, fixed or {}, partial(_chosen, chosen))
        found.setdefault(repr(point), point)
    return list(found.values())
