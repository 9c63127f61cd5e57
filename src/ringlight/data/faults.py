"""Faults of a data set, gathered and raised together, so that a label file is mended in one go."""

from __future__ import annotations

from collections.abc import Sequence

from ringlight.errors import DataError, Problems, UserError

LISTED = 20
"""How many faults are listed; a file in the wrong format has one in every row."""


class Faults:
    """The faults of one file or folder.

    Examples:
        >>> faults = Faults("labels.csv")
        >>> faults.add("0 or 1", got="`2`", where="labels.csv: row 3", fix="correct the cell")
        >>> faults.raise_if_any()
        Traceback (most recent call last):
        ringlight.errors.DataError: labels.csv: row 3: expected 0 or 1, got `2`; correct the cell
    """

    def __init__(self, where: str) -> None:
        self.where = where
        self.errors: list[UserError] = []

    def add(self, expected: str, *, got: str, where: str, fix: str) -> None:
        """Remember one fault."""
        self.errors.append(DataError(expected, got=got, where=where, fix=fix))

    def catch(self, error: UserError) -> None:
        """Remember a fault that something else found."""
        self.errors.append(error)

    def raise_if_any(self) -> None:
        """Raise what was gathered.

        Raises:
            UserError: there was one fault; mostly a DataError.
            Problems: there were several; a line each, at most :data:`LISTED` of them and a count of the rest.
        """
        if not self.errors:
            return
        if len(self.errors) == 1:
            raise self.errors[0]
        lines = [str(error) for error in self.errors[:LISTED]]
        rest = len(self.errors) - LISTED
        if rest > 0:
            lines.append(f"{self.where}: and {rest} more faults of this kind ({len(self.errors)} in all)")
        raise Problems(lines)


def first_of(names: Sequence[str], limit: int = 3) -> str:
    """Name the first few of many.

    Examples:
        >>> first_of(["a", "b", "c", "d"])
        '4 (first: a, b, c)'
        >>> first_of(["a"])
        '1 (a)'
    """
    listed = ", ".join(names[:limit])
    return f"{len(names)} ({'first: ' if len(names) > limit else ''}{listed})"
