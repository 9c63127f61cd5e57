"""The folds of a prepared data set: divided as the section `cv` asks, on the groups a run's split would keep whole."""

from __future__ import annotations

from dataclasses import replace

from ringlight.data.folds_methods import Division, cross_validation_folds
from ringlight.training.plan import Prepared
from ringlight.training.splitting import grouped_as_configured
from ringlight.types import Dataset, Split


def divided(prepared: Prepared) -> Division:
    """Divide prepared data into the folds of the section `cv`.

    Raises:
        SplitError: the records cannot be divided as asked, or a fold leaks.
    """
    config, cv = prepared.config, prepared.config.cv
    found = grouped_as_configured(config, prepared.inspection.dataset, prepared.cache)
    division = cross_validation_folds(
        found.dataset, method=cv.method, n_splits=cv.n_splits, repeats=cv.repeats, val_share=cv.val_share,
        seed=config.experiment.seed, keep_groups=found.whole, allow_leak=config.split.allow_leak, origin=found.origin,
    )  # fmt: skip
    return replace(division, notes=(*found.notes, *division.notes))


def grouped_folds(prepared: Prepared) -> tuple[Dataset, list[Split]]:
    """Return the records with their groups filled in, and a split (train, val, test) for each fold.

    The folds of the first repeat come first. `val` is held out from the fold's training records.

    Raises:
        SplitError: the records cannot be divided as asked, or a fold leaks.
    """
    division = divided(prepared)
    return division.dataset, list(division.splits)
