"""A linear layer fitted to features: the configured loss plus a ridge penalty, minimised to convergence by L-BFGS.

Shapes: N records, D features, K classes. The features are standardised with the training records' mean and standard
deviation, so that one penalty means the same for every feature; mean and deviation are folded into the layer, which
takes raw features. With cross-entropy this is multinomial logistic regression: scikit-learn's `LogisticRegression` with
C = 1 / (N penalty) on standardised features finds the same layer (the tests compare them).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ringlight.types import Task

Floats = npt.NDArray[np.float32]

MAX_STEPS = 60
"""Steps of L-BFGS at most; from a neighbouring penalty's solution a dozen suffice."""
TOLERANCE = 1e-5
"""Largest component of the gradient at which a fit has converged.

A weight is then known to within this over the penalty; held-out losses agree to a hundredth part at a penalty of 0.0001
and to the fourth digit at 0.01."""
SMALLEST_SCALE = 1e-6
"""A feature that varies less, in parts of its mean or of 1, is constant but for rounding: it is not blown up."""


@dataclass(frozen=True, slots=True)
class Standard:
    """Mean and standard deviation (D,) of the training features."""

    mean: Tensor
    scale: Tensor

    @classmethod
    def of(cls, features_nd: Tensor) -> Standard:
        """Measure features (N, D)."""
        scale, mean = torch.std_mean(features_nd, dim=0, correction=0)
        least = SMALLEST_SCALE * mean.abs().clamp(min=1)
        return cls(mean, torch.where(scale < least, torch.ones_like(scale), scale))

    def apply(self, features_nd: Tensor) -> Tensor:
        """Return standardised features."""
        return (features_nd - self.mean) / self.scale


@dataclass(frozen=True, slots=True)
class Layer:
    """A linear layer over standardised features: weights (K, D), bias (K,)."""

    weight: Tensor
    bias: Tensor

    def scores(self, standard_nd: Tensor) -> Tensor:
        """Return logits (N, K)."""
        return torch.addmm(self.bias, standard_nd, self.weight.T)

    def over_raw(self, standard: Standard) -> Layer:
        """Return the layer that takes raw features; worked out in double precision."""
        weight = self.weight.double() / standard.scale.double()
        bias = self.bias.double() - weight @ standard.mean.double()
        return Layer(weight.float(), bias.float())


def targets_tensor(targets: npt.ArrayLike, task: Task) -> Tensor:
    """Return targets as the losses take them: class indices (N,), or 0..1 (N, K)."""
    return torch.as_tensor(np.asarray(targets)).to(torch.int64 if task == "multiclass" else torch.float32)


def record_losses(criterion: nn.Module, logits_nk: Tensor, targets: Tensor) -> Tensor:
    """Return the loss of each record (N,); a multi-label one is the mean over its classes."""
    losses: Tensor = criterion(logits_nk, targets)
    return losses if losses.ndim == 1 else losses.mean(dim=1)


def fit_layer(
    standard_nd: Tensor,
    targets: Tensor,
    criterion: nn.Module,
    num_classes: int,
    *,
    penalty: float,
    weights_n: Tensor | None = None,
    start: Layer | None = None,
) -> Layer:
    """Minimise sum_i w_i loss_i / sum_i w_i + penalty / 2 ||weight||^2; the bias is free.

    Args:
        standard_nd: standardised features, float32.
        targets: as :func:`targets_tensor` gives them.
        criterion: a loss with `reduction="none"`.
        num_classes: K.
        penalty: 0 or more.
        weights_n: how often each record counts; None is once.
        start: where to begin; None begins at zero, where every class is as likely as the next.
    """
    first = start or Layer(torch.zeros(num_classes, standard_nd.shape[1]), torch.zeros(num_classes))
    weight, bias = first.weight.clone().requires_grad_(), first.bias.clone().requires_grad_()
    shares_n = torch.ones(len(standard_nd)) if weights_n is None else weights_n.float()
    shares_n = shares_n / shares_n.sum()
    optimizer = torch.optim.LBFGS(
        [weight, bias], max_iter=MAX_STEPS, tolerance_grad=TOLERANCE, tolerance_change=1e-9, history_size=10,
        line_search_fn="strong_wolfe",
    )  # fmt: skip

    def objective() -> Tensor:
        optimizer.zero_grad()
        losses_n = record_losses(criterion, torch.addmm(bias, standard_nd, weight.T), targets)
        value = (shares_n * losses_n).sum() + penalty / 2 * (weight * weight).sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    with torch.enable_grad():
        optimizer.step(objective)  # type: ignore[no-untyped-call]
    return Layer(weight.detach(), bias.detach())


def fit_path(
    standard_nd: Tensor,
    targets: Tensor,
    criterion: nn.Module,
    num_classes: int,
    penalties: Sequence[float],
    *,
    weights_n: Tensor | None = None,
) -> dict[float, Layer]:
    """Fit one layer for each penalty, from the largest to the smallest, each from the solution before it."""
    found: dict[float, Layer] = {}
    layer = None
    for penalty in sorted(penalties, reverse=True):
        layer = fit_layer(
            standard_nd, targets, criterion, num_classes, penalty=penalty, weights_n=weights_n, start=layer
        )
        found[penalty] = layer
    return found
