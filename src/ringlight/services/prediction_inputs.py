"""What `predict` is given: images, folders, patterns, files of windows, lists; found as they are needed."""

from __future__ import annotations

import glob
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ringlight.data.files import EXTENSIONS
from ringlight.data.walk import Seen, walk_files
from ringlight.data.window_spec import WindowSpec
from ringlight.data.window_store import blocks_of
from ringlight.data.windows import WindowsSource
from ringlight.errors import DataError
from ringlight.inference.streaming import Item
from ringlight.runtime import LOGGER
from ringlight.types import Dataset

ARRAYS = ".npz"
STANDARD_INPUT = "-"
UNNAMED = r"channel_\d+"
"""What the source calls the channels of a file that does not name them."""


class Inputs:
    """Files of one kind that several words name, in the order of the words.

    Args:
        words: files, folders, patterns as `parts/*.png` and `parts/**/*.png`, or `-` for the lines of `lines`.
        recursive: whether folders are gone through with all below them.
        lines: a path each, of files or folders.

    Raises:
        DataError: a word that names nothing, or a folder in which there is no such file. Lines are not looked at
            before their turn; one that names nothing becomes a record that cannot be read.
    """

    extensions: Collection[str] = EXTENSIONS
    what = "image"

    def __init__(
        self, words: Sequence[str | Path], *, recursive: bool = True, lines: Iterable[str] | None = None
    ) -> None:
        self.words = [str(word) for word in words]
        self.recursive = recursive
        self.lines = lines
        for word in self.words:
            if word == STANDARD_INPUT:
                continue
            self._refuse_others(word)
            if next(iter(self._of_word(word)), None) is None:
                raise DataError(
                    f"at least one {self.what}", got="none", where=word,
                    fix=f"name {self.what}s, or a folder that has some",
                )  # fmt: skip

    def _refuse_others(self, word: str) -> None:
        """Refuse what plainly is of another kind."""
        if word.lower().endswith(ARRAYS):
            raise DataError(
                "images, as the model takes them", got="windows of a signal", where=word,
                fix="name images, or a model of windows",
            )  # fmt: skip

    def count(self) -> int | None:
        """Return how many files there are; None where that is not known before they are read."""
        if STANDARD_INPUT in self.words:
            return None
        return sum(1 for word in self.words for _ in self._of_word(word))

    def __iter__(self) -> Iterator[Item]:
        for seen in self.files():
            yield from self.items_of(seen)

    def files(self) -> Iterator[Seen]:
        """Yield the files, one after the other."""
        for word in self.words:
            if word == STANDARD_INPUT:
                for line in self.lines or ():
                    if line.strip():
                        yield from self._of_path(Path(line.rstrip("\r\n")).expanduser())
            else:
                yield from self._of_word(word)

    def items_of(self, seen: Seen) -> Iterator[Item]:
        """Yield the records of a file."""
        yield Item(shown_path(seen.path), seen.path, seen.fault)

    def _of_word(self, word: str) -> Iterator[Seen]:
        path = Path(word).expanduser()
        if path.exists() or not glob.has_magic(word):
            if not path.exists():
                raise DataError(
                    f"{self.what}s, a folder or a pattern", got="no such file", where=word, fix="check the path"
                )
            yield from self._of_path(path)
            return
        wanted = tuple(self.extensions)
        for found in sorted(glob.iglob(str(path), recursive=True)):  # noqa: PTH207 - Path.glob takes no absolute pattern
            if Path(found).is_dir():
                continue
            if found.lower().endswith(wanted):
                yield Seen(Path(found))

    def _of_path(self, path: Path) -> Iterator[Seen]:
        if path.is_dir():
            yield from walk_files(path, extensions=self.extensions, recursive=self.recursive)
        else:
            yield Seen(path)


class WindowInputs(Inputs):
    """Files of windows, `.npz`, and folders of recordings, which are cut as the model needs them; without labels.

    A window is called after its file: `line1.npz#042`.

    Args:
        words: as :class:`Inputs` takes them; a folder without `.npz` files is one of recordings.
        spec: what the model expects.
        cache: where converted windows are kept.
        recursive: as above.
        lines: as above.

    Raises:
        DataError: as above; a single file that the model cannot take.
    """

    extensions = (ARRAYS,)
    what = f"{ARRAYS} file of windows"

    def __init__(
        self, words: Sequence[str | Path], spec: WindowSpec, cache: Path, *, recursive: bool = True,
        lines: Iterable[str] | None = None,
    ) -> None:  # fmt: skip
        self.spec = spec
        self.cache = cache
        super().__init__(words, recursive=recursive, lines=lines)
        self._only: tuple[Path, Dataset] | None = None
        alone = Path(self.words[0]).expanduser() if len(self.words) == 1 else None
        if alone is not None and (alone.is_file() or self._is_recordings(alone)):
            self._only = (alone, read_windows(alone, spec, cache))  # nothing else is asked for: its fault is the answer

    def count(self) -> int | None:
        """Return how many windows there are, where a single file is asked for."""
        return None if self._only is None else len(self._only[1])

    def items_of(self, seen: Seen) -> Iterator[Item]:
        """Yield the windows of a file, block by block; a file that cannot be used is one record that says so."""
        if seen.fault is not None:
            yield Item(shown_path(seen.path), fault=seen.fault)
            return
        try:
            if self._only is not None and self._only[0] == seen.path:
                data = self._only[1]
            else:
                data = read_windows(seen.path, self.spec, self.cache)
            ids = iter(data.ids)
            for _, windows in blocks_of(data):
                for window in windows:
                    yield Item(f"{shown_path(seen.path)}#{next(ids)}", window)
        except DataError as fault:
            yield Item(shown_path(seen.path), fault=fault)

    def _of_path(self, path: Path) -> Iterator[Seen]:
        if self._is_recordings(path):
            yield Seen(path)
        else:
            yield from super()._of_path(path)

    def _refuse_others(self, word: str) -> None:
        """Refuse what plainly is of another kind."""
        if word.lower().endswith(tuple(EXTENSIONS)):
            raise DataError(
                "windows of a signal, as the model takes them", got="an image", where=word,
                fix=f"name {ARRAYS} files or recordings, or a model of images",
            )  # fmt: skip

    def _is_recordings(self, path: Path) -> bool:
        if not path.is_dir():
            return False
        files = walk_files(path, extensions=self.extensions, recursive=self.recursive)
        return next(iter(files), None) is None and any(path.iterdir())


def read_windows(path: Path, spec: WindowSpec, cache: Path) -> Dataset:
    """Read windows as a model takes them, from an `.npz` file or a folder of recordings; no labels are needed.

    Raises:
        DataError: they cannot be read, or have other channels or another length.
    """
    root = path.expanduser().absolute()
    # What recordings are called stands in for labels, which nobody has when he asks for them.
    cut: dict[str, Any] = {} if root.suffix == ARRAYS else {"window_length": spec.length, "label_regex": "(.+)"}
    data = WindowsSource(root, cache=cache, **cut).load()
    signals = data.signals
    unnamed = signals is not None and all(re.fullmatch(UNNAMED, name) for name in signals.channels)
    if signals is not None and unnamed and len(signals.channels) == spec.in_chans:
        LOGGER.warning("%s names no channels: taken in the model's order, %s", root, ", ".join(spec.channels))
        data = replace(data, signals=replace(signals, channels=spec.channels))
    spec.require(data.signals, data.name)
    return data


def shown_path(path: Path) -> str:
    """Return a path as text that any file can hold: bytes of a name that are no UTF-8 are written as `\\xff`."""
    return str(path).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
