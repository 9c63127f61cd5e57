"""One readable line per mistake in a configuration: what was expected, what came, where, what to do."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from ringlight.config.aliases import ALIASES
from ringlight.config.schema import SECTIONS, Config, PointConfig, fields_of, nested
from ringlight.errors import did_you_mean, nearest, redacted

TOP = ("schema_version", "recipe")

POINTS = ("evaluation", "operating_points")
"""The one field whose values have keys of their own: points by name."""


def unknown_key(key: str) -> str:
    """Say that a dotted key is unknown, with the key it most likely meant.

    Examples:
        >>> print(unknown_key("training.num_epoch"))
        training.num_epoch: expected a key of training, got unknown key `training.num_epoch`; did you mean `num_epochs`?
        >>> print(unknown_key("trainig.num_epochs"))
        trainig: expected a section, got unknown section `trainig`; did you mean `training`?
        >>> print(unknown_key("num_epochs"))
        num_epochs: expected section.key=value, got unknown key `num_epochs`; did you mean `training.num_epochs`?
    """
    section, _, leaf = key.partition(".")
    leaf = leaf.partition(".")[0]
    if section in SECTIONS:
        near = _elsewhere(leaf, exact=True) or _near(section, leaf)
        fix = f"did you mean `{near}`?" if near else did_you_mean(leaf, fields_of(section))
        return f"{section}.{leaf}: expected a key of {section}, got unknown key `{section}.{leaf}`; {fix}"
    if not leaf:
        near = nearest(section, SECTIONS) or _elsewhere(section, exact=False)
        fix = f"did you mean `{near}`?" if near else did_you_mean(section, SECTIONS)
        return f"{section}: expected section.key=value, got unknown key `{section}`; {fix}"
    return f"{section}: expected a section, got unknown section `{section}`; {did_you_mean(section, SECTIONS)}"


def _near(section: str, leaf: str, others: Iterable[str] = ()) -> str | None:
    """Return the typed key of a section that a word is close to; of an alias, the key it means in full."""
    aliases = {
        spelling.partition(".")[2]: meant for spelling, meant in ALIASES.items() if spelling.startswith(f"{section}.")
    }
    near = nearest(leaf, [*fields_of(section), *others, *aliases])
    return None if near is None else aliases.get(near, near).removeprefix(f"{section}.")


def _elsewhere(leaf: str, *, exact: bool) -> str | None:
    """Return the canonical key of another section that has this last name."""
    known = {alias.partition(".")[2]: meant for alias, meant in ALIASES.items()}
    for section in SECTIONS:  # the first that has it: phases change keys of the run's own sections
        known |= {name: f"{section}.{name}" for name in fields_of(section) if name != "name" and name not in known}
    near = leaf if leaf in known else None if exact else nearest(leaf, known)
    return None if near is None else known[near]


def not_plain(tree: object, where: str) -> list[str]:
    """Return a line for each key that would name code to run and each interpolation: a configuration holds values only.

    Examples:
        >>> len(not_plain({"loss": {"_target_": "os.system", "name": "${oc.env:HOME}"}}, ""))
        2
    """
    lines = []
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            path = f"{where}.{key}" if where else str(key)
            if re.fullmatch(r"_\w+_", str(key)):
                lines.append(
                    f"{path}: expected plain values, got a key that names code to run; "
                    "choose a part by its name (loss.name=focal_loss)"
                )
            else:
                lines += not_plain(value, path)
    elif isinstance(tree, list):
        for index, value in enumerate(tree):
            lines += not_plain(value, f"{where}.{index}")
    elif isinstance(tree, str) and "${" in tree:
        lines.append(f"{where}: expected a plain value, got the interpolation {tree!r}; write the value itself")
    return lines


def schema_faults(error: ValidationError) -> list[str]:
    """Return a line for each field that the schema refuses; the members of a union are told in one line."""
    found: dict[tuple[str, ...], list[ErrorDetails]] = {}
    for detail in error.errors(include_url=False):
        found.setdefault(tuple(str(part) for part in detail["loc"][: _depth(detail["loc"])]), []).append(detail)
    return [_field_fault(path, details) for path, details in found.items()]


def _depth(path: Sequence[int | str]) -> int:
    """Return how many names of a path lead to a field; what follows them is a member of a union or of a list."""
    if path[0] in TOP:
        return 1
    if tuple(path[:2]) == POINTS:
        return 4
    return 2 if nested([str(part) for part in path[:2]]) is None else 3


def _field_fault(path: tuple[str, ...], details: list[ErrorDetails]) -> str:
    where = ".".join(path)
    if details[0]["type"] == "extra_forbidden":
        if path[:2] == POINTS:
            fix = did_you_mean(path[-1], PointConfig.model_fields)
            return f"{where}: expected a key of an operating point, got unknown key `{path[-1]}`; {fix}"
        group = nested(path[:2])
        if group is not None and len(path) == 3:
            fix = did_you_mean(path[2], group.model_fields)
            return f"{where}: expected a key of {path[0]}.{path[1]}, got unknown key `{path[2]}`; {fix}"
        return unknown_key(where)
    # A value of the right type that is out of range is not helped by the union's other types.
    telling = [detail for detail in details if not detail["type"].endswith("_type")] or details
    if any(detail["type"] == "literal_error" for detail in details):
        telling = details
    nouns = " or ".join(dict.fromkeys(_noun(detail) for detail in telling))
    expected = "null, true, false, a number or a mapping of parameters" if path[0] == "augmentation" else nouns
    got, choices = telling[0]["input"], re.findall(r"'([^']+)'", expected)
    # Before it is cut: half an address no longer looks like one with a password in it.
    return f"{where}: expected {expected}, got {redacted(repr(got)):.80}; {_fix(path, got, choices)}"


def _fix(path: Sequence[str], got: object, choices: Sequence[str]) -> str:
    if got == "None":
        return "write null for none"
    near = nearest(str(got), choices) if choices else None
    if near is not None:
        return f"did you mean `{near}`?"
    whole_point = path[:2] == POINTS and len(path) < 4
    return (
        "correct the value"
        if path[0] == "augmentation" or whole_point
        else f"correct the value (default: {_default(path)})"
    )


def _noun(detail: ErrorDetails) -> str:
    kind, message = detail["type"], detail["msg"]
    if kind == "value_error":
        return message.removeprefix("Value error, ")
    if kind in ("tuple_type", "too_long", "missing"):
        return "a list [height, width]"
    if kind in ("dict_type", "model_type"):
        return "a mapping of parameters"
    noun = message.removeprefix("Input should be ").partition(", unable")[0]
    return (
        f"a number {noun}" if noun.startswith(("greater", "less")) else noun.replace("a valid boolean", "true or false")
    )


def _default(path: Sequence[str]) -> str:
    group = nested(path[:2])
    if group is not None and len(path) == 3:
        value: Any = group.model_fields[path[2]].default
    else:
        value = PointConfig() if path[:2] == POINTS else Config()
        for key in path[3:] if path[:2] == POINTS else path:
            value = getattr(value, key, None)
    return {"None": "null", "True": "true", "False": "false"}.get(str(value), str(value))


def part_faults(lines: Iterable[str]) -> list[str]:
    """Improve the catalogues' lines: an unknown parameter may be a misspelt key that every part of the family has.

    Examples:
        >>> line = "model.drop_rte: expected ..., got unknown key `model.drop_rte`; did you mean `drop_path_rate`?"
        >>> print(*part_faults([line]))
        model.drop_rte: expected ..., got unknown key `model.drop_rte`; did you mean `drop_rate`?
    """
    better = []
    for line in lines:
        unknown = re.search(r"got unknown key `(\w+)\.(\w+)`; ", line)
        if unknown is not None and unknown[1] in SECTIONS:
            suggested = re.findall(r"did you mean `(.+?)`\?", line)
            near = _elsewhere(unknown[2], exact=True) or _near(unknown[1], unknown[2], suggested)
            line = line[: unknown.end()] + f"did you mean `{near}`?" if near else line
        better.append(line)
    return better


def distinct(lines: Iterable[str]) -> list[str]:
    """Drop a line that repeats another, or that tells a second time that a key is wrong.

    Examples:
        >>> distinct(["a.b: expected x, got 1; mend", "a.b: expected y, got 1; mend", "a.c: expected x, got 1; mend"])
        ['a.b: expected x, got 1; mend', 'a.c: expected x, got 1; mend']
    """
    kept: dict[str, str] = {}
    for line in lines:
        kept.setdefault(line.partition(": expected")[0], line)
    return list(kept.values())
