"""`ringlight watch`: does the line still look like what its model was validated on? Exit code 4 when it does not."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ringlight.cli.options import Json, Workspace
from ringlight.cli.render import print_json, print_table
from ringlight.errors import UserError

if TYPE_CHECKING:
    from ringlight.inference.watch_status import WatchStatus

ALARM = 4
"""The exit code when an alarm stands: the command worked, the line has changed."""


def watch(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL",
            help="A run (its folder or name), a bundle folder, or a version: NAME, NAME@3. With --url: a name there.",
        ),
    ] = None,
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="PATH...", help="Images or folders of images, in the order of the line; for windows .npz files."
        ),
    ] = None,
    results: Annotated[
        Path | None, typer.Option(metavar="FILE", help="What `ringlight predict --out` wrote (.csv, .parquet, .jsonl).")
    ] = None,
    url: Annotated[str | None, typer.Option(metavar="URL", help="Ask a running server instead.")] = None,
    labels: Annotated[
        Path | None, typer.Option(metavar="FILE", help="What turned out to be true: columns `id` and `label`.")
    ] = None,
    reference: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Compare with this, in place of the model's own reference.")
    ] = None,
    take_reference: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the records of PATH as a reference; watch nothing.")
    ] = None,
    state: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Go on with the watch that is kept here, and keep it.")
    ] = None,
    samples: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Keep uncertain and unknown images here, for labelling.")
    ] = None,
    block: Annotated[
        int | None, typer.Option(min=1, help="Records that count as one (default: as the reference says, 10 or more).")
    ] = None,
    acknowledge: Annotated[bool, typer.Option("--acknowledge", help="Take back the alarms that stand, first.")] = False,
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Compare a line with the records its model was validated on; exit code 4 when an alarm stands.

    \b
    ringlight watch strip@3 today/ --state watch/
    ringlight watch strip@3 --state watch/ --labels confirmed.csv
    ringlight watch strip@3 good_production/ --take-reference strip.json
    ringlight watch --url http://127.0.0.1:8000
    """
    given = {"PATH": bool(paths), "--results": results is not None, "--labels": labels is not None,
             "--acknowledge": acknowledge, "--state": state is not None}  # fmt: skip
    if url is not None:
        used = [name for name, there in given.items() if there]
        if used:
            fix = "leave them out: the server has its own watch"
            raise UserError("--url without files", got=", ".join(used), where="ringlight watch", fix=fix)
        statuses = _from_server(url, model)
    elif model is None:
        raise UserError("a model, or --url", got="neither", where="ringlight watch", fix="name the model first")
    elif take_reference is not None:
        _take(model, paths or [], take_reference, workspace, json)
        return
    else:
        if not any(given.values()):
            fix = "name images, --results FILE or --state FOLDER"
            raise UserError("something to watch", got="a model alone", where="ringlight watch", fix=fix)
        from ringlight.services.watch import watch_model

        found = watch_model(
            model, paths or [], results=results, labels=labels, reference=reference, state=state, samples=samples,
            block=block, acknowledge=acknowledge, workspace=workspace,
        )  # fmt: skip
        statuses = [found.status]
    if json:
        print_json([status.to_dict() for status in statuses] if url is not None else statuses[0].to_dict())
    else:
        for status in statuses:
            print_status(status)
    if any(status.alarms for status in statuses):
        raise typer.Exit(ALARM)


def _from_server(url: str, model: str | None) -> list[WatchStatus]:
    from ringlight.services.watch_server import watch_server

    found = watch_server(url)
    named = [status for status in found if model in (None, status.model)]
    if not named:
        known = ", ".join(status.model for status in found)
        raise UserError("a model that is watched there", got=f"`{model}`", where=url, fix=f"choose from: {known}")
    return named


def _take(model: str, paths: list[Path], out: Path, workspace: Path | None, json: bool) -> None:
    if not paths:
        fix = "name images of good production"
        raise UserError("records to take the reference from", got="none", where="--take-reference", fix=fix)
    from ringlight.services.watch import take_reference

    found = take_reference(model, paths, out, workspace=workspace)
    if json:
        print_json(found.to_dict())
    else:
        number = max(one.num_records for one in found.quantities)
        print(f"reference of {len(found.quantities)} quantities of {number} records: {out}")


def print_status(status: WatchStatus) -> None:
    """Print a watch as a table, the nearest to an alarm first, and its alarms."""
    rows = [
        (one.name, one.mean, one.low, one.high, one.recent, one.psi, one.psi_limit, one.evidence, one.alarm)
        for one in sorted(status.quantities, key=lambda one: -one.evidence)
    ]
    columns = ("quantity", "reference", "low", "high", "now", "PSI", "PSI limit", "evidence", "alarm")
    print_table(
        columns, [(*row[:-1], "ALARM" if row[-1] else "") for row in rows],
        title=f"{status.model}: {status.records} records",
    )  # fmt: skip
    for fault in status.faults:
        validated = "" if fault.expected is None else f"; {fault.expected:.4f} when it was validated"
        rate = "-" if fault.rate is None else f"{fault.rate:.4f} [{fault.low:.4f}, {fault.high:.4f}]"
        print(f"{fault.name}: {fault.faults} of {fault.confirmed} confirmed, {rate}{validated}")
    for alarm in status.alarms:
        print(f"ALARM {alarm}")
    if not status.alarms:
        print("no alarm")
