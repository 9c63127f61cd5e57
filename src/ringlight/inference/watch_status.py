"""What a watch has seen, as values: for tables, for JSON, and as samples for a metrics page.

Shapes: Q quantities.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from ringlight.errors import DataError

PREFIX = "ringlight_watch_"


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

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: str) -> Self:
        """Build from what :meth:`to_dict` returns.

        Raises:
            DataError: it is no status; `where` names where it comes from.
        """
        try:
            return cls(**{
                **values,
                "quantities": tuple(QuantityStatus(**one) for one in values["quantities"]),
                "faults": tuple(FaultStatus(**one) for one in values["faults"]),
                "alarms": tuple(Alarm(**one) for one in values["alarms"]),
            })  # fmt: skip
        except (KeyError, TypeError, AttributeError) as error:
            fix = "ask a server of this version of Ringlight"
            raise DataError("the status of a watch", got=str(error), where=where, fix=fix) from error

    def samples(self) -> list[tuple[str, dict[str, str], float]]:
        """Return (metric, labels, value) for a metrics page; what is not known yet is left out.

        Examples:
            >>> status = WatchStatus(model="strip@3", started="", records=7, run_length=1e6, block=10, quantities=(),
            ...                      faults=(), alarms=())
            >>> status.samples()[0]
            ('ringlight_watch_records_total', {'model': 'strip@3'}, 7.0)
        """
        model = {"model": self.model}
        found = [(f"{PREFIX}records_total", model, float(self.records)), (f"{PREFIX}alarms", model, len(self.alarms))]
        for one in self.quantities:
            labels = {**model, "quantity": one.name}
            numbers = {
                "alarm": float(one.alarm), "evidence": one.evidence, "recent": one.recent, "reference": one.mean,
                "reference_low": one.low, "reference_high": one.high, "recent_records": float(one.num_recent),
                "psi": one.psi, "psi_limit": one.psi_limit,
            }  # fmt: skip
            found += [(PREFIX + name, labels, float(value)) for name, value in numbers.items() if value is not None]
        for fault in self.faults:
            labels = {**model, "fault": fault.name}
            found.append((f"{PREFIX}confirmed_total", labels, float(fault.confirmed)))
            found.append((f"{PREFIX}faults_total", labels, float(fault.faults)))
        return found
