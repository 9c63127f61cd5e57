"""How recipe, file and overrides are laid over each other, on plain values.

Two rules decide everything:

1. Layers merge key by key: recipe < file < overrides, and a mapping merges into a mapping.
2. A part brings its own parameters and takes them away. When a layer chooses another part (another loss), the
   parameters that lower layers gave the former part are dropped; the fields that every part of the family has (learning
   rate) stay, unless the new part's group file sets them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from ringlight.config.faults import unknown_key
from ringlight.config.schema import PARTS, SECTIONS, fields_of

Tree = dict[str, Any]
LoadGroup = Callable[[str, str], Tree | None]
"""Section and group name: the group file's values, None when there is no such file."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """One override: a canonical dotted key and its value, or the wish to delete it."""

    key: str
    value: object = None
    deletes: bool = False


@dataclass(frozen=True, slots=True)
class Layer:
    """What a file or the overrides say: the groups they name and the values they set, section by section."""

    groups: dict[str, str] = field(default_factory=dict)
    values: dict[str, Tree] = field(default_factory=dict)


def merge(base: Tree, over: Mapping[str, Any]) -> Tree:
    """Lay one tree over another; a mapping merges into a mapping, anything else replaces.

    Examples:
        >>> merge({"a": {"b": 1, "c": 2}}, {"a": {"c": 3}, "d": None})
        {'a': {'b': 1, 'c': 3}, 'd': None}
    """
    result = dict(base)
    for key, value in over.items():
        former = result.get(key)
        both = isinstance(former, Mapping) and isinstance(value, Mapping)
        result[key] = merge(dict(former), value) if both else deepcopy(value)  # type: ignore[arg-type]
    return result


def lay(base: Mapping[str, Tree], layers: Sequence[Layer], load_group: LoadGroup) -> dict[str, Tree]:
    """Lay `layers`, lowest first, over a recipe's sections."""
    result = {}
    for section in SECTIONS:
        settle = _settle_part if section in PARTS else _settle_plain
        given: object = base.get(section) or {}
        # A recipe may say `phases: [supcon, margin]`.
        values: Tree = dict(given) if isinstance(given, Mapping) else {"order": given}
        result[section] = settle(section, values, layers, load_group)
    return result


def _settle_plain(section: str, values: Tree, layers: Sequence[Layer], load_group: LoadGroup) -> Tree:
    for layer in layers:
        if section in layer.groups:
            group = load_group(section, layer.groups[section]) or {}
            # Augmentations are a set: another group replaces it, while other sections keep what the group leaves open.
            values = group if section == "augmentation" else merge(values, group)
        values = merge(values, layer.values.get(section, {}))
    return values


def _settle_part(section: str, values: Tree, layers: Sequence[Layer], load_group: LoadGroup) -> Tree:
    name_key = PARTS[section].name_key
    typed = set(fields_of(section))
    name = values.get(name_key)
    group: Tree | None = None
    valid_from = 0  # the first layer whose parameters belong to the part that is chosen in the end
    for index, layer in enumerate(layers):
        chosen, chosen_group = _choice(section, layer, load_group)
        if chosen_group is not None or chosen not in (None, name):
            if chosen != name:
                valid_from = index + 1
            name, group = chosen, chosen_group
    if valid_from:
        values = {key: value for key, value in values.items() if key in typed}
    values = merge(values, group or {})
    if name is not None:
        values[name_key] = name
    for index, layer in enumerate(layers):
        for key, value in layer.values.get(section, {}).items():
            settled = key == name_key and isinstance(value, str)
            if not settled and (key in typed or index + 1 >= valid_from):
                values = merge(values, {key: value})
    return values


def _choice(section: str, layer: Layer, load_group: LoadGroup) -> tuple[str | None, Tree | None]:
    """Return the part that a layer names, None when it names none, and the values of its group file."""
    name_key = PARTS[section].name_key
    named = layer.values.get(section, {}).get(name_key)
    if section in layer.groups:
        group_name = layer.groups[section]
        group = load_group(section, group_name)
        name = (group or {}).get(name_key, group_name)
        if named in (None, name):
            return name, group or {}
    if not isinstance(named, str):
        return None, None
    return named, load_group(section, named)


def shorten_warmup(tree: Mapping[str, Tree], base: Mapping[str, Tree]) -> None:
    """Keep a warm-up that nobody asked for in proportion when the run was made short, in place.

    Five epochs of a hundred suit the recipe; two epochs would never reach the learning rate.

    Examples:
        >>> tree = {"scheduler": {"warmup_epochs": 5}, "training": {"num_epochs": 2}}
        >>> shorten_warmup(tree, {"training": {"num_epochs": 100}})
        >>> tree["scheduler"]["warmup_epochs"]
        0.1
    """
    warmup = tree["scheduler"].get("warmup_epochs")
    epochs = tree["training"].get("num_epochs")
    former = base.get("training", {}).get("num_epochs")
    numbers = [one for one in (warmup, epochs, former) if isinstance(one, int | float) and one > 0]
    if len(numbers) == 3 and 2 * numbers[0] > numbers[1] and numbers[1] < numbers[2]:
        tree["scheduler"]["warmup_epochs"] = round(min(numbers[0] * numbers[1] / numbers[2], numbers[1] / 2), 3)


def apply(tree: Mapping[str, Tree], assignment: Assignment) -> str | None:
    """Set or delete one key in place; return what is wrong, None when all is well.

    Examples:
        >>> tree = {"augmentation": {"rotation": 0.5}}
        >>> apply(tree, Assignment("augmentation.rotation.degrees", 5)), tree
        (None, {'augmentation': {'rotation': {'degrees': 5}}})
    """
    section, *path = assignment.key.split(".")
    if section not in tree or not all(path):
        return unknown_key(assignment.key)
    if not path:
        tree[section].clear()  # only a deletion names a whole section: groups and mappings were taken apart before
        return None
    values = tree[section]
    for key in path[:-1]:
        below = values.get(key)
        if not isinstance(below, dict):
            if assignment.deletes:
                return _nothing_to_delete(assignment.key)
            below = values[key] = {}
        values = below
    if not assignment.deletes:
        values.update(merge(values, {path[-1]: assignment.value}))
    elif path[-1] in values:
        del values[path[-1]]
    elif len(path) == 1 and path[0] not in fields_of(section):
        return unknown_key(assignment.key) if fields_of(section) else _nothing_to_delete(assignment.key)
    return None


def _nothing_to_delete(key: str) -> str:
    return f"{key}: expected a key that is set, got nothing to delete; remove `~{key}`"
