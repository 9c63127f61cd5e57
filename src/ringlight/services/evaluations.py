"""Judge saved models again: on their run's own test part or on new data, alone or as an ensemble. Nothing is fitted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ringlight.data.checks import Inspection
from ringlight.data.faults import first_of
from ringlight.errors import RunError
from ringlight.files import unwritable, write_json
from ringlight.inference.tta import Space
from ringlight.runtime import LOGGER, workspace_folder
from ringlight.services.judged_records import named_records, part_of_run, require_input, require_run
from ringlight.services.saved_models import SavedModel, open_model, seed_of, stored_results
from ringlight.services.standing import MANIFEST
from ringlight.training.evaluate import check_members, conform, join, overlap
from ringlight.training.judge import Verdict, verdict_of, verdict_on, write_predictions
from ringlight.training.pages import write_pages
from ringlight.training.records import check_dataset
from ringlight.training.results import RESULTS_VERSION, data_card, part_card
from ringlight.training.rules import Rules
from ringlight.training.splitting import grouped_as_configured
from ringlight.types import Dataset

if TYPE_CHECKING:
    from torch import nn

NEW_DATA = "new data"
"""What the judged part is called when it is not the run's own."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A judgement: the folder with its report, and what its `results.json` holds."""

    folder: Path
    results: dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Judged:
    """The records to judge: what they are called, and what `results.json` holds under `dataset` and `split`."""

    part: str
    data: Dataset
    card: dict[str, Any]
    split: dict[str, Any]


def evaluate(
    model: Path | str,
    source: str | None = None,
    overrides: Sequence[str] = (),
    *,
    operating_point: str | None = None,
    tta_runs: int | None = None,
    out: Path | None = None,
    workspace: Path | str | None = None,
) -> Evaluation:
    """Judge a run (or a bundle) again; calibration and thresholds stay as they were fixed on validation.

    Args:
        model: a run folder, the (beginning of the) name of a run, or a bundle folder.
        source: a recipe, a folder or a table with labelled records; None takes the run's own test part.
        overrides: configuration keys that say how the source is read.
        operating_point: another of the stored points, or `default`.
        tta_runs: views of each image; None as the model was saved.
        out: the folder to write; None makes one in the run's `evaluations/`.
        workspace: where runs are looked up by name.

    Raises:
        RunError: there is no such run, it has no model, or its data changed.
        BundleError: the model is damaged.
        DataError: records that the model cannot be judged on.
    """
    _check_out(out)
    opened = open_model(model, workspace, operating_point, tta_runs)
    judged = _own_part(opened, workspace) if source is None else _new_data(opened, source, overrides, workspace)
    with opened.conditions():
        verdict = verdict_on(
            judged.part, judged.data, opened.learner, opened.rules, opened.settings,
            seed=seed_of(opened), in_chans=opened.bundle.input_spec.in_chans,
        )  # fmt: skip
    results = _results(opened, judged, verdict)
    home = opened.run or workspace_folder(workspace)
    return _written(out or _new_folder(home, judged.data.name), results, verdict)


def evaluate_records(
    model: Path | str,
    records: Dataset,
    *,
    module: nn.Module | None = None,
    criterion: nn.Module | None = None,
    out: Path | None = None,
    workspace: Path | str | None = None,
) -> Evaluation:
    """Judge a run (or a bundle) on records that are at hand (:mod:`ringlight.training.arrays`).

    Args:
        model: as in :func:`evaluate`.
        records: labelled.
        module: the model itself, where it is in no catalogue.
        criterion: the training's loss, to be told of these records.
        out: the folder to write; None makes one in the run's `evaluations/`.
        workspace: where runs are looked up by name.

    Raises:
        RunError: there is no such run, or it has no model.
        BundleError: the model is damaged.
        DataError: records that the model cannot be judged on.
    """
    _check_out(out)
    opened = open_model(model, workspace, None, None, module)
    inspection = check_dataset(records)
    require_input(opened.bundle.input_spec, inspection)
    data = conform(inspection.dataset, opened.bundle.classes, opened.bundle.task, where=records.name)
    origin = "given" if data.groups is not None else "none"
    judged = _judged_new(opened, data, data, origin, inspection)
    with opened.conditions():
        verdict = verdict_on(
            judged.part, judged.data, opened.learner, opened.rules, opened.settings,
            seed=seed_of(opened), in_chans=opened.bundle.input_spec.in_chans, criterion=criterion,
        )  # fmt: skip
    home = opened.run or workspace_folder(workspace)
    return _written(out or _new_folder(home, records.name), _results(opened, judged, verdict), verdict)


def evaluate_ensemble(
    models: Sequence[Path | str],
    source: str | None = None,
    overrides: Sequence[str] = (),
    *,
    space: Space = "probability",
    out: Path | None = None,
    workspace: Path | str | None = None,
) -> Evaluation:
    """Judge the mean of several models, by default on the test part of the first; the arguments are `evaluate`'s.

    Each member's scores are calibrated as it was saved; the mean decides by the default rule, since no threshold was
    fixed for it.

    Raises:
        RunError: fewer than two models, other classes, or a member that was trained or tuned on the records.
    """
    _check_out(out)
    opened = [open_model(model, workspace, None, None) for model in models]
    check_members([one.member for one in opened])
    first = opened[0]
    judged = _own_part(first, workspace) if source is None else _new_data(first, source, overrides, workspace)
    for one in opened:
        _refuse_seen(one, judged)
    if source is None:
        judged = replace(judged, split=_with_leaks_of(opened, judged.split))
    with first.conditions():
        joined = join([one.member for one in opened], judged.data, first.settings, space=space, seed=seed_of(first))
    rules = Rules(task=first.rules.task, classes=first.rules.classes, good_class=first.rules.good_class)
    verdict = verdict_of(
        judged.part, judged.data, joined.prediction, rules, first.settings, seed=seed_of(first),
        in_chans=first.bundle.input_spec.in_chans,
    )  # fmt: skip
    names = [one.name for one in opened]
    results = _results(first, judged, verdict)
    results |= {
        "run": f"ensemble of {' + '.join(names)}",
        "ensemble": joined.card,
        "model": {**results["model"], "name": f"ensemble of {len(names)}"},
        # What is the first member's own would be read as the ensemble's.
        "best": {"monitor": None},
        "hyper_parameters": {},
        "timings": {},
        "notes": list(judged.data.notes),
    }
    return _written(out or _new_folder(workspace_folder(workspace), "ensemble"), results, verdict)


def _own_part(opened: SavedModel, workspace: Path | str | None) -> _Judged:
    """Return the part the run was judged on, exactly as its split file says."""
    run = require_run(opened, "test", "name the data: ringlight evaluate MODEL DATA")
    results = stored_results(run)
    data = part_of_run(opened, results["judged_part"], workspace, fix="judge the new data: ringlight evaluate RUN DATA")
    return _Judged(results["judged_part"], data, results["dataset"], results["split"])


def _new_data(opened: SavedModel, source: str, overrides: Sequence[str], workspace: Path | str | None) -> _Judged:
    """Open labelled records, number their labels as the model does, and look whether it has seen them."""
    shown, inspection, data = named_records(opened, source, overrides, workspace)
    found = grouped_as_configured(shown.config, data, shown.cache)
    return _judged_new(opened, data, found.dataset, found.origin, inspection)


def _judged_new(opened: SavedModel, data: Dataset, grouped: Dataset, origin: str, inspection: Inspection) -> _Judged:
    """Look whether the model has seen the records, and say what they are; `grouped` has its groups filled in."""
    seen = overlap(grouped, opened.trained_on)
    leaks = [f"the model was trained or tuned on {first_of(seen)} of these files"] if seen else []
    for leak in leaks:
        LOGGER.warning(leak)
    compared = (
        "files compared with those of training and validation, byte for byte; near-duplicates were not looked for"
    )
    split = {
        "strategy": NEW_DATA,
        "seed": seed_of(opened),
        "groups": origin,
        "leak_check": compared if opened.trained_on else "not possible",
        "leaky": bool(leaks),
        "leaks": leaks,
        "num_left_out": 0,
        "probe": None,
        "parts": {NEW_DATA: part_card(grouped)},
    }
    # One data set has one fingerprint, however a model orders its classes and whatever groups were found in it.
    card = {**data_card(data), "fingerprint": inspection.dataset.fingerprint}
    return _Judged(NEW_DATA, grouped, card, split)


def _refuse_seen(opened: SavedModel, judged: _Judged) -> None:
    known = opened.trained_on
    if judged.part == "val" and opened.saved is not None:  # there is no test part, and the report says so
        known = {content: key for content, key in known.items() if opened.saved.parts[key] == "train"}
    seen = overlap(judged.data, known)
    if seen:
        raise RunError(
            "records that no member was trained or tuned on", got=f"those of {opened.name}: {first_of(seen)}",
            where="--ensemble", fix="train the members on one split (split.file=RUN/split.csv), or name other data",
        )  # fmt: skip


def _with_leaks_of(members: Sequence[SavedModel], split: dict[str, Any]) -> dict[str, Any]:
    """Return the split of the first member's test part, marked leaky where another member's split leaks."""
    leaky = [one.name for one in members[1:] if one.run is not None and stored_results(one.run)["split"].get("leaky")]
    lines = [f"the split of the member {name} leaks" for name in leaky]
    return {**split, "leaky": bool(split.get("leaky") or lines), "leaks": [*(split.get("leaks") or ()), *lines]}


def _results(opened: SavedModel, judged: _Judged, verdict: Verdict) -> dict[str, Any]:
    """Return results in the form of a run's, the judged records in the place of its test part."""
    bundle = opened.bundle
    config = dict(bundle.training_config)
    bare: dict[str, Any] = {
        "recipe": config.get("recipe"),
        "experiment": None,
        "model": {**bundle.architecture, "input": bundle.input_spec.to_dict()},
        "hyper_parameters": {},
        "loss": {"name": config.get("loss", {}).get("name")},
        "best": {"monitor": None},
        "timings": {},
        "environment": {"versions": dict(bundle.versions)},
    }
    stored = bare if opened.run is None else stored_results(opened.run)
    notes = judged.data.notes if judged.part == NEW_DATA else stored.get("notes", [])
    return {
        **stored,
        "schema_version": RESULTS_VERSION,
        "run": opened.name,
        "evaluated": datetime.now(UTC).isoformat(timespec="seconds"),
        "dataset": judged.card,
        "split": judged.split,
        **verdict.sections(),
        "ensemble": None,
        "history": [],
        "notes": [*notes, *verdict.rules.notes],
    }


def _check_out(out: Path | None) -> None:
    """Refuse to write over a run, whose results and predictions have the same names.

    Raises:
        RunError: the folder is a run.
    """
    if out is not None and (out / MANIFEST).is_file():
        raise RunError(
            "a folder of its own", got="a run", where=f"--out {out}", fix="leave it out: there is a place in the run"
        )


def _new_folder(home: Path, name: str) -> Path:
    """Make a folder below `evaluations/` that was not there, also when two evaluations end in the same second."""
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    base = home / "evaluations" / f"{name}-{stamp}"
    folder, number = base, 2
    while True:
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            folder, number = base.with_name(f"{base.name}-{number}"), number + 1
        except OSError as error:
            raise unwritable(folder, error) from error
        else:
            return folder


def _written(folder: Path, results: dict[str, Any], verdict: Verdict) -> Evaluation:
    write_predictions(folder, verdict)
    write_pages(results, verdict.pictures, folder)
    write_json(folder / "results.json", results)
    return Evaluation(folder, results)
