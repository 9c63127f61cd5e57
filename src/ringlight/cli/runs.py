"""`ringlight runs`: the training history; list, show, compare, go on with, reproduce and delete runs."""

from __future__ import annotations

from typing import Annotated

import typer

from ringlight.cli.options import Json, Workspace
from ringlight.cli.render import print_json, print_table, print_verdict, training_progress
from ringlight.cli.runs_tables import columns_of, duration, print_deletion, print_details, require_consent, when
from ringlight.errors import UserError

app = typer.Typer(name="runs", help="What was trained: list, show, compare, go on, reproduce, delete.")

Name = Annotated[
    str, typer.Argument(metavar="RUN", help="A run: its name, the beginning of it, or its folder; a study, too.")
]


@app.command("list", short_help="List runs, the latest first, or the best.")
def list_(
    status: Annotated[
        list[str] | None, typer.Option(metavar="STATUS", help="Only these: completed, running, failed, ...")
    ] = None,
    recipe: Annotated[str | None, typer.Option(metavar="RECIPE", help="Only those trained from this recipe.")] = None,
    kind: Annotated[str | None, typer.Option(metavar="KIND", help="Only train, crossval or tune.")] = None,
    metric: Annotated[
        str | None, typer.Option(metavar="METRIC", help="The best in this score first: macro_f1, recall/CLASS, ...")
    ] = None,
    at_least: Annotated[float | None, typer.Option(metavar="X", help="Only with METRIC of X or more.")] = None,
    at_most: Annotated[float | None, typer.Option(metavar="X", help="Only with METRIC of X or less.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="No more than this many.")] = None,
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """List runs, the latest first; with --metric the best first.

    \b
    ringlight runs list --status completed --recipe severstal
    ringlight runs list --metric recall/leak --at-least 0.9
    """
    from ringlight.services.run_history import list_runs

    cards = list_runs(
        status=status or (), recipe=recipe, kind=kind, metric=metric, at_least=at_least, at_most=at_most, limit=limit,
        workspace=workspace,
    )  # fmt: skip
    if json:
        print_json([card.to_dict() for card in cards])
        return
    rows = [
        (card.name, card.kind, card.status, card.recipe, card.metric, card.score, when(card.started),
         duration(card.seconds), card.device)
        for card in cards
    ]  # fmt: skip
    print_table(("run", "kind", "status", "recipe", "metric", "score", "started (UTC)", "took", "device"), rows)


@app.command(short_help="Tell all that is known of a run.")
def show(run: Name, workspace: Workspace = None, json: Json = False) -> None:
    """Tell how a run stands, what it was trained on and with, what it scored, what it left and what came of it."""
    from ringlight.services.run_details import show as details_of

    details = details_of(run, workspace=workspace)
    if json:
        print_json(details.to_dict())
    else:
        print_details(details)


@app.command(short_help="Print the end of a run's log, or what its epochs measured.")
def log(
    run: Name,
    lines: Annotated[int, typer.Option(min=0, metavar="N", help="How many lines; 0 is all of them.")] = 40,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run has ended.")] = False,
    epochs: Annotated[
        bool, typer.Option("--epochs", help="Print the table of its epochs (folds, trials) instead.")
    ] = False,
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Print the last lines of a run's log, or with --epochs what each of its epochs measured."""
    from ringlight.services import run_details

    if json and not epochs:
        raise UserError(
            "--json with --epochs", got="--json alone", where="runs log", fix="a log is text: leave --json out"
        )
    if not epochs:
        for line in run_details.log_lines(run, lines=lines, follow=follow, workspace=workspace):
            print(line)
        return
    rows = run_details.epochs(run, workspace=workspace)
    if json:
        print_json(rows)
    else:
        columns = columns_of(rows)
        shown = [{**row, "epoch": row["epoch"] + 1} for row in rows]  # people count from 1, as the log does
        print_table(columns, [[row.get(name) for name in columns] for row in shown])


@app.command(short_help="Put runs side by side, with all that was set differently.")
def compare(
    names: Annotated[list[str], typer.Argument(metavar="RUN...", help="Runs: names, their beginnings, or folders.")],
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Put runs side by side: scores, the interval of each difference, and every key of the configuration that differs.

    `ringlight compare` does the same for runs outside the training history, and draws the differences.
    """
    from ringlight.services.run_details import folder_and_kind, settings_apart

    folders = [folder_and_kind(name, workspace=workspace) for name in names]
    settings = settings_apart([folder for folder, _ in folders])
    from ringlight.services.runs import compare_runs

    comparison = compare_runs([str(folder) for folder, _ in folders])
    if json:
        print_json({**comparison.to_dict(), "configuration": settings})
        return
    print_table(comparison.columns, comparison.rows)
    for line in comparison.lines():
        print(line)
    if settings:
        columns = list(next(iter(settings.values())))
        rows = [(key, *values.values()) for key, values in settings.items()]
        print()
        print_table(("configuration", *columns), rows)


@app.command(short_help="Go on with an interrupted run, cross-validation or study.")
def resume(run: Name, workspace: Workspace = None, json: Json = False) -> None:
    """Go on with an interrupted run, whichever kind it is: train, crossval and tune have --resume for the same."""
    from ringlight.services.run_details import folder_and_kind

    folder, kind = folder_and_kind(run, workspace=workspace)
    if kind == "crossval":
        from ringlight.cli.crossval import crossval

        crossval(resume=str(folder), json=json)
    elif kind == "tune":
        from ringlight.cli.tune import tune

        tune(resume=folder, json=json)
    else:
        with training_progress() as control:
            from ringlight.services import runs as service  # takes seconds: the bar is there before

            found = service.resume(folder, control=control)
        if json:
            print_json({**found.results, "folder": str(found.folder)})
        else:
            print_verdict(found.results, found.folder)


@app.command(
    short_help="Run a run again and compare; exit code 1 where identical numbers were promised and others came."
)
def reproduce(
    run: Name,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the new run also where it is the same.")] = False,
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Run a finished run again, from its configuration, split and data, and compare weights, predictions and scores.

    On one CPU with the same number of threads they are the same to the bit. Where that was not promised (a GPU, another
    processor, other versions) the size of each difference is told. Exit code 1: it was promised and is not so.
    """
    with training_progress() as control:
        from ringlight.services.reproduce import reproduce as run_again  # takes seconds: the bar is there before

        found = run_again(run, keep=keep, workspace=workspace, control=control)
    if json:
        print_json(found.to_dict())
    else:
        for difference in found.differences:
            print(difference)
        print(f"{found.run}: {found.verdict}")
        if found.folder is not None:
            print(f"run: {found.folder}")
    if found.is_broken:
        raise typer.Exit(1)


@app.command("import", short_help="Take runs in that the training history does not know.")
def import_(workspace: Workspace = None, json: Json = False) -> None:
    """Take in runs of older releases, copied ones, and those that the store could not be told of; exit code 1 if some
    could not be read.
    """
    from ringlight.services.imports import import_runs

    told = import_runs(workspace)
    if json:
        print_json(told.to_dict())
    else:
        for word in ("added", "updated", "refused"):
            for line in getattr(told, word):
                print(f"{word}: {line}")
        print(f"{len(told.added)} added, {len(told.updated)} updated, {len(told.refused)} refused")
    if told.refused:
        raise typer.Exit(1)


@app.command(short_help="Delete a run with its files, listed first.")
def delete(
    run: Name,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List what would go; delete nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Delete a run with its files and rows, all of which are listed first.

    Refused while it runs, while a job uses it, an active version came of it, or another run did.
    """
    from ringlight.services.run_deletion import delete as delete_listed
    from ringlight.services.run_deletion import plan_deletion

    plan = plan_deletion(run, workspace=workspace)
    if not json:
        print_deletion(plan)
    if not dry_run:
        require_consent(f"delete {plan.name}?", yes)
        delete_listed(plan)
    if json:
        print_json({**plan.to_dict(), "deleted": not dry_run})
    elif not dry_run:
        print(f"deleted: {plan.name}")
