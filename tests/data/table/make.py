"""Fake data for the table source: `python make.py FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

ROWS = ("0001.png,ok,c1,2024-05-01,train", "0002.png,dent,c1,2024-05-02,train", "0003.png,ok,c2,2024-05-03,test")


def make(root: Path) -> None:
    """Three images and `labels.csv` with group, time and split."""
    (root / "images").mkdir(parents=True)
    lines = ["path,label,coil,taken,part", *(f"images/{row}" for row in ROWS)]
    (root / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for number in range(1, 4):
        pixels = np.random.default_rng(number).integers(0, 255, (8, 12), np.uint8)
        Image.fromarray(pixels).save(root / "images" / f"000{number}.png")


if __name__ == "__main__":
    make(Path(sys.argv[1]))
