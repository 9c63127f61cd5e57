"""The tracker `csv`: every number of a run in one long table, written line by line while it trains."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path

from ringlight.files import unwritable, write_text
from ringlight.training.trackers import QuietTracker

COLUMNS = ("step", "name", "value")


class CsvTracker(QuietTracker):
    """Appends each metric to the table at `path` as a row `step,name,value`, at once and for any reader to follow.

    A run that goes on after an interruption may tell again what it told before: a row that is there already is not
    written twice, and one with another value takes the place of the former. Numbers read back as they were.

    Raises:
        WorkspaceError: the table cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows: dict[tuple[int, str], str] = {}
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        whole, newline, _ = text.rpartition("\n")  # a killed process may have left half a line
        for row in csv.reader(io.StringIO(whole + newline)):
            if len(row) == len(COLUMNS) and row[0].lstrip("-").isdigit():
                self._rows[int(row[0]), row[1]] = row[2]
        if text != self._text():
            write_text(path, self._text())

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Append what is new; where a value was another one before, write the table anew."""
        told = {(step, name): repr(float(value)) for name, value in metrics.items()}
        news = {key: value for key, value in told.items() if self._rows.get(key) != value}
        replaces = any(key in self._rows for key in news)
        self._rows |= news
        if replaces:
            write_text(self._path, self._text())
        elif news:
            try:
                with self._path.open("a", newline="", encoding="utf-8") as stream:
                    stream.write(_lines(news))
            except OSError as error:
                raise unwritable(self._path, error) from error

    def _text(self) -> str:
        return ",".join(COLUMNS) + "\n" + _lines(self._rows)


def _lines(rows: Mapping[tuple[int, str], str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows((step, name, value) for (step, name), value in rows.items())
    return text.getvalue()
