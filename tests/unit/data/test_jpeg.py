"""The quick way through a JPEG: the pixels of the usual way, bit for bit, or none at all."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ringlight.data import jpeg
from ringlight.data.decode import read_pixels
from ringlight.data.jpeg import libraries_agree, plain_channels, quick_jpeg

RNG = np.random.default_rng(0)


def written(pixels: Any, format: str = "JPEG", **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format, **options)
    return stream.getvalue()


def smooth(height: int, width: int) -> Any:
    """Colours that flow, with noise on top: what a camera sees."""
    y, x = np.mgrid[:height, :width]
    waves = np.stack([np.sin(x / 9 + c) + np.cos(y / 7 - c) for c in range(3)], axis=-1) * 50 + 128
    return np.clip(waves + RNG.normal(0, 8, waves.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (17, 31), (64, 200)])
@pytest.mark.parametrize("quality", [40, 75, 95, 100])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("progressive", [False, True])
def test_pixels_are_those_of_the_usual_way(
    size: tuple[int, int], quality: int, subsampling: int, progressive: bool
) -> None:
    color = smooth(*size)
    for pixels in (color, color[..., 0]):
        content = written(pixels, quality=quality, subsampling=subsampling, progressive=progressive)
        found = quick_jpeg(content)
        assert found is not None
        np.testing.assert_array_equal(found, read_pixels(content))


@pytest.mark.parametrize("name", ["neu-det", "severstal-sample"])
def test_real_images_take_the_quick_way(real_data: Any, name: str) -> None:
    paths = sorted((real_data(name) / "images").glob("*.jpg"))[:: 60 if name == "neu-det" else 1]
    assert len(paths) >= 25
    for path in paths:
        found = quick_jpeg(path.read_bytes())
        assert found is not None
        np.testing.assert_array_equal(found, read_pixels(path))


def exif() -> Any:
    tags = Image.Exif()
    tags[0x0112] = 6
    return tags


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xd8",
        written(smooth(9, 9), "PNG"),
        written(smooth(9, 9), exif=exif()),
        written(smooth(9, 9))[:-2],
        written(smooth(9, 9)) + b"more",
        written(smooth(9, 9)).replace(b"JFIF", b"JFXX"),
        b"\xff\xd8\xff\xe0\x00\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0\xff\xd9",
    ],
)
def test_anything_unusual_goes_the_usual_way(content: bytes) -> None:
    """Turned by EXIF, cut short, with bytes behind the end: Pillow turns it, refuses it or knows better."""
    assert quick_jpeg(content) is None


def test_colours_of_print_go_the_usual_way() -> None:
    stream = io.BytesIO()
    Image.new("CMYK", (9, 9), (10, 20, 30, 40)).save(stream, "JPEG")
    assert plain_channels(stream.getvalue()) is None


def test_an_image_too_large_to_be_meant_is_left_to_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    content = written(smooth(20, 20))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 399)
    assert quick_jpeg(content) is None


def test_libraries_that_disagree_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another build of either may round the colours differently by one: no quick way then, rather than other pixels."""
    assert libraries_agree()
    real = jpeg._decode
    monkeypatch.setattr(jpeg, "_decode", lambda content, channels: real(content, channels) ^ 1)
    libraries_agree.cache_clear()
    try:
        assert not libraries_agree()
        assert quick_jpeg(written(smooth(9, 9))) is None
    finally:
        libraries_agree.cache_clear()
