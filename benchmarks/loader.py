"""The loader with its cache against torchvision's `ImageFolder` + `DataLoader` and against timm's loader.

Two sets of images in a folder a class: NEU (1,800 of 200 x 200, JPEG) and strips of 256 x 1600 (the 25 real Severstal
strips, each written again several times as another file: shifted along the coil, JPEG of the same size on disk). Both
sides read shuffled batches of 32 RGB images at their own size on the CPU and hand over tensors in the main process:

    plain      uint8 images as they are, with labels (ImageFolder: Resize, PILToTensor)
    light      the default augmentation on both sides: two flips, brightness and contrast (torchvision v2 on uint8)
    timm       float32, normalised, not augmented (`timm.data.create_loader`, no prefetcher: it is for CUDA)

Ringlight's first epoch begins with an empty cache folder: decoding and writing all images is part of it, in a thread a
processor as by default. The digests of the files are there already: every run takes them when it loads the data, with
a cache or without, as `ImageFolder` lists its files before the clock starts. Both sides have the same number of
workers, kept alive over the epochs (batches that are only copied out of the cache are copied by the main process,
whatever the number). The files are in the page cache. Rounds of the sides alternate, so that a busy machine slows both;
medians are printed.

    python benchmarks/loader.py [--rounds 3] [--strips 300] [--workers 0 2]
"""

from __future__ import annotations

import argparse
import functools
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import timm.data
import torch
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from _data import real_data
from ringlight.data.augment import Augmenter
from ringlight.data.cache import open_cache
from ringlight.data.content import hash_contents
from ringlight.data.folder import FolderSource
from ringlight.data.loader import make_loader
from ringlight.data.preprocess import InputSpec
from ringlight.types import Dataset

BATCH, EPOCHS = 32, 3
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
LIGHT = {
    "horizontal_flip": 0.5,
    "vertical_flip": 0.5,
    "brightness_contrast": {"brightness": 0.1, "contrast": 0.1, "probability": 0.5},
}
Size = tuple[int, int]
Times = list[float]
"""Seconds of each epoch."""


def neu_folder(root: Path) -> Path:
    for path in (real_data("neu-det") / "images").glob("*.jpg"):
        target = root / path.stem.rpartition("_")[0] / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    return root


def strip_folder(root: Path, count: int) -> Path:
    strips = sorted((real_data("severstal-sample") / "images").glob("*.jpg"))
    for index, path in zip(range(count), itertools.cycle(strips), strict=False):
        target = root / f"class {index % 4}" / f"{index}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.roll(cv2.imread(str(path)), 16 * (index // len(strips)), axis=1)
        cv2.imwrite(str(target), pixels, [cv2.IMWRITE_JPEG_QUALITY, 90])
    return root


def timed(loader: Iterable[Any], start: float, seen: Callable[[Any], int], expected: int) -> float:
    """Return the seconds since `start` after all batches have come."""
    count = sum(seen(batch) for batch in loader)
    if count != expected:
        raise SystemExit(f"expected {expected} images, got {count}")
    return time.perf_counter() - start


def ringlight(dataset: Dataset, size: Size, workers: int, *, augment: bool, raw: bool = True) -> Times:
    spec = InputSpec(3, size, mean=MEAN, std=STD)
    times: Times = []
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        cache = open_cache(dataset, spec, Path(folder), budget_gib=8)
        loader = make_loader(
            dataset, spec, batch_size=BATCH, seed=0, shuffle=True, cache=cache, raw=raw, num_workers=workers,
            augmenter=Augmenter(LIGHT, seed=0) if augment else None,
        )  # fmt: skip
        for epoch in range(EPOCHS):
            loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
            times.append(timed(loader, start, lambda batch: len(batch["index"]), len(dataset)))
            start = time.perf_counter()
    return times


def torchvision(root: Path, size: Size, workers: int, *, augment: bool) -> Times:
    parts: list[Any] = [v2.Resize(size), v2.PILToTensor()]
    if augment:
        jitter = v2.RandomApply([v2.ColorJitter(brightness=0.1, contrast=0.1)], 0.5)
        parts += [v2.RandomHorizontalFlip(0.5), v2.RandomVerticalFlip(0.5), jitter]
    images = ImageFolder(root, v2.Compose(parts))
    loader = DataLoader(images, BATCH, shuffle=True, num_workers=workers, persistent_workers=workers > 0)
    return epochs(loader, len(images))


def timm_loader(root: Path, size: Size, workers: int) -> Times:
    images = timm.data.ImageDataset(str(root))
    loader = timm.data.create_loader(
        images, (3, *size), BATCH, is_training=True, no_aug=True, use_prefetcher=False, mean=MEAN, std=STD,
        num_workers=workers, persistent_workers=workers > 0, device=torch.device("cpu"),
    )  # fmt: skip
    return epochs(loader, len(images) // BATCH * BATCH)  # it leaves the incomplete last batch out


def epochs(loader: Any, count: int) -> Times:
    return [timed(loader, time.perf_counter(), lambda batch: len(batch[0]), count) for _ in range(EPOCHS)]


def compare(title: str, count: int, rounds: int, ours: Callable[[], Times], theirs: Callable[[], Times]) -> None:
    pairs = [(ours(), theirs()) for _ in range(rounds)]
    sides = list(zip(*pairs, strict=True))
    later = [statistics.median(count / statistics.mean(times[1:]) for times in side) for side in sides]
    first = [statistics.median(count / times[0] for times in side) for side in sides]
    ratio = statistics.median(statistics.mean(other[1:]) / statistics.mean(own[1:]) for own, other in pairs)
    both = statistics.median(sum(other[:2]) / sum(own[:2]) for own, other in pairs)
    print(f"{title:22} {later[0]:8.0f} {later[1]:7.0f} {ratio:6.1f}x {first[0]:9.0f} {first[1]:7.0f} {both:10.1f}x")


def compare_all(root: Path, dataset: Dataset, size: Size, workers: int, rounds: int) -> None:
    ringlight(dataset, size, workers, augment=True)  # imports and the page cache settle
    for title, augment in (("  plain, torchvision", False), ("  light, torchvision", True)):
        ours = functools.partial(ringlight, dataset, size, workers, augment=augment)
        compare(title, len(dataset), rounds, ours, functools.partial(torchvision, root, size, workers, augment=augment))
    ours = functools.partial(ringlight, dataset, size, workers, augment=False, raw=False)
    compare("  float32, timm", len(dataset), rounds, ours, functools.partial(timm_loader, root, size, workers))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--strips", type=int, default=300)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2])
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as name:
        sets = {
            "NEU 200x200": (neu_folder(Path(name) / "neu"), (200, 200)),
            "strips 256x1600": (strip_folder(Path(name) / "strips", options.strips), (256, 1600)),
        }
        print(f"images/s: ours, theirs, their ratio; medians of {options.rounds} rounds")
        print("targets for plain: 10x from epoch 2, 3x over epochs 1-2")
        print(f"{'':22} {'from epoch 2':^24} {'epoch 1':>15} {'epochs 1-2':>13}")
        for (title, (root, size)), workers in itertools.product(sets.items(), options.workers):
            dataset = hash_contents(FolderSource(root).load())
            print(f"{title}, {len(dataset)} images, {workers} workers", flush=True)
            compare_all(root, dataset, size, workers, options.rounds)


if __name__ == "__main__":
    main()
