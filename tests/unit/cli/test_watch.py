"""`ringlight watch`: the table, JSON, the exit code of an alarm, and what it refuses."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ringlight.cli.main import main
from ringlight.inference.watch_status import Alarm, FaultStatus, QuantityStatus, WatchStatus

ALARM = Alarm(quantity="input/brightness", side="lower", record=140, time="2026-11-29T08:00:00+00:00")


@pytest.fixture(autouse=True)
def _own_logging(own_logging: None) -> None:
    """Every test here runs the command line."""


def status(*alarms: Alarm) -> WatchStatus:
    light = QuantityStatus(
        name="input/brightness", kind="value", mean=0.5, low=0.25, high=0.75, recent=0.125, num_recent=140,
        evidence=1.0, psi=3.0, psi_limit=0.5, alarm=bool(alarms),
    )  # fmt: skip
    rate = QuantityStatus(
        name="rate/pit", kind="rate", mean=0.1, low=0.0, high=0.2, recent=None, num_recent=0, evidence=0.0, psi=None,
        psi_limit=None, alarm=False,
    )  # fmt: skip
    fault = FaultStatus(name="escape", faults=1, confirmed=50, rate=0.02, low=0.0005, high=0.1065, expected=0.01)
    return WatchStatus(
        model="strip@3", started="", records=140, run_length=1e6, block=10, quantities=(rate, light), faults=(fault,),
        alarms=alarms,
    )  # fmt: skip


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Put a watch that has seen what it has seen in the place of the service; return what it was asked."""
    from ringlight.services import watch, watch_server

    seen: dict[str, Any] = {"status": status()}

    def look(model: str, paths: Any, **options: Any) -> watch.Watched:
        seen.update(model=model, paths=paths, **options)
        return watch.Watched(status=seen["status"])

    monkeypatch.setattr(watch, "watch_model", look)
    monkeypatch.setattr(watch_server, "watch_server", lambda url: seen.update(url=url) or [seen["status"]])
    return seen


def test_a_quiet_line_in_words(asked: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["watch", "strip@3", "today", "--block", "20", "--state", "kept"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "strip@3: 140 records"
    assert lines[1].split() == [
        "quantity",
        "reference",
        "low",
        "high",
        "now",
        "PSI",
        "PSI",
        "limit",
        "evidence",
        "alarm",
    ]
    assert lines[2].split()[:5] == ["input/brightness", "0.500", "0.250", "0.750", "0.125"]
    assert lines[-2] == "escape: 1 of 50 confirmed, 0.0200 [0.0005, 0.1065]; 0.0100 when it was validated"
    assert lines[-1] == "no alarm"
    assert (asked["block"], str(asked["state"]), [str(path) for path in asked["paths"]]) == (20, "kept", ["today"])


def test_an_alarm_is_exit_code_4(asked: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    asked["status"] = status(ALARM)
    assert main(["watch", "strip@3", "today"]) == 4
    out = capsys.readouterr().out
    assert (
        "ALARM input/brightness: lower than the reference allows, since record 140 (2026-11-29T08:00:00+00:00)" in out
    )
    assert main(["watch", "strip@3", "today", "--json"]) == 4
    assert json.loads(capsys.readouterr().out)["alarms"][0]["quantity"] == "input/brightness"
    assert main(["watch", "--url", "http://127.0.0.1:8000", "--json"]) == 4
    assert json.loads(capsys.readouterr().out)[0]["records"] == 140
    assert asked["url"] == "http://127.0.0.1:8000"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ([], "ringlight watch: expected a model, or --url, got neither; name the model first"),
        (["m"], "ringlight watch: expected something to watch, got a model alone; name images, --results FILE or"),
        (
            ["m", "--take-reference", "r.json"],
            "--take-reference: expected records to take the reference from, got none",
        ),
        (["m", "p", "--url", "http://h"], "ringlight watch: expected --url without files, got PATH; leave them out"),
        (
            ["other", "--url", "http://h"],
            "http://h: expected a model that is watched there, got `other`; choose from: strip",
        ),
    ],
)
@pytest.mark.usefixtures("asked")
def test_what_cannot_be_is_told_in_a_line(words: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["watch", *words]) == 2
    assert line in capsys.readouterr().err
