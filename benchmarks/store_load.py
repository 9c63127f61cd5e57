"""A full store: 1,000 runs of 100 epochs with 20 metrics each, and 50 readers while 4 jobs write.

Printed are the median and the slowest of each question a person asks (budget: 200 ms), the same questions answered by
reading the runs' own files, which is what one would do without a store, as a ratio; and how often somebody was told
that the database is locked. Usage:

    python benchmarks/store_load.py [--runs 1000] [--epochs 100] [--metrics 20] [--url postgresql://...]
"""

from __future__ import annotations

import argparse
import json
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ringlight.errors import WorkspaceError
from ringlight.store.session import Store
from ringlight.store.tables import RunRow

BUDGET = 0.2
NAMES = [f"val/metric_{number:02d}" for number in range(100)]


def epochs_of(rng: np.random.Generator, count: int, metrics: int) -> list[dict[str, float]]:
    """Return made-up epochs."""
    table = rng.random((count, metrics))
    return [{"epoch": row, **dict(zip(NAMES, table[row].tolist(), strict=False))} for row in range(count)]


def fill(store: Store, runs: int, epochs: int, metrics: int) -> None:
    """Write runs into the store, and what their folders would hold beside it."""
    rng = np.random.default_rng(0)
    config = {"training": {f"key_{number}": number for number in range(150)}}
    for number in range(runs):
        name = f"run-{number:04d}"
        rows = epochs_of(rng, epochs, metrics)
        final = {key.removeprefix("val/"): value for key, value in rows[-1].items() if key != "epoch"}
        final["macro_f1"] = float(rng.random())
        with store.writing() as unit:
            row = unit.runs.add(
                RunRow(
                    name=name, path=f"runs/{name}", config=config, recipe=f"recipe-{number % 7}", metrics=final,
                    status="failed" if number % 10 == 0 else "completed", seed=number,
                )
            )  # fmt: skip
            unit.flush()
            unit.runs.put_epochs(row.id, rows)
        folder = store.root / "runs" / name
        folder.mkdir(parents=True)
        values = {"run": name, "recipe": f"recipe-{number % 7}", "test": {"scalars": final}, "history": rows}
        (folder / "results.json").write_text(json.dumps(values))


def seconds(ask: Callable[[], Any], times: int = 9) -> list[float]:
    """Return how long a question takes, several times; the first time is not counted: it loads the code."""
    ask()
    found = []
    for _ in range(times):
        started = time.perf_counter()
        ask()
        found.append(time.perf_counter() - started)
    return found


def questions(store: Store) -> dict[str, Callable[[], Any]]:
    """Return what people ask, each from opening the store to the answer."""

    def asked(answer: Callable[[Any], Any]) -> Callable[[], Any]:
        def ask() -> Any:
            with Store(store.root, store.url.render_as_string(hide_password=False)) as own, own.reading() as unit:
                return answer(unit)

        return ask

    def compared(unit: Any) -> Any:
        rows = [unit.runs.get(f"run-{number:04d}") for number in range(10)]
        return [(row.metrics, unit.runs.epochs(row.id)) for row in rows]

    return {
        "list every run": asked(lambda unit: [(row.name, row.status, row.metrics) for row in unit.runs.find()]),
        "list the latest 50": asked(lambda unit: unit.runs.find(limit=50)),
        "filter by state and recipe": asked(lambda unit: unit.runs.find(status=("failed",), recipe="recipe-3")),
        "filter and rank by a metric": asked(lambda unit: unit.runs.find(metric="macro_f1", at_least=0.9)),
        "compare ten, epoch by epoch": asked(compared),
    }


def by_files(root: Path) -> list[Any]:
    """Rank runs by a metric without a store: read every `results.json`."""
    found = [json.loads(path.read_text()) for path in sorted((root / "runs").glob("*/results.json"))]
    return sorted(found, key=lambda values: -values["test"]["scalars"]["macro_f1"])


def crowd(store: Store, readers: int = 50, writers: int = 4, for_seconds: float = 5.0) -> dict[str, int]:
    """Read and write at once; return how often each was done, and how often somebody was refused."""
    done = {"reads": 0, "writes": 0, "refused": 0}
    lock, ends = threading.Lock(), time.monotonic() + for_seconds
    ask = questions(store)["list the latest 50"]

    def counted(name: str, work: Callable[[int], Any]) -> None:
        number = 0
        while time.monotonic() < ends:
            try:
                work(number)
                outcome = name
            except WorkspaceError:
                outcome = "refused"
            number += 1
            with lock:
                done[outcome] += 1

    def write(run: int, number: int) -> None:
        with Store(store.root, store.url.render_as_string(hide_password=False)) as own, own.writing() as unit:
            unit.runs.put_epochs(run, [{"epoch": number % 100, **dict.fromkeys(NAMES[:20], 0.5)}])

    threads = [threading.Thread(target=counted, args=("reads", lambda _: ask())) for _ in range(readers)]
    threads += [threading.Thread(target=counted, args=("writes", partial(write, run))) for run in range(1, writers + 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return done


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--metrics", type=int, default=20)
    parser.add_argument("--url", help="another database than a file")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, Store(Path(folder), asked.url) as store:
        started = time.perf_counter()
        fill(store, asked.runs, asked.epochs, asked.metrics)
        print(f"{asked.runs} runs x {asked.epochs} epochs x {asked.metrics} metrics, written in "
              f"{time.perf_counter() - started:.0f} s; {store.url.get_backend_name()}")  # fmt: skip
        for question, ask in questions(store).items():
            found = seconds(ask)
            verdict = "within" if max(found) <= BUDGET else "OVER"
            print(f"{question}: median {1000 * np.median(found):.0f} ms, slowest {1000 * max(found):.0f} ms "
                  f"({verdict} the budget of {1000 * BUDGET:.0f} ms)")  # fmt: skip
        ranked = np.median(seconds(questions(store)["filter and rank by a metric"]))
        files = np.median(seconds(lambda: by_files(Path(folder)), times=3))
        print(f"ranking by a metric: {files / ranked:.0f} times faster than reading every results.json")
        done = crowd(store)
        print(f"50 readers and 4 writers at once: {done['reads']} reads, {done['writes']} writes, "
              f"refused {done['refused']}")  # fmt: skip


if __name__ == "__main__":
    main()
