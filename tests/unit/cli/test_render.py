"""What the command line prints: tables, numbers, JSON, and a progress bar on a terminal alone."""

from __future__ import annotations

import io
import json
import logging
import math
from collections.abc import Callable

import pytest

from ringlight.cli.render import print_json, print_table, print_verdict, shown, training_progress
from ringlight.runtime import LOGGER, configure_logging
from ringlight.training.callbacks import preparing
from ringlight.training.fold_control import FoldControl


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (0.0, "0.000"),
        (1.0, "1.000"),
        (0.98765, "0.988"),
        (-2.5, "-2.500"),
        (12345.6789, "12345.679"),
        (0.0001, "0.0001"),
        (2e-05, "2e-05"),
        (7, "7"),
        (True, "True"),
        ("x", "x"),
        (math.nan, "nan"),
        ([1, 2], "[1, 2]"),
    ],
)
def test_values_are_shown_shortly_and_small_numbers_are_not_lost(value: object, text: str) -> None:
    """A learning rate of 2e-05 once read 0.000."""
    assert shown(value) == text


def test_a_table_is_aligned_and_never_cut(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """At 80 columns, which a pipe has, long run names were once folded over several lines."""
    monkeypatch.setenv("COLUMNS", "20")
    long = "a-run-with-a-long-name-" * 8
    print_table(("run", "größe", "share", "n"), [(long, 0.5, "7.0%", 1), ("b", None, "", 200)], title="runs")
    assert capsys.readouterr().out.splitlines() == [
        "runs",
        f"{'run'.ljust(len(long))}  größe  share    n",
        f"{long}  0.500   7.0%    1",
        f"{'b'.ljust(len(long))}      -         200",
    ]


def test_wide_characters_keep_the_columns_straight(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("class", "n"), [("划痕", 1), ("Riß", 22)])
    assert capsys.readouterr().out == "class   n\n划痕    1\nRiß    22\n"


def test_a_table_without_rows_is_its_header(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("a", "b"), [])
    assert capsys.readouterr().out == "a  b\n"


def test_square_brackets_are_text(capsys: pytest.CaptureFixture[str]) -> None:
    """A class called `[red]` once vanished as a colour."""
    print_table(("class",), [("[red]dent[/red]",)], title="[bold]")
    assert capsys.readouterr().out == "[bold]\nclass\n[red]dent[/red]\n"


def test_json_is_one_document_and_refuses_what_json_does_not_know(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"größe": None})
    out = capsys.readouterr().out
    assert json.loads(out) == {"größe": None}
    assert "größe" in out
    with pytest.raises(ValueError, match="Out of range float"):
        print_json({"loss": math.nan})


def test_a_verdict_shows_what_is_unknown_as_a_dash(capsys: pytest.CaptureFixture[str]) -> None:
    scores = {"precision": 0.5, "recall": 1.0, "f1": 2 / 3, "auroc": None, "ap": None, "support": 0}
    test = {
        "per_class": {"dent": scores},
        "scalars": {"macro_f1": 2 / 3, "accuracy": None, "subset_accuracy": 1.0},
        "notes": ["class `dent` has no example"],
    }
    split = {"parts": {"test": {"num_records": 3, "num_groups": None, "class_counts": {"dent": 0}}}}
    print_verdict({"test": test, "judged_part": "test", "model": {"name": "resnet10t"}, "split": split}, "ws/runs/x")
    assert capsys.readouterr().out.splitlines() == [
        "test part, resnet10t",
        "class  precision  recall     f1  auroc  ap  support",
        "dent       0.500   1.000  0.667      -   -        0",
        "macro_f1 0.667  subset_accuracy 1.000",
        "note: class `dent` has no example",
        "Macro-F1 is 0.67 on 3 records of the test data.",
        "dent has no example in the judged data: nothing is known of it.",
        "run: ws/runs/x",
    ]


def test_no_bar_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with training_progress() as control:
        assert control is None
    assert capsys.readouterr() == ("", "")


def test_a_terminal_gets_a_bar_and_log_lines_stay_whole(open_terminal: Callable[[], io.StringIO]) -> None:
    """Log lines once tore the bar apart: they were written past it."""
    terminal = open_terminal()
    before = list(LOGGER.handlers)
    configure_logging()
    try:
        with training_progress() as control:
            assert control is not None
            said = {"epoch": 1, "num_epochs": 3, "done": 5, "total": 12, "images_per_second": 47.11, "eta": 3725.4}
            assert control.heartbeat(said) == "go"
            logging.getLogger("ringlight").info("epoch 1/3  val macro_f1 [0.9]")
        own = [handler for handler in LOGGER.handlers if getattr(handler, "ringlight_console", False)]
        assert [handler.stream for handler in own] == [terminal]  # type: ignore[attr-defined]
    finally:
        LOGGER.handlers[:] = before
    text = terminal.getvalue()
    assert "epoch 2/3" in text
    assert "47.1 images/s" in text
    assert " 5/12" in text
    assert "ETA 1:02:05" in text
    assert "val macro_f1 [0.9]" in text


def test_a_bar_follows_the_images_that_are_prepared_too(open_terminal: Callable[[], io.StringIO]) -> None:
    """What was told while features were computed lacked the rate: on a terminal `ringlight train frozen` broke off."""
    terminal = open_terminal()
    with training_progress() as control:
        assert control is not None
        preparing(control)(256, 1800)
    assert "256/1800" in terminal.getvalue()


def test_the_bar_calls_windows_windows(open_terminal: Callable[[], io.StringIO]) -> None:
    """A training on sensor data counted images."""
    terminal = open_terminal()
    with training_progress() as control:
        assert control is not None
        preparing(control, windows=True)(256, 1800)
    assert " windows/s" in terminal.getvalue()
    assert "images" not in terminal.getvalue()


def test_no_rate_is_told_where_nothing_is_counted(open_terminal: Callable[[], io.StringIO]) -> None:
    """Between two folds the bar of a cross-validation of windows told "0.0 images/s" for as long as a fit took."""
    terminal = open_terminal()
    with training_progress() as control:
        assert control is not None
        FoldControl(control, 20).before(19)
    assert "fold 20/20" in terminal.getvalue()
    assert "/s" not in terminal.getvalue()
