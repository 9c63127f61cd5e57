"""`ringlight runs`: what is printed, and with which exit code it ends."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ringlight.cli.main import main
from ringlight.services import reproduce, runs
from ringlight.services.imports import import_runs
from ringlight.services.reproduce import Reproduction
from ringlight.services.reproduced import Difference
from ringlight.services.stores import open_store

MakeFinished = Callable[..., Path]
Out = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _own_logging(own_logging: None) -> None:
    """Every test here may run the command line."""


@pytest.fixture
def workspace(make_finished: MakeFinished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    rows = [{"epoch": 0, "train/loss": 0.5}, {"epoch": 1, "train/loss": 0.25, "val/macro_f1": 0.75}]
    first = make_finished(tmp_path, "strips-20260301-120000-aaaa", history=rows)
    make_finished(tmp_path, "strips-20260302-120000-bbbb", {"crack": 20})
    (first / "train.log").write_text("one\ntwo\n")
    import_runs(tmp_path)
    monkeypatch.setenv("RINGLIGHT_WORKSPACE", str(tmp_path))
    return tmp_path


def said(capsys: Out, *arguments: str, code: int = 0) -> str:
    capsys.readouterr()
    assert main(["runs", *arguments]) == code
    return capsys.readouterr().out


def test_runs_are_listed_as_a_table_and_as_json(workspace: Path, capsys: Out) -> None:
    lines = said(capsys, "list", "--metric", "macro_f1", "--at-most", "0.9").splitlines()
    assert lines[0].split() == [
        "run",
        "kind",
        "status",
        "recipe",
        "metric",
        "score",
        "started",
        "(UTC)",
        "took",
        "device",
    ]
    assert lines[1].startswith("strips-20260302-120000-bbbb  train  completed  folder  macro_f1  0.8")
    assert "2026-03-02 12:00" in lines[1]
    assert len(lines) == 2
    cards = json.loads(said(capsys, "list", "--json", "--limit", "1"))
    assert [card["metrics"]["macro_f1"] for card in cards] == [cards[0]["score"]]
    assert main(["runs", "list", "--metric", "macro_f2"]) == 2
    assert "did you mean `macro_f1`?" in capsys.readouterr().err
    assert json.loads(said(capsys, "list", "--json", "--workspace", str(workspace / "new"))) == []


def test_a_run_is_told(workspace: Path, capsys: Out) -> None:
    text = said(capsys, "show", "strips-20260301")
    assert "status         completed\n" in text
    assert "epochs         2\n" in text
    lines = [line.split() for line in text.splitlines()]
    assert ["data.root", "-", "parts"] in lines
    assert ["train.log", "log", "8", "B"] in lines
    told = json.loads(said(capsys, "show", "strips-20260301", "--json"))
    assert told["scores"]["macro_f1"] == {"value": 1.0, "interval": None}


def test_log_and_epochs_are_printed(workspace: Path, capsys: Out) -> None:
    assert said(capsys, "log", "strips-20260301", "--lines", "1") == "two\n"
    assert said(capsys, "log", "strips-20260301", "--epochs").splitlines() == [
        "epoch  train/loss  val/macro_f1", "    1       0.500             -", "    2       0.250         0.750",
    ]  # fmt: skip
    assert json.loads(said(capsys, "log", "strips-20260301", "--epochs", "--json"))[0] == {
        "epoch": 0,
        "train/loss": 0.5,
    }
    said(capsys, "log", "strips-20260301", "--json", code=2)


def test_runs_are_compared_with_all_that_was_set_differently(workspace: Path, capsys: Out) -> None:
    config = workspace / "runs" / "strips-20260302-120000-bbbb" / "config.yaml"
    config.write_text(config.read_text().replace("seed: 42", "seed: 43"))
    import_runs(workspace)
    text = said(capsys, "compare", "strips-20260301", "strips-20260302")
    assert "against `strips-20260301-120000-aaaa`" in text
    assert text.splitlines()[-1].split() == ["experiment.seed", "42", "43"]
    told = json.loads(said(capsys, "compare", "strips-20260301", "strips-20260302", "--json"))
    assert list(told["configuration"]) == ["experiment.seed"]


def test_each_kind_of_run_is_gone_on_with_in_its_way(
    workspace: Path, capsys: Out, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ringlight.cli import runs as command
    from ringlight.services import crossval, tune

    gone_on: list[tuple[str, str]] = []
    found = SimpleNamespace(results={"x": 1}, folder=Path("f"), study={"x": 1})

    def go_on(kind: str) -> Callable[..., Any]:
        def service(*given: Any, **options: Any) -> Any:
            run = options.get("resume") or given[0]
            gone_on.append((kind, Path(run).name))
            return found

        return service

    monkeypatch.setattr(runs, "resume", go_on("train"))
    monkeypatch.setattr(crossval, "resume", go_on("crossval"))
    monkeypatch.setattr(tune, "tune", go_on("tune"))
    names = {"train": "strips-20260301-120000-aaaa", "crossval": "strips-20260302-120000-bbbb", "tune": "studies/lr"}
    with open_store(workspace) as store, store.writing() as unit:
        unit.runs.change(names["crossval"], kind="crossval")
        row = unit.runs.get(names["train"])
        assert row is not None
        unit.runs.add(type(row)(name="studies/lr", path="studies/lr", kind="tune", config={}))
    for kind in names:
        assert json.loads(said(capsys, "resume", names[kind], "--json"))["x"] == 1
    assert gone_on == [(kind, Path(name).name) for kind, name in names.items()]
    monkeypatch.setattr(command, "print_verdict", lambda *_: print("verdict"))
    assert said(capsys, "resume", "strips-20260301") == "verdict\n"


@pytest.mark.parametrize(("reasons", "code"), [((), 1), (("a GPU",), 0)], ids=["promised", "not promised"])
def test_a_broken_promise_ends_with_1(
    workspace: Path, capsys: Out, monkeypatch: pytest.MonkeyPatch, reasons: tuple[str, ...], code: int
) -> None:
    difference = Difference(part="weights", num_compared=2, num_different=1, largest=0.5, where="fc")
    found = Reproduction(run="a", again="b", folder=Path("b"), differences=[difference], reasons=reasons)
    monkeypatch.setattr(reproduce, "reproduce", lambda *_, **__: found)
    text = said(capsys, "reproduce", "a", code=code)
    assert text.startswith("weights: 1 of 2 differ, by 0.5 at most (fc)\na: ")
    assert text.endswith("run: b\n")
    assert json.loads(said(capsys, "reproduce", "a", "--json", code=code))["broken"] is (code == 1)


def test_what_cannot_be_taken_in_ends_with_1(workspace: Path, make_finished: MakeFinished, capsys: Out) -> None:
    make_finished(workspace, "old")
    assert said(capsys, "import").splitlines() == ["added: old", "1 added, 0 updated, 0 refused"]
    (workspace / "runs" / "old" / "manifest.json").write_text("{")
    assert "0 added, 0 updated, 1 refused" in said(capsys, "import", code=1)
    assert len(json.loads(said(capsys, "import", "--json", code=1))["refused"]) == 1


def test_a_run_is_deleted_only_when_somebody_said_so(
    workspace: Path, capsys: Out, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = workspace / "runs" / "strips-20260301-120000-aaaa"
    listed = said(capsys, "delete", "strips-20260301", "--dry-run")
    assert "runs/strips-20260301-120000-aaaa/train.log" in listed
    assert "7 files, " in listed
    assert "rows: 1 in training_history, 2 in epoch_metrics, 6 in artifacts" in listed
    assert main(["runs", "delete", "strips-20260301"]) == 2
    assert "delete strips-20260301-120000-aaaa: expected --yes where nobody can be asked" in capsys.readouterr().err

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal("n\n"))
    said(capsys, "delete", "strips-20260301", code=1)
    assert folder.is_dir()
    monkeypatch.setattr(sys, "stdin", Terminal("y\n"))
    assert said(capsys, "delete", "strips-20260301").endswith("deleted: strips-20260301-120000-aaaa\n")
    assert not folder.exists()
    told = json.loads(said(capsys, "delete", "strips-20260302", "--yes", "--json"))
    assert (told["deleted"], told["rows"]["training_history"]) == (True, 1)
    assert list((workspace / "runs").iterdir()) == []
