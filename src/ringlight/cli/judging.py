"""`ringlight evaluate` and `ringlight compare`: judge saved models again, and put runs side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ringlight.cli.options import Json, Workspace
from ringlight.cli.render import print_json, print_table, print_verdict
from ringlight.errors import UserError


def evaluate(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN [DATA] [KEY=VALUE...]",
            help="A run (its folder or name), a bundle or a version (NAME, NAME@3); then a recipe, folder or table of "
            "labelled records to judge it on, and configuration keys that say how to read them. With --ensemble: the "
            "runs.",
        ),
    ],
    ensemble: Annotated[bool, typer.Option("--ensemble", help="Average the scores of all named runs.")] = False,
    data: Annotated[str | None, typer.Option(metavar="DATA", help="The data to judge on (with --ensemble).")] = None,
    operating_point: Annotated[
        str | None, typer.Option(metavar="NAME", help="Decide by this stored operating point, or `default`.")
    ] = None,
    tta_runs: Annotated[
        int | None, typer.Option(min=1, max=8, help="Views of each image whose scores are averaged; 1 is off.")
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Where to write the report.")] = None,
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Judge a trained model again: on its own test part, or on new data. Nothing is fitted, no threshold moves.

    \b
    ringlight evaluate RUN
    ringlight evaluate RUN new_parts/
    ringlight evaluate RUN_A RUN_B RUN_C --ensemble
    """
    names = [word for word in models if "=" not in word]
    overrides = [word for word in models if "=" in word]
    sources = [*names[1:], *([] if data is None else [data])]
    if not names:
        raise UserError("a run", got="keys alone", where="ringlight evaluate", fix="name it first: its folder or name")
    if not ensemble and len(sources) > 1:
        raise UserError(
            "one run, and at most one source of data", got=" ".join([names[0], *sources]), where="ringlight evaluate",
            fix="put --ensemble to average runs, or use ringlight compare to put them side by side",
        )  # fmt: skip
    if ensemble and (operating_point is not None or tta_runs is not None):
        raise UserError(
            "--ensemble without --operating-point and --tta-runs", got="both", where="ringlight evaluate",
            fix="leave them out: no threshold was fixed for the mean of several models",
        )  # fmt: skip
    from ringlight.services import evaluations

    if ensemble:
        found = evaluations.evaluate_ensemble(names, data, overrides, out=out, workspace=workspace)
    else:
        found = evaluations.evaluate(
            names[0], sources[0] if sources else None, overrides, operating_point=operating_point, tta_runs=tta_runs,
            out=out, workspace=workspace,
        )  # fmt: skip
    if json:
        print_json({**found.results, "folder": str(found.folder)})
    else:
        print_verdict(found.results, found.folder)


def compare(
    runs: Annotated[
        list[str], typer.Argument(metavar="RUN...", help="Runs (folder or name), results.json files, or patterns.")
    ],
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown.")] = False,
    figure: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw the differences with their intervals into this PNG.")
    ] = None,
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Put runs side by side: scores, the interval of each difference, and what was set differently."""
    from ringlight.services.runs import compare_runs, draw_comparison

    comparison = compare_runs(runs, workspace=workspace)
    if figure is not None:
        draw_comparison(comparison, figure)
    if json:
        print_json(comparison.to_dict())
    elif markdown:
        print(comparison.to_markdown())
    else:
        print_table(comparison.columns, comparison.rows)
        for line in comparison.lines():
            print(line)
