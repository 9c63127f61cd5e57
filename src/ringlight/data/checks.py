"""Checks of a data set before anything is trained on it: files, ids, labels, duplicates, rare classes."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from ringlight.data.content import hash_contents, parallel
from ringlight.data.decode import open_file, read_pixels
from ringlight.data.faults import first_of
from ringlight.data.summary import Statistics, statistics
from ringlight.errors import DataError
from ringlight.types import Dataset

Severity = Literal["error", "warning", "note"]
ORDER: tuple[Severity, ...] = ("error", "warning", "note")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing a check found; as text it is one line, like an error.

    An error cannot be used at all; a warning can, but somebody should look; a note is good to know.
    """

    severity: Severity
    where: str
    expected: str
    got: str
    fix: str

    def __str__(self) -> str:
        return f"{self.where}: expected {self.expected}, got {self.got}; {self.fix}"

    def to_dict(self) -> dict[str, str]:
        """Return it for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Inspection:
    """What reading every file once tells: what was found, the data set with its contents hashed, the image sizes.

    `content` is None where a file could not be read. `image_sizes` counts the upright images by (height, width) in
    pixels.
    """

    findings: tuple[Finding, ...]
    dataset: Dataset
    image_sizes: dict[tuple[int, int], int]


def check(dataset: Dataset, *, min_samples_per_class: int = 2, num_threads: int | None = None) -> list[Finding]:
    """Return the findings of :func:`inspect_dataset`."""
    found = inspect_dataset(dataset, min_samples_per_class=min_samples_per_class, num_threads=num_threads)
    return list(found.findings)


def inspect_dataset(dataset: Dataset, *, min_samples_per_class: int = 2, num_threads: int | None = None) -> Inspection:
    """Look at every record, read every file once and decode it in full; the findings come with errors first.

    Errors: a file that is missing, empty, truncated or no image; an id that stands twice; no label, or several, in a
    multi-class data set. Warnings: identical files with different labels; a class with fewer than
    `min_samples_per_class` records, or none. Notes: identical files with the same labels.

    Args:
        dataset: the records.
        min_samples_per_class: below this, a class cannot be in every part of a split.
        num_threads: how many images are decoded at once; one a processor, at most 8, when None.
    """
    looks = parallel(_look, dataset.uris, num_threads)
    contents = [look.content for look in looks]
    findings = [
        *(look.finding for look in looks if look.finding is not None),
        *_twice(dataset),
        *_labels(dataset),
        *_identical(dataset, contents),
        *_rare(dataset, min_samples_per_class),
    ]
    return Inspection(
        tuple(sorted(findings, key=lambda finding: ORDER.index(finding.severity))),
        dataset.with_column("content", contents),
        dict(Counter(look.size for look in looks if look.size is not None)),
    )


@dataclass(frozen=True, slots=True)
class _Look:
    """One file: what is wrong with it, or the digest of its bytes and the size of its upright image."""

    finding: Finding | None = None
    content: str | None = None
    size: tuple[int, int] | None = None


def _look(uri: str | None) -> _Look:
    if uri is None:
        return _Look()
    try:
        with open_file(uri) as stream:
            content = stream.read()
        height, width = read_pixels(content, where=uri).shape[:2]
    except DataError as error:
        return _Look(_finding("error", error))
    return _Look(content=hashlib.sha256(content).hexdigest(), size=(height, width))


def _finding(severity: Severity, error: DataError) -> Finding:
    return Finding(severity=severity, where=error.where, expected=error.expected, got=error.got, fix=error.fix)


def _twice(dataset: Dataset) -> Iterator[Finding]:
    rows: dict[str, list[int]] = defaultdict(list)
    for row, key in enumerate(dataset.ids):
        rows[key].append(row)
    for key, found in rows.items():
        if len(found) > 1:
            yield Finding(
                severity="error",
                where=f"{dataset.name}: record `{key}`",
                expected="every id once",
                got=f"{len(found)} records, rows {', '.join(map(str, found[:5]))}",
                fix="remove or rename all but one",
            )


def _labels(dataset: Dataset) -> Iterator[Finding]:
    if dataset.task != "multiclass":
        return
    for key, labels in zip(dataset.ids, dataset.table.column("labels").to_pylist(), strict=True):
        if len(labels) != 1:
            yield Finding(
                severity="error",
                where=f"{dataset.name}: record `{key}`",
                expected="exactly one label",
                got=" and ".join(f"`{dataset.classes[label]}`" for label in labels) or "none",
                fix="label it or leave it out",
            )


def _identical(dataset: Dataset, contents: Sequence[str | None]) -> Iterator[Finding]:
    rows: dict[str, list[int]] = defaultdict(list)
    for row, content in enumerate(contents):
        if content is not None:
            rows[content].append(row)
    ids, labels = dataset.ids, dataset.table.column("labels").to_pylist()
    for found in rows.values():
        if len(found) < 2:
            continue
        names = {row: " + ".join(dataset.classes[label] for label in labels[row]) or "(none)" for row in found}
        contradict = len(set(names.values())) > 1
        yield Finding(
            severity="warning" if contradict else "note",
            where=f"{dataset.name}: record `{ids[found[0]]}`",
            expected="the same labels on identical files" if contradict else "every image once",
            got=(
                ", ".join(f"`{ids[row]}`: {names[row]}" for row in found[:5])
                if contradict
                else f"identical files: {first_of([ids[row] for row in found])}"
            ),
            fix=(
                "keep the record whose label is right"
                if contradict
                else "keep one, or give them one group, which no split divides"
            ),
        )


def _rare(dataset: Dataset, minimum: int) -> Iterator[Finding]:
    for name, count in dataset.class_counts().items():
        if count < minimum or not count:
            yield Finding(
                severity="warning",
                where=f"{dataset.name}: class `{name}`",
                expected=f"at least {max(1, minimum)} records (data.min_samples_per_class)",
                got=str(count),
                fix="add images of it, or take the class out (data.classes): it cannot be learnt and judged",
            )


__all__ = [
    "Finding", "Inspection", "Severity", "Statistics", "check", "hash_contents", "inspect_dataset", "statistics",
]  # fmt: skip
