"""`ringlight data`: look at data before training on it."""

from __future__ import annotations

from collections import Counter
from dataclasses import astuple
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ringlight.cli.options import Json, Workspace
from ringlight.cli.render import print_json, print_table

if TYPE_CHECKING:
    from ringlight.services.datasets import OpenedData
    from ringlight.services.leaks import LeakCheck

app = typer.Typer(help="Count, check, split and preview a data set.", no_args_is_help=True, rich_markup_mode=None)

Source = Annotated[
    str, typer.Argument(metavar="SOURCE", help="A recipe, a folder of images or recordings, an .npz file, or a table.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE...", help="Configuration keys: data.label_regex=... split.strategy=..."),
]


@app.command(short_help="Count records, classes, sizes and boxes.")
def stats(source: Source, overrides: Overrides = None, workspace: Workspace = None, json: Json = False) -> None:
    """Count records, classes, label combinations, image sizes and boxes."""
    from ringlight.services.datasets import open_data

    opened = open_data(source, overrides or [], workspace=workspace)
    found = opened.statistics()
    if json:
        print_json(found.to_dict())
        return
    print_table(("what", "count", "share"), found.rows(), title=opened.title)
    for note in opened.dataset.notes:
        print(f"note: {note}")


@app.command(short_help="Find what cannot be used; exit code 2 when there is any.")
def check(
    source: Source,
    overrides: Overrides = None,
    leaks: Annotated[
        bool, typer.Option("--leaks", help="Also find what belongs together, and what a random split would pretend.")
    ] = False,
    sheet: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Draw the near-duplicate pairs that were found into this PNG; means --leaks."
        ),
    ] = None,
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Find unreadable files, missing or contradicting labels, rare classes; exit code 2 when something is wrong.

    With --leaks, records that belong together are taken from the data's groups or found in the pixels (split.groups),
    and one classifier is scored twice: with random folds, and with folds that keep the groups whole.
    """
    from ringlight.services.datasets import open_data

    leaks = leaks or sheet is not None
    opened = open_data(source, overrides or [], workspace=workspace)
    findings = opened.check()
    wrong = any(finding.severity == "error" for finding in findings)
    if not json:
        for finding in findings:
            print(f"{finding.severity}: {finding}")
        found = Counter(finding.severity for finding in findings)
        counts = ", ".join(f"{number} {kind}{'s' if number > 1 else ''}" for kind, number in found.items())
        what = "records and their images" if opened.dataset.has_content else "records (labels only: no images)"
        if opened.dataset.signals is not None:
            what = "windows"
        print(f"{opened.title}: {len(opened.dataset)} {what} checked, {counts or 'nothing found'}")
    leak_check = _check_leaks(opened, sheet) if leaks and not wrong else None
    if json:
        listed = [finding.to_dict() for finding in findings]
        told = None if leak_check is None else leak_check.to_dict()
        print_json({"findings": listed, "leaks": told} if leaks else listed)
    elif leak_check is not None:
        _print_leaks(leak_check)
    elif leaks:
        print("leaks: not looked for; mend the errors first")
    if wrong:
        raise typer.Exit(2)


def _check_leaks(opened: OpenedData, sheet: Path | None) -> LeakCheck:
    from ringlight.cli.counting import counting
    from ringlight.services.leaks import check_leaks

    with counting() as progress:
        return check_leaks(opened, sheet=sheet, progress=progress)


def _print_leaks(leaks: LeakCheck) -> None:
    for note in leaks.notes:
        print(f"note: {note}")
    if leaks.origin:
        shared = f"{leaks.linked} of {leaks.num_records} records share theirs with another"
        print(f"groups: {leaks.origin}; {leaks.num_groups} groups, {shared}")
    probe = leaks.probe
    if probe is None:
        print(f"leaks: {leaks.obstacle}")
    else:
        rows = [(name, *astuple(score)[:3]) for name, score in (("random", probe.random), ("grouped", probe.grouped))]
        print_table(("split", probe.metric, "low", "high"), rows, title=f"{probe.classifier}, {probe.num_folds} folds")
        print(f"leaks: {probe.sentence}")
    if leaks.sheet is not None:
        print(f"written: {leaks.sheet}")


@app.command(short_help="Split into train, validation and test.")
def split(
    source: Source,
    overrides: Overrides = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write id, split and group to this CSV (split.file reads it).")
    ] = None,
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Split into train, validation and test, and show what each part holds."""
    from ringlight.services.datasets import open_data

    opened = open_data(source, overrides or [], workspace=workspace)
    made = opened.split(out)
    dataset = opened.dataset
    counts = {name: dataset.take(rows).class_counts() for name, rows in made.parts().items() if len(rows)}
    if json:
        sizes = {name: len(made.parts()[name]) for name in counts}
        print_json(
            {
                "strategy": made.strategy, "records": sizes, "left_out": len(made.left_out), "class_counts": counts,
                "groups": made.groups, "leak_check": made.leak_check, "leaks": list(made.leaks),
                "warnings": list(made.warnings),
            }
        )  # fmt: skip
        return
    rows: list[tuple[object, ...]] = [(name, *(part[name] for part in counts.values())) for name in dataset.classes]
    rows.append(("records", *(len(made.parts()[name]) for name in counts)))
    print_table(("class", *counts), rows, title=f"{opened.title}, {made.strategy}")
    for what, told in (("kept whole", made.groups), ("leak check", made.leak_check)):
        if told:
            print(f"{what}: {told}")
    if len(made.left_out):
        print(f"left out: {len(made.left_out)} records")
    for warning in made.warnings:
        print(f"warning: {warning}")
    if out is not None:
        print(f"written: {out}")


@app.command()
def preview(
    source: Source,
    overrides: Overrides = None,
    out: Annotated[Path, typer.Option(metavar="FILE", help="The PNG to write.")] = Path("preview.png"),
    num_samples: Annotated[int, typer.Option(min=1, max=100, help="Records shown.")] = 8,
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Draw originals and augmented samples with labels and boxes."""
    from ringlight.services.datasets import open_data

    path = open_data(source, overrides or [], workspace=workspace).preview(out, num_samples)
    if json:
        print_json({"written": str(path)})
    else:
        print(f"written: {path}")
