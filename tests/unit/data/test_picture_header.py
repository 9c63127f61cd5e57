"""A picture's size is known before anything of it is decoded, in formats a camera writes."""

from __future__ import annotations

import io
import struct
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ringlight.data.picture_header import ForeignPictureError, HugePictureError, picture_size
from ringlight.errors import DataError


def encoded(form: str, size: tuple[int, int] = (7, 5)) -> bytes:
    stream = io.BytesIO()
    Image.new("L", size).save(stream, form)
    return stream.getvalue()


def png_header(width: int, height: int) -> bytes:
    data = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + data + struct.pack(">I", zlib.crc32(data))


@pytest.mark.parametrize("form", ["JPEG", "PNG", "BMP", "TIFF", "PPM"])
def test_the_size_is_read_from_the_header(form: str) -> None:
    assert picture_size(encoded(form), where="a") == (5, 7)


@pytest.mark.parametrize(
    "content", [b"no picture", encoded("GIF"), b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n"]
)
def test_other_formats_are_not_opened(content: bytes) -> None:
    """PostScript would be handed to Ghostscript."""
    with pytest.raises(ForeignPictureError, match="a: expected an image, got bytes that are not a picture of a known"):
        picture_size(content, where="a")


def test_a_header_of_four_gigabytes_is_refused() -> None:
    with pytest.raises(HugePictureError, match=r"a: expected an image of a reasonable size, got 4294836225 pixels"):
        picture_size(png_header(65_535, 65_535) + b"\0\0\0\x01IDAT", where="a")


def test_nothing_and_damage_are_told_apart() -> None:
    with pytest.raises(DataError, match="a: expected an image, got zero bytes"):
        picture_size(b"", where="a")
    with pytest.raises(DataError, match="a: expected"):
        picture_size(png_header(0, 5), where="a")


@pytest.mark.filterwarnings("ignore:::PIL")
@settings(max_examples=150, deadline=None)
@given(st.sampled_from([encoded(form) for form in ("JPEG", "PNG", "BMP", "TIFF", "PPM")]), st.data())
def test_damage_is_one_line_whatever_it_is(content: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(content) - 1))
    damaged = content[:at] + data.draw(st.binary(max_size=8)) + content[at + data.draw(st.integers(0, 8)) :]
    told, size = "", (1, 1)
    try:
        size = picture_size(damaged, where="a")
    except DataError as error:
        told = str(error)
    assert "\n" not in told
    assert min(size) > 0
