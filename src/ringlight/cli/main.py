"""`ringlight`: exit code 0, 2 for the user's mistake, 1 for a fault, 130 for Ctrl-C; tracebacks only with --debug."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from ringlight.cli import data
from ringlight.cli.render import fail, print_json, print_table, print_verdict, training_progress
from ringlight.errors import RinglightError, UserError
from ringlight.runtime import configure_logging

app = typer.Typer(
    name="ringlight",
    help="Label, split, train, judge, activate, watch: inspection models a plant can trust.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(data.app, name="data")

Workspace = Annotated[
    Path | None, typer.Option(help="Where runs are kept (default: RINGLIGHT_WORKSPACE, else ./workspace).")
]
Json = Annotated[bool, typer.Option("--json", help="Print machine-readable JSON on standard output.")]
Overrides = Annotated[list[str] | None, typer.Argument(help="Configuration keys: key=value ...")]


@app.callback()
def _common(
    context: typer.Context,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Say more.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    context.obj = {"debug": debug}
    configure_logging(int(verbose))


@app.command()
def demo(overrides: Overrides = None, workspace: Workspace = None, json: Json = False) -> None:
    """Make steel strips, train a small model on them, judge it: offline, in a few minutes."""
    _train("demo", overrides or [], None, workspace, json)


@app.command()
def train(
    recipe: Annotated[str | None, typer.Argument(help="A recipe's name; --config may name it instead.")] = None,
    overrides: Overrides = None,
    config: Annotated[Path | None, typer.Option(help="A YAML file: part of a configuration, or a run's.")] = None,
    resume: Annotated[str | None, typer.Option(help="Go on with this interrupted run (folder or name).")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would happen; train nothing.")] = False,
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Train a recipe and judge it."""
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
    from ringlight.services import runs

    with training_progress() as control:
        run = runs.train(recipe, overrides, file=config, workspace=workspace, control=control)
    _report(run, json)


def _resume(name: str, others: list[str], config: Path | None, workspace: Path | None, json: bool) -> None:
    from ringlight.services import runs

    if others or config is not None:
        raise UserError(
            "--resume RUN alone",
            got=" ".join([*others, *([f"--config {config}"] if config else [])]),
            where="ringlight train",
            fix="a resumed run keeps its configuration; leave the rest out",
        )
    with training_progress() as control:
        run = runs.resume(name, workspace=workspace, control=control)
    _report(run, json)


def _report(run: object, json: bool) -> None:
    from ringlight.services.runs import Run

    if isinstance(run, Run):
        if json:
            print_json({"run": str(run.folder), **run.results})
        else:
            print_verdict(run.results, run.folder)


def _dry_run(recipe: str | None, overrides: list[str], config: Path | None, workspace: Path | None, json: bool) -> None:
    from ringlight.services import dry_run

    preview = dry_run.dry_run(recipe, overrides, file=config, workspace=workspace)
    if json:
        print_json(preview.to_dict())
        return
    print(preview.config_yaml)
    print_table(("class", *preview.parts), preview.class_rows(), title="data")
    for line in preview.lines:
        print(line)


@app.command()
def predict(
    model: Annotated[str, typer.Argument(help="A bundle folder, or a run (folder or name).")],
    paths: Annotated[list[Path], typer.Argument(help="Images.")],
    batch_size: Annotated[int, typer.Option(min=1, help="Images that go through the model together.")] = 8,
    threshold: Annotated[float, typer.Option(help="Probability from which a multi-label class counts.")] = 0.5,
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Score images with a trained model."""
    from ringlight.services import runs

    result = runs.load_model(model, workspace=workspace, threshold=threshold).predict(
        list(paths), batch_size=batch_size
    )
    rows = result.rows()
    if json:
        print_json(rows)
    else:
        print_table(tuple(rows[0]), [tuple(row.values()) for row in rows])


@app.command()
def compare(
    runs: Annotated[list[str], typer.Argument(help="Run folders, results.json files, or patterns.")],
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Put runs side by side."""
    from ringlight.services.runs import compare_runs

    comparison = compare_runs(runs, workspace=workspace)
    if json:
        print_json({"rows": comparison.to_dicts(), "notes": list(comparison.notes)})
    else:
        print_table(comparison.columns, comparison.rows)
        for note in comparison.notes:
            print(note)


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


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    # `ringlight train -v` and `ringlight -v train` are both what people type.
    common = [word for word in arguments if word in ("-v", "--verbose", "--debug")]
    arguments = common + [word for word in arguments if word not in common]
    try:
        app(arguments)
    except RinglightError as error:
        if "--debug" in common:
            raise
        fail(str(error))
        return error.exit_code
    except SystemExit as stop:  # Typer's own way to end: help, a wrong option, typer.Exit
        return stop.code if isinstance(stop.code, int) else 0
    return 0
