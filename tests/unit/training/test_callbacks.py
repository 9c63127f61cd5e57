"""Around the steps: the epoch's row, the heartbeat, early stopping, and what a resume takes back."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from ringlight.errors import InterruptedRunError
from ringlight.training import callbacks
from ringlight.training.callbacks import EarlyStop, Heartbeat, Reporter
from ringlight.training.checkpoints import LAST, Keeper
from ringlight.training.progress import clock
from ringlight.training.task import ClassificationTask
from ringlight.training.trackers import QuietControl, QuietTracker
from ringlight.types import History, Prediction, Signal

MakeTask = Callable[..., ClassificationTask]


class Remembers(QuietTracker):
    """A tracker that keeps what it is told."""

    def __init__(self) -> None:
        self.metrics: list[tuple[int, dict[str, float]]] = []

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        self.metrics.append((step, dict(metrics)))


class Says:
    """A control that keeps the progress it is told, and answers or acts at one of its steps."""

    def __init__(self, answer: Signal = "go", at: int = 0, act: Callable[[], None] | None = None) -> None:
        self.answer = answer
        self.at = at
        self.act = act
        self.progress: list[dict[str, float]] = []

    def heartbeat(self, progress: Mapping[str, float]) -> Signal:
        self.progress.append(dict(progress))
        if len(self.progress) != self.at:
            return "go"
        if self.act is not None:
            self.act()
        return self.answer


def reporter(tracker: Any = None, told: list[Any] | None = None, num_epochs: int = 2) -> Reporter:
    def keep(history: History, validation: Prediction | None) -> None:
        if told is not None:
            told.append((len(history.rows), validation))

    return Reporter(tracker or QuietTracker(), keep, num_epochs)


@pytest.fixture
def part(make_rows: Any) -> Any:
    return make_rows([1.0, -1.0, 0.5, 0.2], [0, 1, 1, 0])


def test_every_epoch_gives_one_row_to_history_tracker_and_listener(
    make_task: MakeTask, run_trainer: Any, part: Any
) -> None:
    tracker, told = Remembers(), list[Any]()
    rows = reporter(tracker, told)
    run_trainer(make_task(lr=0.125), part, part, [rows])
    assert [row["epoch"] for row in rows.history.rows] == [0, 1]
    first = rows.history.rows[0]
    assert first["lr"] == 0.125
    assert {"train/loss", "val/loss", "val/macro_f1", "val/recall/a"} <= set(first)
    assert tracker.metrics[0] == (0, {name: value for name, value in first.items() if name != "epoch"})
    assert [count for count, _ in told] == [1, 2]
    assert told[0][1].logits.shape == (4, 2)


def test_the_rate_of_a_row_is_the_one_its_last_step_used(make_task: MakeTask, run_trainer: Any, part: Any) -> None:
    """A cosine ends at zero; read after the epoch's last step, the rate of the last row was 0."""
    rows = reporter()
    run_trainer(make_task(schedule="warmup_cosine"), part, None, [rows])
    assert rows.history.rows[0]["lr"] > rows.history.rows[1]["lr"] > 0


def test_a_training_without_validation_has_rows_without_scores(
    make_task: MakeTask, run_trainer: Any, part: Any
) -> None:
    rows = reporter()
    run_trainer(make_task(monitor=None), part, None, [rows])
    assert set(rows.history.rows[0]) == {"epoch", "lr", "train/loss"}


def test_the_line_of_an_epoch_tells_losses_monitor_and_time_left(
    make_task: MakeTask, run_trainer: Any, part: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="ringlight"):
        rows = reporter()
        run_trainer(make_task(), part, part, [rows, Heartbeat(QuietControl(), 2, 2, reporter=rows)])
    line = caplog.messages[-1]
    assert line.startswith("epoch 2/2  train loss 0.")
    assert "  val macro_f1 " in line
    assert line.endswith("about 0:00:00 left")


def test_rows_come_back_with_the_checkpoint(make_task: MakeTask, run_trainer: Any, part: Any, tmp_path: Path) -> None:
    whole, first, second = reporter(), reporter(), reporter()
    run_trainer(make_task(), part, part, [whole], num_epochs=3)
    run_trainer(make_task(), part, part, [first, Keeper(tmp_path, None)], num_epochs=2)
    run_trainer(make_task(), part, part, [second, Keeper(tmp_path, None)], num_epochs=3, resume=tmp_path / LAST)
    assert second.history.rows == whole.history.rows


def test_the_control_hears_how_far_the_run_is_after_every_step(
    make_task: MakeTask, run_trainer: Any, part: Any
) -> None:
    control = Says()
    rows = reporter()
    run_trainer(make_task(), part, part, [rows, Heartbeat(control, 2, 2, reporter=rows)])
    counted = [
        (step["epoch"], step["step"], step["num_steps"], step["done"], step["total"], step["validating"])
        for step in control.progress
    ]
    first, second = [(0, 1, 2, 1, 4), (0, 2, 2, 2, 4)], [(1, 1, 2, 3, 4), (1, 2, 2, 4, 4)]
    judged = [(*epoch[-1], 1) for epoch in (first, second)]
    assert counted == [
        *((*step, 0) for step in first),
        *[judged[0]] * 2,
        *((*step, 0) for step in second),
        *[judged[1]] * 2,
    ]
    assert all(step["images_per_second"] > 0 and step["eta"] >= 0 < step["elapsed"] for step in control.progress)
    assert [step["windows"] for step in control.progress] == [0.0] * 8
    assert control.progress[3]["train/loss"] == rows.history.rows[0]["train/loss"]
    assert ["val/macro_f1" in step for step in control.progress] == [False] * 4 + [True] * 4
    assert control.progress[4]["val/macro_f1"] == rows.history.rows[0]["val/macro_f1"]


def test_a_control_that_holds_a_run_has_paused_it(
    make_task: MakeTask, run_trainer: Any, part: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callbacks, "HELD", 0.01)
    started, control = time.perf_counter(), Says(act=lambda: time.sleep(0.02), at=1)
    heartbeat = Heartbeat(control, 1, 2)
    run_trainer(make_task(monitor=None), part, None, [heartbeat], num_epochs=1)
    assert heartbeat.progress.elapsed < time.perf_counter() - started - 0.02


def test_a_batch_of_three_axes_is_of_windows() -> None:
    trainer = SimpleNamespace(current_epoch=0, num_training_batches=1, received_sigterm=False, validating=False)
    control = Says()
    heartbeat = Heartbeat(control, 1, 2)
    heartbeat.on_train_epoch_start(trainer, None)  # type: ignore[arg-type]
    heartbeat.on_train_batch_end(trainer, None, None, {"input": torch.zeros(2, 3, 8)}, 0)  # type: ignore[arg-type]
    assert control.progress[0]["windows"] == 1.0


@pytest.mark.parametrize("answer", ["cancel", "pause"])
def test_the_control_stops_a_run_between_two_steps(
    make_task: MakeTask, run_trainer: Any, part: Any, answer: Signal
) -> None:
    control = Says(answer, at=5)  # the validation of the first epoch was heard of, too
    with pytest.raises(
        InterruptedRunError, match=rf"^training: expected a run to its end, got `{answer}` in epoch 2 of 2"
    ) as caught:
        run_trainer(make_task(), part, part, [Heartbeat(control, 2, 2)])
    assert len(control.progress) == 5
    assert caught.value.signal == answer


@pytest.fixture
def no_signal_left() -> Any:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    yield
    after = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    signal.signal(signal.SIGINT, before[0])
    signal.signal(signal.SIGTERM, before[1])
    assert after == before


@pytest.mark.usefixtures("no_signal_left")
@pytest.mark.parametrize(
    ("signals", "reason"),
    [([signal.SIGINT], "Ctrl-C"), ([signal.SIGINT] * 2, "Ctrl-C twice"), ([signal.SIGTERM], "SIGTERM")],
    ids=["once", "twice", "sigterm"],
)
def test_ctrl_c_and_a_request_to_end_stop_a_run_and_leave_no_handler(
    make_task: MakeTask, run_trainer: Any, part: Any, signals: list[signal.Signals], reason: str
) -> None:
    """The second Ctrl-C was a KeyboardInterrupt: Lightning turns it into an exit that nobody could mark the run by."""

    def press() -> None:
        for number in signals:
            os.kill(os.getpid(), number)

    heartbeat = Heartbeat(Says(at=1, act=press), 2, 2)
    with pytest.raises(InterruptedRunError, match=rf"got {reason} in epoch 1 of 2; its last checkpoint is whole"):
        run_trainer(make_task(), part, part, [heartbeat])
    heartbeat.restore()


@pytest.mark.usefixtures("no_signal_left")
def test_ctrl_c_is_heard_during_a_long_validation(make_task: MakeTask, run_trainer: Any, part: Any) -> None:
    """It was heard after the next training step only: in the last epoch never."""
    task = make_task()
    step, seen = task.validation_step, list[int]()

    def pressed(batch: Any, batch_idx: int) -> None:
        seen.append(batch_idx)
        os.kill(os.getpid(), signal.SIGINT)
        step(batch, batch_idx)

    task.validation_step = pressed  # type: ignore[method-assign]
    heartbeat = Heartbeat(QuietControl(), 1, 2)
    with pytest.raises(InterruptedRunError, match="got Ctrl-C in epoch 1 of 1"):
        run_trainer(task, part, part, [heartbeat], num_epochs=1)
    heartbeat.restore()
    assert seen == [0]


@pytest.mark.usefixtures("no_signal_left")
def test_ctrl_c_while_the_last_epoch_is_written_stops_before_judging(
    make_task: MakeTask, run_trainer: Any, part: Any, tmp_path: Path
) -> None:
    def pressed(history: History, validation: Prediction | None) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    heartbeat = Heartbeat(QuietControl(), 1, 2)
    callbacks = [Reporter(QuietTracker(), pressed, 1), Keeper(tmp_path, None), heartbeat]
    with pytest.raises(InterruptedRunError):
        run_trainer(make_task(), part, part, callbacks, num_epochs=1)
    heartbeat.restore()
    assert (tmp_path / LAST).is_file()


def test_training_stops_when_the_score_stands_still(make_task: MakeTask, run_trainer: Any, part: Any) -> None:
    rows = reporter(num_epochs=9)
    run_trainer(make_task(lr=1e-9), part, part, [rows, EarlyStop("macro_f1", patience=2, min_delta=0.0)], num_epochs=9)
    assert len(rows.history.rows) == 3  # the first is the best, two bring nothing new


def test_a_score_that_is_never_defined_counts_as_no_progress(
    make_task: MakeTask, run_trainer: Any, make_rows: Any
) -> None:
    """Lightning's default ends the run at the first NaN."""
    part, one_class = make_rows([1.0, -1.0], [0, 1]), make_rows([1.0, 2.0], [1, 1])
    rows = reporter(num_epochs=9)
    stop = EarlyStop("auroc", patience=2, min_delta=0.0)
    run_trainer(make_task(monitor="auroc"), part, one_class, [rows, stop], num_epochs=9)
    assert len(rows.history.rows) == 2


def test_a_loss_has_to_fall_by_more_than_min_delta(make_task: MakeTask, run_trainer: Any, part: Any) -> None:
    rows = reporter(num_epochs=5)
    stop = EarlyStop("loss", patience=1, min_delta=10.0)
    run_trainer(make_task(monitor="loss"), part, part, [rows, stop], num_epochs=5)
    assert len(rows.history.rows) == 2


def test_a_run_that_had_stopped_early_trains_no_further_when_resumed(
    make_task: MakeTask, run_trainer: Any, part: Any, tmp_path: Path
) -> None:
    """Interrupted while it was judged, it went on for an epoch, and gave another result than an uninterrupted run."""
    counts = []
    for resume in (None, tmp_path / LAST):
        rows = reporter(num_epochs=9)
        callbacks = [rows, EarlyStop("macro_f1", patience=2, min_delta=0.0), Keeper(tmp_path, "macro_f1")]
        run_trainer(make_task(lr=1e-9), part, part, callbacks, num_epochs=9, resume=resume)
        counts.append(len(rows.history.rows))
    assert counts == [3, 3]


def test_the_patience_left_survives_a_resume(make_task: MakeTask, run_trainer: Any, part: Any, tmp_path: Path) -> None:
    rows = reporter(num_epochs=9)
    for num_epochs, resume in ((2, None), (9, tmp_path / LAST)):
        rows = reporter(num_epochs=num_epochs)
        callbacks = [rows, EarlyStop("macro_f1", patience=2, min_delta=0.0), Keeper(tmp_path, "macro_f1")]
        run_trainer(make_task(lr=1e-9), part, part, callbacks, num_epochs=num_epochs, resume=resume)
    assert len(rows.history.rows) == 3


@pytest.mark.parametrize(("seconds", "shown"), [(0.4, "0:00:00"), (59.6, "0:01:00"), (360_000, "100:00:00")])
def test_durations_are_read_as_hours_minutes_and_seconds(seconds: float, shown: str) -> None:
    assert clock(seconds) == shown
