"""The head that turns scores into evidence: log Dirichlet parameters in the place of logits.

B batch, D features, K classes.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - PyTorch's own name for it

from ringlight.models.margin_base import MarginHead


class EvidentialHead(nn.Module):
    """log(alpha) = log(1 + softplus(z)) of another head's scores z: features (B, D) -> logits (B, K), float32.

    alpha_k - 1 = softplus(z_k) is the evidence for class k (Sensoy et al. 2018, arXiv:1806.01768, section 3, with
    softplus for the paper's ReLU, whose gradient is zero wherever there is no evidence yet). The soft-max of these
    logits is the expected probability alpha_k / S, and K / S the uncertainty, from near 0 to 1.

    Args:
        scores: the head whose scores become evidence: a linear layer or a margin head, which gets the targets.
    """

    name: ClassVar[str] = "evidential"

    def __init__(self, scores: nn.Linear | MarginHead) -> None:
        super().__init__()
        self.scores = scores
        self.in_features = scores.in_features
        self.out_features = scores.out_features

    def forward(self, x_bd: Tensor, targets: Tensor | None = None) -> Tensor:
        """Return log(alpha), (B, K), each of 0 or more; `targets`, class indices (B,), are for a margin.

        Raises:
            DataError: what the margin head refuses.
        """
        z_bk = self.scores(x_bd, targets) if isinstance(self.scores, MarginHead) else self.scores(x_bd)
        return torch.log1p(F.softplus(z_bk.float()))

    def spec(self) -> dict[str, Any]:
        """Return what :func:`ringlight.models.heads.make_head` builds the same head from, ready for JSON."""
        inner = self.scores
        of = inner.spec() if isinstance(inner, MarginHead) else {"name": "linear", "bias": inner.bias is not None}
        return {"name": self.name, "of": of}
