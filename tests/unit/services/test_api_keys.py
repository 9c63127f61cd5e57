"""Keys are shown once, kept as digests, and taken back by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ringlight.errors import UserError
from ringlight.services.api_keys import KeyRing, add_key, keys_file, read_keys, remove_key


def test_a_key_opens_under_its_name_and_is_nowhere_in_the_file(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    first, second = add_key("line-2", file), add_key("line-3", file)
    ring = KeyRing(read_keys(file))
    assert (ring.owner(first), ring.owner(second), ring.owner(first[:-1]), ring.owner("")) == (
        "line-2", "line-3", None, None,
    )  # fmt: skip
    assert ring.owner("\udcff") is None
    assert len(ring) == 2
    text = file.read_text(encoding="utf-8")
    assert first not in text
    assert first.removeprefix("rl_") not in text
    assert file.stat().st_mode & 0o077 == 0
    assert len(first) == 46


def test_a_key_is_taken_back_by_its_name(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    key = add_key("line-2", file)
    with pytest.raises(UserError, match="expected the name of a key, got `line-3`; did you mean `line-2`"):
        remove_key("line-3", file)
    remove_key("line-2", file)
    assert KeyRing(read_keys(file)).owner(key) is None


def test_names_are_plain_and_taken_once(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    add_key("line-2", file)
    with pytest.raises(UserError, match="expected a name that is free, got `line-2`, which has a key"):
        add_key("line-2", file)
    with pytest.raises(UserError, match="name of a key: expected a name of 1 to 100 letters"):
        add_key("line 2\n", file)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "got no such file"),
        ("{", "JSONDecodeError"),
        ("[]", "TypeError"),
        ('{"format_version": 2, "keys": []}', "format version 2"),
        ('{"format_version": 1, "keys": [{"name": "a"}]}', "TypeError"),
        ('{"format_version": 1, "keys": [{"name": "a", "sha256": 1, "created": ""}]}', "values that are no text"),
    ],
)
def test_a_file_that_holds_no_keys_is_refused(tmp_path: Path, text: str | None, told: str) -> None:
    file = tmp_path / "keys.json"
    if text is not None:
        file.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=r"keys\.json: expected a file of API keys, got ") as caught:
        read_keys(file)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_file_is_that_of_the_workspace_unless_one_is_named(tmp_path: Path) -> None:
    assert keys_file(None, tmp_path) == tmp_path / "serve_keys.json"
    assert keys_file(tmp_path / "k", tmp_path) == tmp_path / "k"
    add_key("a", tmp_path / "serve_keys.json")
    assert json.loads((tmp_path / "serve_keys.json").read_text())["format_version"] == 1
