"""The first of the two passes of sharpness-aware minimisation: up to the worst point near the weights.

A step of SAM or ASAM (:mod:`ringlight.optim.sam`) goes like this:

1. in `training_step`, before anything else: the gradient of the batch at the weights, and up by it. Nothing else of it
   stays: gradients that are being accumulated are not touched, and buffers (the running statistics of batch
   normalisation, the state of a loss) are put back, so that they move once a step;
2. the second pass, as any step: its gradient is added to those of the parameters;
3. in `on_after_backward`: back to the weights, to the bit, before gradients are clipped or the optimiser steps.

What is climbed by is the gradient of one batch as the task sees it: where gradients are accumulated, each of the
batches climbs by its own (SAM of micro-batches, the m-sharpness of Foret et al. 2021, section 4.1), and the sum of the
second passes' gradients reaches the optimiser. With several processes, too, it is SAM of micro-batches; the gradients
of all processes are averaged before the climb, as they are before the step, so that they climb as one process would
with the batches of all of them in one.

Dropout and its like draw anew for the second pass; both follow the random state of the epoch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, distributed, nn

from ringlight.optim import SAM, Summit
from ringlight.optim.sam import trainable
from ringlight.training.chunks import num_processes


class Sharpness:
    """Takes the weights up before a step's own pass and back after it.

    After :meth:`climb`, `loss` is the batch's loss at the weights themselves, detached: what a history tells is then
    comparable with a training without the climb. `factor` is what the second pass's gradient is multiplied with: 1, or
    NaN where the first gradient was not finite.

    Args:
        rule: which way and how far.
    """

    def __init__(self, rule: SAM) -> None:
        self.rule = rule
        self.loss: Tensor | None = None
        self.factor = torch.ones(())
        self._summit = Summit()

    def climb_in(
        self,
        task: LightningModule,
        loss_of: Callable[[Tensor, Tensor], Tensor],
        images: Tensor,
        targets: Tensor,
        *,
        chunks: int,
        reduction: str,
    ) -> None:
        """Move what the task's optimiser steps up, with its loss scaling, and keep all its buffers: :meth:`climb`."""
        scaler, one = getattr(task.trainer.precision_plugin, "scaler", None), torch.ones((), device=images.device)
        self.climb(
            loss_of,
            images,
            targets,
            parameters=trainable(task.trainer.optimizers[0].param_groups),
            buffers=list(task.buffers()),
            chunks=chunks,
            scale=one if scaler is None else scaler.scale(one),
            reduction=reduction,
        )

    def climb(
        self,
        loss_of: Callable[[Tensor, Tensor], Tensor],
        images: Tensor,
        targets: Tensor,
        *,
        parameters: Sequence[nn.Parameter],
        buffers: Sequence[Tensor],
        chunks: int,
        scale: Tensor,
        reduction: str = "mean",
    ) -> None:
        """Move the parameters up by the gradient of the batch's loss.

        Where memory runs out on the way the weights stay where they were.

        Args:
            loss_of: images and targets to a loss, a scalar.
            images: (B, ...).
            targets: (B, ...).
            parameters: what the optimiser steps.
            buffers: what the pass must not change.
            chunks: 1 to B: into how many the batch is divided, as the second pass's is.
            scale: a scalar that keeps small gradients of 16 bits from vanishing (loss scaling); the way up does not
                depend on it.
            reduction: `mean` when the loss is a mean over images, `sum` when it is a sum.
        """
        total = torch.zeros((), device=images.device)
        gradients: list[Tensor | None] = [None] * len(parameters)
        with _kept(buffers):
            for some, truth in zip(images.tensor_split(chunks), targets.tensor_split(chunks), strict=True):
                share = 1.0 if reduction == "sum" else len(some) / len(images)
                loss = loss_of(some, truth)
                # A backward pass goes by the number formats of its forward pass; autocast would choose anew.
                with torch.autocast(images.device.type, enabled=False):
                    weight = (scale * share).to(loss.dtype)
                    found = torch.autograd.grad(loss, list(parameters), weight, allow_unused=True)
                gradients = [_sum(held, one) for held, one in zip(gradients, found, strict=True)]
                total += loss.detach().float() * share
                del loss, found
        self.factor = self._summit.climb(self.rule, parameters, over_processes(parameters, gradients))
        torch.clear_autocast_cache()  # or the second pass would meet the weights as they were, in 16 bits
        self.loss = total

    def back(self) -> None:
        """Put the weights back where the optimiser left them."""
        self._summit.restore()


@contextmanager
def back_on_failure(sharpness: Sharpness | None) -> Iterator[None]:
    """Put the weights back when the block ends with an error: whoever holds the model never sees them moved."""
    try:
        yield
    except BaseException:
        if sharpness is not None:
            sharpness.back()
        raise


def over_processes(parameters: Sequence[nn.Parameter], gradients: Sequence[Tensor | None]) -> list[Tensor | None]:
    """Return gradients averaged over the processes that train together, as they are where there is one."""
    count = num_processes()
    if count == 1:
        return list(gradients)
    # Every process has to send the same numbers, also where a branch was not taken by its own images.
    whole = [
        torch.zeros_like(one) if gradient is None else gradient
        for one, gradient in zip(parameters, gradients, strict=True)
    ]
    flat = torch.cat([one.flatten() for one in whole])
    distributed.all_reduce(flat)
    parts = torch.split(flat.div_(count), [one.numel() for one in whole])
    return [part.view_as(one) for part, one in zip(parts, whole, strict=True)]


def _sum(held: Tensor | None, one: Tensor | None) -> Tensor | None:
    if held is None or one is None:
        return held if one is None else one
    return held + one


@contextmanager
def _kept(buffers: Sequence[Tensor]) -> Iterator[None]:
    before = [buffer.detach().clone() for buffer in buffers]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in zip(buffers, before, strict=True):
                buffer.copy_(value)
