"""All 12,568 real Severstal label rows split 70/15/15: how far is a class's share in a part from that in the whole?

Target: within 0.5 percentage points for every class and part, no id in two parts; budget: about 10 s. For comparison,
a plain shuffle, and what a first sketch of the splitter did: split the records of each class on their own, then combine
the lists, which puts images with two defects into two parts. Usage:

    python benchmarks/severstal_split.py [--seeds 5]
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np
import numpy.typing as npt

from _data import real_data
from ringlight.data.split import PARTS, STRATEGIES, StratifiedSplitter, split_dataset
from ringlight.data.table import TableSource
from ringlight.types import Dataset

STRATEGY = "stratified_70_15_15"
Parts = dict[str, npt.NDArray[np.int64]]


def deviation(labels: npt.NDArray[np.uint8], parts: Parts) -> float:
    """Return the largest distance of a share in a part from the share in the whole, in percentage points."""
    whole = labels.mean(axis=0)
    return 100 * max(float(np.abs(labels[rows].mean(axis=0) - whole).max()) for rows in parts.values())


def in_two_parts(parts: Parts) -> int:
    times = np.bincount(np.concatenate([np.unique(part) for part in parts.values()]))
    return int((times > 1).sum())


def shuffled(labels: npt.NDArray[np.uint8], seed: int) -> Parts:
    order = np.random.default_rng(seed).permutation(len(labels))
    ends = np.cumsum(np.array(STRATEGIES[STRATEGY]) * len(labels)).round().astype(int)
    return dict(zip(PARTS, np.split(order, ends[:2]), strict=True))


def class_by_class(labels: npt.NDArray[np.uint8], seed: int) -> Parts:
    parts: dict[str, list[npt.NDArray[np.int64]]] = {name: [] for name in PARTS}
    for column in range(labels.shape[1]):
        rows = np.flatnonzero(labels[:, column])
        for name, chosen in shuffled(labels[rows], seed + column).items():
            parts[name].append(rows[chosen])
    return {name: np.concatenate(rows) for name, rows in parts.items()}


def print_shares(dataset: Dataset, labels: npt.NDArray[np.uint8]) -> None:
    started = time.perf_counter()
    split = split_dataset(dataset, strategy=STRATEGY, seed=42)
    seconds = time.perf_counter() - started
    print(f"seed 42: {seconds:.2f} s, warnings: {list(split.warnings) or 'none'}\n")
    print(f"{'':12}{'records':>9}" + "".join(f"{name:>11}" for name in (*dataset.classes, "clean")))
    for name, rows in {"whole": np.arange(len(labels)), **split.parts()}.items():
        print(f"{name:12}{len(rows):9d}" + "".join(f"{share:11.3%}" for share in labels[rows].mean(axis=0)))
    pair = np.flatnonzero(labels[:, 1] & labels[:, 3])
    homes = [name for name, rows in split.parts().items() if np.isin(pair, rows).any()]
    print(f"\nimages with defects 2 and 4: {len(pair)}, in {', '.join(homes)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    seeds = range(parser.parse_args().seeds)
    dataset = TableSource(real_data("severstal-sample") / "image_labels_full.csv", task="multilabel").load()
    matrix = dataset.label_matrix()
    labels = np.column_stack([matrix, ~matrix.any(axis=1)]).astype(np.uint8)
    print_shares(dataset, labels)
    print(f"\n{'way':32}{'largest deviation':>20}{'in two parts':>15}{'seconds':>10}   (worst of {len(seeds)} seeds)")
    ways = {
        "iterative stratification": lambda seed: dict(
            zip(PARTS, StratifiedSplitter(seed).split(matrix, STRATEGIES[STRATEGY]), strict=True)
        ),
        "plain shuffle": lambda seed: shuffled(labels, seed),
        "each class alone, then combined": lambda seed: class_by_class(labels, seed),
    }
    for name, way in ways.items():
        rounds = []
        for seed in seeds:
            started = time.perf_counter()
            parts = way(seed)
            rounds.append((deviation(labels, parts), in_two_parts(parts), time.perf_counter() - started))
        worst, twice, _ = (max(column) for column in zip(*rounds, strict=True))
        print(f"{name:32}{worst:17.3f} pp{twice:15d}{statistics.median(turn[2] for turn in rounds):10.2f}")


if __name__ == "__main__":
    main()
