"""What every source of the catalogue promises."""

from __future__ import annotations

import importlib
import inspect
import pickle
import pkgutil
import runpy
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

import ringlight.data
from ringlight.data import SOURCES
from ringlight.data.checks import check, hash_contents
from ringlight.errors import DataError
from ringlight.types import Dataset, Source

FAKE = Path(__file__).parents[1] / "data"


def fake(name: str) -> Callable[[Path], None]:
    make: Callable[[Path], None] = runpy.run_path(str(FAKE / name / "make.py"))["make"]
    return make


CASES: Mapping[str, tuple[Callable[[Path], None] | None, Mapping[str, Any], str]] = {
    "folder": (fake("folder"), {}, "multiclass"),
    "table": (fake("table"), {"label_columns": "label", "group_column": "coil"}, "multiclass"),
    "severstal": (fake("severstal"), {}, "multilabel"),
    "cifar": (fake("cifar"), {}, "multiclass"),
    "synthetic": (None, {"num_images": 6, "height": 32, "width": 64}, "multilabel"),
    "windows": (fake("windows"), {"window_length": 32, "hop": 16}, "multiclass"),
    "synthetic_windows": (None, {"num_windows": 20, "length": 64, "windows_per_recording": 4}, "multiclass"),
}
"""How the data of each source is made (None: it makes its own), its parameters, the task it must give."""


@pytest.fixture(params=SOURCES.names())
def case(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, Path]:
    """A source's name and its fake data; a source without a case here fails."""
    monkeypatch.setenv("RINGLIGHT_WORKSPACE", str(tmp_path / "workspace"))
    make, _, _ = CASES[request.param]
    if make is not None:
        make(tmp_path / "data")
    return request.param, tmp_path / "data"


def build(name: str, root: Path) -> Source:
    return SOURCES.build(name, root=root, **CASES[name][1])


def test_it_loads_a_valid_data_set(case: tuple[str, Path]) -> None:
    name, root = case
    source = build(name, root)
    assert isinstance(source, Source)
    dataset = source.load()
    assert isinstance(dataset, Dataset)
    assert dataset.task == CASES[name][2]
    assert len(set(dataset.ids)) == len(dataset) > 0
    assert len(set(dataset.classes)) == len(dataset.classes) > 0
    for record in dataset:
        assert all(0 <= label < len(dataset.classes) for label in record.labels)
        assert record.uri is not None
        file = Path(record.uri if dataset.signals is None else record.uri.rpartition("#")[0])
        assert file.is_absolute()
        assert file.is_file()
        assert {box["label"] for box in record.boxes} <= set(record.labels)
        assert all(box["x_min"] < box["x_max"] and box["y_min"] < box["y_max"] for box in record.boxes)


def test_its_files_pass_the_check(case: tuple[str, Path]) -> None:
    dataset = build(*case).load()
    assert [str(finding) for finding in check(dataset) if finding.severity == "error"] == []


def test_loading_twice_gives_the_same(case: tuple[str, Path]) -> None:
    first, second = build(*case).load(), build(*case).load()
    assert first.ids == second.ids
    assert first.table.equals(second.table)
    assert hash_contents(first).fingerprint == hash_contents(second).fingerprint


def test_the_fingerprint_does_not_depend_on_where_the_data_lies(case: tuple[str, Path], tmp_path: Path) -> None:
    name, root = case
    first = hash_contents(build(name, root).load())
    moved = tmp_path / "elsewhere" / "data"
    moved.parent.mkdir()
    shutil.move(root, moved)
    for link in [path for path in moved.rglob("*") if path.is_symlink()]:
        target = Path(str(link.readlink()).replace(str(root), str(moved)))
        link.unlink()
        link.symlink_to(target)
    second = hash_contents(build(name, moved).load())
    converted = all(not str(uri).startswith(str(root)) for uri in first.uris)
    assert converted or first.uris != second.uris
    assert first.fingerprint == second.fingerprint


def test_it_pickles(case: tuple[str, Path]) -> None:
    """Sources cross into worker processes."""
    source = build(*case)
    assert pickle.loads(pickle.dumps(source)).load().ids == source.load().ids


@pytest.mark.parametrize("name", [name for name in SOURCES.names() if CASES[name][0] is not None])
def test_an_empty_or_absent_folder_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for folder in ("empty", "nowhere"):
        with pytest.raises(DataError) as caught:
            build(name, tmp_path / folder).load()
        assert str(tmp_path / folder) in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", SOURCES.names())
def test_its_arguments_are_spelt_out(name: str) -> None:
    """The arguments are the configuration: keyword-only after the root, described, none swallowed by `**kwargs`."""
    first, *rest = inspect.signature(SOURCES.parts[name]).parameters.values()
    assert first.name == "root"
    assert {argument.kind for argument in rest} == {inspect.Parameter.KEYWORD_ONLY}
    assert SOURCES.describe()[name].endswith(".")


@pytest.mark.parametrize("name", SOURCES.names())
def test_an_unknown_key_is_refused_before_anything_is_read(name: str) -> None:
    (line,) = SOURCES.problems(name, {"root": "x", "labls": 1})
    assert "unknown key `data.labls`" in line


def test_no_source_is_missing_from_the_catalogue() -> None:
    found = set()
    for module in pkgutil.iter_modules(ringlight.data.__path__, "ringlight.data."):
        members = vars(importlib.import_module(module.name)).items()
        found |= {
            value
            for key, value in members
            if inspect.isclass(value) and value.__module__ == module.name and key.endswith("Source") and key[0] != "_"
        }
    assert found == set(SOURCES.parts.values())
