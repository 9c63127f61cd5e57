"""`model.lora`, a group of keys inside a section: as a mapping, key by key, in a file, and with mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest

from ringlight.config.load import compose, read_config, to_yaml
from ringlight.config.parts import LoraConfig
from ringlight.config.reference import reference_page
from ringlight.errors import Problems


@pytest.mark.parametrize("override", ["model.lora={rank: 4}", "model.lora.rank=4", "+model.lora.rank=4"])
def test_one_key_is_enough_and_the_others_have_defaults(override: str) -> None:
    lora = compose("folder", [override]).model.lora
    assert lora == LoraConfig(rank=4)
    assert lora.targets == ("attention", "mlp", "conv1x1")
    assert compose("folder").model.lora is None
    assert compose("folder", [override, "model.lora=null"]).model.lora is None


def test_it_belongs_to_every_model_and_to_no_parts_parameters() -> None:
    config = compose("folder", ["model=hybrid_tiny", "model.lora={}"])
    assert config.model.lora == LoraConfig()
    assert "lora" not in config.model.params()
    assert config.model.params()["first"] == "convnextv2_atto"


def test_a_written_configuration_is_read_back(tmp_path: Path) -> None:
    config = compose("folder", ["model.lora={rank: 4, targets: [mlp], dropout: 0.1}"])
    path = tmp_path / "config.yaml"
    path.write_text(to_yaml(config), encoding="utf-8")
    assert read_config(path).model.lora == config.model.lora


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("model.lora.rang=4", "model.lora.rang: expected a key of model.lora, got unknown key `rang`; did you mean "
         "`rank`?"),
        ("model.lora.rank=0", "model.lora.rank: expected a number greater than or equal to 1, got 0; correct the value "
         "(default: 8)"),
        ("model.lora.rank=true", "model.lora.rank: expected a valid integer, got True; correct the value (default: 8)"),
        ("model.lora.targets=[attn]", "model.lora.targets: expected 'attention', 'mlp' or 'conv1x1', got 'attn'; "
         "did you mean `attention`?"),
        ("model.lora=8", "model.lora: expected a mapping of parameters, got 8; correct the value (default: null)"),
        ("model.lorra.rank=4", "model.lorra: expected a parameter of model `resnet18`, got unknown key `model.lorra`; "
         "did you mean `lora`?"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_readable_line(override: str, line: str) -> None:
    from ringlight.training.plan import part_problems

    with pytest.raises(Problems) as caught:
        compose("folder", [override], check_parts=part_problems)
    assert caught.value.problems == [line]


def test_the_reference_page_lists_its_keys() -> None:
    assert "| `lora.rank` | integer ≥ 1 | 8 |" in reference_page()
