"""Fake strips in the forms Severstal's data is published in: `python make.py FOLDER [LAYOUT]`.

Four strips of 6 x 10 pixels. a.jpg carries defect 1 in two parts, b.jpg defects 3 and 4 (each one part), c.jpg and
d.jpg are clean.
"""

from __future__ import annotations

import base64
import io
import json
import sys
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 6, 10
IMAGES = ("a.jpg", "b.jpg", "c.jpg", "d.jpg")
RUNS = {("a.jpg", 1): "1 2 7 2 50 1", ("b.jpg", 3): "13 6", ("b.jpg", 4): "58 3"}
BOXES = {
    "a.jpg": [(0, 0, 0, 2, 2), (0, 8, 1, 9, 2)],
    "b.jpg": [(2, 2, 0, 3, 6), (3, 9, 3, 10, 6)],
    "c.jpg": [],
    "d.jpg": [],
}
"""The same defects as (label, x_min, y_min, x_max, y_max), worked out by hand."""
LAYOUTS = ("kaggle", "kaggle_joined", "supervisely", "table")


def make(root: Path, layout: str = "kaggle") -> None:
    """Write the strips, and their labels in one of LAYOUTS."""
    folder = root / ("train_images" if layout.startswith("kaggle") else "images")
    folder.mkdir(parents=True)
    for seed, name in enumerate(IMAGES):
        pixels = np.random.default_rng(seed).integers(60, 200, (HEIGHT, WIDTH), np.uint8)
        Image.fromarray(pixels).convert("RGB").save(folder / name)
    {"kaggle": kaggle, "kaggle_joined": kaggle_joined, "supervisely": supervisely, "table": table}[layout](root)


def kaggle(root: Path) -> None:
    lines = [f"{name},{number},{runs}" for (name, number), runs in RUNS.items()]
    (root / "train.csv").write_text("\n".join(["ImageId,ClassId,EncodedPixels", *lines]) + "\n")


def kaggle_joined(root: Path) -> None:
    keys = [(name, number) for name in IMAGES for number in range(1, 5)]
    lines = [f"{name}_{number},{RUNS.get((name, number), '')}" for name, number in keys]
    (root / "train.csv").write_text("\n".join(["ImageId_ClassId,EncodedPixels", *lines]) + "\n")


def table(root: Path) -> None:
    lines = [",".join([name, *(str(int((name, n) in RUNS)) for n in range(1, 5))]) for name in IMAGES]
    header = "ImageId,defect_1,defect_2,defect_3,defect_4"
    (root / "image_labels.csv").write_text("\n".join([header, *lines]) + "\n")


def supervisely(root: Path) -> None:
    """The first defect of a.jpg as a bitmap, all others as the rectangle or polygon around them."""
    (root / "annotations").mkdir()
    for name in IMAGES:
        objects = []
        for number, (label, *corners) in enumerate(BOXES[name]):
            if name == "a.jpg" and number == 0:
                shape = {"geometryType": "bitmap", "bitmap": {"data": bitmap(np.ones((2, 2))), "origin": [0, 0]}}
            else:
                shape = outline(*corners, kind="polygon" if number else "rectangle")
            objects.append({"classTitle": f"defect_{label + 1}", "tags": [], **shape})
        content = {"description": "", "tags": [], "size": {"height": HEIGHT, "width": WIDTH}, "objects": objects}
        (root / "annotations" / f"{name}.json").write_text(json.dumps(content))


def outline(x_min: int, y_min: int, x_max: int, y_max: int, kind: str) -> dict[str, object]:
    """Corners belong to the shape, so the last pixel is one less than the half-open end."""
    right, bottom = x_max - 1, y_max - 1
    corners = [[x_min, y_min], [right, bottom]]
    if kind == "polygon":
        corners = [[x_min, y_min], [right, y_min], [right, bottom], [x_min, bottom]]
    return {"geometryType": kind, "points": {"exterior": corners, "interior": []}}


def bitmap(mask: np.ndarray) -> str:
    """A two-colour palette PNG whose colour 0 is transparent, compressed and in base64."""
    image = Image.fromarray((mask != 0).astype(np.uint8)).convert("P")
    image.putpalette([0, 0, 0, 255, 255, 255])
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", transparency=0)
    return base64.b64encode(zlib.compress(buffer.getvalue())).decode()


if __name__ == "__main__":
    make(Path(sys.argv[1]), *sys.argv[2:])
