"""Annotations in Supervisely's form: one JSON file per image, with bitmaps, polygons and rectangles.

Format: https://developer.supervisely.com/getting-started/supervisely-annotation-format/objects. A bitmap is a PNG,
compressed by zlib and written in base64, with the pixel of its upper left corner; corners of rectangles and polygons
are pixels that belong to the object.
"""

from __future__ import annotations

import base64
import binascii
import io
import json
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from ringlight.data.masks import boxes_of_mask
from ringlight.errors import DataError, did_you_mean
from ringlight.types import Box


def read_annotation(path: Path, classes: Sequence[str]) -> list[Box]:
    """Return the boxes of one annotation file, in the order of the file; a bitmap has one per connected part.

    Raises:
        DataError: it is not such a file; the message names the object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        height, width = int(content["size"]["height"]), int(content["size"]["width"])
        objects = list(content["objects"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            "a Supervisely annotation with `size` and `objects`",
            got=f"{type(error).__name__}: {error}",
            where=path.name,
            fix="export it again or remove it",
        ) from error
    boxes: list[Box] = []
    for number, item in enumerate(objects, start=1):
        boxes += _boxes_of_object(item, classes, height, width, f"{path.name}: object {number}")
    return boxes


def _boxes_of_object(item: Any, classes: Sequence[str], height: int, width: int, where: str) -> list[Box]:
    try:
        title, kind = str(item["classTitle"]), str(item["geometryType"])
        label = _class_index(title, classes, where)
        if kind == "bitmap":
            x, y = (int(value) for value in item["bitmap"]["origin"])
            mask = decode_bitmap(item["bitmap"]["data"], where=where)
            inner = boxes_of_mask(mask, label)
            found = [(b["x_min"] + x, b["y_min"] + y, b["x_max"] + x, b["y_max"] + y) for b in inner]
        elif kind in ("rectangle", "polygon"):
            points = np.array(item["points"]["exterior"], np.float64).reshape(-1, 2)
            low, high = points.min(axis=0), points.max(axis=0) + 1  # the corners belong to the object
            found = [(float(low[0]), float(low[1]), float(high[0]), float(high[1]))]
        else:
            raise DataError("a bitmap, polygon or rectangle", got=f"`{kind}`", where=where, fix="convert or remove it")
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            "an object with `classTitle`, `geometryType` and its shape",
            got=f"{type(error).__name__}: {error}",
            where=where,
            fix="export the annotation again",
        ) from error
    return [_inside(corners, label, height, width, where) for corners in found]


def _class_index(title: str, classes: Sequence[str], where: str) -> int:
    if title not in classes:
        raise DataError("a class of data.classes", got=f"`{title}`", where=where, fix=did_you_mean(title, classes))
    return list(classes).index(title)


def _inside(corners: tuple[float, ...], label: int, height: int, width: int, where: str) -> Box:
    """Return a box within the image: annotators drag shapes a little over the edge, but not off the image."""
    x_min, x_max = max(corners[0], 0.0), min(corners[2], float(width))
    y_min, y_max = max(corners[1], 0.0), min(corners[3], float(height))
    if x_min >= x_max or y_min >= y_max:
        got = "x {0:g} to {2:g}, y {1:g} to {3:g}".format(*corners)
        raise DataError(f"a shape within the {height}x{width} image", got=got, where=where, fix="correct or remove it")
    return Box(label=label, x_min=x_min, y_min=y_min, x_max=x_max, y_max=y_max)


def decode_bitmap(text: str, *, where: str = "bitmap") -> npt.NDArray[np.uint8]:
    """Return the mask (H, W), uint8 0 or 1, of a bitmap: its opaque pixels, or without transparency those not black.

    Raises:
        DataError: it is not base64, not zlib or not a PNG.
    """
    try:
        with Image.open(io.BytesIO(zlib.decompress(base64.b64decode(text, validate=True)))) as image:
            has_alpha = "transparency" in image.info or image.mode in ("RGBA", "LA")
            pixels = np.asarray(image.convert("RGBA").getchannel("A") if has_alpha else image.convert("L"))
    except (binascii.Error, zlib.error, UnidentifiedImageError, OSError, SyntaxError) as error:
        raise DataError(
            "a bitmap in base64 of a zlib-compressed PNG",
            got=f"{type(error).__name__}: {error}",
            where=where,
            fix="export the annotation again",
        ) from error
    return np.asarray(pixels > 0, np.uint8)


def encode_bitmap(mask: npt.NDArray[Any]) -> str:
    """Return a mask (H, W) as Supervisely writes it: a two-colour PNG whose colour 0 is transparent."""
    image = Image.fromarray(np.asarray(mask != 0, np.uint8), mode="P")
    image.putpalette([0, 0, 0, 255, 255, 255])
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", transparency=0)
    return base64.b64encode(zlib.compress(buffer.getvalue())).decode("ascii")
