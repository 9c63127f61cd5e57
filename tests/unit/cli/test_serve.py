"""`ringlight serve` and `ringlight keys`: who may reach a server is decided before it begins."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ringlight.cli.main import main
from ringlight.web.serving import server
from ringlight.web.serving.settings import Settings

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def _own_logging(own_logging: None) -> None:
    """Every test here runs the command line."""


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("RINGLIGHT_WORKSPACE", str(tmp_path))

    def do(*arguments: str) -> tuple[int, str, str]:
        code = main(list(arguments))
        said = capsys.readouterr()
        return code, said.out, said.err

    return do


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """What a server would have been asked to be; none begins."""
    asked: list[Settings] = []
    monkeypatch.setattr(server, "serve", asked.append)
    return asked


def test_on_this_machine_nobody_needs_a_key(run: Run, served: list[Settings], tmp_path: Path) -> None:
    assert run("serve", "strips", "air=air_leak@2", "--port", "0", "--max-batch", "4")[0] == 0
    (settings,) = served
    assert (settings.models, settings.host, settings.port, settings.keys) == (
        ("strips", "air=air_leak@2"), "127.0.0.1", 0, None,
    )  # fmt: skip
    assert (settings.max_batch, settings.workers, settings.samples) == (4, 1, None)


def test_a_server_that_others_reach_needs_keys_or_a_word(run: Run, served: list[Settings], tmp_path: Path) -> None:
    code, _, err = run("serve", "strips", "--host", "0.0.0.0")
    assert code == 2
    assert "--host 0.0.0.0: expected API keys, since others can reach this address, got none; make one: " in err
    assert run("serve", "strips", "--host", "0.0.0.0", "--no-auth")[0] == 0
    run("keys", "add", "line-2")
    assert run("serve", "strips", "--host", "0.0.0.0")[0] == 0
    assert [settings.keys for settings in served] == [None, tmp_path / "serve_keys.json"]
    run("keys", "remove", "line-2")
    code, _, err = run("serve", "strips", "--host", "0.0.0.0")
    assert (code, "expected at least one API key, got none" in err) == (2, True)
    code, _, err = run("serve", "strips", "--no-auth", "--keys", "k.json")
    assert (code, "expected --keys FILE or --no-auth, got both" in err) == (2, True)
    code, _, err = run("serve", "strips", "--keys", str(tmp_path / "k.json"))
    assert (code, "got no such file; make one: ringlight keys add NAME" in err) == (2, True)


def test_a_keys_life(run: Run, tmp_path: Path) -> None:
    _, key, _ = run("keys", "add", "line-2")
    assert key.startswith("rl_")
    made: dict[str, Any] = json.loads(run("keys", "add", "line-3", "--json")[1])
    assert (made["name"], made["file"]) == ("line-3", str(tmp_path / "serve_keys.json"))
    assert [one["name"] for one in json.loads(run("keys", "list", "--json")[1])] == ["line-2", "line-3"]
    assert key.strip() not in run("keys", "list")[1]
    code, out, _ = run("keys", "remove", "line-2")
    assert (code, out.startswith("line-2: its key opens nothing any more")) == (0, True)
    assert run("keys", "add", "line 2")[0] == 2
