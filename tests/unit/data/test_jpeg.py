"""The quick way through a JPEG: the pixels of the usual way, bit for bit, or none at all."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ringlight.data import decode, jpeg
from ringlight.data.decode import read_pixels
from ringlight.data.jpeg import libraries_agree, plain_channels, quick_jpeg
from ringlight.errors import DataError

RNG = np.random.default_rng(0)


def written(pixels: Any, format: str = "JPEG", **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format, **options)
    return stream.getvalue()


def usual(content: bytes) -> Any:
    """Return what Pillow makes of a file, (H, W, 1 | 3)."""
    with Image.open(io.BytesIO(content)) as image:
        pixels = np.array(image)
    return pixels if pixels.ndim == 3 else pixels[..., None]


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
        np.testing.assert_array_equal(found, usual(content))
        np.testing.assert_array_equal(read_pixels(content), found)


@pytest.mark.parametrize("name", ["neu-det", "severstal-sample"])
def test_real_images_take_the_quick_way(real_data: Any, name: str) -> None:
    paths = sorted((real_data(name) / "images").glob("*.jpg"))[:: 60 if name == "neu-det" else 1]
    assert len(paths) >= 25
    for path in paths:
        found = quick_jpeg(path.read_bytes())
        assert found is not None
        np.testing.assert_array_equal(found, usual(path.read_bytes()))


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


def test_a_plain_file_is_not_opened_by_pillow(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "plain.jpg"
    path.write_bytes(written(smooth(9, 9)))
    expected = read_pixels(path)

    def refuse(*_arguments: Any) -> None:
        raise AssertionError("the usual way")

    monkeypatch.setattr(decode, "open_image", refuse)
    np.testing.assert_array_equal(read_pixels(path), expected)


def outcome(content: bytes) -> Any:
    try:
        return read_pixels(content)
    except DataError as error:
        return str(error)


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_damaged_file_is_read_or_refused_as_pillow_does(
    progressive: bool, channels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenCV took files whose pixels hold what looks like an unknown marker; Pillow calls their stream broken."""
    rng = np.random.default_rng(0)
    pixels = smooth(60, 80)
    content = written(pixels if channels == 3 else pixels[..., 0], quality=85, progressive=progressive)
    scan = content.index(b"\xff\xda") + 20
    cases = [content[:scan] + b"\xff\x40" + content[scan:], content[:scan] + b"\xff\xd9"]
    for _ in range(40):
        place, length = int(rng.integers(20, len(content) - 40)), int(rng.integers(1, 30))
        cases += [
            content[:place] + bytes([rng.integers(256)]) + content[place + 1 :],
            content[:place] + content[place + length :],
            content[:place],
        ]
    found = [outcome(case) for case in cases]
    monkeypatch.setattr(decode, "quick_jpeg", lambda _content: None)
    refused = 0
    for case, one in zip(cases, found, strict=True):
        expected = outcome(case)
        refused += isinstance(expected, str)
        if isinstance(expected, str):
            assert one == expected
        else:
            np.testing.assert_array_equal(one, expected)
    assert refused > 40
    assert "broken data stream" in found[0]


def test_a_marker_among_the_pixels_or_a_segment_beyond_the_end_is_not_plain() -> None:
    content = written(smooth(20, 20), quality=85)
    start = content.index(b"\xff\xda")
    assert plain_channels(content) == 3
    assert plain_channels(content[: start + 20] + b"\xff\x40" + content[start + 20 :]) is None
    assert plain_channels(content[: start + 2] + b"\xff\xf0" + content[start + 4 :]) is None
