"""The count of a training step's memory (ringlight.training.memory) against what a process really takes.

Both are the bytes that one more image costs: counted on fake tensors, and the growth of the process's peak between a
batch of 2 and one of `--batch`, as Linux tells it. Each model has a process of its own.

    python benchmarks/memory_count.py [--size 160] [--batch 10]
"""

from __future__ import annotations

import argparse
import gc
import os
import subprocess
import sys
from pathlib import Path

import torch

from ringlight.models import build_model
from ringlight.training.compiling import autocast
from ringlight.training.memory import step_memory

MODELS = ("resnet18", "efficientnet_b0", "convnext_tiny_cbam")


def peak(module: torch.nn.Module, batch: int, size: int, precision: str) -> int:
    """Return the peak of the resident memory in one step, bytes."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak starts anew
    with autocast(torch.device("cpu"), precision):
        scores = module(torch.zeros(batch, 3, size, size))
    torch.nn.functional.cross_entropy(scores, torch.zeros(batch, dtype=torch.long)).backward()
    line = next(row for row in Path("/proc/self/status").read_text().splitlines() if row.startswith("VmHWM"))
    return 1024 * int(line.split()[1])


def compare(name: str, precision: str, batch: int, size: int) -> str:
    module = build_model(name, num_classes=4, pretrained=False).module.train()
    counted = step_memory(module, (size, size), precision=precision).per_image
    peak(module, 2, size, precision)
    real = (peak(module, batch, size, precision) - peak(module, 2, size, precision)) / (batch - 2)
    megabytes = f"counted {counted / 2**20:6.1f} MiB an image, measured {real / 2**20:6.1f}"
    return f"  {name:20} {precision:5} {megabytes}, ratio {counted / real:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=160)
    parser.add_argument("--batch", type=int, default=10)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.one:
        print(compare(*chosen.one, chosen.batch, chosen.size))
        return
    if not Path("/proc/self/clear_refs").exists():
        print("memory count: only Linux tells a process its peak, nothing measured")
        return
    print(f"memory of a training step, {chosen.size} px")
    # Blocks that are given back go to the system at once, so that the peak is what a step takes and not what it kept.
    plain = os.environ | {"GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=131072", "OMP_NUM_THREADS": "1"}
    plain.pop("LD_PRELOAD", None)
    sizes = ["--size", str(chosen.size), "--batch", str(chosen.batch)]
    for name in MODELS:
        for precision in ("32", "bf16"):
            subprocess.run([sys.executable, __file__, *sizes, "--one", name, precision], env=plain, check=True)


if __name__ == "__main__":
    main()
