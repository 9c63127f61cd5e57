"""Magnetic tiles: what a random split pretends, by one classifier under random folds and under folds of whole groups.

Class-balanced logistic regression on frozen EfficientNet-Lite0 features, five folds, every tile predicted once,
macro-F1 with the 95 % interval of a bootstrap over groups. Groups are the bursts of `magnetic-tile-bursts.csv`,
the near-duplicates that Ringlight finds itself, and as a control bursts of the same sizes with shuffled members.
Quoted for comparison: .913 on random folds, .561 on grouped ones, .911 for the control; these used 258 groups, bursts
of which some were merged as near-duplicates. Targets: the quoted scores lie in the intervals of the bursts' rows, and
the control shows no leakage. Usage:

    python benchmarks/magnetic_tile_leak.py [--seeds 0 1 2] [--plain]
"""

from __future__ import annotations

import argparse
import csv
import time

import numpy as np

from _data import real_data, real_file
from ringlight.data.content import hash_contents
from ringlight.data.duplicates import near_duplicates
from ringlight.data.folder import FolderSource
from ringlight.training.features import embedder, features_of, plain_embedder
from ringlight.training.leakage import probe_leak
from ringlight.types import Dataset

QUOTED = {"bursts": (0.913, 0.561), "control": (0.913, 0.911)}


def grouped_ways(images: Dataset, seed: int) -> dict[str, Dataset]:
    with real_file("magnetic-tile-bursts.csv").open(newline="", encoding="utf-8") as stream:
        burst = {row["file"]: row["burst"] for row in csv.DictReader(stream)}
    bursts = [burst[key] for key in images.ids]
    shuffled = np.random.default_rng(seed).permutation(bursts).tolist()
    started = time.perf_counter()
    found = near_duplicates(images)
    print(f"near-duplicates found in {time.perf_counter() - started:.1f} s: {found.linked} of {len(images)} linked")
    named = {"bursts": bursts, "found": list(found.groups), "control": shuffled}
    return {name: images.with_column("group", groups) for name, groups in named.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--plain", action="store_true", help="plain pixels, as where no weights are at hand")
    chosen = parser.parse_args()
    images = hash_contents(FolderSource(real_data("magnetic-tile"), extensions=[".jpg"]).load())
    frozen = plain_embedder() if chosen.plain else embedder()
    started = time.perf_counter()
    features = features_of(images, frozen)
    print(f"{frozen.title} of {len(images)} images: {time.perf_counter() - started:.1f} s")
    ways = grouped_ways(images, chosen.seeds[0])
    print(f"\n{'groups':8} number seed  {'random folds':22} {'grouped folds':22} {'points':>18} seconds  quoted")
    for name, dataset in ways.items():
        for seed in chosen.seeds:
            started = time.perf_counter()
            probe = probe_leak(dataset, features=features, seed=seed, described=frozen.title)
            if probe is None:
                raise SystemExit(f"{name}: nothing to probe")
            points = f"{probe.points:5.1f} [{100 * probe.gap.low:.1f}, {100 * probe.gap.high:.1f}]"
            quoted = "" if chosen.plain else " / ".join(f"{value:.3f}" for value in QUOTED.get(name, ()))
            print(
                f"{name:8} {probe.num_groups:6d} {seed:4d}  {probe.random!s:22} {probe.grouped!s:22} {points:>18} "
                f"{time.perf_counter() - started:7.1f}  {quoted}",
                flush=True,
            )
        print(f"         {probe.sentence}")


if __name__ == "__main__":
    main()
