"""What a member of an ensemble is, as a configuration names it, and every way to name one wrongly."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from ringlight.errors import did_you_mean
from ringlight.models.build import is_estimator, takes_of

Normalization = Literal["channel", "window", "none"]
WAYS = ("channel", "window", "none")
DEFAULT_MEMBERS = ("random_forest", "logistic_regression", "cnn1d")
FORMS = "a name, {name: NAME, parameters} or {run: PATH}"


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberSpec:
    """A member: a model's `name` with its own parameters, or the path of a `run` and nothing else."""

    name: str = ""
    params: Mapping[str, Any] = field(default_factory=dict)
    drop_rate: float = 0.0
    normalize: Normalization = "none"
    run: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the mapping that names the member completely."""
        if self.run is not None:
            return {"run": self.run}
        drop = {"drop_rate": self.drop_rate} if self.drop_rate else {}
        return {"name": self.name, "normalize": self.normalize, **drop, **self.params}


def parse_members(members: Sequence[object]) -> tuple[list[MemberSpec], list[str]]:
    """Return the members, and what is wrong with those that are none, one readable line each."""
    if isinstance(members, str) or not isinstance(members, Sequence):
        return [], [f"model.members: expected a list of members, got {members!r}; write [random_forest, cnn1d]"]
    specs, lines = [], []
    if len(members) < 2:
        lines.append(
            f"model.members: expected two members or more, got {len(members)}; name them: [random_forest, cnn1d]"
        )
    for place, member in enumerate(members):
        found = _parse(f"model.members[{place}]", member)
        if isinstance(found, MemberSpec):
            specs.append(found)
        else:
            lines += found
    return specs, lines


def _parse(where: str, member: object) -> MemberSpec | list[str]:
    """Return one member, or the lines of what is wrong with it."""
    values = {"name": member} if isinstance(member, str) else member
    if not isinstance(values, Mapping) or len({"name", "run"} & set(values)) != 1:
        return [f"{where}: expected {FORMS}, got {member!r}; give it a name or a run"]
    values = dict(values)
    if "run" in values:
        if len(values) > 1 or not isinstance(values["run"], str) or not values["run"]:
            return [f"{where}: expected {{run: PATH}} alone, got {member!r}; the model of a run is taken as it is"]
        return MemberSpec(run=values["run"])
    name = values.pop("name")
    fault = _name_fault(where, name)
    return _of_model(where, name, values) if fault is None else [fault]


def _name_fault(where: str, name: object) -> str | None:
    from ringlight.models import MODELS

    fitting = [known for known, part in MODELS.parts.items() if takes_of(part) == "windows" and not is_ensemble(part)]
    if not isinstance(name, str) or name not in MODELS:
        return f"{where}.name: expected a known model of windows, got `{name}`; {did_you_mean(str(name), fitting)}"
    factory = MODELS.factory(name)
    if takes_of(factory) != "windows":
        return f"{where}.name: expected a model of windows, got `{name}`, which takes {takes_of(factory)}; " + (
            f"choose from: {', '.join(fitting)}"
        )
    if is_ensemble(factory):
        return f"{where}.name: expected a single model, got an ensemble in an ensemble; name its members here"
    return None


def _of_model(where: str, name: str, values: dict[str, Any]) -> MemberSpec | list[str]:
    """Return a member of the catalogue from the values beside its name."""
    from ringlight.models import MODELS

    factory, lines = MODELS.factory(name), []
    normalize = values.pop("normalize", None)
    if normalize is None:
        normalize = "none" if is_estimator(factory) else "channel"
    if normalize not in WAYS:
        lines.append(f"{where}.normalize: expected channel, window or none, got {normalize!r}; correct the value")
    drop_rate = 0.0
    if "drop_rate" in inspect.signature(factory).parameters:
        drop_rate = values.pop("drop_rate", 0.0)
        if isinstance(drop_rate, bool) or not isinstance(drop_rate, int | float) or not 0 <= drop_rate < 1:
            lines.append(f"{where}.drop_rate: expected a number from 0 and below 1, got {drop_rate!r}; try 0.1")
    lines += [_here(line, where) for line in MODELS.problems(name, values)]
    if lines:
        return lines
    return MemberSpec(name=name, params=values, drop_rate=float(drop_rate), normalize=cast("Normalization", normalize))


def _here(line: str, where: str) -> str:
    """Return a catalogue's line about a parameter with the place of the member in it."""
    return line.replace("model.", f"{where}.")


def is_ensemble(factory: object) -> bool:
    """Return whether a model is made of other models, which are fitted first."""
    return bool(getattr(factory, "is_ensemble", False))
