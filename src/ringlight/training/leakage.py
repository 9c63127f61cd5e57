"""How much of a score is leakage: one cheap classifier on frozen features, judged by two kinds of folds.

Random folds put records of one group (the exposures of a part, windows that overlap) on both sides, as a careless split
would; grouped folds keep every group whole. The classifier, the features, the number of folds and the records are the
same, so that the difference between the two scores is what a random split pretends.

Every record is predicted once by each kind, by a model that was not trained on it. Both scores get intervals from a
bootstrap over groups, and so does their difference, on the same resamples (:mod:`ringlight.evaluation.paired`). The
latter is widened, since two draws of folds differ even where nothing leaks, which no bootstrap sees.

The classifier is a logistic regression on standardised features with L2 penalty, C = 0.1, classes weighted to count
equally; one for each label when multi-label. C is fixed: it is not chosen on what it is then judged on.

Shapes: N records, K classes, D features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ringlight.data.folds import Fold, make_folds
from ringlight.data.groups import NO_CONTENT
from ringlight.errors import DataError
from ringlight.evaluation.intervals import Interval, metric_intervals, paired_intervals
from ringlight.training.features import Embedder, Features, Progress, features_of
from ringlight.training.features import embedder as best_embedder
from ringlight.training.leak_subject import MAX_RECORDS, probe_rows, subject_of
from ringlight.training.window_table import plain_window_vectors
from ringlight.types import Dataset

METRIC = "macro_f1"
CLASSIFIER = "class-balanced logistic regression"
STRENGTH = 0.1
"""C, the inverse strength of the penalty. On 1,344 magnetic tiles 0.01, 0.1 and 1 give .900, .914, .920 on random folds
and .550, .537, .523 on grouped ones: the finding does not hang on it."""
ITERATIONS = 500
WIDER = 1.5
"""Factor on the interval of the difference: √(1 + 1.1²). Where groups of the same sizes were drawn at random, so that
nothing leaks, redrawing the folds moved the difference by 1.1 of the bootstrap's standard deviation (325 controls on
real and made data); with the factor 3 of them showed leakage, without it 11."""

WINDOW_NOTE = "statistics, spectra and correlations of each window"

Scores = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class LeakProbe:
    """One classifier's score under random and under grouped folds.

    `random`, `grouped` and `gap` (random minus grouped) are on the scale of the metric, 0 to 1. `num_records`,
    `num_groups` and `num_folds` say what was measured on, `notes` what was left out.
    """

    metric: str
    random: Interval
    grouped: Interval
    gap: Interval
    classifier: str
    num_records: int
    num_groups: int
    num_folds: int
    notes: tuple[str, ...] = ()

    @property
    def points(self) -> float:
        """The difference in points: hundredths of the metric."""
        return 100 * self.gap.value

    @property
    def shown(self) -> bool:
        """Whether there is leakage beyond chance: at least half a point, and the whole interval above zero."""
        return self.gap.low > 0 and round(self.points) >= 1

    @property
    def sentence(self) -> str:
        """What it means, in words."""
        scores = f"random split {self.random.value:.3f}, grouped split {self.grouped.value:.3f}"
        points = round(abs(self.points))
        counted = f"{points} point{' is' if points == 1 else 's are'}"
        if self.shown:
            return f"{scores}: {counted} leakage; only the grouped score holds for new parts"
        if points == 0 or self.points < 0:
            return f"{scores}: no leakage shown"
        return f"{scores}: no leakage shown, {counted} within chance"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        values: dict[str, Any] = {"metric": self.metric}
        for name in ("random", "grouped"):
            interval: Interval = getattr(self, name)
            values[name] = {"value": interval.value, "low": interval.low, "high": interval.high}
        values |= {"points": self.points, "points_low": 100 * self.gap.low, "points_high": 100 * self.gap.high}
        values |= {"shown": self.shown, "sentence": self.sentence, "classifier": self.classifier}
        values |= {name: getattr(self, name) for name in ("num_records", "num_groups", "num_folds")}
        return values | {"notes": list(self.notes)}


def probe_obstacle(dataset: Dataset) -> str | None:
    """Return why the probe cannot be made, in words; None when it can. No file is opened.

    The groups have to be filled in. It cannot be made without files, where no group holds two records (a random split
    then leaks nothing), or where fewer than two classes lie in several groups.
    """
    if not dataset.has_content:
        return NO_CONTENT
    if dataset.signals is not None:
        from ringlight.models.window_features import SHORTEST

        if dataset.signals.length < SHORTEST:
            return f"windows of fewer than {SHORTEST} samples are not described by features"
    return subject_of(dataset).obstacle


def measure_leak(
    dataset: Dataset,
    *,
    embedder: Embedder | None = None,
    cache: Path | None = None,
    seed: int = 0,
    num_resamples: int = 2000,
    confidence: float = 0.95,
    max_records: int = MAX_RECORDS,
    progress: Progress | None = None,
) -> LeakProbe | None:
    """Measure what a random split of these records would pretend, from their files.

    Args:
        dataset: the records with their groups filled in.
        embedder: makes the features of images; the best there is when None. Windows have features of their own.
        cache: a folder where the features are kept.
        seed: of the sample, the folds and the resamples.
        num_resamples: of the bootstrap.
        confidence: of the intervals.
        max_records: of more records, whole groups are drawn (:mod:`ringlight.training.leak_subject`).
        progress: told how many pictures are done.

    Returns:
        None when it cannot be measured; :func:`probe_obstacle` says why.

    Raises:
        DataError: a file cannot be read.
        Problems: several cannot.
    """
    if probe_obstacle(dataset) is not None:
        return None
    sample = dataset.take(probe_rows(dataset, max_records=max_records, seed=seed))
    if dataset.signals is None:
        chosen = embedder or best_embedder()
        features, title, note = features_of(sample, chosen, cache=cache, progress=progress), chosen.title, chosen.note
    else:
        features, title, note = plain_window_vectors(sample, cache=cache), "features of windows", WINDOW_NOTE
    probe = probe_leak(
        sample, features=features, seed=seed, num_resamples=num_resamples, confidence=confidence, described=title
    )
    if probe is None:
        return None
    drawn = f"probed on {len(sample)} of {len(dataset)} records, drawn in whole groups, rare classes first"
    notes = [
        f"features of the leak probe: {note}",
        *([drawn] if len(sample) < len(dataset) else []),
        *probe.notes,
    ]
    return replace(probe, notes=tuple(notes))


def probe_leak(
    dataset: Dataset,
    *,
    features: Features,
    num_folds: int = 5,
    seed: int = 0,
    num_resamples: int = 2000,
    confidence: float = 0.95,
    described: str = "frozen features",
) -> LeakProbe | None:
    """Score one classifier under random and under grouped folds.

    A class that lies in a single group cannot be on both sides of a grouped split: it is left out, with a note. There
    are no more folds than the rarest class has groups.

    Args:
        dataset: the records with their groups filled in.
        features: (N, D), a row a record.
        num_folds: at most so many.
        seed: of the folds and the resamples.
        num_resamples: of the bootstrap.
        confidence: of the intervals.
        described: what the features are, for the name of the classifier.

    Returns:
        None when no group holds two records, or fewer than two classes lie in several groups.

    Raises:
        DataError: the features do not fit the records, or are not finite.
    """
    if features.ndim != 2 or len(features) != len(dataset) or not np.isfinite(features).all():
        raise DataError(
            f"finite features (N, D) of {len(dataset)} records",
            got=f"shape {features.shape}" if np.isfinite(features).all() else "NaN or infinity among them",
            where="probe_leak",
            fix="pass what features_of returns",
        )
    subject = subject_of(dataset, num_folds)
    if subject.obstacle is not None:
        return None
    data, kept = subject.dataset, features[subject.rows]
    targets, classes = subject.targets(), subject.classes
    scores = [
        _out_of_fold(kept, targets, make_folds(data, num_folds=subject.num_folds, kind=kind, seed=seed), len(classes))
        for kind in ("stratified", "group")
    ]
    random, grouped = (
        metric_intervals(
            targets, score, classes, data.task,
            groups=subject.units, num_resamples=num_resamples, confidence=confidence, seed=seed,
        ).scalars[METRIC]
        for score in scores
    )  # fmt: skip
    gaps = paired_intervals(
        targets, scores[1], scores[0], classes, data.task,
        groups=subject.units, num_resamples=num_resamples, confidence=confidence, seed=seed,
    )  # fmt: skip
    return LeakProbe(
        metric=METRIC,
        random=random,
        grouped=grouped,
        gap=_widened(gaps.get(METRIC), random.value - grouped.value),
        classifier=f"{CLASSIFIER} on {described}",
        num_records=len(data),
        num_groups=int(subject.units.max()) + 1,
        num_folds=subject.num_folds,
        notes=subject.notes,
    )


def _widened(gap: Interval | None, value: float) -> Interval:
    """Return the interval of the difference with room for the draw of the folds, within -1 and 1."""
    if gap is None:
        return Interval(value, value, value, "the same on every resample")
    low, high = (max(-1.0, min(1.0, value + WIDER * (limit - value))) for limit in (gap.low, gap.high))
    return Interval(value, low, high, f"{gap.method}, {WIDER:g} times as wide for the draw of the folds")


def _out_of_fold(features: Features, targets: npt.NDArray[Any], folds: Sequence[Fold], num_classes: int) -> Scores:
    """Return the probabilities (N, K) that each record gets from the model that was not trained on it."""
    scores = np.zeros((len(features), num_classes))
    for train, test in folds:
        mean, spread = features[train].mean(axis=0), features[train].std(axis=0)
        spread[spread == 0] = 1
        known, asked = (features[train] - mean) / spread, (features[test] - mean) / spread
        if targets.ndim == 1:
            scores[test] = _fit_predict(known, targets[train], asked, num_classes)
        else:
            for column in range(num_classes):
                scores[test, column] = _fit_predict(known, targets[train, column], asked, 2)[:, 1]
    return scores


def _fit_predict(known: Features, targets: npt.NDArray[Any], asked: Features, num_classes: int) -> Scores:
    """Fit on what is known and return probabilities (M, K) of what is asked; 0 for a class that was not there."""
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    scores = np.zeros((len(asked), num_classes))
    present = np.unique(targets)
    if len(present) == 1:
        scores[:, present[0]] = 1
        return scores
    model = LogisticRegression(C=STRENGTH, class_weight="balanced", max_iter=ITERATIONS)
    with warnings.catch_warnings():
        # The last digits of the weights do not matter here, and both kinds of folds get the same number of steps.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(known, targets)
    scores[:, present] = model.predict_proba(asked)
    return scores
