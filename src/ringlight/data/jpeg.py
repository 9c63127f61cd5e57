"""JPEG files decoded in many threads at once: OpenCV instead of Pillow where both give the same pixels, bit for bit.

Both carry libjpeg-turbo, but Pillow holds Python's lock while it packs the pixels, so that two threads of it are hardly
quicker than one. :mod:`ringlight.data.decode` asks here first: a file goes this way only when it is plain (JFIF, 8
bits, gray or YCbCr in a usual sampling, whole, nothing in it that turns or blends), and only in a process in which both
libraries have agreed on an image of every such kind. Pillow reads all others, and says what is wrong with them.
"""

from __future__ import annotations

import functools
import io
import re

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

Pixels = npt.NDArray[np.uint8]

JFIF = b"\xff\xd8\xff\xe0"
"""How a plain JPEG file begins."""
BASELINE, PROGRESSIVE, SCAN = 0xC0, 0xC2, 0xDA
TABLES = (0xC4, 0xDB, 0xDD, 0xFE, 0xE0)
"""Huffman and quantisation tables, restart interval, comment, JFIF: segments that change nothing of the kind."""
MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
"""What ends the pixels of a scan: in them 0xff is followed by 0 or is a restart."""
SAMPLINGS = ((0x11, 0x11, 0x11), (0x21, 0x11, 0x11), (0x22, 0x11, 0x11))
"""4:4:4, 4:2:2 and 4:2:0."""


def quick_jpeg(content: bytes) -> Pixels | None:
    """Return a plain JPEG file as uint8 (H, W, 1 | 3), RGB; None for any other: it goes the usual way.

    Examples:
        >>> quick_jpeg(b"no image") is None
        True
    """
    channels = plain_channels(content)
    if channels is None or not libraries_agree():
        return None
    return _decode(content, channels)


def _decode(content: bytes, channels: int) -> Pixels | None:
    kind = cv2.IMREAD_GRAYSCALE if channels == 1 else cv2.IMREAD_COLOR
    found = cv2.imdecode(np.frombuffer(content, np.uint8), kind | cv2.IMREAD_IGNORE_ORIENTATION)
    if found is None:
        return None
    pixels = np.asarray(found, np.uint8)
    return pixels[..., None] if channels == 1 else np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), np.uint8)


def plain_channels(content: bytes) -> int | None:
    """Return 1 or 3 for a plain JPEG file, judged by its markers from the first to the last; None for any other."""
    if not (content.startswith(JFIF) and content[6:11] == b"JFIF\0" and content.endswith(b"\xff\xd9")):
        return None
    place, channels, last = 2, None, len(content) - 2
    while place < last and content[place] == 0xFF:
        marker, length = content[place + 1], int.from_bytes(content[place + 2 : place + 4], "big")
        body = content[place + 4 : place + 2 + length]
        place += 2 + length
        if marker == SCAN:
            # Damage among the pixels that looks like a marker: Pillow refuses the file, OpenCV does not mind.
            found = MARKER.search(content, place)
            place = len(content) if found is None else found.start()
        elif marker in (BASELINE, PROGRESSIVE):
            channels = _frame_channels(body)
            if channels is None:
                return None
        elif marker not in TABLES and not (0xE1 <= marker <= 0xEF and body.startswith(b"ICC_PROFILE")):
            return None  # EXIF may turn it, Adobe may mean other colours, MPF holds several; lossless, 12 bits
    return channels if place == last else None


def _frame_channels(body: bytes) -> int | None:
    """Read a frame header: precision, height, width, then (id, sampling, table) for every component."""
    if len(body) < 6 or body[0] != 8 or len(body) != 6 + 3 * body[5]:
        return None
    height, width = int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big")
    if not 0 < height * width <= (Image.MAX_IMAGE_PIXELS or 0):
        return None  # Pillow refuses what is too large to be meant
    sampling = tuple(body[7::3])
    if len(sampling) == 1:
        return 1
    return 3 if sampling in SAMPLINGS else None


@functools.cache
def libraries_agree() -> bool:
    """Whether both libraries decode a small image of each kind alike; asked once a process, in milliseconds.

    Where they differ, by another rounding or another way to enlarge the colours, they do so all over a noisy image.
    """
    noise = np.random.default_rng(0).integers(0, 256, (37, 53, 3), dtype=np.uint8)
    for channels in (1, 3):
        image = Image.fromarray(noise[..., 0] if channels == 1 else noise)
        for subsampling in range(len(SAMPLINGS)):
            for progressive in (False, True):
                stream = io.BytesIO()
                image.save(stream, "JPEG", quality=90, subsampling=subsampling, progressive=progressive)
                expected = np.array(Image.open(stream)).reshape(37, 53, channels)
                found = _decode(stream.getvalue(), channels)
                if found is None or not np.array_equal(found, expected):
                    return False
    return True
