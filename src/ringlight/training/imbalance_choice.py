"""`imbalance: auto`: which method helps these classes, tried on the training records alone.

Every candidate fits a linear layer to the same frozen features and scores the records it did not see, in grouped folds
that are drawn three times. Plain cross-entropy comes first, and the method with the best macro-F1 on held-out records
takes its place if it is better by a tenth of a point; the gain is told with its interval. The features stand in for the
network: what the classes' shares do to a classifier happens in its last layer (Kang et al. 2020, arXiv:1910.09217,
section 5, find that the rest of a network hardly suffers from rare classes). Neither validation nor test records are
looked at.

Shapes: N training records, D features, K classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ringlight.config.schema import Config
from ringlight.data.folds import Fold, make_folds
from ringlight.data.groups import units_of
from ringlight.errors import ConfigError, SplitError
from ringlight.evaluation.metrics import classification_metrics
from ringlight.evaluation.paired import paired_intervals
from ringlight.losses.adjust import post_hoc_logit_adjustment
from ringlight.training.drawing import Seen, criterion_of, last_criterion
from ringlight.training.features import Features
from ringlight.training.head_problem import Problem, out_of_fold
from ringlight.training.heads import DEAF
from ringlight.training.heads_linear import PENALTIES, LogisticHead
from ringlight.training.imbalance import METHODS, plain, with_method
from ringlight.training.linear_fit import targets_tensor
from ringlight.training.rules import truth_of
from ringlight.types import Dataset, Prediction, Task

SHORT_LIST: Mapping[Task, tuple[str, ...]] = {
    "multiclass": ("class_weights", "post_hoc"),
    "multilabel": ("class_weights", "asymmetric", "post_hoc"),
}
"""What is tried beside plain cross-entropy. In a linear layer with a free bias balanced softmax and logit adjustment
find the layer of `post_hoc`, so that these three are one candidate."""

TAUS = (0.5, 1.0)
"""The shares of the prior that are tried where a method takes one."""

NUM_FOLDS, NUM_REPEATS = 5, 3
LEAST_GAIN = 0.001
"""A tenth of a point of macro-F1: less is a tie, and cross-entropy keeps its place.

More proof is not asked for: with five records of a class no gain has an interval that leaves zero out, the rare class
is lost meanwhile, and a wrong choice among these methods costs little (`benchmarks/imbalance_auto.py` prints both).
"""
CONFIDENCE = 0.95
"""Of the interval that is told of each gain."""
NUM_RESAMPLES = 400
LEAST = 4
"""Groups that every class must have, that folds can tell anything of it."""
SEEDS = 7919
"""A prime that keeps the folds of neighbouring seeds apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """One candidate: its scores on held-out training records, and its gain on plain cross-entropy with an interval."""

    method: str
    tau: float | None
    macro_f1: float
    recall_of_rarest: float | None
    gain: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def title(self) -> str:
        """The method as a reader knows it."""
        name = "plain cross-entropy" if self.method == "none" else self.method
        return name if self.tau is None else f"{name} (tau {self.tau:g})"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "method": self.method, "tau": self.tau, "macro_f1": self.macro_f1,
            "recall_of_rarest": self.recall_of_rarest, "gain": self.gain, "low": self.low, "high": self.high,
        }  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What `auto` chose, why in one sentence, and everything it tried (plain cross-entropy first)."""

    method: str
    tau: float | None
    rarest: str
    sentence: str
    tried: tuple[Tried, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "method": self.method, "tau": self.tau, "rarest": self.rarest, "sentence": self.sentence,
            "tried": [one.to_dict() for one in self.tried],
        }  # fmt: skip

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Choice:
        """Take back what :meth:`to_dict` gave."""
        return cls(**{**values, "tried": tuple(Tried(**one) for one in values["tried"])})


def choose_method(
    config: Config, train: Dataset, features: Features, *, seen: Seen | None = None,
    weights: npt.NDArray[np.float64] | None = None,
) -> Choice:  # fmt: skip
    """Try the candidates on the training records and choose.

    Args:
        config: `imbalance.candidates` names what is tried instead of the short list; the seed draws the folds.
        train: the training records, with their groups.
        features: (N, D) of them, by a backbone that has not seen their labels.
        seen: what an epoch of the run shows; None shows every record once.
        weights: (N,) how often each record is seen in an epoch; None is equally often.

    Raises:
        ConfigError: a candidate that has no form for the task, or cannot be tried.
    """
    names = candidates(config, train.task)
    counts = train.class_counts()
    rarest = min(counts, key=counts.__getitem__)
    task, groups = train.task, units_of(train)
    scarce = _scarce(train, groups)
    if scarce is not None:
        return _undecided(rarest, scarce)
    try:
        repeats = [_folds(train, config.experiment.seed + SEEDS * number) for number in range(NUM_REPEATS)]
    except SplitError as error:
        return _undecided(rarest, str(error))
    shown = seen or Seen(tuple(counts.values()), len(train))
    base = plain(config, task)
    problem = Problem(
        features=torch.as_tensor(features), targets=targets_tensor(train.targets(), task), task=task,
        num_classes=len(train.classes), criterion=criterion_of(base, task, shown, reduction="none"),
        weights=None if weights is None else torch.as_tensor(weights), folds=repeats[0],
    )  # fmt: skip
    scores = dict(_scores(base, names, problem, shown, repeats))
    first = _pooled(scores.pop(("none", None)), train)
    baseline = _tried("none", None, first, rarest)
    tried = [baseline]
    for (method, tau), logits in scores.items():
        other = _pooled(logits, train)
        gains = paired_intervals(
            truth_of(first), first.probabilities, other.probabilities, train.classes, task,
            groups=np.tile(groups, NUM_REPEATS), num_resamples=NUM_RESAMPLES, confidence=CONFIDENCE,
            seed=config.experiment.seed,
        )  # fmt: skip
        gain = gains.get("macro_f1")
        one = _tried(method, tau, other, rarest)
        change = one.macro_f1 - baseline.macro_f1
        bounds = (change, change) if gain is None else (gain.low, gain.high)  # None: alike on every resample
        tried.append(replace(one, gain=change, low=bounds[0], high=bounds[1]))
    return _decide(tuple(tried), rarest)


def _decide(tried: tuple[Tried, ...], rarest: str) -> Choice:
    better = [one for one in tried[1:] if one.gain is not None and one.gain >= LEAST_GAIN]
    best = max(better, key=lambda one: one.macro_f1, default=tried[0])
    if best is tried[0]:
        near = max(tried[1:], key=lambda one: one.macro_f1, default=None)
        tail = "" if near is None else f"; the best of the others, {near.title}, {_points(near)}"
        sentence = f"imbalance: auto keeps plain cross-entropy (macro-F1 {best.macro_f1:.3f}){tail}"
    else:
        sentence = (
            f"imbalance: auto chose {best.title}: macro-F1 {tried[0].macro_f1:.3f} -> {best.macro_f1:.3f} "
            f"({_points(best)}), recall of `{rarest}` {_share(tried[0].recall_of_rarest)} -> "
            f"{_share(best.recall_of_rarest)}"
        )
    sentence += f"; on held-out training records, {NUM_REPEATS} times {NUM_FOLDS} grouped folds of frozen features"
    return Choice(method=best.method, tau=best.tau, rarest=rarest, sentence=sentence, tried=tried)


def _points(one: Tried) -> str:
    if one.gain is None or one.low is None or one.high is None:
        return "no change"
    return f"{100 * one.gain:+.1f} points [{100 * one.low:+.1f}, {100 * one.high:+.1f}]"


def _share(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2f}"


def _undecided(rarest: str, why: str) -> Choice:
    return Choice(
        method="none", tau=None, rarest=rarest,
        sentence=f"imbalance: auto keeps plain cross-entropy, as nothing can be tried: {why}",
    )  # fmt: skip


def _folds(train: Dataset, seed: int) -> list[Fold]:
    return make_folds(train, num_folds=NUM_FOLDS, kind="group", seed=seed)


def candidates(config: Config, task: Task) -> list[str]:
    """Return what is tried beside plain cross-entropy; for a head that the loss has no part in, no other losses.

    Raises:
        ConfigError: a candidate has no form for the task, or cannot be tried on frozen features.
    """
    names = [name for name in config.imbalance.candidates or SHORT_LIST[task] if name not in ("none", "auto")]
    tried = [name for name, one in METHODS.items() if one.suits(task) and one.sampler is None and one.after != "crt"]
    for name in names:
        if name not in tried:
            raise ConfigError(
                f"a method for {task} data that changes loss or scores, which can be tried on frozen features",
                got=name, where="imbalance.candidates", fix=f"choose from: {', '.join(tried[1:])}",
            )  # fmt: skip
    if config.training.mode == "frozen" and config.head.name in DEAF:
        names = [name for name in names if METHODS[name].after == "post_hoc"]
    return list(dict.fromkeys(names))


def _scarce(train: Dataset, groups: npt.NDArray[np.int64]) -> str | None:
    """Say which class too few groups have, or (several labels) lack, for folds to tell anything of it."""
    for column, name in enumerate(train.classes):
        has = train.label_matrix()[:, column] > 0
        for rows, what in ((has, "has"), (~has, "is absent from")):
            number = len(set(groups[rows].tolist()))
            if number < LEAST and (what == "has" or train.task == "multilabel"):
                return f"`{name}` {what} {number} independent training records, {LEAST} needed"
    return None


def _scores(
    base: Config, names: Sequence[str], problem: Problem, seen: Seen, repeats: Sequence[Sequence[Fold]]
) -> Iterator[tuple[tuple[str, float | None], npt.NDArray[np.float32]]]:
    """Yield every candidate with its held-out logits (R, N, K), plain cross-entropy first."""
    first = _held_out(base, "none", problem, seen, repeats)
    yield ("none", None), first
    for name in names:
        if METHODS[name].after == "post_hoc":
            for tau in TAUS:
                offsets = post_hoc_logit_adjustment(list(seen.class_counts), tau, problem.task, seen.num_records)
                yield (name, tau), first + offsets.numpy()
        else:
            yield (name, None), _held_out(base, name, problem, seen, repeats)


def _held_out(
    base: Config, method: str, problem: Problem, seen: Seen, repeats: Sequence[Sequence[Fold]]
) -> npt.NDArray[np.float32]:
    """Return the held-out logits (R, N, K) of a method; its penalty is the best of the first repeat."""
    chosen = base if method == "none" else with_method(base, method, problem.task)
    problem = replace(problem, criterion=last_criterion(chosen, problem.task, seen, reduction="none"))
    head = LogisticHead()
    first = out_of_fold(problem, lambda part: head.path(part, PENALTIES))
    penalty = min(first, key=lambda value: problem.loss(first[value]))
    logits = [first[penalty]]
    for folds in repeats[1:]:
        again = out_of_fold(replace(problem, folds=folds), lambda part: head.path(part, [penalty]))
        logits.append(again[penalty])
    return np.stack([part.numpy() for part in logits])


def _pooled(logits: npt.NDArray[np.float32], train: Dataset) -> Prediction:
    """Return the repeats one below the other, each record as often as it was held out."""
    targets = np.concatenate([np.asarray(train.targets())] * len(logits))
    return Prediction([], logits.reshape(-1, logits.shape[-1]), train.classes, train.task, targets)


def _tried(method: str, tau: float | None, prediction: Prediction, rarest: str) -> Tried:
    metrics = classification_metrics(
        truth_of(prediction), prediction.probabilities, prediction.classes, prediction.task
    )
    return Tried(
        method=method, tau=tau, macro_f1=float(metrics.scalars["macro_f1"] or 0.0),
        recall_of_rarest=metrics.per_class[rarest]["recall"],
    )  # fmt: skip
