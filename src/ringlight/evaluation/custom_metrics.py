"""Further validation metrics, functions of the truth and the scores: a closed catalogue, and how own ones are told.

:data:`ringlight.evaluation.metrics.METRIC_NAMES` are computed for every run. Those here are computed where
`training.metrics` names them, or where a Python caller hands in functions of its own:

    def cost(y_true, y_score): ...                      # -> a number
    DeepLearner(..., metrics={"cost": Metric(cost, higher_is_better=False)})

Shapes: `y_true` class numbers (N,) when multi-class, a binary matrix (N, K) when multi-label; `y_score` probabilities
(N, K). What is decided is the class of the highest probability, or every class of at least one half. A value that is
undefined is NaN; a history leaves it out.

Counts of class k against the rest: tp, fp, fn, tn. "Classes with examples" are those with tp + fn > 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ringlight.errors import ConfigError, DataError, did_you_mean
from ringlight.evaluation.agreement import top_k_accuracy
from ringlight.evaluation.counts import Counts, count, ratio
from ringlight.evaluation.inputs import checked_pair
from ringlight.types import Task

MetricFunction = Callable[[npt.NDArray[Any], npt.NDArray[Any]], float]
BOTH: Final[tuple[Task, ...]] = ("multiclass", "multilabel")


@dataclass(frozen=True, slots=True)
class Metric:
    """A function of (y_true, y_score), which way is better, and for which tasks it has a meaning."""

    function: MetricFunction
    higher_is_better: bool = True
    tasks: tuple[Task, ...] = BOTH


def g_mean(y_true: npt.ArrayLike, y_score: npt.ArrayLike) -> float:
    """Return the geometric mean of the recalls of the classes with examples: 0 as soon as one class is never found.

    Multi-label: the mean over the classes of sqrt(tp / (tp + fn) x tn / (tn + fp)), where both are defined.

    Examples:
        Half of one class is found and all of the other: sqrt(0.5 x 1)

        >>> round(g_mean([0, 0, 1], [[0.9, 0.1], [0.2, 0.8], [0.3, 0.7]]), 4)
        0.7071
    """
    counts, is_matrix = _counts(y_true, y_score)
    recall, specificity = _rates(counts)
    if is_matrix:
        return _mean(np.sqrt(recall * specificity))
    return float(np.prod(recall[~np.isnan(recall)]) ** (1 / np.count_nonzero(~np.isnan(recall))))


def youden(y_true: npt.ArrayLike, y_score: npt.ArrayLike) -> float:
    """Return Youden's J, tp / (tp + fn) + tn / (tn + fp) - 1, of each class against the rest, averaged.

    Classes without examples, or in every record, are left out. Guessing has 0, as has one answer throughout.

    Examples:
        >>> youden([0, 0, 1], [[0.9, 0.1], [0.2, 0.8], [0.3, 0.7]])
        0.5
    """
    recall, specificity = _rates(_counts(y_true, y_score)[0])
    return _mean(recall + specificity - 1)


def worst_recall(y_true: npt.ArrayLike, y_score: npt.ArrayLike) -> float:
    """Return the lowest recall of a class with examples: how the class fares that is found worst.

    Examples:
        >>> worst_recall([0, 0, 1], [[0.9, 0.1], [0.2, 0.8], [0.3, 0.7]])
        0.5
    """
    recall, _ = _rates(_counts(y_true, y_score)[0])
    there = recall[~np.isnan(recall)]
    return float(there.min()) if there.size else math.nan


def macro_specificity(y_true: npt.ArrayLike, y_score: npt.ArrayLike) -> float:
    """Return the mean of tn / (tn + fp) over the classes that some records lack.

    Examples:
        >>> macro_specificity([0, 0, 1], [[0.9, 0.1], [0.2, 0.8], [0.3, 0.7]])
        0.75
    """
    return _mean(_rates(_counts(y_true, y_score)[0])[1])


def macro_f2(y_true: npt.ArrayLike, y_score: npt.ArrayLike) -> float:
    """Return the mean over the classes of F2, in which a missed record weighs four times a false one; 0/0 is 0.

    5 tp / (5 tp + 4 fn + fp)
    """
    return _f_beta(y_true, y_score, 2.0)


def macro_f05(y_true: npt.ArrayLike, y_score: npt.ArrayLike) -> float:
    """Return the mean over the classes of F0.5, in which a false record weighs four times a missed one; 0/0 is 0.

    1.25 tp / (1.25 tp + 0.25 fn + fp)
    """
    return _f_beta(y_true, y_score, 0.5)


def macro_jaccard(y_true: npt.ArrayLike, y_score: npt.ArrayLike) -> float:
    """Return the mean over the classes of tp / (tp + fp + fn); 0/0 is 0."""
    counts, _ = _counts(y_true, y_score)
    return float(ratio(counts.tp, counts.tp + counts.fp + counts.fn).mean())


def top_2_accuracy(y_true: npt.ArrayLike, y_score: npt.ArrayLike) -> float:
    """Return the share of records whose class is among the two most probable; 1 where there are only two."""
    return top_k_accuracy(y_true, y_score, 2)


def top_3_accuracy(y_true: npt.ArrayLike, y_score: npt.ArrayLike) -> float:
    """Return the share of records whose class is among the three most probable; 1 where there are only three."""
    return top_k_accuracy(y_true, y_score, 3)


def expected_error(y_true: npt.ArrayLike, y_score: npt.ArrayLike) -> float:
    """Return the mean probability that is given to something else than the truth: 1 - p_y; lower is better.

    Multi-label: the mean of |y - p| over records and classes.

    Examples:
        >>> round(expected_error([0, 1], [[0.9, 0.1], [0.2, 0.8]]), 4)
        0.15
    """
    truth, scores, _ = _pair(y_true, y_score)
    if truth.ndim == 1:
        return float(1 - scores[np.arange(len(truth)), truth].mean(dtype=np.float64))
    return float(np.abs(truth - scores).mean(dtype=np.float64))


def ranked_probability_score(y_true: npt.ArrayLike, y_score: npt.ArrayLike) -> float:
    """Return the ranked probability score of classes in an order, such as sizes of a leak; lower is better.

    The mean over records of sum_k (P(class <= k) - [y <= k])^2 / (K - 1): a class further off costs more (Epstein
    1969, "A scoring system for probability forecasts of ranked categories").

    Examples:
        Surely the next class, and surely the one after it: 1 / 2 and 2 / 2

        >>> [ranked_probability_score([0], [scores]) for scores in ([0, 1, 0], [0, 0, 1])]
        [0.5, 1.0]
    """
    truth, scores, _ = checked_pair(y_true, y_score, "multiclass")
    below = np.cumsum(scores, axis=1, dtype=np.float64)[:, :-1]
    steps = np.arange(scores.shape[1] - 1) >= truth[:, None]
    return float(((below - steps) ** 2).mean())


METRICS: Final[dict[str, Metric]] = {
    "g_mean": Metric(g_mean),
    "youden": Metric(youden),
    "worst_recall": Metric(worst_recall),
    "macro_specificity": Metric(macro_specificity),
    "macro_f2": Metric(macro_f2),
    "macro_f05": Metric(macro_f05),
    "macro_jaccard": Metric(macro_jaccard),
    "top_2_accuracy": Metric(top_2_accuracy, tasks=("multiclass",)),
    "top_3_accuracy": Metric(top_3_accuracy, tasks=("multiclass",)),
    "expected_error": Metric(expected_error, higher_is_better=False),
    "ranked_probability_score": Metric(ranked_probability_score, higher_is_better=False, tasks=("multiclass",)),
}
"""What `training.metrics` may name beside the metrics of every run."""


def decision_cost(costs: Sequence[Sequence[float]]) -> Metric:
    """Return a metric: the mean cost of what is decided, by a table of costs with a row for each truth.

    For Python callers, multi-class: `DeepLearner(..., metrics={"cost": decision_cost([[0, 1], [10, 0]])})`.

    Raises:
        ConfigError: the table is not square, or holds a negative cost.

    Examples:
        >>> decision_cost([[0, 1], [10, 0]]).function([0, 1], [[0.9, 0.1], [0.6, 0.4]])
        5.0
    """
    lengths = {len(row) for row in costs}
    if lengths != {len(costs)} or min(cost for row in costs for cost in row) < 0:
        raise ConfigError(
            "a square table of costs of 0 or more", got=str([list(row) for row in costs]), where="costs",
            fix="give a row for each truth and a column for each decision",
        )  # fmt: skip
    table = np.asarray(costs, np.float64)

    def cost(y_true: npt.ArrayLike, y_score: npt.ArrayLike) -> float:
        truth, scores, _ = checked_pair(y_true, y_score, "multiclass")
        return float(table[truth, scores.argmax(axis=1)].mean())

    return Metric(cost, higher_is_better=False, tasks=("multiclass",))


def as_metrics(given: Mapping[str, MetricFunction | Metric], taken: Sequence[str]) -> dict[str, Metric]:
    """Return functions of a Python caller as metrics; a bare function is better when higher.

    Args:
        given: by name.
        taken: names that mean something else already.

    Raises:
        ConfigError: a name that is taken, or something that cannot be called.
    """
    found: dict[str, Metric] = {}
    for name, one in given.items():
        if name in taken or "/" in name or not name:
            raise ConfigError(
                "a name that no metric has yet, without a slash", got=f"`{name}`", where="metrics", fix="rename it"
            )
        metric = one if isinstance(one, Metric) else Metric(one)
        if not callable(metric.function):
            raise ConfigError(
                "a function of (y_true, y_score)", got=f"{one!r}", where=f"metrics.{name}", fix="pass the function"
            )
        found[name] = metric
    return found


def named_metrics(names: Sequence[str], others: Sequence[str], task: Task | None = None) -> dict[str, Metric]:
    """Return the metrics of :data:`METRICS` that are named; names among `others` are computed anyway.

    Raises:
        ConfigError: an unknown name, or one that has no meaning for the task.
    """
    for name in names:
        known = [key for key, metric in METRICS.items() if task is None or task in metric.tasks]
        if name not in (*known, *others):
            told = f"a {task} metric" if name in METRICS else "a metric of the catalogue"
            raise ConfigError(
                told, got=f"`{name}`", where="training.metrics", fix=did_you_mean(name, [*known, *others])
            )
    return {name: METRICS[name] for name in names if name in METRICS}


def measured(metrics: Mapping[str, Metric], y_true: npt.NDArray[Any], y_score: npt.NDArray[Any]) -> dict[str, float]:
    """Compute metrics; one that is undefined (NaN, infinite) is left out.

    Raises:
        DataError: a function did not return a number.
    """
    found: dict[str, float] = {}
    for name, metric in metrics.items():
        value = metric.function(y_true, y_score)
        try:
            number = float(value)
        except (TypeError, ValueError):
            raise DataError(
                "a number", got=f"{type(value).__name__}", where=f"metrics.{name}",
                fix="return one number for the whole part",
            ) from None  # fmt: skip
        if math.isfinite(number):
            found[name] = number
    return found


def _pair(y_true: npt.ArrayLike, y_score: npt.ArrayLike) -> tuple[npt.NDArray[Any], npt.NDArray[Any], Task]:
    task: Task = "multilabel" if np.ndim(y_true) == 2 else "multiclass"
    truth, scores, _ = checked_pair(y_true, y_score, task)
    return truth, scores, task


def _counts(y_true: npt.ArrayLike, y_score: npt.ArrayLike) -> tuple[Counts, bool]:
    truth, scores, task = _pair(y_true, y_score)
    decided = scores.argmax(axis=1) if task == "multiclass" else scores >= 0.5
    return count(truth, decided, scores.shape[1], task), task == "multilabel"


def _rates(counts: Counts) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return recall and specificity of each class, NaN where there is nothing to find or nothing to leave."""
    negatives = counts.tn + counts.fp
    recall = np.where(counts.support > 0, ratio(counts.tp, counts.support), np.nan)
    return recall, np.where(negatives > 0, ratio(counts.tn, negatives), np.nan)


def _mean(values: npt.NDArray[np.float64]) -> float:
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else math.nan


def _f_beta(y_true: npt.ArrayLike, y_score: npt.ArrayLike, beta: float) -> float:
    counts, _ = _counts(y_true, y_score)
    twice = beta**2
    hits = (1 + twice) * counts.tp
    return float(ratio(hits, hits + twice * counts.fn + counts.fp).mean())
