"""Class activation maps: which places of a feature map speak for a class.

The equations are the papers', with A_k the map of channel k, S the class's score (a logit) and g = dS / dA; every
method gives a map (h, w) of which :func:`scaled` keeps what is positive, stretched to 0..1. They are our own and not
pytorch-grad-cam's, which is the proof in the tests; docs/adr/0013 says why.

Shapes: B images, Q classes asked for of each, C channels, h x w places, H x W pixels, K classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Protocol

from ringlight.errors import ConfigError
from ringlight.registry import Catalogue

if TYPE_CHECKING:
    from torch import Tensor

    from ringlight.explain.look import Look

AT_ONCE = 16
"""Masked images that Score-CAM scores together: memory does not grow with the channels of a map."""


class Method(Protocol):
    """From a look at B images to a map of each class asked for."""

    class_specific: ClassVar[bool]
    """Whether the map of one class differs from that of another."""

    def __call__(self, look: Look, targets_bq: Tensor) -> Tensor:
        """Return raw maps (B, Q, h, w) of the classes `targets_bq` (B, Q); above 0 speaks for the class."""


class GradCAM:
    """Each channel weighs as much as its mean gradient (Selvaraju et al. 2017, arXiv:1610.02391, equations 1 and 2).

    w_k = mean(g_k) over the places, map = sum_k w_k A_k.
    """

    class_specific: ClassVar[bool] = True

    def __call__(self, look: Look, targets_bq: Tensor) -> Tensor:
        """Return raw maps (B, Q, h, w)."""
        return _per_class(look, targets_bq, lambda maps, slopes: _weighted(maps, slopes.mean(dim=(2, 3))))


class GradCAMPlusPlus:
    """Places weigh differently within a channel (Chattopadhyay et al. 2018, arXiv:1710.11063, equations 7, 10 and 19).

    w_k = sum over places of alpha max(g, 0) with alpha = g^2 / (2 g^2 + (sum over places of A_k) g^3), which is
    1 / (2 + (sum A_k) g): computed in this form, as g^2 of a large map is too small for a number beside any constant
    that guards the division. Where the denominator is zero the place does not count. The paper's class score is exp(S),
    whose factor exp(S) scales the whole map and is left out.

    The equation is made for maps that a ReLU has left non-negative. Of others a channel whose sum is negative may have
    a denominator below 0, and then speaks against the class.
    """

    class_specific: ClassVar[bool] = True

    def __call__(self, look: Look, targets_bq: Tensor) -> Tensor:
        """Return raw maps (B, Q, h, w)."""
        import torch

        def explained(maps: Tensor, slopes: Tensor) -> Tensor:
            below = 2 + maps.sum(dim=(2, 3), keepdim=True) * slopes
            counted = (below != 0) & (slopes != 0)
            alpha = torch.where(counted, 1 / torch.where(counted, below, 1.0), 0.0)
            return _weighted(maps, (alpha * slopes.clamp(min=0)).sum(dim=(2, 3)))

        return _per_class(look, targets_bq, explained)


class HiResCAM:
    """Each place of each channel by its own gradient (Draelos & Carin 2020, arXiv:2011.08891): map = sum_k g_k A_k.

    Of a model that ends in average pooling and a linear layer it is Grad-CAM's map, and the share of the score that
    each place has: those of all places add up to the score without its bias.
    """

    class_specific: ClassVar[bool] = True

    def __call__(self, look: Look, targets_bq: Tensor) -> Tensor:
        """Return raw maps (B, Q, h, w)."""
        return _per_class(look, targets_bq, lambda maps, slopes: (maps * slopes).sum(dim=1))


class ScoreCAM:
    """Each channel weighs as much as what it leaves of the image scores (Wang et al. 2020, arXiv:1910.01279).

    map = sum_k alpha_k A_k with alpha the soft-max over channels of S(X * H_k) - S(0), and H_k the channel enlarged to
    the image and stretched to 0..1 (definition 3 and algorithm 1; S(0) is the same for all channels and falls out). No
    gradients are needed, but a pass of the model for every channel.

    Each channel is counted from its own least value: of maps that a ReLU has left non-negative that moves the whole map
    by a number, which :func:`scaled` takes away again; of others the sum would be negative everywhere.

    Args:
        max_channels: only these many channels are tried, those whose values spread the most, as in Faster Score-CAM;
            None tries all, as the paper does.

    Raises:
        ConfigError: fewer than one channel.
    """

    class_specific: ClassVar[bool] = True

    def __init__(self, *, max_channels: int | None = 64) -> None:
        if max_channels is not None and max_channels < 1:
            raise ConfigError(
                "None or 1 channel or more", got=str(max_channels), where="explanation.max_channels", fix="try 64"
            )
        self.max_channels = max_channels

    def __call__(self, look: Look, targets_bq: Tensor) -> Tensor:
        """Return raw maps (B, Q, h, w)."""
        import torch

        found = []
        for image, maps, targets in zip(look.images_bchw, look.maps_bchw.detach(), targets_bq, strict=True):
            if self.max_channels is not None and len(maps) > self.max_channels:
                maps = maps[maps.flatten(1).std(dim=1).topk(self.max_channels).indices]
            scores_ck = torch.cat([look.score(image * _masks(part, image)) for part in maps.split(AT_ONCE)])
            weights_cq = torch.softmax(scores_ck[:, targets].float(), dim=0).to(maps.dtype)
            found.append(torch.einsum("cq,chw->qhw", weights_cq, maps - maps.amin(dim=(1, 2), keepdim=True)))
        return torch.stack(found)


class EigenCAM:
    """The first principal component of the map (Muhammad & Yeasin 2020, arXiv:2008.00299): no class, no gradient.

    The places' vectors of channels, (h w, C), are projected on their first right singular vector. As in
    pytorch-grad-cam the channels' means are taken away first, since else the mean is the first direction; the paper
    does not say. A singular vector has no sign: the one is taken under which the largest value is positive, so that a
    small region that stands out is what is shown.
    """

    class_specific: ClassVar[bool] = False

    def __call__(self, look: Look, targets_bq: Tensor) -> Tensor:
        """Return raw maps (B, Q, h, w), the same for every class."""
        import torch

        flat = look.maps_bchw.detach().flatten(2).transpose(1, 2).double()  # (B, h w, C)
        flat = flat - flat.mean(dim=1, keepdim=True)
        component = torch.stack([_projected(one) for one in flat])
        largest = component.gather(1, component.abs().argmax(dim=1, keepdim=True))
        component = component * torch.where(largest < 0, -1.0, 1.0)
        maps = component.reshape(len(component), 1, *look.maps_bchw.shape[2:]).to(look.maps_bchw.dtype)
        return maps.expand(-1, targets_bq.shape[1], -1, -1)


METHODS: Catalogue[Method] = Catalogue(
    "explanation",
    {
        "grad_cam": GradCAM,
        "grad_cam_pp": GradCAMPlusPlus,
        "hires_cam": HiResCAM,
        "score_cam": ScoreCAM,
        "eigen_cam": EigenCAM,
    },
    name_key="method",
)
"""The heat maps of images."""


def scaled(raw_bqhw: Tensor) -> Tensor:
    """Return what is positive in each map, its least value as 0 and its greatest as 1; all 0 where they are the same.

    Each map by itself: it says where, and not how much, which the class's probability says.
    """
    positive = raw_bqhw.detach().float().clamp(min=0)
    positive = positive - positive.amin(dim=(2, 3), keepdim=True)
    return positive / positive.amax(dim=(2, 3), keepdim=True).clamp(min=1e-30)


def enlarged(maps_bqhw: Tensor, size: tuple[int, int]) -> Tensor:
    """Return maps stretched over `size` (H, W) pixels, bilinearly."""
    from torch.nn import functional as F  # noqa: N812 - PyTorch's own name for it

    return F.interpolate(maps_bqhw, size=size, mode="bilinear", align_corners=False)


def _per_class(look: Look, targets_bq: Tensor, explained: _FromGradients) -> Tensor:
    import torch

    maps = look.maps_bchw.detach()
    return torch.stack([explained(maps, look.gradients(targets)) for targets in targets_bq.unbind(1)], dim=1)


class _FromGradients(Protocol):
    def __call__(self, maps: Tensor, slopes: Tensor, /) -> Tensor:
        """Return maps (B, h, w) of activations and gradients (B, C, h, w)."""


def _weighted(maps: Tensor, weights_bc: Tensor) -> Tensor:
    import torch

    return torch.einsum("bc,bchw->bhw", weights_bc, maps)


def _projected(rows: Tensor) -> Tensor:
    """Return the projection (h w,) of places (h w, C) on their first right singular vector, of either sign.

    From the smaller of the two products of the matrix with itself, so that neither many places nor many channels cost
    the square of their number.
    """
    import torch

    if rows.shape[0] > rows.shape[1]:
        direction: Tensor = torch.linalg.eigh(rows.T @ rows)[1][:, -1]
        return rows @ direction
    values, vectors = torch.linalg.eigh(rows @ rows.T)
    projection: Tensor = vectors[:, -1] * values[-1].clamp(min=0).sqrt()
    return projection


def _masks(maps_chw: Tensor, image: Tensor) -> Tensor:
    """Return channels (C, h, w) as masks (C, 1, H, W) from 0 to 1."""
    large = enlarged(maps_chw[None], (image.shape[-2], image.shape[-1]))[0]
    low, high = large.amin(dim=(1, 2), keepdim=True), large.amax(dim=(1, 2), keepdim=True)
    return ((large - low) / (high - low).clamp(min=1e-8))[:, None]
