"""`.npy` and `.npz` bodies: read without unpickling anything, and without unpacking more than is allowed."""

from __future__ import annotations

import io
import math
import zipfile
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt

from ringlight.web.serving.problems import RequestError

NPY, ZIP = b"\x93NUMPY", b"PK\x03\x04"
NUMBERS = "fiub"
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""How NumPy packs; the others may ask for gigabytes of dictionary."""

MAX_AXES = 8
DAMAGE = (ValueError, EOFError, OSError, KeyError, SyntaxError, TypeError, RecursionError, OverflowError, MemoryError)
UNPACKING = (*DAMAGE, zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError, UnicodeDecodeError)


def is_array(content: bytes) -> bool:
    """Return whether bytes begin as `.npy` or `.npz` do."""
    return content.startswith((NPY, ZIP))


def read_arrays(content: bytes, *, where: str, limit: int) -> dict[str, npt.NDArray[Any]]:
    """Read the arrays of an `.npz` body by name; the one of an `.npy` body is called `X`.

    Args:
        content: the body.
        where: what it is called in messages.
        limit: bytes of all arrays together, unpacked.

    Raises:
        RequestError: 400, damaged; 413, larger than allowed; 422, no numbers.
    """
    if content.startswith(NPY):
        return {"X": _read(content, where)}
    found: dict[str, npt.NDArray[Any]] = {}
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = [one for one in archive.infolist() if one.filename.endswith(".npy")]
            total = sum(one.file_size for one in members)
            if total > limit:
                raise RequestError(413, f"at most {limit} bytes unpacked", got=str(total), where=where, fix="send less")
            for one in members:
                if one.compress_type not in METHODS:
                    raise ValueError(f"`{one.filename}` is packed in a way NumPy does not")
                name = one.filename.removesuffix(".npy")
                found[name] = _read(archive.read(one), f"{where}: `{name}`", text=name == "channels")
    except UNPACKING as error:
        if isinstance(error, RequestError):
            raise
        raise _damaged(error, where) from error
    if not found:
        raise RequestError(
            422, "at least one array", got="none", where=where, fix="save the windows as X with numpy.savez"
        )
    return found


def _read(content: bytes, where: str, *, text: bool = False) -> npt.NDArray[Any]:
    stream = io.BytesIO(content)
    try:
        version = np.lib.format.read_magic(stream)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"an array of the unknown version {version}")
        reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = reader(stream)
    except DAMAGE as error:
        raise _damaged(error, where) from error
    kinds = NUMBERS + ("U" if text else "")
    if dtype.hasobject or dtype.kind not in kinds:
        got = "Python objects, which could run code" if dtype.hasobject else f"type {dtype}"
        raise RequestError(422, "an array of numbers", got=got, where=where, fix="save it as float32")
    if len(shape) > MAX_AXES or any(side < 0 for side in shape):
        raise RequestError(
            422, "an array of a usual shape", got=str(shape)[:80], where=where, fix="pass windows (N, T, C)"
        )
    offset, size = stream.tell(), math.prod(shape) * dtype.itemsize
    if size != len(content) - offset:
        raise RequestError(
            400, f"{size} bytes for shape {shape}"[:80], got=f"{len(content) - offset}", where=where,
            fix="send the file whole",
        )  # fmt: skip
    array = np.frombuffer(content, dtype, offset=offset)
    return array.reshape(shape, order="F" if fortran else "C")


def _damaged(error: Exception, where: str) -> RequestError:
    told = (str(error) or type(error).__name__).splitlines()[0][:120]
    return RequestError(
        400, "an .npy or .npz file that is whole", got=told, where=where, fix="send it as NumPy saved it"
    )
