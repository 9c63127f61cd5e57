"""The typed tree: defaults, ranges, parts, and what a form needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from ringlight.config.aliases import ALIASES
from ringlight.config.schema import PARTS, SECTIONS, Config, fields_of, part_params
from ringlight.losses import LOSSES
from ringlight.optim import OPTIMIZERS
from ringlight.registry import Catalogue


def test_json_schema_describes_and_bounds_every_typed_key():
    definitions = Config.model_json_schema()["$defs"]
    for section, kind in SECTIONS.items():
        if kind is None:
            continue
        described = definitions[kind.__name__]
        assert described["additionalProperties"] is (section in PARTS)
        for key, value in described["properties"].items():
            assert value["description"], f"{section}.{key}"
            assert "default" in value, f"{section}.{key}"
    assert definitions["TrainingConfig"]["properties"]["num_epochs"]["minimum"] == 1
    assert definitions["OptimizerConfig"]["properties"]["lr"]["exclusiveMinimum"] == 0


def _names(catalogue: Catalogue[Any], part: str) -> list[str]:
    return [parameter.name for parameter in catalogue.parameters(part)]


def test_aliases_lead_to_typed_keys_and_hide_none():
    for alias, meant in ALIASES.items():
        section, _, key = meant.partition(".")
        # Of a part also a parameter of its own, which only some parts of the family have.
        own = {"optimizer": OPTIMIZERS, "loss": LOSSES}.get(section)
        assert key in fields_of(section) or (own and any(key in _names(own, part) for part in own.parts)), alias
        section, _, key = alias.partition(".")
        assert key not in fields_of(section), f"{alias} is a key itself"


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("training", "num_epochs", True),
        ("training", "num_epochs", 0),
        ("training", "num_epochs", "5"),
        ("training", "ema_decay", 1),
        ("training", "early_stopping_patience", 0),
        ("training", "device", "cuda:x"),
        ("training", "precision", "64"),
        ("optimizer", "lr", 0),
        ("optimizer", "lr", float("nan")),
        ("optimizer", "weight_decay", float("inf")),
        ("data", "image_size", [64]),
        ("data", "image_size", [64, 64, 3]),
        ("data", "num_workers", -1),
        ("data", "task", "detection"),
        ("model", "in_chans", 0),
        ("model", "drop_rate", 1.0),
        ("model", "pretrained", "yes"),
        ("experiment", "seed", -1),
        ("experiment", "seed", 2**32),
        ("experiment", "name", "../up"),
        ("experiment", "name", " "),
        ("augmentation", "rotation", "much"),
        ("augmentation", "rotation", [1]),
        ("split", "strategy", "random"),
    ],
)
def test_value_out_of_range_or_of_the_wrong_kind_is_refused(section, key, value):
    with pytest.raises(ValidationError):
        Config.model_validate({section: {key: value}})


@pytest.mark.parametrize(
    ("section", "key", "value", "read"),
    [
        ("training", "precision", 32, "32"),
        ("training", "device", "cuda:1", "cuda:1"),
        ("optimizer", "lr", 1, 1.0),
        ("data", "image_size", 64, 64),
        ("data", "image_size", [64, 400], (64, 400)),
        ("data", "num_workers", "auto", "auto"),
        ("data", "root", 2024, Path("2024")),
        ("data", "root", "~/x", Path.home() / "x"),
        ("model", "pretrained", True, True),
        ("experiment", "name", 7, "7"),
    ],
)
def test_value_is_read_as_it_is_meant(section, key, value, read):
    assert getattr(getattr(Config.model_validate({section: {key: value}}), section), key) == read


def test_part_keeps_its_own_parameters_apart_from_the_family_fields():
    config = Config.model_validate({"loss": {"name": "focal_loss", "gamma": 2.0}, "data": {"label_regex": "(.+)"}})
    assert config.loss.params() == {"gamma": 2.0}
    assert config.data.params() == {"label_regex": "(.+)"}
    assert part_params("data", {"root": "x", "missing": "skip"}) == {"missing": "skip"}


def test_replacing_checks_what_is_written_and_leaves_the_original():
    config = Config()
    resolved = config.replacing({"training.device": "cpu", "loss.alpha": [0.5, 0.5], "data.root": "x"})
    assert (resolved.training.device, resolved.loss.params(), resolved.data.root) == (
        "cpu",
        {"alpha": [0.5, 0.5]},
        Path("x"),
    )
    assert config == Config()
    with pytest.raises(ValidationError):
        config.replacing({"training.device": "gpu"})


def test_configuration_cannot_be_changed_in_place():
    with pytest.raises(ValidationError):
        Config().training.num_epochs = 3
