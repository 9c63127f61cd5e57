"""The `cifar` source: CIFAR-10 and CIFAR-100 as they are published, or as a folder per part and class.

Records are files. The pictures of an archive are therefore unpacked once into the workspace's cache, as PNG whose bytes
do not depend on any library, so that a data set has one fingerprint on every machine, and the same one whichever of the
archives it came from.
"""

from __future__ import annotations

import hashlib
import json
import struct
import zlib
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from ringlight.data.cifar_layout import Layout, find_layout
from ringlight.data.files import require_folder
from ringlight.data.folder import FolderSource
from ringlight.data.labels import checked_classes
from ringlight.data.made_once import MadeOnce
from ringlight.errors import ConfigError, DataError
from ringlight.files import file_sha256
from ringlight.runtime import LOGGER, workspace_folder
from ringlight.types import Dataset, Record

FORMAT_VERSION = 1
"""Raise it when the files in the cache change."""
PARTS = ("train", "test")
TABLE = "labels.parquet"
ARCHIVES = (".tar.gz", ".tgz", ".tar", ".zip")


class CifarSource:
    """CIFAR-10 or CIFAR-100: the python version, the binary version, or folders train/CLASS and test/CLASS.

    Which one lies in the folder is found out. The published test part is the test part of `split=predefined_test`,
    which divides the others into training and validation. Pickled files are read without executing anything in them.

    Args:
        root: the unpacked archive, or the folder it was unpacked into.
        cache: the folder of the unpacked pictures; the workspace's when None.
        labels: of CIFAR-100 the 100 fine classes, or the 20 coarse ones.

    Raises:
        ConfigError: other labels.
    """

    def __init__(
        self, root: Path | str, *, cache: Path | None = None, labels: Literal["fine", "coarse"] = "fine"
    ) -> None:
        self.root = Path(root).expanduser()
        self.cache = cache
        self.labels = labels
        if labels not in ("fine", "coarse"):
            raise ConfigError("fine or coarse", got=repr(labels), where="data.labels", fix="leave it out")

    def load(self) -> Dataset:
        """Return the data set, unpacking its pictures first when that was not done before.

        Raises:
            DataError: nothing of the kind is there, or files are missing, damaged, or ask for code to be run.
            ConfigError: coarse labels of a data set that has none.
            WorkspaceError: the cache cannot be written.
        """
        if self.root.is_file():
            raise self._unknown(self.root)
        root = require_folder(self.root, "data.root")
        found = find_layout(root)
        if found is None and all((root / part).is_dir() for part in PARTS):
            self._refuse_coarse("class folders")
            return FolderSource(root).load()
        if found is None:
            raise self._unknown(root)
        layout, folder = found
        if not layout.has_coarse:
            self._refuse_coarse(layout.title)
        names = {kind: checked_classes(each) for kind, each in layout.class_names(folder).items()}
        unpacked = self._unpacked(layout, folder, names)
        return self._read(layout, unpacked, names[self.labels])

    def _refuse_coarse(self, what: str) -> None:
        if self.labels == "coarse":
            raise ConfigError("fine, the only labels there are", got=f"coarse for {what}", where="data.labels",
                              fix="leave it out")  # fmt: skip

    def _unknown(self, root: Path) -> DataError:
        files = [root] if root.is_file() else sorted(root.iterdir())
        archive = next((file.name for file in files if file.name.endswith(ARCHIVES)), None)
        expected = "CIFAR's python or binary files, or folders train/CLASS and test/CLASS"
        if archive is None:
            got = "a file" if root.is_file() else f"{len(files)} other entries" if files else "an empty folder"
            fix = "set data.root to the folder that the archive was unpacked into"
        else:
            got = f"the archive {archive}"
            fix = f"unpack it (tar -xf {archive}) and set data.root to the folder"
        return DataError(expected, got=got, where=str(root), fix=fix)

    def _unpacked(self, layout: Layout, folder: Path, names: dict[str, tuple[str, ...]]) -> MadeOnce:
        """Return the folder of the pictures, made where it is not there."""
        values = {
            "files": {name: file_sha256(folder / name) for name in layout.files}, "format_version": FORMAT_VERSION,
        }  # fmt: skip
        key = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]
        parent = workspace_folder() / "cache" if self.cache is None else self.cache
        unpacked = MadeOnce((parent / f"cifar-{key}").absolute(), values, what="pictures of CIFAR")
        if not unpacked.present():
            LOGGER.info("unpacking %s into %s, once", layout.title, unpacked.root)
            unpacked.make(lambda into: _unpack(layout, folder, names, into))
        return unpacked

    def _read(self, layout: Layout, unpacked: MadeOnce, classes: tuple[str, ...]) -> Dataset:
        try:
            rows = pq.read_table(unpacked.root / TABLE).to_pydict()
        except (OSError, pa.ArrowInvalid) as error:
            raise unpacked.refusal(f"a readable {TABLE}", str(error).partition("\n")[0]) from None
        present = {f"{part}/{path.stem}" for part in PARTS for path in (unpacked.root / part).glob("*.png")}
        missing = next((key for key in rows["id"] if key not in present), None)
        if missing is not None:
            raise unpacked.refusal("a picture for every label", f"none for `{missing}`")
        records = [
            Record(id=key, uri=str(unpacked.root / f"{key}.png"), labels=(label,), split=key.partition("/")[0])
            for key, label in zip(rows["id"], rows[self.labels], strict=True)
        ]
        notes = ["the published test part is the test part (split=predefined_test divides by it)"]
        return Dataset.from_records(records, classes, "multiclass", name=layout.title, notes=notes)


def _unpack(layout: Layout, folder: Path, names: dict[str, tuple[str, ...]], into: Path) -> None:
    """Write every picture and the table of labels; the pictures of one file at most are in memory."""
    columns: dict[str, list[int | str]] = {"id": [], **{kind: [] for kind in names}}
    for part, files in zip(PARTS, (layout.train, layout.test), strict=True):
        (into / part).mkdir()
        number = 0
        for file in files:
            for batch in layout.batches(folder / file):
                for kind, labels in (("fine", batch.fine), ("coarse", batch.coarse)):
                    if labels is not None:
                        _check_labels(labels, names[kind], kind, folder / file)
                        columns[kind] += labels.tolist()
                for picture in batch.pictures:
                    (into / part / f"{number:05d}.png").write_bytes(encode_png(picture))
                    columns["id"].append(f"{part}/{number:05d}")
                    number += 1
    pq.write_table(pa.table(columns), into / TABLE)


def _check_labels(labels: npt.NDArray[np.int64], names: tuple[str, ...], kind: str, path: Path) -> None:
    if len(labels) and not 0 <= labels.min() <= labels.max() < len(names):
        raise DataError(
            f"{kind} labels from 0 to {len(names) - 1}, the named classes", got=f"{labels.min()} to {labels.max()}",
            where=str(path), fix="unpack the archive again",
        )  # fmt: skip


def encode_png(picture: npt.NDArray[np.uint8]) -> bytes:
    """Return a picture (H, W, 3) in red, green, blue as PNG without compression, of which there is one.

    What compresses differs between libraries and their versions, and with it the fingerprint of the data.
    """
    height, width = picture.shape[:2]
    lines = np.concatenate([np.zeros((height, 1), np.uint8), picture.reshape(height, -1)], axis=1)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines.tobytes(), 0)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
