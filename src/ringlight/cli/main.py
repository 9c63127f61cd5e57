"""`ringlight`: exit code 0, 2 for the user's mistake, 1 for a fault, 130 for Ctrl-C; tracebacks only with --debug."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ringlight.cli import crossval, data, export, jobs, judging, predict, runs, serve, tune, versions, watch, worker
from ringlight.cli.options import Json, Workspace
from ringlight.cli.render import fail, print_json, print_table, print_verdict, training_progress
from ringlight.errors import RinglightError, UserError
from ringlight.runtime import LOGGER, configure_logging

if TYPE_CHECKING:
    from ringlight.services.runs import Run

app = typer.Typer(
    name="ringlight",
    help="Label, split, train, judge, activate, watch: inspection models a plant can trust.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: it reads the same in a log, in a pipe and on a narrow terminal
    epilog="Start with `ringlight doctor` and `ringlight demo`; `ringlight COMMAND --help` has examples.",
)
app.add_typer(data.app, name="data")
app.add_typer(jobs.app, name="jobs")
versions.app.command(short_help="Write a model for another runtime, proved to be the same model.")(export.export)
app.add_typer(versions.app, name="models")
app.add_typer(runs.app, name="runs")
app.add_typer(serve.keys, name="keys")

Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="KEY=VALUE...", help="Configuration keys: training.num_epochs=20 ...")
]


@app.callback()
def _common(
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Say more.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    configure_logging(int(verbose or debug))
    if not debug:
        for handler in LOGGER.handlers:
            if getattr(handler, "ringlight_console", False):
                handler.addFilter(lambda record: not record.exc_info)  # a traceback is for --debug and for train.log


@app.command(short_help="Make strips, train a small model on them, judge it.")
def demo(overrides: Overrides = None, workspace: Workspace = None, json: Json = False) -> None:
    """Make steel strips, train a small model on them, judge it: offline, in a few minutes."""
    _train("demo", overrides or [], None, workspace, json)


@app.command()
def train(
    recipe: Annotated[
        str | None, typer.Argument(metavar="RECIPE", help="A recipe's name (`ringlight train` alone lists them).")
    ] = None,
    overrides: Overrides = None,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A YAML file: part of a configuration, or a run's whole one.")
    ] = None,
    resume: Annotated[
        str | None, typer.Option(metavar="RUN", help="Go on with an interrupted run (its folder or name).")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would happen; train nothing.")] = False,
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Train a recipe and judge it.

    \b
    ringlight train folder data.root=parts/ --dry-run
    ringlight train folder data.root=parts/ model.name=resnet18 training.num_epochs=20
    ringlight train --config RUN/config.yaml
    ringlight train --resume RUN
    """
    given = [*([recipe] if recipe else []), *(overrides or [])]
    if resume is not None:
        _resume(resume, given, config, workspace, json)
        return
    recipe = given.pop(0) if given and "=" not in given[0] else None
    if dry_run:
        _dry_run(recipe, given, config, workspace, json)
    else:
        _train(recipe, given, config, workspace, json)


def _train(recipe: str | None, overrides: list[str], config: Path | None, workspace: Path | None, json: bool) -> None:
    with training_progress() as control:
        from ringlight.services import runs  # takes seconds: the bar is there before

        run = runs.train(recipe, overrides, file=config, workspace=workspace, control=control)
    _report(run, json)


def _resume(name: str, others: list[str], config: Path | None, workspace: Path | None, json: bool) -> None:
    if others or config is not None:
        raise UserError(
            "--resume RUN alone",
            got=" ".join([*others, *([f"--config {config}"] if config else [])]),
            where="ringlight train",
            fix="a resumed run keeps its configuration; leave the rest out",
        )
    with training_progress() as control:
        from ringlight.services import runs

        run = runs.resume(name, workspace=workspace, control=control)
    _report(run, json)


def _report(run: Run, json: bool) -> None:
    if json:
        print_json({**run.results, "folder": str(run.folder)})
    else:
        print_verdict(run.results, run.folder)


def _dry_run(recipe: str | None, overrides: list[str], config: Path | None, workspace: Path | None, json: bool) -> None:
    from ringlight.services import dry_run

    preview = dry_run.dry_run(recipe, overrides, file=config, workspace=workspace)
    if json:
        print_json(preview.to_dict())
        return
    print(preview.config_yaml.rstrip(), end="\n\n")
    print_table(("class", *preview.parts), preview.class_rows(), title="data")
    for line in preview.lines:
        print(line)


@app.command()
def doctor(workspace: Workspace = None, json: Json = False) -> None:
    """Check that a training would work here; exit code 1 on a fault."""
    from ringlight.services.doctor import examine

    checks = examine(workspace)
    if json:
        print_json([{"name": check.name, "ok": check.ok, "detail": check.detail} for check in checks])
    else:
        for check in checks:
            print(check)
    if not all(check.ok for check in checks):
        raise typer.Exit(1)


app.command(short_help="Train a recipe once a fold, and tell how far its scores can be trusted.")(crossval.crossval)
app.command(short_help="Judge a trained model again, also on new data.")(judging.evaluate)
app.command(short_help="Put runs side by side, with the interval of each difference.")(judging.compare)
app.command(short_help="Score images or windows with a trained model.")(predict.predict)
app.command(short_help="Search better settings for a recipe.")(tune.tune)
app.command(short_help="Compare a line with what its model was validated on.")(watch.watch)
app.command(short_help="Run the jobs that wait.")(worker.worker)
app.command(short_help="Serve models over HTTP.")(serve.serve)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    # `ringlight train -v` and `ringlight -v train` are both what people type.
    common = [word for word in arguments if word in ("-v", "--verbose", "--debug")]
    arguments = common + [word for word in arguments if word not in common]
    try:
        app(arguments, prog_name="ringlight")
    except RinglightError as error:
        if "--debug" in common:
            raise
        fail(str(error))
        return error.exit_code
    except SystemExit as stop:  # Typer's own way to end: help, a wrong option, typer.Exit
        return stop.code if isinstance(stop.code, int) else 0
    # Whatever a library raises, a plant's operator gets one line; whoever mends it has --debug and the run's log.
    except Exception as error:
        if "--debug" in common:
            raise
        told = " ".join(f"{type(error).__name__}: {error}".split())
        fail(f"internal error: {told}; run again with --debug and report what it prints")
        return 1
    return 0
