"""What a watch keeps across restarts, and the last records it tells of.

The state is one JSON file, written whole, named after the model and a digest of its reference: another version, another
reference or other settings have another file, so that a new model version begins a new watch and an old one, activated
again, goes on with its own.

Shapes: B records of a batch, W records of the window, Q quantities.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ringlight.errors import DataError
from ringlight.files import unwritable, write_text
from ringlight.runtime import LOGGER

FORMAT_VERSION = 1


class Recent:
    """The values of the last W records, for each of Q quantities; NaN where a record had none."""

    def __init__(self, size: int, number: int) -> None:
        self._ring = np.full((size, number), np.nan)
        self._next = 0

    def add(self, values: npt.NDArray[np.float64]) -> None:
        """Take the values (B, Q) of B records."""
        size = len(self._ring)
        kept = values[-size:]
        self._ring[(self._next + np.arange(len(kept))) % size] = kept
        self._next = (self._next + len(kept)) % size

    def values(self, column: int) -> npt.NDArray[np.float64]:
        """Return the values of one quantity, those that are there, in no order."""
        found = self._ring[:, column]
        return np.asarray(found[~np.isnan(found)])

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; the numbers as base64 of little-endian double precision."""
        return {"next": self._next, "float64": base64.b64encode(self._ring.astype("<f8").tobytes()).decode("ascii")}

    def restore(self, values: Mapping[str, Any]) -> None:
        """Go on from what :meth:`to_dict` returned.

        Raises:
            DataError: another number of records or quantities.
        """
        flat = np.frombuffer(base64.b64decode(values["float64"], validate=True), "<f8")
        place = int(values["next"])
        if flat.size != self._ring.size or not 0 <= place < len(self._ring):
            got, fix = f"{flat.size} and {place}", "begin a new watch"
            raise DataError(f"{self._ring.size} values and a place", got=got, where="recent records", fix=fix)
        self._ring, self._next = flat.reshape(self._ring.shape).copy(), place


def state_path(folder: Path, model: str, identity: Mapping[str, Any]) -> Path:
    """Return where the state of a model's watch is kept; `identity` is what must be the same to go on with it."""
    told = json.dumps(identity, sort_keys=True).encode()
    name = re.sub(r"[^\w.@-]+", "-", model).strip("-.") or "model"
    return folder / f"watch-{name[-80:]}-{hashlib.sha256(told).hexdigest()[:12]}.json"


def write_state(path: Path, values: Mapping[str, Any]) -> None:
    """Write a state whole.

    Raises:
        WorkspaceError: it cannot be written, or the disk is full.
    """
    write_text(path, json.dumps({"format_version": FORMAT_VERSION, **values}, allow_nan=False) + "\n")


def restore_state(path: Path, restore: Callable[[Mapping[str, Any]], None]) -> None:
    """Give `restore` the state that was kept, if there is one.

    A damaged one is put aside with a line that says so: an inspection begins its watch anew rather than not at all.

    Raises:
        WorkspaceError: the file is there and cannot be read or put aside.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return
    except (OSError, UnicodeDecodeError) as error:
        _put_aside(path, str(error))
        return
    try:
        values = json.loads(text)
        if values["format_version"] != FORMAT_VERSION:
            raise ValueError(f"format {values['format_version']}, this Ringlight writes {FORMAT_VERSION}")
        restore(values)
    except (KeyError, TypeError, ValueError, AttributeError, DataError) as error:
        _put_aside(path, " ".join(f"{type(error).__name__}: {error}".split()))


def _put_aside(path: Path, reason: str) -> None:
    aside = path.with_suffix(".damaged")
    try:
        path.replace(aside)
    except OSError as error:
        raise unwritable(path, error) from error
    LOGGER.warning("%s cannot be gone on with (%s): put aside as %s, a new watch begins", path, reason, aside.name)
