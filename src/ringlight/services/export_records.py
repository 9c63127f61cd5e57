"""Records that an export is proved on, prepared as they are judged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ringlight.errors import DataError
from ringlight.inference.export_parity import Inputs, Sample
from ringlight.services.judged_records import named_records, part_of_run, require_run
from ringlight.services.saved_models import SavedModel
from ringlight.training.feeding import Feeder
from ringlight.types import Dataset


def sample_of(
    opened: SavedModel, source: str | None, overrides: Sequence[str] = (), *, num_records: int,
    workspace: Path | str | None = None, part: str = "val",
) -> Sample:  # fmt: skip
    """Return labelled records of a model's validation part (or another), or of a source that is named.

    Raises:
        RunError: the model stands alone and no source is named, or its run's data changed.
        DataError: there is no record, or none that the model was made for.
    """
    if source is None:
        require_run(opened, "validation", "name labelled records to check the export on: --data SOURCE")
        records = part_of_run(opened, part, workspace, fix="name other records with --data SOURCE")
        told = f"{opened.name}, {part}"
        if not len(records):
            raise DataError(
                "records in the validation part", got="none", where=str(opened.run),
                fix="name labelled records to check the export on: --data SOURCE",
            )  # fmt: skip
    else:
        records = named_records(opened, source, overrides, workspace)[2]
        told = records.name
    chosen = records.take(spaced(len(records), num_records))
    return Sample(
        ids=chosen.ids, targets=np.asarray(chosen.targets()), batches=lambda: batches_of(opened, chosen), source=told,
        groups=chosen.groups,
    )  # fmt: skip


def spaced(total: int, wanted: int) -> list[int]:
    """Return up to `wanted` of `total` rows, evenly spaced, so that records in order of class are all represented.

    Examples:
        >>> spaced(10, 4), spaced(3, 5)
        ([0, 3, 6, 9], [0, 1, 2])
    """
    if total <= wanted:
        return list(range(total))
    return [int(row) for row in np.linspace(0, total - 1, wanted).round()]


def batches_of(opened: SavedModel, records: Dataset) -> Iterator[Inputs]:
    """Yield prepared inputs as they are judged: the same loader, the same batches."""
    for batch in Feeder(opened.bundle.input_spec, opened.learner.device).loader(records):
        yield batch["input"].numpy()
