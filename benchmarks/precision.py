"""Which way of training is quickest on this machine: precision, memory layout, compiled code, as ratios to plain fp32.

The ways are those that `training.precision=auto` chooses among (see ringlight.training.speed), timed by the same code:
a few steps of a copy of the model each, taking turns in one run. The last line of each model is what `auto` takes.

    python benchmarks/precision.py [--models ...] [--size 128] [--batch 16] [--compile] [--device auto]
"""

from __future__ import annotations

import argparse
import math
import warnings

import torch

from ringlight.losses import LOSSES
from ringlight.models import build_model
from ringlight.runtime import choose_device, environment
from ringlight.services.machine import capabilities
from ringlight.training.speed import choose_speed
from ringlight.training.speed_trials import Bench, Trial

MODELS = ("convnext_tiny", "resnet18", "efficientnet_b0", "tf_efficientnet_lite0")
CLASSES = 6
WAYS = [Trial(precision, layout, False) for precision in ("32", "bf16") for layout in ("contiguous", "channels_last")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--compile", action="store_true", help="also compiled (on two cores a minute or two a model)")
    parser.add_argument("--device", default="auto")
    chosen = parser.parse_args()
    device = choose_device(chosen.device)
    ways = [
        *WAYS,
        *([Trial("32", layout, True) for layout in ("contiguous", "channels_last")] if chosen.compile else []),
    ]
    machine = environment(device, "32")
    print(f"{machine.processor}, {machine.num_threads} thread(s), {device.device} ({capabilities(device)})")
    print(f"training at {chosen.size} px, batch {chosen.batch}; milliseconds a step (times fp32 contiguous)")
    shape = (chosen.batch, 3, chosen.size, chosen.size)
    for name in chosen.models:
        torch.manual_seed(0)
        module = build_model(name, num_classes=CLASSES, pretrained=False).module
        criterion = LOSSES.build("cross_entropy", num_classes=CLASSES, task="multiclass", class_counts=[1] * CLASSES)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's compiler thinks aloud
            trials = Bench(module, criterion, shape, "multiclass", device, 0).run(ways)
            taken = choose_speed(module, criterion, shape, "multiclass", device, num_steps_planned=10**6)
        print(name)
        for trial in trials:
            layout = f"{trial.memory_format}{' compiled' if trial.compile else ''}"
            seconds = f"{1000 * trial.seconds:8.1f} ms" if math.isfinite(trial.seconds) else "     failed"
            print(f"  {trial.precision:5} {layout:24} {seconds}  {trials[0].seconds / trial.seconds:5.2f}")
        print(f"  auto takes {taken.precision} {taken.memory_format}, measured again at {taken.gain:.2f}", flush=True)


if __name__ == "__main__":
    main()
