"""Tiny archives in the published forms of CIFAR-10 and CIFAR-100: `python make.py FOLDER`.

The python version is written opcode by opcode as Python 2 and its numpy wrote it: today's pickle writes other names.
"""

from __future__ import annotations

import struct
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

FINE = ("apple", "bee", "chair", "dolphin")
COARSE = ("things", "animals")
OF_FINE = (0, 1, 0, 1)
NUM_TRAIN, NUM_TEST = 40, 12


def pictures(count: int, seed: int) -> tuple[npt.NDArray[np.uint8], list[int]]:
    """Noise around a colour of each class, (count, 3072), and the classes, equally many."""
    rng = np.random.default_rng(seed)
    labels = [number % len(FINE) for number in range(count)]
    colours = np.array([[60, 60, 60], [190, 60, 60], [60, 190, 60], [60, 60, 190]])
    noise = rng.integers(-50, 50, (count, 3, 1024))
    return (colours[labels][:, :, None] + noise).clip(0, 255).astype(np.uint8).reshape(count, 3072), labels


def opcodes(value: Any) -> bytes:
    """A value as Python 2 pickled it by protocol 2."""
    if isinstance(value, dict):
        return b"}(" + b"".join(opcodes(part) for item in value.items() for part in item) + b"u"
    if isinstance(value, list):
        return b"](" + b"".join(map(opcodes, value)) + b"e"
    if isinstance(value, str):
        return b"T" + struct.pack("<i", len(value)) + value.encode()
    if isinstance(value, int):
        return b"J" + struct.pack("<i", value)
    data = value.tobytes()
    kind = b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    shape = b"".join(map(opcodes, value.shape)) + b"\x86"
    state = b"(K\x01" + shape + kind + b"\x89T" + struct.pack("<i", len(data)) + data + b"tb"
    return b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R" + state


def write_pickle(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\x80\x02" + opcodes(value) + b".")


def parts() -> dict[str, tuple[npt.NDArray[np.uint8], list[int]]]:
    return {"train": pictures(NUM_TRAIN, 0), "test": pictures(NUM_TEST, 1)}


def make_cifar100(root: Path) -> None:
    """The python version of CIFAR-100."""
    for part, (pixels, labels) in parts().items():
        coarse = [OF_FINE[label] for label in labels]
        content = {"filenames": [f"{part}_{label}.png" for label in labels], "batch_label": part}
        write_pickle(root / part, {**content, "fine_labels": labels, "coarse_labels": coarse, "data": pixels})
    write_pickle(root / "meta", {"fine_label_names": list(FINE), "coarse_label_names": list(COARSE)})


def make_cifar10(root: Path) -> None:
    """The python version of CIFAR-10, its training pictures in five files."""
    for part, (pixels, labels) in parts().items():
        count = 5 if part == "train" else 1
        for number, rows in enumerate(np.array_split(np.arange(len(labels)), count), 1):
            name = f"data_batch_{number}" if part == "train" else "test_batch"
            write_pickle(root / name, {"labels": [labels[row] for row in rows], "data": pixels[rows]})
    write_pickle(root / "batches.meta", {"num_cases_per_batch": 8, "label_names": list(FINE), "num_vis": 3072})


def make_binary(root: Path, *, coarse: bool = True) -> None:
    """The binary version of CIFAR-100, or of CIFAR-10."""
    root.mkdir(parents=True, exist_ok=True)
    for part, (pixels, labels) in parts().items():
        columns = [[OF_FINE[label] for label in labels], labels] if coarse else [labels]
        rows = np.column_stack([np.array(columns, np.uint8).T, pixels])
        count = 5 if part == "train" and not coarse else 1
        for number, some in enumerate(np.array_split(rows, count), 1):
            name = part if coarse else f"data_batch_{number}" if part == "train" else "test_batch"
            (root / f"{name}.bin").write_bytes(some.tobytes())
    if coarse:
        (root / "coarse_label_names.txt").write_text("\n".join(COARSE) + "\n", encoding="utf-8")
    name = "fine_label_names.txt" if coarse else "batches.meta.txt"
    (root / name).write_text("\n".join(FINE) + "\n\n", encoding="utf-8")


def make_folders(root: Path) -> None:
    """A folder per part and class."""
    for part, (pixels, labels) in parts().items():
        for number, (row, label) in enumerate(zip(pixels, labels, strict=True)):
            path = root / part / FINE[label] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png(row.reshape(3, 32, 32).transpose(1, 2, 0)))


def png(picture: npt.NDArray[np.uint8]) -> bytes:
    lines = b"".join(b"\0" + line.tobytes() for line in np.ascontiguousarray(picture))
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", 32, 32, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(lines)),
        (b"IEND", b""),
    )
    head = b"\x89PNG\r\n\x1a\n"
    for kind, data in chunks:
        head += struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return head


make = make_cifar100

if __name__ == "__main__":
    make(Path(sys.argv[1]))
