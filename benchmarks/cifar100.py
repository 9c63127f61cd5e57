"""CIFAR-100 by its recipe on a GPU: accuracy on the published test part, recorded in `benchmarks/results/`.

    RINGLIGHT_CIFAR100=/data/cifar-100-python python benchmarks/cifar100.py [--epochs 60] [--seeds 0] [--mix random]

Without the data or a GPU one line is printed and nothing trained. `--device cpu` only shows that the script runs.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

import ringlight as rl

RESULTS = Path(__file__).parent / "results"


def record(values: dict[str, Any]) -> None:
    """Write the figures with what they were measured on."""
    now = datetime.now(UTC)
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    told = {
        "benchmark": "cifar100", "gpu": torch.cuda.get_device_name(0), "date": now.isoformat(timespec="seconds"),
        "commit": commit or "unknown", "torch": torch.__version__, **values,
    }  # fmt: skip
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"cifar100-{values['mix']}-seed{values['seed']}-{now:%Y-%m-%d}.json"
    path.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=os.environ.get("RINGLIGHT_CIFAR100"))
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--mix", nargs="+", default=["random"], help="none, mixup, cutmix, tokenmix, mixtoken, random")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="further overrides")
    options = parser.parse_args()
    if options.root is None or not options.root.exists():
        where = "no folder given" if options.root is None else f"nothing at {options.root}"
        print(f"cifar100: {where}, nothing trained; set RINGLIGHT_CIFAR100 to the unpacked archive")
        return
    if options.device == "cuda" and not torch.cuda.is_available():
        print("cifar100: no CUDA device here, nothing trained")
        return
    print(f"{'mix':10} seed  accuracy  macro-F1  epochs  minutes")
    for mix in options.mix:
        for seed in options.seeds:
            settings = [
                f"data.root={options.root}", f"experiment.seed={seed}", f"mix={mix}",
                f"training.num_epochs={options.epochs}", f"training.device={options.device}", *options.set,
            ]  # fmt: skip
            started = time.perf_counter()
            with tempfile.TemporaryDirectory() as workspace:
                scores = rl.train("cifar100", settings, workspace=workspace).results["test"]["scalars"]
            minutes = (time.perf_counter() - started) / 60
            figures = f"{scores['accuracy']:9.4f} {scores['macro_f1']:9.4f} {options.epochs:7d} {minutes:8.1f}"
            print(f"{mix:10} {seed:4d} {figures}", flush=True)
            if options.device == "cuda":
                record(
                    {"mix": mix, "seed": seed, "epochs": options.epochs, "minutes": round(minutes, 1),
                     "accuracy": scores["accuracy"], "macro_f1": scores["macro_f1"], "overrides": options.set}
                )  # fmt: skip


if __name__ == "__main__":
    main()
