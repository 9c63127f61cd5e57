"""What a check of a data set answers, and what is checked of any records: ids, labels, rare classes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Literal

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
    """What reading every record once tells: what was found, the data set with its contents hashed, the image sizes.

    `content` is None where a file could not be read. `image_sizes` counts the upright images by (height, width) in
    pixels; it is empty for windows.
    """

    findings: tuple[Finding, ...]
    dataset: Dataset
    image_sizes: dict[tuple[int, int], int]


def in_order(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return findings with the errors first."""
    return tuple(sorted(findings, key=lambda finding: ORDER.index(finding.severity)))


def finding_of(severity: Severity, error: DataError) -> Finding:
    """Turn an error into a finding."""
    return Finding(severity=severity, where=error.where, expected=error.expected, got=error.got, fix=error.fix)


def label_findings(dataset: Dataset, min_samples_per_class: int) -> Iterator[Finding]:
    """Yield what is wrong with ids, labels and the sizes of the classes."""
    yield from _twice(dataset)
    yield from _labels(dataset)
    yield from _rare(dataset, min_samples_per_class)


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


def _rare(dataset: Dataset, minimum: int) -> Iterator[Finding]:
    what = "images" if dataset.signals is None else "windows"
    for name, count in dataset.class_counts().items():
        if count < minimum or not count:
            yield Finding(
                severity="warning",
                where=f"{dataset.name}: class `{name}`",
                expected=f"at least {max(1, minimum)} records (data.min_samples_per_class)",
                got=str(count),
                fix=f"add {what} of it, or take the class out (data.classes): it cannot be learnt and judged",
            )
