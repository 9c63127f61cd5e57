"""Checkpoints: the best under its name, the last to go on from; whole on a full disk, right after resume and move."""

from __future__ import annotations

import errno
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import EMAWeightAveraging
from safetensors.torch import load_file
from torch.utils.data import DataLoader

from ringlight.errors import WorkspaceError
from ringlight.runtime import quiet_libraries
from ringlight.training.checkpoints import LAST, Keeper, WholeCheckpointIO, best_name, snapshot_of
from ringlight.training.task import ClassificationTask

MakeTask = Callable[..., ClassificationTask]


class Scores(ClassificationTask):
    """A task whose validation scores are told beforehand, one an epoch."""

    told: tuple[float | None, ...] = ()

    def on_validation_epoch_end(self) -> None:
        value = self.told[self.current_epoch]
        self.epoch_metrics |= {} if value is None else {f"val/{self.monitor}": value}
        self.log(f"val/{self.monitor}", float("nan") if value is None else value)


@pytest.fixture
def train(make_task: MakeTask, make_rows: Any, run_trainer: Any, tmp_path: Path) -> Callable[..., Keeper]:
    def run(
        told: tuple[float | None, ...], monitor: str = "macro_f1", folder: Path | None = None, resume: bool = False
    ) -> Keeper:
        task = make_task(monitor=monitor)
        task.__class__ = Scores
        task.told = told  # type: ignore[attr-defined]
        keeper = Keeper(folder or tmp_path / "checkpoints", monitor)
        part = make_rows([1.0, -1.0], [0, 1])
        last = keeper.folder / LAST if resume else None
        run_trainer(task, part, part, [keeper], num_epochs=len(told), resume=last)
        return keeper

    return run


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def epoch_of(path: Path) -> int:
    return int(torch.load(path, weights_only=True)["epoch"])


def test_the_best_and_the_last_epoch_are_kept_and_the_superseded_removed(train: Callable[..., Keeper]) -> None:
    keeper = train((0.25, 0.75, 0.5))
    assert names(keeper.folder) == ["best_epoch001_macro_f1_0.75.ckpt", LAST]
    assert epoch_of(keeper.path) == 1
    assert epoch_of(keeper.folder / LAST) == 2


def test_the_earliest_of_equals_is_the_best(train: Callable[..., Keeper]) -> None:
    assert train((0.5, 0.5)).best == "best_epoch000_macro_f1_0.50.ckpt"


def test_a_loss_is_better_when_lower(train: Callable[..., Keeper]) -> None:
    assert train((0.5, 0.25, 0.75), monitor="loss").best == "best_epoch001_loss_0.25.ckpt"


def test_an_epoch_that_is_best_is_written_once_under_two_names(train: Callable[..., Keeper]) -> None:
    keeper = train((0.25, 0.5))
    assert keeper.path.samefile(keeper.folder / LAST)


def test_file_systems_without_links_get_a_copy(train: Callable[..., Keeper], monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(source: Path, target: Path) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr("ringlight.training.checkpoints.os.link", refused)
    keeper = train((0.25, 0.5))
    assert not keeper.path.samefile(keeper.folder / LAST)
    assert keeper.path.read_bytes() == (keeper.folder / LAST).read_bytes()


def test_an_undefined_score_is_never_the_best_and_without_any_the_last_counts(train: Callable[..., Keeper]) -> None:
    assert train((None, 0.5, None)).best == "best_epoch001_macro_f1_0.50.ckpt"
    keeper = train((None, None))
    assert keeper.path == keeper.folder / LAST


def test_the_best_survives_a_resume(train: Callable[..., Keeper]) -> None:
    keeper = train((0.25, 0.75, 0.5))
    resumed = train((0.25, 0.75, 0.5, 0.6), resume=True)
    assert resumed.path == keeper.path
    assert names(keeper.folder) == ["best_epoch001_macro_f1_0.75.ckpt", LAST]


def test_the_best_survives_a_moved_run_folder(train: Callable[..., Keeper], tmp_path: Path) -> None:
    """Lightning's own callback forgets its best when the folder's name has changed, and a worse epoch then won."""
    keeper = train((0.25, 0.75, 0.5))
    moved = tmp_path / "elsewhere"
    shutil.move(keeper.folder, moved)
    resumed = train((0.25, 0.75, 0.5, 0.6), folder=moved, resume=True)
    assert resumed.path == moved / "best_epoch001_macro_f1_0.75.ckpt"
    assert names(moved) == ["best_epoch001_macro_f1_0.75.ckpt", LAST]


def test_a_kill_between_the_two_names_loses_nothing(
    train: Callable[..., Keeper], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new best was written, the last state not yet: the old best, which that one refers to, has to be there."""

    def killed(source: Path, target: Path) -> None:
        if "epoch001" in source.name:
            raise KeyboardInterrupt

    keeper = train((0.25,))
    with monkeypatch.context() as patched:
        patched.setattr("ringlight.training.checkpoints._second_name", killed)
        with pytest.raises(SystemExit):
            train((0.25, 0.75), resume=True)
    assert names(keeper.folder) == ["best_epoch000_macro_f1_0.25.ckpt", "best_epoch001_macro_f1_0.75.ckpt", LAST]
    resumed = train((0.25, 0.1), resume=True)  # epoch 1 again, and (on a GPU) not quite the same
    assert epoch_of(resumed.path) == 0
    assert names(keeper.folder) == ["best_epoch000_macro_f1_0.25.ckpt", LAST]


def test_what_a_killed_write_has_left_is_removed(train: Callable[..., Keeper], tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    (folder / ".last.ckpt.abc123.part").write_bytes(b"half")
    train((0.5,))
    assert names(folder) == ["best_epoch000_macro_f1_0.50.ckpt", LAST]


@pytest.mark.parametrize(
    ("monitor", "expected"),
    [
        ("macro_f1", "best_epoch042_macro_f1_0.89.ckpt"),
        ("recall/defect_1", "best_epoch042_recall_defect_1_0.89.ckpt"),
        ("f1/Riß", "best_epoch042_f1_Riß_0.89.ckpt"),
        ("f1/划痕: {x}/..", "best_epoch042_f1_划痕___x_____0.89.ckpt"),
    ],
)
def test_names_tell_epoch_metric_and_score_whatever_the_class_is_called(monitor: str, expected: str) -> None:
    assert best_name(42, monitor, 0.891) == expected


def test_a_class_with_a_very_long_name_still_gives_a_file_name() -> None:
    assert len(best_name(1, "f1/" + "ß" * 400, 0.5).encode()) < 255


def test_a_monitored_class_with_braces_and_colons_is_kept(train: Callable[..., Keeper]) -> None:
    """Such a name was read as a format of the file name."""
    assert train((0.5,), monitor="recall/{a:.2f}").path.is_file()


@pytest.mark.parametrize("size", [100, 60_000], ids=["at-once", "in-the-middle"])
def test_a_write_that_fails_is_one_line_and_leaves_the_old_file(tmp_path: Path, size: int) -> None:
    """A real limit of the system: torch turns it into `unexpected pos 576 vs 534`, which tells nobody anything."""
    path = tmp_path / LAST
    path.write_bytes(b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        with pytest.raises(WorkspaceError, match=r"expected a place that can be written, got .*File too large"):
            WholeCheckpointIO().save_checkpoint({"weights": torch.zeros(100_000)}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == [LAST]


def test_an_error_that_is_not_the_disks_is_not_called_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(checkpoint: object, stream: object) -> None:
        raise RuntimeError("cannot serialise")

    monkeypatch.setattr("ringlight.training.checkpoints.torch.save", broken)
    with pytest.raises(RuntimeError, match="cannot serialise"):
        WholeCheckpointIO().save_checkpoint({}, tmp_path / LAST)
    assert names(tmp_path) == []


def test_averaged_weights_lie_beside_each_checkpoint_and_survive_a_resume(
    make_task: MakeTask, make_rows: Any, tmp_path: Path
) -> None:
    """The checkpoint holds both; the file has the averaged ones under the model's own names, ready to be loaded."""

    def train(folder: Path, *, num_epochs: int, resume: bool = False) -> Keeper:
        task = make_task(lr=1.0)
        task.__class__ = Scores
        task.told = (0.25, 0.75, 0.5)  # type: ignore[attr-defined]
        keeper, rows = Keeper(folder, "macro_f1"), make_rows([1.0, -1.0, 0.5, 2.0], [0, 1, 1, 0])
        with quiet_libraries():
            trainer = Trainer(
                accelerator="cpu", max_epochs=num_epochs, logger=False, enable_progress_bar=False,
                enable_model_summary=False, num_sanity_val_steps=0,
                callbacks=[EMAWeightAveraging(decay=0.5), keeper], plugins=[WholeCheckpointIO(ema_snapshots=True)],
            )  # fmt: skip
            loaders = [DataLoader(rows, batch_size=2), DataLoader(rows, batch_size=4)]
            trainer.fit(task, *loaders, ckpt_path=folder / LAST if resume else None, weights_only=True)
        return keeper

    whole = train(tmp_path / "whole", num_epochs=3)
    best = "best_epoch001_macro_f1_0.75"
    expected = [f"{best}.ckpt", f"{best}_ema.safetensors", LAST, "last_ema.safetensors"]
    assert names(whole.folder) == expected
    for path in (whole.path, whole.folder / LAST):
        kept, snapshot = torch.load(path, weights_only=True), load_file(snapshot_of(path))
        assert snapshot.keys() == {"1.weight", "1.bias"}
        for name, weights in snapshot.items():
            assert torch.equal(weights, kept["state_dict"][f"module.{name}"])
            assert not torch.equal(weights, kept["current_model_state"][f"module.{name}"])
    half = train(tmp_path / "half", num_epochs=2)
    assert snapshot_of(half.path).samefile(half.folder / "last_ema.safetensors")
    (half.folder / ".last_ema.safetensors.abc.part").write_bytes(b"half")
    (half.folder / "best_epoch002_macro_f1_0.99_ema.safetensors").write_bytes(b"killed before its checkpoint")
    train(tmp_path / "half", num_epochs=3, resume=True)
    assert names(half.folder) == expected
    for name in expected[1::2]:
        assert (half.folder / name).read_bytes() == (whole.folder / name).read_bytes()


def test_without_averaging_or_without_the_wish_there_is_no_further_file(tmp_path: Path) -> None:
    averaged = {"state_dict": {"module.a": torch.ones(1)}, "averaging_state": {}}
    WholeCheckpointIO(ema_snapshots=True).save_checkpoint({"state_dict": averaged["state_dict"]}, tmp_path / LAST)
    WholeCheckpointIO().save_checkpoint(averaged, tmp_path / LAST)
    assert names(tmp_path) == [LAST]
    WholeCheckpointIO(ema_snapshots=True).save_checkpoint(averaged, tmp_path / LAST)
    assert load_file(tmp_path / "last_ema.safetensors")["a"].tolist() == [1.0]
