"""Which number format and memory layout train fastest here: a few timed steps decide, once, before the run.

No table could say: bf16 makes a network up to twice as fast on a processor with matrix units for it (AMX) and three
times as slow on one without (`benchmarks/precision.py` shows this machine's). So copies of the model train for a few
steps each way, taking turns, and the quickest step of each decides. Single precision is left only for a gain that is
worth its rounding, and a run too short to earn the trial back is not tried at all.
"""

from __future__ import annotations

import itertools
import logging
import math
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import nn

from ringlight.config.schema import TrainingConfig
from ringlight.runtime import LOGGER, DeviceChoice, choose_precision
from ringlight.training.compiling import compile_in_place
from ringlight.training.speed_trials import TIMED_STEPS, Bench, Trial, lay_out
from ringlight.types import Task

MIN_PRECISION_GAIN = 1.15
"""How many times faster than single precision another one has to be: less is not worth the rounding, nor sure."""
MIN_FORMAT_GAIN = 1.05
"""How many times faster a layout or compiled code has to be than the plain one: below that it is noise."""
EARN_BACK = 100
"""A run is tried when it has at least so many times the steps of the trial: the trial then costs 1 % at most."""
COMPILE_SECONDS = 120.0
"""What compiling costs before the first step (measured: 20 to 140 s for timm's networks on two cores)."""


@dataclass(frozen=True, slots=True)
class SpeedChoice:
    """How a run trains: `precision` (32, bf16, 16), `memory_format` (contiguous, channels_last), `compile`.

    `gain` is how many times faster a step is than the first of the `trials`: the plain way, in single precision where
    that was left open. It is 1.0 where nothing was timed. `note` is the choice in one line.
    """

    precision: str
    memory_format: str
    compile: bool
    gain: float
    trials: tuple[Trial, ...]
    note: str

    @classmethod
    def of(cls, training: TrainingConfig) -> Self:
        """Return what a configuration says, where nothing is timed any more."""
        layout = "contiguous" if training.memory_format == "auto" else training.memory_format
        return cls(training.precision, layout, training.compile is True, 1.0, (), "")


def choose_speed(
    module: nn.Module,
    criterion: nn.Module,
    shape: tuple[int, int, int, int],
    task: Task,
    device: DeviceChoice,
    *,
    wish_precision: str = "auto",
    wish_format: str = "auto",
    wish_compile: bool | str = False,
    num_steps_planned: int,
    seed: int = 0,
) -> SpeedChoice:
    """Choose precision, memory format and compilation; what is not `auto` is obeyed.

    Copies are timed: the module, the criterion and the random state stay as they are. fp16 is never chosen by itself
    (it loses small gradients), nor is compiling where it takes longer than it can save.

    Args:
        module: (B, C, H, W) -> (B, K), on any device.
        criterion: (B, K) and targets -> loss.
        shape: of a training batch (B, C, H, W).
        task: which targets the criterion takes.
        device: where the run trains.
        wish_precision: `auto`, `32`, `bf16` or `16`.
        wish_format: `auto`, `contiguous` or `channels_last`.
        wish_compile: True, False or `auto`.
        num_steps_planned: steps of the whole run.
        seed: of the images and targets that the trial makes up.

    Raises:
        ConfigError: fp16 was asked for on a CPU.
    """
    default = Trial(
        choose_precision(wish_precision, device),
        default_format(module, device) if wish_format == "auto" else wish_format,
        wish_compile is True,
    )
    variants = _variants(module, device, wish_precision, wish_format)
    if len(variants) == 1 and wish_compile != "auto":
        return _told(default, 1.0, (), "as configured")
    if num_steps_planned < EARN_BACK * len(variants) * (TIMED_STEPS + 1):
        return _told(default, 1.0, (), f"{num_steps_planned} steps are too few to try others")
    bench = Bench(module, criterion, shape, task, device, seed)
    trials = bench.run(variants)
    best = _best(trials, default)
    # A fifth of the run has to pay for compiling, at the very least.
    if (
        wish_compile == "auto"
        and math.isfinite(best.seconds)
        and best.seconds * num_steps_planned > 5 * COMPILE_SECONDS
    ):
        trials += bench.run([Trial(best.precision, best.memory_format, True)])
        best = _best(trials, default)
    gain = trials[0].seconds / best.seconds if math.isfinite(trials[0].seconds) and trials[0].seconds else 1.0
    return _told(replace(best, compile=best.compile or wish_compile is True), gain, trials, ", ".join(map(str, trials)))


def default_format(module: nn.Module, device: DeviceChoice) -> str:
    """Return the layout of a run that is not timed: channels last for convolutions on a GPU, whose kernels want it."""
    return "channels_last" if device.kind == "cuda" and _has_convolutions(module) else "contiguous"


def apply_speed(module: nn.Module, choice: SpeedChoice, shape: tuple[int, ...], device: DeviceChoice) -> bool:
    """Move a module to the device as chosen, in place; return whether it is compiled (False where that failed).

    Values do not change, and neither do names: a checkpoint of one layout loads into another.
    """
    lay_out(module, choice.memory_format, device.device)
    if not choice.compile:
        return False
    images = torch.zeros(shape, device=device.device)
    return compile_in_place(module, images, precision=choice.precision)


def _has_convolutions(module: nn.Module) -> bool:
    return any(isinstance(part, nn.Conv2d) for part in module.modules())


def _variants(module: nn.Module, device: DeviceChoice, wish_precision: str, wish_format: str) -> list[Trial]:
    """List what is to be timed, the plain way first; bf16 is left out on a GPU without it."""
    has_bf16 = device.kind == "cpu" or torch.cuda.is_bf16_supported()
    precisions = [wish_precision] if wish_precision != "auto" else ["32", *(["bf16"] if has_bf16 else [])]
    formats = [wish_format] if wish_format != "auto" else ["contiguous"]
    if wish_format == "auto" and _has_convolutions(module):
        formats.append("channels_last")
    return [Trial(precision, layout, False) for precision, layout in itertools.product(precisions, formats)]


def _best(trials: tuple[Trial, ...], default: Trial) -> Trial:
    """Return the quickest variant of the plain precision, unless another precision gains enough to be left for."""
    fits = [trial for trial in trials if math.isfinite(trial.seconds)]
    if not fits:
        return default
    chosen: Trial | None = None
    for precision in dict.fromkeys(trial.precision for trial in fits):
        same = [trial for trial in fits if trial.precision == precision]
        plain, quick = same[0], min(same, key=lambda trial: trial.seconds)
        quick = quick if plain.seconds / quick.seconds >= MIN_FORMAT_GAIN else plain
        if chosen is None or chosen.seconds / quick.seconds >= MIN_PRECISION_GAIN:
            chosen = quick
    return chosen or default


def _told(chosen: Trial, gain: float, trials: tuple[Trial, ...], reason: str) -> SpeedChoice:
    name = f"{chosen.precision} {chosen.memory_format}{' compiled' if chosen.compile else ''}"
    note = f"speed: {name}, {gain:.2f} times the plain way ({reason})"
    if not trials:
        note = f"speed: {name} ({reason})"
    LOGGER.log(logging.INFO if trials else logging.DEBUG, note)  # a choice that was none is no news
    return SpeedChoice(chosen.precision, chosen.memory_format, chosen.compile, gain, trials, note)
