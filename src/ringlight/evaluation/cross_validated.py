"""Mean, spread and interval of the scores of a cross-validation's folds.

The folds' scores are no independent sample: their training records overlap, so that the usual standard error of the
mean is far too small, and repeats make it smaller still without bringing any new data. The interval here is the
corrected resampled t of Nadeau and Bengio, "Inference for the Generalization Error", Machine Learning 52 (2003),
239-281, section 5: with J scores x_j in all, their mean m and sample variance s^2 (J - 1 in the denominator),

    m +- t_(J-1) * sqrt((1 / J + n_test / n_train) * s^2)

where n_test / n_train is the ratio of records a fold is tested on to records it was given to learn from. Bouckaert and
Frank (PAKDD 2004) found it to hold its level with repeated cross-validation, too.

Shapes: J folds of all repeats.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ringlight.errors import DataError

UNBOUNDED_ABOVE = frozenset({"loss", "log_loss"})
FROM_MINUS_ONE = frozenset({"cohen_kappa", "weighted_kappa", "mcc"})


@dataclass(frozen=True, slots=True)
class FoldSummary:
    """The mean over folds with its standard deviation and interval.

    `num_scores` counts the scores that are defined. `std`, `low` and `high` are None where one score or none is; the
    latter two also where all scores are the same, which tells nothing of how far they vary.
    """

    mean: float | None
    std: float | None
    low: float | None
    high: float | None
    num_scores: int

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {"mean": self.mean, "std": self.std, "low": self.low, "high": self.high, "num_scores": self.num_scores}


def summarize_folds(
    scores: Sequence[float | None],
    *,
    test_share: float,
    confidence: float = 0.95,
    bounds: tuple[float, float] = (-math.inf, math.inf),
) -> FoldSummary:
    """Summarise the scores (J,) of all folds of all repeats.

    Args:
        scores: one a fold; None where a fold leaves the score undefined, and then the others count.
        test_share: n_test / n_train, above 0.
        confidence: of the interval, between 0 and 1.
        bounds: the least and the greatest value the score can have; the interval ends there.

    Raises:
        DataError: a ratio that is not above 0, or a confidence that is not between 0 and 1.

    Examples:
        >>> found = summarize_folds([0.8, 0.9, 0.7, 0.8], test_share=1 / 3)
        >>> round(found.mean, 3), round(found.std, 3), round(found.low, 3), round(found.high, 3)
        (0.8, 0.082, 0.602, 0.998)
    """
    if not (math.isfinite(test_share) and test_share > 0):
        raise DataError("a ratio above 0", got=f"{test_share:g}", where="test_share", fix="pass n_test / n_train")
    if not 0 < confidence < 1:
        raise DataError("a number between 0 and 1", got=f"{confidence:g}", where="confidence", fix="use 0.95")
    known = [float(score) for score in scores if score is not None]
    number = len(known)
    if not number:
        return FoldSummary(None, None, None, None, 0)
    mean = math.fsum(known) / number
    if number == 1:
        return FoldSummary(mean, None, None, None, 1)
    from scipy.stats import t

    variance = math.fsum((score - mean) ** 2 for score in known) / (number - 1)
    if min(known) == max(known):
        return FoldSummary(
            known[0], 0.0, None, None, number
        )  # a width of nothing would promise what nobody has measured
    half = float(t.ppf((1 + confidence) / 2, number - 1)) * math.sqrt((1 / number + test_share) * variance)
    low, high = max(bounds[0], mean - half), min(bounds[1], mean + half)
    return FoldSummary(mean, math.sqrt(variance), low, high, number)


def bounds_of(metric: str) -> tuple[float, float]:
    """Return the least and the greatest value a metric can have.

    Examples:
        >>> bounds_of("macro_f1"), bounds_of("mcc"), bounds_of("log_loss"), bounds_of("recall/leak")
        ((0.0, 1.0), (-1.0, 1.0), (0.0, inf), (0.0, 1.0))
    """
    name = metric.partition("/")[0]
    if name in UNBOUNDED_ABOVE:
        return (0.0, math.inf)
    return (-1.0, 1.0) if name in FROM_MINUS_ONE else (0.0, 1.0)
