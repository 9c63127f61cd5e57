"""`ringlight jobs`: work that waits for a worker, and survives it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ringlight.cli.options import Json, Workspace
from ringlight.cli.render import follow_bar, print_json, print_json_line, print_table, shown
from ringlight.errors import UserError
from ringlight.training.progress import clock

if TYPE_CHECKING:
    from ringlight.services.jobs import Job

app = typer.Typer(
    name="jobs", help="Put work into the queue, and see how it stands.",
    no_args_is_help=True, rich_markup_mode=None,
)  # fmt: skip

Number = Annotated[int, typer.Argument(metavar="ID", help="The number of a job.")]

RECIPES = ("train", "tune", "crossval")
MAIN_SCORES = ("macro_f1", "micro_f1", "accuracy", "balanced_accuracy")
METRICS = ("train/loss", "val/loss", *(f"val/{name}" for name in MAIN_SCORES))


@app.command(short_help="Put a job into the queue; mistakes are told at once.")
def submit(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="train, evaluate, tune, crossval or predict.")],
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="WHAT...", help="RECIPE [KEY=VALUE...]; evaluate: RUN [DATA] [KEY=VALUE...]; predict: MODEL PATH..."
        ),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A YAML file laid over the recipe (train, tune, crossval).")
    ] = None,
    priority: Annotated[int, typer.Option(help="The greater goes first.")] = 0,
    device: Annotated[
        str | None, typer.Option(metavar="NAME", help="auto, cpu, cuda or cuda:N (default: as configured).")
    ] = None,
    memory: Annotated[
        float | None, typer.Option(min=0.0, metavar="GIB", help="Main memory that must be free before it begins.")
    ] = None,
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Put a job into the queue; mistakes in it are told at once.

    \b
    ringlight jobs submit train folder data.root=parts/ training.num_epochs=20
    ringlight jobs submit evaluate RUN new_parts/ --priority 5
    ringlight jobs submit predict RUN images/
    """
    values = _payload(kind, list(words or ()), config)
    from ringlight.services import jobs

    job = jobs.submit(
        kind, values, priority=priority, device=device, memory_gib=memory, workspace=workspace
    )  # fmt: skip
    if json:
        print_json(job.to_dict())
    else:
        print(f"job {job.id}: {job.kind} {job.about} {job.state}; follow it with ringlight jobs follow {job.id}")


def _payload(kind: str, words: list[str], config: Path | None) -> dict[str, Any]:
    overrides = [word for word in words if "=" in word]
    names = [word for word in words if "=" not in word]
    if config is not None and kind not in RECIPES:
        raise UserError(f"--config with {', '.join(RECIPES)}", got=kind, where="jobs submit", fix="leave it out")
    if kind == "predict":
        return {"model": words[0] if words else "", "paths": [str(Path(word).absolute()) for word in words[1:]]}
    most = 2 if kind == "evaluate" else 1
    if len(names) > most:
        raise UserError(
            "a run and at most one source of data" if kind == "evaluate" else "one recipe, then KEY=VALUE",
            got=" ".join(names), where="jobs submit", fix="submit a job for each",
        )  # fmt: skip
    first = names[0] if names else None
    if kind == "evaluate":
        return {"model": first or "", "source": names[1] if len(names) > 1 else None, "overrides": overrides}
    file = None if config is None else str(config.expanduser().absolute())
    return {"recipe": first, "overrides": overrides, "file": file}


@app.command(name="list")
def list_(
    state: Annotated[
        list[str] | None, typer.Option("--state", metavar="STATE", help="Only these; may be given again.")
    ] = None,
    kind: Annotated[str | None, typer.Option(metavar="KIND", help="Only this kind.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="No more than this many, the latest first.")] = 50,
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """List jobs, the latest first."""
    from ringlight.services import jobs

    found = jobs.list_jobs(states=state or (), kind=kind, limit=limit, workspace=workspace)
    if json:
        print_json([job.to_dict() for job in found])
        return
    columns = ("id", "state", "kind", "what", "done", "priority", "device", "run", "submitted", "why")
    print_table(columns, [_row(job) for job in found])


def _row(job: Job) -> Sequence[object]:
    done = "" if job.percent is None else f"{job.percent:.0f}%"
    return (
        job.id, job.state, job.kind, job.about, done, job.priority, job.device, job.run, _time(job.created),
        job.reason if job.state in ("queued", "failed") else "",
    )  # fmt: skip


@app.command(short_help="Show a job, and what happened to it.")
def show(number: Number, workspace: Workspace = None, json: Json = False) -> None:
    """Show a job: how it stands and why, how far it is, what happened to it, and what came of it."""
    from ringlight.services import jobs

    job, events = jobs.show(number, workspace), jobs.history(number, workspace)
    if json:
        story = [{"at": one.at.isoformat(), "what": one.what, "who": one.who, "why": one.why} for one in events]
        print_json({**job.to_dict(), "events": story})
        return
    for name, value in _facts(job):
        print(f"{name}: {value}")
    for note in [*job.progress.get("notes", ()), *(job.result or {}).get("notes", ())]:
        print(f"note: {note}")
    print_table(
        ("at", "what", "who", "why"), [(_time(one.at), one.what, one.who, one.why) for one in events], title="history"
    )


def _facts(job: Job) -> Iterator[tuple[str, object]]:
    yield "job", f"{job.id}, {job.kind} {job.about}"
    yield "state", f"{job.state}: {job.reason}"
    memory = f", {job.memory_gib:g} GiB" if job.memory_gib else ""
    yield "asks for", f"device {job.device}{memory}, priority {job.priority}"
    if job.attempts:
        yield "tries that were lost", f"{job.attempts} of {job.max_attempts}"
    if job.progress.get("done") is not None and job.state != "completed":
        yield "progress", progress_line(job)
    if job.progress.get("memory_gib") and job.worker and job.state == "running":
        gpu = job.progress.get("gpu_gib")
        yield "memory", f"{job.progress['memory_gib']:.2f} GiB" + (f", GPU {gpu:.2f} GiB" if gpu else "")
    metrics = job.progress.get("metrics") or {}
    told = [f"{name} {shown(metrics[name])}" for name in METRICS if metrics.get(name) is not None]
    if told and job.state != "completed":
        yield "metrics", ", ".join(told)
    yield from (("run", job.run) for _ in range(job.run is not None))
    result = job.result or {}
    scores = result.get("scores") or {}
    main = {name: scores[name] for name in MAIN_SCORES if name in scores} or scores
    if main:
        yield "scores", ", ".join(f"{name} {shown(value)}" for name, value in main.items())
    yield from ((name, result[name]) for name in ("file", "recipe", "folder") if result.get(name))
    yield "log", job.log


def progress_line(job: Job) -> str:
    """Say how far a job is: percent, epoch, rate, and when it will end where the run knows."""
    found = job.progress
    parts = [] if job.percent is None else [f"{job.percent:.0f}%"]
    if "fold" in found:
        parts.append(f"fold {int(found['fold']) + 1}/{int(found['num_folds'])}")
    if found.get("num_epochs"):
        parts.append(f"epoch {int(found['epoch']) + 1}/{int(found['num_epochs'])}")
    if found.get("images_per_second"):
        parts.append(f"{found['images_per_second']:.1f} {'windows' if found.get('windows') else 'images'}/s")
    if found.get("elapsed"):
        parts.append(f"{clock(found['elapsed'])} so far")
    if found.get("eta") is not None and job.state == "running":
        parts.append(f"about {clock(found['eta'])} left")
    return ", ".join(parts) or "-"


def _time(moment: datetime) -> str:
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")


@app.command(short_help="Show log and progress until a job ends.")
def follow(number: Number, workspace: Workspace = None, json: Json = False) -> None:
    """Show a job's log and progress until it ends or is paused; exit code 1 where it failed or was cancelled.

    With --json a line for every change: the job, and the new lines of its log.
    """
    from ringlight.services import jobs

    if json:
        for job, lines in jobs.follow(number, workspace=workspace):
            print_json_line({**job.to_dict(), "lines": lines})
            state = job.state
        raise typer.Exit(1 if state in ("failed", "cancelled") else 0)
    _follow(jobs.follow(number, workspace=workspace))


def _follow(changes: Iterator[tuple[Job, list[str]]]) -> None:
    state, job = None, None
    with follow_bar() as bar:
        for job, lines in changes:
            for line in lines:
                print(line)
            if job.state != state and not job.has_ended:
                print(f"job {job.id}: {job.state} ({job.reason})")
            state = job.state
            bar(job.percent, progress_line(job))
    if job is not None:
        print(f"job {job.id}: {job.state} ({job.reason})")
        raise typer.Exit(1 if job.state in ("failed", "cancelled") else 0)


@app.command(short_help="Stop a job after the step it is in.")
def pause(number: Number, workspace: Workspace = None, json: Json = False) -> None:
    """Stop a job after the step it is in; its process ends and its memory is free."""
    from ringlight.services import jobs

    _tell(jobs.pause(number, workspace), json)


@app.command(short_help="Let a paused job go on.")
def resume(number: Number, workspace: Workspace = None, json: Json = False) -> None:
    """Let a paused job go on from where it stopped."""
    from ringlight.services import jobs

    _tell(jobs.resume(number, workspace), json)


@app.command(short_help="End a job for good.")
def cancel(
    number: Number,
    keep_checkpoint: Annotated[
        bool, typer.Option("--keep-checkpoint", help="Keep the run's checkpoints: retry can go on from the last.")
    ] = False,
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """End a job: after the step it is in, by force where it does not listen. Its run is marked as cancelled."""
    from ringlight.services import jobs

    _tell(jobs.cancel(number, keep_checkpoint=keep_checkpoint, workspace=workspace), json)


@app.command(short_help="Let a failed or cancelled job run again.")
def retry(number: Number, workspace: Workspace = None, json: Json = False) -> None:
    """Let a failed or cancelled job run again, from its run's last checkpoint where there is one."""
    from ringlight.services import jobs

    _tell(jobs.retry(number, workspace), json)


def _tell(job: Job, json: bool) -> None:
    if json:
        print_json(job.to_dict())
        return
    print(f"job {job.id}: {job.state} ({job.reason})")
