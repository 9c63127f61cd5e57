"""Configuration files: YAML read strictly (every key once, `1e-3` a number) and written readably."""

from __future__ import annotations

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from ringlight.config.aliases import MIGRATIONS, is_version_zero
from ringlight.config.schema import SCHEMA_VERSION, Config
from ringlight.errors import ConfigError

HEADER = "# A Ringlight configuration. Run it again: ringlight train --config THIS_FILE\n"

FLOAT = r"""^[-+]?(?:(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)?|[0-9][0-9_]*[eE][-+]?[0-9]+)$
            |^[-+]?\.(?:inf|Inf|INF)$|^\.(?:nan|NaN|NAN)$"""


class _Loader(yaml.SafeLoader):
    """YAML 1.1 without its traps: dates stay text, `1e-3` is a number, a key that stands twice is a mistake."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag == "tag:yaml.org,2002:merge":
                continue
            if key_node.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key `{key_node.value}` stands twice in one section", key_node.start_mark
                )
            seen.add(key_node.value)
        return super().construct_mapping(node, deep)


def _resolvers() -> dict[str, list[tuple[str, Any]]]:
    replaced = ("tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:float")
    kept = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag not in replaced]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    for first in "-+0123456789.":
        kept.setdefault(first, []).append(("tag:yaml.org,2002:float", re.compile(FLOAT, re.VERBOSE)))
    return kept


class _Dumper(yaml.SafeDumper):
    """Quotes what :class:`_Loader` would read as something else (the text `1e-3`)."""


_Loader.yaml_implicit_resolvers = _resolvers()
_Dumper.yaml_implicit_resolvers = _resolvers()


def read_tree(path: Path | str) -> dict[str, Any]:
    """Read a configuration file as plain values, migrated to today's layout version.

    Raises:
        ConfigError: it is not there, cannot be read, is not YAML, or was written by a newer Ringlight.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ConfigError("a configuration file", got="none", where=str(path), fix="check the path") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            "a readable UTF-8 text file", got=str(error), where=str(path), fix="check the path and its permissions"
        ) from error
    try:
        tree = yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise _syntax(str(path), error) from None
    if tree is None:
        return {}
    if not isinstance(tree, dict) or not all(isinstance(key, str) for key in tree):
        raise ConfigError(
            "sections of keys",
            got=f"{type(tree).__name__} {tree!r:.60}",
            where=str(path),
            fix="write `section:` and its keys below, indented by two spaces",
        )
    return _migrated(tree, str(path))


def _syntax(path: str, error: yaml.YAMLError) -> ConfigError:
    mark = getattr(error, "problem_mark", None)
    line = "" if mark is None else f": line {mark.line + 1}, column {mark.column + 1}"
    got = " ".join(str(getattr(error, "problem", None) or error).split())
    return ConfigError("valid YAML", got=got, where=path + line, fix="correct that line or the one above it")


def _migrated(tree: dict[str, Any], path: str) -> dict[str, Any]:
    """Bring a tree to today's version, one step of :data:`MIGRATIONS` after the other."""
    version = tree.get("schema_version", 0 if is_version_zero(tree) else SCHEMA_VERSION)
    known = isinstance(version, int) and not isinstance(version, bool)
    if not known or version > SCHEMA_VERSION or version < 0:
        newer = known and version > SCHEMA_VERSION
        raise ConfigError(
            f"schema version {SCHEMA_VERSION} or older",
            got=repr(version),
            where=f"{path}: schema_version",
            fix="a newer Ringlight wrote it: upgrade with pip install -U ringlight" if newer else "correct the number",
        )
    while version < SCHEMA_VERSION:
        tree = MIGRATIONS[version].apply(tree)
        version += 1
    return tree


def to_yaml(config: Config) -> str:
    """Write a configuration as the text of a `config.yaml`: complete, in canonical keys, with its schema version."""
    tree = config.model_dump(mode="json")
    return HEADER + yaml.dump(tree, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
