"""Fake data for the folder source: `python make.py FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("crazing", "rolled in scale", "Löcher")


def write_image(path: Path, seed: int, size: tuple[int, int] = (8, 12)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, size, np.uint8)).save(path)


def make(root: Path) -> None:
    """A class per folder: names with a space and an umlaut, one image a level deeper, a linked one, and litter."""
    for number, name in enumerate(CLASSES):
        for image in range(3):
            write_image(root / name / f"part {image}.png", seed=10 * number + image)
    write_image(root / "crazing" / "coil_7" / "Prüfling.PNG", seed=50)
    (root / "crazing" / "linked.png").symlink_to(root / "Löcher" / "part 0.png")
    (root / "crazing" / "coil_7" / "back").symlink_to(root / "crazing", target_is_directory=True)
    (root / "crazing" / "broken.png").symlink_to(root / "nowhere.png")
    (root / "Löcher" / ".hidden.png").write_bytes(b"")
    (root / "notes.txt").write_text("not an image")
    write_image(root / ".cache" / "thumbnail.png", seed=60)


def make_flat(root: Path) -> None:
    """One flat folder as NEU ships: the class is in the file name, and itself holds an underscore."""
    for number, name in enumerate(("crazing", "rolled-in_scale")):
        for image in range(1, 4):
            write_image(root / f"{name}_{image}.jpg", seed=10 * number + image)


if __name__ == "__main__":
    make(Path(sys.argv[1]))
