"""A step that does not fit in memory is repeated in chunks whose gradients add up: the effective batch stays.

A chunk of n of the B images counts n / B, so that for a loss that is a mean over images the sum of the chunks'
gradients is the gradient of the whole step. Two things differ: batch normalisation takes its statistics from the
smaller chunks, and a loss whose mean is weighted by what the batch holds (class weights) weighs within each chunk.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, distributed, nn

from ringlight.errors import TrainingError
from ringlight.runtime import LOGGER
from ringlight.training.device_faults import is_out_of_memory


def num_processes() -> int:
    """Return how many processes train together."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


class SetAsideGradients:
    """The gradients that parameters hold, set aside while a further batch's are computed.

    A step that fails half-way has changed some gradients and not others; here it can be taken back whole. Nothing is
    copied, and adding afterwards is the very addition that autograd would have made, to the last bit.
    """

    def __init__(self, parameters: Iterable[nn.Parameter]) -> None:
        self._held = [(parameter, parameter.grad) for parameter in parameters if parameter.requires_grad]
        for parameter, _ in self._held:
            parameter.grad = None

    def add_up(self) -> None:
        """Put the gradients back with those computed since added."""
        for parameter, held in self._held:
            if held is not None:
                parameter.grad = held if parameter.grad is None else held.add_(parameter.grad)

    def put_back(self) -> None:
        """Put the gradients back and drop those computed since."""
        for parameter, held in self._held:
            parameter.grad = held


class StepDowns:
    """How many images fit at once, learned by running out of memory, and the record of when it was learned.

    `limit` is None as long as every batch has fitted. `events` are `{"epoch", "step", "chunks"}`, in order. `what`
    names the work in messages.
    """

    def __init__(self, what: str = "training") -> None:
        self.what = what
        self.limit: int | None = None
        self.events: list[dict[str, int]] = []

    def chunks(self, num_images: int) -> int:
        """Return into how many chunks a batch of so many images has to be divided."""
        return 1 if self.limit is None else -(-num_images // self.limit)

    def lower(self, num_images: int, *, epoch: int, step: int, reason: str) -> None:
        """Divide a batch of so many images into twice as many chunks from now on, record it and say so.

        Raises:
            TrainingError: one image alone does not fit, or several processes train together.
        """
        if self.what == "training" and num_processes() > 1:
            # One that makes more passes than the others would wait for them for ever.
            raise TrainingError(
                "memory for a whole step in each of several processes",
                got=reason,
                where=f"{self.what}, epoch {epoch}, step {step}",
                fix="make data.batch_size smaller, and set training.accumulate_steps to keep the batch",
            )
        limit = min(num_images, self.limit or num_images)
        if limit <= 1:
            raise TrainingError(
                "memory for one image",
                got=reason,
                where=f"{self.what}, epoch {epoch}, step {step}",
                fix="make data.image_size smaller, choose a smaller model, or free memory (on a GPU: nvidia-smi)",
            )
        self.limit = -(-limit // 2)
        chunks = self.chunks(num_images)
        self.events.append({"epoch": epoch, "step": step, "chunks": chunks})
        LOGGER.warning(
            "out of memory in %s, epoch %d, step %d: repeated in %d chunks of at most %d images, the batch of %d "
            "stays; from here on the run no longer repeats to the last bit (a smaller data.batch_size would)",
            self.what, epoch, step, chunks, self.limit, num_images,
        )  # fmt: skip
        free_memory()

    def state(self) -> dict[str, Any]:
        """Return plain values for a checkpoint."""
        return {"limit": self.limit, "events": self.events}

    def load(self, state: Mapping[str, Any]) -> None:
        """Take back what :meth:`state` gave."""
        limits = [limit for limit in (self.limit, state["limit"]) if limit is not None]
        self.limit, self.events = min(limits, default=None), list(state["events"])


def free_memory() -> None:
    """Give back what a failed step left: graphs kept alive by reference cycles, the CUDA allocator's pool."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def out_of_memory(run: Callable[[], None]) -> str | None:
    """Run; return None when it went well and the reason, one line, when memory ran out.

    The error is gone when this returns, and with it the frames that held the failed step's tensors.
    """
    try:
        run()
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return (str(error).strip() or type(error).__name__).splitlines()[0]
    return None


def backward_in_chunks(
    loss_of: Callable[[Tensor, Tensor], Tensor],
    images: Tensor,
    targets: Tensor,
    *,
    chunks: int,
    scale: Tensor,
    context: Callable[[], AbstractContextManager[Any]],
    reduction: str = "mean",
) -> Tensor:
    """Add the gradient of `scale` times the batch's loss to the parameters, chunk by chunk; return the detached loss.

    Args:
        loss_of: images and targets to a loss, a scalar.
        images: (B, ...).
        targets: (B, ...).
        chunks: 1 to B; their sizes differ by one image at most.
        scale: a scalar: what the engine multiplies a loss with (loss scaling, 1 / accumulated batches).
        context: what a forward pass runs in (autocast).
        reduction: `mean` when the loss is a mean over images, `sum` when it is a sum.
    """
    total = torch.zeros((), device=images.device)
    for some, truth in zip(images.tensor_split(chunks), targets.tensor_split(chunks), strict=True):
        share = 1.0 if reduction == "sum" else len(some) / len(images)
        with context():
            loss = loss_of(some, truth)
        torch.autograd.backward(loss, (scale * share).to(loss.dtype))
        total += loss.detach().float() * share
        del loss  # and its graph, before the next chunk's grows
    return total


def forward_in_chunks(
    module: Callable[[Tensor], Tensor], images: Tensor, memory: StepDowns, *, epoch: int, step: int
) -> Tensor:
    """Return the scores of a batch, divided as far as memory demands; nothing is trained, so that nothing else changes.

    Raises:
        TrainingError: one image alone does not fit.
    """
    scores: list[Tensor] = []

    def attempt() -> None:
        scores[:] = [module(some) for some in images.tensor_split(memory.chunks(len(images)))]

    while (reason := out_of_memory(attempt)) is not None:
        scores.clear()
        memory.lower(len(images), epoch=epoch, step=step, reason=reason)
    return scores[0] if len(scores) == 1 else torch.cat(scores)
