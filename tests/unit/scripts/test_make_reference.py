"""The generated pages follow the code."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "scripts" / "make_reference.py"


@pytest.fixture(scope="module")
def make_reference():
    spec = importlib.util.spec_from_file_location("make_reference", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", ["configuration.md", "parts.md"])
def test_a_committed_page_is_what_the_code_says(make_reference, page: str) -> None:
    text = make_reference.reference_page() if page == "configuration.md" else make_reference.parts_page()
    assert (make_reference.FOLDER / page).read_text(encoding="utf-8") == text, "stale: run `make docs`"


def test_every_part_is_listed_with_its_own_parameters_only(make_reference) -> None:
    text = make_reference.parts_page()
    for _, catalogue, _ in make_reference.CATALOGUES:
        for name in catalogue:
            assert f"### {name}\n" in text
    focal = text.partition("### focal_loss\n")[2].partition("###")[0]
    assert "| `gamma` | float | `2.0` |" in focal
    assert "class_counts" not in focal  # the engine supplies it


def test_the_sizes_of_models_stand_on_the_page(make_reference) -> None:
    text = make_reference.parts_page().partition("## Models\n")[2].partition("###")[0]
    assert "| `convnext_tiny_cbam` | images | 27,915,560 |" in text
    assert "| `inception_time` | windows | 491,716 |" in text
