"""`ringlight models`: what it prints, in words and as JSON, and how it refuses."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ringlight.cli.main import main

MakeRun = Callable[..., Path]


@pytest.fixture(autouse=True)
def _own_logging(own_logging: None) -> None:
    """Every test here runs the command line."""


@pytest.fixture
def run(
    tmp_path: Path, make_finished: MakeRun, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, str, str]]:
    """Run `ringlight models ...` in a workspace with three finished runs; return code, output and errors."""
    monkeypatch.setenv("RINGLIGHT_WORKSPACE", str(tmp_path))
    for number, misses in enumerate(({"crack": 20}, {}, {"scratch": 20}), 1):
        make_finished(tmp_path, f"strips-{number}", misses)

    def do(*arguments: str) -> tuple[int, str, str]:
        code = main(["models", *arguments])
        said = capsys.readouterr()
        return code, said.out, said.err

    return do


def values(answer: tuple[int, str, str]) -> Any:
    code, out, err = answer
    assert (code, err) == (0, "")
    return json.loads(out)


def test_a_models_life_in_words(run: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    code, out, err = run("register", "strips-1", "--who", "kim")
    assert (code, err) == (0, "")
    assert out.startswith("strips@1: 2")
    assert out.endswith("_macro_f1_0.83, defect, in models/defect/strips/v1\n")
    for number in (2, 3):
        run("register", f"strips-{number}", "--description", "new lamp")
    _, out, _ = run("activate", "strips", "1", "--who", "kim", "--why", "first")
    assert out == "strips@1 is active (none was before), by kim\n"
    assert run("activate", "strips", "1")[1] == "strips@1 is active already\n"
    _, out, _ = run("activate", "strips", "2", "--gate", "--who", "kim")
    lines = out.splitlines()
    assert lines[:3] == [
        "strips@2 is active (before: strips@1), by kim",
        "gate: passed against strips@1, 120 records judged by both",
        "recall of  difference    low   high  records",
    ]
    assert lines[3].split()[:2] == ["crack", "0.500"]
    code, out, err = run("activate", "strips", "3", "--gate", "--guard", "scratch")
    assert (code, out) == (2, "")
    assert err.startswith("strips@3: expected no guarded class worse than with strips@2, got recall of `scratch` is")
    assert err.count("\n") == 1
    _, out, _ = run("list")
    assert [line.split()[:3] for line in out.splitlines()] == [
        ["name", "version", "active"], ["strips", "3", "defect"], ["strips", "2", "yes"], ["strips", "1", "defect"],
    ]  # fmt: skip
    _, out, _ = run("show", "strips")
    assert "run: strips-2" in out
    assert "classes: crack, good, scratch" in out
    assert out.splitlines()[-2].split()[2:] == ["activate", "1", "2", "kim", "passed", "-"]
    _, out, _ = run("compare", "strips", "1", "2")
    assert "`strips@2` is better in recall of `crack` by 0.500 [" in out
    assert run("rollback", "strips", "--who", "kim")[1] == "strips@1 is active (before: strips@2), by kim\n"
    assert run("deactivate", "strips", "--who", "kim")[1] == "no version is active (before: strips@1), by kim\n"
    _, out, _ = run("delete", "strips", "1", "--dry-run")
    assert out.splitlines()[1].startswith("models/defect/strips/v1/bundle.json")
    assert out.splitlines()[-2].startswith("2 files, ")
    assert out.splitlines()[-1] == "nothing was deleted"
    assert run("delete", "strips", "1", "--yes")[1].endswith("deleted strips@1\n")
    assert not (tmp_path / "models/defect/strips/v1").exists()


def test_everything_as_json(run: Callable[..., tuple[int, str, str]]) -> None:
    assert values(run("list", "--json")) == []
    assert values(run("register", "strips-1", "--name", "tiles", "--kind", "view", "--json"))["kind"] == "view"
    values(run("register", "strips-2", "--name", "tiles", "--kind", "view", "--json"))
    assert values(run("activate", "tiles", "1", "--json"))["to_version"] == 1
    assert values(run("activate", "tiles", "2", "--gate", "--json"))["gate"]["passed"]
    assert values(run("rollback", "tiles", "--json"))["action"] == "rollback"
    assert values(run("compare", "tiles", "1", "active", "--json"))["second"]["version"] == 1
    shown = values(run("show", "tiles", "2", "--json"))
    assert shown == values(run("show", "tiles@2", "--json"))
    assert (shown["version"], len(shown["activations"])) == (2, 3)
    assert values(run("delete", "tiles", "2", "--dry-run", "--json"))["deleted"] is False
    assert values(run("delete", "tiles", "2", "--yes", "--json"))["deleted"] is True
    assert values(run("deactivate", "tiles", "--json"))["to_version"] is None
    assert [one["version"] for one in values(run("list", "--name", "tiles", "--kind", "view", "--json"))] == [1]
    assert values(run("list", "--active", "--json")) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("show", "nosuch"), "models: expected a registered model, got `nosuch`; there is none yet: ringlight models"),
        (("list", "--kind", "x"), "--kind: expected a kind of model, got `x`; choose from: detection, view, defect"),
        (("register", "strips-1", "--name", "../x"), "--name: expected a name of 1 to 100 letters"),
        (("register", "nosuch"), "which names 0; name one of them"),
        (("rollback", "nosuch"), "models: expected a registered model, got `nosuch`"),
    ],
)
def test_mistakes_are_one_line(run: Callable[..., tuple[int, str, str]], arguments: Any, message: str) -> None:
    code, out, err = run(*arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 2), (None, 2)])
def test_a_deletion_asks(
    run: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch, answer: str | None, code: int
) -> None:
    run("register", "strips-1")
    source = io.StringIO(answer or "")
    monkeypatch.setattr(source, "isatty", lambda: answer is not None, raising=False)
    monkeypatch.setattr(sys, "stdin", source)
    found, out, err = run("delete", "strips", "1")
    assert found == code
    assert "models/defect/strips/v1/bundle.json" in out  # listed first
    told = {"y\n": "", "n\n": "strips@1: expected yes, got no; nothing was deleted\n"}
    assert err == told.get(
        str(answer), "ringlight models delete: expected --yes, got nobody to ask; look with --dry-run first\n"
    )
    assert len(values(run("list", "--json"))) == (0 if code == 0 else 1)
