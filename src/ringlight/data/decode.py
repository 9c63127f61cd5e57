"""From the many forms of a picture to upright 8-bit gray (H, W, 1) or RGB (H, W, 3).

* Palettes and CMYK become RGB; black-and-white becomes 0 and 255.
* Alpha is blended onto black: a part cut out of its background keeps a background that does not shine.
* 16-bit gray is scaled from its full range, value / 257, so that 0 stays 0 and 65535 becomes 255. The picture's own
  minimum and maximum are not used: the same part under the same lamp must give the same numbers.
* The orientation that a camera notes in EXIF is applied.
* Of several frames (TIFF, GIF) the first is read.
"""

from __future__ import annotations

import contextlib
import io
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from ringlight.data.jpeg import JFIF, quick_jpeg
from ringlight.errors import DataError

Picture = str | os.PathLike[str] | bytes | Image.Image | npt.NDArray[np.generic]

SIXTEEN_BIT = ("I;16", "I;16L", "I;16B", "I;16N", "I")
DAMAGE = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, OverflowError, struct.error)
"""What Pillow's decoders raise on damaged bytes, found by damaging files of every format the tests write."""
BOMBS = (Image.DecompressionBombError, Image.DecompressionBombWarning)


def read_pixels(source: Picture, *, where: str = "") -> npt.NDArray[np.uint8]:
    """Read a picture as it is: uint8 (H, W, 1) when it is gray, (H, W, 3) when it has colours.

    `where` names bytes in an error, such as the file they were read from.

    Raises:
        DataError: the file is missing, empty, truncated or no picture; the array has another shape, type or range.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source, "array")
    if isinstance(source, Image.Image):
        with _refusing_damage("image"):
            return _decode(source, "image")
    if isinstance(source, bytes | bytearray | memoryview):
        return _from_stream(io.BytesIO(source), where or "bytes")
    if not isinstance(source, str | os.PathLike):
        raise DataError(
            "a path, bytes, a PIL image or a NumPy array",
            got=type(source).__name__,
            where="image",
            fix="convert it first",
        )
    with open_file(source) as stream:
        return _from_stream(stream, str(source))


def open_file(path: str | os.PathLike[str]) -> IO[bytes]:
    """Open an image file.

    Raises:
        DataError: it is not there, or may not be read.
    """
    try:
        return Path(path).open("rb")
    except OSError as error:
        raise file_fault(path, error) from None


def file_fault(path: str | os.PathLike[str], error: OSError) -> DataError:
    """Return the one line for an image file that cannot be opened or read."""
    if isinstance(error, FileNotFoundError):
        return _unreadable("an image file", "no such file", str(path), "check the path")
    got = (error.strerror or type(error).__name__).lower()
    return _unreadable("a readable image file", got, str(path), "check the path")


@contextlib.contextmanager
def open_image(stream: IO[bytes], where: str) -> Iterator[Image.Image]:
    """Open a picture, nothing of it decoded yet; whatever is wrong with its bytes inside the block is one line.

    Raises:
        DataError: it is empty, damaged or no picture.
    """
    if not stream.read(1):
        raise _unreadable("an image", "zero bytes", where, "copy the file again, or remove it from the data")
    stream.seek(0)
    with _refusing_damage(where), Image.open(stream) as image:
        yield image


@contextlib.contextmanager
def _refusing_damage(where: str) -> Iterator[None]:
    remedy = "copy the file again, or remove it from the data"
    try:
        yield
    except UnidentifiedImageError:
        raise _unreadable("an image", "bytes that are not a picture of a known format", where, remedy) from None
    except BOMBS as error:
        raise _unreadable("an image of a reasonable size", _brief(error), where, "cut it into tiles first") from None
    except DAMAGE as error:
        raise _unreadable("a whole image", f"a damaged one ({_brief(error)})", where, remedy) from None


def _from_stream(stream: IO[bytes], where: str) -> npt.NDArray[np.uint8]:
    pixels = _quick(stream)
    if pixels is not None:
        return pixels
    stream.seek(0)
    with open_image(stream, where) as image:
        return _decode(image, where)


def _quick(stream: IO[bytes]) -> npt.NDArray[np.uint8] | None:
    """Decode a plain JPEG file the quick way, which gives the same pixels; None for anything else, and for a fault."""
    with contextlib.suppress(OSError):  # Pillow will meet it again, and it gets its line there
        start = stream.read(len(JFIF))
        if start == JFIF:
            return quick_jpeg(start + stream.read())
    return None


def _decode(image: Image.Image, where: str) -> npt.NDArray[np.uint8]:
    if image.getexif():
        image = ImageOps.exif_transpose(image)
    return _to_eight_bit(image, where)


def _to_eight_bit(image: Image.Image, where: str) -> npt.NDArray[np.uint8]:
    if image.mode in SIXTEEN_BIT or image.mode == "F":
        return _from_array(_deep(np.asarray(image), where), where)
    if image.has_transparency_data:
        return _blend(np.asarray(image.convert("RGBA")))
    if image.mode not in ("L", "RGB"):
        image = image.convert("L" if image.mode == "1" else "RGB")
    pixels = np.array(image)  # a copy: what Pillow lends is read-only
    return pixels if pixels.ndim == 3 else pixels[..., None]


def _deep(pixels: npt.NDArray[np.generic], where: str) -> npt.NDArray[np.generic]:
    """Return 16-bit gray of what Pillow holds in 32 bits; floats as they are."""
    if pixels.dtype.kind == "f":
        return pixels
    if pixels.size and (pixels.min() < 0 or pixels.max() > 65535):
        got = f"values from {pixels.min()} to {pixels.max()}"
        raise _unreadable("gray values from 0 to 65535", got, where, "convert the image to 8 or 16 bits")
    return pixels.astype(np.uint16)


def _from_array(array: npt.NDArray[np.generic], where: str) -> npt.NDArray[np.uint8]:
    shaped = array[..., None] if array.ndim == 2 else array
    if shaped.ndim != 3 or shaped.shape[2] not in (1, 3, 4) or 0 in shaped.shape:
        expected = "an array of shape (H, W) or (H, W, 1 | 3 | 4)"
        fix = "put the channels last and pass one image at a time"
        raise _unreadable(expected, f"shape {array.shape}", where, fix)
    pixels = _scale(shaped, where)
    return _blend(pixels) if pixels.shape[2] == 4 else np.ascontiguousarray(pixels)


def _scale(array: npt.NDArray[np.generic], where: str) -> npt.NDArray[np.uint8]:
    if array.dtype == np.uint8:
        return array.astype(np.uint8, copy=False)
    if array.dtype == np.uint16:
        return ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * np.uint8(255)
    if array.dtype.kind != "f":
        fix = "convert it to one of these types"
        raise _unreadable("an array of bool, uint8, uint16 or floats", f"{array.dtype}", where, fix)
    values = array.astype(np.float64)
    if not ((values >= 0) & (values <= 1)).all():  # also False for NaN
        got = "NaN" if np.isnan(values).any() else f"values from {values.min():g} to {values.max():g}"
        raise _unreadable("floats from 0 to 1", got, where, "scale the image, or pass uint8")
    return np.rint(values * 255).astype(np.uint8)


def _blend(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Blend RGBA onto black, rounding to nearest."""
    alpha = pixels[..., 3:].astype(np.uint16)
    return ((pixels[..., :3] * alpha + 127) // 255).astype(np.uint8)


def _unreadable(expected: str, got: str, where: str, fix: str) -> DataError:
    return DataError(expected, got=got, where=where, fix=fix)


def _brief(error: BaseException) -> str:
    return str(error).partition("\n")[0].rstrip(".") or type(error).__name__
