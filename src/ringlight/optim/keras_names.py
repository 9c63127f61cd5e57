"""Keras' names of an optimiser's parameters, and ours, which are PyTorch's.

==============  =====================  ======================================
Keras           ours                   of
==============  =====================  ======================================
learning_rate   lr                     every optimiser
weight_decay    weight_decay           every optimiser
beta_1, beta_2  betas, as a pair       adam, adamw
epsilon         eps                    adam, adamw, rmsprop
rho             alpha                  rmsprop
momentum        momentum               sgd, rmsprop
nesterov        nesterov               sgd
amsgrad         amsgrad                adam, adamw
centered        centered               rmsprop
==============  =====================  ======================================

What is not named keeps our default, which is PyTorch's: `epsilon` is then 1e-8 and not Keras' 1e-7, RMSprop's `rho`
0.99 and not 0.9, and SGD goes with momentum 0.9.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, Final

from ringlight.errors import ConfigError, did_you_mean

KERAS_NAMES: Final[dict[str, str]] = {
    "learning_rate": "lr",
    "beta_1": "betas",
    "beta_2": "betas",
    "epsilon": "eps",
    "rho": "alpha",
}
"""Keras' name of a parameter: ours. Names that are the same in both are not listed."""

_BETAS = {"beta_1": 0, "beta_2": 1}


def from_keras_names(name: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return an optimiser's parameters under our names; those that already are ours pass.

    Args:
        name: of the optimiser in the catalogue, in letters of any size (`adam`, `Adam`).
        config: parameters in Keras' or PyTorch's names, or some of either.

    Raises:
        ConfigError: an unknown optimiser, a parameter it does not take, or one that is given under both names.

    Examples:
        >>> from_keras_names("adam", {"learning_rate": 0.001, "beta_1": 0.8, "epsilon": 1e-7})
        {'lr': 0.001, 'betas': (0.8, 0.999), 'eps': 1e-07}
        >>> from_keras_names("rmsprop", {"rho": 0.9})
        {'alpha': 0.9}
    """
    from ringlight.optim import OPTIMIZERS

    taken = inspect.signature(OPTIMIZERS.factory(name.lower())).parameters
    known = [key for key in taken if key != "parameters"]
    theirs = [key for key, ours in KERAS_NAMES.items() if ours in known]
    found: dict[str, Any] = {}
    spelt: dict[str, str] = {}
    for key, value in config.items():
        ours = KERAS_NAMES.get(key, key)
        if ours not in known:
            raise ConfigError(
                f"a parameter of optimizer `{name.lower()}`",
                got=f"`{key}`",
                where="optimizer_config",
                fix=_way(key, [*theirs, *known]),
            )
        if ours in spelt and not (key in _BETAS and spelt[ours] in _BETAS):
            raise ConfigError(
                f"one value of {ours}", got=f"{spelt[ours]} and {key}", where="optimizer_config", fix=f"drop `{key}`"
            )
        spelt[ours] = key
        if key in _BETAS:
            pair = list(found.get("betas", taken["betas"].default))
            pair[_BETAS[key]] = value
            value = tuple(pair)
        found[ours] = value
    return found


def _way(key: str, known: list[str]) -> str:
    if key in ("clipnorm", "global_clipnorm"):
        return "set training.gradient_clip_norm instead"
    if key in ("decay", "lr_schedule"):
        return "choose a scheduler instead"
    return did_you_mean(key, known)
