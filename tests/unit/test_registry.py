"""Catalogues: names, near misses, parameter checks before anything is built."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import pytest

from ringlight import registry
from ringlight.errors import ConfigError, Problems
from ringlight.registry import Catalogue, Parameter


class Focal:
    """Weigh hard examples up.

    More text that a list of parts has no room for.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        gamma: float = 2.0,
        alpha: float | list[float] | Literal["dynamic"] | None = None,
        reduction: Literal["mean", "sum"] = "mean",
    ) -> None:
        self.values = (num_classes, gamma, alpha, reduction)


def hinge(num_classes: int, *, margin: float) -> tuple[int, float]:
    """Leave a margin."""
    return num_classes, margin


class Zoo:
    """A family too large to list: every name that starts with `zoo_`."""

    def names(self) -> list[str]:
        return ["zoo_cat", "zoo_dog"]

    def factory(self, name: str) -> Callable[..., object] | None:
        def animal(num_classes: int, *, legs: int = 4) -> tuple[str, int, int]:
            return name, legs, num_classes

        return animal if name in self.names() else None


class FakeEntryPoint:
    def __init__(self, name: str, target: Callable[..., object]) -> None:
        self.name = name
        self.target = target
        self.loads = 0

    def load(self) -> Callable[..., object]:
        self.loads += 1
        return self.target


@pytest.fixture
def losses() -> Catalogue:
    return Catalogue("loss", {"focal": Focal, "hinge": hinge}, supplied=("num_classes",), fallback=Zoo())


@pytest.fixture
def plugin(monkeypatch):
    """Pretend that a third party's package is installed."""
    point = FakeEntryPoint("theirs", hinge)
    monkeypatch.setattr(registry, "entry_points", lambda *, group: [point] if group == "ringlight.losses" else [])
    return point


def test_a_part_is_built_with_what_the_engine_supplies_and_what_the_user_sets(losses):
    assert losses.build("focal", num_classes=4, gamma=1, alpha="dynamic").values == (4, 1, "dynamic", "mean")
    assert losses.build("hinge", num_classes=2, margin=0.5) == (2, 0.5)


def test_names_hold_the_parts_and_the_fallback_family(losses):
    assert set(losses.names()) == {"focal", "hinge", "zoo_cat", "zoo_dog"}
    assert ("focal" in losses, "zoo_cat" in losses, "none" in losses) == (True, True, False)
    assert list(losses) == ["focal", "hinge"]


def test_descriptions_are_first_lines(losses):
    assert losses.describe() == {"focal": "Weigh hard examples up.", "hinge": "Leave a margin."}


def test_the_fallback_family_is_built_like_a_part(losses):
    assert losses.build("zoo_cat", num_classes=1, legs=3) == ("zoo_cat", 3, 1)
    assert losses.problems("zoo_cat", {"leg": 3}) == [
        "loss.leg: expected a parameter of loss `zoo_cat`, got unknown key `loss.leg`; did you mean `legs`?"
    ]


def test_parameters_leave_out_what_the_engine_supplies(losses):
    assert [parameter.name for parameter in losses.parameters("focal")] == ["gamma", "alpha", "reduction"]
    assert losses.parameters("focal")[0] == Parameter("gamma", "float", 2.0, False)
    assert losses.parameters("hinge") == [Parameter("margin", "float", None, True)]


def test_an_unknown_name_is_answered_with_the_nearest(losses):
    assert losses.problems("foccal", {}) == ["loss.name: expected a known loss, got `foccal`; did you mean `focal`?"]
    with pytest.raises(ConfigError, match=r"did you mean `focal`\?"):
        losses.factory("foccal")


def test_the_key_that_names_the_part_can_be_another():
    sources = Catalogue("data", {"focal": Focal}, name_key="source")
    assert sources.problems("x", {}) == ["data.source: expected a known data, got `x`; choose from: focal"]


def test_all_mistakes_come_at_once_a_line_each(losses):
    params = {"gama": 1.0, "alpha": "sometimes", "reduction": "none"}
    lines = losses.problems("focal", params)
    assert len(lines) == 3
    assert lines[0] == (
        "loss.gama: expected a parameter of loss `focal`, got unknown key `loss.gama`; did you mean `gamma`?"
    )
    assert lines[1].startswith("loss.alpha: expected a valid number or a valid list or 'dynamic'")
    assert lines[1].endswith("got 'sometimes'; correct the value (default: None)")
    assert lines[2] == ("loss.reduction: expected 'mean' or 'sum', got 'none'; correct the value (default: 'mean')")
    with pytest.raises(Problems) as caught:
        losses.build("focal", num_classes=2, **params)
    assert caught.value.problems == lines


def test_a_missing_value_is_asked_for(losses):
    assert losses.problems("hinge", {}) == ["loss.margin: expected a value, got none; set loss.margin=..."]


def test_a_configuration_cannot_set_what_the_engine_supplies(losses):
    (line,) = losses.problems("focal", {"num_classes": 7})
    assert line.startswith("loss.num_classes: expected a parameter of loss `focal`, got unknown key")


def test_a_part_without_parameters_says_so():
    catalogue = Catalogue("scheduler", {"constant": object})
    assert catalogue.problems("constant", {"lr": 1}) == [
        "scheduler.lr: expected a parameter of scheduler `constant`, got unknown key `scheduler.lr`; it takes none"
    ]


def test_third_parties_add_parts_through_entry_points(plugin):
    losses = Catalogue("loss", {"focal": Focal}, supplied=("num_classes",), entry_point_group="ringlight.losses")
    assert set(losses.names()) == {"focal", "theirs"}
    assert plugin.loads == 0, "listing names must not import a third party's code"
    assert losses.build("theirs", num_classes=3, margin=1.0) == (3, 1.0)


def test_a_third_party_cannot_replace_a_part(plugin):
    """A plug-in that took the name of a part would change the meaning of every saved configuration."""
    losses = Catalogue("loss", {"theirs": Focal}, entry_point_group="ringlight.losses")
    assert losses.factory("theirs") is Focal


def test_a_catalogue_cannot_be_changed_through_the_dict_it_was_made_from():
    parts = {"focal": Focal}
    catalogue = Catalogue("loss", parts)
    parts["other"] = Focal
    assert catalogue.names() == ["focal"]
