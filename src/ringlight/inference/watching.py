"""A watch over a model on the line: does what it sees and says still look like the records it was validated on?

One :class:`Watch` belongs to one model version; another version begins another watch, with a file of its own. It costs
a fraction of a millisecond a record beside the statistics of the input, and may be called from several threads.

Shapes: B records of a batch, C channels, K classes, J tests, Q quantities.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from ringlight.data.window_spec import WindowSpec
from ringlight.errors import DataError, WorkspaceError
from ringlight.evaluation.drift import Detectors
from ringlight.evaluation.drift_reference import SIDES, TOLERANCE, Quantity
from ringlight.evaluation.psi import psi, psi_limit
from ringlight.evaluation.rates import clopper_pearson
from ringlight.inference.watch_confirmed import Remembered
from ringlight.inference.watch_reference import CONFIRMED, Measured, WatchReference, measure
from ringlight.inference.watch_state import Recent, restore_state, state_path, write_state
from ringlight.inference.watch_status import Alarm, FaultStatus, QuantityStatus, WatchStatus
from ringlight.runtime import LOGGER
from ringlight.types import Task

if TYPE_CHECKING:
    from ringlight.inference.bundle import Bundle
    from ringlight.inference.decisions import Result

RUN_LENGTH = 1_000_000
"""Records between two false alarms of a whole watch, on average, at the least."""
RISK = 0.05
"""Probability that any of the limits is wrong, over the draw of the reference."""
WINDOW = 500
"""Records that `recent` and the stability index tell of."""
SAVE_EVERY = 1000
"""Records after which the state is written of itself."""


class Watch:
    """Compares what is observed with a reference, for one model version.

    Args:
        reference: the section `watch` of a bundle, or :meth:`WatchReference.to_dict`.
        classes: the K class names.
        task: multi-class or multi-label.
        good_class: the class of good parts, if there is one.
        model: what the model is called in the status.
        channels: what the channels of windows are called; None for images.
        folder: where the state is kept across restarts, a damaged one put aside; None keeps it in memory. Two processes
            need two folders.
        run_length: records between two false alarms of the whole watch, on average, at the least.
        block: records that count as one observation; the reference's own when None. At least as many as parts that are
            alike follow one another.
        tolerance: how far a mean rank or a rate may move before it matters.

    Raises:
        DataError: no reference or a damaged one; a reference of other classes; numbers that cannot be.
    """

    def __init__(
        self,
        reference: Mapping[str, Any],
        *,
        classes: Sequence[str],
        task: Task,
        good_class: str | None = None,
        model: str = "model",
        channels: Sequence[str] | None = None,
        folder: Path | None = None,
        run_length: float = RUN_LENGTH,
        block: int | None = None,
        tolerance: float = TOLERANCE,
    ) -> None:
        self.model, self.classes, self.channels = model, tuple(classes), channels
        self.reference = WatchReference.from_dict(reference, model)
        _check_classes(self.reference, self.classes, model)
        if not 0 <= tolerance < 0.5:
            raise DataError("a tolerance from 0, below 0.5", got=f"{tolerance:g}", where="watch", fix="use 0.03")
        quantities = self.reference.quantities
        sides = [(row, side) for row, one in enumerate(quantities) for side in SIDES[one.kind]]
        risk = RISK / len(sides)
        limits = np.concatenate([one.limits(risk, tolerance=tolerance) for one in quantities])
        self._kept = limits < 1  # of the others a reference of this size says nothing
        self._tests = [sides[place] for place in np.flatnonzero(self._kept)]
        self._limits = dict(zip(sides, limits.tolist(), strict=True))
        self._detectors = Detectors(
            limits[self._kept], run_length=run_length, block=self.reference.block if block is None else block
        )
        self._recent = Recent(WINDOW, len(quantities))
        self._remembered = Remembered(self.classes, task, good_class)
        self._records, self._saved_at = 0, 0
        self._started = _now()
        self._alarms: list[Alarm] = []
        self._lock, self._saving = threading.Lock(), threading.Lock()
        self._complained = False
        self._path = None if folder is None else state_path(folder, model, self._identity())
        if self._path is not None:
            restore_state(self._path, self._restore)

    @classmethod
    def of_bundle(cls, bundle: Bundle, *, reference: Mapping[str, Any] | None = None, **settings: Any) -> Self:
        """Return the watch of a bundle, with the reference it has or another one; `settings` as for the constructor.

        Raises:
            DataError: the bundle has no reference and none is passed; the message says how to take one.
        """
        spec = bundle.input_spec
        return cls(
            bundle.watch if reference is None else reference, classes=bundle.classes, task=bundle.task,
            good_class=bundle.good_class, channels=spec.channels if isinstance(spec, WindowSpec) else None, **settings,
        )  # fmt: skip

    def observe(self, result: Result, inputs: npt.NDArray[np.float32] | None = None) -> None:
        """Take B records in the order of the line.

        Args:
            result: what the model said of them.
            inputs: what it was given, (B, C, H, W) or (B, C, T); None leaves the input statistics as they are.

        Raises:
            DataError: a result of other classes, or inputs that are not those of the result.
        """
        if result.prediction.classes != self.classes:
            got = ", ".join(result.prediction.classes)
            fix = "begin a watch for each model version"
            raise DataError(f"classes {', '.join(self.classes)}", got=got, where=self.model, fix=fix)
        measured = measure(result, inputs, self.channels)
        with self._lock:
            self._records += len(result.labels)
            self._recent.add(self._take(measured, len(result.labels)))
            self._remembered.add(result)
            due = self._records - self._saved_at >= SAVE_EVERY
        if due:
            self.save()

    def confirm(self, record: str, labels: str | Sequence[str]) -> bool:
        """Take the truth of a record that was observed: its class, its classes, or none (a good part).

        A class the model does not know counts as a defect that was decided wrongly. Returns False where the record is
        not remembered: it was never observed, too long ago, or was confirmed before.
        """
        with self._lock:
            found = self._remembered.confirm(record, [labels] if isinstance(labels, str) else labels)
            if found is not None:
                self._take(found, 1)
        return found is not None

    def acknowledge(self) -> int:
        """Take every alarm back, begin those tests again, and return how many alarms there were."""
        with self._lock:
            number = len(self._alarms)
            self._detectors.reset(self._detectors.alarms)
            self._alarms = []
        self.save()
        return number

    def _take(self, measured: Measured, size: int) -> npt.NDArray[np.float64]:
        """Put values to the tests, and return them by quantity (B, Q)."""
        quantities = self.reference.quantities
        nothing = np.full(size, np.nan)
        columns = [measured.get(one.name, nothing) for one in quantities]
        seen = [one.observe(column) for one, column in zip(quantities, columns, strict=True)]
        self._detectors.update(np.concatenate(seen, axis=1)[:, self._kept])
        raised = [place for place in np.flatnonzero(self._detectors.alarms).tolist() if not self._stands(place)]
        for place in raised:
            row, side = self._tests[place]
            alarm = Alarm(quantity=quantities[row].name, side=side, record=self._records, time=_now())
            self._alarms.append(alarm)
            LOGGER.warning("watch of %s: %s", self.model, alarm)
        return np.stack(columns, axis=1)

    def _stands(self, place: int) -> bool:
        row, side = self._tests[place]
        name = self.reference.quantities[row].name
        return any((alarm.quantity, alarm.side) == (name, side) for alarm in self._alarms)

    @property
    def alarms(self) -> tuple[Alarm, ...]:
        """The alarms that stand, in order."""
        return tuple(self._alarms)

    def status(self) -> WatchStatus:
        """Return everything the watch knows at this moment."""
        with self._lock:
            evidence = self._detectors.evidence
            nearest = np.zeros(len(self.reference.quantities))
            np.maximum.at(nearest, [row for row, _ in self._tests], evidence)
            return WatchStatus(
                model=self.model,
                started=self._started,
                records=self._records,
                run_length=self._detectors.run_length,
                block=self._detectors.block,
                quantities=tuple(
                    self._status_of(row, one, float(nearest[row])) for row, one in enumerate(self.reference.quantities)
                ),
                faults=tuple(self._fault(name) for name in self._remembered.counts),
                alarms=tuple(self._alarms),
            )

    def _status_of(self, row: int, quantity: Quantity, evidence: float) -> QuantityStatus:
        values = self._recent.values(row)
        low, high = quantity.low, quantity.high
        if quantity.kind != "value":
            low = max(0.0, 1 - self._limits.get((row, "lower"), 1.0))
            high = min(1.0, self._limits[row, "higher"])
        index = limit = None
        if len(values):
            expected = quantity.expected
            index = psi(expected, np.bincount(quantity.bins(values), minlength=len(expected)))
            limit = psi_limit(quantity.effective, len(values), len(expected))
        return QuantityStatus(
            name=quantity.name, kind=quantity.kind, mean=quantity.mean, low=low, high=high,
            recent=float(values.mean()) if len(values) else None, num_recent=len(values), evidence=min(evidence, 1.0),
            psi=index, psi_limit=limit, alarm=any(alarm.quantity == quantity.name for alarm in self._alarms),
        )  # fmt: skip

    def _fault(self, name: str) -> FaultStatus:
        faults, confirmed = self._remembered.counts[name]
        known = [one.mean for one in self.reference.quantities if one.name == CONFIRMED + name]
        low, high = clopper_pearson(faults, confirmed) if confirmed else (0.0, 1.0)
        return FaultStatus(
            name=name, faults=faults, confirmed=confirmed, rate=faults / confirmed if confirmed else None, low=low,
            high=high, expected=known[0] if known else None,
        )  # fmt: skip

    def save(self) -> None:
        """Write the state, whole; where it cannot be written a line says so once, and the inspection goes on."""
        if self._path is None:
            return
        with self._saving:  # nobody who observes waits for the disk
            with self._lock:
                self._saved_at = self._records
                values = {
                    "started": self._started, "records": self._records, "detectors": self._detectors.to_dict(),
                    "recent": self._recent.to_dict(), "remembered": self._remembered.to_dict(),
                    "alarms": [asdict(alarm) for alarm in self._alarms],
                }  # fmt: skip
            try:
                write_state(self._path, values)
                self._complained = False
            except WorkspaceError as error:
                if not self._complained:
                    LOGGER.warning("the watch of %s is not kept: %s", self.model, error)
                self._complained = True

    def _restore(self, values: Mapping[str, Any]) -> None:
        alarms = [Alarm(**one) for one in values["alarms"]]
        self._remembered.restore(values["remembered"])
        self._recent.restore(values["recent"])
        self._detectors.restore(values["detectors"])
        self._records = self._saved_at = int(values["records"])
        self._started, self._alarms = str(values["started"]), alarms

    def _identity(self) -> dict[str, Any]:
        """Return what must be the same for a state to be gone on with."""
        return {
            "reference": self.reference.to_dict(), "classes": list(self.classes), "block": self._detectors.block,
            "run_length": self._detectors.run_length, "limits": self._detectors.limits.tolist(),
        }  # fmt: skip


def _check_classes(reference: WatchReference, classes: Sequence[str], where: str) -> None:
    """Refuse a reference that was taken with another model."""
    named = {one.name.removeprefix("rate/") for one in reference.quantities if one.name.startswith("rate/")}
    if named and not named <= set(classes):
        raise DataError(
            f"a reference of the classes {', '.join(classes)}", got=f"one of {', '.join(sorted(named))}", where=where,
            fix="take it with this model",
        )  # fmt: skip


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
