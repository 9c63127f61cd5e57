"""What a second loader process brings: images per second of one and of two workers, taking turns in one run.

The work is what a worker is for: decode a JPEG, bring it to size, augment it (`light`), hand the batch over. NEU at
200 px and strips of 256 x 1600, without a cache. Two workers and the main process share the cores, so that on two
cores 2.0 is out of reach. Usage:

    python benchmarks/loader_workers.py [--rounds 5] [--strips 150]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from loader import BATCH, LIGHT, neu_folder, strip_folder
from ringlight.data.augment import Augmenter
from ringlight.data.content import hash_contents
from ringlight.data.folder import FolderSource
from ringlight.data.loader import make_loader
from ringlight.data.preprocess import InputSpec
from ringlight.runtime import cpu_count
from ringlight.types import Dataset


def rate(dataset: Dataset, size: tuple[int, int], workers: int) -> float:
    """Return images per second of the second epoch: the workers are up by then."""
    loader = make_loader(
        dataset, InputSpec(3, size), batch_size=BATCH, seed=0, shuffle=True, num_workers=workers, raw=True,
        augmenter=Augmenter(LIGHT, seed=0),
    )  # fmt: skip
    for _ in loader:
        continue
    started = time.perf_counter()
    count = sum(len(batch["index"]) for batch in loader)
    return count / (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--strips", type=int, default=150)
    chosen = parser.parse_args()
    print(f"{cpu_count()} cores, {chosen.rounds} rounds")
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        sets = {
            "NEU 200 px": (neu_folder(root / "neu"), (200, 200)),
            "strips 256 x 1600": (strip_folder(root / "strips", chosen.strips), (256, 1600)),
        }
        for title, (folder, size) in sets.items():
            data = hash_contents(FolderSource(folder).load())
            pairs = [(rate(data, size, 1), rate(data, size, 2)) for _ in range(chosen.rounds)]
            one, two = (statistics.median(side) for side in zip(*pairs, strict=True))
            ratio = statistics.median(second / first for first, second in pairs)
            print(f"  {title:18} 1 worker {one:7.0f} images/s, 2 workers {two:7.0f}; ratio {ratio:.2f}", flush=True)


if __name__ == "__main__":
    main()
