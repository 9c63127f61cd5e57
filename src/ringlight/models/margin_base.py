"""What every margin head shares: prototypes, cosines in float32, and the two heads without a margin.

B batch, D features, K classes, S sub-centres of a class.
"""

from __future__ import annotations

import math
from contextlib import nullcontext
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - PyTorch's own name for it

from ringlight.errors import ConfigError, DataError
from ringlight.types import Task

SHORTEST = 1e-3
"""Shorter embeddings are divided by this instead of their length: an embedding of zeros has cosines of 0, and its
gradient, which goes with 1 / length, still fits into half precision."""
LEAST_SQUARE = 1e-7
"""The least squared sine: the root of a smaller one has a gradient without bound."""


def check_margin_number(value: float, *, key: str, low: float = 0.0, high: float = math.inf) -> float:
    """Return the number, which must lie within `low` and `high`, both included; without `high`, above `low`.

    Raises:
        ConfigError: it is outside, infinite or not a number.
    """
    inside = value > low if math.isinf(high) else low <= value <= high
    if not (math.isfinite(value) and inside):
        bounds = f"above {low:g}" if math.isinf(high) else f"from {low:g} to {high:g}"
        raise ConfigError(f"a number {bounds}", got=f"{value:g}", where=f"margin.{key}", fix="correct the value")
    return float(value)


class MarginHead(nn.Module):
    """Scores by the angle to a prototype of each class, harder for the true class in training.

    With targets it returns logits (B, K) in which the true class's cosine is lowered by the margin, for the plain
    cross-entropy; without, `scale` x cosines, which are what is served, validated and calibrated. Both are float32
    whatever the embedding's type, also under autocast: a cosine in bfloat16 has two digits.

    The mode of the module (`train`, `eval`) does not decide about the margin; it decides whether running values
    (AdaFace, CurricularFace) follow the batch.

    Args:
        in_features: D.
        out_features: K.
        scale: s, above 0: cosines between -1 and 1 become logits of that width.
        margin: by how much the true class has to win; what it means, and its range, are the subclass's.

    Raises:
        ConfigError: a number out of range.
    """

    name: ClassVar[str]
    tasks: ClassVar[tuple[Task, ...]] = ("multiclass",)
    largest_margin: ClassVar[float] = math.pi / 2
    num_centers: int = 1

    def __init__(self, in_features: int, out_features: int, *, scale: float = 30.0, margin: float = 0.0) -> None:
        super().__init__()
        self.in_features = in_features
        self.out_features = out_features
        self.scale = check_margin_number(scale, key="scale")
        self.margin = check_margin_number(margin, key="margin", high=self.largest_margin)
        self.weight = nn.Parameter(torch.empty(out_features * self.num_centers, in_features))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw prototypes of every direction alike, of a length near 1."""
        nn.init.normal_(self.weight, std=self.in_features**-0.5)

    def forward(self, embedding_bd: Tensor, targets: Tensor | None = None) -> Tensor:
        """Return float32 logits (B, K); with targets, class indices (B,), those the loss is computed from.

        Raises:
            DataError: embeddings or targets of another shape or type.
        """
        self._check(embedding_bd, targets)
        device = embedding_bd.device.type
        # Only where there is one to switch off: an exported model would otherwise hold a region that no runtime knows.
        autocast = torch.is_autocast_enabled(device)
        with torch.autocast(device, enabled=False) if autocast else nullcontext():
            embedding_bd = embedding_bd.float()
            cosine_bk = self.cosines(embedding_bd)
            if targets is not None:
                length_b1 = embedding_bd.detach().norm(dim=1, keepdim=True)
                cosine_bk = self.with_margin(cosine_bk, targets.long().unsqueeze(1), length_b1)
            return self.scale * cosine_bk

    def cosines(self, embedding_bd: Tensor) -> Tensor:
        """Return the cosines (B, K) to the prototypes."""
        return F.linear(F.normalize(embedding_bd, dim=1, eps=SHORTEST), F.normalize(self.weight.float(), dim=1))

    def with_margin(self, cosine_bk: Tensor, true_b1: Tensor, length_b1: Tensor) -> Tensor:  # noqa: ARG002
        """Return the cosines with the margin; the lengths of the embeddings (B, 1) carry no gradient."""
        return cosine_bk

    def _check(self, embedding_bd: Tensor, targets: Tensor | None) -> None:
        if embedding_bd.ndim != 2 or embedding_bd.shape[1] != self.in_features:
            raise DataError(
                f"embeddings (B, {self.in_features})", got=str(tuple(embedding_bd.shape)),
                where=f"margin `{self.name}`", fix="build the head for the width of the backbone's features",
            )  # fmt: skip
        if targets is None or "multilabel" in self.tasks:
            return
        if targets.shape != embedding_bd.shape[:1] or targets.is_floating_point():
            raise DataError(
                "one class index an embedding, (B,): a margin needs the one true class",
                got=f"targets {tuple(targets.shape)} of {targets.dtype} for embeddings {tuple(embedding_bd.shape)}",
                where=f"margin `{self.name}`",
                fix="use margin.head=linear or cosine for a multi-label task or blended labels",
            )

    def get_params(self) -> dict[str, Any]:
        """Return the parameters, ready for JSON."""
        return {"scale": self.scale, "margin": self.margin}

    def spec(self) -> dict[str, Any]:
        """Return what :func:`ringlight.models.heads.make_head` builds the same head from, ready for JSON."""
        return {"family": "margin", "name": self.name, **self.get_params()}


def plus_angle(cosine: Tensor, margin: float) -> Tensor:
    """Return cos(theta + m) of cos(theta), and what continues it beyond theta = pi - m: cos(theta) - m sin(m).

    ArcFace's own code (Deng et al. 2019, arXiv:1801.07698, equation 3) has this fall-back: cos(theta + m) would rise
    again there, and reward an embedding for turning away from its class. The gradient is finite for every cosine.
    """
    cosine = cosine.clamp(-1.0, 1.0)
    sine = (1 - cosine.square()).clamp(min=LEAST_SQUARE).sqrt()
    turned = cosine * math.cos(margin) - sine * math.sin(margin)
    return torch.where(cosine > -math.cos(margin), turned, cosine - margin * math.sin(margin))


class LinearHead(MarginHead):
    """The ordinary linear classifier, w_k x + b_k, behind the interface of the margin heads; targets change nothing.

    Args:
        in_features: D.
        out_features: K.
        bias: with b_k.
    """

    name: ClassVar[str] = "linear"
    tasks: ClassVar[tuple[Task, ...]] = ("multiclass", "multilabel")

    def __init__(self, in_features: int, out_features: int, *, bias: bool = True) -> None:
        super().__init__(in_features, out_features, scale=1.0)
        self.bias = nn.Parameter(torch.zeros(out_features)) if bias else None

    def cosines(self, embedding_bd: Tensor) -> Tensor:
        """Return the logits (B, K): no cosines here."""
        return F.linear(embedding_bd, self.weight.float(), None if self.bias is None else self.bias.float())

    def get_params(self) -> dict[str, Any]:
        """Return the parameters, ready for JSON."""
        return {"bias": self.bias is not None}


class CosineSoftmax(MarginHead):
    """s cos(theta_k): the soft-max over angles that every margin is added to, without one; targets change nothing.

    NormFace (Wang et al. 2017, arXiv:1704.06369): embeddings and prototypes of length 1, and a scale, without which
    cross-entropy could not come near 0.

    Args:
        in_features: D.
        out_features: K.
        scale: s, above 0.

    Raises:
        ConfigError: the scale is out of range.

    Examples:
        >>> head = CosineSoftmax(2, 2, scale=10.0)
        >>> _ = head.weight.data.copy_(torch.tensor([[1.0, 0.0], [0.0, 2.0]]))
        >>> [round(value, 4) for value in head(torch.tensor([[3.0, 4.0]]))[0].tolist()]
        [6.0, 8.0]
    """

    name: ClassVar[str] = "cosine"
    tasks: ClassVar[tuple[Task, ...]] = ("multiclass", "multilabel")

    def __init__(self, in_features: int, out_features: int, *, scale: float = 30.0) -> None:
        super().__init__(in_features, out_features, scale=scale)

    def get_params(self) -> dict[str, Any]:
        """Return the parameters, ready for JSON."""
        return {"scale": self.scale}
