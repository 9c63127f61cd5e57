"""Classification metrics from raw scores, equal to scikit-learn's, with every undefined value named.

Counts per class k: tp_k, fp_k, fn_k, tn_k (a class against the rest).

- precision tp/(tp+fp), recall tp/(tp+fn), F1 2tp/(2tp+fp+fn); 0/0 counts as 0 (scikit-learn's `zero_division=0`)
- macro: mean over all classes; micro: from the summed counts; weighted: mean weighted by support tp+fn
- multi-class: `accuracy` = `subset_accuracy` = share of records with the right class, `hamming_loss` = 1 - accuracy,
  `balanced_accuracy` = mean recall of the classes that have examples
- multi-label: `accuracy` = share of right record-class decisions = 1 - `hamming_loss`, `subset_accuracy` = share of
  records with every class right, `balanced_accuracy` = mean over the classes of (tp/(tp+fn) + tn/(tn+fp)) / 2
- `auroc`, `ap`: macro means of the area under the ROC curve and of average precision, a class against the rest

**A class without examples** counts 0 in precision, recall and F1, also in their macro means, as in scikit-learn. It
has no AUROC and no AP (None), and their macro means leave it out. `notes` says so, a line for each class.

Shapes: N records, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ringlight.errors import ConfigError, did_you_mean
from ringlight.evaluation.inputs import FloatArray, IntArray, checked_inputs
from ringlight.types import Task

METRIC_NAMES = (
    "accuracy", "balanced_accuracy", "subset_accuracy", "hamming_loss",
    "macro_precision", "macro_recall", "macro_f1",
    "micro_precision", "micro_recall", "micro_f1",
    "weighted_precision", "weighted_recall", "weighted_f1",
    "auroc", "ap",
)  # fmt: skip
"""The scalars of :class:`Metrics`, in order."""

CLASS_METRICS = ("precision", "recall", "f1", "support", "predicted", "auroc", "ap")
"""What is measured for each class; `support` counts its examples, `predicted` the records given to it."""

_LOWER_IS_BETTER = ("loss", "hamming_loss")


@dataclass(frozen=True, slots=True)
class Metrics:
    """The scores of a prediction.

    `confusion` holds counts: (K, K), rows truth and columns prediction, when multi-class; (K, 2, 2), for each class
    [[tn, fp], [fn, tp]], when multi-label. A value that is undefined is None, and `notes` says why.
    """

    task: Task
    classes: tuple[str, ...]
    num_records: int
    scalars: dict[str, float | None]
    per_class: dict[str, dict[str, float | None]]
    confusion: IntArray
    threshold: float | tuple[float, ...] | None
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; None where a value is undefined, never NaN."""
        return {
            "task": self.task,
            "classes": list(self.classes),
            "num_records": self.num_records,
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
) -> Metrics:
    """Judge probabilities against the truth.

    Args:
        targets: class numbers (N,) when multi-class, a binary matrix (N, K) when multi-label.
        probabilities: (N, K), from 0 to 1.
        classes: the K class names.
        task: multi-class predicts the class with the highest probability (the first of equals).
        threshold: multi-label predicts each class with at least this probability; one for all or one per class.

    Raises:
        DataError: no record, shapes that do not fit, probabilities that are not from 0 to 1 (NaN, logits), targets
            outside the classes.

    Examples:
        >>> scores = [[0.9, 0.1], [0.4, 0.6], [0.7, 0.3], [0.2, 0.8]]
        >>> metrics = classification_metrics([0, 1, 1, 1], scores, ["good", "scratch"], "multiclass")
        >>> metrics.confusion.tolist(), metrics.scalars["accuracy"], metrics.per_class["scratch"]["recall"]
        ([[1, 0], [1, 2]], 0.75, 0.6666666666666666)
    """
    names = tuple(classes)
    truth, scores, thresholds = checked_inputs(targets, probabilities, names, task, threshold)
    if task == "multiclass":
        size = len(names)
        guess = scores.argmax(axis=1)
        confusion = np.bincount(truth * size + guess, minlength=size * size).reshape(size, size)
        actual, chosen = np.eye(size, dtype=bool)[truth], np.eye(size, dtype=bool)[guess]
    else:
        actual, chosen = truth.astype(bool), scores >= thresholds
    tp, fp = (actual & chosen).sum(axis=0), (~actual & chosen).sum(axis=0)
    fn, tn = (actual & ~chosen).sum(axis=0), (~actual & ~chosen).sum(axis=0)
    if task == "multilabel":
        confusion = np.stack([np.stack([tn, fp], 1), np.stack([fn, tp], 1)], 1)
    columns: dict[str, Sequence[float | None]] = {
        **_rates(tp, fp, fn),
        "support": (tp + fn).tolist(),
        "predicted": (tp + fp).tolist(),
        **_areas(actual, scores),
    }
    scalars = _agreement(actual, chosen, confusion, task) | _means(columns, tp, fp, fn)
    rows = {name: {key: columns[key][index] for key in CLASS_METRICS} for index, name in enumerate(names)}
    told = None if task == "multiclass" else tuple(thresholds.tolist())
    return Metrics(
        task, names, len(scores), scalars, rows, confusion.astype(np.int64),
        told if told is None or len(set(told)) > 1 else told[0], _notes(rows, len(scores)),
    )  # fmt: skip


def _ratio(part: npt.NDArray[Any], whole: npt.NDArray[Any]) -> FloatArray:
    result: FloatArray = np.divide(part, whole, out=np.zeros(np.shape(whole)), where=np.asarray(whole) > 0)
    return result


def _rates(tp: IntArray, fp: IntArray, fn: IntArray) -> dict[str, Sequence[float]]:
    values = (_ratio(tp, tp + fp), _ratio(tp, tp + fn), _ratio(2 * tp, 2 * tp + fp + fn))
    return {name: value.tolist() for name, value in zip(("precision", "recall", "f1"), values, strict=True)}


def _areas(actual: npt.NDArray[np.bool_], scores: FloatArray) -> dict[str, Sequence[float | None]]:
    from sklearn.metrics import average_precision_score, roc_auc_score

    auroc: list[float | None] = []
    ap: list[float | None] = []
    for column in range(actual.shape[1]):
        truth, score = actual[:, column], scores[:, column]
        auroc.append(float(roc_auc_score(truth, score)) if 0 < truth.sum() < len(truth) else None)
        ap.append(float(average_precision_score(truth, score)) if truth.any() else None)
    return {"auroc": auroc, "ap": ap}


def _agreement(
    actual: npt.NDArray[np.bool_], chosen: npt.NDArray[np.bool_], confusion: IntArray, task: Task
) -> dict[str, float | None]:
    subset = float((actual == chosen).all(axis=1).mean())
    accuracy = subset if task == "multiclass" else float((actual == chosen).mean())
    if task == "multiclass":
        examples = confusion.sum(axis=1)
        balanced = (np.diag(confusion)[examples > 0] / examples[examples > 0]).mean()
    else:  # a class's two recalls: of the records without it and of those with it; one where a side has no record
        examples = confusion.sum(axis=2)
        recalls = _ratio(np.diagonal(confusion, axis1=1, axis2=2), examples)
        balanced = (recalls.sum(axis=1) / (examples > 0).sum(axis=1)).mean()
    return {
        "accuracy": accuracy,
        "balanced_accuracy": float(balanced),
        "subset_accuracy": subset,
        "hamming_loss": float((actual != chosen).mean()) if task == "multilabel" else 1.0 - accuracy,
    }


def _means(
    columns: Mapping[str, Sequence[float | None]], tp: IntArray, fp: IntArray, fn: IntArray
) -> dict[str, float | None]:
    support = np.asarray(columns["support"], float)
    micro = _rates(tp.sum(keepdims=True), fp.sum(keepdims=True), fn.sum(keepdims=True))
    scalars: dict[str, float | None] = {}
    for name in ("precision", "recall", "f1"):
        values = np.asarray(columns[name], float)
        scalars[f"macro_{name}"] = float(values.mean())
        scalars[f"micro_{name}"] = micro[name][0]
        scalars[f"weighted_{name}"] = float(values @ support / support.sum()) if support.any() else 0.0
    for name in ("auroc", "ap"):
        defined = [value for value in columns[name] if value is not None]
        scalars[name] = float(np.mean(defined)) if defined else None
    return {name: scalars[name] for name in METRIC_NAMES if name in scalars}


def _notes(rows: Mapping[str, Mapping[str, float | None]], total: int) -> tuple[str, ...]:
    notes = []
    for name, row in rows.items():
        if row["support"] == 0:
            notes.append(
                f"class `{name}` has no example here: precision, recall and F1 count as 0, also in the macro means; "
                "it has no AUROC and no AP, and their means leave it out"
            )
        elif row["support"] == total:
            notes.append(f"class `{name}` is in every record here: it has no AUROC, and the mean leaves it out")
        if row["support"] and row["predicted"] == 0:
            notes.append(f"class `{name}` is never predicted: its precision counts as 0")
    return tuple(notes)


def flatten(metrics: Metrics) -> dict[str, float]:
    """Return every defined value under one name, for trackers: `macro_f1`, `recall/defect_1`, ...

    Undefined values are left out: a curve then has a gap, where 0 would be a lie and NaN breaks the tools that read it.
    """
    flat = {name: value for name, value in metrics.scalars.items() if value is not None}
    for column in CLASS_METRICS:
        for name, row in metrics.per_class.items():
            value = row[column]
            if value is not None:
                flat[f"{column}/{name}"] = value
    return flat


def monitor_mode(name: str, classes: Sequence[str] | None = None) -> Literal["min", "max"]:
    """Return whether a monitored metric is better when lower or when higher.

    Args:
        name: `loss`, one of :data:`METRIC_NAMES`, or a rate of a class such as `recall/defect_1`.
        classes: when given, the class of such a rate has to be one of them.

    Raises:
        ConfigError: there is no such metric; the message suggests the nearest.

    Examples:
        >>> monitor_mode("loss"), monitor_mode("macro_f1")
        ('min', 'max')
    """
    rate, slash, label = name.partition("/")
    rates = ("precision", "recall", "f1", "auroc", "ap")
    if name in ("loss", *METRIC_NAMES):
        return "min" if name in _LOWER_IS_BETTER else "max"
    if slash and rate in rates and (label in classes if classes is not None else label):
        return "max"
    known = ["loss", *METRIC_NAMES, *(f"{key}/{label}" for key in rates for label in classes or ["CLASS"])]
    raise ConfigError("a validation metric", got=f"`{name}`", where="training.monitor", fix=did_you_mean(name, known))
