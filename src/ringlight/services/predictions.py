"""Score files with a saved model, or with several: images, or windows of a signal."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ringlight.data.files import find_images
from ringlight.data.window_spec import WindowSpec
from ringlight.errors import DataError
from ringlight.inference.decisions import Result
from ringlight.inference.streaming import Batch, Item, judged
from ringlight.runtime import workspace_folder
from ringlight.services.model_places import load_model
from ringlight.services.prediction_files import Done
from ringlight.services.prediction_inputs import Inputs, WindowInputs, read_windows
from ringlight.services.prediction_models import Asked

NO_VERDICT = "no verdict"
"""How parts are counted that nothing says are good or bad."""


@dataclass(slots=True)
class Tally:
    """What was judged: `verdicts` counts `ok`, `defect`, `human` and those without a verdict.

    `errors` could not be judged, `fault` is what was wrong with the first of them; `skipped` were judged before,
    `former_errors` of them with an error.
    """

    verdicts: dict[str, int] = field(default_factory=dict)
    errors: int = 0
    fault: str | None = None
    skipped: int = 0
    former_errors: int = 0

    @property
    def seen(self) -> int:
        """How many records were gone through now: judged, or found to be unreadable."""
        return sum(self.verdicts.values()) + self.errors

    def add(self, batch: Batch) -> None:
        """Count a batch."""
        for fault in batch.faults:
            if fault is not None:
                self.errors += 1
                self.fault = self.fault or str(fault)
        for verdict in [] if batch.result is None else batch.result.verdicts:
            name = verdict or NO_VERDICT
            self.verdicts[name] = self.verdicts.get(name, 0) + 1

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "judged": sum(self.verdicts.values()), "verdicts": dict(self.verdicts), "errors": self.errors,
            "first_error": self.fault, "skipped": self.skipped, "former_errors": self.former_errors,
        }  # fmt: skip


def inputs_of(
    asked: Asked, words: Sequence[str | Path], *, recursive: bool = True, lines: Iterable[str] | None = None,
    workspace: Path | str | None = None,
) -> Inputs:  # fmt: skip
    """Return what words name, of the kind that the model takes.

    Raises:
        DataError: a word that names nothing that the model could take.
    """
    spec = asked.scorer.first.bundle.input_spec
    if isinstance(spec, WindowSpec):
        cache = workspace_folder(workspace) / "cache"
        return WindowInputs(words, spec, cache, recursive=recursive, lines=lines)
    return Inputs(words, recursive=recursive, lines=lines)


def judge_all(
    asked: Asked, items: Iterable[Item], keep: Callable[[list[dict[str, Any]]], None], *, tally: Tally,
    done: Done | None = None, batch_size: int | None = None, on_batch: Callable[[Batch], None] | None = None,
    told: Callable[[Tally], None] | None = None,
) -> None:  # fmt: skip
    """Judge records one batch after the other; memory does not grow with their number.

    Args:
        asked: the models.
        items: the records, taken as they are needed.
        keep: is given the rows of every batch.
        tally: counts, also where it is stopped on the way.
        done: records that have their row already, and are left out.
        batch_size: at most so many at once.
        on_batch: is given every batch before its rows are kept, with the records themselves.
        told: is told how far it is, after every batch.
    """
    fresh = items if done is None else _not_done(items, done, tally)
    # Windows lie in memory: there is nothing to read ahead.
    readers = 0 if asked.scorer.takes_windows else READERS
    for batch in judged(asked.scorer, fresh, batch_size=batch_size, readers=readers):
        if on_batch is not None:
            on_batch(batch)
        keep(batch.rows())
        tally.add(batch)
        if told is not None:
            told(tally)


READERS = 2
"""Threads that decode images while the model runs."""


def _not_done(items: Iterable[Item], done: Done, tally: Tally) -> Iterable[Item]:
    tally.former_errors = done.errors
    for item in items:
        if item.id in done:
            tally.skipped += 1
        else:
            yield item


def predict_files(
    model: Path | str,
    paths: Sequence[Path],
    *,
    batch_size: int | None = None,
    threshold: float | None = None,
    operating_point: str | None = None,
    workspace: Path | str | None = None,
) -> Result:
    """Score images, a folder standing for every image below it, in order of name; or the windows of one file or folder.

    Everything is held in memory, and what cannot be read ends it. Windows come from an `.npz` file or a folder of
    recordings, which are cut as the model needs them; no labels are needed.

    Raises:
        DataError: an image cannot be read, or a folder holds none; windows of other channels or another length.
        BundleError: the model is missing, damaged, or of an unknown version.
        RunError: there is no such run.
    """
    loaded = load_model(model, workspace=workspace, threshold=threshold, operating_point=operating_point)
    spec = loaded.bundle.input_spec
    if not isinstance(spec, WindowSpec):
        files = [file for path in paths for file in _files(path.expanduser())]
        return loaded.predict(files, batch_size=batch_size)
    if len(paths) != 1:
        raise DataError(
            "one .npz file or one folder of recordings", got=f"{len(paths)} paths", where="predict_files",
            fix="predict them one after the other",
        )  # fmt: skip
    return loaded.predict_records(read_windows(paths[0], spec, workspace_folder(workspace) / "cache"))


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    images = list(find_images(path).images.values())
    if not images:
        raise DataError("at least one image", got="none", where=str(path), fix="name images, or a folder that has some")
    return images
