"""What is kept is what came: the same bytes, the same pixels."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ringlight.data.originals import as_file, suffix_of
from ringlight.errors import DataError

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)


@pytest.mark.parametrize(
    ("kind", "suffix"),
    [("PNG", ".png"), ("JPEG", ".jpg"), ("BMP", ".bmp"), ("TIFF", ".tif"), ("GIF", ".gif"), ("WEBP", ".webp")],
)
def test_bytes_stay_as_they_came(kind: str, suffix: str, tmp_path: Path) -> None:
    stream = io.BytesIO()
    Image.fromarray(PIXELS).save(stream, kind)
    assert as_file(stream.getvalue()) == (stream.getvalue(), suffix)
    (tmp_path / "nameless").write_bytes(stream.getvalue())
    assert as_file(tmp_path / "nameless")[1] == suffix


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 1), (5, 7, 3), (5, 7, 4)])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_an_array_comes_back_pixel_by_pixel(shape: tuple[int, ...], kind: Any) -> None:
    array = np.random.default_rng(1).integers(0, np.iinfo(kind).max, shape, kind)
    content, suffix = as_file(array)
    assert suffix == ".png"
    if kind == np.uint8:
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(content))), np.squeeze(array))


def test_a_window_comes_back_to_the_bit() -> None:
    window = np.random.default_rng(2).normal(size=(64, 3)).astype(np.float32)
    content, suffix = as_file(window)
    assert suffix == ".npy"
    np.testing.assert_array_equal(np.load(io.BytesIO(content)), window)


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        (b"hello", "original: expected the bytes of a picture, got bytes that begin with 68 65 6c 6c; pass PNG, JPEG"),
        (b"", "original: expected the bytes of a picture, got bytes that begin with nothing"),
        (
            np.zeros((2, 2), np.int64),
            "original: expected an image of integers or a window of floats, got int64 of",
        ),
        (Path("absent.png"), "absent.png: expected a readable file, got FileNotFoundError: No such file or directory"),
    ],
)
def test_anything_else_is_refused_in_a_line(wrong: Any, line: str) -> None:
    with pytest.raises(DataError) as told:
        as_file(wrong)
    assert str(told.value).startswith(line)
    assert suffix_of(b"BM") == ".bmp"
