"""The pickled batches of CIFAR, read without trusting them: only arrays, text, numbers, lists and dicts are built.

A pickle is a program; the usual reader runs it. This one knows the few names that numpy writes, and that of Python 2
wrote into the published files, and refuses every other before it is looked up.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ringlight.errors import DataError


class _Refused(pickle.UnpicklingError):
    """The file asks for something that is not built."""


def _dtype(kind: Any, *_: object) -> np.dtype[Any]:
    """Return a type of plain numbers; the published files pass two further arguments that today's numpy frowns on."""
    made: np.dtype[Any] = np.dtype(kind)
    if made.hasobject or made.fields is not None:
        raise _Refused("an array of objects")
    copied: np.dtype[Any] = np.dtype(made, copy=True)
    return copied


def _encode(text: str, encoding: str) -> bytes:
    """Return the bytes that Python 3 writes as text in the old formats; other encodings are not asked for."""
    if encoding not in ("latin1", "latin-1"):
        raise _Refused(f"text encoded as {encoding}")
    return text.encode("latin-1")


# The two functions by which numpy says how an array is built again, the second in the latest format of pickles.
_RECONSTRUCT: Any = np.empty(0).__reduce__()[0]
_FROMBUFFER: Any = np.empty(0).__reduce_ex__(5)[0]
ALLOWED: Mapping[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy.core.numeric", "_frombuffer"): _FROMBUFFER,
    ("numpy._core.numeric", "_frombuffer"): _FROMBUFFER,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): _dtype,
    ("_codecs", "encode"): _encode,
}
"""What a file may name: module and name -> what stands for it."""

BROKEN = (EOFError, ValueError, TypeError, AttributeError, IndexError, KeyError, MemoryError, OverflowError)
"""What the reader raises of a file that is cut off or no pickle at all: it checks nothing itself."""


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise _Refused(f"`{module}.{name}`")
        return ALLOWED[module, name]


def read_pickle(path: Path) -> dict[bytes, Any]:
    """Read a pickled dict of arrays, text, numbers and lists; keys and text are bytes, as Python 2 wrote them.

    Raises:
        DataError: the file asks for anything else, of which nothing is executed, or is damaged or not there.
    """
    try:
        with path.open("rb") as stream:
            found = _ArraysOnly(stream, encoding="bytes").load()
    except OSError as error:
        raise _damaged(path, error.strerror or str(error)) from error
    except _Refused as error:
        raise DataError(
            "a pickle of arrays, text and numbers", got=f"one that asks for {error}", where=str(path),
            fix="nothing of it was executed; get the file from its publisher again, or use the binary version",
        ) from error  # fmt: skip
    except (pickle.UnpicklingError, *BROKEN) as error:
        raise _damaged(path, str(error) or type(error).__name__) from error
    if not isinstance(found, dict):
        raise _damaged(path, f"a {type(found).__name__}")
    return {key.encode() if isinstance(key, str) else key: value for key, value in found.items()}


def _damaged(path: Path, reason: str) -> DataError:
    line = reason.splitlines()[0] if reason else "nothing"
    return DataError("a pickled batch of CIFAR", got=line, where=str(path), fix="unpack the archive again")
