"""Checks of a data set before anything is trained on it: files, ids, labels, duplicates, rare classes."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ringlight.data.content import hash_contents, parallel
from ringlight.data.decode import open_file, read_pixels
from ringlight.data.faults import first_of
from ringlight.data.findings import Finding, Inspection, Severity, finding_of, in_order, label_findings
from ringlight.data.summary import Statistics, statistics
from ringlight.data.window_checks import inspect_windows
from ringlight.errors import DataError
from ringlight.types import Dataset


def check(dataset: Dataset, *, min_samples_per_class: int = 2, num_threads: int | None = None) -> list[Finding]:
    """Return the findings of :func:`inspect_dataset`."""
    found = inspect_dataset(dataset, min_samples_per_class=min_samples_per_class, num_threads=num_threads)
    return list(found.findings)


def inspect_dataset(dataset: Dataset, *, min_samples_per_class: int = 2, num_threads: int | None = None) -> Inspection:
    """Look at every record, read every file once and decode it in full; the findings come with errors first.

    What is looked for in windows is told at :func:`~ringlight.data.window_checks.inspect_windows`. Of images:

    Errors: a file that is missing, empty, truncated or no image; an id that stands twice; no label, or several, in a
    multi-class data set. Warnings: identical files with different labels; a class with fewer than
    `min_samples_per_class` records, or none. Notes: identical files with the same labels.

    Args:
        dataset: the records.
        min_samples_per_class: below this, a class cannot be in every part of a split.
        num_threads: how many images are decoded at once; one a processor, at most 8, when None.
    """
    if dataset.signals is not None:
        return inspect_windows(dataset, min_samples_per_class=min_samples_per_class)
    looks = parallel(_look, dataset.uris, num_threads)
    contents = [look.content for look in looks]
    findings = [
        *(look.finding for look in looks if look.finding is not None),
        *label_findings(dataset, min_samples_per_class),
        *_identical(dataset, contents),
    ]
    return Inspection(
        in_order(findings),
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
        return _Look(finding_of("error", error))
    return _Look(content=hashlib.sha256(content).hexdigest(), size=(height, width))


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


__all__ = [
    "Finding", "Inspection", "Severity", "Statistics", "check", "hash_contents", "inspect_dataset", "statistics",
]  # fmt: skip
