"""`ringlight worker`: run the jobs that wait."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ringlight.cli.render import print_json
from ringlight.errors import UserError

if TYPE_CHECKING:
    from ringlight.services.worker import Mode


def worker(
    devices: Annotated[
        str | None,
        typer.Option(metavar="LIST", help="cpu, cuda:0,cuda:1, ... (default: every GPU there is, and the CPU)."),
    ] = None,
    capacity: Annotated[int, typer.Option(min=1, help="Jobs that share a device.")] = 1,
    once: Annotated[bool, typer.Option("--once", help="Run one job, waiting for it if need be, then end.")] = False,
    drain: Annotated[bool, typer.Option("--drain", help="End when no job waits that fits.")] = False,
    lease: Annotated[
        float, typer.Option(min=1.0, help="Seconds until another worker takes over from one that is not heard of.")
    ] = 60.0,
    grace: Annotated[float, typer.Option(min=0.0, help="Seconds a job may take to stop before it is made to.")] = 30.0,
    workspace: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Whose jobs (default: RINGLIGHT_WORKSPACE, else ./workspace)."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print how many jobs were run, as JSON, in the end.")] = False,
) -> None:
    """Run the jobs of a workspace, each in a process of its own, until Ctrl-C or SIGTERM; then they are put back.

    \b
    ringlight worker
    ringlight worker --devices cuda:0,cuda:1
    ringlight worker --devices cpu --drain
    """
    if once and drain:
        raise UserError("--once or --drain", got="both", where="ringlight worker", fix="leave one out")
    from ringlight.services.worker import Worker
    from ringlight.services.worker_slots import slots_of

    mode: Mode = "once" if once else "drain" if drain else "serve"
    count = Worker(workspace, slots_of(devices, capacity), lease_seconds=lease, grace_seconds=grace).run(mode)
    if json:
        print_json({"jobs": count})
