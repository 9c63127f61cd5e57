"""Classification metrics from raw scores, equal to scikit-learn's, with every undefined value named.

**Decisions.** Counts per class k: tp_k, fp_k, fn_k, tn_k (a class against the rest).

- precision tp/(tp+fp), recall tp/(tp+fn), F1 2tp/(2tp+fp+fn); 0/0 counts as 0 (scikit-learn's `zero_division=0`)
- specificity tn/(tn+fp), None for a class that is in every record; `mcc` of a class: of its 2×2 matrix
- macro: mean over all classes; micro: from the summed counts; weighted: mean weighted by support tp+fn
- multi-class: `accuracy` = `subset_accuracy` = share of records with the right class, `hamming_loss` = 1 - accuracy,
  `balanced_accuracy` = mean recall of the classes that have examples
- multi-label: `accuracy` = share of right record-class decisions = 1 - `hamming_loss`, `subset_accuracy` = share of
  records with every class right, `balanced_accuracy` = mean over the classes of (tp/(tp+fn) + tn/(tn+fp)) / 2;
  `samples_*` = precision, recall and F1 of each record's set of classes, averaged over records
- `cohen_kappa`, `weighted_kappa` (quadratic, multi-class), `mcc`: :mod:`ringlight.evaluation.agreement`

**Probabilities.** These do not change with a threshold or with `decisions`:

- `top_2`, `top_3`, `top_5`: multi-class with more classes than that; the right class is among the k most probable
- `auroc`, `ap`: macro means of the area under the ROC curve and of average precision, a class against the rest
- `log_loss`, `brier`, `ece` (15 bins of equal width), `ece_mass` (of equal mass), and `brier`, `ece` of each class
  against the rest: :mod:`ringlight.evaluation.probabilities` names their conventions

**Two classes** can be told in two ways, which agree. Multi-class with K = 2: both classes have their row in
`per_class` (the row of the defect is what scikit-learn calls binary), and the scalars are means over both.
Multi-label with K = 1: the scalars are those of the one class; `accuracy`, `balanced_accuracy`, `mcc`, kappa, AUROC,
log-loss and Brier score are the same numbers as with K = 2, `ap` and the `ece`s are not, as their definitions say.

**Undefined values.** A class without examples counts 0 in precision, recall, F1 and MCC, also in their macro means, as
in scikit-learn. It has no AUROC and no AP (None), and their macro means leave it out. Where the truth is one single
class, kappa is None if nothing else was decided, and MCC is 0. One record is enough for everything else. `notes` says
so, a line for each case; no value is ever NaN.

Shapes: N records, K classes.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ringlight.evaluation.agreement import cohen_kappa, matthews, ranks
from ringlight.evaluation.counts import Counts, averages, balanced_accuracy, count, prf, samples_averages
from ringlight.evaluation.curves import areas
from ringlight.evaluation.inputs import (
    BoolArray,
    IntArray,
    ScoreArray,
    checked_decisions,
    checked_inputs,
    column,
    has_class,
)
from ringlight.evaluation.metric_names import CLASS_METRICS, METRIC_NAMES, TOP_K, monitor_mode
from ringlight.evaluation.probabilities import (
    NUM_BINS,
    calibration_error_of,
    class_brier,
    class_error,
    log_loss_of,
    total_brier,
)
from ringlight.evaluation.units import find_units
from ringlight.types import Task

__all__ = ["CLASS_METRICS", "METRIC_NAMES", "Metrics", "classification_metrics", "flatten", "monitor_mode"]

Row = dict[str, float | None]


@dataclass(frozen=True, slots=True)
class Metrics:
    """The scores of a prediction.

    `confusion` holds counts: (K, K), rows truth and columns prediction, when multi-class; (K, 2, 2), for each class
    [[tn, fp], [fn, tp]], when multi-label; :func:`ringlight.evaluation.counts.confusion_rates` makes shares of them.
    `threshold` is None when multi-class, and where decisions were handed in. `num_groups` is None without groups. A
    value that is undefined is None, and `notes` says why.
    """

    task: Task
    classes: tuple[str, ...]
    num_records: int
    scalars: dict[str, float | None]
    per_class: dict[str, dict[str, float | None]]
    confusion: IntArray
    threshold: float | tuple[float, ...] | None
    notes: tuple[str, ...] = ()
    num_groups: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; None where a value is undefined, never NaN."""
        return {
            "task": self.task,
            "classes": list(self.classes),
            "num_records": self.num_records,
            "num_groups": self.num_groups,
            "threshold": list(self.threshold) if isinstance(self.threshold, tuple) else self.threshold,
            "scalars": dict(self.scalars),
            "per_class": {name: dict(row) for name, row in self.per_class.items()},
            "confusion": self.confusion.tolist(),
            "notes": list(self.notes),
        }


def classification_metrics(
    targets: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    classes: Sequence[str],
    task: Task,
    *,
    threshold: float | Sequence[float] = 0.5,
    decisions: npt.ArrayLike | None = None,
    groups: Sequence[Hashable] | npt.NDArray[np.generic] | None = None,
) -> Metrics:
    """Judge probabilities against the truth.

    Args:
        targets: class numbers (N,) when multi-class, a binary matrix (N, K) when multi-label.
        probabilities: (N, K), from 0 to 1; the rows of multi-class data sum to 1 (within 0.001).
        classes: the K class names.
        task: multi-class predicts the class with the highest probability (the first of equals).
        threshold: multi-label predicts each class with at least this probability; one for all or one per class.
        decisions: (N, K) booleans, what was decided instead; exactly one class a record when multi-class. Metrics of
            the probabilities stay what they are.
        groups: (N,) the part, coil or recording of each record, anything that can be a key; None stands alone.

    Raises:
        DataError: no record, shapes that do not fit, probabilities that are not from 0 to 1 (NaN, logits) or do not
            sum to one, targets outside the classes, impossible decisions.

    Examples:
        >>> scores = [[0.9, 0.1], [0.4, 0.6], [0.7, 0.3], [0.2, 0.8]]
        >>> metrics = classification_metrics([0, 1, 1, 1], scores, ["good", "scratch"], "multiclass")
        >>> metrics.confusion.tolist(), metrics.scalars["accuracy"], metrics.per_class["scratch"]["recall"]
        ([[1, 0], [1, 2]], 0.75, 0.6666666666666666)
    """
    names = tuple(classes)
    truth, scores, thresholds = checked_inputs(targets, probabilities, names, task, threshold)
    decided = _decided(scores, thresholds, decisions, task)
    counts = count(truth, decided, len(names), task)
    columns = _class_columns(truth, scores, counts)
    told = None if groups is None else find_units(groups, len(scores))
    units = told if told is not None and told.kind == "group" else None
    if units is not None:
        columns["support_groups"] = [_num_groups(units.codes, has_class(truth, k)) for k in range(len(names))]
    rows: dict[str, Row] = {name: {key: columns[key][k] for key in CLASS_METRICS} for k, name in enumerate(names)}
    scalars, notes = _scalars(truth, scores, decided, counts, task, columns)
    return Metrics(
        task, names, len(scores), scalars, rows, counts.confusion,
        None if task == "multiclass" or decisions is not None else _told(tuple(thresholds.tolist())),
        (*_class_notes(rows, len(scores)), *notes), None if units is None else units.num_units,
    )  # fmt: skip


def _told(thresholds: tuple[float, ...]) -> float | tuple[float, ...]:
    return thresholds if len(set(thresholds)) > 1 else thresholds[0]


def _decided(
    scores: ScoreArray, thresholds: npt.NDArray[np.float64], decisions: npt.ArrayLike | None, task: Task
) -> IntArray | BoolArray:
    """Return class numbers (N,) when multi-class, booleans (N, K) when multi-label."""
    if decisions is None:
        return scores.argmax(axis=1) if task == "multiclass" else scores >= thresholds
    chosen = checked_decisions(decisions, scores.shape, task)
    return chosen.argmax(axis=1) if task == "multiclass" else chosen


def _num_groups(codes: IntArray, there: BoolArray) -> int:
    return int(np.count_nonzero(np.bincount(codes[there])))


def _class_columns(truth: IntArray, scores: ScoreArray, counts: Counts) -> dict[str, list[float | None]]:
    """Return every value of :data:`CLASS_METRICS`, one for each class; one column of scores is looked at a time."""
    size = scores.shape[1]
    negatives = counts.fp + counts.tn
    cells = np.stack([np.stack([counts.tn, counts.fp], 1), np.stack([counts.fn, counts.tp], 1)], 1)
    both = [areas(column(scores, k), has_class(truth, k)) for k in range(size)]
    rates = prf(counts.tp, counts.predicted, counts.support)
    return {
        **{name: values.tolist() for name, values in rates.items()},
        "specificity": [int(tn) / int(all_) if all_ else None for tn, all_ in zip(counts.tn, negatives, strict=True)],
        "mcc": [matthews(cell) for cell in cells],
        "support": counts.support.tolist(),
        "support_groups": [None] * size,
        "predicted": counts.predicted.tolist(),
        "auroc": [area for area, _ in both],
        "ap": [ap for _, ap in both],
        "brier": [class_brier(truth, scores, k) for k in range(size)],
        "ece": [class_error(truth, scores, k) for k in range(size)],
    }


def _scalars(
    truth: IntArray,
    scores: ScoreArray,
    decided: IntArray | BoolArray,
    counts: Counts,
    task: Task,
    columns: Mapping[str, Sequence[float | None]],
) -> tuple[dict[str, float | None], list[str]]:
    """Return the scalars in the order of :data:`METRIC_NAMES` and what is to be said about them."""
    notes: list[str] = []
    found: dict[str, float | None] = {
        "balanced_accuracy": balanced_accuracy(counts, task),
        **averages(counts),
        "log_loss": log_loss_of(truth, scores, task),
        "brier": total_brier([value for value in columns["brier"] if value is not None], task),
        "ece": calibration_error_of(truth, scores, task, NUM_BINS, "width"),
        "ece_mass": calibration_error_of(truth, scores, task, NUM_BINS, "mass"),
    }
    for name in ("auroc", "ap"):
        defined = [value for value in columns[name] if value is not None]
        found[name] = float(np.mean(defined)) if defined else None
    if task == "multiclass":
        right = float(np.trace(counts.confusion)) / len(truth)
        found |= {"accuracy": right, "subset_accuracy": right, "hamming_loss": 1.0 - right}
        table = counts.confusion
        place = ranks(truth, scores) if scores.shape[1] > TOP_K[0] else None
        found |= {f"top_{k}": float((place < k).mean()) for k in TOP_K if place is not None and scores.shape[1] > k}
    else:
        wrong = truth != decided
        missed = float(np.count_nonzero(wrong)) / wrong.size
        table = counts.confusion.sum(axis=0)
        samples, empty = samples_averages(truth, np.asarray(decided, bool))
        found |= {"accuracy": 1.0 - missed, "hamming_loss": missed, **samples}
        found["subset_accuracy"] = 1.0 - float(np.count_nonzero(wrong.any(axis=1))) / len(wrong)
        notes += _empty_note(empty)
    found |= {"cohen_kappa": cohen_kappa(table), "mcc": matthews(table)}
    found["weighted_kappa"] = cohen_kappa(table, weighted=True) if task == "multiclass" else None
    return {name: found.get(name) for name in METRIC_NAMES}, notes + _chance_notes(table, len(truth))


def _empty_note(empty: int) -> list[str]:
    if not empty:
        return []
    told = "1 record carries no class and is given none: it counts" if empty == 1 else (
        f"{empty} records carry no class and are given none: they count"
    )  # fmt: skip
    return [f"{told} as right in the accuracies, but as 0 in samples_precision, samples_recall and samples_f1"]


def _chance_notes(table: IntArray, total: int) -> list[str]:
    notes = []
    truths, guesses = np.count_nonzero(table.sum(axis=1)), np.count_nonzero(table.sum(axis=0))
    if truths == guesses == 1 and np.trace(table):
        notes.append("truth and decisions are one and the same answer throughout: kappa is undefined, MCC counts as 0")
    elif 1 in (truths, guesses):
        what = "truth is" if truths == 1 else "decisions are"
        notes.append(f"the {what} one and the same answer throughout: MCC counts as 0")
    if total == 1:
        notes.append("there is one record: no score here says how the next one will be judged")
    return notes


def _class_notes(rows: Mapping[str, Row], total: int) -> list[str]:
    notes = []
    for name, row in rows.items():
        if row["support"] == 0:
            notes.append(
                f"class `{name}` has no example here: precision, recall, F1 and MCC count as 0, also in the macro "
                "means; it has no AUROC and no AP, and their means leave it out"
            )
        elif row["support"] == total:
            notes.append(
                f"class `{name}` is in every record here: it has no AUROC, and the mean leaves it out; it has no "
                "specificity, and its MCC counts as 0"
            )
        if row["support"] and row["predicted"] == 0:
            notes.append(f"class `{name}` is never predicted: its precision counts as 0")
    return notes


def flatten(metrics: Metrics) -> dict[str, float]:
    """Return every defined value under one name, for trackers: `macro_f1`, `recall/defect_1`, ...

    Undefined values are left out: a curve then has a gap, where 0 would be a lie and NaN breaks the tools that read it.
    """
    flat = {name: value for name, value in metrics.scalars.items() if value is not None}
    for key in CLASS_METRICS:
        for name, row in metrics.per_class.items():
            value = row[key]
            if value is not None:
                flat[f"{key}/{name}"] = value
    return flat
