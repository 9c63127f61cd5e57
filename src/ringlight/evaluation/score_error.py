"""How far the scores of one model are from another's on the same records: needs no labels.

Two models may decide alike on every record at hand and still not be the same model: what they say next to a threshold
differs. The relative error tells it from few records.

Shapes: N records, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ringlight.errors import DataError
from ringlight.types import Prediction, Task

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreError:
    """How far scores moved.

    `relative` is the size of the difference of all logits over the size of the logits themselves (Frobenius norms), 0
    where they are the same. `max_probability` is the largest move of any probability, 0 to 1, at `worst_record`;
    `mean_probability` the mean over records of each one's largest. `agreement` is the share of records on which the
    default decides alike: the best class, or every label at 0.5.
    """

    relative: float
    max_probability: float
    mean_probability: float
    agreement: float
    worst_record: str
    num_records: int

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


def score_error(reference: Prediction, other: Prediction) -> ScoreError:
    """Compare raw scores with those they should be.

    Raises:
        DataError: the predictions are not of the same records and classes, or a score is not finite.

    Examples:
        >>> first = Prediction(["a", "b"], np.array([[2.0, -2.0], [-1.0, 1.0]], np.float32), ("x", "y"), "multiclass")
        >>> second = Prediction(["a", "b"], np.array([[2.0, -2.0], [-1.0, 0.0]], np.float32), ("x", "y"), "multiclass")
        >>> round(score_error(first, second).relative, 4)  # √(2 · 0.5²) / √(2 · 2² + 2 · 1²): a common shift is none
        0.2236
    """
    _check(reference, other)
    first, second = (centred(one.logits, one.task) for one in (reference, other))
    moved = np.abs(reference.probabilities - other.probabilities).max(axis=1)
    worst = int(moved.argmax())
    alike = (_default(reference) == _default(other)).all(axis=1)
    return ScoreError(
        relative=relative_error(first, second),
        max_probability=float(moved[worst]),
        mean_probability=float(moved.mean()),
        agreement=float(alike.mean()),
        worst_record=str(reference.ids[worst]),
        num_records=len(moved),
    )


def centred(logits: npt.ArrayLike, task: Task) -> FloatArray:
    """Return logits (N, K) in double precision, without what a soft-max does not see: the mean of each record's."""
    values = np.asarray(logits, np.float64)
    return values - values.mean(axis=1, keepdims=True) if task == "multiclass" else values


def relative_error(reference: npt.ArrayLike, other: npt.ArrayLike) -> float:
    """Return ||other - reference|| / ||reference||; 0 for equals, infinity for what should be nothing but zeros.

    Examples:
        >>> relative_error([3.0, 4.0], [3.0, 4.5])
        0.1
    """
    first, second = np.asarray(reference, np.float64), np.asarray(other, np.float64)
    apart, size = float(np.linalg.norm(second - first)), float(np.linalg.norm(first))
    if apart == 0.0:
        return 0.0
    return apart / size if size else float("inf")


def _default(prediction: Prediction) -> npt.NDArray[np.bool_]:
    scores = prediction.logits
    if prediction.task == "multilabel":
        return np.asarray(scores >= 0)
    return np.asarray(np.eye(scores.shape[1], dtype=bool)[scores.argmax(axis=1)])


def _check(reference: Prediction, other: Prediction) -> None:
    if (list(reference.ids), reference.classes, reference.task) != (list(other.ids), other.classes, other.task):
        raise DataError(
            "scores of the same records and classes, in the same order",
            got=f"{_told(reference)} and {_told(other)}", where="score_error",
            fix="score the same part with both models",
        )  # fmt: skip
    if not len(reference.ids):
        raise DataError("at least one record", got="none", where="score_error", fix="pass the validation part")
    for prediction, whose in ((reference, "original"), (other, "other")):
        broken = ~np.isfinite(prediction.logits).all(axis=1)
        if broken.any():
            raise DataError(
                "finite scores", got=f"NaN or infinity for `{prediction.ids[int(broken.argmax())]}`",
                where=f"the {whose} model", fix="check its weights, and its scales where it is quantised",
            )  # fmt: skip


def _told(prediction: Prediction) -> str:
    ids: Sequence[str] = prediction.ids
    return f"{len(ids)} records of {len(prediction.classes)} classes ({prediction.task})"
