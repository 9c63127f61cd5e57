"""From a map of features over time (B, F, S) to one vector a window: mean, maximum, last step, or learned attention.

Shapes: B batch, F features, S steps, A units of the attention.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from ringlight.errors import ModelError, did_you_mean

Pooling = Literal["mean", "max", "meanmax", "last", "attention"]
"""`mean` of all steps, `max`, `meanmax` both side by side, the `last` step, `attention` a learned weighted mean."""


class StepPooling(nn.Module):
    """Pool without parameters: (B, F, S) -> (B, F), or (B, 2 F) for `meanmax`, means first.

    Examples:
        >>> pool = StepPooling("meanmax", 1)
        >>> pool(torch.tensor([[[1.0, 2.0, 6.0]]])).tolist()
        [[3.0, 6.0]]
    """

    def __init__(self, kind: Pooling, num_features: int) -> None:
        super().__init__()
        self.kind = kind
        self.num_features = 2 * num_features if kind == "meanmax" else num_features

    def forward(self, x_bfs: Tensor) -> Tensor:
        """Return one vector a window."""
        if self.kind == "mean":
            return x_bfs.mean(dim=2)
        if self.kind == "last":
            return x_bfs[:, :, -1]
        # amax and not adaptive max pooling: its backward pass is deterministic on a GPU too.
        if self.kind == "max":
            return x_bfs.amax(dim=2)
        return torch.cat([x_bfs.mean(dim=2), x_bfs.amax(dim=2)], dim=1)

    def extra_repr(self) -> str:
        """Return the kind, for printing a model."""
        return self.kind


class AttentionPooling(nn.Module):
    """A mean of the steps whose weights are learned: (B, F, S) -> (B, F).

        u_t = tanh(W h_t + b)            W: (A, F)
        a_t = exp(v . u_t) / sum_s exp(v . u_s)
        pooled = sum_t a_t h_t

    The additive score of Bahdanau et al. 2015 (arXiv:1409.0473, appendix A.1.2) without a decoder to compare with, as
    Yang et al. 2016 (Hierarchical Attention Networks, equations 5 to 7) pool words. A is F at most, and 64 by default.
    It starts as the plain mean: v is zero.

    Examples:
        >>> pool = AttentionPooling(2)
        >>> pool(torch.tensor([[[1.0, 3.0], [0.0, 4.0]]])).tolist()  # before training
        [[2.0, 2.0]]
    """

    def __init__(self, num_features: int, *, units: int = 64) -> None:
        super().__init__()
        self.num_features = num_features
        self.project = nn.Linear(num_features, min(units, num_features))
        self.score = nn.Linear(self.project.out_features, 1, bias=False)
        nn.init.zeros_(self.score.weight)

    def weights(self, x_bfs: Tensor) -> Tensor:
        """Return the weights a_t of the steps, (B, S): not negative, their sum is 1."""
        scores_bs = self.score(torch.tanh(self.project(x_bfs.transpose(1, 2)))).squeeze(2)
        return torch.softmax(scores_bs, dim=1)

    def forward(self, x_bfs: Tensor) -> Tensor:
        """Return one vector a window."""
        return torch.einsum("bfs,bs->bf", x_bfs, self.weights(x_bfs))


def make_pooling(kind: Pooling, num_features: int) -> StepPooling | AttentionPooling:
    """Build the pooling of a map of `num_features` features.

    Raises:
        ModelError: there is no such pooling.
    """
    if kind not in get_args(Pooling):
        raise ModelError(
            "a known pooling", got=f"`{kind}`", where="model.pooling", fix=did_you_mean(str(kind), get_args(Pooling))
        )
    return AttentionPooling(num_features) if kind == "attention" else StepPooling(kind, num_features)
