"""`ringlight crossval`: train a recipe once a fold, and tell how far its scores can be trusted."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ringlight.cli.options import Json, Workspace
from ringlight.cli.render import print_json, print_table, print_verdict, training_progress
from ringlight.errors import UserError

if TYPE_CHECKING:
    from ringlight.training.fold_results import CrossValidation

MANY = 30
"""Folds beyond which the table of folds is left to the report."""

SCORES = ("macro_f1", "accuracy", "balanced_accuracy", "auroc")
"""What is told of each fold, beside the headline."""


def crossval(
    recipe: Annotated[
        str | None, typer.Argument(metavar="RECIPE", help="A recipe's name (`ringlight train` alone lists them).")
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE...", help="Configuration keys: cv.method=kfold ...")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A YAML file: part of a configuration, or a run's whole one.")
    ] = None,
    resume: Annotated[
        str | None, typer.Option(metavar="RUN", help="Go on with an interrupted one (its folder or name).")
    ] = None,
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Cross-validate a recipe: train it once a fold, judge every record by a model that did not know it.

    \b
    ringlight crossval folder data.root=parts/ cv.n_splits=5 cv.repeats=3
    ringlight crossval folder data.root=parts/ cv.method=leave_one_group_out
    ringlight crossval --resume RUN

    cv.method: stratified_kfold, kfold, group_kfold, stratified_group_kfold, time_series, leave_one_out,
    leave_one_group_out; auto (the default) keeps groups whole and classes in proportion.
    """
    given = [*([recipe] if recipe else []), *(overrides or [])]
    if resume is not None and (given or config is not None):
        raise UserError(
            "--resume RUN alone", got=" ".join([*given, *([f"--config {config}"] if config else [])]),
            where="ringlight crossval", fix="a resumed cross-validation keeps its configuration; leave the rest out",
        )  # fmt: skip
    name = given.pop(0) if given and "=" not in given[0] else None
    with training_progress() as control:
        from ringlight.services import crossval as service  # takes seconds: the bar is there before

        if resume is not None:
            found = service.resume(resume, workspace=workspace, control=control)
        else:
            found = service.cross_validate(name, given, file=config, workspace=workspace, control=control)
    if json:
        print_json({**found.results, "folder": str(found.folder)})
    else:
        _print(found)


def _print(found: CrossValidation) -> None:
    """Print the folds, mean and interval of the main scores, and the verdict on the out-of-fold prediction."""
    from ringlight.training.fold_results import summary_line

    names = list(dict.fromkeys((found.metric, *(name for name in SCORES if name in found.summaries))))
    if len(found.folds) <= MANY:
        groups = any(card["test"]["num_groups"] not in (None, card["test"]["num_records"]) for card in found.folds)
        columns = (
            *(("repeat",) if found.repeats > 1 else ()), "fold", "trained", "held out", "tested",
            *(("groups",) if groups else ()), *names,
        )  # fmt: skip
        rows = [
            (
                *((card["repeat"] + 1,) if found.repeats > 1 else ()), card["fold"] + 1,
                *(card[part]["num_records"] for part in ("train", "val", "test")),
                *((_groups(card),) if groups else ()), *(card["scores"].get(name) for name in names),
            )
            for card in found.folds
        ]  # fmt: skip
        print_table(columns, rows, title=f"folds, {found.method}")
    card = found.to_dict()
    for name in names:
        print(summary_line({**card, **found.summaries[name].to_dict(), "metric": name}))
    print()
    print_verdict(found.results, found.folder)


def _groups(card: Mapping[str, Any]) -> str | int | None:
    """Return the group a fold tests on by its name, several by their number."""
    names = card.get("test_groups")
    if names and len(names) == 1:
        return str(names[0])
    number: int | None = card["test"]["num_groups"]
    return number
