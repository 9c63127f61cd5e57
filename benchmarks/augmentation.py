"""Decode and augment: pictures per second on one core, Ringlight against the same torchvision v2 pipeline.

Strips of 256 x 1600 pixels (synthetic, JPEG with three channels as the real ones), from the file to the normalised
float32 tensor, through the six augmentations of the recipe at the same strengths and probabilities. torchvision gets
its own fastest reader and uint8 tensors. Rounds of the two alternate, so that a busy machine slows both. Usage:

    python benchmarks/augmentation.py [--rounds 7] [--images 24]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import torch
from torchvision import io
from torchvision.transforms import v2

from ringlight.data.augment import Augmenter
from ringlight.data.loader import ImageDataset
from ringlight.data.preprocess import InputSpec, read_image
from ringlight.data.synthetic import SyntheticSource
from ringlight.types import Dataset

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
AUGMENTATION: dict[str, object] = {
    "horizontal_flip": 0.5,
    "vertical_flip": 0.5,
    "rotation": {"degrees": 15, "probability": 0.5},
    "brightness_contrast": {"brightness": 0.2, "contrast": 0.2, "probability": 0.5},
    "color_jitter": {"saturation": 0.1, "hue": 0.05, "probability": 0.5},
    "gaussian_blur": {"kernel_size": 3, "probability": 0.5},
}


def torchvision_pipeline() -> Callable[[str], torch.Tensor]:
    transform = v2.Compose(
        [
            v2.RandomHorizontalFlip(0.5),
            v2.RandomVerticalFlip(0.5),
            v2.RandomApply([v2.RandomRotation(15, v2.InterpolationMode.BILINEAR)], 0.5),
            v2.RandomApply([v2.ColorJitter(brightness=0.2, contrast=0.2)], 0.5),
            v2.RandomApply([v2.ColorJitter(saturation=0.1, hue=0.05)], 0.5),
            v2.RandomApply([v2.GaussianBlur(3, (0.1, 2.0))], 0.5),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(MEAN, STD),
        ]
    )
    return lambda path: transform(io.decode_image(io.read_file(path), io.ImageReadMode.RGB))


def color_copies(dataset: Dataset, folder: Path) -> Dataset:
    """Write every strip again with three equal channels, as the real ones are."""
    uris = [str(folder / f"{key}.jpg") for key in dataset.ids]
    for source, target in zip(dataset.uris, uris, strict=True):
        cv2.imwrite(target, read_image(str(source), in_chans=3))
    return dataset.with_column("uri", uris)


def rate(step: Callable[[int, int], object], turn: int, count: int) -> float:
    start = time.perf_counter()
    for index in range(count):
        step(turn, index)
    return count / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--images", type=int, default=24)
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        strips = SyntheticSource(Path(folder) / "strips", num_images=options.images).load()
        strips = color_copies(strips, Path(folder))
        spec = InputSpec(3, None, "resize", MEAN, STD)
        images = ImageDataset(strips, spec, augmenter=Augmenter(AUGMENTATION, seed=0))
        reference = torchvision_pipeline()
        paths = [str(uri) for uri in strips.uris]
        steps: dict[str, Callable[[int, int], object]] = {
            "ringlight": lambda turn, index: images[(turn, index, 0)],
            "torchvision v2": lambda _turn, index: reference(paths[index]),
        }
        for step in steps.values():
            rate(step, 0, min(5, options.images))  # imports, caches and the allocator settle
        rates: dict[str, list[float]] = {name: [] for name in steps}
        for turn in range(options.rounds):
            for name, step in steps.items():
                rates[name].append(rate(step, turn, options.images))
    for name, values in rates.items():
        print(
            f"{name:15s} {statistics.median(values):7.1f} images/s per core  ({min(values):.1f} to {max(values):.1f})"
        )
    ratio = statistics.median(rates["ringlight"]) / statistics.median(rates["torchvision v2"])
    print(f"ratio           {ratio:7.2f}  (median of {options.rounds} rounds of {options.images} strips; target 3.0)")


if __name__ == "__main__":
    main()
