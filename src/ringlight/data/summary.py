"""A data set in numbers: classes, label combinations, groups, image sizes, boxes, channels of windows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow.compute as pc

from ringlight.data.content import Header, parallel, read_header
from ringlight.data.window_survey import survey
from ringlight.errors import DataError
from ringlight.types import Dataset, Signals, Task

LISTED = 12
"""How many label combinations or image sizes the table shows; the JSON has them all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """What a data set holds. Counts are numbers of records unless they say otherwise.

    `label_combinations` counts the sets of labels that stand together, `a + b`, and `(none)`; `image_sizes` counts
    `HxW` of the upright images and `image_modes` Pillow's modes, both read from the headers; `boxes` counts boxes by
    class. `windows` is None for images; else it holds `length` (samples), `sampling_rate` (hertz, or None), and
    `channels`: mean, std, low and high of each channel's finite samples.
    """

    name: str
    task: Task
    records: int
    unlabelled: int
    classes: dict[str, int]
    label_combinations: dict[str, int]
    groups: int | None
    splits: dict[str, int]
    image_sizes: dict[str, int]
    image_modes: dict[str, int]
    without_file: int
    unreadable: int
    boxes: dict[str, int]
    notes: tuple[str, ...] = ()
    windows: dict[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return it for JSON, with the share of records that carry each class."""
        shares = {name: count / max(1, self.records) for name, count in self.classes.items()}
        return {**asdict(self), "class_shares": shares, "notes": list(self.notes)}

    def rows(self) -> list[tuple[str, int, str]]:
        """Return it as a table: what, count, share of the records (of boxes: of all boxes)."""
        groups = [] if self.groups is None else [("groups", self.groups, "")]
        return [
            ("records", self.records, ""),
            ("records without a label", self.unlabelled, f"{self.unlabelled / max(1, self.records):.1%}"),
            *groups,
            *self._section("class", self.classes, self.records, limit=None),
            *self._section("combination", self.label_combinations, self.records),
            *self._section("split", self.splits, self.records),
            *self._section("image size", self.image_sizes, self.records),
            *self._section("image mode", self.image_modes, self.records),
            *self._section(
                "file", {"none": self.without_file, "unreadable": self.unreadable}, self.records, zeros=False
            ),
            *self._section("boxes", self.boxes, sum(self.boxes.values()), zeros=False),
            *self._window_rows(),
        ]

    def _window_rows(self) -> Iterator[tuple[str, int, str]]:
        if self.windows is None:
            return
        length, rate, channels = (self.windows[key] for key in ("length", "sampling_rate", "channels"))
        yield "samples in a window", length, "" if rate is None else f"{length / rate:.4g} s at {rate:g} Hz"
        yield "channels", len(channels), ""
        for name, values in channels.items():
            told = ("-" if value is None else f"{value:.4g}" for value in values.values())
            mean, std, low, high = told
            yield f"channel {name}", self.records, f"{mean} ± {std}, {low} to {high}"

    @staticmethod
    def _section(
        title: str, counts: Mapping[str, int], total: int, *, limit: int | None = LISTED, zeros: bool = True
    ) -> Iterator[tuple[str, int, str]]:
        shown = [(name, count) for name, count in counts.items() if count or zeros]
        for name, count in shown[:limit]:
            yield f"{title} {name}", count, f"{count / max(1, total):.1%}"
        rest = sum(count for _, count in shown[limit:]) if limit is not None else 0
        if rest:
            yield f"{title}: {len(shown) - LISTED} others", rest, f"{rest / total:.1%}"


def statistics(dataset: Dataset, *, num_threads: int | None = None) -> Statistics:
    """Count what a data set holds; of each image only the header is read. Unreadable images are counted, not raised.

    Of windows every sample is looked at.

    Raises:
        DataError: the store of windows is gone.
    """
    files = [] if dataset.signals is not None else [uri for uri in dataset.uris if uri is not None]
    headers = parallel(_header, files, num_threads)
    readable = [header for header in headers if header is not None]
    labels = dataset.table.column("labels").to_pylist()
    combinations = Counter(" + ".join(dataset.classes[label] for label in row) or "(none)" for row in labels)
    groups = dataset.table.column("group")
    return Statistics(
        name=dataset.name,
        task=dataset.task,
        records=len(dataset),
        unlabelled=combinations.get("(none)", 0),
        classes=dataset.class_counts(),
        label_combinations=_by_count(combinations),
        groups=None if groups.null_count == len(dataset) else pc.count_distinct(groups, mode="only_valid").as_py(),
        splits=_by_count(Counter(part for part in dataset.table.column("split").to_pylist() if part is not None)),
        image_sizes=_by_count(Counter(f"{header.size[0]}x{header.size[1]}" for header in readable)),
        image_modes=_by_count(Counter(header.mode for header in readable)),
        without_file=dataset.table.column("uri").null_count,
        unreadable=len(headers) - len(readable),
        boxes=_boxes(dataset),
        notes=dataset.notes,
        windows=None if dataset.signals is None else _windows(dataset, dataset.signals),
    )


def _windows(dataset: Dataset, signals: Signals) -> dict[str, Any]:
    seen = survey(dataset)
    channels = {
        name: {
            key: float(values[channel]) if np.isfinite(values[channel]) else None
            for key, values in (("mean", seen.mean), ("std", seen.std), ("low", seen.low), ("high", seen.high))
        }
        for channel, name in enumerate(signals.channels)
    }
    return {"length": signals.length, "sampling_rate": signals.sampling_rate, "channels": channels}


def _header(uri: str) -> Header | None:
    try:
        return read_header(uri)
    except DataError:
        return None  # counted as unreadable; `check` says why


def _boxes(dataset: Dataset) -> dict[str, int]:
    boxes = pc.list_flatten(dataset.table.column("boxes"))
    counts = Counter(pc.struct_field(boxes, "label").to_pylist())
    return {name: counts.get(index, 0) for index, name in enumerate(dataset.classes)}


def _by_count(counts: Counter[str]) -> dict[str, int]:
    """Order by count, then by name, so that the same data gives the same text."""
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
