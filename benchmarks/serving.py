"""The server against the bare engine, batching against none, and what happens at twice what it can bear.

The bare engine runs prepared batches in a process of its own; the server decodes JPEG, speaks HTTP over loopback with a
client in a second process, and shares the same cores with both. Each round measures all of them one after another, and
the ratio is the median over the rounds, so that a busy machine harms all alike. Usage:

    python benchmarks/serving.py [--model resnet18] [--height 224] [--width 224] [--engine onnxruntime]
        [--max-batch 8] [--clients 24] [--seconds 10] [--rounds 3] [--budget-ms 1000]
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from _serving import Load, ask_for, export_bundle, jpeg, make_bundle, serving
from ringlight.runtime import cpu_count

FORMATS = {"onnxruntime": "onnx", "openvino": "openvino"}
PATH = "/v1/models/bench/predict"


def bare(model: Path, threads: int, batch: int, seconds: float) -> float:
    """Return images a second of the engine alone, on batches that are ready; in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_bare, (model, threads, batch, seconds))


def _bare(model: Path, threads: int, batch: int, seconds: float) -> float:
    import torch

    from ringlight.services.serving_engines import load_with

    torch.set_num_threads(threads)
    predictor = load_with(model, engine=None, threads=threads)
    height, width = predictor.bundle.input_spec.size
    inputs = np.random.default_rng(0).normal(size=(batch, 3, height, width)).astype(np.float32)
    ids = [str(row) for row in range(batch)]
    for _ in range(3):
        predictor.predict_prepared(inputs, ids)
    began, count = time.perf_counter(), 0
    while time.perf_counter() < began + seconds:
        predictor.predict_prepared(inputs, ids)
        count += batch
    return count / (time.perf_counter() - began)


def told(name: str, load: Load) -> str:
    """Return a line on a load."""
    others = ", ".join(f"{count} x {status}" for status, count in sorted(load.statuses.items()) if status != 200)
    return (
        f"{name}: {load.throughput:.1f} images/s, p50 {load.percentile(50):.0f} ms, p99 {load.percentile(99):.0f} ms"
        + (f" ({others})" if others else "")
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--height", type=int, default=224)
    parser.add_argument("--width", type=int, default=224)
    parser.add_argument("--engine", default="onnxruntime", choices=["torch", *FORMATS])
    parser.add_argument("--max-batch", type=int, default=8)
    parser.add_argument("--clients", type=int, default=24)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--budget-ms", type=float, default=1000.0)
    asked = parser.parse_args()
    size, threads = (asked.height, asked.width), cpu_count()
    body = jpeg(size)
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as stack:
        folder = Path(temporary)
        model = make_bundle(folder / "bench", asked.model, size)
        if asked.engine != "torch":
            model = export_bundle(model, folder / "export" / "bench", FORMATS[asked.engine])
        options = ["--p99-budget-ms", str(asked.budget_ms)]
        print(f"{asked.model} at {size[0]} x {size[1]}, {asked.engine}, {threads} threads, JPEG of {len(body)} bytes")
        servers = {
            batch: stack.enter_context(
                serving(
                    f"bench={model}", workspace=folder, log=folder / f"{batch}.log",
                    options=[*options, "--max-batch", str(batch), "--queue", "64"],
                )
            )
            for batch in {1, asked.max_batch}
        }  # fmt: skip
        ratios, gains = [], []
        for number in range(asked.rounds):
            engine = bare(model, threads, asked.max_batch, asked.seconds / 2)
            loads = {
                batch: ask_for(server, PATH, body, seconds=asked.seconds, clients=asked.clients)
                for batch, server in servers.items()
            }
            engine = (engine + bare(model, threads, asked.max_batch, asked.seconds / 2)) / 2
            ratios.append(loads[asked.max_batch].throughput / engine)
            gains.append(loads[asked.max_batch].throughput / loads[1].throughput)
            print(f"round {number + 1}: bare engine, batches of {asked.max_batch}: {engine:.1f} images/s")
            for batch, load in loads.items():
                print(told(f"  server, batches of up to {batch}, {asked.clients} clients", load))
        print(f"server / bare engine: {statistics.median(ratios):.2f}")
        print(f"batching / none: {statistics.median(gains):.2f}")
        one = ask_for(servers[asked.max_batch], PATH, body, seconds=asked.seconds / 2, clients=1)
        print(told("one client", one))
        twice = 2 * loads[asked.max_batch].throughput
        lasting = asked.rounds * asked.seconds
        over = ask_for(servers[asked.max_batch], PATH, body, seconds=lasting, clients=256, rate=twice)
        print(told(f"{twice:.0f} requests/s, twice what it bears, budget {asked.budget_ms:.0f} ms", over))


if __name__ == "__main__":
    main()
