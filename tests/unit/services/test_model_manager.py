"""The seed's names do what the use cases do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ringlight.errors import RunError, UserError, WorkspaceError
from ringlight.services.model_manager import ModelManager

MakeRun = Callable[..., Path]


def test_versions_under_the_seeds_names(tmp_path: Path, make_finished: MakeRun) -> None:
    models = ModelManager(tmp_path)
    for number in (1, 2):
        made = models.save_model_version(make_finished(tmp_path, f"strips-{number}"), "tiles", description="d")
    assert str(made) == "tiles@2"
    assert [one.version for one in models.list_model_versions("tiles", kind="defect")] == [2, 1]
    assert models.get_active_model("tiles") is None
    assert models.set_active_model("tiles", 1, who="kim", why="first", gate=True).to_version == 1
    active = models.get_active_model("tiles")
    assert active is not None
    assert active.version == 1
    assert models.compare_models("tiles", 1, 2).rows()[0][:3] == ("macro_f1", 1.0, 1.0)
    assert list(models.delete_model_version("tiles", 2, dry_run=True).files) == ["bundle.json", "model.safetensors"]
    assert len(models.list_model_versions()) == 2
    models.delete_model_version("tiles", 2)
    assert [one.version for one in models.list_model_versions()] == [1]
    assert [run["name"] for run in models.get_training_history()] == ["strips-2", "strips-1"]


def test_a_training_that_something_else_runs_is_recorded(tmp_path: Path, make_finished: MakeRun) -> None:
    make_finished(tmp_path, "other")  # brings the store along
    models = ModelManager(tmp_path)
    number = models.add_training_run("yolo-1", {"epochs": 3}, recipe="yolo", seed=7, device="cpu")
    assert number >= 1
    models.update_training_run("yolo-1", metrics={"map50": 0.5})
    (run,) = models.get_training_history(recipe="yolo")
    assert (run["status"], run["metrics"], run["seed"], run["finished"]) == ("running", {"map50": 0.5}, 7, None)
    models.update_training_run("yolo-1", status="failed", error="out of memory")
    (run,) = models.get_training_history(status=("failed",), limit=1)
    assert (run["error"], run["metrics"]) == ("out of memory", {"map50": 0.5})
    assert run["finished"] >= run["started"]
    with pytest.raises(RunError, match="expected a new name, got `yolo-1`, which is taken"):
        models.add_training_run("yolo-1", {})
    with pytest.raises(RunError, match="expected a status of a run, got `complete`; did you mean `completed`"):
        models.update_training_run("yolo-1", status="complete")
    with pytest.raises(RunError, match="expected a run of the training history, got `yolo`; did you mean `yolo-1`"):
        models.update_training_run("yolo", status="failed")
    with pytest.raises(UserError, match="name: expected a name of 1 to 100"):
        models.add_training_run("../x", {})
    (tmp_path / "runs/out").symlink_to("/etc")
    with pytest.raises(WorkspaceError, match="expected a path inside the workspace, got 'runs/out'"):
        models.add_training_run("out", {})
