"""The published forms of CIFAR-10 and CIFAR-100: which files they consist of, and what is in them.

A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009, and the page it is published on: a picture
is 3,072 bytes, 1,024 of red, then green, then blue, row by row. In the binary files it comes after its label, of
CIFAR-100 after the coarse and the fine one.

Shapes: N pictures of 32 x 32 pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ringlight.data.cifar_pickle import read_pickle
from ringlight.data.faults import first_of
from ringlight.errors import DataError

SIDE = 32
PICTURE = 3 * SIDE * SIDE
CHUNK = 2_000
"""Pictures that are handed on at once; of a binary file no more are in memory, of a pickled one all of them."""


class Batch(NamedTuple):
    """Some pictures uint8 (N, 32, 32, 3) with their fine and, of CIFAR-100, coarse labels (N,)."""

    pictures: npt.NDArray[np.uint8]
    fine: npt.NDArray[np.int64]
    coarse: npt.NDArray[np.int64] | None


@dataclass(frozen=True, slots=True)
class Layout:
    """One of the published forms: the folder it unpacks to, its files of each part, those with the classes' names."""

    title: str
    unpacks_to: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    names: tuple[str, ...]
    pickled: bool
    has_coarse: bool

    @property
    def files(self) -> tuple[str, ...]:
        """All its files."""
        return (*self.train, *self.test, *self.names)

    def class_names(self, folder: Path) -> dict[str, tuple[str, ...]]:
        """Return the names of the `fine` and, where there are, the `coarse` classes.

        Raises:
            DataError: a file that does not hold them.
        """
        kinds = ("fine", "coarse") if self.has_coarse else ("fine",)
        if self.pickled:
            path = folder / self.names[0]
            content = read_pickle(path)
            keys = [f"{kind}_label_names".encode() if self.has_coarse else b"label_names" for kind in kinds]
            found = [_texts(content.get(key), path, key) for key in keys]
        else:
            found = [_lines(folder / name) for name in self.names]
        return dict(zip(kinds, found, strict=True))

    def batches(self, path: Path) -> Iterator[Batch]:
        """Read one of its files of pictures, a part after the other.

        Raises:
            DataError: it is damaged, or holds something else.
        """
        return self._pickled_batches(path) if self.pickled else self._binary_batches(path)

    def _pickled_batches(self, path: Path) -> Iterator[Batch]:
        content = read_pickle(path)
        pixels = content.get(b"data")
        if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.shape[1:] != (PICTURE,):
            got = f"{pixels.dtype} {pixels.shape}" if isinstance(pixels, np.ndarray) else "none"
            raise _unusable(path, f"bytes (N, {PICTURE}) under `data`", got)
        fine = _labels(content, b"fine_labels" if self.has_coarse else b"labels", len(pixels), path)
        coarse = _labels(content, b"coarse_labels", len(pixels), path) if self.has_coarse else None
        for start in range(0, len(pixels), CHUNK):
            some = slice(start, start + CHUNK)
            yield Batch(_pictures(pixels[some]), fine[some], None if coarse is None else coarse[some])

    def _binary_batches(self, path: Path) -> Iterator[Batch]:
        width = PICTURE + (2 if self.has_coarse else 1)
        size = path.stat().st_size
        if not size or size % width:
            raise _unusable(path, f"one picture or more of {width} bytes each", f"{size} bytes")
        with path.open("rb") as stream:
            while data := stream.read(CHUNK * width):
                rows = np.frombuffer(data, np.uint8).reshape(-1, width)
                labels = rows[:, : width - PICTURE].astype(np.int64)
                coarse = labels[:, 0] if self.has_coarse else None
                yield Batch(_pictures(rows[:, width - PICTURE :]), labels[:, -1], coarse)


LAYOUTS = (
    Layout(
        "CIFAR-10", "cifar-10-batches-py", tuple(f"data_batch_{number}" for number in range(1, 6)), ("test_batch",),
        ("batches.meta",), pickled=True, has_coarse=False,
    ),
    Layout("CIFAR-100", "cifar-100-python", ("train",), ("test",), ("meta",), pickled=True, has_coarse=True),
    Layout(
        "CIFAR-10", "cifar-10-batches-bin", tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
        ("test_batch.bin",), ("batches.meta.txt",), pickled=False, has_coarse=False,
    ),
    Layout(
        "CIFAR-100", "cifar-100-binary", ("train.bin",), ("test.bin",),
        ("fine_label_names.txt", "coarse_label_names.txt"), pickled=False, has_coarse=True,
    ),
)  # fmt: skip
"""The python and the binary version of both data sets."""


def find_layout(root: Path) -> tuple[Layout, Path] | None:
    """Return the form that lies in `root`, or in the folder of its own name there, and where; None where none does.

    Raises:
        DataError: files are missing, or there are several.
    """
    places = [(one, folder) for one in LAYOUTS for folder in (root, root / one.unpacks_to)]
    found = [(one, folder) for one, folder in places if any((folder / name).is_file() for name in one.train + one.test)]
    if len(found) > 1:
        raise DataError(
            "one data set", got=first_of([one.unpacks_to for one, _ in found]), where=str(root),
            fix="set data.root to one of the folders",
        )  # fmt: skip
    for one, folder in found:
        missing = [name for name in one.files if not (folder / name).is_file()]
        if missing:
            raise DataError(
                f"all files of {one.unpacks_to}", got=f"all but {first_of(missing)}", where=str(folder),
                fix="unpack the archive again",
            )  # fmt: skip
    return found[0] if found else None


def _pictures(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    return np.ascontiguousarray(pixels.reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1))


def _labels(content: dict[bytes, Any], key: bytes, count: int, path: Path) -> npt.NDArray[np.int64]:
    values = content.get(key)
    if not isinstance(values, list) or not all(type(value) is int for value in values) or len(values) != count:
        got = "none" if values is None else f"{len(values)} values" if isinstance(values, list) else str(type(values))
        raise _unusable(path, f"{count} whole numbers under `{key.decode()}`", got)
    return np.array(values, np.int64)


def _texts(values: object, path: Path, key: bytes) -> tuple[str, ...]:
    names = [value.decode("utf-8", "replace") if isinstance(value, bytes) else value for value in _listed(values)]
    if not names or not all(isinstance(name, str) for name in names):
        raise _unusable(path, f"names under `{key.decode()}`", "none" if values is None else type(values).__name__)
    return tuple(str(name) for name in names)


def _listed(values: object) -> Sequence[object]:
    return values if isinstance(values, list) else []


def _lines(path: Path) -> tuple[str, ...]:
    names = [line.strip() for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    if not names:
        raise _unusable(path, "a name a line", "none")
    return tuple(names)


def _unusable(path: Path, expected: str, got: str) -> DataError:
    return DataError(expected, got=got, where=str(path), fix="unpack the archive again")
