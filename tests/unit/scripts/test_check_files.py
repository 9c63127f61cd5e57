"""The check of files before a commit."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SCRIPT = runpy.run_path(str(ROOT / "scripts" / "check_files.py"))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.py", b"x = 1", "expected one newline at the end"),
        ("a.py", b"x = 1\n\n", "expected one newline at the end"),
        ("a.md", b"text \nmore\n", "a.md:1: expected no blanks at the end of the line"),
        ("a.py", b"<<<<<<< HEAD\n", "a.py:1: expected a finished merge"),
        ("a.yaml", b"a: [1\n", "a.yaml: expected YAML, got while parsing a flow sequence"),
        ("a.png", bytes(500_001), "expected at most 500000 bytes, got 500001"),
    ],
)
def test_each_fault_is_named_with_its_file(tmp_path, capsys, name, content, said):
    path = tmp_path / name
    path.write_bytes(content)
    assert SCRIPT["main"]([str(path)]) == 1
    assert said in capsys.readouterr().out.replace(f"{tmp_path}/", "")


@pytest.mark.parametrize("content", [b"a: 1\n---\nb: 2\n", b"", b"\x89PNG\0 \n\n"])
def test_sound_files_pass_in_silence(tmp_path, capsys, content):
    path = tmp_path / "a.yaml"
    path.write_bytes(content)
    assert SCRIPT["main"]([str(path)]) == 0
    assert capsys.readouterr().out == ""
