"""Any estimator with scikit-learn's `fit` and `predict`, and any `Learner`, trained once a fold.

Nothing is calibrated and no threshold is chosen: what `predict` says is judged. Shapes: N records, K classes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ringlight.data.folds_methods import Division
from ringlight.errors import ModelError, did_you_mean
from ringlight.evaluation.metrics import METRIC_NAMES, classification_metrics, flatten
from ringlight.evaluation.scoring import FROM_PROBABILITIES, FROM_SCORES, Scoring
from ringlight.training.fold_results import OUT_OF_FOLD, SINGLE, CrossValidation, summaries_of
from ringlight.training.results import group_names, part_card
from ringlight.training.trackers import QuietControl, QuietTracker
from ringlight.types import Dataset, Learner, Prediction, Split

__all__ = ["OUT_OF_FOLD", "Judged", "cross_validate_with", "estimator_scorer", "learner_scorer"]

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Judged:
    """What a trained model says of the test records of a fold.

    `probabilities` (N, K); `decisions` (N, K) booleans, one-hot when multi-class; `left_out` are the scores that these
    do not give.
    """

    probabilities: FloatArray
    decisions: npt.NDArray[np.bool_]
    left_out: frozenset[str] = frozenset()


Scorer = Callable[[Split], Judged]
"""Trains on a fold and scores its test records."""


def cross_validate_with(scorer: Scorer, division: Division, scoring: Scoring, *, confidence: float) -> CrossValidation:
    """Train and score every fold.

    Args:
        scorer: trains and scores one.
        division: the folds.
        scoring: the headline.
        confidence: of the intervals.

    Raises:
        ModelError: the model cannot be trained, or does not give what the headline needs.
    """
    data = division.dataset
    cards: list[dict[str, Any]] = []
    found: list[Judged] = []
    for index, split in enumerate(division.splits):
        started = time.perf_counter()
        judged = scorer(split)
        if scoring.metric.partition("/")[0] in judged.left_out:
            raise _lacking(scoring)
        test = data.take(split.test)
        cards.append(
            {
                **dict(zip(("repeat", "fold"), division.place(index), strict=True)),
                **{name: part_card(data.take(rows)) for name, rows in split.parts().items()},
                "test_groups": group_names(test),
                "num_left_out": len(split.left_out),
                "leak_check": split.leak_check,
                "leaks": list(split.leaks),
                "scores": _scores(test, judged),
                "seconds": round(time.perf_counter() - started, 3),
            }
        )
        found.append(judged)
    tested, whole = _joined(division, found)
    pooled = _scores(tested, whole)
    names = [name for name in METRIC_NAMES if any(name in card["scores"] for card in cards)]
    single = all(card["test"]["num_records"] == 1 for card in cards)
    made = CrossValidation(
        metric="accuracy", confidence=confidence, method=division.method, num_folds=division.num_folds,
        repeats=division.repeats, folds=tuple(cards), prediction=_prediction(tested, whole),
        summaries=summaries_of(cards, names, pooled, confidence=confidence),
        notes=(*division.notes, *((SINGLE,) if single else ()), *_leaks(division)),
    )  # fmt: skip
    return headed(made, scoring, pooled)


def headed(found: CrossValidation, scoring: Scoring, pooled: dict[str, float]) -> CrossValidation:
    """Return a cross-validation whose headline is another score, under the name it was asked for by.

    Args:
        found: it.
        scoring: the score.
        pooled: the scores of the out-of-fold prediction by name.
    """
    cards = []
    for card in found.folds:
        value = card["scores"].get(scoring.metric)
        named = {} if value is None else {scoring.name: scoring.sign * value}
        cards.append({**card, "scores": {**card["scores"], **named}})
    overall = pooled.get(scoring.metric)
    overall = None if overall is None else scoring.sign * overall
    summary = summaries_of(found.folds, [scoring.metric], pooled, confidence=found.confidence)[scoring.metric]
    if scoring.sign < 0:
        mean, low, high = (None if one is None else 0.0 - one for one in (summary.mean, summary.high, summary.low))
        summary = replace(summary, mean=mean, low=low, high=high)
    return replace(
        found, metric=scoring.name, folds=tuple(cards), out_of_fold=overall,
        summaries={**found.summaries, scoring.name: summary},
    )  # fmt: skip


def _leaks(division: Division) -> list[str]:
    return list(dict.fromkeys(line for split in division.splits for line in split.warnings))


def _scores(test: Dataset, judged: Judged) -> dict[str, float]:
    metrics = classification_metrics(
        test.targets(), judged.probabilities, test.classes, test.task, decisions=judged.decisions, groups=test.groups
    )
    return {name: value for name, value in flatten(metrics).items() if name.partition("/")[0] not in judged.left_out}


def _joined(division: Division, found: Sequence[Judged]) -> tuple[Dataset, Judged]:
    """Put the first repeat together in the order of the data set."""
    first = range(division.num_folds)
    rows = np.concatenate([division.splits[index].test for index in first])
    order = np.argsort(rows, kind="stable")
    probabilities, decisions = (
        np.concatenate([getattr(found[index], name) for index in first])[order]
        for name in ("probabilities", "decisions")
    )
    return division.dataset.take(rows[order]), Judged(probabilities, decisions, found[0].left_out)


def _prediction(tested: Dataset, judged: Judged) -> Prediction | None:
    """Return logits whose probabilities are those of the estimator; None where it gives decisions alone."""
    if judged.left_out >= FROM_SCORES:
        return None
    safe = np.clip(judged.probabilities, 1e-12, 1 - 1e-12)
    logits = np.log(safe) if tested.task == "multiclass" else np.log(safe) - np.log1p(-safe)
    return Prediction(tested.ids, logits.astype(np.float32), tested.classes, tested.task, tested.targets())


def _lacking(scoring: Scoring) -> ModelError:
    what = "predict_proba" if scoring.needs_probabilities else "predict_proba or decision_function"
    return ModelError(
        f"an estimator with {what} for scoring={scoring.name}", got="one without", where="cross_validate",
        fix="use a score of decisions such as macro_f1, or wrap it in CalibratedClassifierCV",
    )  # fmt: skip


def learner_scorer(make: Callable[[], Learner], data: Dataset) -> Scorer:
    """Return what trains a new `Learner` on a fold, and decides by the highest probability (several labels: 0.5)."""

    def score(split: Split) -> Judged:
        learner = make()
        val = data.take(split.val) if len(split.val) else None
        learner.fit(data.take(split.train), val, tracker=QuietTracker(), control=QuietControl(), resume=None)
        probabilities = learner.predict(data.take(split.test)).probabilities
        return Judged(probabilities, _default(probabilities, data))

    return score


def _default(probabilities: FloatArray, data: Dataset) -> npt.NDArray[np.bool_]:
    if data.task == "multilabel":
        return probabilities >= 0.5
    return np.asarray(np.eye(len(data.classes), dtype=bool)[probabilities.argmax(axis=1)])


def estimator_scorer(estimator: Any, X: Any, y: npt.NDArray[Any], data: Dataset) -> Scorer:  # noqa: N803
    """Return what fits a clone of a scikit-learn estimator on a fold.

    It raises a `ModelError` where the estimator refuses its data, or predicts what is no class.

    Args:
        estimator: it; never fitted itself.
        X: its input, anything with rows: an array, a sparse matrix, a data frame.
        y: what it is fitted to: labels (N,), or a binary matrix (N, K).
        data: the records with the same labels.
    """
    from sklearn.base import clone

    codes = {} if y.ndim == 2 else {value: int(code) for value, code in zip(y.tolist(), data.targets(), strict=True)}

    def score(split: Split) -> Judged:
        tested = rows_of(X, split.test)
        try:
            fitted = clone(estimator).fit(rows_of(X, split.train), y[split.train])
            said = np.asarray(fitted.predict(tested))
        except (ValueError, TypeError, ArithmeticError) as error:  # what scikit-learn refuses data by
            raise ModelError(
                f"an estimator that takes this X and y, {_shown(X)} and {_shown(y)}",
                got=f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}",
                where=type(estimator).__name__, fix="mend the data, or choose another estimator",
            ) from error  # fmt: skip
        if y.ndim == 2:
            decisions = said.astype(bool)
        else:
            decisions = np.eye(len(data.classes), dtype=bool)[_coded(estimator, said, codes)]
        probabilities, left_out = _probabilities(fitted, tested, decisions, codes)
        return Judged(probabilities, decisions, left_out)

    return score


def _shown(values: Any) -> str:
    return f"shape {tuple(values.shape)}"


def _coded(estimator: Any, said: npt.NDArray[Any], codes: dict[Any, int]) -> list[int]:
    """Return the class numbers of predictions."""
    strange = next((value for value in said.ravel().tolist() if value not in codes), None)
    if strange is not None or said.ndim != 1:
        raise ModelError(
            "predictions that are classes of y", got=f"shape {said.shape}" if strange is None else f"`{strange}`",
            where=type(estimator).__name__,
            fix=f"pass a classifier; the classes: {did_you_mean(str(strange), [str(value) for value in codes])}",
        )  # fmt: skip
    return [codes[value] for value in said.tolist()]


def rows_of(X: Any, rows: npt.NDArray[np.int64]) -> Any:  # noqa: N803
    """Return rows of an array, a sparse matrix or a data frame."""
    return X.iloc[rows] if hasattr(X, "iloc") else X[rows]


def _probabilities(
    fitted: Any, tested: Any, decisions: npt.NDArray[np.bool_], codes: dict[Any, int]
) -> tuple[FloatArray, frozenset[str]]:
    """Return probabilities (N, K), and the scores they do not give."""
    if callable(getattr(fitted, "predict_proba", None)):
        found = fitted.predict_proba(tested)
        if isinstance(found, list):  # one array a label
            found = np.stack([one[:, 1] if one.shape[1] > 1 else np.zeros(len(one)) for one in found], axis=1)
        return _placed(fitted, np.asarray(found, np.float64), decisions, codes, 0.0), frozenset()
    if callable(getattr(fitted, "decision_function", None)):
        raw = np.asarray(fitted.decision_function(tested), np.float64)
        if raw.ndim == 1:
            raw = np.stack([-raw / 2, raw / 2], axis=1)
        raw = _placed(fitted, raw, decisions, codes, -np.inf)
        if not codes:
            return np.asarray(1 / (1 + np.exp(-raw))), FROM_PROBABILITIES
        shifted = np.exp(raw - raw.max(axis=1, keepdims=True))
        return np.asarray(shifted / shifted.sum(axis=1, keepdims=True)), FROM_PROBABILITIES
    return decisions.astype(np.float64), FROM_SCORES


def _placed(
    fitted: Any, found: FloatArray, decisions: npt.NDArray[np.bool_], codes: dict[Any, int], empty: float
) -> FloatArray:
    """Put the columns where the data set has their classes: a fold may have trained without one."""
    if not codes:
        return found
    placed = np.full(decisions.shape, empty)
    placed[:, [codes[value] for value in np.asarray(fitted.classes_).tolist()]] = found
    return placed
