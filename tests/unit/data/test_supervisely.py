"""Supervisely annotations: bitmaps, polygons, rectangles, and what can be wrong with them."""

from __future__ import annotations

import base64
import json
import runpy
import zlib
from pathlib import Path

import numpy as np
import pytest

from ringlight.data.supervisely import decode_bitmap, encode_bitmap, read_annotation
from ringlight.errors import DataError

MAKE = runpy.run_path(str(Path(__file__).parents[2] / "data" / "severstal" / "make.py"))
CLASSES = ["defect_1", "defect_2"]


@pytest.fixture
def annotate(tmp_path):
    def write(*objects: object) -> Path:
        path = tmp_path / "strip.jpg.json"
        path.write_text(json.dumps({"size": {"height": 6, "width": 10}, "objects": objects}))
        return path

    return write


def corners(boxes):
    return [tuple(box.values()) for box in boxes]


def test_a_bitmap_lies_at_its_origin_and_each_part_has_a_box(annotate):
    mask = np.array([[1, 1, 0, 0], [0, 0, 0, 1]])
    shape = {"bitmap": {"data": MAKE["bitmap"](mask), "origin": [3, 2]}, "geometryType": "bitmap"}
    boxes = read_annotation(annotate({"classTitle": "defect_2", **shape}), CLASSES)
    assert corners(boxes) == [(1, 3, 2, 5, 3), (1, 6, 3, 7, 4)]


def test_a_bitmap_survives_writing_and_reading_also_without_transparency():
    mask = np.random.default_rng(0).integers(0, 2, (7, 9), np.uint8)
    np.testing.assert_array_equal(decode_bitmap(encode_bitmap(mask)), mask)
    np.testing.assert_array_equal(decode_bitmap(MAKE["bitmap"](mask)), mask)


def test_corners_of_rectangles_and_polygons_belong_to_them(annotate):
    rectangle = {"classTitle": "defect_1", **MAKE["outline"](2, 0, 5, 6, kind="rectangle")}
    triangle = {"geometryType": "polygon", "points": {"exterior": [[4, 5], [1, 2], [7, 1]], "interior": []}}
    boxes = read_annotation(annotate(rectangle, {"classTitle": "defect_2", **triangle}), CLASSES)
    assert corners(boxes) == [(0, 2, 0, 5, 6), (1, 1, 1, 8, 6)]


def test_shapes_over_the_edge_are_cut_and_shapes_off_the_image_refused(annotate):
    over = {"classTitle": "defect_1", **MAKE["outline"](-3, 2, 40, 9, kind="rectangle")}
    assert corners(read_annotation(annotate(over), CLASSES)) == [(0, 0, 2, 10, 6)]
    off = {"classTitle": "defect_1", **MAKE["outline"](12, 2, 14, 4, kind="rectangle")}
    with pytest.raises(DataError, match="object 2: expected a shape within the 6x10 image, got x 12 to 14, y 2 to 4"):
        read_annotation(annotate(over, off), CLASSES)


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ({"geometryType": "point"}, "expected a bitmap, polygon or rectangle, got `point`"),
        ({}, "got KeyError: 'geometryType'"),
        ({"geometryType": "rectangle", "points": {"exterior": []}}, "expected an object with"),
        ({"geometryType": "bitmap", "bitmap": {"data": "%", "origin": [0, 0]}}, "expected a bitmap in base64"),
        ({"geometryType": "bitmap", "bitmap": {"data": "AAAA", "origin": [0, 0]}}, "expected a bitmap in base64"),
        (
            {
                "geometryType": "bitmap",
                "bitmap": {"data": base64.b64encode(zlib.compress(b"no png")).decode(), "origin": [0, 0]},
            },
            "expected a bitmap in base64 of a zlib-compressed PNG",
        ),
    ],
)
def test_objects_that_say_nothing_name_their_number(annotate, item, message):
    with pytest.raises(DataError, match=message) as caught:
        read_annotation(annotate({"classTitle": "defect_1", **item}), CLASSES)
    assert str(caught.value).startswith("strip.jpg.json: object 1: ")
