"""Every metric of a prediction on thousands of resamples at once, by weights instead of copied rows.

A resample of groups (Efron 1979; groups are drawn whole: Field & Welsh 2007, JRSS B 69:369) draws each unit so and so
often. Most metrics are functions of sums over records: the sums per unit are formed once, as a sparse matrix, and its
product with the weights (U, C) gives them for C resamples (:mod:`ringlight.evaluation.sums`). Ranked metrics are in
:mod:`ringlight.evaluation.ranking`. The numbers equal those computed on the copied rows.

**What is not defined on a resample is NaN there**, to be left out by whoever reads it: a class that has examples in the
data but none in the resample makes its own recall and F1 undefined, and with them every macro mean. A class without
examples in the data counts 0 in precision, recall and F1, as in :mod:`ringlight.evaluation.metrics`.

Shapes: N records, K classes, U units, C resamples.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ringlight.errors import DataError
from ringlight.evaluation.calibration_gaps import CalibrationGaps, Errors
from ringlight.evaluation.decided import Decided
from ringlight.evaluation.inputs import FloatArray
from ringlight.evaluation.ranking import Ranking
from ringlight.evaluation.sums import RECORD_MEANS, Sums, record_columns
from ringlight.evaluation.units import resamples


class Scores(NamedTuple):
    """Metrics of C resamples: scalars (C,) and, by metric, classes (K, C)."""

    scalars: dict[str, FloatArray]
    per_class: dict[str, FloatArray]
    calibration: dict[str, Errors]
    """`ece` and `ece_mass` (C,), `class_ece` (K, C), with the distances their intervals need."""


class Scorer:
    """Scores one prediction under any weights of its units.

    Args:
        data: the prediction.
        calibration: whether to score its calibration errors too.
    """

    def __init__(self, data: Decided, *, calibration: bool = True) -> None:
        self._task = data.task
        self._sums = Sums(record_columns(data), data.units)
        self._present = np.asarray(data.actual.any(axis=0))
        self._outside = np.asarray(~data.actual.all(axis=0))
        self._predicted = np.asarray(data.chosen.any(axis=0))
        self._rankings = [
            Ranking(data.actual[:, k], data.probabilities[:, k], data.units.codes) if self._present[k] else None
            for k in range(len(data.classes))
        ]
        self._gaps = CalibrationGaps(data) if calibration else None

    def __call__(self, weights: FloatArray) -> Scores:
        """Return every metric under weights (U, C); NaN where a metric is not defined."""
        sums = self._sums(weights)
        tp, fp, fn = sums["tp"], sums["fp"], sums["fn"]
        records = sums["records"][0]
        tn = records - tp - fp - fn
        lost = self._present[:, None] & (tp + fn == 0)
        per_class = {
            "precision": _ratio(tp, tp + fp),
            "recall": np.where(lost, np.nan, _ratio(tp, tp + fn)),
            "f1": np.where(lost, np.nan, _ratio(2 * tp, 2 * tp + fp + fn)),
            "specificity": _ratio(tn, tn + fp, empty=np.nan),
        }
        scalars = self._agreement(sums, per_class) | _means(per_class, tp, fp, fn)
        scalars |= {name: sums[name][0] / records for name in RECORD_MEANS if name in sums}
        scalars |= self._chance_corrected(tp, fp, fn, tn, sums)
        mcc = _matthews(tp + tn, np.stack([tn + fn, tp + fp]), np.stack([tn + fp, tp + fn]))
        per_class["mcc"] = np.where(lost | (self._outside[:, None] & (tn + fp == 0)), np.nan, mcc)
        per_class["brier"] = sums["class_brier"] / records
        errors = {} if self._gaps is None else self._gaps(weights, records)
        if errors:
            scalars |= {name: errors[name].error for name in ("ece", "ece_mass")}
            per_class["ece"] = errors["class_ece"].error
        # Precision by convention is 0 where nothing was predicted: in a macro mean, but not as a value of its own.
        per_class["precision"] = np.where(self._predicted[:, None] & (tp + fp == 0), np.nan, per_class["precision"])
        return Scores(scalars | self._areas(weights, per_class), per_class, errors)

    def _agreement(self, sums: dict[str, FloatArray], per_class: dict[str, FloatArray]) -> dict[str, FloatArray]:
        subset = sums["all_right"][0] / sums["records"][0]
        if self._task == "multiclass":
            accuracy, balanced = subset, per_class["recall"][self._present].mean(axis=0)
        else:
            accuracy = sums["right"][0] / (sums["records"][0] * len(self._present))
            both = np.where(self._present[:, None], per_class["recall"], 0.0)
            both += np.where(self._outside[:, None], per_class["specificity"], 0.0)
            balanced = (both / (self._present.astype(int) + self._outside)[:, None]).mean(axis=0)
        return {
            "accuracy": accuracy,
            "balanced_accuracy": balanced,
            "subset_accuracy": subset,
            "hamming_loss": 1 - accuracy,
        }

    def _chance_corrected(
        self, tp: FloatArray, fp: FloatArray, fn: FloatArray, tn: FloatArray, sums: dict[str, FloatArray]
    ) -> dict[str, FloatArray]:
        if self._task == "multiclass":
            hits, predicted, support = tp.sum(axis=0), tp + fp, tp + fn
            extra = {"weighted_kappa": _quadratic_kappa(sums["squared_step"][0], predicted, support)}
        else:  # of the 2 x 2 matrix of all decisions together
            hits, extra = (tp + tn).sum(axis=0), {}
            predicted = np.stack([(tn + fn).sum(axis=0), (tp + fp).sum(axis=0)])
            support = np.stack([(tn + fp).sum(axis=0), (tp + fn).sum(axis=0)])
        return {"cohen_kappa": _kappa(hits, predicted, support), "mcc": _matthews(hits, predicted, support), **extra}

    def _areas(self, weights: FloatArray, per_class: dict[str, FloatArray]) -> dict[str, FloatArray]:
        shape = (len(self._rankings), weights.shape[1])
        auroc, ap = np.full(shape, np.nan), np.full(shape, np.nan)
        for row, ranking in enumerate(self._rankings):
            if ranking is not None:
                auroc[row], ap[row] = ranking(weights)
        per_class |= {"auroc": auroc, "ap": ap}
        has_auroc = self._present & self._outside
        return {
            name: values[has].mean(axis=0) if has.any() else np.full(shape[1], np.nan)
            for name, values, has in (("auroc", auroc, has_auroc), ("ap", ap, self._present))
        }


def _means(per_class: dict[str, FloatArray], tp: FloatArray, fp: FloatArray, fn: FloatArray) -> dict[str, FloatArray]:
    lost = np.isnan(per_class["recall"]).any(axis=0)
    support = tp + fn
    total = support.sum(axis=0)
    hits, chosen = tp.sum(axis=0), (tp + fp).sum(axis=0)
    scalars = {
        "micro_precision": _ratio(hits, chosen),
        "micro_recall": _ratio(hits, total),
        "micro_f1": _ratio(2 * hits, chosen + total),
    }
    for name in ("precision", "recall", "f1"):
        scalars[f"macro_{name}"] = np.where(lost, np.nan, per_class[name].mean(axis=0))
        scalars[f"weighted_{name}"] = _ratio((np.nan_to_num(per_class[name]) * support).sum(axis=0), total)
    return scalars


def _kappa(hits: FloatArray, predicted: FloatArray, support: FloatArray) -> FloatArray:
    """Return Cohen's kappa from the diagonal (C,) and the margins (K, C) of confusion matrices."""
    total, chance = support.sum(axis=0), (support * predicted).sum(axis=0)
    return _ratio(hits * total - chance, total**2 - chance, empty=np.nan)


def _quadratic_kappa(squared_step: FloatArray, predicted: FloatArray, support: FloatArray) -> FloatArray:
    """Return kappa with quadratic weights; the expected squared step splits into moments of the two margins."""
    total, place = support.sum(axis=0), np.arange(len(support), dtype=np.float64)
    expected = total * (place**2 @ support + place**2 @ predicted) - 2 * (place @ support) * (place @ predicted)
    return 1 - _ratio(total * squared_step, expected, empty=np.nan)


def _matthews(hits: FloatArray, predicted: FloatArray, support: FloatArray) -> FloatArray:
    """Return Matthews' correlation from diagonal and margins; 0 where a side is constant (scikit-learn's rule)."""
    total, chance = support.sum(axis=0), (support * predicted).sum(axis=0)
    spread = np.sqrt(total**2 - (predicted**2).sum(axis=0)) * np.sqrt(total**2 - (support**2).sum(axis=0))
    return _ratio(hits * total - chance, spread)


def _ratio(part: FloatArray, whole: FloatArray, *, empty: float = 0.0) -> FloatArray:
    result: FloatArray = np.divide(part, whole, out=np.full(np.shape(whole), empty), where=whole > 0)
    return result


def replicate(scorers: Sequence[Scorer], num_units: int, num_resamples: int, seed: int) -> list[Scores]:
    """Return the metrics of each scorer on the same resamples: scalars (R,), classes (K, R).

    Raises:
        DataError: fewer than one resample.
    """
    if num_resamples < 1:
        raise DataError("1 resample or more", got=str(num_resamples), where="num_resamples", fix="use 2000")
    chunks: list[list[Scores]] = [[] for _ in scorers]
    for weights in resamples(num_units, num_resamples, seed):
        for made, scorer in zip(chunks, scorers, strict=True):
            made.append(scorer(weights))
    return [_joined(made) for made in chunks]


def _joined(chunks: list[Scores]) -> Scores:
    scalars, per_class, calibration = (
        {name: [chunk[part][name] for chunk in chunks] for name in chunks[0][part]} for part in range(3)
    )
    return Scores(
        {name: np.concatenate(column) for name, column in scalars.items()},
        {name: np.concatenate(column, axis=-1) for name, column in per_class.items()},
        {
            name: Errors(*(np.concatenate(part, axis=-1) for part in zip(*column, strict=True)))
            for name, column in calibration.items()
        },
    )


def point(scorer: Scorer, num_units: int) -> Scores:
    """Return the metrics themselves: every unit once. Scalars (1,), classes (K, 1)."""
    return scorer(np.ones((num_units, 1)))
