"""Device, seeds, determinism, workspace and logging."""

from __future__ import annotations

import logging
import random
from pathlib import Path

import numpy as np
import pytest
import torch

from ringlight import runtime
from ringlight.errors import ConfigError, WorkspaceError
from ringlight.runtime import DeviceChoice

CPU = DeviceChoice("cpu", "test")
CUDA = DeviceChoice("cuda:0", "test")


def test_auto_says_which_device_and_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert runtime.choose_device("auto") == DeviceChoice("cpu", "auto: no CUDA device found")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: f"card {index}")
    assert runtime.choose_device("auto") == DeviceChoice("cuda:0", "auto: found card 0")
    assert runtime.choose_device("cuda:1").device == "cuda:1"
    assert runtime.choose_device("cpu").kind == "cpu"


def test_a_cuda_device_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=r"got `cuda:1` and no CUDA device; use training.device=auto"):
        runtime.choose_device("cuda:1")


def test_precision_is_chosen_for_the_device_and_fp16_refused_on_a_cpu() -> None:
    assert runtime.choose_precision("auto", CPU) == "32"
    assert runtime.choose_precision("bf16", CPU) == "bf16"
    with pytest.raises(ConfigError, match=r"training.precision: expected bf16 or 32 on a CPU, got 16"):
        runtime.choose_precision("16", CPU)


def test_workers_follow_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "cpu_count", lambda: 32)
    assert runtime.choose_num_workers("auto", CUDA) == 8
    assert runtime.choose_num_workers("auto", CPU) == 0
    assert runtime.choose_num_workers(3, CPU) == 3


def test_batches_kept_ready_take_an_eighth_of_the_free_memory_at_most() -> None:
    assert runtime.choose_prefetch_factor("auto", 0, 2**20, 2**34) is None
    assert runtime.choose_prefetch_factor(7, 0, 2**20, 2**34) is None
    assert runtime.choose_prefetch_factor(7, 2, 2**30, 2**30) == 7
    assert runtime.choose_prefetch_factor("auto", 8, 2**20, 2**34) == 4
    assert runtime.choose_prefetch_factor("auto", 8, 2**27, 2**34) == 2
    assert runtime.choose_prefetch_factor("auto", 8, 2**32, 2**30) == 1


def test_a_device_knows_whether_the_user_named_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: f"card {index}")
    asked = {wish: runtime.choose_device(wish).asked for wish in ("auto", "cuda", "cuda:0", "cpu")}
    assert asked == {"auto": False, "cuda": True, "cuda:0": True, "cpu": True}


def test_seeds_repeat_and_their_parts_do_not_commute() -> None:
    def draw(*parts: int) -> tuple[float, float, float]:
        runtime.seed_everything(*parts)
        return random.random(), float(np.random.rand()), float(torch.rand(()))

    assert draw(1, 2) == draw(1, 2)
    assert draw(1, 2) != draw(2, 1)
    assert draw(3) != draw(3, 1)


def test_determinism_is_restored_afterwards_even_after_a_fault() -> None:
    threads = torch.get_num_threads()

    def fault_inside() -> None:
        with runtime.determinism(num_threads=threads + 1, device=CPU):
            assert torch.get_num_threads() == threads + 1
            assert torch.are_deterministic_algorithms_enabled()
            raise RuntimeError("fault")

    with pytest.raises(RuntimeError, match="fault"):
        fault_inside()
    assert torch.get_num_threads() == threads
    assert not torch.are_deterministic_algorithms_enabled()


def test_the_promise_is_weaker_on_a_gpu() -> None:
    assert "2 thread(s): identical history and weights" in runtime.promise(CPU, 2)
    assert "not identical" in runtime.promise(CUDA, 2)


def test_workspace_comes_from_argument_then_environment_then_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert runtime.workspace_folder() == tmp_path / "workspace"
    monkeypatch.setenv("RINGLIGHT_WORKSPACE", str(tmp_path / "plant"))
    assert runtime.workspace_folder() == tmp_path / "plant"
    assert runtime.workspace_folder(tmp_path / "mine") == tmp_path / "mine"
    assert list(tmp_path.iterdir()) == []


def test_run_folders_are_named_by_recipe_and_time_and_never_collide(tmp_path: Path) -> None:
    first, second = (runtime.new_run_folder(tmp_path, "severstal") for _ in range(2))
    assert first != second
    for folder in (first, second):
        recipe, day, clock, key = folder.name.split("-")
        assert (recipe, len(day), len(clock), len(key)) == ("severstal", 8, 6, 4)


def test_an_unwritable_workspace_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file where the folder should be")
    with pytest.raises(WorkspaceError, match=r"runs.*expected a place that can be written, got .*--workspace FOLDER"):
        runtime.new_run_folder(tmp_path, "demo")


def test_the_run_log_gets_details_that_the_console_does_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runtime.configure_logging(0)
    try:
        with runtime.log_file(tmp_path / "train.log"):
            runtime.LOGGER.info("epoch 1")
            runtime.LOGGER.debug("weights restored")
        runtime.LOGGER.info("after the run")
    finally:
        for handler in list(runtime.LOGGER.handlers):
            runtime.LOGGER.removeHandler(handler)
        runtime.LOGGER.propagate = True
    log = (tmp_path / "train.log").read_text()
    assert "INFO epoch 1" in log
    assert "DEBUG weights restored" in log
    assert "after the run" not in log
    assert capsys.readouterr().err.splitlines() == ["epoch 1", "after the run"]


def test_libraries_are_quiet_inside_and_as_before_outside(caplog: pytest.LogCaptureFixture) -> None:
    lightning = logging.getLogger("lightning.pytorch")
    before = lightning.level
    with runtime.quiet_libraries():
        lightning.warning("Tip: install our cloud")
    assert lightning.level == before
    assert "Tip" not in caplog.text


def test_versions_say_when_a_package_is_missing() -> None:
    assert runtime.package_versions(["numpy", "no-such-package"]) == {
        "numpy": np.__version__,
        "no-such-package": "not installed",
    }
