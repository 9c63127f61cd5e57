"""Checks of a data set before anything is trained on it: files, ids, labels, duplicates, rare classes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from ringlight.data.content import digest_of, hash_contents, parallel
from ringlight.data.decode import read_pixels
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


def check(dataset: Dataset, *, min_samples_per_class: int = 2, num_threads: int | None = None) -> list[Finding]:
    """Look at every record and decode every image in full; return what was found, errors first.

    Errors: a file that is missing, empty, truncated or no image; an id that stands twice; no label, or several, in a
    multi-class data set. Warnings: identical files with different labels; a class with fewer than
    `min_samples_per_class` records, or none. Notes: identical files with the same labels.

    Args:
        dataset: the records; digests it already has (`hash_contents`) are not computed again.
        min_samples_per_class: below this, a class cannot be in every part of a split.
        num_threads: how many images are decoded at once; one a processor, at most 8, when None.
    """
    looks = parallel(_look, list(zip(dataset.uris, _contents(dataset), strict=True)), num_threads)
    findings = [
        *(finding for finding, _ in looks if finding is not None),
        *_twice(dataset),
        *_labels(dataset),
        *_identical(dataset, [content for _, content in looks]),
        *_rare(dataset, min_samples_per_class),
    ]
    return sorted(findings, key=lambda finding: ORDER.index(finding.severity))


def _contents(dataset: Dataset) -> list[str | None]:
    return list(dataset.table.column("content").to_pylist())


def _look(file: tuple[str | None, str | None]) -> tuple[Finding | None, str | None]:
    """Decode one image in full; return what is wrong with it and the digest of its bytes."""
    uri, content = file
    if uri is None:
        return None, None
    try:
        read_pixels(uri)
        return None, digest_of(uri) if content is None else content
    except DataError as error:
        return _finding("error", error), None


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


__all__ = ["Finding", "Severity", "Statistics", "check", "hash_contents", "statistics"]
