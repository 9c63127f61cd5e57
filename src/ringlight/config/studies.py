"""The sections of studies, many trainings of one recipe: cross-validation and tuning."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from ringlight.config.fields import Location, Real, Whole, Word, without_password
from ringlight.config.parts import Section

CvMethod = Literal[
    "auto", "stratified_kfold", "kfold", "group_kfold", "stratified_group_kfold", "time_series", "leave_one_out",
    "leave_one_group_out",
]  # fmt: skip

UNITS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


def _seconds(value: object) -> object:
    """Read a length of time: a number of seconds, or text such as 90s, 30m, 2h.

    Examples:
        >>> _seconds("30m")
        1800.0
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", value) if isinstance(value, str) else None
    if found is None or found[2] not in ("", *UNITS):
        return value
    return float(found[1]) * UNITS[found[2] or "s"]


Duration = Annotated[Real, BeforeValidator(_seconds), Field(gt=0)]
"""Seconds, also written 90s, 30m or 2h."""


class CrossValidationConfig(Section):
    """How `ringlight crossval` divides the records, and how often."""

    method: CvMethod = Field(
        "auto",
        description="auto keeps groups whole and classes in proportion where records have groups "
        "(stratified_group_kfold) and is stratified_kfold where they have none",
    )
    n_splits: Whole = Field(5, ge=2, le=100, description="folds; leave_one_out and leave_one_group_out make their own")
    repeats: Whole = Field(1, ge=1, le=100, description="how often the records are divided anew, each time differently")
    val_share: Real = Field(
        0.15,
        ge=0,
        lt=1,
        description="share of each fold's training records held out for early stopping, calibration and thresholds, "
        "groups kept whole; 0 holds none out and judges the last weights",
    )


class TuneConfig(Section):
    """How `ringlight tune` looks for better settings."""

    method: Literal["bayesian", "random", "grid"] = Field("bayesian", description="how the next trial is chosen")
    n_trials: Whole = Field(50, ge=1, le=100_000, description="trials in all; a grid ends when it is used up")
    timeout: Duration | None = Field(None, description="no trial begins after so long: seconds, or 90s, 30m, 2h")
    metric: Word = Field("macro_f1", description="what is to be best: a validation metric, or loss")
    pruner: Literal["none", "median", "successive_halving", "hyperband"] = Field(
        "median", description="which trials are stopped early, by their scores after each epoch"
    )
    min_epochs: Whole = Field(
        1, ge=1, description="epochs (with objective=crossval: folds) that every trial has before it may be stopped"
    )
    reduction_factor: Whole = Field(
        4, ge=2, le=100, description="successive_halving and hyperband: at each look one trial in so many goes on"
    )
    objective: Literal["validation", "crossval"] = Field(
        "validation", description="what a trial is judged by: the validation part, or the mean over the folds of cv"
    )
    space: dict[str, Any] | Word | None = Field(
        None,
        description="what is searched: KEY: {type: float, low, high, log} | {type: int, low, high, step} | "
        "{type: categorical, choices}, each with an optional when: {KEY: value}; or the name of a shipped space; null "
        "takes the space shipped for the model",
    )
    storage: Annotated[Word, AfterValidator(without_password("~/.pgpass is the place for it"))] | None = Field(
        None,
        description="where trials are kept: null is a file in the study's folder; or postgresql://..., never with a "
        "password",
    )
    workers: Whole = Field(1, ge=1, le=256, description="processes that work on the study")
    folder: Location | None = Field(None, description="the study's folder; one that is there already is gone on with")
