"""Kills a small training with -9 at random moments, goes on with it, and compares how it ended with one left alone.

Every end must be the same to the bit: history and weights. The arguments are how many kills, and how many of them a
single run meets at most: 100 and 1 by default.

    python benchmarks/kill_resume.py 10 5
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from multiprocessing.context import ForkServerProcess
from pathlib import Path

TIMES, SEED, EPOCHS = 100, 0, 6
RUN = (
    "data=synthetic_windows", "data.num_windows=64", "data.length=64", "data.windows_per_recording=2",
    "data.batch_size=4", "model=cnn1d", "model.filters=[8,8]", "model.drop_rate=0.3", "augmentation=signals_light",
    "optimizer.lookahead.k=3", "training.accumulate_steps=2", f"training.num_epochs={EPOCHS}", "training.num_threads=1",
    "training.device=cpu", "training.precision=32", "training.tensorboard=false", "training.checkpoint_minutes=0.001",
    "evaluation.num_resamples=100", "evaluation.num_mistakes=0", "training.num_sample_predictions=0",
)  # fmt: skip
"""Six epochs of a dozen steps; where it stands in the middle of an epoch is kept every 60 ms."""


def begin(root: str, workspace: str) -> None:
    from ringlight.services import runs

    runs.train("air_leak", [*RUN, f"data.root={root}"], workspace=workspace)


def go_on(folder: str) -> None:
    from ringlight.services import runs

    runs.resume(folder)


def started(target: object, *arguments: str) -> ForkServerProcess:
    process = multiprocessing.get_context("forkserver").Process(target=target, args=arguments)  # type: ignore[arg-type]
    process.start()
    return process


def finished(process: ForkServerProcess) -> None:
    process.join()
    if process.exitcode != 0:
        raise SystemExit(f"expected a run to its end, got exit code {process.exitcode}")


def run_of(workspace: Path) -> Path | None:
    return next((manifest.parent for manifest in workspace.glob("runs/*/manifest.json")), None)


def ends(folder: Path) -> tuple[bytes, bytes]:
    return (folder / "history.csv").read_bytes(), (folder / "bundle" / "model.safetensors").read_bytes()


def watched(root: Path, workspace: Path) -> tuple[float, float, tuple[bytes, bytes]]:
    """Train without a stop: seconds to its manifest, from there to its last epoch, and how it ends."""
    since = time.monotonic()
    process = started(begin, str(root), str(workspace))
    folder = waited_for(workspace, process)
    planned, history = time.monotonic(), folder / "history.csv"
    while process.exitcode is None and not (history.is_file() and history.read_bytes().count(b"\n") > EPOCHS):
        time.sleep(0.002)
    trained = time.monotonic()
    finished(process)
    return planned - since, trained - planned, ends(folder)


def waited_for(workspace: Path, process: ForkServerProcess) -> Path:
    """Wait until the run has a folder: before that nothing is there to go on with."""
    while (folder := run_of(workspace)) is None:
        if process.exitcode is not None:
            raise SystemExit(f"expected a run, got exit code {process.exitcode}")
        time.sleep(0.002)
    return folder


def stood(folder: Path) -> str:
    """Say what a killed run goes on from; empty where it was over."""
    from ringlight.training.checkpoint_files import newest

    found = newest(folder / "checkpoints")
    if json.loads((folder / "manifest.json").read_bytes())["status"] == "completed":
        return ""
    return "before its first checkpoint" if found is None else f"with {found.name}"


def killed(process: ForkServerProcess, seconds: float) -> bool:
    """Kill a process after so long; whether it still ran."""
    process.join(seconds)
    if process.pid is not None and process.exitcode is None:
        os.kill(process.pid, signal.SIGKILL)
    process.join()
    if process.exitcode not in (0, -signal.SIGKILL):
        raise SystemExit(f"expected a run that is killed or ends, got exit code {process.exitcode}")
    return process.exitcode != 0


def is_whole(folder: Path, expected: tuple[bytes, bytes]) -> bool:
    litter = [path for path in folder.rglob("*") if path.name.endswith(".part") or path.name == "midway.ckpt"]
    return ends(folder) == expected and not litter


def main() -> None:
    times, most = (*map(int, sys.argv[1:]), *(TIMES, 1)[len(sys.argv) - 1 :])
    os.environ["OMP_NUM_THREADS"] = "1"  # as many as the run is asked to use
    preloaded = ["ringlight.services.runs", "ringlight.training.engine"]
    multiprocessing.get_context("forkserver").set_forkserver_preload(preloaded)
    draw, same, places = random.Random(SEED), list[bool](), Counter[str]()
    with tempfile.TemporaryDirectory() as place:
        root = Path(place) / "rig"
        finished(started(begin, str(root), str(Path(place) / "first")))  # draws the data
        planning, training, expected = watched(root, Path(place) / "whole")
        while places.total() < times:
            workspace = Path(place) / str(len(same))
            process = started(begin, str(root), str(workspace))
            folder = waited_for(workspace, process)
            wait = draw.uniform(0, 1.2 * training)  # some while it is judged
            for _ in range(min(most, times - places.total())):
                if not killed(process, wait) or not (where := stood(folder)):
                    break
                places[where] += 1
                process = started(go_on, str(folder))
                wait = planning + draw.uniform(0, 1.2 * training)
            process.join()
            same.append(is_whole(folder, expected))
    for where, count in places.most_common():
        print(f"{count:4d} kills left it {where}")
    print(
        f"{sum(same)} of {len(same)} runs, killed {places.total()} times, ended like one left alone: history and "
        "weights to the bit, nothing left over"
    )
    if not all(same):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
