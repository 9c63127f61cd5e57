"""Images per second on a GPU in bf16 and channels last, recorded in `benchmarks/results/` with name, date, commit.

    python benchmarks/gpu.py [--part resnet50 convnext_tiny efficientnet_b0 resident] [--images 8192]

- resnet50: training end to end (decoded once into the cache, augmented and normalised on the device) against training
  on one synthetic batch that already lies there. Targets: at least 95 % of it, and 4,000 images/s on one H200.
- convnext_tiny, efficientnet_b0: training on synthetic data. Targets: 2,500 and 5,000 images/s.
- resident: all pictures in the GPU's memory, drawn, augmented, normalised. Target: 50,000 images/s.

Without a GPU one line is printed and nothing measured. `--device cpu` only shows that the script runs.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from ringlight.data.augment_batch import BatchAugmenter
from ringlight.data.cache import PixelCache, open_cache
from ringlight.data.content import hash_contents
from ringlight.data.loader import make_loader
from ringlight.data.preprocess import InputSpec
from ringlight.data.resident import resident_loader
from ringlight.models import build_model
from ringlight.optim import build_optimizer
from ringlight.training.compiling import autocast
from ringlight.training.device_input import DeviceInput
from ringlight.training.speed_trials import lay_out
from ringlight.types import Dataset, Record

PARTS = ("resnet50", "convnext_tiny", "efficientnet_b0", "resident")
TARGETS = {"resnet50": 4000, "convnext_tiny": 2500, "efficientnet_b0": 5000, "resident": 50_000}
AUGMENTATION = {"horizontal_flip": True, "vertical_flip": True, "brightness_contrast": True, "shift_scale": True}
CLASSES = 10
RESULTS = Path(__file__).parent / "results"


def pictures(folder: Path, count: int, size: int) -> Dataset:
    """Write `count` JPEG files of smooth noise; a few drawings serve for all, each stored under its own name."""
    generator, records = np.random.default_rng(0), []
    for number in range(count):
        coarse = generator.integers(0, 256, (size // 8, size // 8, 3), dtype=np.uint8)
        path = folder / f"{number}.jpg"
        cv2.imwrite(str(path), cv2.resize(coarse, (size, size)))
        records.append(Record(id=str(number), uri=str(path), labels=(number % CLASSES,)))
    return Dataset.from_records(records, [str(number) for number in range(CLASSES)], "multiclass")


class Training:
    """A model in training on the device."""

    def __init__(self, name: str, device: torch.device) -> None:
        torch.manual_seed(0)
        self.device = device
        self.module = build_model(name, num_classes=CLASSES, pretrained=False).module.train()
        lay_out(self.module, "channels_last", str(device))
        self.optimizer = build_optimizer("sgd", self.module, lr=0.01, weight_decay=1e-4)

    def rate(self, batches: Iterator[Any], steps: int, warm_up: int) -> float:
        """Return images per second over `steps` after `warm_up`."""
        seen, started = 0, 0.0
        for step, batch in enumerate(itertools.islice(batches, warm_up + steps)):
            if step == warm_up:
                wait(self.device)
                seen, started = 0, time.perf_counter()
            self.optimizer.zero_grad()
            with autocast(self.device, "bf16"):
                loss = torch.nn.functional.cross_entropy(self.module(batch["input"]), batch["target"])
            loss.backward()
            self.optimizer.step()
            seen += len(batch["input"])
        wait(self.device)
        return seen / (time.perf_counter() - started)


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def synthetic(batch_size: int, size: int, device: torch.device) -> Iterator[Any]:
    images = torch.randn(batch_size, 3, size, size, device=device).contiguous(memory_format=torch.channels_last)
    return itertools.repeat({"input": images, "target": torch.randint(0, CLASSES, (batch_size,), device=device)})


def kept(folder: Path, options: argparse.Namespace, spec: InputSpec) -> tuple[Dataset, PixelCache]:
    """Write pictures and decode them into a cache."""
    dataset = hash_contents(pictures(folder, options.images, options.size))
    cache = open_cache(dataset, spec, folder / "cache", budget_gib=20)
    if cache is None:
        raise SystemExit("gpu benchmarks: no room for the cache, lower --images")
    return dataset, cache


def end_to_end(folder: Path, options: argparse.Namespace, device: torch.device) -> Iterator[Any]:
    """Yield training batches as a run with a cache and augmentation on the device gets them."""
    spec = InputSpec(3, (options.size, options.size))
    dataset, cache = kept(folder, options, spec)
    loader = make_loader(
        dataset, spec, batch_size=options.batch, seed=0, shuffle=True, drop_last=True, cache=cache, raw=True,
        pin_memory=device.type == "cuda",
    )  # fmt: skip
    turn = DeviceInput(spec, record_ids=dataset.ids, augmenter=BatchAugmenter(AUGMENTATION, seed=0))
    for epoch in itertools.count():
        loader.sampler.set_epoch(epoch)
        for batch in loader:
            moved = {key: batch[key].to(device, non_blocking=True) for key in ("input", "target")}
            yield turn({**batch, **moved}, epoch=epoch, training=True, device=device)


def training(name: str, options: argparse.Namespace, device: torch.device) -> dict[str, float]:
    trained = Training(name, device)
    rate = trained.rate(synthetic(options.batch, options.size, device), options.steps, options.warm_up)
    figures = {"synthetic_images_per_second": rate}
    if name == "resnet50":
        with tempfile.TemporaryDirectory() as folder:
            source = end_to_end(Path(folder), options, device)
            whole = trained.rate(source, options.steps, max(options.warm_up, options.images // options.batch))
        figures |= {"end_to_end_images_per_second": whole, "share_of_synthetic": whole / rate}
    return figures


def resident(options: argparse.Namespace, device: torch.device) -> dict[str, float]:
    """Draw, augment and normalise epochs of pictures that lie on the device, as a run with keep_on_device does."""
    spec = InputSpec(3, (options.size, options.size))
    with tempfile.TemporaryDirectory() as folder:
        dataset, cache = kept(Path(folder), options, spec)
        free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 2**40
        loader = resident_loader(
            dataset, spec, cache, device=device, free=free, batch_size=options.batch, seed=0, shuffle=True
        )
    if loader is None:
        raise SystemExit("gpu benchmarks: the pictures do not fit, lower --images")
    turn = DeviceInput(spec, record_ids=dataset.ids, augmenter=BatchAugmenter(AUGMENTATION, seed=0))
    seen, started = 0, 0.0
    for step, (epoch, batch) in enumerate(epochs(loader, options.warm_up + options.steps)):
        if step == options.warm_up:
            wait(device)
            seen, started = 0, time.perf_counter()
        turn(batch, epoch=epoch, training=True, device=device)
        seen += len(batch["index"])
    wait(device)
    return {"augmented_images_per_second": seen / (time.perf_counter() - started)}


def epochs(loader: Any, steps: int) -> Iterator[tuple[int, Any]]:
    """Yield so many batches with their epochs."""
    left = steps
    for epoch in itertools.count():
        loader.sampler.set_epoch(epoch)
        for batch in itertools.islice(loader, left):
            yield epoch, batch
            left -= 1
        if not left:
            return


def record(name: str, figures: dict[str, float], options: argparse.Namespace) -> None:
    """Write the figures with what they were measured on."""
    now = datetime.now(UTC)
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    values = {
        "benchmark": name, "gpu": torch.cuda.get_device_name(0), "date": now.isoformat(timespec="seconds"),
        "commit": commit or "unknown", "torch": torch.__version__, "batch_size": options.batch, "size": options.size,
        "target_images_per_second": TARGETS[name], **{key: round(value, 4) for key, value in figures.items()},
    }  # fmt: skip
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}-{now:%Y-%m-%d}.json").write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--images", type=int, default=8192)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--warm-up", type=int, default=15)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        print("gpu benchmarks: no CUDA device here, nothing measured")
        return
    device = torch.device(options.device)
    torch.backends.cudnn.benchmark = True
    for name in options.part:
        figures = resident(options, device) if name == "resident" else training(name, options, device)
        told = ", ".join(f"{key.replace('_', ' ')} {value:,.2f}" for key, value in figures.items())
        print(f"{name:16} {told} (target {TARGETS[name]:,} images/s)", flush=True)
        if device.type == "cuda":
            record(name, figures, options)


if __name__ == "__main__":
    main()
