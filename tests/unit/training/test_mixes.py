"""The section `mix`: what the catalogue builds, what is refused in one line, what a run writes down."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import yaml

from ringlight.config.load import compose
from ringlight.config.schema import Config
from ringlight.errors import Problems
from ringlight.training import mixes, mixing, mixing_cut
from ringlight.training.mixes import MIXES, RandomMix, mix_keys, mix_problems, mixer_of
from ringlight.training.mixing import Mixup
from ringlight.training.mixing_cut import CutMix, TokenMix
from ringlight.training.plan import Plan, make_plan, part_problems

PlanOf = Callable[..., Plan]


def configured(*overrides: str) -> Config:
    return compose("folder", ["data.root=.", *overrides], check_parts=part_problems)


def refused(*overrides: str) -> list[str]:
    with pytest.raises(Problems) as caught:
        configured(*overrides)
    return caught.value.problems


@pytest.mark.parametrize("name", MIXES.names())
def test_it_ships_as_a_group_with_the_defaults_written_out(name: str) -> None:
    content = yaml.safe_load((files("ringlight") / "configs" / "mix" / f"{name}.yaml").read_text("utf-8"))
    assert content.pop("name") == name
    defaults = {one.name: one.default for one in MIXES.parameters(name)}
    assert content == {key: list(value) if isinstance(value, tuple) else value for key, value in defaults.items()}
    assert configured(f"mix={name}").mix.params() == content
    assert mix_problems({"name": name, **content}, {}) == []


def test_the_command_line_chooses_and_tunes() -> None:
    config = configured("mix=cutmix", "mix.alpha=0.5")
    mixer = mixer_of(config)
    assert isinstance(mixer, CutMix)
    assert (mixer.alpha, mixer.seed) == (0.5, config.experiment.seed)
    assert isinstance(mixer_of(configured("mix.name=tokenmix", "mix.min_tokens=3")), TokenMix)
    picked = mixer_of(configured("mix=random", "mix.methods=[mixup,cutmix]"))
    assert isinstance(picked, RandomMix)
    assert picked.methods == ("mixup", "cutmix")
    assert mixer_of(configured()) is None
    assert mixer_of(configured("mix=none")) is None


def test_mixup_has_two_spellings_that_mean_the_same() -> None:
    first = mixer_of(configured("mix=mixup", "mix.alpha=0.4"))
    second = mixer_of(configured("augmentation.mixup={alpha: 0.4}"))
    assert isinstance(first, Mixup)
    assert isinstance(second, Mixup)
    assert vars(first) == vars(second)
    assert mix_keys(configured("augmentation.mixup=true")) == ["augmentation.mixup"]
    assert refused("mix=cutmix", "augmentation.mixup=true") == [
        "mix.name: expected mixup in one place, got mix=cutmix and augmentation.mixup; "
        "set augmentation.mixup=null, or mix=none"
    ]


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["mix=cutmx"], "mix.name: expected a known mix, got `cutmx`; did you mean `cutmix`?"),
        (["mix=cutmix", "mix.alhpa=1"], "got unknown key `mix.alhpa`; did you mean `alpha`?"),
        (
            ["mix.alpha=1.0"],
            "mix.alpha: expected a parameter of mix `none`, got unknown key `mix.alpha`; it takes none",
        ),
        (["mix=cutmix", "mix.alpha=-1.0"], "mix.alpha: expected a number from 0.01 to 10, got -1.0; correct the value"),
        (["mix=tokenmix", "mix.patch_size=2.5"], "mix.patch_size: expected a valid integer, got 2.5;"),
        (["mix=random", "mix.methods=[]"], "mix.methods: expected one method or more, got none;"),
        (["mix=random", "mix.methods=[blend]"], "mix.methods: expected 'mixup', 'cutmix', 'tokenmix' or 'mixtoken'"),
        (
            ["mix=cutmix", "augmentation.defect_blackout=0.5"],
            "augmentation.defect_blackout: expected augmentations that need no boxes where batches are mixed, got "
            "defect_blackout; set it to null, or mix=none and augmentation.mixup=null",
        ),
    ],
)
def test_a_mistake_is_one_line(overrides: list[str], line: str) -> None:
    (told,) = refused(*overrides)
    assert line in told


def test_no_way_of_mixing_is_missing_from_the_catalogue() -> None:
    found = {
        value
        for module in (mixes, mixing, mixing_cut)
        for name, value in vars(module).items()
        if inspect.isclass(value) and hasattr(value, "size_problem") and name[0] != "_"
    }
    assert found - {mixing.Mixer, mixing.BatchMixer} == set(MIXES.parts.values())


def test_a_run_on_windows_is_refused_before_it_is_written(tmp_path: Path) -> None:
    windows = np.random.default_rng(0).normal(size=(24, 32, 2)).astype(np.float32)
    np.savez(tmp_path / "w.npz", X=windows, y=np.arange(24) % 2)
    asked = [f"data.root={tmp_path / 'w.npz'}", "training.num_epochs=1", "training.device=cpu"]
    with pytest.raises(Problems, match=r"mix\.name: expected a mix of windows, got mixtoken, which cuts pictures"):
        make_plan(compose("windows", [*asked, "mix=mixtoken"], check_parts=part_problems), tmp_path / "cache")
    plan = make_plan(compose("windows", [*asked, "mix=mixup"], check_parts=part_problems), tmp_path / "cache")
    assert isinstance(mixer_of(plan.config), Mixup)


def test_windows_are_blended_only() -> None:
    assert mix_problems({"name": "cutmix"}, {}, kind="windows") == [
        "mix.name: expected a mix of windows, got cutmix, which cuts pictures; set mix=mixup or mix=none"
    ]
    assert mix_problems({"name": "random"}, {}, kind="windows") == [
        "mix.methods: expected mixes of windows, got some that cut pictures; set mix=mixup or mix=none"
    ]
    assert mix_problems({"name": "mixup"}, {}, kind="windows") == []
    assert mix_problems({"name": "random", "methods": ["mixup"]}, {}, kind="windows") == []


def test_a_configuration_of_python_is_checked_where_it_is_used() -> None:
    config = Config.model_validate({"mix": {"name": "cutmix", "alpha": 20.0}})
    with pytest.raises(Problems, match=r"mix\.alpha: expected a number from 0\.01 to 10, got 20\.0"):
        mixer_of(config)


def test_a_plan_writes_the_choice_down_and_refuses_pictures_of_one_token(plan_of: PlanOf) -> None:
    config = plan_of("mix=mixtoken", "mix.patch_size=8").config
    assert config.model_dump(mode="json")["mix"] == {
        "name": "mixtoken", "alpha": 1.0, "probability": 1.0, "patch_size": 8
    }  # fmt: skip
    with pytest.raises(Problems, match=r"mix\.patch_size: expected two tokens .* got patches of 32 in 32x32; lower it"):
        plan_of("mix=tokenmix", "mix.patch_size=32")
    frozen = plan_of("mix=cutmix", "training.mode=frozen")
    assert "mix.name=cutmix: a head is fitted without steps: nothing is mixed" in frozen.notes


def test_a_file_of_an_earlier_release_is_complete_without_the_section(tmp_path: Path) -> None:
    tree = configured().model_dump(mode="json")
    del tree["mix"]
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    assert compose(None, file=tmp_path / "config.yaml").mix.name == "none"
