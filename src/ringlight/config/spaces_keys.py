"""Search spaces over the keys of a configuration: every key and both ends of every range are tried on it first."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ringlight.config.aliases import canonical
from ringlight.config.faults import distinct, unknown_key
from ringlight.config.load import CheckParts, group_values, vary
from ringlight.config.schema import PARTS, SECTIONS, Config, fields_of
from ringlight.config.shipped import group_names
from ringlight.config.spaces import Axis, Point, Space, read_space
from ringlight.errors import ConfigError, Problems, did_you_mean

WHERE = "tune.space"

NOT_SEARCHED = {
    "split": "what is compared has to be judged on the same records",
    "cv": "what is compared has to be judged on the same records",
    "evaluation": "it does not change the model",
    "experiment": "a lucky seed is no better setting",
    "weights": "name the model instead",
    "tune": "it is the study itself",
}
"""Sections that no study searches, and why."""

RECORDS = ("source", "root", "task")
"""Keys of `data` that say which records there are."""

DRAWN = "synthetic"
"""How the names of sources begin whose own keys say what the records are."""


def shipped_space(name: str) -> dict[str, Any]:
    """Return a shipped space by its name.

    Raises:
        ConfigError: there is none; the message suggests the nearest.

    Examples:
        >>> "optimizer.lr" in shipped_space("images")
        True
    """
    found = group_values("tune", name)
    if found is None:
        raise ConfigError("a shipped space", got=f"`{name}`", where=WHERE, fix=did_you_mean(name, group_names("tune")))
    return dict(found["space"])


def configuration_space(
    config: Config, given: Mapping[str, Any], *, check_parts: CheckParts | None = None
) -> tuple[Space, dict[str, Any]]:
    """Check a space against the configuration whose keys it searches.

    Returns:
        The axes, and the values of the keys that conditions name and no axis searches.

    Raises:
        Problems: every mistake, a line each.

    Examples:
        >>> given = {"optimizer.lr": {"type": "float", "low": 0.0001, "high": 0.1, "log": True}}
        >>> configuration_space(Config(), given)[0][0].ends()
        [0.0001, 0.1]
    """
    space = read_space(_canonical(given), where=WHERE)
    lines = [line for axis in space for line in (*_key_faults(axis), *_record_faults(config, axis))]
    if lines:
        raise Problems(lines)
    tree = config.model_dump(mode="json")
    known = {axis.key for axis in space}
    fixed = {key: _value(tree, key) for axis in space for key in axis.when if key not in known}
    space = tuple(axis for axis in space if all(fixed[key] in axis.when[key] for key in axis.when if key in fixed))
    if not space:
        raise Problems([f"{WHERE}: expected a key that is searched with this configuration, got "
                        "conditions that it never meets; mend them, or choose another model"])  # fmt: skip
    for axis in space:
        for value in axis.ends():
            lines += _end_faults(config, space, axis, value, check_parts)
    if lines:
        raise Problems(distinct(lines))
    return space, fixed


def _canonical(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return a space with the seeds' spellings of its keys translated, in conditions, too."""
    found = {}
    for key, entry in given.items():
        if isinstance(entry, Mapping) and isinstance(entry.get("when"), Mapping):
            entry = {**entry, "when": {canonical(name): value for name, value in entry["when"].items()}}
        found[canonical(key)] = entry
    return found


def _key_faults(axis: Axis) -> list[str]:
    lines = []
    for key in (axis.key, *axis.when):
        section, _, leaf = key.partition(".")
        if section in NOT_SEARCHED:
            lines.append(f"{WHERE}.{key}: expected a key of a training, got one of {section}; {NOT_SEARCHED[section]}")
        elif section not in SECTIONS or (leaf and not _may_hold(section, leaf)):
            lines.append(f"{WHERE}.{unknown_key(key)}")
        elif not leaf and (axis.kind != "categorical" or not group_names(section)):
            lines.append(
                f"{WHERE}.{key}: expected section.key, or the names of groups of {section}, got {axis.kind}; "
                f"write {section}.KEY, or a list of {', '.join(group_names(section)) or 'values'}"
            )
    return lines


def _record_faults(config: Config, axis: Axis) -> list[str]:
    """Refuse keys that would judge each trial on other records: of a source that draws them, all of its own."""
    section, _, leaf = axis.key.partition(".")
    drawn = config.data.params() if config.data.source.startswith(DRAWN) else {}
    if section != "data" or (leaf and leaf not in RECORDS and leaf.partition(".")[0] not in drawn):
        return []
    return [f"{WHERE}.{axis.key}: expected a key of a training, got one of the records; {NOT_SEARCHED['split']}"]


def _may_hold(section: str, leaf: str) -> bool:
    """Return whether a section may have this key; whether its part has that parameter is the catalogue's to say."""
    return section in PARTS or SECTIONS[section] is None or leaf.partition(".")[0] in fields_of(section)


def _end_faults(config: Config, space: Space, axis: Axis, value: Any, check_parts: CheckParts | None) -> list[str]:
    try:
        vary(config, {**_needed(space, axis), axis.key: value}, check_parts=check_parts)
    except Problems as error:
        return [f"{WHERE}.{line}" if line.startswith(axis.key) else f"{WHERE}.{axis.key}={value!r}: {line}"
                for line in error.problems]  # fmt: skip
    return []


def _needed(space: Space, axis: Axis) -> Point:
    """Return values of other axes with which this one is searched."""
    others = {other.key: other for other in space}
    values: Point = {}
    for key, allowed in axis.when.items():
        if key in others:
            values = {**_needed(space, others[key]), **values, key: allowed[0]}
    return values


def _value(tree: Mapping[str, Any], key: str) -> Any:
    value: Any = tree
    for name in key.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return str(value) if isinstance(value, Path) else value
