"""`ringlight models`: versions of models, which of them is active, and who made it so."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ringlight.cli.options import Json, Workspace
from ringlight.cli.render import print_json, print_table, shown
from ringlight.errors import UserError

if TYPE_CHECKING:
    from ringlight.services.activations import Activation
    from ringlight.services.version_deletion import Deletion

app = typer.Typer(
    help="Register models as versions of a name, activate them, go back.", no_args_is_help=True, rich_markup_mode=None
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The name of a model.")]
Number = Annotated[str, typer.Argument(metavar="VERSION", help="The number of a version, or `active`.")]
Who = Annotated[str | None, typer.Option(metavar="NAME", help="Who does it (default: whoever is logged in).")]
Why = Annotated[str | None, typer.Option(metavar="TEXT", help="A sentence for the audit trail.")]


@app.command("list", short_help="List versions, the latest of each name first.")
def list_(
    name: Annotated[str | None, typer.Option(metavar="NAME", help="Only of this name.")] = None,
    kind: Annotated[
        str | None, typer.Option(metavar="KIND", help="Only of this kind: detection, view, defect or window.")
    ] = None,
    active: Annotated[bool, typer.Option("--active", help="Only those that are active.")] = False,
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """List versions, the latest of each name first."""
    from ringlight.services.registered import list_versions

    found = list_versions(name=name, kind=kind, active=active, workspace=workspace)
    if json:
        print_json([one.to_dict() for one in found])
        return
    rows = [
        (one.name, one.version, "yes" if one.is_active else "", one.kind, one.label, one.run, one.description)
        for one in found
    ]
    print_table(("name", "version", "active", "kind", "label", "run", "description"), rows)


@app.command(short_help="Show a version: scores, run, data, and when it was active.")
def show(name: Name, version: Number = "active", workspace: Workspace = None, json: Json = False) -> None:
    """Show a version: its scores, the run and the data it came of, and what happened to its name."""
    from ringlight.services.activations import trail
    from ringlight.services.registered import get_version

    name, at, named = name.partition("@")  # as `predict` takes it: strips@3
    version = named if at else version
    found = get_version(name, version, workspace=workspace)
    changes = trail(name, workspace=workspace)
    if json:
        print_json({**found.to_dict(), "activations": [change.to_dict() for change in changes]})
        return
    for key in ("kind", "label", "description", "run", "snapshot", "path", "checksum"):
        value = getattr(found, key)
        if value is not None:
            print(f"{key}: {value}")
    print(f"classes: {', '.join(found.classes)}")
    print_table(("score", str(found)), [(key, value) for key, value in found.metrics.items()])
    _print_trail(changes)


def _print_trail(changes: list[Activation]) -> None:
    rows = [
        (
            None if change.at is None else f"{change.at:%Y-%m-%d %H:%M:%S}", change.action, change.from_version,
            change.to_version, change.who, "passed" if change.gate else "", change.why,
        )
        for change in changes
    ]  # fmt: skip
    print_table(("at (UTC)", "action", "from", "to", "who", "gate", "why"), rows, title="activations, the latest first")


@app.command(short_help="Copy the model of a finished run into the workspace as a version.")
def register(
    model: Annotated[str, typer.Argument(metavar="RUN", help="A finished run (its folder or name), or a bundle.")],
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="What the model is called (default: the recipe of the run).")
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option(
            metavar="KIND",
            help="detection, view, defect or window (default: window for windows, view for recipes that begin so, "
            "else defect).",
        ),
    ] = None,
    description: Annotated[
        str | None, typer.Option(metavar="TEXT", help="A sentence for those who come later.")
    ] = None,
    who: Who = None,
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Copy the model of a finished run into the workspace as the next version of a name.

    \b
    ringlight models register RUN
    ringlight models register RUN --name strips --description "with the new camera"
    """
    from ringlight.services.versions import register as do

    made = do(model, name=name, kind=kind, description=description, who=who, workspace=workspace)
    if json:
        print_json(made.to_dict())
    else:
        print(f"{made}: {made.label}, {made.kind}, in {made.path}")


@app.command(short_help="Make a version the one that serves; --gate asks first whether it is worse.")
def activate(
    name: Name,
    version: Number,
    who: Who = None,
    why: Why = None,
    gate: Annotated[
        bool,
        typer.Option(
            "--gate", help="Refuse it where a guarded class is worse than with the active one, on one test set."
        ),
    ] = False,
    guard: Annotated[
        list[str] | None,
        typer.Option(metavar="CLASS", help="Guard this class (may be repeated; default: every class)."),
    ] = None,
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Make a version the active one of its name, once its files are found as they were registered.

    \b
    ringlight models activate strips 3 --why "fewer overkills on line 2"
    ringlight models activate strips 3 --gate --guard scratch --guard crack
    """
    from ringlight.services.activations import activate as do

    done = do(name, version, who=who, why=why, gate=gate, guard=guard or (), workspace=workspace)
    _print_change(done, json)


@app.command(short_help="Go back to the version that was active before.")
def rollback(name: Name, who: Who = None, why: Why = None, workspace: Workspace = None, json: Json = False) -> None:
    """Go back to the version that was active before; once more goes one further back."""
    from ringlight.services.activations import rollback as do

    _print_change(do(name, who=who, why=why, workspace=workspace), json)


@app.command(short_help="Leave a name without an active version.")
def deactivate(name: Name, who: Who = None, why: Why = None, workspace: Workspace = None, json: Json = False) -> None:
    """Leave a name without an active version."""
    from ringlight.services.activations import deactivate as do

    _print_change(do(name, who=who, why=why, workspace=workspace), json)


def _print_change(done: Activation, json: bool) -> None:
    if json:
        print_json(done.to_dict())
        return
    if not done.changed:
        print(f"{done.name}@{done.to_version} is active already")
        return
    now = "no version is active" if done.to_version is None else f"{done.name}@{done.to_version} is active"
    before = "none was before" if done.from_version is None else f"before: {done.name}@{done.from_version}"
    print(f"{now} ({before}), by {done.who}")
    if done.gate is not None:
        _print_gate(done.gate)


def _print_gate(gate: dict[str, Any]) -> None:
    against = "" if gate["against"] is None else f" against {gate['against']}"
    print(f"gate: passed{against}, {gate['note']}")
    rows = [
        (name, found["difference"], found["low"], found["high"], found["num_records"])
        for name, found in gate["classes"].items()
    ]
    if rows:
        print_table(("recall of", "difference", "low", "high", "records"), rows)


@app.command(short_help="Put two versions side by side, with the interval of each difference.")
def compare(
    name: Name,
    first: Annotated[str, typer.Argument(metavar="VERSION", help="The version that the other is compared with.")],
    second: Annotated[str, typer.Argument(metavar="VERSION", help="The other.")],
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Put two versions side by side: scores, and the interval of each difference on the records both were judged on."""
    from ringlight.services.version_compare import compare_versions

    found = compare_versions(name, first, second, workspace=workspace)
    if json:
        print_json(found.to_dict())
        return
    print_table(("score", str(found.first), str(found.second), "difference"), found.rows())
    for line in found.lines():
        print(line)


@app.command(short_help="Delete a version with its files, after listing them.")
def delete(
    name: Name,
    version: Number,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List what would go; delete nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    who: Who = None,
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Delete a version with its files: exactly what is listed, unless it is active or a job uses it."""
    from ringlight.services.version_deletion import delete as do
    from ringlight.services.version_deletion import plan_deletion

    plan = plan_deletion(name, version, workspace=workspace)
    if not json:
        _print_plan(plan)
    if not dry_run:
        if not yes:
            _ask(plan, asks=not json and sys.stdin.isatty())
        do(plan, who=who, workspace=workspace)
    if json:
        print_json({**plan.to_dict(), "deleted": not dry_run})
    else:
        print("nothing was deleted" if dry_run else f"deleted {name}@{plan.version}")


def _print_plan(plan: Deletion) -> None:
    listed = plan.to_dict()["files"]
    print_table(("file", "bytes"), [(file["path"], file["num_bytes"]) for file in listed])
    print(f"{len(listed)} files, {shown(plan.num_bytes / 1e6)} MB; the row of {plan.name}@{plan.version}")
    if plan.jobs:
        print(f"jobs that forget which version they used: {', '.join(map(str, plan.jobs))}")


def _ask(plan: Deletion, *, asks: bool) -> None:
    if not asks:
        raise UserError("--yes", got="nobody to ask", where="ringlight models delete", fix="look with --dry-run first")
    if not typer.confirm("Delete this?"):
        raise UserError("yes", got="no", where=f"{plan.name}@{plan.version}", fix="nothing was deleted")
