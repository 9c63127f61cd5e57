"""The doctor: every check answers, and what is broken is named without hiding the rest."""

from __future__ import annotations

import errno
import json
import sys
from collections import namedtuple
from pathlib import Path

import pytest

from ringlight.cli.main import main
from ringlight.losses import LOSSES
from ringlight.services import doctor
from ringlight.services.doctor import Checkup, examine

CHECKS = (
    "imports", "device", "memory", "allocator", *(f"GPU of {gib} GiB" for gib in (4, 8, 12, 16, 24, 48, 80, 141)),
    "models", "models of windows", "losses", "augmentation", "stratified split", "catalogues", "recipes", "trackers",
    "disk space", "write access",
)  # fmt: skip


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> list[Checkup]:
    return examine(tmp_path_factory.mktemp("healthy") / "not" / "yet" / "there")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the checks that take seconds."""
    for name in (
        "_imports",
        "_models",
        "_models_of_windows",
        "_losses",
        "_augmentation",
        "_split",
        "_catalogues",
        "_recipes",
        "_device",
    ):
        monkeypatch.setattr(doctor, name, lambda: "well")


def test_every_check_is_well_here_and_one_line(healthy: list[Checkup]) -> None:
    assert [check.name for check in healthy] == list(CHECKS)
    assert [str(check) for check in healthy if not check.ok] == []
    assert all("\n" not in str(check) and str(check).startswith(f"✓ {check.name}: ") for check in healthy)
    told = {check.name: check.detail for check in healthy}
    assert "torch " in told["imports"]
    assert "convnext_tiny_cbam" in told["models"]
    assert "cnn1d, lstm, gru, inception_time, resnet1d, tcn, random_forest" in told["models of windows"]
    assert all(name in told["losses"] for name in LOSSES)
    assert "resnet18 at 224 px 256 / 512" in told["GPU of 12 GiB"]


def test_nothing_is_written(tmp_path: Path, quick: None) -> None:
    examine(tmp_path / "ws")
    assert list(tmp_path.iterdir()) == []


def test_a_broken_library_is_named_and_the_other_checks_go_on(
    tmp_path: Path, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half-installed packages and broken drivers raise anything, over several lines."""

    def broken() -> str:
        raise RuntimeError("CUDA driver\nis too old")

    monkeypatch.setattr(doctor, "_device", broken)
    checks = examine(tmp_path)
    assert [str(check) for check in checks if not check.ok] == ["✗ device: RuntimeError: CUDA driver; is too old"]
    assert [check.name for check in checks] == list(CHECKS)


def test_a_missing_package_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "IMPORTS", ("json", "no_such_package"))
    with pytest.raises(ModuleNotFoundError, match="no_such_package"):
        doctor._imports()


def test_a_full_disk_and_little_memory_are_faults(tmp_path: Path, quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "free")
    memory = namedtuple("memory", "available total")
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: usage(free=2**29))
    monkeypatch.setattr("psutil.virtual_memory", lambda: memory(2**28, 2**34))
    faults = {check.name: check.detail for check in examine(tmp_path) if not check.ok}
    assert faults == {
        "memory": "this machine: expected 1 GiB of free memory, got 0.2 GiB; "
        "end other programs, or train with a smaller data.batch_size",
        "disk space": f"{tmp_path}: expected 2 GiB free, got 0.5 GiB; free some space",
    }


def test_a_place_that_cannot_be_written_is_a_fault(
    tmp_path: Path, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(dir: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(doctor.tempfile, "TemporaryFile", refuse)
    (fault,) = [check for check in examine(tmp_path) if not check.ok]
    assert fault.name == "write access"
    assert "got PermissionError: Permission denied; check the permissions" in fault.detail


def test_a_file_in_the_workspaces_place_is_a_fault(tmp_path: Path, quick: None) -> None:
    (tmp_path / "ws").write_text("a file")
    assert [check.name for check in examine(tmp_path / "ws") if not check.ok] == ["write access"]


def test_the_command_prints_a_line_a_check_and_ends_with_1_on_a_fault(
    tmp_path: Path, quick: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", "--workspace", str(tmp_path)]) == 0
    assert [line[0] for line in capsys.readouterr().out.splitlines()] == ["✓"] * len(CHECKS)
    monkeypatch.setattr(doctor, "MIN_FREE_GIB", 1e9)
    assert main(["doctor", "--workspace", str(tmp_path), "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert [check["name"] for check in report if not check["ok"]] == ["disk space"]


def test_it_knows_the_models_of_windows_and_names_the_extra_that_one_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    """It looked at models of images only; without sktime a run of MiniRocket was the first to say so."""
    monkeypatch.setitem(sys.modules, "sktime.transformations.rocket", None)
    told = doctor._models_of_windows()
    assert told.startswith("cnn1d, lstm, gru, ")
    assert "; minirocket does not (install it with: pip install 'ringlight[signals]'); multirocket does not " in told


def test_a_tracker_whose_extra_is_not_installed_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    for found, told in ((object(), "mlflow"), (None, "mlflow (install it with: pip install 'ringlight[mlflow]')")):
        monkeypatch.setattr(doctor, "find_spec", lambda _, found=found: found)
        assert doctor._trackers() == f"tensorboard, {told}, csv"


def test_losses_are_tried_without_a_word_on_the_side(caplog: pytest.LogCaptureFixture) -> None:
    """The cost of leaks asked, before the first line of the report, which class of the trial was good."""
    doctor._losses()
    assert caplog.messages == []
