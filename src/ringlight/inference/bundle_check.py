"""A bundle as files: which ones it has, their checksums, and one checksum over all; no model is built."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from ringlight.errors import BundleError
from ringlight.files import file_sha256
from ringlight.inference.bundle import INDEX, WEIGHTS, Bundle, check_file, check_index, read_index


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


def check_bundle(folder: Path) -> Bundle:
    """Check a bundle without building its model: index, checksums, and that the weights are safetensors.

    Raises:
        BundleError: an unknown version; a file that is missing, a link, or whose checksum is wrong; weights that are
            anything else, such as a pickle.
    """
    from safetensors import SafetensorError, safe_open

    index = folder / INDEX
    bundle = Bundle.from_dict(read_index(index), str(index))
    for name, expected in listed_files(folder).items():
        path = folder / name
        if path.is_symlink():
            raise BundleError("a file", got="a link", where=str(path), fix="put the file itself in its place")
        check_file(path, expected)
    try:
        with safe_open(folder / WEIGHTS, "np"):
            return bundle
    except SafetensorError as error:
        raise BundleError(
            "weights in safetensors", got=str(error), where=str(folder / WEIGHTS), fix="export the model again"
        ) from error
