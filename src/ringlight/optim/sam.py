"""Sharpness-aware minimisation: the gradient of a step is taken at the worst point near the weights.

P. Foret, A. Kleiner, H. Mobahi, B. Neyshabur, "Sharpness-Aware Minimization for Efficiently Improving Generalization",
2021, arXiv:2010.01412. With g the gradient of the loss at the weights w, a step climbs by (equation 2, p = 2)

    e = rho g / ||g||,

takes the gradient at w + e, goes back to w, and gives that gradient to any optimiser (equation 3). J. Kwon, J. Kim,
H. Park, I. K. Choi, "ASAM: Adaptive Sharpness-Aware Minimization for Scale-Invariant Learning of Deep Neural Networks",
2021, arXiv:2102.11600, measures the neighbourhood in units of each weight, T = diag(|w| + eta) (algorithm 1):

    e = rho T^2 g / ||T g||.

Norms are over all weights at once. What is climbed by the gradient of: `ringlight.training.sharpness`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from ringlight.errors import ConfigError

TINY = 1e-12
"""Added to the norm, as in the authors' code: where the gradient is zero there is nowhere to climb."""


class SAM:
    """How far and which way a step climbs, by the gradient alone (equation 2).

    Args:
        rho: length of the way up, above 0.

    Raises:
        ConfigError: `rho` is out of range.

    Examples:
        >>> weights, gradients = [torch.tensor([1.0, 2.0])], [torch.tensor([3.0, 4.0])]
        >>> SAM(rho=0.5).ways([*weights], [*gradients])[0]
        tensor([0.3000, 0.4000])
    """

    key = "sam"

    def __init__(self, *, rho: float = 0.05) -> None:
        if not (math.isfinite(rho) and rho > 0):
            raise ConfigError(
                "a way up longer than 0", got=f"{rho:g}", where=f"optimizer.{self.key}.rho", fix="try 0.05"
            )
        self.rho = rho

    def ways(self, weights: Sequence[Tensor], gradients: Sequence[Tensor]) -> list[Tensor]:
        """Return the way up e of each weight, all together of length `rho`.

        Args:
            weights: of any shapes.
            gradients: of the same shapes; any positive multiple of them (a scaled loss) gives the same ways.
        """
        scales = [self._scale(weight) for weight in weights]
        relative = [gradient * scale for gradient, scale in zip(gradients, scales, strict=True)]
        factor = self.rho / (torch.nn.utils.get_total_norm(relative) + TINY)
        return [step.mul_(scale).mul_(factor) for step, scale in zip(relative, scales, strict=True)]

    def _scale(self, weight: Tensor) -> Tensor | float:  # noqa: ARG002 - of SAM it does not depend on the weight
        return 1.0


class ASAM(SAM):
    """The same in units of each weight (algorithm 1), so that scaling a layer up and the next down changes nothing.

    Every parameter counts in its own units, biases and scales of normalisation, too.

    Args:
        rho: length of the way up in these units, above 0.
        eta: added to the size of each weight, 0 or more; with 0 a weight of zero never moves.

    Raises:
        ConfigError: a number is out of range.

    Examples:
        >>> ASAM(rho=5.0, eta=0.0).ways([torch.tensor([1.0, 2.0])], [torch.tensor([3.0, 2.0])])[0]
        tensor([3., 8.])
    """

    key = "asam"

    def __init__(self, *, rho: float = 0.5, eta: float = 0.01) -> None:
        super().__init__(rho=rho)
        if not (math.isfinite(eta) and eta >= 0):
            raise ConfigError("an eta of 0 or more", got=f"{eta:g}", where="optimizer.asam.eta", fix="try 0.01")
        self.eta = eta

    def _scale(self, weight: Tensor) -> Tensor | float:
        return weight.abs().add_(self.eta)


class Summit:
    """Weights that were moved up and are to come back, to the bit: they are copied, nothing is subtracted."""

    def __init__(self) -> None:
        self._below: list[tuple[nn.Parameter, Tensor]] = []

    @property
    def is_up(self) -> bool:
        """Whether the weights stand at the worst point and not where the optimiser has left them."""
        return bool(self._below)

    @torch.no_grad()
    def climb(self, rule: SAM, parameters: Sequence[nn.Parameter], gradients: Sequence[Tensor | None]) -> Tensor:
        """Move the parameters up by the rule; those without a gradient stay.

        A gradient that is not finite (loss scaling that went too far) moves nothing: batch normalisation would keep a
        NaN for ever.

        Args:
            rule: which way and how far.
            parameters: of any shapes.
            gradients: of the same shapes, or None.

        Returns:
            What the gradient at the top has to be multiplied with: 1, or NaN where nothing was moved, so that the step
            is refused, or skipped by loss scaling, as it would have been without the climb. It stays on the device:
            looking at it would wait for it.
        """
        self.restore()
        moved = [(one, gradient) for one, gradient in zip(parameters, gradients, strict=True) if gradient is not None]
        if not moved:
            return torch.ones(())
        ways = rule.ways([one.detach() for one, _ in moved], [gradient for _, gradient in moved])
        finite = torch.isfinite(torch.nn.utils.get_total_norm(ways))
        below = [(one, one.detach().clone()) for one, _ in moved]  # all that needs memory, before anything moves
        self._below = below
        for (one, _), way in zip(moved, ways, strict=True):
            one.add_(way.nan_to_num_(0.0, 0.0, 0.0).mul_(finite))
        return torch.where(finite, 1.0, torch.nan)

    @torch.no_grad()
    def restore(self) -> None:
        """Put the weights back where they were; nothing where they are."""
        below, self._below = self._below, []
        for one, before in below:
            one.copy_(before)


def trainable(groups: Iterable[dict[str, list[nn.Parameter]]]) -> list[nn.Parameter]:
    """Return the parameters of an optimiser's groups that take part in training."""
    return [one for group in groups for one in group["params"] if one.requires_grad]
