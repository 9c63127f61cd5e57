"""Names and values as MLflow takes them: few signs, and no more of them than it keeps."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any, Final

from ringlight.errors import redacted

NAME_LENGTH: Final = 250
VALUE_LENGTH: Final = 6000


def cleaned(text: str) -> str:
    """Return a name with the signs that MLflow refuses replaced, no longer than it keeps.

    Examples:
        >>> cleaned("val/recall/kratzer (fein)"), cleaned("a//b/../c"), len(cleaned("x" * 300))
        ('val/recall/kratzer _fein_', 'a/b/__/c', 250)
    """
    steps = [re.sub(r"[^\w\-. :]", "_", step) for step in text.split("/") if step]
    name = "/".join(step.replace(".", "_") if set(step) == {"."} else step for step in steps) or "_"
    return name if len(name) <= NAME_LENGTH else shortened(name, text)


def shortened(name: str, text: str) -> str:
    """Return a name that no other text has, made of its beginning and a digest of the text it stands for."""
    return f"{name[: NAME_LENGTH - 9]}-{sha256(text.encode()).hexdigest()[:8]}"


def flat(params: Mapping[str, Any], before: str = "") -> Iterable[tuple[str, Any]]:
    """Yield each setting by its dotted key; an empty group is a value of its own.

    Examples:
        >>> dict(flat({"a": {"b": 1, "c": {}}, "d": [1, 2]}))
        {'a.b': 1, 'a.c': {}, 'd': [1, 2]}
    """
    for key, value in params.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value


def written(value: Any) -> str:
    """Return a value as text, text as it is and all else as JSON, without passwords and no longer than MLflow keeps.

    Examples:
        >>> written("adamw"), written([8, 8]), written(None), len(written("x" * 7000))
        ('adamw', '[8, 8]', 'null', 6000)
    """
    text = redacted(value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False))
    return text if len(text) <= VALUE_LENGTH else f"{text[: VALUE_LENGTH - 4]} ..."


def written_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """Return tags as MLflow takes them."""
    return {cleaned(key): redacted(str(value))[:VALUE_LENGTH] for key, value in tags.items()}
