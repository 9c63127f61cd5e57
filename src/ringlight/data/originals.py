"""A picture or a window as it came, as the bytes of a file: nothing is decoded, scaled or compressed again."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from ringlight.errors import DataError

Original = bytes | Path | str | npt.NDArray[Any]
"""The bytes of a file, its path, an image (H, W) or (H, W, C) of uint8 or uint16, or a window (T, C) of floats."""

SIGNATURES = (
    (b"\x89PNG", ".png"), (b"\xff\xd8\xff", ".jpg"), (b"BM", ".bmp"), (b"II*\0", ".tif"), (b"MM\0*", ".tif"),
    (b"GIF8", ".gif"),
)  # fmt: skip
"""How files of pictures begin."""


def as_file(original: Original) -> tuple[bytes, str]:
    """Return the bytes of a file and its suffix: as it came, an array as PNG (integers) or as .npy (floats).

    Raises:
        DataError: the file cannot be read, the bytes are no picture, or an array that is neither.

    Examples:
        >>> as_file(np.zeros((2, 2), np.uint8))[1], as_file(np.zeros((64, 3), np.float32))[1]
        ('.png', '.npy')
    """
    if isinstance(original, np.ndarray):
        return _of_array(original)
    if isinstance(original, bytes):
        return original, suffix_of(original)
    path = Path(original)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(
            "a readable file", got=f"{type(error).__name__}: {error.strerror}", where=str(path), fix="check the path"
        ) from error
    return content, path.suffix.lower() or suffix_of(content)


def suffix_of(content: bytes) -> str:
    """Return the suffix of a picture's file by how it begins.

    Raises:
        DataError: no picture begins like that.
    """
    for start, suffix in SIGNATURES:
        if content.startswith(start):
            return suffix
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return ".webp"
    got = f"bytes that begin with {content[:4].hex(' ') or 'nothing'}"
    raise DataError("the bytes of a picture", got=got, where="original", fix="pass PNG, JPEG, BMP, TIFF, GIF or WebP")


def _of_array(array: npt.NDArray[Any]) -> tuple[bytes, str]:
    if array.dtype in (np.uint8, np.uint16) and (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3, 4))):
        order = {3: cv2.COLOR_RGB2BGR, 4: cv2.COLOR_RGBA2BGRA}.get(array.shape[2] if array.ndim == 3 else 1)
        done, encoded = cv2.imencode(".png", array if order is None else cv2.cvtColor(array, order))
        if done:
            return encoded.tobytes(), ".png"
    if array.dtype.kind == "f" and array.size:
        stream = io.BytesIO()
        np.save(stream, array, allow_pickle=False)
        return stream.getvalue(), ".npy"
    got = f"{array.dtype} of shape {array.shape}"
    raise DataError("an image of integers or a window of floats", got=got, where="original", fix="pass it as it came")
