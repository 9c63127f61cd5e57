"""Nothing opens a connection: import, demo, train, load and predict in a process of its own that records every attempt.

The whole suite runs without sockets (pytest-socket). That leaves two holes, closed here: what was imported before the
first test, and attempts whose failure a library swallows. An audit hook sees both, and worker processes too.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

GUARD = """
import os, sys

WATCHED = {"socket.connect", "socket.bind", "socket.sendto", "socket.sendmsg"}
LOOKED_UP = {"socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr", "socket.getnameinfo"}

def guard(event, arguments, log=os.environ["ATTEMPTS"]):
    if event in LOOKED_UP or (event in WATCHED and isinstance(arguments[1], tuple)):  # a Unix socket's address is text
        with open(log, "a") as stream:
            stream.write(f"{event} {arguments[-1] if event in WATCHED else arguments}\\n")
        raise OSError("no network in this test")

sys.addaudithook(guard)
"""

JOURNEY = """
import sys
from pathlib import Path

import numpy as np

import ringlight as rl
from ringlight.cli.main import main

small = sys.argv[1:]
if __name__ == "__main__":
    assert main(["demo", *small]) == 0
    assert main(["train", "demo", *small, "data.num_workers=1", "model.pretrained=auto"]) == 0
    run = rl.train("demo", [*small, "experiment.seed=1"])
    result = rl.load(run).predict(np.zeros((32, 32, 3), np.uint8))
    assert result.probabilities.shape == (1, 4), result.probabilities.shape
    assert np.isfinite(result.probabilities).all()
    assert len(list(Path("workspace/runs").iterdir())) == 3
"""


def run_guarded(code: str, folder: Path, *arguments: str) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """Run a script with the guard in front of it; return how it ended and the connections it tried to open."""
    script = folder / "guarded.py"
    script.write_text(GUARD + code, encoding="utf-8")
    attempts = folder / "attempts"
    environment = {key: value for key, value in os.environ.items() if key != "NO_ALBUMENTATIONS_UPDATE"}
    environment |= {"ATTEMPTS": str(attempts), "HF_HOME": str(folder / "hub"), "TORCH_HOME": str(folder / "torch")}
    done = subprocess.run(
        [sys.executable, str(script), *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return done, attempts.read_text().splitlines() if attempts.exists() else []


def test_the_guard_sees_an_attempt_that_a_library_swallows(tmp_path):
    code = """
import urllib.request
try:
    urllib.request.urlopen("http://127.0.0.1:9")
except OSError:
    print("swallowed")
"""
    done, attempts = run_guarded(code, tmp_path)
    assert done.stdout == "swallowed\n"
    assert [line.split()[0] for line in attempts] == ["socket.getaddrinfo"]


@pytest.mark.slow
def test_import_demo_train_load_and_predict_open_no_connection(tmp_path, small):
    """albumentations asks a server for its newest version at import, and hides that it could not."""
    done, attempts = run_guarded(JOURNEY, tmp_path, *small)
    assert done.returncode == 0, done.stderr
    assert attempts == []
