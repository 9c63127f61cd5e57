"""What a file and what the command line ask for, in canonical keys: aliases resolved, groups told from values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ringlight.config.aliases import canonical, resolve_aliases, twice
from ringlight.config.faults import TOP, not_plain, unknown_key
from ringlight.config.layers import Assignment, Layer
from ringlight.config.schema import PARTS, SECTIONS
from ringlight.config.shipped import group_names
from ringlight.errors import did_you_mean


def of_file(document: Mapping[str, Any], where: str) -> tuple[Layer, list[str]]:
    """Read a file's sections as a layer, with a line for each that is unknown or neither keys nor a group's name."""
    layer = Layer()
    problems = not_plain(document, "")
    values: dict[str, dict[str, Any]] = {}
    for section, content in document.items():
        if section in TOP:
            continue
        if section not in SECTIONS:
            problems.append(unknown_key(f"{section}.*" if isinstance(content, Mapping) else section))
        elif isinstance(content, Mapping):
            values[section] = dict(content)
        else:
            problems += _whole_section(section, content, layer, values, absent=content is None)
    resolved, conflicts = resolve_aliases(values, where)
    layer.values.update(resolved)
    return layer, problems + conflicts


def of_overrides(given: Sequence[Assignment]) -> tuple[Layer, list[Assignment], list[str]]:
    """Tell what overrides choose from what they set.

    Returns:
        The groups and part names they choose as a layer, the assignments in order and in canonical keys, and a line for
        each mistake.
    """
    layer = Layer()
    names: dict[str, dict[str, Any]] = {}
    assignments: list[Assignment] = []
    problems: list[str] = []
    spelt: dict[str, tuple[str, object]] = {}
    for one in _taken_apart(given):
        if not one.deletes:
            problems += not_plain(_nested(one.key, one.value), "")
        if one.key in SECTIONS and not one.deletes:
            problems += _whole_section(one.key, one.value, layer, names, absent=False)
            continue
        key = canonical(one.key)
        former = spelt.setdefault(key, (one.key, one.value))
        if former[0] != one.key and former[1] != one.value:
            problems.append(twice("overrides", key, (one.key, one.value), former))
            continue
        assignments.append(Assignment(key, one.value, one.deletes))
        section, _, leaf = key.partition(".")
        if section in PARTS and leaf == PARTS[section].name_key and isinstance(one.value, str):
            names[section] = {leaf: one.value}
    layer.values.update(names)
    return layer, assignments, problems


def _taken_apart(given: Sequence[Assignment]) -> list[Assignment]:
    """Turn `loss={gamma: 2}` into `loss.gamma=2`."""
    flat = []
    for one in given:
        if one.key in SECTIONS and isinstance(one.value, Mapping) and not one.deletes:
            flat += [Assignment(f"{one.key}.{key}", value) for key, value in one.value.items()]
        else:
            flat.append(one)
    return flat


def _nested(key: str, value: object) -> object:
    for name in reversed(key.split(".")):
        value = {name: value}
    return value


def _whole_section(
    section: str, content: object, layer: Layer, values: dict[str, dict[str, Any]], *, absent: bool
) -> list[str]:
    """Take `section: content` where the content is no mapping: a group, a part's name, a list of phases, or nothing."""
    if section == "phases" and isinstance(content, list | tuple | str | None):
        values[section] = {"order": [content] if isinstance(content, str) else list(content or ())}
        return []
    if section == "augmentation" and (content is None or content is False):
        layer.groups[section] = "none"
        return []
    if absent:
        return []
    known = group_names(section)
    if isinstance(content, str) and content in known:
        layer.groups[section] = content
        return []
    if isinstance(content, str) and section in PARTS:
        values[section] = {
            PARTS[section].name_key: content
        }  # a part without a group file; the catalogue knows it or not
        return []
    if isinstance(content, str) and known:
        return [f"{section}: expected a group of {section}, got `{content}`; {did_you_mean(content, known)}"]
    return [
        f"{section}: expected {'a group or keys' if known else 'keys'}, got {content!r:.80}; write {section}.KEY=VALUE"
    ]
