"""The reference page of every configuration key, written from the schema so that the two cannot differ."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ringlight.config.aliases import ALIASES, MIGRATIONS
from ringlight.config.schema import PARTS, SCHEMA_VERSION, SECTIONS, Config, nested
from ringlight.config.shipped import describe_recipes, group_names

INTRODUCTION = """\
# Configuration

<!-- Written by scripts/make_reference.py from src/ringlight/config/schema.py; `make docs` writes it again. -->

A run is described by sections of keys. A **recipe** gives all of them, a **file** (`--config FILE`) is laid over the
recipe, and **overrides** on the command line are laid over both:

```
ringlight train severstal --config plant.yaml data.root=strips loss.gamma=1.5 augmentation.rotation=null
```

| override | what it does |
|---|---|
| `section.key=value` | sets a key: `data.batch_size=8`, `model.cbam_stages=[3,4]`, `training.ema_decay=null` |
| `section=group` | takes a section's shipped values: `loss=bce_with_logits`, `augmentation=none` |
| `section={key: value, ...}` | sets several keys of a section |
| `+section.key=value` | the same as without the plus |
| `~section.key` | takes a key back: a typed key returns to its default, a part's parameter to the part's |

- Where a section names a **part** (model, head, data, sampler, loss, optimizer, scheduler), the keys below belong to
  every part of the family; a part's own parameters stand beside them (`loss.gamma`). Another part brings its own: with
  `loss.name=bce_with_logits` the recipe's `alpha` and `gamma` are gone, and the values of the group file of that name,
  where there is one, are used.
- A mapping merges into a mapping; `null` or `false` switches an augmentation off.
- Every mistake is reported, a line each, before anything is written. Part names and parameters are checked too.
- No key can name code to run, and `${...}` is not replaced.
- `data.root`, other paths and patterns (`data.label_regex`) are taken as they stand, whatever signs they hold; in other
  text put commas and brackets in quotes: `'key="a, b"'`.
- A run writes `config.yaml`: complete, with every automatic choice made. `ringlight train --config RUN/config.yaml`
  runs it again; overrides may follow.
"""


def reference_page() -> str:
    """Return the page as Markdown.

    Examples:
        >>> "| `num_epochs` | integer ≥ 1 | 50 |" in reference_page()
        True
    """
    schema = Config.model_json_schema()
    parts = [INTRODUCTION]
    parts += [_section(name, schema) for name in SECTIONS]
    parts += [_aliases(), _versions(), _recipes()]
    return "\n".join(parts)


def _section(name: str, schema: Mapping[str, Any]) -> str:
    kind = SECTIONS[name]
    if kind is None:
        text = f"## {name}\n\n{_sentence(schema['properties'][name]['description'])}\n"
    else:
        rows = _rows(name, kind.__name__, schema)
        head = f"## {name}\n\n{kind.__doc__}\n\n| key | value | default | meaning |\n|---|---|---|---|\n"
        text = head + "\n".join(rows) + "\n"
    groups = group_names(name)
    if groups:
        what = "Group files" if name not in PARTS else "Group files (any other part of the family can be named as well)"
        text += f"\n{what}: {', '.join(f'`{group}`' for group in groups)}.\n"
    return text


def _rows(section: str, kind: str, schema: Mapping[str, Any], before: str = "") -> list[str]:
    """Return a row for each key of a section, and below a group of keys a row for each of them."""
    rows = []
    for key, value in schema["$defs"][kind]["properties"].items():
        rows.append(f"| `{before}{key}` | {_type(value)} | {_default(value)} | {value['description']} |")
        group = None if before else nested((section, key))
        if group is not None:
            rows += _rows(section, group.__name__, schema, f"{key}.")
    return rows


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."


def _default(value: Mapping[str, Any]) -> str:
    default = value["default"]
    return default if isinstance(default, str) else json.dumps(default)


def _type(value: Mapping[str, Any]) -> str:
    """Write a JSON schema's type as a reader would.

    Examples:
        >>> _type({"anyOf": [{"type": "integer", "minimum": 16, "maximum": 64}, {"type": "null"}]})
        'integer from 16 to 64, or null'
    """
    if "anyOf" in value:
        *first, last = [_type(member) for member in value["anyOf"]]
        return ", ".join(first) + f", or {last}"
    if "$ref" in value:
        return "keys below"
    if "enum" in value:
        return ", ".join(f"`{choice}`" for choice in value["enum"])
    if "const" in value:
        return f"`{value['const']}`"
    if value["type"] == "array":
        if "items" in value:
            return f"list of {_type(value['items'])}"
        return "[" + ", ".join("integer" for _ in value["prefixItems"]) + "]"
    if value["type"] == "string":
        return "path" if value.get("format") == "path" else "text"
    return "true, false" if value["type"] == "boolean" else f"{value['type']}{_range(value)}"


def _range(value: Mapping[str, Any]) -> str:
    low, high = value.get("minimum"), value.get("maximum")
    if low is not None and high is not None:
        return f" from {low:g} to {high:g}"
    bounds = {"≥": low, ">": value.get("exclusiveMinimum"), "≤": high, "<": value.get("exclusiveMaximum")}
    given = [f"{sign} {bound:g}" for sign, bound in bounds.items() if bound is not None and bound < 1e6]
    return f" {' and '.join(given)}" if given else ""


def _aliases() -> str:
    rows = "\n".join(f"| `{alias}` | `{meant}` |" for alias, meant in ALIASES.items())
    return (
        "## Other spellings\n\nAccepted on the command line and in files; giving two spellings of a key different "
        f"values is a mistake.\n\n| spelling | means |\n|---|---|\n{rows}\n"
    )


def _versions() -> str:
    rows = "\n".join(f"| {version} | {version + 1} | {step.does} |" for version, step in MIGRATIONS.items())
    return (
        f"## Schema versions\n\nThis is version {SCHEMA_VERSION}. An older file is brought up step by step, a newer "
        f"one is refused.\n\n| from | to | what it does |\n|---|---|---|\n{rows}\n"
    )


def _recipes() -> str:
    rows = "\n".join(f"| `{name}` | {text} |" for name, text in describe_recipes().items())
    return f"## Recipes\n\n| recipe | what it is for |\n|---|---|\n{rows}\n"
