"""Heads that are one linear layer: by the configured loss, or by least squares."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ringlight.training.head_problem import Auto, Fitted, Problem, held_out_losses, out_of_fold, strength_of
from ringlight.training.linear_fit import Layer, Standard, fit_path

PENALTIES = (1.0, 0.1, 0.01, 0.001, 0.0001)
"""What `penalty: auto` chooses from: a decade apart, as a smaller step moves the held-out loss within its noise."""
MIDDLE = 0.01
"""The penalty where nothing can be held out: too few groups for folds."""
SHRINKAGES = (10_000.0, 1000.0, 100.0, 10.0, 1.0)
"""What `ridge` chooses from, in records: of a thousand features that are mostly noise, the largest does best."""
MIDDLE_SHRINKAGE = 100.0
"""The ridge's strength where nothing can be held out."""
LEAST_SHRINKAGE = 1e-3
"""Below it the rounding of double precision decides whether the equations have a solution."""


class LogisticHead:
    """A linear layer that minimises the configured loss plus a ridge penalty: logistic regression for cross-entropy.

    Args:
        penalty: the ridge's strength on standardised features, 0 or more; auto compares five on grouped folds of the
            training records and takes the one of the lowest held-out loss.

    Raises:
        ConfigError: a penalty below 0.
    """

    def __init__(self, *, penalty: float | Auto = "auto") -> None:
        self.penalty = strength_of(penalty, "penalty")

    def fit(self, problem: Problem) -> Fitted:
        """Choose the penalty, then fit all records."""
        penalties = PENALTIES if self.penalty is None else (self.penalty,)
        held_out = {}
        if self.penalty is None and problem.folds:
            held_out = held_out_losses(problem, lambda part: self.path(part, penalties))
        chosen = min(held_out, key=held_out.__getitem__) if held_out else self.penalty
        if chosen is None:
            chosen = MIDDLE
        # Down the same path as in the folds: a fit from zero stops elsewhere within the tolerance.
        layers = self.path(problem, [value for value in penalties if value >= chosen] or [chosen])
        return Fitted(layer=layers[chosen].layer, chosen=chosen, held_out=held_out)

    def path(self, problem: Problem, penalties: Sequence[float]) -> dict[float, Fitted]:
        """Return the layer of each penalty, fitted to all records of the problem."""
        standard = Standard.of(problem.features)
        layers = fit_path(
            standard.apply(problem.features), problem.targets, problem.criterion, problem.num_classes, penalties,
            weights_n=problem.weights,
        )  # fmt: skip
        return {penalty: Fitted(layer=layer.over_raw(standard), chosen=penalty) for penalty, layer in layers.items()}


class LinearHead(LogisticHead):
    """A linear layer that minimises the configured loss alone, but for a trace of a penalty that keeps it finite.

    The linear probe of the literature. Where classes are few and features many it is as sure as it can be of every
    training record; `logistic` is the better default.
    """

    def __init__(self) -> None:
        super().__init__(penalty=1e-6)


class RidgeHead:
    """A linear layer by least squares on targets of +1 and -1, in closed form.

    weight = (X'X + s I)^-1 X'Y on standardised features. What comes out are no probabilities: one scale for all
    logits is fitted to the held-out scores with the configured loss.

    Args:
        penalty: s as a number of records, 0.001 or more; auto compares five on grouped folds.

    Raises:
        ConfigError: a penalty below 0.001.
    """

    def __init__(self, *, penalty: float | Auto = "auto") -> None:
        self.penalty = strength_of(penalty, "penalty", least=LEAST_SHRINKAGE)

    def fit(self, problem: Problem) -> Fitted:
        """Choose penalty and scale, then fit all records."""
        penalties = SHRINKAGES if self.penalty is None else (self.penalty,)
        scores = out_of_fold(problem, lambda part: self.path(part, penalties))
        held, judged = problem.held(), problem.judged()
        scaled = {penalty: _best_scale(judged, logits[held]) for penalty, logits in scores.items()}
        held_out = {penalty: loss for penalty, (_, loss) in scaled.items()}
        chosen = min(held_out, key=held_out.__getitem__) if held_out else self.penalty or MIDDLE_SHRINKAGE
        layer = self.path(problem, [chosen])[chosen].layer
        if layer is None:
            raise ValueError("a ridge is a linear layer")
        scale = scaled[chosen][0] if chosen in scaled else 1.0
        return Fitted(layer=Layer(layer.weight * scale, layer.bias * scale), chosen=chosen, held_out=held_out)

    def path(self, problem: Problem, penalties: Sequence[float]) -> dict[float, Fitted]:
        """Return the layer of each penalty, fitted to all records of the problem."""
        standard = Standard.of(problem.features)
        x_nd = standard.apply(problem.features).double()
        shares_n1 = (torch.ones(len(x_nd)) if problem.weights is None else problem.weights).double().unsqueeze(1)
        targets_nk = problem.truth().double() * 2 - 1
        total = shares_n1.sum()
        x_mean, y_mean = (shares_n1 * x_nd).sum(0) / total, (shares_n1 * targets_nk).sum(0) / total
        root_n1 = shares_n1.sqrt()
        centred_nd, answer_nk = root_n1 * (x_nd - x_mean), root_n1 * (targets_nk - y_mean)
        # Whichever square is smaller: (X'X + sI)^-1 X'Y = X'(XX' + sI)^-1 Y.
        wide = centred_nd.shape[1] > centred_nd.shape[0]
        square = centred_nd @ centred_nd.T if wide else centred_nd.T @ centred_nd
        right = answer_nk if wide else centred_nd.T @ answer_nk
        identity = torch.eye(len(square), dtype=square.dtype)
        found = {}
        for penalty in penalties:
            # One factorisation a strength: five take half as long as the eigenvectors that would serve all of them.
            solved = torch.cholesky_solve(right, torch.linalg.cholesky(square + penalty * identity))
            weight_kd = (centred_nd.T @ solved if wide else solved).T
            layer = Layer(weight_kd, y_mean - weight_kd @ x_mean)
            found[penalty] = Fitted(layer=layer.over_raw(standard), chosen=penalty)
        return found


def _best_scale(problem: Problem, logits_nk: Tensor) -> tuple[float, float]:
    """Return the one positive factor on the logits with the lowest loss, and that loss."""
    from scipy.optimize import minimize_scalar

    found = minimize_scalar(
        lambda log_scale: problem.loss(logits_nk * math.exp(log_scale)), bounds=(-4, 6), method="bounded"
    )
    return math.exp(float(found.x)), float(found.fun)
