"""Finding image files: hidden files, broken links and other files are left out and counted, never silently."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ringlight.data.faults import first_of
from ringlight.errors import DataError

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm", ".jp2")
"""What counts as an image, whatever the case of the letters."""


@dataclass(slots=True)
class Found:
    """The images under a folder: POSIX path relative to it -> absolute path, in order; and what was left out."""

    images: dict[str, Path] = field(default_factory=dict)
    hidden: list[str] = field(default_factory=list)
    other: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    def notes(self) -> list[str]:
        """Say what was left out, one line a kind."""
        kinds = {"hidden files": self.hidden, "files that are not images": self.other, "broken links": self.broken}
        return [f"left out {kind}: {first_of(sorted(names))}" for kind, names in kinds.items() if names]


def require_folder(root: Path, key: str) -> Path:
    """Return the absolute path of a folder.

    Raises:
        DataError: it is not there, or is a file; the message names the configuration key that set it.
    """
    if not root.is_dir():
        got = "a file" if root.is_file() else "nothing there"
        raise DataError("a folder", got=got, where=str(root), fix=f"set {key} to the folder that holds the data")
    return root.absolute()  # not resolve(): it would follow the links


def find_images(root: Path, *, extensions: Collection[str] = EXTENSIONS, recursive: bool = True) -> Found:
    """Return every image under `root` in the order of its relative path; links are followed, cycles are not.

    Relative paths are in Unicode's composed form (NFC), so that a folder copied from macOS keeps its ids.

    Raises:
        DataError: a folder cannot be read, a file name is not UTF-8, or two names differ in their composition alone.
    """
    wanted = tuple(extension.lower() for extension in extensions)
    found = Found()
    for key, entry in sorted(_walk(root, "", (), recursive), key=lambda item: item[0]):
        if entry.name.startswith("."):
            found.hidden.append(key)
        elif not entry.is_file():
            found.broken.append(key)
        elif entry.name.lower().endswith(wanted):
            if key in found.images:
                raise DataError(
                    "every name once",
                    got=f"`{key}` twice, its accents stored in two ways (composed and decomposed)",
                    where=str(root),
                    fix="remove or rename one of the two files",
                )
            found.images[key] = Path(entry.path)
        else:
            found.other.append(key)
    return found


def _walk(
    folder: Path, prefix: str, above: tuple[tuple[int, int], ...], recursive: bool
) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Yield (relative path, entry) of all but folders; `above` are those we stand in, to which a link is a cycle."""
    try:
        state = folder.stat()
        with os.scandir(folder) as listing:
            entries = list(listing)
    except OSError as error:
        raise DataError(
            "a folder that can be read",
            got=error.strerror or str(error),
            where=str(folder),
            fix="check its permissions",
        ) from error
    inode = (state.st_dev, state.st_ino)
    if inode in above:
        return
    for entry in entries:
        key = prefix + _checked_name(entry)
        if not entry.is_dir():
            yield key, entry
        elif recursive and not entry.name.startswith("."):
            yield from _walk(Path(entry.path), key + "/", (*above, inode), recursive)


def _checked_name(entry: os.DirEntry[str]) -> str:
    try:
        entry.name.encode()
    except UnicodeEncodeError as error:
        name = os.fsencode(entry.name)
        raise DataError(
            "a file name in UTF-8", got=repr(name), where=str(Path(entry.path).parent), fix="rename the file"
        ) from error
    return unicodedata.normalize("NFC", entry.name)
