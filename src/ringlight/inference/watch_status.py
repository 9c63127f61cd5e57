"""What a watch has seen, as values: for tables, for JSON, and as numbers for a metrics page.

Shapes: Q quantities.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from ringlight.errors import DataError
from ringlight.evaluation.drift_reference import SIDES
from ringlight.inference.watch_reference import kind_of

FAULT = "fault/"
"""What the names of faults begin with among the numbers of a status."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """A test that found a change: which way the quantity went, after how many records, and when (ISO 8601, UTC).

    `side` is `higher` or `lower` for the mean, `high tail` or `low tail` for more values than usual beyond what 95 % of
    the reference stay below or above.
    """

    quantity: str
    side: str
    record: int
    time: str

    def __str__(self) -> str:
        return f"{self.quantity}: {self.side} than the reference allows, since record {self.record} ({self.time})"


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantityStatus:
    """One quantity: the reference's mean and range, the last records' mean, and how near the next alarm is.

    `low` and `high` are what 5 % of the reference's values lie below and above; of a rate, the rates between which no
    test sees a change. `recent` is the mean of the last `num_recent` records. `evidence` goes from 0 to 1, where an
    alarm is raised, for the test that is nearest. `psi` is the stability index of those records and `psi_limit` what it
    exceeds once in a thousand windows that have not changed. None where nothing is known yet.
    """

    name: str
    kind: str
    mean: float
    low: float
    high: float
    recent: float | None
    num_recent: int
    evidence: float
    psi: float | None
    psi_limit: float | None
    alarm: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultStatus:
    """Faults (escapes, overkill, errors) among records whose truth became known, with their exact 95 % interval.

    `expected` is the validated rate, None where validation had no such record.
    """

    name: str
    faults: int
    confirmed: int
    rate: float | None
    low: float
    high: float
    expected: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchStatus:
    """Everything a watch knows.

    `records` were observed since `started` (ISO 8601, UTC); `alarms` stand until they are acknowledged. Between two
    false alarms of the whole watch lie `run_length` records on average, at the least.
    """

    model: str
    started: str
    records: int
    run_length: float
    block: int
    quantities: tuple[QuantityStatus, ...]
    faults: tuple[FaultStatus, ...]
    alarms: tuple[Alarm, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)

    def numbers(self) -> dict[str, float]:
        """Return the numbers by a flat name, for a metrics page; what is not known yet is left out.

        `records`, `run_length`, `block`; of each quantity `NAME.FIELD`, of each fault `fault/NAME.FIELD`, and for each
        alarm that stands `NAME.SIDE`, the record at which it was raised. :meth:`of_numbers` is the way back.

        Examples:
            >>> alarm = Alarm(quantity="input/brightness", side="lower", record=4711, time="2026-11-29T08:00:00+00:00")
            >>> status = WatchStatus(model="strip", started="", records=5000, run_length=1e6, block=10, quantities=(),
            ...                      faults=(), alarms=(alarm,))
            >>> status.numbers()["input/brightness.lower"]
            4711.0
        """
        found: dict[str, float | None] = {"records": self.records, "run_length": self.run_length, "block": self.block}
        rows = [(one.name, asdict(one)) for one in self.quantities]
        rows += [(FAULT + one.name, asdict(one)) for one in self.faults]
        for name, values in rows:
            found |= {f"{name}.{field}": value for field, value in values.items() if field not in ("name", "kind")}
        found |= {f"{alarm.quantity}.{alarm.side}": alarm.record for alarm in self.alarms}
        return {name: float(value) for name, value in found.items() if value is not None}

    @classmethod
    def of_numbers(cls, model: str, numbers: Mapping[str, float]) -> Self:
        """Build from what :meth:`numbers` returned; times are not among them, and are empty.

        Raises:
            DataError: numbers are missing.
        """
        groups: dict[str, dict[str, float]] = {}
        for key, value in numbers.items():
            name, _, field = key.rpartition(".")
            groups.setdefault(name, {})[field] = value
        try:
            totals = groups.pop("")
            quantities = [_quantity(name, found) for name, found in groups.items() if not name.startswith(FAULT)]
            faults = [
                _fault(name.removeprefix(FAULT), found) for name, found in groups.items() if name.startswith(FAULT)
            ]
            alarms = [
                Alarm(quantity=name, side=side, record=int(found[side]), time="")
                for name, found in groups.items()
                for side in SIDES["value"]
                if side in found and found["alarm"]  # a metrics page may still show one that was taken back
            ]
            return cls(
                model=model, started="", records=int(totals["records"]), run_length=totals["run_length"],
                block=int(totals["block"]), quantities=tuple(quantities), faults=tuple(faults), alarms=tuple(alarms),
            )  # fmt: skip
        except (KeyError, ValueError) as error:
            fix = "ask a server of this version of Ringlight"
            raise DataError("the numbers of a watch", got=f"none called {error}", where=model, fix=fix) from error


def _quantity(name: str, found: Mapping[str, float]) -> QuantityStatus:
    return QuantityStatus(
        name=name, kind=kind_of(name), mean=found["mean"], low=found["low"], high=found["high"],
        recent=found.get("recent"), num_recent=int(found["num_recent"]), evidence=found["evidence"],
        psi=found.get("psi"), psi_limit=found.get("psi_limit"), alarm=bool(found["alarm"]),
    )  # fmt: skip


def _fault(name: str, found: Mapping[str, float]) -> FaultStatus:
    return FaultStatus(
        name=name, faults=int(found["faults"]), confirmed=int(found["confirmed"]), rate=found.get("rate"),
        low=found["low"], high=found["high"], expected=found.get("expected"),
    )  # fmt: skip
