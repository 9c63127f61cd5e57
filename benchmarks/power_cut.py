"""Processes killed in the middle of a write: what is left of the store and of a checkpoint.

A process commits epochs of a run, writes checkpoints, activates model versions, or registers and deletes them, one
after the other, and tells each when it is done. It is killed (SIGKILL) at a random moment, again and again on the same
workspace. After each kill the database must open, pass SQLite's integrity check, and hold every step that was told and
at most the one that was under way; the checkpoint must be whole; exactly one version must be active, the one the audit
trail names last; the folder of a version must be there, and whole, exactly where its row is. Printed are the
faults that were found. Exit code 1 when there was one. Usage:

    python benchmarks/power_cut.py [--times 200] [--seed 0]
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from ringlight.data.preprocess import InputSpec
from ringlight.inference.bundle import Bundle, write_bundle
from ringlight.services.activations import activate, trail
from ringlight.services.registered import list_versions, open_versions, require_whole
from ringlight.services.stores import open_store
from ringlight.services.version_deletion import delete, plan_deletion
from ringlight.services.versions import register
from ringlight.store.tables import RunRow
from ringlight.training.checkpoints import LAST, WholeCheckpointIO

NAME, KEPT = "parts", "kept"
LONGEST = 0.06
"""Seconds until the kill, at most, counted from the first step that was told."""


def commit(root: Path, step: int) -> None:
    """Add an epoch of 20 numbers to a run, and an event."""
    with open_store(root) as store, store.writing() as unit:
        row = unit.runs.get("run") or unit.runs.add(RunRow(name="run", path="runs/run", config={}))
        unit.flush()
        unit.runs.put_epochs(row.id, [{"epoch": step, **{f"metric_{number}": step / 7 for number in range(20)}}])
        unit.events.add("run", "run", "epoch", step=step)


def committed(root: Path) -> int:
    """Return how many epochs are there, which must be the first ones, each with its event."""
    with open_store(root) as store, store.reading() as unit:
        row = unit.runs.get("run")
        epochs = [] if row is None else unit.runs.epochs(row.id)
        events = [(event.data or {})["step"] for event in unit.events.of("run", "run") if event.what == "epoch"]
    numbers = [epoch["epoch"] for epoch in epochs]
    if numbers != list(range(len(numbers))) or numbers != events:
        raise ValueError(f"epochs {numbers[-3:]} and events {events[-3:]} do not belong together")
    return len(numbers)


def checkpoint(root: Path, step: int) -> None:
    """Write a checkpoint of some 400 kB."""
    state = {"step": step, "state_dict": {"weight": torch.full((100_000,), float(step))}}
    WholeCheckpointIO().save_checkpoint(state, root / LAST)


def checkpointed(root: Path) -> int:
    """Return the number of checkpoints that were written, by the one that is there, which must be whole."""
    for litter in root.glob(f".{LAST}.*.part"):  # as a resumed run does
        litter.unlink()
    if not (root / LAST).exists():
        return 0
    state = torch.load(root / LAST, weights_only=True)
    if not bool((state["state_dict"]["weight"] == state["step"]).all()):
        raise ValueError("a checkpoint that is half of one and half of another")
    return int(state["step"]) + 1


def switch(root: Path, step: int) -> None:
    """Make the other version active."""
    activate(NAME, 1 + step % 2, who="bench", why=f"step {step}", workspace=root)


def switched(root: Path) -> int:
    """Return how many activations there were; the last of them must be what is active."""
    rows = trail(NAME, workspace=root)
    active = [version.version for version in list_versions(name=NAME, active=True, workspace=root)]
    if rows and active != [rows[0].to_version]:
        raise ValueError(f"active {active}, but the audit trail ends with {rows[0].to_version}")
    return len(rows)


def keep(root: Path, step: int) -> None:
    """Register a version, or delete it again: rows and folders come and go together."""
    if step % 2 == 0:
        register(root / "made-0", name=KEPT, kind="defect", workspace=root)
        return
    (version,) = list_versions(name=KEPT, workspace=root)
    delete(plan_deletion(KEPT, version.version, workspace=root), workspace=root)


def kept(root: Path) -> int:
    """Return how many versions were registered and deleted; folders must be there exactly where rows are, whole."""
    with open_versions(root) as store, store.reading() as unit:
        rows = unit.versions.find(name=KEPT)
        for row in rows:
            require_whole(root, row)
        steps = len([event for event in unit.events.of("version", KEPT) if event.what in ("registered", "deleted")])
    folders = {path.relative_to(root).as_posix() for path in root.glob(f"models/*/{KEPT}/*")}
    if folders != {row.path for row in rows} or list(root.glob("models/.copy-*")):
        raise ValueError(f"rows {[row.path for row in rows]}, but folders {sorted(folders)}")
    return steps


WORK: dict[str, tuple[Callable[[Path, int], None], Callable[[Path], int]]] = {
    "commit": (commit, committed),
    "checkpoint": (checkpoint, checkpointed),
    "activation": (switch, switched),
    "registration": (keep, kept),
}


def prepare(root: Path) -> None:
    """Register two versions of a model."""
    for number in range(2):
        folder = root / f"made-{number}"
        bundle = Bundle(
            architecture={"name": "tiny", "in_chans": 1, "drop_rate": 0.0, "params": {}}, task="multiclass",
            classes=("good", "bad"), input_spec=InputSpec(in_chans=1, mean=(0.5,), std=(0.5,)),
        )  # fmt: skip
        torch.manual_seed(number)
        write_bundle(folder, bundle, torch.nn.Linear(4, 2))
        register(folder, name=NAME, kind="defect", workspace=root)


def work_until_killed(step: Callable[[Path, int], None], root: Path, first: int, told: int) -> None:
    """Do step after step, and tell each."""
    while True:
        step(root, first)
        os.write(told, b".")
        first += 1


def kill_once(kind: str, root: Path, rng: random.Random) -> str | None:
    """Start a process, kill it, look at what it left; return the fault, None where there is none."""
    step, count = WORK[kind]
    before = count(root)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        work_until_killed(step, root, before, writing)
    os.close(writing)
    os.read(reading, 1)  # it is at work
    time.sleep(rng.uniform(0, LONGEST))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    told = 1
    while more := os.read(reading, 65536):
        told += len(more)
    os.close(reading)
    try:
        after = count(root)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the finding
        return f"{kind}: {type(error).__name__}: {error}"
    if not told <= after - before <= told + 1:
        return f"{kind}: {told} steps were told, {after - before} are there"
    with contextlib.closing(sqlite3.connect(root / "ringlight.db")) as connection:
        verdict = connection.execute("PRAGMA integrity_check").fetchone()[0]
        orphans = connection.execute("PRAGMA foreign_key_check").fetchall()
    return None if verdict == "ok" and not orphans else f"{kind}: {verdict} {orphans}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=200, help="kills in all, of each kind in turn")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    rng, faults = random.Random(asked.seed), list[str]()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        prepare(root)
        for number in range(asked.times):
            kind = list(WORK)[number % len(WORK)]
            fault = kill_once(kind, root, rng)
            if fault is not None:
                faults.append(fault)
                print(fault, flush=True)
        steps = ", ".join(f"{count(root)} {kind}s" for kind, (_, count) in WORK.items())
    print(f"{asked.times} kills during {', '.join(WORK)}: {len(faults)} faults ({steps} survived)")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
