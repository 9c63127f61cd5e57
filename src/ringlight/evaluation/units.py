"""What a score's uncertainty is counted in: groups where the records have them, else records.

The six pictures of one part are one piece of evidence. Resampling records would count them six times; everything here
therefore speaks of *units*: a group with all its records, or a record that belongs to no group.

Shapes: N records, U units, C resamples in a chunk.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from ringlight.errors import DataError

IntArray = npt.NDArray[np.int64]

_CHUNK_CELLS = 640_000
"""Cells of a chunk of weights (U, C): a few megabytes, so that the passes over it stay in the processor's cache."""


@dataclass(frozen=True, slots=True)
class Units:
    """The unit of each record (N,), their number, and whether they are groups or single records."""

    codes: IntArray
    num_units: int
    kind: Literal["record", "group"]

    @property
    def single(self) -> bool:
        """Whether every unit is one record."""
        return self.num_units == len(self.codes)


def find_units(groups: Sequence[Hashable] | npt.NDArray[np.generic] | None, num_records: int) -> Units:
    """Number the groups in order of appearance; a record without one (None, NaN) is a unit of its own.

    Raises:
        DataError: there is not one entry per record.

    Examples:
        >>> units = find_units(["coil 1", None, "coil 1", None], 4)
        >>> units.codes.tolist(), units.num_units, units.kind
        ([0, 1, 0, 2], 3, 'group')
    """
    if groups is None:
        return Units(np.arange(num_records), num_records, "record")
    entries = groups.tolist() if isinstance(groups, np.ndarray) else list(groups)
    if len(entries) != num_records:
        raise DataError(
            f"a group (or None) for each of {num_records} records",
            got=str(len(entries)),
            where="groups",
            fix="pass the groups of the same records, in the same order",
        )
    numbers: dict[Hashable, int] = {}
    codes = np.empty(num_records, np.int64)
    lonely = 0
    for row, entry in enumerate(entries):
        if entry is None or entry != entry:  # NaN is what a table's missing group becomes
            codes[row] = len(numbers) + lonely
            lonely += 1
        else:
            known = numbers.get(entry)
            if known is None:
                known = numbers[entry] = len(numbers) + lonely
            codes[row] = known
    return Units(codes, len(numbers) + lonely, "group" if numbers else "record")


def unit_sums(values: npt.NDArray[np.generic], units: Units) -> npt.NDArray[np.float64]:
    """Add up the records' values (N,) within each unit: (U,)."""
    return np.bincount(units.codes, values.astype(np.float64), minlength=units.num_units).astype(np.float64)


def resamples(num_units: int, num_resamples: int, seed: int) -> Iterator[npt.NDArray[np.float64]]:
    """Yield how often each unit is drawn, (U, C) at a time, `num_resamples` columns in all.

    A column is a multinomial count: `num_units` draws with replacement, every unit equally likely (Efron 1979). The
    same seed gives the same draws on every machine.
    """
    generator = np.random.default_rng(seed)
    width = max(1, min(num_resamples, _CHUNK_CELLS // num_units))
    for start in range(0, num_resamples, width):
        columns = min(width, num_resamples - start)
        drawn = generator.integers(0, num_units, (columns, num_units))
        drawn += num_units * np.arange(columns)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=num_units * columns).reshape(columns, num_units)
        yield np.ascontiguousarray(counts.T, np.float64)
