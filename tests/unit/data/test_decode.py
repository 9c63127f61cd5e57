from __future__ import annotations

import contextlib
import io
import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ringlight.data.decode import read_pixels
from ringlight.errors import DataError

RNG = np.random.default_rng(0)
COLORS = RNG.integers(0, 256, (10, 14, 3), dtype=np.uint8)
GRAY = RNG.integers(0, 256, (10, 14), dtype=np.uint8)


def saved(path: Path, image: Image.Image, **options: Any) -> Path:
    image.save(path, **options)
    return path


def test_gray_file_keeps_one_channel_and_rgb_three(tmp_path: Path) -> None:
    gray = read_pixels(saved(tmp_path / "gray.png", Image.fromarray(GRAY)))
    colors = read_pixels(saved(tmp_path / "rgb.png", Image.fromarray(COLORS)))
    np.testing.assert_array_equal(gray, GRAY[..., None])
    np.testing.assert_array_equal(colors, COLORS)
    assert gray.flags.writeable
    assert colors.flags.writeable


def test_palette_file_becomes_its_colors(tmp_path: Path) -> None:
    palette = Image.fromarray(COLORS).quantize(16)
    path = saved(tmp_path / "palette.png", palette)
    np.testing.assert_array_equal(read_pixels(path), np.asarray(palette.convert("RGB")))


def test_black_and_white_file_becomes_0_and_255(tmp_path: Path) -> None:
    path = saved(tmp_path / "bits.png", Image.fromarray(GRAY > 127))
    np.testing.assert_array_equal(read_pixels(path), ((GRAY > 127) * 255)[..., None])


def test_cmyk_jpeg_is_not_inverted(tmp_path: Path) -> None:
    red = Image.new("RGB", (16, 16), (200, 30, 20)).convert("CMYK")
    pixels = read_pixels(saved(tmp_path / "press.jpg", red, quality=95))
    assert np.abs(pixels.astype(int) - [200, 30, 20]).max() <= 4


def test_alpha_is_blended_onto_black(tmp_path: Path) -> None:
    alpha = np.full(GRAY.shape, 51, np.uint8)  # one fifth
    alpha[0] = 255
    image = Image.fromarray(np.dstack([COLORS, alpha]))
    expected = np.rint(COLORS * (alpha[..., None] / 255.0))
    np.testing.assert_array_equal(read_pixels(saved(tmp_path / "cut.png", image)), expected)
    np.testing.assert_array_equal(read_pixels(np.dstack([COLORS, alpha])), expected)
    assert read_pixels(saved(tmp_path / "clear.png", Image.new("LA", (4, 3), (255, 0)))).max() == 0


def test_transparent_palette_color_is_black(tmp_path: Path) -> None:
    palette = Image.new("P", (4, 3), 1)
    palette.putpalette([0, 0, 0, 255, 255, 255])
    assert read_pixels(saved(tmp_path / "logo.gif", palette, transparency=1)).max() == 0


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bit_gray_uses_its_full_range(tmp_path: Path, suffix: str) -> None:
    """Scaled by its own minimum and maximum, a dark part would look like a bright one."""
    values = np.array([[0, 128, 129, 257], [32_768, 40_000, 65_406, 65_535]], np.uint16)
    expected = np.rint(values / 257)[..., None]
    path = saved(tmp_path / f"deep.{suffix}", Image.fromarray(values))
    np.testing.assert_array_equal(read_pixels(path), expected)
    np.testing.assert_array_equal(read_pixels(values), expected)
    np.testing.assert_array_equal(read_pixels(Image.fromarray(values.astype(np.int32))), expected)


def test_32_bit_values_beyond_16_bits_are_refused(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 70_000]], np.int32))
    with pytest.raises(DataError, match="expected gray values from 0 to 65535, got values from 0 to 70000"):
        read_pixels(saved(tmp_path / "deep.tif", image))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_turns_the_picture_upright(tmp_path: Path, orientation: int) -> None:
    """Transformations from the EXIF standard, each undone by hand."""
    undo: dict[int, Callable[[Any], Any]] = {
        1: lambda a: a,
        2: np.fliplr,
        3: lambda a: np.rot90(a, 2),
        4: np.flipud,
        5: lambda a: np.swapaxes(a, 0, 1),
        6: lambda a: np.rot90(a, -1),
        7: lambda a: np.swapaxes(np.rot90(a, 2), 0, 1),
        8: lambda a: np.rot90(a, 1),
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path / "phone.png", Image.fromarray(COLORS), exif=exif)
    np.testing.assert_array_equal(read_pixels(path), undo[orientation](COLORS))


def test_floats_bool_and_sub_views_of_arrays_are_read() -> None:
    np.testing.assert_array_equal(read_pixels(np.array([[0.0, 0.5, 1.0]]))[..., 0], [[0, 128, 255]])
    np.testing.assert_array_equal(read_pixels(np.array([[True, False]]))[..., 0], [[255, 0]])
    mirrored = read_pixels(COLORS[:, ::-1])
    assert mirrored.flags["C_CONTIGUOUS"]
    np.testing.assert_array_equal(mirrored, COLORS[:, ::-1])


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((3, 8, 8), np.uint8), "array of shape (H, W) or (H, W, 1 | 3 | 4), got shape (3, 8, 8); put the"),
        (np.zeros(5, np.uint8), "got shape (5,)"),
        (np.zeros((0, 4), np.uint8), "got shape (0, 4)"),
        (np.zeros((2, 4, 4, 3), np.uint8), "pass one image at a time"),
        (np.zeros((4, 4), np.int64), "expected an array of bool, uint8, uint16 or floats, got int64"),
        (np.array([[0.0, 255.0]]), "expected floats from 0 to 1, got values from 0 to 255; scale the image"),
        (np.array([[0.0, np.nan]], np.float32), "expected floats from 0 to 1, got NaN"),
    ],
)
def test_array_of_another_kind_is_refused(array: Any, message: str) -> None:
    with pytest.raises(DataError) as caught:
        read_pixels(array)
    assert message in str(caught.value)


def test_other_objects_are_refused() -> None:
    with pytest.raises(DataError, match="expected a path, bytes, a PIL image or a NumPy array, got list"):
        read_pixels([1, 2])  # type: ignore[arg-type]


def test_path_bytes_image_and_array_give_the_same_pixels(tmp_path: Path) -> None:
    path = saved(tmp_path / "Bild 5 größer.jpg", Image.fromarray(COLORS), quality=90)
    first = read_pixels(path)
    with Image.open(path) as image:
        np.testing.assert_array_equal(read_pixels(image), first)
    for other in (str(path), path.read_bytes(), first):
        np.testing.assert_array_equal(read_pixels(other), first)


def test_link_to_a_picture_is_followed(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", Image.fromarray(COLORS))
    (tmp_path / "link.png").symlink_to(path)
    np.testing.assert_array_equal(read_pixels(tmp_path / "link.png"), COLORS)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected an image, got zero bytes; copy the file again, or remove it from the data"),
        (b"%PDF-1.7", "expected an image, got bytes that are not a picture of a known format; copy the file again"),
    ],
)
def test_empty_file_and_other_files_are_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "part 7.jpg"
    path.write_bytes(content)
    for source, where in ((path, str(path)), (content, "bytes")):
        with pytest.raises(DataError) as caught:
            read_pixels(source)
        assert str(caught.value).startswith(f"{where}: {message}")


def test_missing_file_and_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.png: expected an image file, got no such file; check the path"):
        read_pixels(tmp_path / "gone.png")
    with pytest.raises(DataError, match="expected a readable image file, got is a directory"):
        read_pixels(tmp_path)
    (tmp_path / "part.png").write_bytes(b"")
    with pytest.raises(DataError, match="expected a readable image file, got not a directory"):
        read_pixels(tmp_path / "part.png" / "inside.png")


def test_bytes_are_named_as_they_are_called() -> None:
    with pytest.raises(DataError, match=r"^strip 7: expected an image, got zero bytes"):
        read_pixels(b"", where="strip 7")


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif", "a.bmp", "a.webp", "a.gif"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_truncated_file_is_one_line_naming_it(tmp_path: Path, name: str, share: float) -> None:
    """OpenCV fills the missing rows of a cut JPEG with gray and says nothing: the model would train on it."""
    whole = np.random.default_rng(1).integers(0, 256, (96, 96, 3), dtype=np.uint8)
    path = saved(tmp_path / name, Image.fromarray(whole))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(DataError) as caught:
        read_pixels(path)
    line = str(caught.value)
    assert line.startswith(f"{path}: expected a")
    assert "\n" not in line


def test_truncated_image_that_pillow_has_not_read_yet_is_refused() -> None:
    stream = io.BytesIO()
    Image.fromarray(COLORS).save(stream, "PNG")
    with pytest.raises(DataError, match="image: expected a whole image, got a damaged one"):
        read_pixels(Image.open(io.BytesIO(stream.getvalue()[:-60])))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "BMP", "WEBP", "GIF", "PPM"])
def test_damaged_bytes_raise_nothing_but_a_data_error(kind: str) -> None:
    """Forty flips of bytes each; a decoder may swallow them, but may not let its own exception through."""
    stream = io.BytesIO()
    Image.fromarray(COLORS).save(stream, kind)
    rng = np.random.default_rng(7)
    for _ in range(40):
        content = np.frombuffer(stream.getvalue(), np.uint8).copy()
        spots = rng.integers(0, len(content), 4)
        content[spots] = rng.integers(0, 256, 4)
        with warnings.catch_warnings(), contextlib.suppress(DataError):
            warnings.simplefilter("ignore")
            assert read_pixels(content.tobytes()).dtype == np.uint8


def test_decompression_bomb_is_refused_before_it_is_unpacked() -> None:
    """A file of 100 bytes may claim to be 100,000 x 100,000 pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0))
    content = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b""))
    with pytest.raises(DataError, match=r"expected an image of a reasonable size, got Image size \(10000000000 pixels"):
        read_pixels(content)
