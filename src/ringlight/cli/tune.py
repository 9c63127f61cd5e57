"""`ringlight tune`: search better settings for a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ringlight.cli.options import Json, Workspace
from ringlight.cli.render import print_json, print_table, shown, training_progress
from ringlight.errors import UserError

if TYPE_CHECKING:
    from ringlight.services.tune import StudyResult


def tune(
    recipe: Annotated[str | None, typer.Argument(metavar="RECIPE", help="A recipe's name.")] = None,
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE...", help="Configuration keys: tune.n_trials=50 ...")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A YAML file laid over the recipe: the place for tune.space.")
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Go on with the study in this folder; tune.n_trials may grow.")
    ] = None,
    show_space: Annotated[
        bool, typer.Option("--show-space", help="Print what would be searched; train nothing.")
    ] = False,
    suggest: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Print the space shipped for a model or a family, as YAML.")
    ] = None,
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Search better settings for a recipe: trials on its training and validation parts, never on its test part.

    The same command again goes on with the study. What is searched is `tune.space`, else what is shipped for the model.

    \b
    ringlight tune demo --show-space
    ringlight tune demo tune.method=random tune.n_trials=20 tune.timeout=30m
    ringlight tune --suggest resnet18
    ringlight train --config workspace/studies/demo/best.yaml
    """
    if suggest is not None:
        from ringlight.services.tune import suggested

        print(suggested(suggest), end="")
        return
    given = [*([recipe] if recipe else []), *(overrides or [])]
    recipe = given.pop(0) if given and "=" not in given[0] else None
    if resume is not None and (recipe is not None or config is not None):
        raise UserError(
            "--resume FOLDER, with no recipe and no file", got=recipe or f"--config {config}", where="ringlight tune",
            fix="a study keeps its configuration; leave the rest out",
        )  # fmt: skip
    if show_space:
        _show_space(recipe, given, config, resume, json)
        return
    with training_progress() as control:
        from ringlight.services import tune as studies  # takes seconds: the bar is there before

        found = studies.tune(recipe, given, file=config, resume=resume, workspace=workspace, control=control)
    if json:
        print_json({**found.study, "folder": str(found.folder)})
    else:
        _print(found)


def _show_space(recipe: str | None, overrides: list[str], file: Path | None, resume: Path | None, json: bool) -> None:
    from ringlight.services.tune import configure, space_of

    space, _ = space_of(configure(recipe, overrides, file=file, resume=resume))
    if json:
        print_json({axis.key: axis.to_dict() for axis in space})
    else:
        print_table(("key", "type", "values"), [(axis.key, axis.kind, str(axis)) for axis in space])


def _print(found: StudyResult) -> None:
    study = found.study
    ends = ", ".join(f"{count} {state}" for state, count in study["states"].items() if count)
    print(f"{ends}; {study['epochs']} epochs")
    best = study["best"]
    print_table(("key", "best"), [(key, _text(value)) for key, value in best["values"].items()])
    print(f"best {study['metric']} {best['value']:.4f} in trial {best['number'] + 1} of {study['num_trials']}")
    print(f"report: {found.folder / 'report.html'}")
    print(f"recipe: {found.recipe} (ringlight train --config FILE)")


def _text(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else shown(value)
