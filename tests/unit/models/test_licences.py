"""The licence of weights is told where somebody wrote it down, and nowhere else."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from ringlight.models import licences
from ringlight.models.hybrid import combined
from ringlight.models.licences import licence_of
from ringlight.models.weights import PACKAGES, WeightsChoice


def of_file(path: Path) -> str | None:
    return licence_of(WeightsChoice(source="folder", note="", path=path), None)


def test_a_file_says_it_in_its_metadata(tmp_path: Path) -> None:
    tensors = {"weight": torch.zeros(1)}
    save_file(tensors, tmp_path / "a.safetensors", metadata={"license": "CC-BY-NC-4.0"})
    save_file(tensors, tmp_path / "b.safetensors")
    torch.save(tensors, tmp_path / "c.pth")
    names = ("a.safetensors", "b.safetensors", "c.pth", "gone.safetensors")
    assert [of_file(tmp_path / name) for name in names] == ["CC-BY-NC-4.0", None, None, None]


def test_timm_says_it_for_a_hub_and_nobody_for_random_weights() -> None:
    hub = WeightsChoice(source="hub", note="")
    assert licence_of(hub, "convnextv2_tiny.fcmae_ft_in22k_in1k") == "cc-by-nc-4.0"
    assert licence_of(hub, None) is None
    assert licence_of(WeightsChoice(source="random", note=""), "resnet18") is None


def test_each_part_of_a_hybrid_has_its_own(tmp_path: Path) -> None:
    """Only one file's licence was looked for, and a hybrid had none: weights under CC-BY-NC went unnoticed."""
    save_file({"weight": torch.zeros(1)}, tmp_path / "b.safetensors", metadata={"license": "MIT"})
    hub = WeightsChoice(source="hub", note="")
    file = WeightsChoice(source="folder", note="", path=tmp_path / "b.safetensors")
    nobody = WeightsChoice(source="folder", note="", path=tmp_path / "gone.safetensors")
    free = "convnextv2_tiny.fcmae_ft_in22k_in1k"
    both = combined([(free, hub), ("swinv2_tiny_window8_256", file)])
    assert licence_of(both, None) == f"{free}: cc-by-nc-4.0; swinv2_tiny_window8_256: MIT"
    assert licence_of(combined([("a", file), ("b", file)]), None) == "MIT"
    assert licence_of(combined([("a", file), ("b", nobody)]), None) == "a: MIT; b: not known"
    assert licence_of(combined([("a", nobody), ("b", WeightsChoice(source="random", note=""))]), None) is None


@pytest.mark.parametrize(
    ("metadata", "text", "told"),
    [
        ({"License-Expression": "MIT"}, None, "MIT"),
        ({"License": "UNKNOWN"}, "\nApache Software License 2.0\n\nCopyright", "Apache Software License 2.0"),
        ({"License": "UNKNOWN"}, None, None),
    ],
)
def test_a_package_says_it_in_its_metadata_or_in_its_licence(
    monkeypatch: pytest.MonkeyPatch, metadata: dict[str, str], text: str | None, told: str | None
) -> None:
    path = Path("weights.pth")
    choice = WeightsChoice(source="package", note="", path=path)
    monkeypatch.setattr(type(PACKAGES[0]), "find", lambda _self: path)
    found = SimpleNamespace(metadata=metadata, read_text=lambda name: text if name == "LICENSE" else None)
    monkeypatch.setattr(licences, "distribution", lambda _name: found)
    assert licence_of(choice, None) == told

    def missing(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(licences, "distribution", missing)
    assert licence_of(choice, None) is None
