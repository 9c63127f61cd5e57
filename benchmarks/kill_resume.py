"""Kills a small training with -9 at random moments, goes on with it, and compares how it ended with one left alone.

Every end must be the same to the bit: history and weights. The argument is how often, 100 by default.

    python benchmarks/kill_resume.py 10
"""

from __future__ import annotations

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

TIMES, SEED, EPOCHS = 100, 0, 8
RUN = (
    "data=synthetic_windows", "data.num_windows=64", "data.length=64", "data.windows_per_recording=2",
    "data.batch_size=4", "model=cnn1d", "model.filters=[8,8]", "model.drop_rate=0.3", "augmentation=signals_light",
    "optimizer.lookahead.k=3", "training.accumulate_steps=2", f"training.num_epochs={EPOCHS}", "training.num_threads=1",
    "training.device=cpu", "training.precision=32", "training.tensorboard=false", "training.checkpoint_minutes=0.0005",
    "evaluation.num_resamples=100",
)  # fmt: skip
"""Eight epochs of a dozen steps; where it stands in the middle of an epoch is kept every 30 ms."""


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


def seconds_of_training(root: Path, workspace: Path) -> tuple[float, tuple[bytes, bytes]]:
    """Train without a stop: how long it takes from its manifest to its last epoch, and how it ends."""
    process = started(begin, str(root), str(workspace))
    folder = waited_for(workspace, process)
    since, history = time.monotonic(), folder / "history.csv"
    while process.exitcode is None and not (history.is_file() and history.read_bytes().count(b"\n") > EPOCHS):
        time.sleep(0.002)
    taken = time.monotonic() - since
    finished(process)
    return taken, ends(folder)


def waited_for(workspace: Path, process: ForkServerProcess) -> Path:
    """Wait until the run has a folder: before that nothing is there to go on with."""
    while (folder := run_of(workspace)) is None:
        if process.exitcode is not None:
            raise SystemExit(f"expected a run, got exit code {process.exitcode}")
        time.sleep(0.002)
    return folder


def stood(folder: Path) -> str:
    """Say what a killed run goes on from."""
    from ringlight.training.checkpoint_files import newest

    found = newest(folder / "checkpoints")
    if (folder / "results.json").is_file():
        return "in its last writes"
    return "before its first checkpoint" if found is None else f"from {found.name}"


def main() -> None:
    times = int(sys.argv[1]) if len(sys.argv) > 1 else TIMES
    os.environ["OMP_NUM_THREADS"] = "1"  # as many as the run is asked to use
    multiprocessing.get_context("forkserver").set_forkserver_preload(
        ["ringlight.services.runs", "ringlight.training.engine"]
    )
    draw, same, places = random.Random(SEED), 0, Counter[str]()
    with tempfile.TemporaryDirectory() as place:
        root = Path(place) / "rig"
        finished(started(begin, str(root), str(Path(place) / "first")))  # draws the data
        training, expected = seconds_of_training(root, Path(place) / "whole")
        for number in range(times):
            workspace = Path(place) / str(number)
            process = started(begin, str(root), str(workspace))
            folder = waited_for(workspace, process)
            process.join(draw.uniform(0, 1.2 * training))  # some while it is judged
            if process.pid is not None and process.exitcode is None:
                os.kill(process.pid, signal.SIGKILL)
            process.join()
            if process.exitcode == 0:
                places["after its end"] += 1
            else:
                places[stood(folder)] += 1
                finished(started(go_on, str(folder)))
            litter = [path for path in folder.rglob("*") if path.name.endswith(".part") or path.name == "midway.ckpt"]
            same += ends(folder) == expected and not litter
    for where, count in places.most_common():
        print(f"{count:4d} went on {where}")
    print(f"{same} of {times} killed runs ended like one left alone: history and weights to the bit, nothing left over")
    if same != times:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
