"""The data set of prepared windows: a row a window, by columns, so that a million windows are no million objects."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ringlight.data.window_labels import WindowLabels
from ringlight.data.window_store import ARRAY, Facts
from ringlight.errors import DataError
from ringlight.types import SCHEMA, Dataset, Signals


def window_dataset(
    folder: Path,
    facts: Facts,
    labels: WindowLabels | None,
    *,
    name: str,
    ids: Sequence[str] | None = None,
    groups: Sequence[str] | None = None,
    times: Sequence[float] | None = None,
    parts: Sequence[str | None] | None = None,
    notes: Sequence[str] = (),
) -> Dataset:
    """Return the windows of a store as records, in its order.

    Args:
        folder: the store.
        facts: what it holds.
        labels: of its windows; without them the data set has no classes.
        name: of the data set.
        ids: row numbers of one width when None.
        groups: what no split may divide.
        times: seconds, or any ordered number.
        parts: train, val or test.
        notes: for the data card.

    Raises:
        DataError: an id stands twice.
    """
    count = facts.num_windows
    rows = pa.array(np.arange(count)).cast(pa.string())
    names = pc.utf8_lpad(rows, len(str(max(count - 1, 0))), "0") if ids is None else pa.array(ids, pa.string())
    if pc.count_distinct(names).as_py() < count:
        twice = pc.value_counts(names).filter(pc.greater(pc.value_counts(names).field("counts"), 1))[0]
        raise DataError(
            "every id once", got=f"`{twice['values']}` {twice['counts']} times", where=name, fix="rename the recordings"
        )
    bounds = np.zeros(count + 1, np.int32)
    if labels is not None:
        bounds[:] = np.searchsorted(labels.rows, np.arange(count + 1))
    flat = pa.array(np.empty(0, np.int32) if labels is None else labels.labels.astype(np.int32))
    columns = {
        "id": names,
        "uri": pc.binary_join_element_wise(f"{folder / ARRAY}", rows, "#"),
        "labels": pa.ListArray.from_arrays(pa.array(bounds), flat),
        "group": groups,
        "time": times,
        "split": parts,
    }
    arrays = [_column(columns.get(field.name), field.type, count) for field in SCHEMA]
    signals = Signals(channels=facts.channels, length=facts.length, sampling_rate=facts.sampling_rate)
    classes, task = ((), "multilabel") if labels is None else (labels.classes, labels.task)
    return Dataset(pa.Table.from_arrays(arrays, schema=SCHEMA), classes, task, name, tuple(notes), signals)


def _column(values: object, kind: pa.DataType, count: int) -> pa.Array:
    if values is None:
        return pa.nulls(count, kind)
    return values.cast(kind) if isinstance(values, pa.Array) else pa.array(values, kind)
