"""`.npy` and `.npz` bodies: read without unpickling anything, and without unpacking more than is allowed."""

from __future__ import annotations

import io
import math
import re
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

MAX_AXES, MAX_HEADER = 8, 1024
HEADER = re.compile(
    rb"\{\s*'descr':\s*'([^']{1,16})',\s*'fortran_order':\s*(True|False),\s*'shape':\s*\(([0-9, ]{0,160})\),?\s*\}\s*"
)
"""The header of an array of plain type, as NumPy writes it."""

UNPACKING = (
    zipfile.BadZipFile, zlib.error, EOFError, OSError, KeyError, ValueError, RuntimeError, NotImplementedError,
    OverflowError,
)  # fmt: skip
"""What `zipfile` raises on damaged, encrypted or oddly packed archives, found by damaging some."""


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
    dtype, is_fortran, shape, offset = _header(content, where)
    kinds = NUMBERS + ("U" if text else "")
    if dtype.hasobject or dtype.kind not in kinds:
        got = "Python objects, which could run code" if dtype.hasobject else f"type {dtype}"
        raise RequestError(422, "an array of numbers", got=got, where=where, fix="save it as float32")
    if len(shape) > MAX_AXES:
        raise RequestError(422, f"at most {MAX_AXES} axes", got=str(len(shape)), where=where, fix="send (N, T, C)")
    size = math.prod(shape) * dtype.itemsize
    if size != len(content) - offset:
        raise RequestError(
            400, f"{size} bytes for shape {shape}"[:80], got=f"{len(content) - offset}", where=where,
            fix="send the file whole",
        )  # fmt: skip
    return np.frombuffer(content, dtype, offset=offset).reshape(shape, order="F" if is_fortran else "C")


def _header(content: bytes, where: str) -> tuple[np.dtype[Any], bool, tuple[int, ...], int]:
    """Return type, order, shape and where the numbers begin.

    NumPy's own reader evaluates the header as Python: literals only, but a header that is made for it costs time, and
    faults of a dozen kinds come back. What NumPy writes has one form.
    """
    begin = 10 if content[6:7] == b"\x01" else 12
    size = int.from_bytes(content[8:begin], "little")
    found = HEADER.fullmatch(content[begin : begin + size]) if size <= MAX_HEADER else None
    if content[6:8] not in (b"\x01\0", b"\x02\0") or found is None:
        raise _damaged(ValueError("a header that NumPy does not write"), where)
    try:
        dtype = np.dtype(found[1].decode("ascii"))
    except (TypeError, ValueError, SyntaxError):
        raise _damaged(ValueError("a type that NumPy does not know"), where) from None
    sides = tuple(int(side) for side in found[3].replace(b" ", b"").split(b",") if side)
    return dtype, found[2] == b"True", sides, begin + size


def _damaged(error: Exception, where: str) -> RequestError:
    told = (str(error) or type(error).__name__).splitlines()[0][:120]
    return RequestError(
        400, "an .npy or .npz file that is whole", got=told, where=where, fix="send it as NumPy saved it"
    )
