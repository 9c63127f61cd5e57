"""How runs look on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import typer

from ringlight.cli.render import print_table, shown
from ringlight.errors import UserError
from ringlight.training.progress import clock

if TYPE_CHECKING:
    from ringlight.services.run_deletion import Deletion
    from ringlight.services.run_details import RunDetails

LONGEST = 60
"""Characters of a configuration's value, such as a list of weights, in a table; --json has it whole."""


def when(moment: datetime | None) -> str | None:
    """Return a moment as a table shows it, in UTC to the minute.

    Examples:
        >>> when(datetime(2026, 3, 1, 12, 30, 59, tzinfo=UTC))
        '2026-03-01 12:30'
    """
    return None if moment is None else moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M")


def duration(seconds: float | None) -> str | None:
    """Return a duration as h:mm:ss.

    Examples:
        >>> duration(3725.4)
        '1:02:05'
    """
    return None if seconds is None else clock(seconds)


def size(num_bytes: int) -> str:
    """Return a size in the unit that reads best.

    Examples:
        >>> [size(number) for number in (0, 1023, 1536, 5 * 2**30)]
        ['0 B', '1023 B', '1.5 KiB', '5.0 GiB']
    """
    units = ("KiB", "MiB", "GiB", "TiB")
    if num_bytes < 1024:
        return f"{num_bytes} B"
    power = min((num_bytes.bit_length() - 1) // 10, len(units))
    return f"{num_bytes / 1024**power:.1f} {units[power - 1]}"


def columns_of(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the columns of a table of epochs, in order of appearance."""
    return list(dict.fromkeys(name for row in rows for name in row)) or ["epoch"]


def print_details(details: RunDetails) -> None:
    """Print all that is known of a run, the most important first."""
    card = details.card
    facts = [
        ("run", card.name), ("status", f"{card.status}: {card.error}" if card.error else card.status),
        ("kind", card.kind), ("recipe", card.recipe), ("seed", card.seed), ("device", card.device),
        ("started (UTC)", when(card.started)), ("took", duration(card.seconds)), ("folder", str(details.folder)),
        ("reproducible", details.reproducibility), ("came of", details.parent),
        ("came of it", ", ".join([*details.children, *map(_version, details.versions)]) or None),
        *_data(details), ("epochs", details.num_epochs or None), *_best(details),
    ]  # fmt: skip
    told = [(name, str(value)) for name, value in facts if value is not None]
    width = max(len(name) for name, _ in told)
    for name, value in told:
        print(f"{name:<{width}}  {value}")
    if details.scores:
        rows = [(name, score["value"], *(score["interval"] or (None, None))) for name, score in details.scores.items()]
        _print_below(("score", "value", "low", "high"), rows)
    if details.differences:
        rows = [(key, _short(before), _short(after)) for key, (before, after) in details.differences.items()]
        _print_below(("configuration", details.against, "this run"), rows)
    if details.artifacts:
        rows = [(one["path"], one["kind"], size(one["num_bytes"])) for one in details.artifacts]
        _print_below(("file", "kind", "size"), rows)
    if details.events:
        rows = [(one["at"], one["what"], _short((one["data"] or {}).get("error"))) for one in details.events]
        _print_below(("when", "what", "error"), rows)


def _version(version: Mapping[str, Any]) -> str:
    return f"{version['name']}@{version['version']}" + (" (active)" if version["is_active"] else "")


def _data(details: RunDetails) -> list[tuple[str, Any]]:
    snapshot, split = details.snapshot, details.split
    found = []
    if snapshot is not None:
        found.append(("data", f"{snapshot['num_records']} records, {snapshot['task']}, {len(snapshot['classes'])} "
                              f"classes, fingerprint {snapshot['fingerprint'][:12]}"))  # fmt: skip
    if split is not None:
        sizes = ", ".join(f"{count} {part}" for part, count in split["sizes"].items())
        found.append(("split", f"{sizes} ({split['method']}, seed {split['seed']})"))
    return found


def _best(details: RunDetails) -> list[tuple[str, str]]:
    best = details.best or {}
    if best.get("epoch") is None:
        return []
    monitor = best["monitor"]
    value = best["metrics"].get(f"val/{monitor}")
    return [("best epoch", f"{best['epoch'] + 1}, val {monitor} {shown(value)}")]


def _short(value: Any) -> str | None:
    if value is None:
        return None
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _print_below(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    print()
    print_table(columns, rows)


def print_deletion(plan: Deletion) -> None:
    """Print all that would go with a run."""
    print_table(("file", "size"), [(f"{plan.path}/{name}", size(count)) for name, count in plan.files.items()])
    rows = ", ".join(f"{count} in {table}" for table, count in plan.rows.items() if count)
    print(f"{len(plan.files)} files, {size(plan.num_bytes)}; rows: {rows}")
    if plan.versions:
        print(f"versions that stay and no longer name it: {', '.join(plan.versions)}")


def require_consent(question: str, given: bool) -> None:
    """Ask on a terminal before something goes for good; elsewhere it must have been said beforehand.

    Raises:
        UserError: nobody can be asked.
    """
    if given:
        return
    if not sys.stdin.isatty():
        raise UserError("--yes where nobody can be asked", got="none", where=question.rstrip("?"), fix="add --yes")
    typer.confirm(question, abort=True, err=True)
