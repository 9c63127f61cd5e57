"""Records of no known class: how strange each looks, where the limit lies, and how well strangers are told apart.

Two scores, high is strange:

    energy      E(x) = -log Σ_k exp(f_k(x)), of the raw scores        (Liu et al. 2020, arXiv:2010.03759, equation 4)
    distance    1 - max_k cos(z(x), μ_k), to the nearest class mean   (the rule of Lee et al. 2018, arXiv:1807.03888,
                                                                       by angle and not by Mahalanobis' distance)

with z the embedding and μ_k the mean of the training records' embeddings of class k, each of length 1 first. By angle
because margin losses train angles, and because no covariance of D features is known from a few hundred records.

**The limit is fixed on known records of the validation part alone**, so that a stated share of them is accepted; no
stranger is needed to fix it, and none has a say. With both scores a record is strange if either says so, and one rank
is chosen for both limits so that together they accept that share.

Shapes: N records, K classes, D features, R resamples.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

from ringlight.errors import DataError
from ringlight.evaluation.energy import energy_score
from ringlight.evaluation.inputs import BoolArray, FloatArray
from ringlight.evaluation.nearest import checked_classes, unit_rows

Score = Literal["energy", "distance"]
SCORES: dict[str, tuple[Score, ...]] = {
    "none": (), "energy": ("energy",), "distance": ("distance",), "both": ("energy", "distance"),
}  # fmt: skip
"""The scores of each choice of `evaluation.open_set`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenSetRule:
    """When a record is of no known class: a score above its limit in `thresholds`.

    `accept` is the share of known records it was to accept, `accepted` the share of the `num_records` validation
    records that it does. `means` (K, D) is there with the score `distance`.
    """

    accept: float
    thresholds: Mapping[str, float]
    num_records: int
    accepted: float
    means: FloatArray | None = field(default=None, compare=False)

    @property
    def needs_embeddings(self) -> bool:
        """Whether logits alone do not tell."""
        return "distance" in self.thresholds

    def scores(self, logits: npt.ArrayLike, embeddings: npt.ArrayLike | None = None) -> dict[str, FloatArray]:
        """Return how strange records look by every score of the rule, (N,) each.

        Raises:
            DataError: embeddings are needed and missing, or arrays that cannot be.
        """
        return strangeness(tuple(self.thresholds), logits, embeddings, self.means)  # type: ignore[arg-type]

    def strange(self, scores: Mapping[str, FloatArray]) -> BoolArray:
        """Return which records (N,) are of no known class, from :meth:`scores`."""
        return np.asarray(np.any([scores[name] > limit for name, limit in self.thresholds.items()], axis=0))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; the means as base64 of little-endian single precision."""
        return {
            "accept": self.accept,
            "thresholds": dict(self.thresholds),
            "num_records": self.num_records,
            "accepted": self.accepted,
            "means": None if self.means is None else {
                "shape": list(self.means.shape),
                "float32": base64.b64encode(self.means.astype("<f4").tobytes()).decode("ascii"),
            },
        }  # fmt: skip

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build from what :meth:`to_dict` returns.

        Raises:
            DataError: values that no rule has.
        """
        try:
            kept = values["means"]
            means = None
            if kept is not None:
                flat = np.frombuffer(base64.b64decode(kept["float32"], validate=True), "<f4")
                means = unit_rows("means", flat.reshape(kept["shape"]))
            thresholds = {str(name): float(limit) for name, limit in values["thresholds"].items()}
            rule = cls(
                accept=float(values["accept"]), thresholds=thresholds, num_records=int(values["num_records"]),
                accepted=float(values["accepted"]), means=means,
            )  # fmt: skip
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise _wrong("open_set", "a rule as Ringlight writes it", str(error), "export the model again") from error
        if not thresholds or not thresholds.keys() <= {"energy", "distance"}:
            raise _wrong("open_set", "limits of energy or distance", str(list(thresholds)), "export the model again")
        if rule.needs_embeddings and means is None:
            raise _wrong("open_set", "class means beside a distance", "none", "export the model again")
        return rule


def class_means(embeddings: npt.ArrayLike, labels: npt.ArrayLike, classes: tuple[str, ...]) -> FloatArray:
    """Return the mean direction of each class's training records, (K, D), each of length 1.

    Args:
        embeddings: (N, D).
        labels: class numbers (N,).
        classes: the K class names; each has a record.

    Raises:
        DataError: arrays that do not fit, or a class without a record.

    Examples:
        >>> class_means([[2.0, 0.0], [0.0, 3.0], [0.0, 1.0]], [0, 1, 1], ("good", "pore")).tolist()
        [[1.0, 0.0], [0.0, 1.0]]
    """
    rows = unit_rows("embeddings", embeddings)
    numbers = checked_classes("labels", labels, len(rows))
    counts = np.bincount(numbers, minlength=len(classes))
    if len(counts) > len(classes):
        raise _wrong("labels", f"class numbers below {len(classes)}", str(len(counts) - 1), "name every class")
    if not counts.all():
        lost = classes[int(counts.argmin())]
        raise _wrong("open_set", "a training record of every class", f"none of `{lost}`", "leave the class out")
    sums = np.zeros((len(classes), rows.shape[1]))
    np.add.at(sums, numbers, rows)
    return unit_rows("means", sums / counts[:, None])


def distance_score(embeddings: npt.ArrayLike, means: npt.ArrayLike) -> FloatArray:
    """Return 1 - cosine to the nearest class mean (N,), from 0 (the same direction) to 2 (the opposite).

    Raises:
        DataError: shapes that do not fit, or values that are not finite.

    Examples:
        >>> distance_score([[1.0, 0.0], [0.0, -1.0]], [[1.0, 0.0], [0.0, 1.0]]).tolist()
        [0.0, 1.0]
    """
    rows, centres = unit_rows("embeddings", embeddings), unit_rows("means", means)
    if rows.shape[1] != centres.shape[1]:
        expected = f"{centres.shape[1]} features, as the class means have"
        raise _wrong("embeddings", expected, str(rows.shape[1]), "embed them with the same model")
    return np.asarray(1 - (rows @ centres.T).max(axis=1))


def strangeness(
    names: tuple[Score, ...], logits: npt.ArrayLike, embeddings: npt.ArrayLike | None, means: npt.ArrayLike | None
) -> dict[str, FloatArray]:
    """Return the scores that are asked for, (N,) each.

    Raises:
        DataError: embeddings or means are missing where the distance is asked for, or arrays that cannot be.
    """
    found: dict[str, FloatArray] = {}
    for name in names:
        if name == "energy":
            found[name] = energy_score(logits)
        elif embeddings is None or means is None:
            raise _wrong("open_set", "embeddings and class means for a distance", "none", "pass both, or use energy")
        else:
            found[name] = distance_score(embeddings, means)
    return found


def fix_open_set(scores: Mapping[str, FloatArray], accept: float, *, means: FloatArray | None = None) -> OpenSetRule:
    """Fix the limits on known records, so that at least the share `accept` of them lies within all of them.

    Each limit is the score of one of the records: the one at the smallest rank, the same for every score, at which the
    limits together accept enough.

    Args:
        scores: of known validation records, (N,) each, by name.
        accept: above 0, at most 1.
        means: kept with the rule for the score `distance`, (K, D).

    Raises:
        DataError: no score, no record, or a share that cannot be.

    Examples:
        >>> rule = fix_open_set({"energy": np.arange(20.0)}, 0.9)
        >>> rule.thresholds, rule.accepted
        ({'energy': 17.0}, 0.9)
    """
    if not 0 < accept <= 1:
        raise _wrong("accept", "a share above 0, at most 1", f"{accept:g}", "use 0.95")
    sizes = {len(column) for column in scores.values()}
    if len(sizes) != 1 or 0 in sizes:
        raise _wrong("open_set", "scores of the same known records", f"lengths {sorted(sizes)}", "score at least one")
    size = sizes.pop()
    ordered = {name: np.sort(column) for name, column in scores.items()}
    # The rank of a record: the least at which every limit accepts it. Equal scores share the lowest.
    ranks = np.max([np.searchsorted(ordered[name], column) for name, column in scores.items()], axis=0)
    needed = int(np.ceil(round(accept * size, 9)))
    rank = int(np.sort(ranks)[needed - 1])
    limits = {name: float(column[rank]) for name, column in ordered.items()}
    within = np.all([scores[name] <= limit for name, limit in limits.items()], axis=0)
    return OpenSetRule(
        accept=accept, thresholds=limits, num_records=size, accepted=float(within.mean()), means=means
    )  # fmt: skip


def _wrong(where: str, expected: str, got: str, fix: str) -> DataError:
    return DataError(expected, got=got, where=where, fix=fix)
