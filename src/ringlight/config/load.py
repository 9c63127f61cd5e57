"""Compose a configuration: a recipe, a file laid over it, overrides laid over both, checked as a whole.

Hydra parses the overrides' grammar and composes the shipped groups; it is imported here alone, and only to compose.
Nothing is ever instantiated from a configuration.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError

from ringlight.config.aliases import ALIASES, canonical
from ringlight.config.faults import distinct, part_faults, schema_faults, unknown_key
from ringlight.config.files import read_tree, to_yaml
from ringlight.config.layers import Assignment, Tree, apply, lay, shorten_warmup
from ringlight.config.overrides import of_file, of_overrides
from ringlight.config.schema import LATER, PARTS, SCHEMA_VERSION, SECTIONS, Config
from ringlight.config.shipped import CONFIGS, describe_recipes, group_names, recipe_names
from ringlight.errors import Problems, did_you_mean, redacted

__all__ = [
    "ALIASES", "compose", "describe_recipes", "group_names", "group_values", "read_config", "recipe_names", "to_yaml",
    "vary",
]  # fmt: skip

CheckParts = Callable[[dict[str, Any]], list[str]]
"""Gets every section as plain values, each part named by text; returns a line for each wrong name or parameter."""

TEXT = frozenset({"data.root", "split.file", "weights.folder", "experiment.name", "mlflow.tracking_uri"}) | {
    "data.label_regex",
    "data.group_regex",
    "data.images",
    "data.labels",
    "data.file",
}
"""Keys whose value is taken as it stands: a folder may be called `2024`, hold a comma, a bracket or an umlaut."""

_one_at_a_time = threading.Lock()  # Hydra keeps its state in a process-wide singleton


def compose(
    recipe: str | None,
    overrides: Iterable[str] = (),
    *,
    file: Path | str | None = None,
    check_parts: CheckParts | None = None,
) -> Config:
    """Compose and check a configuration: recipe < file < overrides.

    Args:
        recipe: name of a shipped recipe; None takes the file's `recipe`.
        overrides: `section.key=value`, `section=group`, `+section.key=value`, `~section.key`, in order.
        file: YAML laid over the recipe; a complete one (a run's `config.yaml`) stands in the recipe's place.
        check_parts: checks names and parameters of parts; its lines are raised together with the schema's.

    Raises:
        ConfigError: the file cannot be read.
        Problems: every mistake, a line each.

    Examples:
        >>> config = compose("severstal", ["loss.gamma=1.5", "augmentation.rotation=null"])
        >>> config.loss.name, config.loss.params()["gamma"], config.augmentation["rotation"]
        ('focal_loss', 1.5, None)
    """
    document = {} if file is None else read_tree(file)
    assignments, problems = _parse_all([overrides] if isinstance(overrides, str) else overrides)
    written = [name for name in SECTIONS if name not in LATER]
    complete = "schema_version" in document and all(isinstance(document.get(name), Mapping) for name in written)
    recipe, assignments, fault = _pick_recipe(recipe, document, assignments, complete, file)
    file_layer, file_faults = of_file(document, str(file))
    override_layer, assignments, override_faults = of_overrides(assignments)
    problems += [*fault, *file_faults, *override_faults]
    base = {} if recipe is None or complete else _compose_shipped(f"recipe/{recipe}")
    base, layers = (file_layer.values, [override_layer]) if complete else (base, [file_layer, override_layer])
    tree = lay(base, layers, group_values)
    problems += [line for line in (apply(tree, one) for one in assignments) if line is not None]
    asked = [one.key for one in assignments] + [f"scheduler.{key}" for key in layers[0].values.get("scheduler", {})]
    if "scheduler.warmup_epochs" not in asked:
        shorten_warmup(tree, base)
    return _checked(recipe, tree, problems, None if fault else check_parts)


def vary(config: Config, values: Mapping[str, object], *, check_parts: CheckParts | None = None) -> Config:
    """Return a configuration with other values, as if they had been given as overrides, and checked as a whole.

    Args:
        config: any; it stays as it is.
        values: by key (`optimizer.lr`); another part (`loss.name`) drops the former one's parameters, and a section
            alone (`augmentation`) names a group.
        check_parts: as in :func:`compose`.

    Raises:
        Problems: every mistake, a line each.

    Examples:
        >>> vary(compose("severstal"), {"optimizer.lr": 0.5, "loss.name": "cross_entropy"}).loss.params()
        {}
    """
    base = config.model_dump(mode="json")
    layer, assignments, problems = of_overrides([Assignment(key, value) for key, value in values.items()])
    tree = lay({name: base[name] for name in SECTIONS}, [layer], group_values)
    problems += [line for line in (apply(tree, one) for one in assignments) if line is not None]
    if "scheduler.warmup_epochs" not in values:
        shorten_warmup(tree, base)
    return _checked(config.recipe, tree, problems, check_parts)


def read_config(path: Path | str) -> Config:
    """Read a configuration file, such as a run's `config.yaml`.

    Raises:
        ConfigError: it cannot be read.
        Problems: it holds mistakes, a line each.
    """
    return compose(None, file=path)


def _checked(recipe: str | None, tree: dict[str, Tree], problems: list[str], check_parts: CheckParts | None) -> Config:
    config = None
    try:
        config = Config.model_validate({"schema_version": SCHEMA_VERSION, "recipe": recipe, **tree})
    except ValidationError as error:
        problems += schema_faults(error)
    if config is not None and config.scheduler.warmup_epochs > config.training.num_epochs:
        problems.append(
            f"scheduler.warmup_epochs: expected a warm-up no longer than the run's {config.training.num_epochs} "
            f"epochs, got {config.scheduler.warmup_epochs:g}; shorten it, or raise training.num_epochs"
        )
    if check_parts is not None:
        problems += part_faults(check_parts(_with_names(tree)))
    if problems or config is None:
        raise Problems([redacted(line) for line in distinct(problems)])
    return config


def _with_names(tree: dict[str, Tree]) -> dict[str, Any]:
    """Return a copy in which every part has a name: one that is no text is the schema's mistake to tell."""
    sections = deepcopy(tree)
    for section, kind in PARTS.items():
        values = sections[section]
        default = kind.model_fields[kind.name_key].default
        if kind.name_key not in values:
            values[kind.name_key] = default
        elif not isinstance(values[kind.name_key], str):
            sections[section] = {kind.name_key: default}
    return sections


def _pick_recipe(
    recipe: str | None, document: Mapping[str, Any], given: list[Assignment], complete: bool, file: Path | str | None
) -> tuple[str | None, list[Assignment], list[str]]:
    """Return the recipe to start from (None when there is none), the other assignments, and what is wrong."""
    rest = [one for one in given if one.key != "recipe"]
    asked = [recipe] if recipe is not None else []
    asked += [str(one.value) for one in given if one.key == "recipe" and str(one.value) not in asked]
    written = document.get("recipe")
    if complete:
        wrong = [name for name in asked if name != written]
        line = (
            f"recipe: expected `{written}`, which {file} was written from, got `{wrong[0]}`; leave it out"
            if wrong
            else ""
        )
        return None if written is None else str(written), rest, [line] if wrong else []
    if len(asked) > 1:
        return None, rest, [f"recipe: expected one recipe, got `{asked[0]}` and `{asked[1]}`; name one"]
    name = asked[0] if asked else written
    known = recipe_names()
    if name in known:
        return str(name), rest, []
    fix = f"{did_you_mean(str(name), known)}" if name is not None else f"choose from: {', '.join(known)}"
    if name is None and file is not None:
        fix += f"; or write `recipe: NAME` into {file}"
    elif str(name).endswith((".yaml", ".yml")):
        fix = f"read a file with --config {name}"
    got = "none" if name is None else f"`{name}`"
    return None, rest, [f"recipe: expected a recipe, got {got}; {fix}"]


def _parse_all(overrides: Iterable[str]) -> tuple[list[Assignment], list[str]]:
    assignments, problems = [], []
    for text in overrides:
        parsed = _parse(str(text))
        if isinstance(parsed, str):
            problems.append(parsed)
        else:
            assignments.append(parsed)
    return assignments, problems


def _parse(text: str) -> Assignment | str:
    """Parse one override by Hydra's grammar; return the assignment, or what is wrong with it."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    plain = re.fullmatch(r"\+{0,2}(?P<key>[A-Za-z_][\w.]*)=(?P<value>.*)", text, re.DOTALL)
    if plain is not None and canonical(plain["key"]) in TEXT:
        return Assignment(plain["key"], _unquoted(plain["value"]))
    try:
        parsed = OverridesParser.create().parse_override(text)
    except HydraException as error:
        # The grammar knows no umlauts and no `^`; what cannot be a list, a mapping or quoted text is text as it stands.
        if plain is not None and not plain["value"].startswith(("[", "{", "'", '"')):
            return Assignment(plain["key"], plain["value"])
        if "=" not in text:
            return (
                f"override `{text}`: expected section.key=value, got no `=`; write {text}=VALUE, or ~{text} to delete"
            )
        got = " ".join(str(error).split("\n")[0].split())
        return f"override `{text}`: expected section.key=value, got {got}; put text with special characters in quotes"
    key = parsed.key_or_group
    if parsed.is_sweep_override():
        return (
            f"{key}: expected one value, got a sweep `{text}`; write a list as {key}=[...], text with commas in quotes"
        )
    if parsed.package is not None or not re.fullmatch(r"\w+(\.\w+)*", key):
        return unknown_key(text.lstrip("+~").partition("=")[0])
    return Assignment(key, parsed.value(), parsed.is_delete())


def _unquoted(value: str) -> str | None:
    if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"":
        return value[1:-1]
    return None if value in ("", "null") else value


def group_values(section: str, name: str) -> Tree | None:
    """Return the values of a shipped group file, None when there is no such file."""
    return _compose_shipped(f"{section}/{name}").get(section, {}) if name in group_names(section) else None


def _compose_shipped(name: str) -> dict[str, Tree]:
    with _one_at_a_time:
        return deepcopy(_hydra_compose(name))


@cache
def _hydra_compose(name: str) -> dict[str, Tree]:
    """Compose a shipped file with the groups it names; Hydra's global state is what it was before."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from omegaconf import OmegaConf

    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        composed = OmegaConf.to_container(hydra_compose(name), resolve=False)
    return cast("dict[str, Tree]", composed)
