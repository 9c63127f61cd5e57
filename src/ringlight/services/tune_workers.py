"""Several processes on one study: each takes the next free trial; this one starts them, tells what ended, and waits."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Mapping
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ringlight.config.schema import Config
from ringlight.errors import InterruptedRunError, RinglightError, TrainingError
from ringlight.runtime import log_file
from ringlight.training.tune import Study
from ringlight.training.tune_objective import RecipeObjective, make_bench
from ringlight.training.tune_trials import StudySettings
from ringlight.types import RunControl, Signal

if TYPE_CHECKING:
    from ringlight.config.spaces import Space
    from ringlight.services.tune import Keeper

LOOK_EVERY = 0.5
"""Seconds between two looks at what has ended."""


class _OrphanControl:
    """Stops a trial when the process that started this one is gone."""

    def __init__(self) -> None:
        self._parent = os.getppid()

    def heartbeat(self, progress: Mapping[str, float]) -> Signal:  # noqa: ARG002 - the protocol's argument
        """Go on while there is somebody to tell."""
        return "go" if os.getppid() == self._parent else "cancel"


def run_workers(keeper: Keeper, control: RunControl, cache: Path) -> None:
    """Run a study in `tune.workers` processes until it has ended.

    Raises:
        InterruptedRunError: the control stopped it.
        RinglightError: a worker met what would end every trial.
    """
    study, config = keeper.study, keeper.bench.config
    context = multiprocessing.get_context("spawn")  # a process that has used torch's threads must not be forked
    workers: list[tuple[BaseProcess, Connection]] = []
    for _ in range(min(config.tune.workers, study.num_places)):
        ours, theirs = context.Pipe(duplex=False)
        arguments = (config, study.settings, study.space, study.fixed, keeper.folder, cache, theirs)
        process: BaseProcess = context.Process(target=_work, args=arguments, daemon=True)
        process.start()
        theirs.close()
        workers.append((process, ours))
    told = {row.number: row.epochs for row in study.rows() if row.state != "running"}
    try:
        while any(process.is_alive() for process, _ in workers):
            time.sleep(LOOK_EVERY)
            _tell(keeper, told)
            if (signalled := control.heartbeat(_progress(len(told), study.num_places))) != "go":
                raise InterruptedRunError(
                    "a study to its end",
                    got="a request to stop",
                    where=str(keeper.folder),
                    fix="resume it",
                    signal=signalled,
                )
    finally:
        _end(workers)
        _tell(keeper, told)
    for process, said in workers:
        error = _heard(said)
        if isinstance(error, RinglightError):
            raise error
        if process.exitcode not in (0, 130) or error is not None:
            fault = f"one that ended with code {process.exitcode}" if error is None else str(error)
            raise TrainingError(
                "a process that works to the end", got=fault, where=str(keeper.folder),
                fix="look into its study.log; the same command goes on",
            )  # fmt: skip


def _heard(said: Connection) -> object:
    """Return what a worker said before it ended; None when it said nothing."""
    try:
        return said.recv() if said.poll() else None
    except EOFError:  # it closed its end
        return None


def _tell(keeper: Keeper, told: dict[int, int]) -> None:
    """Tell trials that ended since; one that went on from where it waited has more epochs than were told."""
    for row in keeper.study.rows():
        if row.state != "running" and told.get(row.number) != row.epochs:
            told[row.number] = row.epochs
            keeper.ended(row, keeper.study)


def _progress(done: int, total: int) -> dict[str, float]:
    return {
        "epoch": done, "num_epochs": total, "step": done, "num_steps": total, "done": done, "total": total,
        "images_per_second": 0.0,
    }  # fmt: skip


def _end(workers: list[tuple[BaseProcess, Connection]]) -> None:
    """Ask those still at work to stop between two steps, and wait for them."""
    for process, _ in workers:
        if process.is_alive() and process.pid is not None:
            os.kill(process.pid, signal.SIGINT)
    for process, _ in workers:
        process.join()


def _work(
    config: Config, settings: StudySettings, space: Space, fixed: dict[str, Any], folder: Path, cache: Path,
    said: Connection,
) -> None:  # fmt: skip
    """Be one of the processes: read the data, and make trials until none is left."""
    try:
        with log_file(folder / "study.log"):
            objective = RecipeObjective(make_bench(config, cache), folder / "trials", _OrphanControl())
            Study(settings, space, fixed).run(objective)
    except (InterruptedRunError, KeyboardInterrupt):
        raise SystemExit(130) from None
    except RinglightError as error:
        said.send(error)
    # Whatever else ended it: the process that started this one tells it in its own words.
    except Exception as error:  # noqa: BLE001
        said.send(f"{type(error).__name__}: {error}")
