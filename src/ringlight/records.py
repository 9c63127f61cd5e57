"""Records, the columnar table that holds them, and how it is divided.

Shapes: N records, K classes, T time steps, C channels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self, TypedDict

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ringlight.errors import DataError

Task = Literal["multiclass", "multilabel"]

BOX = pa.struct(
    [
        ("label", pa.int32()),
        ("x_min", pa.float32()),
        ("y_min", pa.float32()),
        ("x_max", pa.float32()),
        ("y_max", pa.float32()),
    ]
)
"""A box in pixels of the upright image: label index, half-open corners."""

SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("uri", pa.string()),
        pa.field("labels", pa.list_(pa.int32()), nullable=False),
        pa.field("boxes", pa.list_(BOX)),
        pa.field("group", pa.string()),
        pa.field("time", pa.float64()),
        pa.field("split", pa.string()),
        pa.field("content", pa.string()),
    ]
)
"""One row a record. `uri` is null in a label-only table; `time` is seconds or any ordered number; `split` is
what the source prescribes (train, val, test); `content` is the digest of the file's bytes once it was hashed."""


class Box(TypedDict):
    """One labelled box, in pixels, half-open."""

    label: int
    x_min: float
    y_min: float
    x_max: float
    y_max: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One image (or window): a row of a :class:`Dataset`.

    `labels` holds class indices: exactly one in a multi-class data set, any number (also none: a clean part) in a
    multi-label one.
    """

    id: str
    uri: str | None = None
    labels: tuple[int, ...] = ()
    boxes: tuple[Box, ...] = ()
    group: str | None = None
    time: float | None = None
    split: str | None = None
    content: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Signals:
    """What the windows of a data set are: `length` (T) samples of the named `channels` (C).

    `sampling_rate` is in hertz, None where nobody knows it.
    """

    channels: tuple[str, ...]
    length: int
    sampling_rate: float | None = None


@dataclass(frozen=True, slots=True)
class Dataset:
    """Records with their classes and task, columnar (`table` follows :data:`SCHEMA`).

    The records are images, or windows of a signal where `signals` says what these consist of.

    Examples:
        >>> data = Dataset.from_records([Record(id="a", labels=(0, 2)), Record(id="b")], ["x", "y", "z"], "multilabel")
        >>> data.label_matrix().tolist()
        [[1, 0, 1], [0, 0, 0]]
    """

    table: pa.Table
    classes: tuple[str, ...]
    task: Task
    name: str = "dataset"
    notes: tuple[str, ...] = ()
    """What the source left out or mended, one line each, for the data card."""
    signals: Signals | None = None

    @classmethod
    def from_records(
        cls,
        records: Sequence[Record],
        classes: Sequence[str],
        task: Task,
        *,
        name: str = "dataset",
        notes: Sequence[str] = (),
        signals: Signals | None = None,
    ) -> Self:
        """Build a data set, checking ids and labels.

        Raises:
            DataError: no record, an id that stands twice, a label outside the classes, or not exactly one label in a
                multi-class record.
        """
        columns = {column: [getattr(record, column) for record in records] for column in SCHEMA.names}
        columns["labels"] = [sorted(set(labels)) for labels in columns["labels"]]
        table = pa.Table.from_pydict(columns, schema=SCHEMA)
        dataset = cls(table, tuple(classes), task, name, tuple(notes), signals)
        dataset._check()
        return dataset

    def _check(self) -> None:
        if not len(self):
            raise DataError("at least one record", got="none", where=self.name, fix="check the path and the label file")
        ids = self.ids
        if len(set(ids)) != len(ids):
            seen: set[str] = set()
            twice = next(key for key in ids if key in seen or seen.add(key))  # type: ignore[func-returns-value]
            raise DataError(
                "every id once", got=f"`{twice}` twice", where=self.name, fix="remove or rename one of the two records"
            )
        offsets, flat = self._ragged_labels()
        if flat.size and (flat.min() < 0 or flat.max() >= len(self.classes)):
            row = int(np.searchsorted(offsets, int(np.argmax((flat < 0) | (flat >= len(self.classes)))), "right")) - 1
            raise DataError(
                f"labels from 0 to {len(self.classes) - 1}",
                got=str(self[row].labels),
                where=f"{self.name}: record `{ids[row]}`",
                fix="correct the label or add the class",
            )
        counts = np.diff(offsets)
        if self.task == "multiclass" and not (counts == 1).all():
            row = int(np.argmax(counts != 1))
            raise DataError(
                "exactly one label per record in a multi-class data set",
                got=f"{counts[row]}",
                where=f"{self.name}: record `{ids[row]}`",
                fix="label it, leave it out, or use data.task=multilabel",
            )

    def _ragged_labels(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        column = self.table.column("labels").combine_chunks()
        counts = column.value_lengths().to_numpy(zero_copy_only=False)
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        return offsets, column.flatten().to_numpy(zero_copy_only=False).astype(np.int64)

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __getitem__(self, index: int) -> Record:
        row = self.table.slice(int(index), 1).to_pylist()[0]
        row["labels"] = tuple(row["labels"])
        row["boxes"] = tuple(row["boxes"] or ())
        return Record(**row)

    def __iter__(self) -> Iterator[Record]:
        for batch in self.table.to_batches(max_chunksize=1024):
            for row in batch.to_pylist():
                row["labels"] = tuple(row["labels"])
                row["boxes"] = tuple(row["boxes"] or ())
                yield Record(**row)

    @property
    def ids(self) -> list[str]:
        """The record ids, in order."""
        return list(self.table.column("id").to_pylist())

    @property
    def uris(self) -> list[str | None]:
        """Where each record's file lies; None in a label-only table."""
        return list(self.table.column("uri").to_pylist())

    @property
    def groups(self) -> list[str] | None:
        """The group of every record, a record without one standing alone; None when no record has a group."""
        groups = self.table.column("group").to_pylist()
        if all(group is None for group in groups):
            return None
        return [f"record:{key}" if group is None else group for key, group in zip(self.ids, groups, strict=True)]

    @property
    def has_content(self) -> bool:
        """Whether every record has a file."""
        return bool(self.table.column("uri").null_count == 0)

    def label_matrix(self) -> npt.NDArray[np.uint8]:
        """Return the labels as a binary matrix (N, K)."""
        offsets, flat = self._ragged_labels()
        matrix = np.zeros((len(self), len(self.classes)), np.uint8)
        matrix[np.repeat(np.arange(len(self)), np.diff(offsets)), flat] = 1
        return matrix

    def targets(self) -> npt.NDArray[np.int64] | npt.NDArray[np.uint8]:
        """Return what a model is trained on: (N,) class indices, or the (N, K) binary matrix when multi-label."""
        return self._ragged_labels()[1] if self.task == "multiclass" else self.label_matrix()

    def class_counts(self) -> dict[str, int]:
        """Return the number of records that carry each class."""
        return dict(zip(self.classes, self.label_matrix().sum(0, dtype=np.int64).tolist(), strict=True))

    def take(self, indices: npt.ArrayLike) -> Self:
        """Return the records at `indices`, in that order."""
        return replace(self, table=self.table.take(pa.array(np.asarray(indices, np.int64))))

    def with_column(self, name: str, values: Sequence[Any]) -> Self:
        """Return the same records with one column of :data:`SCHEMA` replaced."""
        index = SCHEMA.get_field_index(name)
        column = pa.array(values, SCHEMA.field(index).type)
        return replace(self, table=self.table.set_column(index, SCHEMA.field(index), column))

    @property
    def fingerprint(self) -> str:
        """Hash of task, classes and every record's id, content digest, labels, boxes and group; not of where files lie.

        Records without a content digest count by id and labels alone; neither the order of the records nor that of a
        record's boxes matters. For windows the channels' names, their length and the sampling rate count, too.
        """
        kind = (self.task, self.classes) if self.signals is None else (self.task, self.classes, self.signals)
        digest = hashlib.sha256(repr(kind).encode())
        columns = ["id", "content", "labels", "boxes", "group"]
        order = np.argsort(np.asarray(self.ids, dtype=object), kind="stable")
        for batch in self.table.select(columns).take(pa.array(order)).to_batches(max_chunksize=4096):
            for row in batch.to_pylist():
                row["boxes"] = row["boxes"] and sorted(row["boxes"], key=lambda box: tuple(box.values()))
                digest.update(repr(tuple(row.values())).encode())
        return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Split:
    """Row indices of the three parts; disjoint. `val` or `test` may be empty (two-part strategies)."""

    train: npt.NDArray[np.int64]
    val: npt.NDArray[np.int64]
    test: npt.NDArray[np.int64]
    strategy: str = ""
    warnings: tuple[str, ...] = ()
    left_out: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    """Rows in no part: too close in time to the next part, or apart from their group."""
    groups: str = ""
    """Where the groups that were kept whole came from, in words."""
    leaks: tuple[str, ...] = ()
    """What stands on two sides, one line each; empty unless `split.allow_leak` let it pass."""
    leak_check: str = ""
    """What was looked for and what came of it, in words."""

    @property
    def leaky(self) -> bool:
        """Whether something stands on two sides: the scores are then better than the model."""
        return bool(self.leaks)

    def parts(self) -> dict[str, npt.NDArray[np.int64]]:
        """Return the parts by name."""
        return {"train": self.train, "val": self.val, "test": self.test}
