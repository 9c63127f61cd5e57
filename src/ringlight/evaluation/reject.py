"""The reject option: parts the model is unsure of go to a human; what that costs, and what it brings.

Sorted by confidence, the surest share of the parts (the coverage) is decided by the model, with the error it has among
them: the risk-coverage curve (El-Yaniv & Wiener 2010, "On the foundations of noise-free selective classification";
for networks Geifman & El-Yaniv 2017, arXiv 1705.08500). How sure a decision is says
:func:`ringlight.evaluation.thresholds.decision_confidence`.

Shapes: N records, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from ringlight.errors import DataError
from ringlight.evaluation.inputs import checked_column


@dataclass(frozen=True, slots=True)
class RejectCurve:
    """Share of parts the model decides, its error among them, and the least confidence of these; coverage rises."""

    coverage: tuple[float, ...]
    error: tuple[float, ...]
    threshold: tuple[float, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain lists for JSON."""
        return {name: list(getattr(self, name)) for name in ("coverage", "error", "threshold")}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build from what :meth:`to_dict` returns."""
        return cls(tuple(values["coverage"]), tuple(values["error"]), tuple(values["threshold"]))


def reject_curve(probabilities: npt.ArrayLike, correct: npt.ArrayLike, *, num_points: int = 100) -> RejectCurve:
    """Return coverage against error.

    Args:
        probabilities: how sure each decision is, (N,), from 0 to 1; or multi-class probabilities (N, K), of which
            each record's highest counts.
        correct: whether every decision about a record is right, (N,).
        num_points: at most so many points, evenly over the coverage; equally sure parts share one.

    Raises:
        DataError: no record, shapes that do not fit, numbers outside 0 to 1, or fewer than two points asked for.

    Examples:
        >>> reject_curve([0.9, 0.6, 0.8, 0.7], [True, False, True, True]).to_dict()["error"]
        [0.0, 0.0, 0.0, 0.25]
    """
    if num_points < 2:
        raise DataError("2 points or more", got=str(num_points), where="reject_curve", fix="use 100")
    values = np.asarray(probabilities)
    if values.ndim == 2 and values.shape[1]:
        values = values.max(axis=1)
    confidence, right = checked_column("confidence", values, "correct", correct, limits=(0.0, 1.0))
    order = np.argsort(-confidence, kind="stable")
    ranked = confidence[order]
    ends = np.flatnonzero(np.append(ranked[1:] < ranked[:-1], True))
    if len(ends) > num_points:  # the ends nearest to even steps of coverage; the last one is every part
        ends = np.unique(ends[np.searchsorted(ends, np.linspace(ends[0], ends[-1], num_points))])
    decided = ends + 1
    mistakes = np.cumsum(~right[order])[ends]
    coverage, error = decided / len(ranked), mistakes / decided
    return RejectCurve(tuple(coverage.tolist()), tuple(error.tolist()), tuple(ranked[ends].tolist()))


def reject_threshold(curve: RejectCurve, *, max_error: float) -> float | None:
    """Return the confidence below which a part goes to a human, so that the rest errs at most as wished.

    The largest coverage with such an error counts. It is what the curve's own parts show, without a margin. None when
    no share of them is that good.

    Args:
        curve: of the validation part.
        max_error: share of the decided parts that may be wrong, from 0 to below 1.

    Raises:
        DataError: `max_error` lies outside.

    Examples:
        >>> curve = reject_curve([0.9, 0.6, 0.8, 0.7], [True, False, True, True])
        >>> reject_threshold(curve, max_error=0.1), reject_threshold(curve, max_error=0.25)
        (0.7, 0.6)
    """
    if not 0 <= max_error < 1:
        raise DataError("a number in [0, 1)", got=f"{max_error:g}", where="max_error", fix="use 0.01 for 1 %")
    good = [level for level, error in zip(curve.threshold, curve.error, strict=True) if error <= max_error]
    return good[-1] if good else None
