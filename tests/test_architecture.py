"""The house keeps its shape: rows, light imports, sizes, docstrings, and catalogues that list every part."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import pkgutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import ringlight
from ringlight.registry import Catalogue

PROJECT = Path(__file__).resolve().parents[1]
PACKAGE = PROJECT / "src" / "ringlight"
SOURCES = sorted(PACKAGE.rglob("*.py"))
MAX_FILE_LINES = 350
MAX_FUNCTION_LINES = 60
HEAVY = ("torch", "torchvision", "lightning", "timm", "albumentations", "sklearn", "tensorboard", "matplotlib")


def run_python(code: str) -> str:
    """Run code in a fresh interpreter and return what it printed."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@cache
def modules() -> tuple[ModuleType, ...]:
    """Every module of the package except `__main__`, which runs the command line."""
    found = pkgutil.walk_packages(ringlight.__path__, "ringlight.")
    names = [info.name for info in found if not info.name.endswith("__main__")]
    return tuple(importlib.import_module(name) for name in names)


@pytest.mark.parametrize(
    "module",
    [
        "ringlight",
        "ringlight.cli.main",
        "ringlight.config.load",
        "ringlight.config.schema",
        "ringlight.services.model_manager",
    ],
)
def test_what_answers_at_once_loads_nothing_heavy(module):
    """`ringlight --help` once waited eight seconds for lightning and timm."""
    loaded = json.loads(run_python(f"import json, sys, {module}; print(json.dumps(list(sys.modules)))"))
    assert not set(HEAVY) & set(loaded)


def test_the_import_contracts_hold():
    done = subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


@cache
def tree(path: Path) -> ast.Module:
    """A file's syntax; parsed once."""
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def imported_packages(path: Path) -> frozenset[str]:
    """The top-level packages a file imports anywhere, also inside functions."""
    found: set[str] = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return frozenset(found)


@pytest.mark.parametrize(
    ("package", "home"),
    [
        ("typer", "cli/"),
        ("hydra", "config/load.py"),
        ("timm", "models/"),
        ("albumentations", "data/augment.py"),
        ("sqlalchemy", "store/"),
        ("fastapi", "web/"),
        ("optuna", "training/tune"),
        ("mlflow", "training/trackers_mlflow.py"),
        ("ultralytics", "detection/yolo.py"),
    ],
)
def test_a_library_with_a_home_is_imported_nowhere_else(package, home):
    """The import contracts see modules; this sees single files and imports inside functions."""
    places = [path.relative_to(PACKAGE).as_posix() for path in SOURCES if package in imported_packages(path)]
    assert [place for place in places if not place.startswith(home)] == []


def test_no_configuration_can_name_code_to_run():
    called = ("instantiate", "get_class", "get_method", "get_object")
    offenders = [path for path in SOURCES if any(f"hydra.utils.{name}" in path.read_text("utf-8") for name in called)]
    assert offenders == []


def test_no_file_outgrows_its_room():
    lengths = {path.relative_to(PROJECT).as_posix(): len(path.read_text("utf-8").splitlines()) for path in SOURCES}
    assert {path: lines for path, lines in lengths.items() if lines > MAX_FILE_LINES} == {}


def function_lengths(path: Path) -> Iterator[tuple[str, int]]:
    """Each function's name and its lines, docstring and decorators left out."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body
            described = isinstance(body[0], ast.Expr) and ast.get_docstring(node) is not None
            first = (body[1].lineno if len(body) > 1 else body[0].end_lineno) if described else node.lineno
            yield f"{path.relative_to(PROJECT).as_posix()}:{node.lineno} {node.name}", node.end_lineno - first + 1


def test_no_function_outgrows_a_screen():
    lengths = dict(pair for path in SOURCES for pair in function_lengths(path))
    assert {name: lines for name, lines in lengths.items() if lines > MAX_FUNCTION_LINES} == {}


def test_every_module_says_what_it_is():
    silent = [path.relative_to(PROJECT).as_posix() for path in SOURCES if not ast.get_docstring(tree(path))]
    assert silent == []


def catalogues() -> dict[str, Catalogue[Any]]:
    """Every catalogue of the package, by `module.NAME` of the place that defines it."""
    found: dict[str, Catalogue[Any]] = {}
    seen: set[int] = set()
    for module in modules():  # a package comes before its modules, and it is the package that shows its catalogue
        for name, value in vars(module).items():
            if isinstance(value, Catalogue) and id(value) not in seen:
                seen.add(id(value))
                found[f"{module.__name__}.{name}"] = value
    return found


def own_parts(catalogue: Catalogue[Any]) -> dict[str, Callable[..., Any]]:
    """The parts that are Ringlight's own code; a catalogue may also list a library's classes under their names."""
    return {name: part for name, part in catalogue.parts.items() if part.__module__.startswith("ringlight.")}


def test_the_first_catalogues_are_there():
    families = {place.split(".")[1] for place in catalogues()}
    assert {"data", "models", "losses", "optim"} <= families


def test_every_part_describes_itself():
    silent = [
        f"{place}[{name}]" for place, c in catalogues().items() for name, text in c.describe().items() if not text
    ]
    assert silent == []


def test_parts_take_plain_arguments():
    """A part that takes `**kwargs` cannot have its configuration checked before anything is written."""
    open_ended = [
        f"{place}[{name}]"
        for place, catalogue in catalogues().items()
        for name, part in own_parts(catalogue).items()
        for argument in inspect.signature(part).parameters.values()
        if argument.kind in {argument.VAR_KEYWORD, argument.VAR_POSITIONAL}
    ]
    assert open_ended == []


def test_parts_are_found_under_names_that_can_be_typed():
    names = [name for catalogue in catalogues().values() for name in catalogue.parts]
    assert [name for name in names if name != name.lower() or not name.replace("_", "").isalnum()] == []


def arguments_of(part: Callable[..., Any]) -> set[str]:
    return set(inspect.signature(part).parameters)


def methods_of(part: type) -> set[str]:
    return {name for name in dir(part) if not name.startswith("_") and callable(getattr(part, name))}


def kind_of(candidate: Callable[..., Any], parts: list[Callable[..., Any]]) -> list[Callable[..., Any]]:
    """The parts that take what it takes: an augmentation of windows has other methods than one of images.

    A model of several backbones is given more than one of a single backbone.
    """

    def kind(part: Callable[..., Any]) -> tuple[object, object]:
        return getattr(part, "takes", None), getattr(part, "is_composite", False)

    return [part for part in parts if kind(part) == kind(candidate)]


def is_of_the_kind(candidate: Callable[..., Any], parts: list[Callable[..., Any]], supplied: tuple[str, ...]) -> bool:
    """Whether it could stand in the catalogue: called with what the engine supplies, or else with the same methods."""
    parts = kind_of(candidate, parts)
    if inspect.isclass(candidate) not in {inspect.isclass(part) for part in parts}:
        return False
    shared = set(supplied).intersection(*map(arguments_of, parts))
    if shared:
        return shared <= arguments_of(candidate)
    return set.intersection(*map(methods_of, parts)) <= methods_of(candidate)


def public_definitions(family: str) -> set[Callable[..., Any]]:
    """The public classes and functions that the modules of a family define, protocols left out."""
    return {
        value
        for module in modules()
        if module.__name__.startswith(f"ringlight.{family}.")
        for name, value in vars(module).items()
        if (inspect.isclass(value) or inspect.isfunction(value))
        and value.__module__ == module.__name__
        and not name.startswith("_")
        and not getattr(value, "_is_protocol", False)
    }


@pytest.mark.parametrize("family", ["data", "models", "losses", "optim"])
def test_nothing_public_is_missing_from_a_catalogue(family):
    """A part was once written in March and listed in January of the year after; this is why its test is generic."""
    members = {place: catalogue for place, catalogue in catalogues().items() if place.split(".")[1] == family}
    assert members
    for place, catalogue in members.items():
        parts = list(own_parts(catalogue).values())
        bases = {base for part in parts if inspect.isclass(part) for base in part.__mro__}
        others = public_definitions(family) - bases - set(parts)
        missing = {other.__qualname__ for other in others if is_of_the_kind(other, parts, catalogue.supplied)}
        assert missing == set(), f"{place} does not list {missing}"


def test_a_part_that_is_not_listed_is_noticed():
    """Proof that the test above can fail: each family with one of its own parts taken off the list."""
    for place, catalogue in catalogues().items():
        parts = list(own_parts(catalogue).values())
        for part in parts:
            rest = [other for other in kind_of(part, parts) if other is not part]
            if rest:
                assert is_of_the_kind(part, rest, catalogue.supplied), (
                    f"{place}: {part.__qualname__} would not be missed"
                )
