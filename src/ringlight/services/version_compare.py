"""Two versions of a name side by side: their scores, and the paired differences of their runs on one test set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ringlight.errors import RunError
from ringlight.services.registered import Version, find_row, open_versions, run_of, shown_all
from ringlight.training.compare import Comparison, compare_results
from ringlight.training.results_file import Results, load_results

if TYPE_CHECKING:
    from ringlight.store.session import UnitOfWork
    from ringlight.store.tables import VersionRow


@dataclass(frozen=True, slots=True)
class VersionComparison:
    """Two versions; `comparison` is that of their runs, None where `refused` says why they do not compare."""

    first: Version
    second: Version
    comparison: Comparison | None
    refused: str = ""

    def rows(self) -> list[tuple[str, float | None, float | None, float | None]]:
        """Return each score of the test part: its name, of the first, of the second, second minus first."""
        a, b = self.first.metrics, self.second.metrics
        return [
            (name, a.get(name), b.get(name), b[name] - a[name] if name in a and name in b else None)
            for name in dict.fromkeys([*a, *b])
        ]

    def lines(self) -> tuple[str, ...]:
        """Return what stands below the table: the verdict, the difference of each class's recall, notes."""
        if self.comparison is None:
            return (f"no interval of any difference: {self.refused}",)
        pair = self.comparison.pairs[0]
        recalls = (row["recall"].sentence for row in pair.per_class.values() if "recall" in row)
        return (*self.comparison.verdicts, *recalls, *self.comparison.notes)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "first": self.first.to_dict(),
            "second": self.second.to_dict(),
            "metrics": [
                dict(zip(("metric", "first", "second", "difference"), row, strict=True)) for row in self.rows()
            ],
            "comparison": None if self.comparison is None else self.comparison.to_dict(),
            "refused": self.refused or None,
        }


def compare_versions(
    name: str, first: int | str, second: int | str, *, workspace: Path | str | None = None
) -> VersionComparison:
    """Compare two versions: their scores, and where their runs were judged on the same records, paired.

    Args:
        name: of the model.
        first: the version that the other is compared with: a number, or `active`.
        second: the other.
        workspace: where they are kept.

    Raises:
        ModelError: there is no such version.
    """
    with open_versions(workspace) as store, store.reading() as unit:
        rows = [find_row(unit, name, version) for version in (first, second)]
        a, b = shown_all(unit, rows)
        try:
            comparison = compare_rows(unit, store.root, *rows)
        except RunError as error:
            return VersionComparison(a, b, None, str(error))
    refused = comparison.pairs[0].refused
    return VersionComparison(a, b, None if refused else comparison, refused)


def compare_rows(unit: UnitOfWork, root: Path, first: VersionRow, second: VersionRow) -> Comparison:
    """Compare the runs of two versions, named as versions; the first is the reference.

    Raises:
        RunError: the run of one of them is gone, or its model is another by now.
    """
    return compare_results([results_of(unit, root, row) for row in (first, second)])


def results_of(unit: UnitOfWork, root: Path, row: VersionRow) -> Results:
    """Return the results of a version's run under the version's name; its predictions lie beside them.

    Raises:
        RunError: the run is gone, or its model is another by now.
    """
    folder = run_of(unit, root, row)
    values: Mapping[str, Any] = load_results(folder / "results.json")[0]
    return Results({**values, "run": f"{row.name}@{row.version}"}, folder)
