"""What is put around any optimiser: gradients with their means taken out, and slow weights that follow.

Gradient centralisation: H. Yong, J. Huang, X. Hua, L. Zhang, "Gradient Centralization: A New Optimization Technique for
Deep Neural Networks", 2020, arXiv:2004.01461, equation 1: from the gradient of each output's weights their mean is
subtracted. Lookahead: M. R. Zhang, J. Lucas, G. Hinton, J. Ba, "Lookahead Optimizer: k steps forward, 1 step back",
2019, arXiv:1907.08610, algorithm 1: after every k steps of the inner optimiser the slow weights go a share `alpha` of
the way to the fast ones, and the fast ones start again from there.

Both are pytorch_optimizer's, which is imported only where one of them is asked for: it takes a second to load.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from ringlight.errors import ConfigError


class GradientCentralization(Optimizer):
    """An optimiser whose gradients have their means taken out before every step (Yong et al. 2020, equation 1).

    From a gradient (outputs, ...) of two or more dimensions the mean over all but the first is subtracted; gradients of
    biases and of the scales of normalisation stay. The groups, the state and what a checkpoint holds are the inner
    optimiser's. It is part of the step, as in the authors' code: clipping comes before it.

    Args:
        optimizer: any.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        # Not super().__init__, which would make groups of its own: whoever changes the inner one's (a schedule) has to
        # be heard here, too.
        self.optimizer = optimizer
        self.defaults = optimizer.defaults
        self._optimizer_step_pre_hooks = OrderedDict()
        self._optimizer_step_post_hooks = OrderedDict()
        self._patch_step_function()

    def __getstate__(self) -> dict[str, Any]:
        return {"optimizer": self.optimizer, "defaults": self.defaults}

    @property
    def param_groups(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """The inner optimiser's groups."""
        return self.optimizer.param_groups

    @property
    def state(self) -> Any:  # type: ignore[override]
        """The inner optimiser's state."""
        return self.optimizer.state

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Give the inner optimiser a further group."""
        self.optimizer.add_param_group(param_group)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients."""
        self.optimizer.zero_grad(set_to_none=set_to_none)

    def state_dict(self) -> dict[str, Any]:
        """Return the inner optimiser's state."""
        return self.optimizer.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Give it back to the inner optimiser."""
        self.optimizer.load_state_dict(state_dict)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Compute the gradients if there is a closure that does, centralise them, step."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        centralize(one.grad for group in self.param_groups for one in group["params"] if one.grad is not None)
        self.optimizer.step()
        return loss


@torch.no_grad()
def centralize(gradients: Any) -> None:
    """Take the mean over all but the first dimension out of each gradient of two or more, in place.

    Examples:
        >>> gradient = torch.tensor([[1.0, 3.0], [5.0, 6.0]])
        >>> centralize([gradient]), gradient
        (None, tensor([[-1.0000,  1.0000],
                [-0.5000,  0.5000]]))
    """
    from pytorch_optimizer import centralize_gradient

    for gradient in gradients:
        centralize_gradient(gradient)


def with_lookahead(optimizer: Optimizer, *, k: int = 5, alpha: float = 0.5) -> Optimizer:
    """Put slow weights behind an optimiser (Zhang et al. 2019, algorithm 1); momenta stay as they are.

    The model holds the fast weights. The slow ones, which the algorithm returns, are in :func:`slow_weights`, and are
    part of the state that a checkpoint holds.

    Args:
        optimizer: any; a schedule sees its groups through the wrapper.
        k: steps between two of the slow weights, 1 or more.
        alpha: share of the way that the slow weights go, above 0 to 1; 1 is the inner optimiser alone.

    Raises:
        ConfigError: a number is out of range.
    """
    from pytorch_optimizer import Lookahead

    if k < 1:
        raise ConfigError("1 step or more", got=str(k), where="optimizer.lookahead.k", fix="try 5")
    if not (math.isfinite(alpha) and 0 < alpha <= 1):
        raise ConfigError(
            "a share above 0, up to 1", got=f"{alpha:g}", where="optimizer.lookahead.alpha", fix="try 0.5"
        )
    return Lookahead(optimizer, k=k, alpha=alpha)


def slow_weights(optimizer: Optimizer) -> dict[Tensor, Tensor]:
    """Return the slow weights of each parameter; empty where the optimiser has none."""
    return {one: state["slow_params"] for one, state in optimizer.state.items() if "slow_params" in state}


@contextmanager
def holding_slow_weights(optimizer: Optimizer) -> Iterator[None]:
    """Let the model hold the slow weights for the length of the block; nothing happens where there are none."""
    slow = slow_weights(optimizer)
    fast = {one: one.detach().clone() for one in slow}
    with torch.no_grad():
        for one, weights in slow.items():
            one.copy_(weights)
    try:
        yield
    finally:
        with torch.no_grad():
            for one, weights in fast.items():
                one.copy_(weights)
