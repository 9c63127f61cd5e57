"""Memory of a loader's workers as the data set grows tenfold: flat, with the pictures in a cache.

Random images of 224 x 224 RGB, each written once as BMP; the data set names them under as many records as asked for, so
that the tables grow, too. Two workers deliver two augmented epochs; the largest values of any worker are printed:

    private    memory that is the worker's own, shared with nobody
    share      its proportional share of all it uses (PSS)
    resident   everything it has mapped in, also pages of the cache's file, which all processes share and the system
               takes back when it needs them (RSS)

Target: the tenfold data set takes at most 1.2 times the memory in each column. Usage:

    python benchmarks/cache_memory.py [--images 300 3000]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import cv2
import numpy as np
import psutil

from ringlight.data.augment import Augmenter
from ringlight.data.cache import open_cache
from ringlight.data.content import hash_contents
from ringlight.data.loader import make_loader
from ringlight.data.preprocess import InputSpec
from ringlight.types import Dataset, Record

SIDE, BATCH, WORKERS, COPIES = 224, 32, 2, 3
COLUMNS = ("private", "share", "resident")


def records(folder: Path, count: int) -> Dataset:
    """Write images and name each under several records."""
    rng = np.random.default_rng(count)
    found = []
    for index in range(count):
        path = folder / f"{index}.bmp"
        cv2.imwrite(str(path), rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8))
        ids = [f"image {index} of the line, copy {copy}" for copy in range(COPIES)]
        found += [Record(id=key, uri=str(path), labels=(index % 2,)) for key in ids]
    return Dataset.from_records(found, ["good", "bad"], "multiclass")


def workers_memory(count: int) -> list[float]:
    """Return the peaks of :data:`COLUMNS` over the workers, in MiB."""
    peaks = [0.0] * len(COLUMNS)
    with tempfile.TemporaryDirectory() as name:
        dataset = hash_contents(records(Path(name), count))
        cache = open_cache(dataset, InputSpec(3, SIDE), Path(name) / "cache", budget_gib=8)
        loader = make_loader(
            dataset, InputSpec(3, SIDE), batch_size=BATCH, seed=0, shuffle=True, cache=cache, raw=True,
            augmenter=Augmenter({"horizontal_flip": 0.5}, seed=0), num_workers=WORKERS,
        )  # fmt: skip
        for epoch in range(2):
            loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
            for number, _ in enumerate(loader):
                if number % 5 == 0:
                    for child in psutil.Process().children():
                        memory = child.memory_full_info()
                        values = (memory.uss, memory.pss, memory.rss)
                        peaks = [max(peak, value / 2**20) for peak, value in zip(peaks, values, strict=True)]
    return peaks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs=2, default=[300, 3000])
    counts = parser.parse_args().images
    cv2.setNumThreads(1)
    workers_memory(32)  # imports settle
    print(f"{'images':>8} {'records':>9} {'cache':>9} " + " ".join(f"{column:>12}" for column in COLUMNS))
    table = []
    for count in counts:
        table.append(workers_memory(count))
        size = count * SIDE * SIDE * 3 / 2**20
        print(f"{count:8} {count * COPIES:9} {size:5.0f} MiB " + " ".join(f"{value:8.1f} MiB" for value in table[-1]))
    ratios = [later / first for first, later in zip(*table, strict=True)]
    print(f"{'ratio':>28} " + " ".join(f"{ratio:12.2f}" for ratio in ratios))


if __name__ == "__main__":
    main()
