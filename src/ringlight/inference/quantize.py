"""INT8 by static quantisation: what a trained model is calibrated on, and what came of it.

Weights become 8-bit whole numbers with a scale for each output channel; what flows between layers becomes 8-bit with
one scale for each tensor, found on calibration records (Krishnamoorthi 2018, arXiv:1806.08342, sections 2 and 3). The
engines do the rest: ONNX Runtime (:mod:`ringlight.inference.quantize_onnx`) and, as an extra, NNCF for OpenVINO
(:mod:`ringlight.inference.quantize_openvino`).

**Calibration records are training records, and nothing else**: whatever a model is judged on may not have had a say
in it. 300 of them, the classes in turn, so that a rare defect's activations are within the scales as well. More
hardly move a minimum and a maximum; a class that is left out does.

Shapes: N records, B batch, C channels, H x W pixels, T time steps, K classes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ringlight.errors import DataError, ModelError
from ringlight.types import Dataset

CALIBRATION_RECORDS = 300
"""Training records that scales are found on."""
MAX_DRIFT = 0.15
"""Relative error of the logits beyond which a quantised model is not the model any more (see `score_error`)."""
NUM_JUDGED = 64
"""Calibration records on which the drift is measured while a model is being quantised."""

Inputs = npt.NDArray[Any]
"""What the graph takes: prepared images (B, C, H, W) or windows (B, C, T), float32; or what it prepares by itself."""


@dataclass(frozen=True, slots=True)
class LayerError:
    """How far a layer's output is off by its own quantisation alone, everything before it exact: 0.1 is 10 %."""

    name: str
    relative: float

    def __str__(self) -> str:
        return f"{self.name} ({100 * self.relative:.1f} %)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantized:
    """A quantised model: its file, by what it was made, and what was measured on the calibration records.

    `drift` is the relative error of its logits on some of them, `layers` the worst layers first; `kept_float` names
    those that stayed in single precision. `weight_bits` is 7 where products must not overflow on a processor without
    VNNI.
    """

    path: Path
    method: str
    num_calibration: int
    drift: float
    weight_bits: int
    kept_float: tuple[str, ...] = ()
    layers: tuple[LayerError, ...] = field(default=())

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, the path without its folder."""
        return asdict(self) | {
            "path": self.path.name,
            "kept_float": list(self.kept_float),
            "layers": [asdict(layer) for layer in self.layers],
        }


def calibration_rows(train: Dataset, *, size: int = CALIBRATION_RECORDS, seed: int = 0) -> list[int]:
    """Choose rows of the training part, the classes in turn, the rarest first; the same ones in any order of records.

    A record of several labels counts for the one in whose turn it is taken, one without a label for a class of its
    own. Classes that run out leave their turns to the others.

    Args:
        train: the training part, and nothing beside it.
        size: how many, 1 or more; all records where there are fewer.
        seed: of the choice.

    Raises:
        DataError: no records, or a size below 1.
    """
    if size < 1:
        raise DataError("1 record or more", got=str(size), where="calibration", fix=f"use {CALIBRATION_RECORDS}")
    if not len(train):
        raise DataError("training records", got="none", where="calibration", fix="name the data the run trained on")
    ids = train.ids
    order = sorted(range(len(ids)), key=lambda row: hashlib.sha256(f"{seed}:{ids[row]}".encode()).digest())
    matrix = train.label_matrix().astype(bool)
    columns = np.concatenate([matrix, ~matrix.any(axis=1, keepdims=True)], axis=1)[order]
    waiting = sorted((np.flatnonzero(column).tolist() for column in columns.T if column.any()), key=len)
    chosen: dict[int, None] = {}
    queues = [iter(places) for places in waiting]
    while queues and len(chosen) < min(size, len(ids)):
        queues = [queue for queue in queues if _took_one(queue, chosen, size)]
    return sorted(order[place] for place in chosen)


def _took_one(queue: Iterator[int], chosen: dict[int, None], size: int) -> bool:
    """Take the next place of a class that is not chosen yet; False where the class has run out."""
    if len(chosen) >= size:
        return True
    place = next((place for place in queue if place not in chosen), None)
    if place is None:
        return False
    chosen[place] = None
    return True


def refuse_leak(calibration: Dataset, judged: Dataset) -> None:
    """Refuse records that are in both parts, or files that are the same to the byte.

    Groups are the split's affair: one that is in both parts was trained on and is judged as well.

    Raises:
        DataError: there are some; the first is named.
    """
    for column, what in (("id", "record"), ("content", "file")):
        ours, theirs = (set(part.table.column(column).to_pylist()) - {None} for part in (calibration, judged))
        both = sorted(ours & theirs)
        if both:
            more = f" and {len(both) - 1} more" if len(both) > 1 else ""
            raise DataError(
                f"calibration and judged records without a common {what}", got=f"`{both[0]}`{more} in both",
                where="calibration", fix="calibrate on records of the training part alone",
            )  # fmt: skip


class Batches:
    """Calibration inputs that can be gone through several times, checked on the way.

    Args:
        given: arrays (B, ...) of one shape but for B; an iterator is read into memory, anything else is gone through
            anew each time.

    Raises:
        DataError: while it is gone through: no batch, another shape, numbers that are not finite.
    """

    def __init__(self, given: Iterable[Inputs]) -> None:
        self._given = list(given) if isinstance(given, Iterator) else given

    def __iter__(self) -> Iterator[Inputs]:
        shape: tuple[int, ...] | None = None
        for batch in self._given:
            array = np.ascontiguousarray(batch)
            if array.ndim < 2 or not len(array) or (shape is not None and array.shape[1:] != shape):
                wanted = "(B, ...)" if shape is None else f"(B, {', '.join(map(str, shape))})"
                raise _calibration(f"batches {wanted}", f"shape {array.shape}", "bring all records to one size")
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise _calibration("finite inputs", "NaN or infinity", "leave the broken record out")
            shape = array.shape[1:]
            yield array
        if shape is None:
            raise _calibration("at least one batch", "none", "pass prepared training records")

    def first(self, count: int) -> list[Inputs]:
        """Return batches of at most `count` records in all, spread over the whole."""
        sizes = [len(batch) for batch in self]
        step = max(1, sum(sizes) // count)
        kept: list[Inputs] = []
        seen = 0
        for batch in self:
            rows = [row for row in range(len(batch)) if (seen + row) % step == 0]
            seen += len(batch)
            if rows and sum(map(len, kept)) < count:
                kept.append(batch[rows])
        return kept

    def count(self) -> int:
        """Return how many records there are."""
        return sum(len(batch) for batch in self)


def check_model_file(model: Path, suffixes: tuple[str, ...]) -> Path:
    """Return the file of a float model.

    Raises:
        ModelError: it is not there, or of another kind.
    """
    path = Path(model)
    if path.suffix not in suffixes or not path.is_file():
        got = f"`{path.name}`" if path.is_file() else "nothing there"
        raise ModelError(
            f"an exported model ({' or '.join(suffixes)})", got=got, where=str(path),
            fix="export it first, without --int8",
        )  # fmt: skip
    return path


def _calibration(expected: str, got: str, fix: str) -> DataError:
    return DataError(expected, got=got, where="calibration", fix=fix)
