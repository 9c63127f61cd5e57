"""The command line's manners: exit codes, one line a mistake, JSON alone on standard output."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ringlight.cli.main import main
from ringlight.errors import InterruptedRunError, Problems, TrainingError
from ringlight.runtime import LOGGER
from ringlight.services import runs

Ends = Callable[[BaseException], None]
GROUPS: list[list[str]] = [[], ["data"], ["models"], ["runs"], ["jobs"]]
COMMANDS: list[list[str]] = [[], ["demo"], ["train"], ["predict"], ["evaluate"], ["compare"], ["doctor"], ["data"]]
COMMANDS += [["data", name] for name in ("stats", "check", "split", "preview")]
VERSIONS = ("list", "show", "register", "activate", "rollback", "deactivate", "compare", "delete")
COMMANDS += [["models"], *(["models", name] for name in VERSIONS)]
COMMANDS += [
    ["runs"],
    *(["runs", name] for name in ("list", "show", "log", "compare", "resume", "reproduce", "import")),
]
JOBS = ("submit", "list", "show", "follow", "pause", "resume", "cancel", "retry")
COMMANDS += [["jobs"], *(["jobs", name] for name in JOBS), ["worker"]]


@pytest.fixture(autouse=True)
def _own_logging(own_logging: None) -> None:
    """Every test here may run the command line."""


@pytest.fixture
def training_ends_with(monkeypatch: pytest.MonkeyPatch) -> Ends:
    def patch(error: BaseException) -> None:
        def train(*_: Any, **__: Any) -> None:
            logging.getLogger("ringlight").debug("the run failed", exc_info=error)
            raise error

        monkeypatch.setattr(runs, "train", train)

    return patch


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (Problems(["a: expected b, got c; d", "e: expected f, got g; h"]), 2, "a: expected b, got c; d\ne: expected f"),
        (TrainingError("a finite loss", got="nan", where="epoch 1", fix="lower lr"), 1, "epoch 1: expected a finite"),
        (InterruptedRunError("the end", got="Ctrl-C", where="run", fix="resume it"), 130, "got Ctrl-C; resume it"),
        (KeyboardInterrupt(), 130, ""),
        (ZeroDivisionError("a\nb"), 1, "internal error: ZeroDivisionError: a b; run again with --debug"),
        (OSError(5, "Input/output error"), 1, "internal error: OSError"),
    ],
    ids=["user", "fault", "interrupted", "ctrl-c", "bug", "disk"],
)
@pytest.mark.parametrize("verbose", [[], ["-v"]], ids=["quiet", "verbose"])
def test_each_end_has_its_exit_code_and_no_traceback(
    training_ends_with: Ends,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    code: int,
    message: str,
    verbose: list[str],
) -> None:
    training_ends_with(error)
    assert main(["train", "demo", *verbose]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err
    assert "Traceback" not in captured.err


@pytest.mark.parametrize("place", [0, 1, 2], ids=["first", "middle", "last"])
def test_debug_shows_the_traceback_wherever_it_stands(training_ends_with: Ends, place: int) -> None:
    for error in (ZeroDivisionError("a bug"), Problems(["a: expected b, got c; d"])):
        training_ends_with(error)
        words = ["train", "demo"]
        words.insert(place, "--debug")
        with pytest.raises(type(error)):
            main(words)


@pytest.mark.parametrize("words", [["-v", "train", "demo"], ["train", "-v", "demo"], ["train", "demo", "--verbose"]])
def test_verbose_is_heard_wherever_it_stands(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    def train(*_: Any, **__: Any) -> Any:
        LOGGER.debug("a detail")
        LOGGER.info("a line")
        raise Problems(["a: expected b, got c; d"])

    monkeypatch.setattr(runs, "train", train)
    main(words)
    assert capsys.readouterr().err == "a detail\na line\na: expected b, got c; d\n"
    main(["train", "demo"])
    assert capsys.readouterr().err == "a line\na: expected b, got c; d\n"


@pytest.mark.parametrize("command", [[], ["data"]])
def test_a_command_is_asked_for(capsys: pytest.CaptureFixture[str], command: list[str]) -> None:
    assert main(command) == 2
    assert "Usage: ringlight" in "".join(capsys.readouterr())


@pytest.mark.parametrize("command", COMMANDS, ids=lambda words: "-".join(words) or "ringlight")
def test_every_command_explains_itself_within_80_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main([*command, "--help"]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"Usage: {' '.join(['ringlight', *command])} ")
    examples = [line for line in text.splitlines() if line.strip().startswith("ringlight ")]
    assert [line for line in text.splitlines() if len(line) > 80 and line not in examples] == []
    if command in GROUPS:
        assert "..." not in text.partition("Commands:")[2]  # no sentence is cut off
    if command not in GROUPS:
        assert "--json" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trian"], "No such command 'trian'"),
        (["train", "demo", "--num-epochs", "3"], "No such option: --num-epochs"),
        (["evaluate"], "Missing argument"),
        (["data", "preview", "demo", "--num-samples", "0"], "Input should be greater than or equal to 1"),
    ],
)
def test_a_mistyped_command_ends_with_2_and_names_the_help(
    capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert main(words) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err
    assert "--help' for help" in captured.err


def test_resume_stands_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "loss.gamma=2", "--resume", "x", "--config", "c.yaml"]) == 2
    assert capsys.readouterr().err == (
        "ringlight train: expected --resume RUN alone, got loss.gamma=2 --config c.yaml; "
        "a resumed run keeps its configuration; leave the rest out\n"
    )


def test_what_train_is_told_reaches_the_service(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Without a recipe's name the first override was once taken for one."""
    asked: list[Any] = []

    def train(recipe: str | None, overrides: list[str], **options: Any) -> Any:
        asked.append((recipe, overrides, options["file"], options["workspace"]))
        return SimpleNamespace(folder=tmp_path, results={"score": 1.0})

    monkeypatch.setattr(runs, "train", train)
    monkeypatch.setattr(runs, "resume", lambda run, **_: SimpleNamespace(folder=tmp_path / run, results={}))
    for words in (
        ["train", "demo", "loss.gamma=2", "--json"],
        ["train", "loss.gamma=2", "--config", "c.yaml", "--workspace", "ws", "--json"],
        ["demo", "loss.gamma=2", "--json"],
    ):
        assert main(words) == 0
        assert json.loads(capsys.readouterr().out) == {"score": 1.0, "folder": str(tmp_path)}
    assert main(["train", "--resume", "r", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"folder": str(tmp_path / "r")}
    assert asked == [
        ("demo", ["loss.gamma=2"], None, None),
        (None, ["loss.gamma=2"], Path("c.yaml"), Path("ws")),
        ("demo", ["loss.gamma=2"], None, None),
    ]


def test_a_reader_that_leaves_early_is_no_error(tmp_path: Path) -> None:
    """`ringlight data stats X | head -1` must not end in a BrokenPipeError."""
    rows = "\n".join(f"r{number},class {number}" for number in range(5000))
    (tmp_path / "t.csv").write_text(f"id,label\n{rows}\n")
    command = [sys.executable, "-m", "ringlight", "data", "stats", str(tmp_path / "t.csv")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == ""
    process.stderr.close()
    process.wait(60)
