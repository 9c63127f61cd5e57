"""PyTorch's optimisers with the arguments that a configuration may set, spelt out.

Each takes parameter groups (build.py makes them), `lr` and `weight_decay`; everything else has PyTorch's default
unless it says otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from ringlight.errors import ConfigError

Parameters = Iterable[dict[str, Any]]


def adamw(
    parameters: Parameters,
    *,
    lr: float,
    weight_decay: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    amsgrad: bool = False,
) -> torch.optim.Optimizer:
    """AdamW: Adam whose weight decay shrinks the weights directly (Loshchilov & Hutter 2019, arXiv:1711.05101).

    `betas` are the memories of the gradient and of its square, 0 to below 1; `eps` keeps the division finite.
    """
    _check_betas(betas)
    return torch.optim.AdamW(
        parameters, lr=lr, weight_decay=weight_decay, betas=(betas[0], betas[1]), eps=eps, amsgrad=amsgrad
    )


def adam(
    parameters: Parameters,
    *,
    lr: float,
    weight_decay: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    amsgrad: bool = False,
) -> torch.optim.Optimizer:
    """Adam (Kingma & Ba 2015, arXiv:1412.6980); its weight decay is added to the gradient, and so scaled with it."""
    _check_betas(betas)
    return torch.optim.Adam(
        parameters, lr=lr, weight_decay=weight_decay, betas=(betas[0], betas[1]), eps=eps, amsgrad=amsgrad
    )


def sgd(
    parameters: Parameters, *, lr: float, weight_decay: float, momentum: float = 0.9, nesterov: bool = True
) -> torch.optim.Optimizer:
    """Stochastic gradient descent with momentum 0.9 and Nesterov's look-ahead, as image networks are trained.

    Raises:
        ConfigError: `momentum` outside 0 to below 1, or Nesterov's form without momentum.
    """
    _check_share(momentum, "momentum")
    if nesterov and momentum == 0:
        raise ConfigError(
            "momentum above 0 for Nesterov's form",
            got="0",
            where="optimizer.momentum",
            fix="set optimizer.nesterov=false",
        )
    return torch.optim.SGD(parameters, lr=lr, weight_decay=weight_decay, momentum=momentum, nesterov=nesterov)


def rmsprop(
    parameters: Parameters,
    *,
    lr: float,
    weight_decay: float,
    alpha: float = 0.99,
    momentum: float = 0.0,
    eps: float = 1e-8,
    centered: bool = False,
) -> torch.optim.Optimizer:
    """RMSprop (Hinton's lecture 6): the gradient over the root of its running square, which `alpha` smooths."""
    _check_share(alpha, "alpha")
    _check_share(momentum, "momentum")
    return torch.optim.RMSprop(
        parameters, lr=lr, weight_decay=weight_decay, alpha=alpha, momentum=momentum, eps=eps, centered=centered
    )


def _check_betas(betas: tuple[float, float]) -> None:
    for value in betas:
        _check_share(value, "betas")


def _check_share(value: float, key: str) -> None:
    if not 0 <= value < 1:
        raise ConfigError(
            "a number of at least 0 and below 1", got=f"{value:g}", where=f"optimizer.{key}", fix="correct the value"
        )
