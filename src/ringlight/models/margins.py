"""Heads whose true class has to win by a margin, and the catalogue of all heads of this kind.

theta_k is the angle between embedding and prototype k, y the true class, s the scale, m the margin. Each head changes
cosines; the plain cross-entropy of its logits is then the loss of its paper.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor

from ringlight.models.margin_base import CosineSoftmax, LinearHead, MarginHead, check_margin_number, plus_angle
from ringlight.registry import Catalogue


class ArcFace(MarginHead):
    """s cos(theta_y + m): the true class has to win by an angle (Deng et al. 2019, arXiv:1801.07698, equation 3).

    Beyond theta_y = pi - m, where cos(theta + m) would rise again, it is s (cos(theta_y) - m sin(m)), as in the
    authors' code.

    Args:
        in_features: D.
        out_features: K.
        scale: s, above 0. To reach a probability P of the true class it takes at least
            (K - 1) / K ln((K - 1) P / (1 - P)) (Wang et al. 2018, arXiv:1801.09414): 17 for P = 0.999 of 20,000 classes
            and 7 for 6, so that the paper's 64 is more than a few classes need.
        margin: m, 0 to pi / 2, in radians.

    Raises:
        ConfigError: a number out of range.

    Examples:
        An embedding on its prototype, 0.5 rad to climb: 10 cos(0.5)

        >>> head = ArcFace(2, 2, scale=10.0, margin=0.5)
        >>> _ = head.weight.data.copy_(torch.eye(2))
        >>> [round(value, 2) for value in head(torch.tensor([[1.0, 0.0]]), torch.tensor([0]))[0].tolist()]
        [8.77, 0.0]
    """

    name: ClassVar[str] = "arcface"

    def __init__(self, in_features: int, out_features: int, *, scale: float = 30.0, margin: float = 0.5) -> None:
        super().__init__(in_features, out_features, scale=scale, margin=margin)

    def with_margin(self, cosine_bk: Tensor, true_b1: Tensor, length_b1: Tensor) -> Tensor:  # noqa: ARG002
        """Return the cosines with the true class's angle enlarged."""
        return cosine_bk.scatter(1, true_b1, plus_angle(cosine_bk.gather(1, true_b1), self.margin))


class SubCenterArcFace(ArcFace):
    """ArcFace with S prototypes a class, of which the nearest counts (Deng et al. 2020, Sub-center ArcFace, ECCV).

    A class of several looks (a scratch along and across the strip), or with wrong labels in it, keeps one tight centre
    for each instead of one in between.

    Args:
        in_features: D.
        out_features: K.
        scale: s, above 0.
        margin: m, 0 to pi / 2, in radians.
        num_centers: S, 1 or more; 1 is :class:`ArcFace`.

    Raises:
        ConfigError: a number out of range.
    """

    name: ClassVar[str] = "subcenter_arcface"

    def __init__(
        self, in_features: int, out_features: int, *, scale: float = 30.0, margin: float = 0.5, num_centers: int = 3
    ) -> None:
        self.num_centers = int(check_margin_number(num_centers, key="num_centers", low=1, high=1000))
        super().__init__(in_features, out_features, scale=scale, margin=margin)

    def cosines(self, embedding_bd: Tensor) -> Tensor:
        """Return the cosines (B, K) to the nearest prototype of each class."""
        cosine_bks = super().cosines(embedding_bd).reshape(-1, self.out_features, self.num_centers)
        return cosine_bks.max(dim=2).values

    def get_params(self) -> dict[str, Any]:
        """Return the parameters, ready for JSON."""
        return {**super().get_params(), "num_centers": self.num_centers}


class CosFace(MarginHead):
    """s (cos(theta_y) - m): the true class has to win by a cosine (Wang et al. 2018, arXiv:1801.09414, equation 4).

    Args:
        in_features: D.
        out_features: K.
        scale: s, above 0.
        margin: m, 0 to 1.

    Raises:
        ConfigError: a number out of range.

    Examples:
        >>> head = CosFace(2, 2, scale=10.0, margin=0.25)
        >>> _ = head.weight.data.copy_(torch.eye(2))
        >>> head(torch.tensor([[1.0, 0.0]]), torch.tensor([0])).tolist()
        [[7.5, 0.0]]
    """

    name: ClassVar[str] = "cosface"
    largest_margin: ClassVar[float] = 1.0

    def __init__(self, in_features: int, out_features: int, *, scale: float = 30.0, margin: float = 0.35) -> None:
        super().__init__(in_features, out_features, scale=scale, margin=margin)

    def with_margin(self, cosine_bk: Tensor, true_b1: Tensor, length_b1: Tensor) -> Tensor:  # noqa: ARG002
        """Return the cosines with the true class's lowered."""
        return cosine_bk.scatter(1, true_b1, cosine_bk.gather(1, true_b1) - self.margin)


class AdaFace(MarginHead):
    """s (cos(theta_y - m q) - m q - m): which errors count depends on the image's quality q, read from its length.

    Kim et al. 2022, arXiv:2204.00964, section 3.3. q = (|x| - mean) / (deviation / h), cut to -1..1, is how long an
    embedding is among those of late; long ones come from clear images. A long one (q = 1) gets its margin where hard
    examples pull most, a short one (q = -1: ArcFace) where easy ones do, so that pictures in which nothing can be
    recognised do not steer the training; q = 0 is CosFace. No gradient goes through q. The angle is cut to 0..pi, as in
    the authors' code.

    Mean and deviation are running ones, updated by each training batch: new = momentum x old + (1 - momentum) x
    batch. The first batch sets them; the authors' code starts from 20 and 100, which fit their backbone. A batch of
    one has no deviation and leaves it.

    Args:
        in_features: D.
        out_features: K.
        scale: s, above 0.
        margin: m, 0 to pi / 2.
        h: how many deviations from the mean reach |q| = 1: 1 / h; above 0 to 1, the paper's 0.333.
        momentum: 0 to 1, the paper's 0.99.

    Raises:
        ConfigError: a number out of range.
    """

    name: ClassVar[str] = "adaface"
    length_mean: Tensor
    length_std: Tensor
    num_batches: Tensor

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        scale: float = 30.0,
        margin: float = 0.4,
        h: float = 0.333,
        momentum: float = 0.99,
    ) -> None:
        super().__init__(in_features, out_features, scale=scale, margin=margin)
        self.h = check_margin_number(h, key="h", low=1e-3, high=1.0)
        self.momentum = check_margin_number(momentum, key="momentum", high=1.0)
        self.register_buffer("length_mean", torch.zeros(()))
        self.register_buffer("length_std", torch.ones(()))
        self.register_buffer("num_batches", torch.zeros((), dtype=torch.long))

    def with_margin(self, cosine_bk: Tensor, true_b1: Tensor, length_b1: Tensor) -> Tensor:
        """Return the cosines with the true class's angle changed and its cosine lowered, by the lengths."""
        if self.training:
            self._follow(length_b1)
        quality_b1 = self.qualities(length_b1)
        cosine_b1 = cosine_bk.gather(1, true_b1)
        # acos has a gradient without bound at the ends of its range.
        angle_b1 = cosine_b1.clamp(-1 + 1e-6, 1 - 1e-6).acos()
        turned_b1 = (angle_b1 - self.margin * quality_b1).clamp(0.0, math.pi).cos()
        return cosine_bk.scatter(1, true_b1, turned_b1 - self.margin * (1 + quality_b1))

    def qualities(self, length_b1: Tensor) -> Tensor:
        """Return q, -1 to 1, of embeddings of these lengths (B, 1)."""
        return ((length_b1 - self.length_mean) / (self.length_std / self.h).clamp(min=1e-6)).clamp(-1.0, 1.0)

    @torch.no_grad()
    def _follow(self, length_b1: Tensor) -> None:
        step = torch.where(self.num_batches == 0, 1.0, 1.0 - self.momentum)  # on the device: no waiting
        self.length_mean.lerp_(length_b1.mean(), step)
        if len(length_b1) > 1:
            self.length_std.lerp_(length_b1.std(), step)
            self.num_batches += 1

    def get_params(self) -> dict[str, Any]:
        """Return the parameters, ready for JSON."""
        return {**super().get_params(), "h": self.h, "momentum": self.momentum}


class CurricularFace(ArcFace):
    """ArcFace that turns to the hard negatives as the training gets on (Huang et al. 2020, arXiv:2004.00288).

    The true class is ArcFace's. A negative k that beats it, cos(theta_k) > cos(theta_y + m), becomes
    cos(theta_k) (t + cos(theta_k)); the others stay (section 3.2). t is a running mean of cos(theta_y) over the
    training batches, from 0: small at first, so that hard negatives count less, near 1 at the end, where they count
    more than they do in ArcFace. m = 0 alone does not give the cosine soft-max: negatives that are nearer than the true
    class are still changed.

    Args:
        in_features: D.
        out_features: K.
        scale: s, above 0.
        margin: m, 0 to pi / 2, in radians.
        momentum: 0 to 1: t = momentum x t + (1 - momentum) x batch mean, before the batch's logits; 0.99 in the
            authors' code.

    Raises:
        ConfigError: a number out of range.
    """

    name: ClassVar[str] = "curricularface"
    t: Tensor

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        scale: float = 30.0,
        margin: float = 0.5,
        momentum: float = 0.99,
    ) -> None:
        super().__init__(in_features, out_features, scale=scale, margin=margin)
        self.momentum = check_margin_number(momentum, key="momentum", high=1.0)
        self.register_buffer("t", torch.zeros(()))

    def with_margin(self, cosine_bk: Tensor, true_b1: Tensor, length_b1: Tensor) -> Tensor:  # noqa: ARG002
        """Return the cosines with the true class's angle enlarged and hard negatives weighted by t."""
        cosine_b1 = cosine_bk.gather(1, true_b1)
        if self.training:
            with torch.no_grad():
                self.t.lerp_(cosine_b1.mean(), 1 - self.momentum)
        turned_b1 = plus_angle(cosine_b1, self.margin)
        weighted_bk = torch.where(cosine_bk > turned_b1, cosine_bk * (self.t + cosine_bk), cosine_bk)
        return weighted_bk.scatter(1, true_b1, turned_b1)

    def get_params(self) -> dict[str, Any]:
        """Return the parameters, ready for JSON."""
        return {**super().get_params(), "momentum": self.momentum}


MARGINS: Catalogue[MarginHead] = Catalogue(
    "margin",
    {
        "linear": LinearHead,
        "cosine": CosineSoftmax,
        "arcface": ArcFace,
        "cosface": CosFace,
        "adaface": AdaFace,
        "curricularface": CurricularFace,
        "subcenter_arcface": SubCenterArcFace,
    },
    name_key="head",
    supplied=("in_features", "out_features"),
    entry_point_group="ringlight.margins",
)
"""What `margin.head` may be. Each is built as `head(in_features, out_features, ...)`, a :class:`MarginHead`."""
