"""Load at 80 % of saturation for 30 minutes: no error, and memory that stays flat.

Saturation is measured first; then requests come at four fifths of that rate. Memory is read every few seconds; what is
printed is the median of the first and of the last tenth, after a minute of warming up. Usage:

    python benchmarks/serving_soak.py [--minutes 30] [--model resnet18] [--size 224] [--engine onnxruntime]
        [--share 0.8] [--most-refused 0]

A request that is told to come again (429) is no error where others take the processor away meanwhile: --most-refused
says how large a share may be.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import threading
import time
from pathlib import Path

from _serving import ask_for, export_bundle, jpeg, make_bundle, serving

FORMATS = {"onnxruntime": "onnx", "openvino": "openvino"}
PATH = "/v1/models/bench/predict"
EVERY = 2.0
MOST_GROWTH = 0.05
"""Of the memory, from the first tenth to the last."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--size", type=int, default=224, help="height and width of the images")
    parser.add_argument("--engine", default="onnxruntime", choices=["torch", *FORMATS])
    parser.add_argument("--share", type=float, default=0.8)
    parser.add_argument("--most-refused", type=float, default=0.0, help="share of requests that may get a 429")
    parser.add_argument("--clients", type=int, default=32)
    asked = parser.parse_args()
    size = (asked.size, asked.size)
    body = jpeg(size)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        model = make_bundle(folder / "bench", asked.model, size)
        if asked.engine != "torch":
            model = export_bundle(model, folder / "export" / "bench", FORMATS[asked.engine])
        options = ["--p99-budget-ms", "5000"]
        with serving(f"bench={model}", workspace=folder, options=options, log=folder / "log") as server:
            full = ask_for(server, PATH, body, seconds=20, clients=asked.clients)
            rate = asked.share * full.throughput
            print(f"saturated: {full.throughput:.1f} images/s; {asked.share:.0%} of it for {asked.minutes:g} minutes")
            ask_for(server, PATH, body, seconds=min(60.0, 10 * asked.minutes), clients=asked.clients, rate=rate)
            memory: list[int] = []
            ended = threading.Event()

            def read() -> None:
                while not ended.wait(EVERY):
                    memory.append(server.memory)

            reader = threading.Thread(target=read)
            reader.start()
            began = time.perf_counter()
            load = ask_for(server, PATH, body, seconds=60 * asked.minutes, clients=asked.clients, rate=rate)
            ended.set()
            reader.join()
    tenth = max(1, len(memory) // 10)
    first, last = (statistics.median(part) / 2**20 for part in (memory[:tenth], memory[-tenth:]))
    refused = load.statuses[429]
    errors = sum(count for status, count in load.statuses.items() if status not in (200, 429))
    print(
        f"{load.statuses[200]} answers in {time.perf_counter() - began:.0f} s, {refused} told to come again, "
        f"{errors} errors {dict(load.statuses)}"
    )
    print(f"p50 {load.percentile(50):.0f} ms, p99 {load.percentile(99):.0f} ms")
    print(f"memory: {first:.0f} MiB at first, {last:.0f} MiB at last ({last / first - 1:+.1%})")
    is_refusing = refused > asked.most_refused * sum(load.statuses.values())
    if errors or is_refusing or last > first * (1 + MOST_GROWTH):
        raise SystemExit("expected no error and flat memory")


if __name__ == "__main__":
    main()
