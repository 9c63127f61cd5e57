from __future__ import annotations

import pytest
from torch import nn

from ringlight.errors import ConfigError
from ringlight.optim import KERAS_NAMES, OPTIMIZERS, build_optimizer, from_keras_names


def test_the_documented_configuration_of_adam():
    found = from_keras_names("Adam", {"learning_rate": 0.001, "beta_1": 0.9, "beta_2": 0.99, "epsilon": 1e-7})
    assert found == {"lr": 0.001, "betas": (0.9, 0.99), "eps": 1e-7}
    lr = found.pop("lr")
    built = build_optimizer("adam", nn.Linear(2, 2), lr=lr, weight_decay=0.0, params=found)
    assert built.param_groups[0]["betas"] == (0.9, 0.99)
    assert built.param_groups[0]["eps"] == 1e-7


def test_one_beta_leaves_the_other_at_its_default_whichever_comes_first():
    assert from_keras_names("adamw", {"beta_2": 0.95}) == {"betas": (0.9, 0.95)}
    assert from_keras_names("adamw", {"beta_2": 0.95, "beta_1": 0.8}) == {"betas": (0.8, 0.95)}


def test_the_other_optimizers():
    assert from_keras_names("rmsprop", {"rho": 0.9, "momentum": 0.1}) == {"alpha": 0.9, "momentum": 0.1}
    assert from_keras_names("sgd", {"momentum": 0.9, "nesterov": True}) == {"momentum": 0.9, "nesterov": True}
    assert from_keras_names("adam", {"betas": (0.5, 0.9), "lr": 1e-4}) == {"betas": (0.5, 0.9), "lr": 1e-4}


def test_every_name_is_taken_by_an_optimizer():
    for theirs in KERAS_NAMES:
        fits = [name for name in OPTIMIZERS if _maps(name, theirs)]
        assert fits, theirs


def _maps(name: str, theirs: str) -> bool:
    try:
        return bool(from_keras_names(name, {theirs: 0.5}))
    except ConfigError:
        return False


@pytest.mark.parametrize(
    ("name", "config", "message"),
    [
        ("sgd", {"beta_1": 0.9}, "a parameter of optimizer `sgd`, got `beta_1`; choose from: "),
        ("adam", {"epsilom": 1e-7}, "a parameter of optimizer `adam`, got `epsilom`; did you mean `epsilon`?"),
        ("adam", {"clipnorm": 1.0}, "a parameter of optimizer `adam`, got `clipnorm`; set training.gradient_clip_norm"),
        ("adam", {"decay": 1e-6}, "a parameter of optimizer `adam`, got `decay`; choose a scheduler instead"),
        (
            "adam",
            {"lr": 1e-3, "learning_rate": 1e-3},
            "one value of lr, got lr and learning_rate; drop `learning_rate`",
        ),
        ("adam", {"betas": (0.9, 0.99), "beta_1": 0.5}, "one value of betas, got betas and beta_1; drop `beta_1`"),
        ("adam", {"beta_1": 0.5, "betas": (0.9, 0.99)}, "one value of betas, got beta_1 and betas; drop `betas`"),
    ],
)
def test_what_it_does_not_take_is_one_line(name, config, message):
    with pytest.raises(ConfigError) as caught:
        from_keras_names(name, config)
    assert str(caught.value).startswith(f"optimizer_config: expected {message}")


def test_an_unknown_optimizer_gets_the_near_miss():
    with pytest.raises(ConfigError, match="did you mean `adam`"):
        from_keras_names("adamm", {})
