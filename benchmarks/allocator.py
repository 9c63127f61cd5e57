"""Training steps under other memory allocators: glibc as it is, glibc with tunables, tcmalloc, jemalloc.

PyTorch asks for tens of megabytes a layer and gives them back after every step. Plain glibc hands such blocks back to
the system each time and takes them again page by page; the others keep them. Every allocator trains the same model in a
process of its own (an allocator is chosen when a process starts); they take turns. The median ratio to plain glibc is
printed by the clock on the wall and by the processor's, which other programs disturb less.

Usage: python benchmarks/allocator.py [--models resnet18 convnext_tiny efficientnet_b0] [--rounds 3]
       (Debian, Ubuntu: apt-get install libtcmalloc-minimal4 libjemalloc2)
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time

import torch

from ringlight.services.allocators import TUNABLES, find_library

STEPS, WARM_UP, BATCH, SIZE, CLASSES = 5, 2, 16, 112, 6


def settings() -> dict[str, dict[str, str] | None]:
    """Return the environment of each allocator; None where it is not installed."""
    ways: dict[str, dict[str, str] | None] = {"glibc": {}, "glibc tunables": {"GLIBC_TUNABLES": TUNABLES}}
    for name in ("tcmalloc", "jemalloc"):
        library = find_library(name)
        ways[name] = None if library is None else {"LD_PRELOAD": str(library)}
    return ways


def step_time(model: str) -> tuple[float, float]:
    """Return the median seconds of a step in this process, by the wall's clock and the processor's."""
    from ringlight.models import build_model

    torch.manual_seed(0)
    module = build_model(model, num_classes=CLASSES, pretrained=False).module.train()
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-4)
    images, targets = torch.randn(BATCH, 3, SIZE, SIZE), torch.randint(0, CLASSES, (BATCH,))
    times = []
    for _ in range(WARM_UP + STEPS):
        started = time.perf_counter(), time.process_time()
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(module(images), targets).backward()
        optimizer.step()
        times.append((time.perf_counter() - started[0], time.process_time() - started[1]))
    wall, processor = zip(*times[WARM_UP:], strict=True)
    return statistics.median(wall), statistics.median(processor)


def measured(model: str, environment: dict[str, str]) -> tuple[float, float]:
    command = [sys.executable, __file__, "--one", model]
    plain = {name: value for name, value in os.environ.items() if name not in ("LD_PRELOAD", "GLIBC_TUNABLES")}
    done = subprocess.run(command, env=plain | environment, capture_output=True, text=True, check=True)
    wall, processor = done.stdout.split()[-2:]
    return float(wall), float(processor)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["resnet18", "convnext_tiny", "efficientnet_b0"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.one:
        print(*step_time(chosen.one))
        return
    print(f"training step, {SIZE} px, batch {BATCH}, {torch.get_num_threads()} threads, {chosen.rounds} rounds")
    for model in chosen.models:
        ways = {name: env for name, env in settings().items() if env is not None}
        rounds = [{name: measured(model, env) for name, env in ways.items()} for _ in range(chosen.rounds)]
        for name in settings():
            if name not in ways:
                print(f"  {model:16} {name:16} not installed")
                continue
            line = f"  {model:16} {name:16}"
            for clock, title in enumerate(("wall", "processor")):
                middle = 1000 * statistics.median(row[name][clock] for row in rounds)
                ratios = [row["glibc"][clock] / row[name][clock] for row in rounds]
                spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
                line += f"  {title} {middle:6.0f} ms, {statistics.median(ratios):.2f} times as fast ({spread})"
            print(line, flush=True)


if __name__ == "__main__":
    main()
