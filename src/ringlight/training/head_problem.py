"""What a head is fitted to, what comes of it, and the folds it chooses its own strength on.

Shapes: N records, D features, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - PyTorch's own name for it

from ringlight.errors import ConfigError
from ringlight.models.heads import CosineHead
from ringlight.training.linear_fit import Layer, record_losses
from ringlight.types import Task

Auto = Literal["auto"]
Fold = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What a head is fitted to.

    `features` float32 (N, D); `targets` as the losses take them; `criterion` has `reduction="none"`; `weights` (N,) is
    how often each row counts, None is once; `folds` are rows to fit and rows to hold out, none where there are too few
    groups; `held_weights` (N,) is how often a held-out row counts, None is as `weights`: an original is held out alone
    and stands for its copies.
    """

    features: Tensor
    targets: Tensor
    task: Task
    num_classes: int
    criterion: nn.Module
    weights: Tensor | None = None
    folds: Sequence[Fold] = ()
    held_weights: Tensor | None = None

    def judged(self) -> Problem:
        """Return the problem of the rows that a fold holds out, each counting as a held-out one does."""
        rows = self.held()
        if self.held_weights is None:
            return self.part(rows)
        return replace(self.part(rows), weights=self.held_weights[torch.as_tensor(rows)])

    def part(self, rows: npt.NDArray[np.int64]) -> Problem:
        """Return the problem of some of the records, without folds."""
        index = torch.as_tensor(rows)
        return Problem(
            features=self.features[index], targets=self.targets[index], task=self.task, num_classes=self.num_classes,
            criterion=self.criterion, weights=None if self.weights is None else self.weights[index],
        )  # fmt: skip

    def held(self) -> npt.NDArray[np.int64]:
        """Return the rows that a fold holds out; augmented copies, which come behind the originals, are in none."""
        return np.unique(np.concatenate([held for _, held in self.folds])) if self.folds else np.empty(0, np.int64)

    def loss(self, logits_nk: Tensor) -> float:
        """Return the mean loss of logits of these records, each counting as its weight says."""
        with torch.no_grad():
            losses_n = record_losses(self.criterion, logits_nk, self.targets)
        if self.weights is None:
            return float(losses_n.mean())
        return float((losses_n * self.weights).sum() / self.weights.sum())

    def truth(self) -> Tensor:
        """Return the targets as float32 (N, K) of 0 and 1."""
        if self.task == "multilabel":
            return self.targets.float()
        return F.one_hot(self.targets, self.num_classes).float()


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """A fitted head: a linear `layer` over raw features, or a `module` with its `spec` for the bundle.

    `chosen` is the strength that was chosen, `held_out` the mean loss of the held-out records for each that was tried
    (empty without folds).
    """

    layer: Layer | None = None
    module: nn.Module | None = None
    spec: Mapping[str, Any] = field(default_factory=dict)
    chosen: float
    held_out: Mapping[float, float] = field(default_factory=dict)

    def scores(self, features_nd: Tensor) -> Tensor:
        """Return logits (N, K) of raw features."""
        if self.layer is not None:
            return self.layer.scores(features_nd)
        if self.module is None:
            raise ValueError("a fitted head holds a layer or a module")
        with torch.no_grad():
            logits: Tensor = self.module.eval()(features_nd)
        return logits


class Head(Protocol):
    """One entry of the catalogue."""

    def fit(self, problem: Problem) -> Fitted:
        """Fit to the problem's records; strengths are compared on its folds."""


def number_of(value: float | str, key: str, least: float, expected: str = "a number") -> float:
    """Return a finite number of `least` or more.

    Raises:
        ConfigError: it is none.
    """
    if isinstance(value, str) or not (math.isfinite(value) and value >= least):
        raise ConfigError(
            f"{expected} of {least:g} or more", got=repr(value), where=f"head.{key}", fix="correct the value"
        )
    return float(value)


def strength_of(value: float | str, key: str, least: float = 0.0) -> float | None:
    """Return a number of `least` or more, None for `auto`.

    Raises:
        ConfigError: it is neither.
    """
    if value == "auto":
        return None
    return number_of(value, key, least, "auto or a number")


def out_of_fold(problem: Problem, fit: Callable[[Problem], Mapping[float, Fitted]]) -> dict[float, Tensor]:
    """Return for each strength the scores (N, K) of every record by the head that did not see it.

    Rows that no fold holds out (:meth:`Problem.held`) are zero and are to be left out of what is judged.
    """
    scores: dict[float, Tensor] = {}
    for rows, held in problem.folds:
        index = torch.as_tensor(held)
        for strength, fitted in fit(problem.part(rows)).items():
            if isinstance(fitted.module, CosineHead):
                told = fitted.module.cosines(problem.features[index]).detach()
            else:
                told = fitted.scores(problem.features[index])
            filled = scores.setdefault(strength, torch.zeros(len(problem.features), problem.num_classes))
            filled[index] = told
    return scores


def held_out_losses(problem: Problem, fit: Callable[[Problem], Mapping[float, Fitted]]) -> dict[float, float]:
    """Return for each strength the mean loss of the held-out records; empty without folds."""
    held, judged = problem.held(), problem.judged()
    return {strength: judged.loss(logits[held]) for strength, logits in out_of_fold(problem, fit).items()}
