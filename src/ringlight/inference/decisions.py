"""From raw scores to decisions, by the rules that were fixed on a model's validation part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ringlight.errors import DataError
from ringlight.evaluation.calibration import Calibration, Calibrator
from ringlight.evaluation.open_set import OpenSetRule
from ringlight.evaluation.thresholds import OperatingPoint, decision_confidence
from ringlight.inference.bundle import DEFAULT_POINT, Bundle
from ringlight.runtime import LOGGER
from ringlight.types import Prediction

EVIDENTIAL = "evidential"
"""The head whose logits are log Dirichlet parameters."""


def dirichlet_uncertainty(logits_nk: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Return K / S (N,), the uncertainty mass of logits that are log(alpha), S the sum of alpha.

    Sensoy et al. 2018, arXiv:1806.01768, equation 1 and below. Of the logits as the model gave them: calibration moves
    probabilities, not evidence.

    Examples:
        No evidence for two classes, and a hundred pieces for one of them:

        >>> dirichlet_uncertainty(np.log(np.array([[1.0, 1.0], [101.0, 1.0]], np.float32))).round(4).tolist()
        [1.0, 0.0196]
    """
    return np.asarray(logits_nk.shape[1] / np.exp(logits_nk.astype(np.float64)).sum(axis=1))


@dataclass(frozen=True, slots=True)
class Result:
    """Scores and decisions of N images or windows.

    `prediction` holds the raw scores, `probabilities` (N, K) the calibrated ones in double precision. `decisions`
    (N, K) is what the operating point named `operating_point` made of them, `labels` the same as class names.
    `scores` (N,) says how sure each decision is, from 0 to 1; `rejected` (N,) which are not sure enough and need a
    human, None when the model has no such limit. `uncertainties` (N,) of an evidential model are K / S, from near 0 to
    1: no evidence at all; None for every other model. `unknown` (N,) are those of no known class, which need a human as
    well (they are in `rejected`), None when the model has no open-set rule.
    """

    prediction: Prediction
    probabilities: npt.NDArray[np.float64]
    labels: list[list[str]]
    decisions: npt.NDArray[np.bool_]
    scores: npt.NDArray[np.float64]
    operating_point: str = DEFAULT_POINT
    rejected: npt.NDArray[np.bool_] | None = None
    uncertainties: npt.NDArray[np.float64] | None = None
    unknown: npt.NDArray[np.bool_] | None = None

    def rows(self) -> list[dict[str, Any]]:
        """Return one plain row an image: id, labels, a probability per class; `to_human` where the model has a limit.

        An evidential model's rows have `uncertainty`; where the model has an open-set rule, `unknown` says that the
        record is of no known class. A class of such a name keeps its column.
        """
        rows = [
            {"id": key, "labels": ";".join(labels), **dict(zip(self.prediction.classes, map(float, row), strict=True))}
            for key, labels, row in zip(self.prediction.ids, self.labels, self.probabilities, strict=True)
        ]
        if self.rejected is not None:
            for row, rejected in zip(rows, self.rejected.tolist(), strict=True):
                row.setdefault("to_human", rejected)
        if self.uncertainties is not None:
            for row, uncertainty in zip(rows, self.uncertainties.tolist(), strict=True):
                row.setdefault("uncertainty", uncertainty)
        if self.unknown is not None:
            for row, unknown in zip(rows, self.unknown.tolist(), strict=True):
                row.setdefault("unknown", unknown)
        return rows


class Decider:
    """Calibration, operating point, reject option and open-set rule of a bundle, over scores of any engine.

    Its operating point decides; another stored point is chosen with `operating_point` ("default": the best class, or
    0.5). `threshold` in (0, 1) puts one number in place of a multi-label point; a multi-class image has its class from
    the point, whatever the number.

    Raises:
        DataError: a threshold outside (0, 1) or beside an operating point; a point that the bundle does not have, or
            that was refused when it was to be fixed.
    """

    def __init__(self, bundle: Bundle, *, threshold: float | None = None, operating_point: str | None = None) -> None:
        self.bundle = bundle
        self.point = _choose_point(bundle, threshold, operating_point)
        self.calibrator = Calibration.from_dict(bundle.calibration).calibrator if bundle.calibration else Calibrator()
        self.open_set = OpenSetRule.from_dict(bundle.open_set) if bundle.open_set else None
        self._is_evidential = (bundle.architecture.get("head") or {}).get("name") == EVIDENTIAL

    @property
    def needs_features(self) -> bool:
        """Whether decisions need what reaches the classifier."""
        return self.open_set is not None and self.open_set.needs_embeddings

    def decide(
        self, ids: Sequence[str], logits: npt.NDArray[np.float32], features: npt.NDArray[np.float32] | None = None
    ) -> Result:
        """Return what the rules make of raw scores.

        Args:
            ids: what each record is called, (N,).
            logits: raw scores (N, K), averaged over the views where there are several.
            features: what reached the classifier (N, D), where :attr:`needs_features`.
        """
        bundle = self.bundle
        prediction = Prediction(list(ids), logits, bundle.classes, bundle.task)
        probabilities = replace(prediction, logits=self.calibrator.apply(logits)).probabilities
        decisions = self.point.decide(probabilities)
        scores = decision_confidence(probabilities, self.point)
        limit = bundle.reject_threshold
        rejected = None if limit is None else scores < limit
        unknown = None
        if self.open_set is not None:
            unknown = self.open_set.strange(self.open_set.scores(logits, features))
            rejected = unknown if rejected is None else rejected | unknown
        return Result(
            prediction=prediction,
            probabilities=probabilities,
            labels=[[bundle.classes[column] for column in np.flatnonzero(row)] for row in decisions],
            decisions=decisions,
            scores=scores,
            operating_point=self.point.name,
            uncertainties=dirichlet_uncertainty(logits) if self._is_evidential else None,
            rejected=rejected,
            unknown=unknown,
        )


def _choose_point(bundle: Bundle, threshold: float | None, name: str | None) -> OperatingPoint:
    """Return the point that decides: as asked, else the bundle's own."""
    if threshold is not None:
        if not 0 < threshold < 1:
            raise DataError("a number in (0, 1)", got=repr(threshold), where="threshold", fix="use 0.5")
        if name is not None:
            got = f"threshold {threshold:g} beside `{name}`"
            raise DataError("a threshold or an operating point", got=got, where="operating_point", fix="leave one out")
        if bundle.task == "multilabel":
            return replace(OperatingPoint.default(bundle.task, bundle.classes, threshold=threshold), name="threshold")
    point = bundle.point(bundle.operating_point if name is None else name)
    if point.refused and name is not None:
        raise DataError(
            "an operating point that could be fixed",
            got=f"`{name}`, refused: {point.reason}",
            where="operating_point",
            fix=f"use {DEFAULT_POINT}, or train with more validation data",
        )
    if point.refused:
        LOGGER.warning("operating point `%s` was refused, the default decides: %s", point.name, point.reason)
    return point
