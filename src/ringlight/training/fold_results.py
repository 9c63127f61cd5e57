"""What a cross-validation came to: mean, spread and interval over the folds, and the out-of-fold prediction judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ringlight.data.folds_methods import Division
from ringlight.errors import did_you_mean
from ringlight.evaluation.cross_validated import FoldSummary, bounds_of, summarize_folds
from ringlight.training.fold_files import FoldResult
from ringlight.training.results_file import Results
from ringlight.types import Dataset, Prediction

OUT_OF_FOLD = "out-of-fold"
"""What the judged part of a cross-validation is called."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossValidation:
    """The folds of a cross-validation, summarised.

    Attributes:
        metric: the score that `mean`, `std`, `low`, `high` and `scores` tell.
        confidence: of the interval from `low` to `high` (:mod:`ringlight.evaluation.cross_validated`).
        method, num_folds, repeats: how the records were divided.
        folds: a card for each fold of each repeat: sizes, groups, records of each class, leak check, scores.
        summaries: of every score, by name.
        out_of_fold: the score over the out-of-fold prediction at once.
        prediction: the out-of-fold prediction of the first repeat; None where an estimator gives no scores.
        notes: what a reader should know, a line each.
        folder: the run folder; None for estimators, which leave none.
        results: what `results.json` of that folder holds.
    """

    metric: str
    confidence: float
    method: str
    num_folds: int
    repeats: int
    folds: tuple[Mapping[str, Any], ...]
    summaries: Mapping[str, FoldSummary]
    out_of_fold: float | None = None
    prediction: Prediction | None = None
    notes: tuple[str, ...] = ()
    folder: Path | None = None
    results: Mapping[str, Any] = field(default_factory=dict)

    @property
    def summary(self) -> FoldSummary:
        """Mean, spread and interval of the chosen score."""
        return self.summaries[self.metric]

    @property
    def mean(self) -> float | None:
        """Mean of the chosen score over all folds of all repeats."""
        return self.summary.mean

    @property
    def std(self) -> float | None:
        """Standard deviation of the folds' scores (J - 1 in the denominator)."""
        return self.summary.std

    @property
    def low(self) -> float | None:
        """Lower end of the interval of the mean."""
        return self.summary.low

    @property
    def high(self) -> float | None:
        """Upper end of the interval of the mean."""
        return self.summary.high

    @property
    def scores(self) -> list[float | None]:
        """The chosen score of each fold."""
        return [card["scores"].get(self.metric) for card in self.folds]

    @property
    def leaky(self) -> bool:
        """Whether a fold was tested on what it was trained on."""
        return any(card["leaks"] for card in self.folds)

    def __getitem__(self, name: str) -> Any:
        """Return a value by name: `mean`, `std`, `low`, `high`, `scores`, `folds`, or a score such as `accuracy`."""
        if name in _ITEMS:
            return getattr(self, name)
        if name in self.summaries:
            return self.summaries[name].mean
        raise KeyError(f"`{name}`: {did_you_mean(name, (*_ITEMS, *self.summaries))}")

    def to_dict(self) -> dict[str, Any]:
        """Return plain values: what `results.json` holds under `cross_validation`."""
        return {
            "method": self.method,
            "num_folds": self.num_folds,
            "repeats": self.repeats,
            "metric": self.metric,
            "confidence": self.confidence,
            "leaky": self.leaky,
            **self.summary.to_dict(),
            "out_of_fold": self.out_of_fold,
            "scores": {name: summary.to_dict() for name, summary in self.summaries.items()},
            "folds": [dict(card) for card in self.folds],
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        rows = "\n".join(
            f"{_place(card, self.repeats):>14}  {_three(card['scores'].get(self.metric))}" for card in self.folds
        )
        return f"{self.metric}, {self.method}\n{rows}\n{summary_line(self.to_dict())}"


_ITEMS = ("mean", "std", "low", "high", "scores", "folds", "metric", "method", "out_of_fold", "prediction", "leaky")


def summary_line(card: Mapping[str, Any]) -> str:
    """Say mean, spread and interval in one line.

    Args:
        card: what :meth:`CrossValidation.to_dict` returns.

    Examples:
        >>> summary_line({"metric": "accuracy", "mean": 0.9, "std": 0.02, "low": 0.86, "high": 0.94, "num_folds": 5,
        ...     "repeats": 2, "confidence": 0.95})
        'accuracy 0.900 ± 0.020 over 10 folds, 95% interval [0.860, 0.940]'
    """
    number = card["num_folds"] * card["repeats"] if "repeats" in card else card["num_folds"]
    spread = "" if card["std"] is None else f" ± {card['std']:.3f}"
    interval = (
        "" if card["low"] is None else f", {card['confidence']:.0%} interval [{card['low']:.3f}, {card['high']:.3f}]"
    )
    return f"{card['metric']} {_three(card['mean'])}{spread} over {number} folds{interval}"


def _place(card: Mapping[str, Any], repeats: int) -> str:
    return f"fold {card['fold'] + 1}" if repeats == 1 else f"repeat {card['repeat'] + 1}, fold {card['fold'] + 1}"


def _three(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def summaries_of(
    cards: Sequence[Mapping[str, Any]], names: Sequence[str], pooled: Mapping[str, float | None], *, confidence: float
) -> dict[str, FoldSummary]:
    """Summarise scores over folds.

    Args:
        cards: the folds' cards.
        names: the scores.
        pooled: the scores of the out-of-fold prediction at once, which are told where a fold tests on a single record:
            an F1 or an area under a curve of one record means nothing, nor does its spread.
        confidence: of the intervals.
    """
    if all(card["test"]["num_records"] == 1 for card in cards):
        return {name: FoldSummary(pooled.get(name), None, None, None, len(cards)) for name in names}
    share = float(np.mean([_share(card) for card in cards]))
    return {
        name: summarize_folds(
            [card["scores"].get(name) for card in cards], test_share=share, confidence=confidence,
            bounds=bounds_of(name),
        )
        for name in names
    }  # fmt: skip


SINGLE = "a fold tests on one record: scores are those of the out-of-fold prediction, without spread over folds"


def _share(card: Mapping[str, Any]) -> float:
    given = card["train"]["num_records"] + (card.get("val") or {}).get("num_records", 0)
    return float(card["test"]["num_records"] / given)


def out_of_fold(division: Division, found: Sequence[FoldResult], *, raw: bool = False) -> tuple[Dataset, Prediction]:
    """Put the calibrated scores of the first repeat (`raw`: those before calibration) together.

    Returns:
        The records that were tested on and their prediction, in the order of the data set; with `time_series` the
        oldest records are not among them.
    """
    data = division.dataset
    first = range(division.num_folds)
    rows = np.concatenate([division.splits[index].test for index in first])
    order = np.argsort(rows, kind="stable")
    logits = np.concatenate([found[index].raw if raw else found[index].prediction.logits for index in first])[order]
    tested = data.take(rows[order])
    return tested, Prediction(tested.ids, logits, data.classes, data.task, tested.targets())


def cross_validation_of(results: Results, prediction: Prediction | None = None) -> CrossValidation:
    """Return the cross-validation that a `results.json` holds."""
    card = results["cross_validation"]
    summaries = {name: FoldSummary(**values) for name, values in card["scores"].items()}
    return CrossValidation(
        metric=card["metric"], confidence=card["confidence"], method=card["method"], num_folds=card["num_folds"],
        repeats=card["repeats"], folds=tuple(card["folds"]), summaries=summaries, out_of_fold=card["out_of_fold"],
        prediction=prediction, notes=tuple(card["notes"]), folder=results.folder, results=results,
    )  # fmt: skip
