"""How well an embedding finds records of the same class: recall@k, precision@1, R-precision, mAP@R.

Every query ranks the gallery by cosine (:mod:`ringlight.evaluation.nearest`). With R the gallery records of the
query's class that it may see and rel(i) whether the i-th nearest is one of them (Musgrave, Belongie & Lim 2020, "A
metric learning reality check", arXiv:2003.08505, section 3.1, equations 1 and 2):

    recall@k     1 if any of the k nearest is of the class, else 0
    R-precision  1/R Σ_{i≤R} rel(i)
    mAP@R        1/R Σ_{i≤R} P(i),   P(i) = rel(i) · 1/i Σ_{j≤i} rel(j)

and each is the mean over the queries. precision@1 is recall@1 by another name, and told under both.

**A query whose class has no record that it may see has no right answer**: it is left out and counted. Records of one
group do not see each other. Intervals speak of the queries, the gallery being as it is: rates (recall, precision@1) by
Wilson's interval on the effective number of trials, means by the percentile bootstrap over groups; a mean at its best,
where every resample gives the same, is judged like a rate.

Shapes: Q queries, G gallery records, D features, B queries in a block.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ringlight.errors import DataError
from ringlight.evaluation.inputs import BoolArray, FloatArray, IntArray
from ringlight.evaluation.means import mean_interval
from ringlight.evaluation.nearest import Gallery, Groups, checked_classes, gallery_of, key_blocks, ranked, seen_of
from ringlight.evaluation.rates import Interval, check_confidence, clustered_rate
from ringlight.evaluation.units import Units, find_units

KS = (1, 2, 4, 8)
"""The k of recall@k where nothing else is said, as in the metric-learning literature."""


@dataclass(frozen=True, slots=True)
class Answers:
    """What each query found.

    Recall (Q, number of k), whether the first is right (Q,), R-precision and average precision at R (Q,), and R itself
    (Q,). The values of a query with R = 0 are 0 and mean nothing. `num_hidden` counts the pairs of one group that
    were kept from each other, a record and itself aside.
    """

    recall: BoolArray
    first: BoolArray
    r_precision: FloatArray
    average_precision: FloatArray
    num_relevant: IntArray
    num_hidden: int

    @property
    def defined(self) -> BoolArray:
        """Which queries have a right answer, (Q,)."""
        return np.asarray(self.num_relevant > 0)


@dataclass(frozen=True, slots=True)
class Retrieval:
    """The scores of an embedding; `scores` is empty where no query has a right answer.

    `scores` and `intervals` go by `recall_at_K`, `precision_at_1`, `r_precision` and `map_at_r`. `per_class` holds
    `num_queries`, `num_undefined` and, where a query is defined, `precision_at_1` and `map_at_r`.
    """

    ks: tuple[int, ...]
    scores: dict[str, float]
    intervals: dict[str, Interval]
    per_class: dict[str, dict[str, float | int | None]]
    num_queries: int
    num_undefined: int
    num_gallery: int
    num_hidden: int
    unit: Literal["record", "group"]
    num_units: int
    confidence: float
    notes: tuple[str, ...] = field(default=())

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; an interval as [low, high], a score that is not defined as None."""
        return {
            "recall_at": {str(k): self.scores.get(f"recall_at_{k}") for k in self.ks},
            **{name: self.scores.get(name) for name in ("precision_at_1", "r_precision", "map_at_r")},
            "intervals": {name: interval.to_list() for name, interval in self.intervals.items()},
            "per_class": self.per_class,
            "num_queries": self.num_queries,
            "num_undefined": self.num_undefined,
            "num_gallery": self.num_gallery,
            "num_hidden": self.num_hidden,
            "unit": self.unit,
            "num_units": self.num_units,
            "confidence": self.confidence,
            "notes": list(self.notes),
        }


def retrieval_metrics(
    embeddings: npt.ArrayLike,
    labels: npt.ArrayLike,
    gallery: npt.ArrayLike | None = None,
    gallery_labels: npt.ArrayLike | None = None,
    *,
    classes: Sequence[str],
    groups: Groups | None = None,
    gallery_groups: Groups | None = None,
    ks: Sequence[int] = KS,
    num_resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Retrieval:
    """Score an embedding by what its nearest records are.

    Args:
        embeddings: of the queries, (Q, D); their length does not matter.
        labels: class numbers (Q,).
        gallery: (G, D) what is searched; None searches the other queries (leave one out).
        gallery_labels: class numbers (G,), with `gallery`.
        classes: the class names.
        groups: (Q,) the group of each query (None: of its own); records of one group do not see each other.
        gallery_groups: (G,), where both a gallery and groups are given.
        ks: the k of recall@k, each 1 or more.
        num_resamples: of the bootstrap.
        confidence: of the intervals, between 0 and 1.
        seed: of the resamples.

    Raises:
        DataError: arrays that do not fit each other or hold impossible values.

    Examples:
        >>> found = retrieval_metrics([[1, 0], [1, 0.1], [0, 1], [0.1, 1]], [0, 0, 1, 1], classes=["good", "bad"])
        >>> found.scores["map_at_r"], str(found.intervals["recall_at_1"])
        (1.0, '1.000 [0.510, 1.000]')
    """
    check_confidence(confidence)
    asked = gallery_of(embeddings, gallery, groups=groups, gallery_groups=gallery_groups)
    truth = checked_classes("labels", labels, len(asked.queries))
    known = truth if gallery is None else _gallery_labels(gallery_labels, len(asked.records))
    top = int(max(truth.max(), known.max()))
    if top >= len(classes):
        raise DataError(
            f"class numbers below {len(classes)}, the number of classes", got=str(top), where="labels",
            fix="pass the name of every class",
        )  # fmt: skip
    found = answers(asked, truth, known, ks)
    defined = found.defined
    units = _units_of(asked, defined)
    columns = _columns(found, ks, defined)
    scores = {name: float(column.mean()) for name, column in columns.items()} if defined.any() else {}
    intervals: dict[str, Interval] = {}
    for name in scores:
        mean = name in ("r_precision", "map_at_r")
        interval = mean_interval(columns[name], units, num_resamples, confidence, seed) if mean else None
        interval = interval or clustered_rate(columns[name], np.ones(units.codes.shape), units, confidence)
        if interval is not None:
            intervals[name] = interval
    return Retrieval(
        tuple(int(k) for k in ks), scores, intervals, _per_class(found, truth, classes), int(defined.sum()),
        int((~defined).sum()), len(known), found.num_hidden, units.kind, units.num_units, confidence,
        _notes(truth, defined, classes),
    )  # fmt: skip


def answers(asked: Gallery, labels: IntArray, gallery_labels: IntArray, ks: Sequence[int]) -> Answers:
    """Return what each query finds, block by block.

    Raises:
        DataError: no k, or one below 1.
    """
    depths = np.asarray(list(ks), np.int64)
    if not len(depths) or (depths < 1).any():
        raise DataError("at least one k, each 1 or more", got=str(list(ks)), where="ks", fix="use 1, 2, 4, 8")
    size = len(labels)
    recall, first = np.zeros((size, len(depths)), bool), np.zeros(size, bool)
    precision, average, relevant = np.zeros(size), np.zeros(size), np.zeros(size, np.int64)
    hidden = 0
    for block, keys in key_blocks(asked):
        right = (labels[block, None] == gallery_labels) & seen_of(keys)
        relevant[block] = num = right.sum(axis=1)
        hidden += int((~seen_of(keys)).sum())
        order = ranked(keys, int(max(depths.max(), num.max())))
        hits = np.take_along_axis(right, order, axis=1)
        found = hits.cumsum(axis=1)
        place = np.arange(1, hits.shape[1] + 1)
        recall[block] = found[:, np.minimum(depths, hits.shape[1]) - 1] > 0
        first[block] = hits[:, 0]
        within = hits & (place <= num[:, None])
        share = np.maximum(num, 1)
        precision[block] = within.sum(axis=1) / share
        average[block] = (within * (found / place)).sum(axis=1) / share
    return Answers(recall, first, precision, average, relevant, hidden - (size if asked.own else 0))


def _columns(found: Answers, ks: Sequence[int], defined: BoolArray) -> dict[str, FloatArray]:
    """Return the value of each defined query by the name of the score."""
    recall = found.recall[defined].astype(np.float64)
    columns = {f"recall_at_{k}": recall[:, place] for place, k in enumerate(ks)}
    return columns | {
        "precision_at_1": found.first[defined].astype(np.float64),
        "r_precision": found.r_precision[defined],
        "map_at_r": found.average_precision[defined],
    }


def _units_of(asked: Gallery, defined: BoolArray) -> Units:
    """Return the units of the queries that are defined, numbered anew."""
    codes = asked.units.codes[defined]
    if asked.units.kind == "record":
        return find_units(None, len(codes))
    numbered = np.unique(codes, return_inverse=True)
    return Units(numbered[1].reshape(-1), len(numbered[0]), "group")


def _per_class(found: Answers, labels: IntArray, classes: Sequence[str]) -> dict[str, dict[str, float | int | None]]:
    rows: dict[str, dict[str, float | int | None]] = {}
    for number, name in enumerate(classes):
        asked = (labels == number) & found.defined
        some = bool(asked.any())
        rows[name] = {
            "num_queries": int(asked.sum()),
            "num_undefined": int(((labels == number) & ~found.defined).sum()),
            "precision_at_1": float(found.first[asked].mean()) if some else None,
            "map_at_r": float(found.average_precision[asked].mean()) if some else None,
        }
    return rows


def _notes(labels: IntArray, defined: BoolArray, classes: Sequence[str]) -> tuple[str, ...]:
    lost = [classes[number] for number in np.unique(labels[~defined])]
    if not lost:
        return ()
    count = int((~defined).sum())
    shown = ", ".join(lost[:6]) + ("" if len(lost) <= 6 else f" and {len(lost) - 6} more")
    told = "1 query is left out" if count == 1 else f"{count} queries are left out"
    return (f"{told}: no other record of the class in the gallery ({shown})",)


def _gallery_labels(labels: npt.ArrayLike | None, size: int) -> IntArray:
    if labels is None:
        raise DataError(
            "the classes of the gallery", got="none", where="gallery_labels", fix="pass one number for each record"
        )
    return checked_classes("gallery_labels", labels, size)
