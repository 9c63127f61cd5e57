"""Run lengths, masks and boxes, proved by hand, by a loop, by another formulation, and on every real row."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import ndimage

from ringlight.data.masks import boxes_of_mask, boxes_of_rle, decode_rle, encode_rle
from ringlight.errors import DataError

MASKS = arrays.arrays(np.uint8, arrays.array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.integers(0, 1))


def decode_by_loop(text: str, height: int, width: int) -> np.ndarray:
    mask = np.zeros((height, width), np.uint8)
    numbers = [int(word) for word in text.split()]
    for start, length in zip(numbers[::2], numbers[1::2], strict=True):
        for pixel in range(start - 1, start - 1 + length):
            mask[pixel % height, pixel // height] = 1
    return mask


def decode_by_steps(text: str, height: int, width: int) -> np.ndarray:
    """Up at each start, down after each end, and the running sum: no repetition of values, no reshaping by columns."""
    numbers = np.array(text.split(), np.int64)
    steps = np.zeros(height * width + 1, np.int64)
    np.add.at(steps, numbers[::2] - 1, 1)
    np.add.at(steps, numbers[::2] - 1 + numbers[1::2], -1)
    return np.reshape(np.cumsum(steps)[:-1], (height, width), order="F").astype(np.uint8)


def test_runs_are_one_based_and_go_down_the_columns():
    mask = decode_rle("2 1 4 2 9 1", height=3, width=3)
    np.testing.assert_array_equal(mask, [[0, 1, 0], [1, 1, 0], [0, 0, 1]])
    assert mask.dtype == np.uint8
    assert mask.flags.c_contiguous


def test_a_run_goes_on_in_the_next_column():
    np.testing.assert_array_equal(decode_rle("2 3", height=2, width=3), [[0, 1, 0], [1, 1, 0]])


def test_empty_text_is_an_empty_mask_and_back():
    assert not decode_rle("", 4, 5).any()
    assert decode_rle("  ", 4, 5).shape == (4, 5)
    assert encode_rle(np.zeros((4, 5))) == ""


def test_a_full_mask_is_one_run():
    assert encode_rle(np.full((4, 5), 255)) == "1 20"
    assert decode_rle("1 20", 4, 5).all()


@settings(deadline=None)  # a shared machine is slow at times
@given(MASKS)
def test_a_mask_survives_encoding_and_three_decoders_agree(mask):
    text = encode_rle(mask)
    np.testing.assert_array_equal(decode_rle(text, *mask.shape), mask)
    np.testing.assert_array_equal(decode_by_loop(text, *mask.shape), mask)
    np.testing.assert_array_equal(decode_by_steps(text, *mask.shape), mask)


@settings(deadline=None)  # a shared machine is slow at times
@given(MASKS)
def test_boxes_of_runs_and_of_the_mask_are_scipys_boxes(mask):
    parts, _ = ndimage.label(mask, structure=np.ones((3, 3)))
    expected = sorted((x.start, y.start, x.stop, y.stop) for y, x in ndimage.find_objects(parts))
    boxes = boxes_of_mask(mask, label=3)
    assert [(b["x_min"], b["y_min"], b["x_max"], b["y_max"]) for b in boxes] == expected
    assert {b["label"] for b in boxes} <= {3}
    assert boxes_of_rle(encode_rle(mask), *mask.shape, label=3) == boxes


def test_boxes_are_half_open_and_parts_that_touch_at_a_corner_are_one():
    mask = np.array([[1, 0, 0, 0], [0, 1, 0, 1]])
    assert boxes_of_mask(mask, 0) == [
        {"label": 0, "x_min": 0.0, "y_min": 0.0, "x_max": 2.0, "y_max": 2.0},
        {"label": 0, "x_min": 3.0, "y_min": 1.0, "x_max": 4.0, "y_max": 2.0},
    ]


def test_an_empty_mask_has_no_boxes():
    assert boxes_of_mask(np.zeros((3, 3)), 0) == []
    assert boxes_of_rle("", 3, 3, 0) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 2 3", "expected pairs of start and length, got 3 numbers, the last `3` alone"),
        ("1 x", "expected whole numbers above 0, separated by spaces, got `x`"),
        ("1 1.5", "got `1.5`"),
        ("0 2", "got `0`"),
        ("3 0", "got `0`"),
        ("-3 2", "got `-3`"),
        ("1_0 2", "got `1_0`"),
        ("1 " + "9" * 5000, "expected whole numbers"),
        ("12 2", "expected runs within the 12 pixels of a 3x4 image, got `12 2`"),
        ("999999999999999999 1", "got `999999999999999999 1`"),
        ("5 3 7 1", "expected runs in ascending order that do not overlap, got `5 3` before `7 1`"),
        ("9 1 2 1", "got `9 1` before `2 1`"),
    ],
)
def test_malformed_runs_name_the_row_and_the_fault(text, message):
    with pytest.raises(DataError) as caught:
        decode_rle(text, 3, 4, where="train.csv: row 7")
    assert str(caught.value).startswith("train.csv: row 7: expected")
    assert message in str(caught.value)
    with pytest.raises(DataError):
        boxes_of_rle(text, 3, 4, 0)


def test_every_real_row_decodes_and_encodes_to_the_same_text(real_data):
    with (real_data("severstal-sample") / "train_rle_subset.csv").open(newline="") as file:
        rows = [row["EncodedPixels"] for row in csv.DictReader(file)]
    assert len(rows) == 2845
    different = [number for number, text in enumerate(rows, start=2) if encode_rle(decode_rle(text, 256, 1600)) != text]
    assert different == []
