"""A bundle as files: which ones, their checksums, one checksum over all; no model is built, nothing heavy loaded."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ringlight.errors import BundleError
from ringlight.files import file_sha256

WEIGHTS = "model.safetensors"
INDEX = "bundle.json"


def read_index(index: Path) -> dict[str, Any]:
    """Return what a `bundle.json` holds, unchecked.

    Raises:
        BundleError: it is not there, or no JSON object.
    """
    try:
        values = json.loads(index.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise BundleError("readable JSON", got=str(error), where=str(index), fix="copy the bundle again") from error
    if not isinstance(values, dict):
        raise BundleError("a JSON object", got=type(values).__name__, where=str(index), fix="copy the bundle again")
    return values


def digest(index: Mapping[str, Any]) -> str:
    """Return the checksum of an index without its own."""
    return hashlib.sha256(json.dumps(index, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def check_index(values: dict[str, Any], where: str) -> None:
    """Refuse an index that was edited: classes in another order would give every score another name.

    Raises:
        BundleError: a checksum is missing or wrong.
    """
    files = values.get("files")
    if not isinstance(files, dict) or WEIGHTS not in files:
        raise BundleError(f"a checksum of {WEIGHTS}", got="none", where=where, fix="export the model again")
    rest = {key: value for key, value in values.items() if key != "index_sha256"}
    if values.get("index_sha256") != digest(rest):
        raise BundleError(
            "an index as it was written",
            got="another checksum",
            where=where,
            fix="it was edited or damaged: copy the bundle again",
        )


def check_file(path: Path, expected: str) -> None:
    """Refuse a file that is not there or whose SHA-256 is another.

    Raises:
        BundleError: it is so.
    """
    try:
        found = file_sha256(path)
    except OSError as error:
        raise BundleError(
            "a file the bundle lists", got=error.strerror or str(error), where=str(path), fix="copy the bundle again"
        ) from error
    if found != expected:
        raise BundleError(
            f"SHA-256 {expected[:12]}...",
            got=f"{found[:12]}...",
            where=str(path),
            fix="the file was changed or damaged: copy the bundle again",
        )


def listed_files(folder: Path) -> dict[str, str]:
    """Return the files of a bundle with their SHA-256, as its index says them; the index itself comes first.

    The weights are not read: whoever loads the model checks them.

    Raises:
        BundleError: no readable index, or it lists something that is no file of its folder.
    """
    index = folder / INDEX
    values = read_index(index)
    check_index(values, str(index))
    files: dict[str, str] = values["files"]
    for name, digest in files.items():
        if not isinstance(digest, str) or name in ("", ".", "..") or any(sign in name for sign in "/\\\0"):
            raise BundleError(
                "names of files and their checksums", got=repr(name), where=str(index), fix="export the model again"
            )
    return {INDEX: file_sha256(index), **files}


def seal_of(files: Mapping[str, str]) -> str:
    """Return one SHA-256 over the names and checksums of a bundle's files (:func:`listed_files`).

    Examples:
        >>> seal_of({"b": "12", "a": "34"}) == seal_of({"a": "34", "b": "12"})
        True
    """
    return hashlib.sha256("".join(f"{files[name]}  {name}\n" for name in sorted(files)).encode()).hexdigest()


def check_files(folder: Path) -> None:
    """Check that every file of a bundle is as it was written, and that the weights are safetensors.

    Raises:
        BundleError: a file is missing, a link, or has another checksum; weights that are anything else, such as a
            pickle.
    """
    from safetensors import SafetensorError, safe_open

    for name, expected in listed_files(folder).items():
        path = folder / name
        if path.is_symlink():
            raise BundleError("a file", got="a link", where=str(path), fix="put the file itself in its place")
        check_file(path, expected)
    try:
        with safe_open(folder / WEIGHTS, "np"):
            return
    except SafetensorError as error:
        raise BundleError(
            "weights in safetensors", got=str(error), where=str(folder / WEIGHTS), fix="export the model again"
        ) from error
