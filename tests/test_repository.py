"""The files around the code agree with each other: requirements, constraints, make targets, decision records."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = Path(__file__).resolve().parents[1]
PYPROJECT = (PROJECT / "pyproject.toml").read_text(encoding="utf-8")
METADATA = tomllib.loads(PYPROJECT)["project"]
CONSTRAINTS = [
    line for line in (PROJECT / "constraints.txt").read_text(encoding="utf-8").splitlines() if line and line[0] != "#"
]


def test_constraints_are_names_and_versions_only():
    """A frozen environment likes to name the folder or address a package came from, which is nobody else's."""
    assert [line for line in CONSTRAINTS if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.!+]+", line)] == []


@pytest.mark.parametrize("text", [*METADATA["dependencies"], *METADATA["optional-dependencies"]["dev"]])
def test_every_requirement_is_held_at_a_version_it_accepts(text):
    """A minimum above the newest release of the weight package once made every fresh installation impossible."""
    requirement = Requirement(text)
    held = {canonicalize_name(name): version for name, version in (line.split("==") for line in CONSTRAINTS)}
    assert held[canonicalize_name(requirement.name)] in requirement.specifier


def test_every_requirement_has_its_reason():
    everything = [
        *METADATA["dependencies"],
        *(line for extra in METADATA["optional-dependencies"].values() for line in extra),
    ]
    commented = [line for line in PYPROJECT.splitlines() if re.search(r'".*",?\]?\s+#\s*\S', line)]
    assert [text for text in everything if not any(f'"{text}"' in line for line in commented)] == []


def test_plain_make_lists_every_target():
    done = subprocess.run(["make"], cwd=PROJECT, capture_output=True, text=True, check=True)
    listed = re.findall(r"^  make (\S+) +\S", done.stdout, re.MULTILINE)
    assert listed == ["demo", "test", "test-slow", "check", "bench", "docs", "clean"]


def test_an_old_python_is_refused_before_anything_is_made(tmp_path):
    (tmp_path / "Makefile").write_text((PROJECT / "Makefile").read_text(encoding="utf-8"))
    for name in ("pyproject.toml", "constraints.txt"):
        (tmp_path / name).touch()
    old = tmp_path / "old-python"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.9.2 && exit 0\nexit 1\n')
    old.chmod(0o755)
    done = subprocess.run(["make", "demo", f"PYTHON={old}"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert f"{old}: expected Python 3.11 or newer, got Python 3.9.2; run: make PYTHON=python3.11 ..." in done.stderr
    assert not (tmp_path / ".venv").exists()


def test_every_decision_is_in_the_index():
    folder = PROJECT / "docs" / "adr"
    index = (folder / "README.md").read_text(encoding="utf-8")
    records = sorted(path.name for path in folder.glob("[0-9]*.md"))
    assert re.findall(r"\]\((\d{4}-[^)]+)\)", index) == records
    assert [name[:4] for name in records] == [f"{number:04}" for number in range(1, len(records) + 1)]
