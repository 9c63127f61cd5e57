"""API keys of the server: made once, shown once, kept as SHA-256 only.

A key is 256 random bits, so that a plain digest of it can be neither guessed nor turned back; a slow hash, as for
passwords that people choose, would only slow every request down.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from ringlight.errors import UserError, did_you_mean
from ringlight.files import whole_file
from ringlight.runtime import workspace_folder
from ringlight.services.inside import plain_name

FORMAT_VERSION = 1
KEYS = "serve_keys.json"
PREFIX = "rl_"
"""What a key begins with, so that scanners of repositories and logs know one when they see it."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What is kept of a key."""

    name: str
    sha256: str
    created: str


class KeyRing:
    """The keys that open the server."""

    def __init__(self, keys: Sequence[ApiKey]) -> None:
        self._keys = tuple(keys)

    def __len__(self) -> int:
        return len(self._keys)

    def owner(self, key: str) -> str | None:
        """Return whose key it is, None for a wrong one; every key is compared, in a time that tells nothing.

        Examples:
            >>> KeyRing([ApiKey("line 2", hash_of("rl_secret"), "")]).owner("rl_secret")
            'line 2'
        """
        given, found = hash_of(key), None
        for known in self._keys:
            if hmac.compare_digest(known.sha256, given):
                found = known.name
        return found


def hash_of(key: str) -> str:
    """Return the SHA-256 of a key as hex digits."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def keys_file(file: Path | None = None, workspace: Path | str | None = None) -> Path:
    """Return the file of keys: the one that is named, else that of the workspace."""
    return workspace_folder(workspace) / KEYS if file is None else file.expanduser().absolute()


def read_keys(file: Path) -> list[ApiKey]:
    """Read a file of keys.

    Raises:
        UserError: it is not there, may not be read, or is none.
    """
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        if values["format_version"] != FORMAT_VERSION:
            raise ValueError(f"format version {values['format_version']!r}")
        keys = [ApiKey(**one) for one in values["keys"]]
        if not all(isinstance(text, str) for key in keys for text in (key.name, key.sha256, key.created)):
            raise ValueError("values that are no text")
    except FileNotFoundError:
        raise _unusable("no such file", file) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _unusable(f"{type(error).__name__}: {error}", file) from error
    return keys


def add_key(name: str, file: Path) -> str:
    """Make a key and return it; the file, which only its owner may read, holds its digest.

    Raises:
        UserError: a name that cannot be used, or is taken; a file that is none of keys.
        WorkspaceError: the file cannot be written.
    """
    plain_name(name, "name of a key")
    keys = read_keys(file) if file.exists() else []
    if any(known.name == name for known in keys):
        raise UserError(
            "a name that is free", got=f"`{name}`, which has a key", where=str(file),
            fix=f"choose another, or take its key back: ringlight keys remove {name}",
        )  # fmt: skip
    key = PREFIX + secrets.token_urlsafe(32)
    _write(file, [*keys, ApiKey(name, hash_of(key), datetime.now(UTC).isoformat(timespec="seconds"))])
    return key


def remove_key(name: str, file: Path) -> None:
    """Take a key back: a server that runs refuses it within seconds.

    Raises:
        UserError: there is none of this name.
        WorkspaceError: the file cannot be written.
    """
    keys = read_keys(file)
    left = [known for known in keys if known.name != name]
    if len(left) == len(keys):
        fix = did_you_mean(name, [known.name for known in keys]) if keys else "there is none"
        raise UserError("the name of a key", got=f"`{name}`", where=str(file), fix=fix)
    _write(file, left)


def _write(file: Path, keys: Sequence[ApiKey]) -> None:
    text = json.dumps({"format_version": FORMAT_VERSION, "keys": [asdict(key) for key in keys]}, indent=2)
    with whole_file(file) as part:
        part.chmod(0o600)
        part.write_text(text + "\n", encoding="utf-8")


def _unusable(got: str, file: Path) -> UserError:
    return UserError("a file of API keys", got=got, where=str(file), fix="make one: ringlight keys add NAME")
