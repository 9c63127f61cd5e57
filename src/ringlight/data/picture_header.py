"""What a picture says of itself before anything of it is decoded: how large it is, in a format a camera writes.

Bytes from a network may be made to harm: a few hundred of them can claim, or unpack to, many gigabytes. Whoever serves
asks here first. Only formats are opened whose header Pillow reads without decoding, and without running a program of
another's (it hands PostScript to Ghostscript).
"""

from __future__ import annotations

import io

from PIL import Image, UnidentifiedImageError

from ringlight.data.decode import BOMBS, DAMAGE
from ringlight.errors import DataError

FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "PPM")
"""Pillow's names; PPM stands for PGM and PBM as well."""

REMEDY = "send a JPEG, PNG, BMP, TIFF, PGM or PPM file as it was written"


class ForeignPictureError(DataError):
    """The bytes are no picture of a format that is read here."""


class HugePictureError(DataError):
    """The picture says that it is larger than any that is decoded."""


def picture_size(content: bytes, *, where: str) -> tuple[int, int]:
    """Return (height, width) of a picture in pixels, as its header tells them.

    Raises:
        ForeignPictureError: no picture of a known format.
        HugePictureError: larger than Pillow opens at all.
        DataError: a header that is damaged.
    """
    if not content:
        raise DataError("an image", got="zero bytes", where=where, fix=REMEDY)
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            width, height = image.size
    except UnidentifiedImageError:
        got = "bytes that are not a picture of a known format"
        raise ForeignPictureError("an image", got=got, where=where, fix=REMEDY) from None
    except BOMBS as error:
        got = str(error).partition("(")[2].partition(")")[0] or "a larger one"
        raise HugePictureError("an image of a reasonable size", got=got, where=where, fix="cut it into tiles") from None
    except DAMAGE as error:
        got = f"a damaged one ({str(error).partition(chr(10))[0] or type(error).__name__})"
        raise DataError("a whole image", got=got, where=where, fix=REMEDY) from None
    if height < 1 or width < 1:
        raise DataError("a whole image", got=f"{width} x {height} pixels", where=where, fix=REMEDY)
    return height, width
