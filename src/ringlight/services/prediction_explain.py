"""Explanations beside predictions: a picture of where the model looked for every record that was judged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from ringlight.errors import UserError
from ringlight.inference.streaming import Batch
from ringlight.services.prediction_models import Asked


def explaining(asked: Asked, folder: Path) -> Callable[[Batch], None]:
    """Return what writes an explanation of every record of a batch into `folder`, for the classes that were decided.

    Raises:
        UserError: an ensemble, whose members look at different places.
        MissingExtraError: the package that explains is not installed.
    """
    if len(asked.scorer.members) > 1:
        raise UserError(
            "one model to explain", got=f"an ensemble of {len(asked.scorer.members)}", where="--explain",
            fix="leave out --ensemble, or explain its members one after the other",
        )  # fmt: skip
    from ringlight.inference.explaining import Explainer, write_explanations

    explainer = Explainer(asked.scorer.first)

    def write(batch: Batch) -> None:
        items = batch.judged
        if not items:
            return
        sources = [item.source for item in items]
        given = np.stack(sources) if asked.scorer.takes_windows else sources
        ids = [item.id for item in items]
        write_explanations(folder, explainer.explain(given, ids, result=batch.result, batch_size=len(items)))

    return write
