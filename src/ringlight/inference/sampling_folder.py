"""A bounded folder of pictures worth labelling: of no known class, or decided with little confidence.

Every file lies there as it came, under a name made of its contents, so that the same picture is kept once. `labels.csv`
beside them has a row a file and is a data set as soon as its column `label` is filled
(`ringlight data check FOLDER`, `ringlight train table data.root=FOLDER`); labels that are written there while a server
runs stay. When the folder is full the least informative leaves first, of equals the oldest, and what somebody labelled
last of all.
"""

from __future__ import annotations

import csv
import hashlib
import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from ringlight.data.originals import Original, as_file
from ringlight.errors import DataError, WorkspaceError
from ringlight.files import unwritable, whole_file, write_csv
from ringlight.runtime import LOGGER

if TYPE_CHECKING:
    from ringlight.inference.decisions import Result

INDEX = "labels.csv"
OWN_NAME = re.compile(r"[0-9a-f]{24}\.[a-z0-9]{2,5}")
"""The names of the files that are kept; nothing else in the folder is touched."""
MAX_FILES = 1000
MAX_BYTES = 1 << 30
UNSURE = 0.6
"""A confidence below which a decision is uncertain, for a model without a reject limit."""
LABELLED = 10.0
"""What a label adds to how informative a file is: more than anything else."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A row of the index; `informative` is 1 - confidence, and 1 more for a record of no known class."""

    path: str
    label: str
    id: str
    predicted: str
    confidence: float
    why: str
    informative: float
    time: str
    bytes: int

    @property
    def worth(self) -> tuple[float, str]:
        """What leaves first is the least of this: how informative, and how new."""
        return self.informative + (LABELLED if self.label else 0.0), self.time


class SamplingFolder:
    """Keeps uncertain and unknown records for labelling, in a bounded folder; may be called from several threads.

    Args:
        folder: made when the first file is kept. Two processes need two folders.
        max_files: how many files it holds at the most, the index not counted.
        max_bytes: how many bytes these have together at the most.
        unsure: confidence below which a decision is uncertain, from 0 to 1, where the model has no reject limit.

    Raises:
        DataError: bounds that cannot be, or an index that cannot be read.
    """

    def __init__(
        self, folder: Path, *, max_files: int = MAX_FILES, max_bytes: int = MAX_BYTES, unsure: float = UNSURE
    ) -> None:
        if max_files < 1 or max_bytes < 1 or not 0 <= unsure <= 1:
            got = f"{max_files} files, {max_bytes} bytes, {unsure:g}"
            fix = "use max_files=1000, max_bytes=1000000000, unsure=0.6"
            raise DataError("bounds of 1 or more, a confidence from 0 to 1", got=got, where=str(folder), fix=fix)
        self.folder, self.max_files, self.max_bytes, self.unsure = folder, max_files, max_bytes, unsure
        self._samples: dict[str, Sample] = {}
        self._read_at: int | None = None
        self._lock = threading.Lock()
        self._complained = False
        self._read()
        self._remove_orphans()

    def offer(self, result: Result, originals: Sequence[Original]) -> int:
        """Keep those of B records that are worth it, and return how many were kept.

        A full disk, or a picture that cannot be read again, stops nothing: a line says so, and nothing is kept.

        Args:
            result: what was decided.
            originals: the records as they came, one each.

        Raises:
            DataError: another number of originals than of results.
        """
        if len(originals) != len(result.labels):
            fix = "pass each as it came"
            where = str(self.folder)
            raise DataError(f"{len(result.labels)} originals", got=str(len(originals)), where=where, fix=fix)
        chosen = [(row, why) for row in range(len(originals)) if (why := self._why(result, row))]
        if not chosen:
            return 0
        with self._lock:
            try:
                self._read()
                kept = sum(self._keep(result, row, why, originals[row]) for row, why in chosen)
                if kept:
                    self._write()
            except (WorkspaceError, DataError) as error:
                if not self._complained:
                    LOGGER.warning("nothing is kept for labelling: %s", error)
                self._complained = True
                return 0
            self._complained = False
            return kept

    @property
    def samples(self) -> tuple[Sample, ...]:
        """What is kept, the oldest first."""
        with self._lock:
            return tuple(sorted(self._samples.values(), key=lambda sample: sample.time))

    def _why(self, result: Result, row: int) -> str:
        if result.unknown is not None and result.unknown[row]:
            return "unknown"
        unsure = result.scores[row] < self.unsure if result.rejected is None else result.rejected[row]
        return "uncertain" if unsure else ""

    def _keep(self, result: Result, row: int, why: str, original: Original) -> bool:
        content, suffix = as_file(original)
        name = hashlib.sha256(content).hexdigest()[:24] + suffix
        if name in self._samples:
            return False
        confidence = float(result.scores[row])
        sample = Sample(
            path=name, label="", id=result.prediction.ids[row], predicted=";".join(result.labels[row]),
            confidence=round(confidence, 6), why=why, informative=round((why == "unknown") + 1 - confidence, 6),
            time=datetime.now(UTC).isoformat(timespec="microseconds"), bytes=len(content),
        )  # fmt: skip
        leaving = self._leaving(len(content))
        if leaving is None or any(other.worth > sample.worth for other in leaving):
            return False
        for other in leaving:
            (self.folder / other.path).unlink(missing_ok=True)
            del self._samples[other.path]
        with whole_file(self.folder / name) as part:
            part.write_bytes(content)
        self._samples[name] = sample
        return True

    def _leaving(self, size: int) -> list[Sample] | None:
        """Return what must leave for a file of this size, the least worth first; None when it can never fit."""
        if size > self.max_bytes:
            return None
        total, count = sum(sample.bytes for sample in self._samples.values()), len(self._samples)
        leaving = []
        for sample in sorted(self._samples.values(), key=lambda one: one.worth):
            if count < self.max_files and total + size <= self.max_bytes:
                break
            leaving.append(sample)
            total, count = total - sample.bytes, count - 1
        return leaving

    def _read(self) -> None:
        """Read the index where somebody else has written it: a label may have come."""
        path = self.folder / INDEX
        try:
            changed = path.stat().st_mtime_ns
            if changed == self._read_at:
                return
            with path.open(newline="", encoding="utf-8-sig") as stream:
                rows = [_sample(row) for row in csv.DictReader(stream)]
        except FileNotFoundError:
            return
        except (OSError, KeyError, TypeError, ValueError) as error:
            fix = "mend it, or move the folder away"
            raise DataError("the index of a sampling folder", got=str(error), where=str(path), fix=fix) from error
        self._samples = {one.path: one for one in rows if OWN_NAME.fullmatch(one.path)}
        for name in [name for name in self._samples if not (self.folder / name).is_file()]:
            del self._samples[name]
        self._read_at = changed

    def _write(self) -> None:
        path = self.folder / INDEX
        names = [field.name for field in fields(Sample)]
        rows = sorted(self._samples.values(), key=lambda sample: sample.time)
        write_csv(path, [{name: getattr(sample, name) for name in names} for sample in rows])
        self._read_at = path.stat().st_mtime_ns

    def _remove_orphans(self) -> None:
        """Remove files that were written just before a crash, and never came into the index."""
        try:
            found = [path for path in self.folder.iterdir() if OWN_NAME.fullmatch(path.name)]
            for path in found:
                if path.name not in self._samples:
                    path.unlink()
        except FileNotFoundError:
            return
        except OSError as error:
            raise unwritable(self.folder, error) from error


def _sample(row: dict[str, str]) -> Sample:
    return Sample(
        path=row["path"], label=(row["label"] or "").strip(), id=row["id"], predicted=row["predicted"],
        confidence=float(row["confidence"]), why=row["why"], informative=float(row["informative"]), time=row["time"],
        bytes=int(row["bytes"]),
    )  # fmt: skip
