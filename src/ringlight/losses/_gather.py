"""Tensors of all processes put together, with gradients; of one process, the tensor itself."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed


class _Gathered(torch.autograd.Function):
    """The processes' tensors (N, ...) as one (W N, ...), in the order of their ranks.

    Every process computes the same loss of the whole. Backward, the gradients of all copies of that loss are added up,
    W times its gradient, so that the mean over processes that DDP takes gives what one process with the whole batch
    would have had. torch.distributed.nn.all_gather did the same; torch has deprecated it.
    """

    @staticmethod
    def forward(ctx: Any, local: Tensor) -> Tensor:
        ctx.size = len(local)
        parts = [torch.empty_like(local) for _ in range(distributed.get_world_size())]
        distributed.all_gather(parts, local.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.contiguous().clone()
        distributed.all_reduce(total)
        start = distributed.get_rank() * ctx.size
        return total[start : start + ctx.size]


def gathered(local: Tensor) -> Tensor:
    """Return the tensors (N, ...) of all processes as one (W N, ...); every process must bring as many rows."""
    if not (distributed.is_available() and distributed.is_initialized()) or distributed.get_world_size() == 1:
        return local
    whole: Tensor = _Gathered.apply(local)
    return whole
