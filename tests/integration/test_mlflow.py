"""A real MLflow server on loopback sees a run, stopped and gone on with, its files and its registered versions."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ringlight.errors import InterruptedRunError, TrackerError
from ringlight.services import runs
from ringlight.services.runs import Run
from ringlight.training.trackers_mlflow import MlflowPlace, register_version, remembered_run, require_mlflow
from ringlight.training.trackers_quiet import quiet
from ringlight.types import Signal

START_SECONDS = 120


class StopAt:
    """A control that pauses after a number of steps."""

    def __init__(self, step: int) -> None:
        self.left = step

    def heartbeat(self, progress: Mapping[str, float]) -> Signal:
        self.left -= 1
        return "go" if self.left > 0 else "pause"


@contextmanager
def server(home: Path) -> Iterator[str]:
    """Run MLflow's own server until the block ends; yield its address once it answers."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{found.getsockname()[1]}"
    command = [
        sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", address.rpartition(":")[2],
        "--workers", "1", "--backend-store-uri", f"sqlite:///{home / 'mlflow.db'}",
        "--artifacts-destination", str(home / "files"),
    ]  # fmt: skip
    told = (home / "server.log").open("wb")
    # A session of its own: the server has workers, and all of them are ended by the number of the first.
    process = subprocess.Popen(
        command, cwd=home, stdout=told, stderr=subprocess.STDOUT, start_new_session=True,
        env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
    )  # fmt: skip
    try:
        wait_for(process, address, home / "server.log")
        yield address
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        told.close()


def wait_for(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=5) as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.1)
    pytest.fail(f"the server did not start: {log.read_text()[-2000:]}")


@pytest.mark.slow
@pytest.mark.enable_socket
def test_a_server_sees_a_run_its_files_and_its_versions(
    train_small: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        monkeypatch.delenv(name, raising=False)
    settings = (
        "training.trackers=[mlflow,csv]", "mlflow.experiment=tiles", "split.leak_probe=false",
        "evaluation.num_resamples=100",
    )  # fmt: skip
    home = tmp_path / "server"
    home.mkdir()
    with server(home) as address:
        place = MlflowPlace(address, "tiles")
        with pytest.raises(InterruptedRunError):
            train_small(*settings, f"mlflow.tracking_uri={address}", control=StopAt(6))
        folder = next((tmp_path / "workspace" / "runs").iterdir())
        with quiet():
            client = require_mlflow().MlflowClient(address)
            first = client.get_run(remembered_run(folder))
        assert first.info.status == "SCHEDULED"

        run = runs.resume(folder)
        with quiet():
            (found,) = client.search_runs([client.get_experiment_by_name("tiles").experiment_id])
        check_run(client, found, run)
        check_versions(client, run, place)
    assert "mlflow" not in capfd.readouterr().err.lower()

    # Now the server is gone: it is told in one line, soon.
    started = time.monotonic()
    with pytest.raises(TrackerError, match=r"^tiles, http://127.0.0.1:\d+: expected MLflow to take the version, got "):
        register_version("tiles", run.bundle, place)
    assert time.monotonic() - started < 25


def check_run(client: Any, found: Any, run: Run) -> None:
    assert (found.info.run_id, found.info.run_name) == (remembered_run(run.folder), run.folder.name)
    assert found.info.status == "FINISHED"
    assert found.data.params["optimizer.lr"] == "0.001"
    assert found.data.tags["ringlight.dataset_fingerprint"] == run.results["dataset"]["fingerprint"]
    assert found.data.metrics["final/macro_f1"] == run.results["test"]["scalars"]["macro_f1"]
    with quiet():
        points = client.get_metric_history(found.info.run_id, "val/loss")
        files = {file.path for file in client.list_artifacts(found.info.run_id)}
        pictures = {file.path for file in client.list_artifacts(found.info.run_id, "figures/test")}
    assert [(point.step, point.value) for point in points] == [
        (row["epoch"], row["val/loss"]) for row in run.results["history"]
    ]
    assert {"config.yaml", "results.json", "report.html", "history.csv"} <= files
    assert "figures/test/confusion-00002.png" in pictures


def check_versions(client: Any, run: Run, place: MlflowPlace) -> None:
    assert register_version("tiles", run.bundle, place, run=run.folder, tags={"stage": "trial"}) == "1"
    assert register_version("tiles", run.bundle, place) == "2"
    with quiet():
        version = client.get_model_version("tiles", "1")
        (folder,) = [file.path for file in client.list_artifacts(version.run_id) if file.path.startswith("bundle-")]
        kept = client.download_artifacts(version.run_id, f"{folder}/model.safetensors")
    assert (version.run_id, version.tags) == (remembered_run(run.folder), {"stage": "trial"})
    assert version.source.endswith(folder)
    assert Path(kept).read_bytes() == (run.bundle / "model.safetensors").read_bytes()
