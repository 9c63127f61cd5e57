"""Closed catalogues: a name, the plain class behind it, and a check of the parameters before anything is built.

A part is a class (or function) with plain keyword arguments, listed in one visible dict per family. Nothing registers
itself on import and no configuration can name code to run. Third parties add parts through entry points
(`[project.entry-points."ringlight.models"]`), which are read only when a catalogue is asked.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import entry_points
from typing import Any, Generic, Protocol, TypeVar, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError

from ringlight.errors import ConfigError, Problems, did_you_mean

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Fallback(Protocol[T_co]):
    """A family too large to list by hand (every timm classifier): consulted when a name is not in the dict."""

    def names(self) -> list[str]:
        """Every name of the family."""

    def factory(self, name: str) -> Callable[..., T_co] | None:
        """What builds `name`, None when the family has no such member."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One argument of a part: its annotation as text and its default (`required` when it has none)."""

    name: str
    annotation: str
    default: object
    required: bool


class Catalogue(Generic[T]):
    """A closed name -> factory map.

    `family` is also the configuration section, `name_key` the key in it that names the part. `supplied` names the
    arguments that the engine passes (`num_classes`, `task`), which a configuration must not.

    Examples:
        >>> shades = Catalogue("shade", {"dict": dict}, supplied=())
        >>> shades.names()
        ['dict']
        >>> shades.problems("dcit", {})
        ['shade.name: expected a known shade, got `dcit`; did you mean `dict`?']
    """

    def __init__(
        self,
        family: str,
        parts: Mapping[str, Callable[..., T]],
        *,
        name_key: str = "name",
        supplied: tuple[str, ...] = (),
        fallback: Fallback[T] | None = None,
        entry_point_group: str | None = None,
    ) -> None:
        self.family = family
        self.parts = dict(parts)
        self.name_key = name_key
        self.supplied = supplied
        self._fallback = fallback
        self._entry_point_group = entry_point_group

    @cached_property
    def _plugins(self) -> dict[str, Any]:
        if self._entry_point_group is None:
            return {}
        return {point.name: point for point in entry_points(group=self._entry_point_group)}

    def names(self) -> list[str]:
        """Every name that can be built, our own first, then plug-ins, then the fallback family."""
        names = dict.fromkeys(self.parts)
        names.update(dict.fromkeys(sorted(self._plugins)))
        if self._fallback is not None:
            names.update(dict.fromkeys(self._fallback.names()))
        return list(names)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._find(name) is not None

    def __iter__(self) -> Iterator[str]:
        return iter(self.parts)

    def _find(self, name: str) -> Callable[..., T] | None:
        if name in self.parts:
            return self.parts[name]
        if name in self._plugins:
            loaded: Callable[..., T] = self._plugins[name].load()
            return loaded
        return None if self._fallback is None else self._fallback.factory(name)

    def factory(self, name: str) -> Callable[..., T]:
        """Return the class or function behind `name`.

        Raises:
            ConfigError: the name is unknown; the message suggests the nearest.
        """
        found = self._find(name)
        if found is None:
            raise ConfigError(
                f"a known {self.family}",
                got=f"`{name}`",
                where=f"{self.family}.{self.name_key}",
                fix=did_you_mean(name, self.names()),
            )
        return found

    def parameters(self, name: str) -> list[Parameter]:
        """Return the configurable arguments of a part (what the engine supplies is left out)."""
        return [
            Parameter(
                key,
                _annotation(argument.annotation),
                None if argument.default is argument.empty else argument.default,
                argument.default is argument.empty,
            )
            for key, argument in self._signature(name).items()
            if key not in self.supplied
        ]

    def _signature(self, name: str) -> dict[str, inspect.Parameter]:
        parameters = inspect.signature(self.factory(name)).parameters
        named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        return {key: value for key, value in parameters.items() if value.kind in named}

    def problems(self, name: str, params: Mapping[str, Any]) -> list[str]:
        """Return what is wrong with a name and its parameters, one readable line each; empty when all is well."""
        try:
            factory = self.factory(name)
        except ConfigError as error:
            return [str(error)]
        signature = self._signature(name)
        allowed = [key for key in signature if key not in self.supplied]
        lines = []
        hints = _hints(factory)
        for key, value in params.items():
            if key not in allowed:
                lines.append(
                    f"{self.family}.{key}: expected a parameter of {self.family} `{name}`, got unknown key "
                    f"`{self.family}.{key}`; {did_you_mean(key, allowed) if allowed else 'it takes none'}"
                )
                continue
            problem = _type_problem(hints.get(key), value)
            if problem is not None:
                lines.append(
                    f"{self.family}.{key}: expected {problem}, got {value!r}; correct the value "
                    f"(default: {signature[key].default!r})"
                )
        missing = [
            key
            for key, argument in signature.items()
            if argument.default is argument.empty and key not in params and key not in self.supplied
        ]
        lines += [f"{self.family}.{key}: expected a value, got none; set {self.family}.{key}=..." for key in missing]
        return lines

    def build(self, name: str, **params: Any) -> T:
        """Build a part.

        Raises:
            Problems: an unknown name or parameter, or a value of the wrong type; every mistake, a line each.
        """
        configured = {key: value for key, value in params.items() if key not in self.supplied}
        lines = self.problems(name, configured)
        if lines:
            raise Problems(lines)
        return self.factory(name)(**params)

    def describe(self) -> dict[str, str]:
        """Return the first docstring line of every part listed here (plug-ins and the fallback family not loaded)."""
        return {name: (inspect.getdoc(part) or "").partition("\n")[0] for name, part in self.parts.items()}


def _annotation(annotation: Any) -> str:
    """Return an annotation as it stands in the source: modules postpone theirs, so that most are text."""
    return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)


def _hints(factory: Callable[..., Any]) -> dict[str, Any]:
    target = factory.__init__ if inspect.isclass(factory) else factory
    try:
        return get_type_hints(target)
    except (NameError, TypeError):  # a third party's annotation that only its type checker can resolve
        return {}


def _type_problem(hint: Any, value: Any) -> str | None:
    """Return what a value should have been, or None when it fits its annotation.

    Strict, since the part gets the value as it stands: `"2"` and `true` are no numbers. YAML knows no tuples, so a list
    may stand for one.
    """
    if hint is None:
        return None
    try:
        adapter = TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True))
    except PydanticSchemaGenerationError:
        return None
    try:
        adapter.validate_python(value, strict=True)
    except ValidationError as error:
        try:
            adapter.validate_json(json.dumps(value), strict=True)
        except (ValidationError, TypeError, ValueError):
            return " or ".join(dict.fromkeys(_plain(detail["msg"]) for detail in error.errors()))
    return None


def _plain(message: str) -> str:
    """Turn pydantic's sentence into a noun phrase.

    Examples:
        >>> _plain("Input should be a valid number, unable to parse string as a number")
        'a valid number'
    """
    return message.removeprefix("Input should be ").partition(", unable")[0]
