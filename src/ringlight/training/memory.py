"""How much memory a training step needs, counted without computing anything, and the batch size that follows from it.

A step holds the weights, their gradients, the optimiser's states, and what the backward pass needs from the forward
one: the activations, which grow with the batch. They are counted on fake tensors, which know their shapes and nothing
else: every storage that autograd keeps is counted once, for two images and for three; the difference is what an image
costs. Workspaces of the convolutions and the allocator's gaps are not counted; the safety margin stands for them.
Against the growth of a process's real peak the count was 1.05 to 1.4 times as much (`benchmarks/memory_count.py`).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from ringlight.config.schema import Config
from ringlight.runtime import LOGGER, DeviceChoice
from ringlight.training.chunks import free_memory, out_of_memory
from ringlight.training.compiling import autocast, untouched

MARGIN = 0.7
"""Share of the free memory that a step may take by the count."""
MAX_BATCH = 64
"""The largest batch that is chosen by itself: a larger one means fewer updates in an epoch, which small sets miss."""
MIN_STEPS = 10
"""Updates an epoch has at least, where the number of records allows: the batch is kept that small."""
OPTIMIZER_STATES = 2
"""Numbers an optimiser keeps beside each weight: AdamW's two moments."""


@dataclass(frozen=True, slots=True)
class StepMemory:
    """What a training step needs, in bytes: `fixed` for the model and its optimiser, `per_image` for each image."""

    fixed: int
    per_image: int

    def step(self, batch_size: int) -> int:
        """Return the bytes of a step with a batch of this size."""
        return self.fixed + batch_size * self.per_image

    def largest(self, free: float) -> int:
        """Return the largest power of two of images whose step fits into `free` bytes with the margin; 0 for none."""
        room = MARGIN * free - self.fixed
        return _power_of_two(int(room // self.per_image)) if room >= self.per_image else 0


@dataclass(frozen=True, slots=True)
class BatchChoice:
    """The batch size of a run and why, in one line."""

    batch_size: int
    note: str


def step_memory(
    module: nn.Module,
    size: tuple[int, int],
    *,
    in_chans: int = 3,
    precision: str = "32",
    optimizer_states: int = OPTIMIZER_STATES,
) -> StepMemory:
    """Count what a training step of `module` (B, C, H, W) -> (B, K) needs; nothing is computed or allocated.

    Args:
        module: the model, on any device; it stays as it is.
        size: of the images (height, width), pixels.
        in_chans: channels of the images.
        precision: `32`, `bf16` or `16`.
        optimizer_states: numbers the optimiser keeps beside each weight (AdamW 2, momentum 1, SGD 0).
    """
    weights = sum(part.nbytes for part in module.parameters())
    trained = sum(part.nbytes for part in module.parameters() if part.requires_grad)
    statistics = sum(part.nbytes for part in module.buffers())
    # Two images at least: batch normalisation refuses a single one where the last feature map is one pixel.
    two, three = (_kept(module, (count, in_chans, *size), precision) for count in (2, 3))
    # The same storages in the same order; what does not grow (weights in half precision) belongs to the model.
    growth = [large - small for small, large in zip(two, three, strict=True)]
    # While a layer goes backward, the gradients of its input and its output live beside what was kept.
    per_image = sum(growth) + 2 * max(growth, default=0) + 4 * in_chans * size[0] * size[1]
    return StepMemory(weights + statistics + trained * (1 + optimizer_states) + sum(two) - 2 * sum(growth), per_image)


def _kept(module: nn.Module, shape: tuple[int, ...], precision: str) -> list[int]:
    """Return the bytes of every storage that autograd keeps for a batch, in the order in which they come."""
    mode = FakeTensorMode()
    fake = _fake_copy(module, mode)
    own = {part.untyped_storage()._cdata for part in (*fake.parameters(), *fake.buffers())}
    kept: dict[int, torch.UntypedStorage] = {}  # the storages themselves: a freed one's address would be used again

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = storage
        return tensor

    with mode, torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(pack, _same):
        with autocast(torch.device("cpu"), "bf16" if precision == "16" else precision):
            scores = fake.train()(torch.empty(shape))
        scores.float().logsumexp(1).mean()
    return [storage.nbytes() for storage in kept.values()]


def _same(tensor: Tensor) -> Tensor:
    return tensor


def _fake_copy(module: nn.Module, mode: FakeTensorMode) -> nn.Module:
    """Copy a module with fake weights on the CPU; the real ones are never copied."""
    memo: dict[int, object] = {}
    for tensor in (*module.parameters(), *module.buffers()):
        with mode:
            fake = torch.empty(tensor.shape, dtype=tensor.dtype)
        memo[id(tensor)] = (
            nn.Parameter(fake, requires_grad=tensor.requires_grad) if isinstance(tensor, nn.Parameter) else fake
        )
    return copy.deepcopy(module, memo)


def states_of(config: Config) -> int:
    """Return how many numbers a configured training keeps beside each weight and its gradient.

    The optimiser's own, and one for each further set of weights: those below while SAM is up, Lookahead's slow ones,
    the average.

    Examples:
        >>> states_of(Config()), states_of(Config().replacing({"optimizer.sam": {}, "training.ema_decay": 0.9}))
        (2, 4)
    """
    chosen = config.optimizer
    further = (chosen.sam or chosen.asam, chosen.lookahead, config.training.ema_decay)
    return OPTIMIZER_STATES + sum(one is not None for one in further)


def free_bytes(device: DeviceChoice) -> int:
    """Return the free memory of a device, in bytes."""
    if device.kind == "cuda":
        return int(torch.cuda.mem_get_info(torch.device(device.device))[0])
    import psutil

    return int(psutil.virtual_memory().available)


def choose_batch_size(
    module: nn.Module,
    size: tuple[int, int],
    *,
    num_records: int,
    device: DeviceChoice,
    in_chans: int = 3,
    precision: str = "32",
    optimizer_states: int = OPTIMIZER_STATES,
    largest: int = MAX_BATCH,
    free: int | None = None,
) -> BatchChoice:
    """Choose the largest power of two that fits in memory and is good for learning, and say which of them decided.

    On a GPU one step with it is tried and the batch halved until it fits.

    Args:
        module: the model; on a GPU run it is moved there for the trial and comes back otherwise unchanged.
        size: of the images (height, width), pixels.
        num_records: training records: an epoch keeps at least :data:`MIN_STEPS` steps.
        device: where the run trains.
        in_chans: channels of the images.
        precision: `32`, `bf16` or `16`.
        optimizer_states: numbers the optimiser keeps beside each weight.
        largest: the largest batch to choose.
        free: free memory in bytes; None asks the device.
    """
    room = free_bytes(device) if free is None else free
    need = step_memory(module, size, in_chans=in_chans, precision=precision, optimizer_states=optimizer_states)
    bounds = {
        need.largest(room): "what fits in memory",
        _power_of_two(largest): "the largest that is chosen by itself",
        # Batch normalisation learns nothing from one image: a set of few records takes two at a time.
        max(2, _power_of_two(num_records // MIN_STEPS)): f"{num_records} training records",
    }
    chosen, decided = max(1, min(bounds)), bounds[min(bounds)]
    if device.kind == "cuda":
        tried = _tried(module, (chosen, in_chans, *size), precision, device)
        chosen, decided = tried, decided if tried == chosen else "what fits in memory"
    note = (
        f"batch size: {chosen} ({decided}; a step takes about {need.step(chosen) / 2**30:.1f} of "
        f"{room / 2**30:.1f} GiB free)"
    )
    LOGGER.info(note)
    return BatchChoice(chosen, note)


def images_at_once(
    module: nn.Module,
    size: tuple[int, int],
    *,
    batch_size: int,
    in_chans: int = 3,
    precision: str = "32",
    optimizer_states: int = OPTIMIZER_STATES,
    free: int | None = None,
) -> int | None:
    """Foresee on a CPU how many images a step may hold; None when the whole batch fits.

    A GPU that is full says so and the step is divided then. Linux promises a process more memory than there is and
    ends it when the promise falls due: there is no error to catch, so that it has to be foreseen.

    Args:
        module: the model.
        size: of the images (height, width), pixels.
        batch_size: images in a step.
        in_chans: channels of the images.
        precision: `32` or `bf16`.
        optimizer_states: numbers the optimiser keeps beside each weight.
        free: free memory in bytes; None asks the machine.
    """
    room = free_bytes(DeviceChoice("cpu", "asked for memory")) if free is None else free
    need = step_memory(module, size, in_chans=in_chans, precision=precision, optimizer_states=optimizer_states)
    # All of the free memory, without the margin: the count errs upwards, and a run is not divided for a doubt.
    if need.step(batch_size) <= room:
        return None
    limit = max(1, min(need.largest(room), batch_size - 1))
    LOGGER.warning(
        "memory: a step with data.batch_size=%d takes about %.1f GiB, %.1f are free; steps are divided into %d images "
        "at a time, the batch stays (a smaller data.batch_size or data.image_size needs no dividing)",
        batch_size, need.step(batch_size) / 2**30, room / 2**30, limit,
    )  # fmt: skip
    return limit


def foreseen(module: nn.Module, shape: tuple[int, ...], config: Config) -> int | None:
    """Foresee how many images of a configured training a step may hold: :func:`images_at_once`.

    Args:
        module: the model.
        shape: of a batch, (B, C, H, W).
        config: of the training.
    """
    return images_at_once(
        module, (shape[2], shape[3]), batch_size=shape[0], in_chans=shape[1], precision=config.training.precision,
        optimizer_states=states_of(config),
    )  # fmt: skip


def divided_note(limit: int) -> str:
    """Tell in a run's notes that its steps were divided from the start."""
    return (
        f"memory: steps were divided into {limit} images at a time, as the machine had no room for more, and running "
        "the configuration again need not give the same bits"
    )


def step_down_note(one: Mapping[str, int]) -> str:
    """Tell in a run's notes that steps were divided from some step on: `{"epoch", "step", "chunks"}`."""
    return (
        f"memory ran out in epoch {one['epoch'] + 1}, step {one['step']}: from there on a step is made in "
        f"{one['chunks']} parts, and running the configuration again need not give the same bits"
    )


def _power_of_two(number: int) -> int:
    return 1 << (max(1, number).bit_length() - 1)


def _tried(module: nn.Module, shape: tuple[int, int, int, int], precision: str, device: DeviceChoice) -> int:
    """Return the batch size, halved until a step of it fits on the device."""
    module.to(torch.device(device.device))
    count = shape[0]

    def attempt() -> None:
        images = torch.zeros((count, *shape[1:]), device=device.device)
        with untouched(module):
            with autocast(images.device, precision):
                scores = module(images)
            torch.autograd.backward(scores.float().logsumexp(1).mean())

    while (reason := out_of_memory(attempt)) is not None and count > 1:
        LOGGER.info("batch size: %d does not fit (%s)", count, reason)
        count //= 2
        free_memory()
    free_memory()
    return count
