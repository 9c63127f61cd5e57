"""Spaces over the keys of a configuration: refused at their ends, before anything is trained."""

from __future__ import annotations

from typing import Any

import pytest

from ringlight.config.load import compose, group_names, vary
from ringlight.config.shipped import CONFIGS
from ringlight.config.spaces import grid
from ringlight.config.spaces_keys import configuration_space, shipped_space
from ringlight.errors import ConfigError, Problems
from ringlight.training.plan import part_problems

DEMO = compose("demo")


def refused(space: Any) -> str:
    with pytest.raises(Problems) as error:
        configuration_space(DEMO, space, check_parts=part_problems)
    return str(error.value)


@pytest.mark.parametrize(
    ("space", "line"),
    [
        (
            {"optimizer.lr": {"type": "float", "low": 0.0, "high": 1.0}},
            "tune.space.optimizer.lr: expected a number greater than 0, got 0.0; correct the value (default: 0.001)",
        ),
        ({"optimizer.lrr": [1]}, "got unknown key `optimizer.lrr`; did you mean `lr`?"),
        ({"optimzer.lr": [1]}, "tune.space.optimzer: expected a section, got unknown section `optimzer`"),
        (
            {"lr": [1.0]},
            "tune.space.lr: expected section.key=value, got unknown key `lr`; did you mean `optimizer.lr`?",
        ),
        ({"training.num_epoch": [1]}, "got unknown key `training.num_epoch`; did you mean `num_epochs`?"),
        ({"model.name": ["resnet18", "resnet19"]}, "model.name: expected a known model, got `resnet19`; did you mean"),
        ({"augmentation": ["light", "hevy"]}, "expected a group of augmentation, got `hevy`; did you mean `heavy`?"),
        (
            {"loss": {"type": "float", "low": 0, "high": 1}},
            "tune.space.loss: expected section.key, or the names of groups",
        ),
        ({"data.batch_size": [8, 0]}, "tune.space.data.batch_size: expected a number greater than or equal to 1"),
        ({"split.strategy": ["predefined"]}, "expected a key of a training, got one of split; what is compared"),
        ({"experiment.seed": [1, 2]}, "got one of experiment; a lucky seed is no better setting"),
        ({"optimizer.lr": {"choices": [0.1], "when": {"los.name": "x"}}}, "tune.space.los: expected a section"),
        (
            {"loss.gamma": {"choices": [1.0], "when": {"loss.name": "cross_entropy"}}},
            "tune.space: expected a key that is searched with this configuration, got conditions that it never meets",
        ),
    ],
)
def test_a_space_is_refused_where_a_run_would_be(space: Any, line: str) -> None:
    assert line in refused(space)


def test_a_parameter_is_checked_with_the_part_that_its_condition_names() -> None:
    space = {
        "loss.name": ["focal_loss", "bce_with_logits"],
        "loss.gamma": {"type": "float", "low": 0, "high": 4, "when": {"loss.name": "focal_loss"}},
    }
    assert len(configuration_space(DEMO, space, check_parts=part_problems)[0]) == 2
    space["loss.gamma"] = {"type": "float", "low": 0, "high": 4, "when": {"loss.name": "bce_with_logits"}}
    assert "expected a parameter of loss `bce_with_logits`, got unknown key `loss.gamma`" in refused(space)


def test_the_seeds_spellings_are_translated() -> None:
    space, fixed = configuration_space(
        DEMO, {"training.learning_rate": {"choices": [0.1], "when": {"loss.type": "bce_with_logits"}}}
    )
    assert [axis.key for axis in space] == ["optimizer.lr"]
    assert fixed == {"loss.name": "bce_with_logits"}


def test_vary_drops_the_parameters_of_the_part_that_was_replaced() -> None:
    focal = vary(DEMO, {"loss.name": "focal_loss", "loss.gamma": 3.0})
    assert focal.loss.params()["gamma"] == 3.0
    assert "gamma" not in vary(focal, {"loss.name": "bce_with_logits"}).loss.params()
    assert vary(DEMO, {"augmentation": "none"}).augmentation != DEMO.augmentation
    assert vary(DEMO, {}) == DEMO


def test_vary_says_what_is_wrong_with_a_value() -> None:
    with pytest.raises(Problems, match=r"optimizer\.lr: expected a number greater than 0"):
        vary(DEMO, {"optimizer.lr": -1.0})


@pytest.mark.parametrize("name", group_names("tune"))
def test_a_shipped_space_fits_its_model(name: str) -> None:
    """Each is checked as a user's would be: keys, part parameters, both ends, and it can be used as a grid."""
    family = {"images": ["folder"], "frozen": ["folder", "training.mode=frozen"], "networks": ["windows"]}
    recipe, *overrides = family.get(name, ["windows", f"model.name={name}"])
    space, fixed = configuration_space(compose(recipe, overrides), shipped_space(name), check_parts=part_problems)
    assert len(space) == len(shipped_space(name))
    assert 1 < len(grid(space, fixed)) < 1000
    assert (CONFIGS / "tune" / f"{name}.yaml").read_text().startswith("# ")


def test_every_model_for_windows_has_a_space_of_its_own() -> None:
    from ringlight.models import MODELS

    windows = [name for name in MODELS if getattr(MODELS.factory(name), "takes", "images") == "windows"]
    assert set(windows) - {"ensemble"} <= set(group_names("tune"))


def test_a_shipped_space_is_a_group_of_tune() -> None:
    """`tune=cnn1d` chooses it as `loss=focal_loss` chooses a loss, and keys of one's own are laid over it."""
    config = compose("windows", ["tune=cnn1d", "tune.n_trials=5", "tune.space.model.kernel_size=[7]"])
    assert isinstance(config.tune.space, dict)
    assert config.tune.n_trials == 5
    assert "optimizer.lr" in config.tune.space


def test_an_unknown_shipped_space_is_named_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"tune.space: expected a shipped space, got `cnn2d`; did you mean `cnn1d`"):
        shipped_space("cnn2d")


def test_what_the_records_are_is_not_searched() -> None:
    """A study of `data.root` read its records once, told the same score for every root, and wrote one into `best.yaml`.

    The keys of the synthetic sources kept the names of the records and changed what these show: the easiest data won.
    """
    told = "expected a key of a training, got one of the records; what is compared has to be judged on the same records"
    for key in ("data.root", "data.source", "data.num_images", "data.seed"):
        assert refused({key: ["a", "b"]}) == f"tune.space.{key}: {told}"
    assert refused({"data": ["folder", "synthetic"]}) == f"tune.space.data: {told}"
    assert configuration_space(DEMO, {"data.image_size": [32, 64]}, check_parts=part_problems)[0]
    windows = compose("windows")
    assert configuration_space(windows, {"data.normalize": ["channel", "window"]}, check_parts=part_problems)[0]
