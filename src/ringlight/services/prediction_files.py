"""Files of predictions that grow row by row, and are gone on with where they were cut off.

Beside `results.csv` lies `results.csv.settings.json`: which model made the rows, and how it decided. A file is only
gone on with by the same model under the same settings, since half of it would be another's.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from ringlight.errors import RunError, UserError, did_you_mean
from ringlight.files import unwritable, write_json

Row = Mapping[str, Any]
SETTINGS = ".settings.json"
NAMES = "model"
"""The setting that only tells: what a model is called. Its checksum counts."""


class Column(NamedTuple):
    """A column of the file: its name, and whether it holds text, numbers or flags."""

    name: str
    kind: Literal["text", "number", "flag"]


class Done:
    """The ids of the rows that a file had, eight bytes each, and how many of them were errors.

    An id is known by a digest of 64 bits: among a million ids two of the same digest are one chance in forty million.
    """

    def __init__(self, ids: Iterable[tuple[str, bool]] = ()) -> None:
        digests: list[npt.NDArray[np.uint64]] = []
        block: list[int] = []
        self.errors = 0
        for key, failed in ids:
            block.append(_digest(key))
            self.errors += failed
            if len(block) == 65536:
                digests.append(np.array(block, np.uint64))
                block.clear()
        digests.append(np.array(block, np.uint64))
        self._sorted = np.sort(np.concatenate(digests))

    def __len__(self) -> int:
        return len(self._sorted)

    def __contains__(self, key: str) -> bool:
        if not len(self._sorted):
            return False
        digest = np.uint64(_digest(key))
        place = int(np.searchsorted(self._sorted, digest))
        return place < len(self._sorted) and bool(self._sorted[place] == digest)


class Rows(ABC):
    """A file that rows are appended to; `done` are those that were there before, by their ids."""

    done: Done

    @abstractmethod
    def __init__(self, path: Path, columns: Sequence[Column]) -> None:
        """Open the file; what is whole of it stays, a torn end is cut off."""

    @classmethod
    def begun(cls, path: Path) -> bool:  # noqa: ARG003 - of the kinds that have parts
        """Return whether rows of this file lie beside it."""
        return False

    @abstractmethod
    def write(self, rows: Sequence[Row]) -> None:
        """Append rows and hand them to the system.

        Raises:
            WorkspaceError: they cannot be written.
        """

    @abstractmethod
    def close(self) -> None:
        """Write what is still held, and leave a whole file."""


def _digest(key: str) -> int:
    return int.from_bytes(hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


def open_rows(path: Path, columns: Sequence[Column], settings: Mapping[str, Any], *, resume: bool = False) -> Rows:
    """Open a new file of rows, or with `resume` one that was cut off; its name's ending says which kind.

    Args:
        path: `.csv`, `.jsonl` or `.parquet`.
        columns: of every row.
        settings: what made the rows, as plain values.
        resume: go on with the file that is there; where there is none, begin it.

    Raises:
        UserError: another ending; a file that is there already, without `resume`.
        RunError: the file was made by another model or under other settings, or holds something else.
        WorkspaceError: it cannot be written.
    """
    from ringlight.services.prediction_parquet import ParquetRows
    from ringlight.services.prediction_text import CsvRows, JsonRows

    kinds: Mapping[str, type[Rows]] = {".csv": CsvRows, ".jsonl": JsonRows, ".parquet": ParquetRows}
    kind = kinds.get(path.suffix.lower())
    if kind is None:
        raise UserError(
            "a file .csv, .jsonl or .parquet", got=f"`{path.name}`", where="--out",
            fix=did_you_mean(path.suffix.lower(), kinds),
        )  # fmt: skip
    about = path.with_name(path.name + SETTINGS)
    there = path.exists() or kind.begun(path)
    if there and not resume:
        raise UserError(
            "a file that is not there yet", got="one with results", where=f"--out {path}",
            fix="go on with it with --resume, or remove it",
        )  # fmt: skip
    told = json.loads(json.dumps(settings))
    if there:
        _require_same(about, told)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not there:
            write_json(about, told)
        return kind(path, columns)
    except OSError as error:
        raise unwritable(path, error) from error


def _require_same(about: Path, settings: Mapping[str, Any]) -> None:
    """Refuse to go on with rows of another model, or decided in another way."""
    fix = "use the model and the options it was begun with, or write to another file"
    try:
        former = dict(json.loads(about.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise RunError(
            "the settings a file of results was begun with", got=f"{type(error).__name__}: {error}", where=str(about),
            fix="write to another file",
        ) from error  # fmt: skip
    for key in dict.fromkeys([*settings, *former]):
        if key != NAMES and settings.get(key) != former.get(key):
            raise RunError(
                f"{key} {_short(former.get(key))}, as the file was begun", got=_short(settings.get(key)),
                where=f"--resume {about.name.removesuffix(SETTINGS)}", fix=fix,
            )  # fmt: skip


def _short(value: object) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
