"""Watch a model over files, or over results that were written before; take the reference of a watch."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ringlight.data.files import find_images
from ringlight.data.tabular import read_sheet
from ringlight.data.window_spec import WindowSpec
from ringlight.data.window_store import blocks_of
from ringlight.errors import DataError
from ringlight.files import write_json
from ringlight.inference.decisions import Result
from ringlight.inference.predictor import Predictor
from ringlight.inference.sampling_folder import SamplingFolder
from ringlight.inference.watch_reference import FEWEST, Measured, WatchReference, measure
from ringlight.inference.watch_status import WatchStatus
from ringlight.inference.watching import Watch
from ringlight.runtime import LOGGER, workspace_folder
from ringlight.services.model_places import holds_model, load_model
from ringlight.services.prediction_inputs import read_windows, shown_path
from ringlight.services.watch_results import results_of

BATCH_SIZE = 8
Batch = tuple[Result, npt.NDArray[np.float32], list[Path]]
"""What was decided of B records, what the model was given, and the files they came from (none of windows)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """What a call of `ringlight watch` did: the status, and how many labels were confirmed, or not remembered."""

    status: WatchStatus
    confirmed: int = 0
    unmatched: int = 0
    kept: int = 0


def watch_model(
    model: Path | str,
    paths: Sequence[Path] = (),
    *,
    results: Path | None = None,
    labels: Path | None = None,
    reference: Path | None = None,
    state: Path | None = None,
    samples: Path | None = None,
    block: int | None = None,
    acknowledge: bool = False,
    workspace: Path | str | None = None,
) -> Watched:
    """Let records pass before the watch of a model, in the order they are named, and return what it makes of them.

    Args:
        model: a run, a bundle or a version.
        paths: images, folders of images in order of name, or one `.npz` file or folder of recordings for windows.
        results: what `ringlight predict --out` wrote (CSV, Parquet or JSON lines): what the inputs looked like is then
            not watched.
        labels: a CSV or Parquet file with the columns `id` and `label`, of records that were observed, now or before.
        reference: a file that :func:`take_reference` wrote, in place of the model's own.
        state: a folder in which the watch is gone on with; None begins a new one, which is forgotten afterwards.
        samples: a folder in which uncertain and unknown images are kept.
        block: records that count as one observation; the reference's own when None.
        acknowledge: take back the alarms that stand, first.
        workspace: where runs, versions and caches are.

    Raises:
        DataError: no reference; files or labels that cannot be used.
        BundleError, RunError, ModelError: there is no such model.
    """
    loaded = load_model(model, workspace=workspace)
    found = None if reference is None else _read_reference(reference)
    path = Path(str(model)).expanduser()
    name = path.absolute().name if holds_model(path) else str(model)
    watch = Watch.of_bundle(loaded.bundle, reference=found, model=name, folder=state, block=block)
    if acknowledge:
        watch.acknowledge()
    folder = None if samples is None else SamplingFolder(samples)
    kept = 0
    for result, inputs, files in _batches(loaded, paths, workspace) if paths else ():
        watch.observe(result, inputs)
        if folder is not None and files:
            kept += folder.offer(result, files)
    for result in () if results is None else results_of(results, loaded.decider):
        watch.observe(result)
    confirmed, unmatched = (0, 0) if labels is None else _confirm(watch, labels)
    watch.save()
    return Watched(status=watch.status(), confirmed=confirmed, unmatched=unmatched, kept=kept)


def take_reference(
    model: Path | str, paths: Sequence[Path], out: Path, *, workspace: Path | str | None = None
) -> WatchReference:
    """Measure records of good production and write them to `out` as the reference of a watch (JSON).

    For a model that has none, or whose validation part had other shares of the classes than the line has.

    Raises:
        DataError: fewer than 50 records, or files that cannot be used.
        BundleError, RunError, ModelError: there is no such model.
        WorkspaceError: the file cannot be written.
    """
    loaded = load_model(model, workspace=workspace)
    spec = loaded.bundle.input_spec
    channels = spec.channels if isinstance(spec, WindowSpec) else None
    parts: list[Measured] = [
        measure(result, inputs, channels) for result, inputs, _ in _batches(loaded, paths, workspace)
    ]
    number = sum(len(part["confidence"]) for part in parts)
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    found = WatchReference.of([(joined, None)])
    if found is None:
        fix = "take it from more records: limits are narrow from some 300 on"
        raise DataError(f"{FEWEST} records or more", got=str(number), where="--take-reference", fix=fix)
    write_json(out, found.to_dict())
    return found


def _read_reference(path: Path) -> dict[str, Any]:
    fix = "name what `ringlight watch MODEL IMAGES --take-reference FILE` wrote"
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        got = " ".join(f"{type(error).__name__}: {error}".split())
        raise DataError("a reference as JSON", got=got, where=str(path), fix=fix) from error
    if not isinstance(values, dict):
        raise DataError("a reference as JSON", got=type(values).__name__, where=str(path), fix=fix)
    return values


def _confirm(watch: Watch, path: Path) -> tuple[int, int]:
    """Pass on what turned out to be true; return how many records were remembered, and how many were not."""
    sheet = read_sheet(path)
    ids, labels = sheet.cells(sheet.require("id", "--labels")), sheet.lists(sheet.require("label", "--labels"), ";")
    hits = [watch.confirm(key, row) for key, row in zip(ids, labels, strict=True) if key is not None]
    if len(hits) > sum(hits):
        LOGGER.warning("%s: %d of %d ids were not observed by this watch", path, len(hits) - sum(hits), len(hits))
    return sum(hits), len(hits) - sum(hits)


def _batches(loaded: Predictor, paths: Sequence[Path], workspace: Path | str | None) -> Iterator[Batch]:
    spec = loaded.bundle.input_spec
    if isinstance(spec, WindowSpec):
        yield from _windows(loaded, spec, paths, workspace)
        return
    waiting: list[tuple[Path, npt.NDArray[np.float32]]] = []
    seen = 0
    for path in (file for one in paths for file in _images(one.expanduser())):
        try:
            prepared = loaded.prepared(path)
        except DataError as error:
            LOGGER.warning("left out: %s", error)
            continue
        seen += 1
        if waiting and (len(waiting) == BATCH_SIZE or waiting[0][1].shape != prepared.shape):
            yield _predicted(loaded, waiting)
            waiting = []
        waiting.append((path, prepared))
    if not seen:
        fix = "name images, or a folder that has some"
        raise DataError("an image that can be read", got="none", where="ringlight watch", fix=fix)
    yield _predicted(loaded, waiting)


def _predicted(loaded: Predictor, waiting: Sequence[tuple[Path, npt.NDArray[np.float32]]]) -> Batch:
    inputs = np.stack([prepared for _, prepared in waiting])
    names = [shown_path(path) for path, _ in waiting]
    return loaded.predict_prepared(inputs, names), inputs, [path for path, _ in waiting]


def _images(path: Path) -> Iterable[Path]:
    return find_images(path).images.values() if path.is_dir() else [path]


def _windows(
    loaded: Predictor, spec: WindowSpec, paths: Sequence[Path], workspace: Path | str | None
) -> Iterator[Batch]:
    for path in paths:
        data = read_windows(path, spec, workspace_folder(workspace) / "cache")
        done = 0
        for _, windows in blocks_of(data):
            ids = data.ids[done : done + len(windows)]
            done += len(windows)
            inputs = spec.apply(windows).numpy()
            yield loaded.predict_prepared(inputs, ids), inputs, []
