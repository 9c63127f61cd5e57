"""What looks on while a model serves: its watch, and the folder of what is worth labelling."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ringlight.runtime import LOGGER, workspace_folder

if TYPE_CHECKING:
    from ringlight.inference.decisions import Result
    from ringlight.inference.sampling_folder import SamplingFolder
    from ringlight.inference.watching import Watch
    from ringlight.services.serving import Served

WATCH = "watch"
"""Where the state of watches lies in a workspace."""
FRESH_SECONDS = 1.0
"""How old the numbers may be: they are asked for after every batch, and cost as much as some records."""


class Onlooker:
    """Hears of every batch of a model; the model without a reference has no watch, but may have a folder.

    Args:
        watch: compares what it sees with the reference.
        samples: keeps what is worth labelling.
    """

    def __init__(self, watch: Watch | None, samples: SamplingFolder | None) -> None:
        self._watch = watch
        self._samples = samples
        self._numbers: dict[str, float] = {}
        self._told_at = -FRESH_SECONDS

    def observe(self, result: Result, inputs: npt.NDArray[np.float32], originals: Sequence[Any]) -> None:
        """Take a batch: its result, its inputs (B, ...), and the files or arrays they came of.

        Raises:
            DataError: the watch refuses it.
        """
        if self._watch is not None:
            self._watch.observe(result, inputs)
        if self._samples is not None:
            self._samples.offer(result, originals)

    def confirm(self, record: str, labels: Sequence[str]) -> bool:
        """Take the truth of a record; False where it is not remembered."""
        return self._watch is not None and self._watch.confirm(record, labels)

    def numbers(self) -> dict[str, float]:
        """Return what the watch knew at most :data:`FRESH_SECONDS` ago, by name; nothing without one."""
        now = time.monotonic()
        if self._watch is not None and now - self._told_at >= FRESH_SECONDS:
            self._numbers, self._told_at = self._watch.status().numbers(), now
        return self._numbers

    def close(self) -> None:
        """Keep what the watch knows for the next start."""
        if self._watch is not None:
            self._watch.save()


def onlooker_of(
    served: Served, *, samples: Path | None = None, max_files: int = 1000, max_bytes: int = 1 << 30, worker: int = 0,
    workspace: Path | str | None = None,
) -> Onlooker | None:  # fmt: skip
    """Return what looks on, None for a model without a reference where nothing is to be kept.

    Args:
        served: the model.
        samples: where what is worth labelling is kept, in a folder of the model's name; None keeps nothing.
        max_files: in that folder, at most.
        max_bytes: in that folder, at most.
        worker: the number of the process; each after the first has folders of its own.
        workspace: where the state of the watch is kept.

    Raises:
        DataError: the reference is damaged, or the folder's index is.
    """
    from ringlight.inference.sampling_folder import SamplingFolder
    from ringlight.inference.watch_reference import TAKE
    from ringlight.inference.watching import Watch

    bundle, watch = served.predictor.bundle, None
    own = served.name if worker == 0 else f"{served.name}-{worker}"
    if bundle.watch:
        watch = Watch.of_bundle(bundle, model=served.name, folder=workspace_folder(workspace) / WATCH / own)
    else:
        LOGGER.warning("%s is not watched: it has no reference; %s", served.name, TAKE)
    folder = None
    if samples is not None:
        folder = SamplingFolder(samples.expanduser().absolute() / own, max_files=max_files, max_bytes=max_bytes)
    return None if watch is None and folder is None else Onlooker(watch, folder)
