"""One pass through an image classifier, cut at its last feature map: the map, the scores, and what one is to the other.

Where the map is is found out, so that nobody has to name a layer. What `forward_features` returns is what the
classifier pools: so it is for every model of our own (of the hybrid it is the fused map of both backbones) and of
timm, with channels first (ResNet, EfficientNet, ConvNeXt) or last (Swin). Of a vision transformer, whose class token
alone may be scored, it is what the last block's attention reads. A network without `forward_features` is looked at
where its last map of several places comes out.

The pass starts anew at the map: gradients need no parameter that can be trained (a frozen backbone has none), nothing
before the map is kept, and no hook or gradient stays behind in the model.

Shapes: B images, C channels, H x W pixels, h x w places, N tokens, K classes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ringlight.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor, nn

Layout = Literal["NCHW", "NHWC", "tokens"]
FEATURES = "forward_features"
"""The method that timm's models and our own have."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a model's feature map comes out: of a method of a module, or of the module itself.

    Args:
        name: the module's, and the method's where it is one, for people.
        owner: the module.
        is_method: whether it is what `owner.forward_features` returns, or what `owner` itself does.
        layout: channels first, channels last, or tokens (B, N, C).
        prefix: tokens before those of the places: the class token, registers.
        patch: pixels of a token, (height, width).
    """

    name: str
    owner: nn.Module
    is_method: bool
    layout: Layout
    prefix: int = 0
    patch: tuple[int, int] = (1, 1)

    def opened(self, found: Tensor, size: tuple[int, int]) -> Tensor:
        """Return what came out as a map (B, C, h, w), for images of `size` pixels.

        Raises:
            ModelError: tokens that are no grid.
        """
        if self.layout == "NCHW":
            return found
        if self.layout == "NHWC":
            return found.permute(0, 3, 1, 2)
        rows, columns = size[0] // self.patch[0], size[1] // self.patch[1]
        if rows * columns != found.shape[1] - self.prefix:
            raise ModelError(
                f"{rows} x {columns} tokens, one a patch of {self.patch[0]} x {self.patch[1]} pixels",
                got=str(found.shape[1] - self.prefix), where=self.name, fix="heat maps need tokens that form a grid",
            )  # fmt: skip
        patches = found[:, self.prefix :].transpose(1, 2)
        return patches.reshape(len(found), -1, rows, columns)

    def closed(self, maps_bchw: Tensor, found: Tensor) -> Tensor:
        """Return a map as `found` had it: the way back of :meth:`opened`."""
        import torch

        if self.layout == "NCHW":
            return maps_bchw
        if self.layout == "NHWC":
            return maps_bchw.permute(0, 2, 3, 1)
        return torch.cat([found[:, : self.prefix], maps_bchw.flatten(2).transpose(1, 2)], dim=1)


@dataclass(frozen=True, slots=True)
class Look:
    """What a method sees of a batch.

    `images_bchw` is the input, `maps_bchw` the feature map (B, C, h, w), `scores_bk` the logits computed from it, and
    `score` gives the logits of other inputs.
    """

    images_bchw: Tensor
    maps_bchw: Tensor
    scores_bk: Tensor
    score: Callable[[Tensor], Tensor]

    def gradients(self, targets_b: Tensor) -> Tensor:
        """Return the derivative of each image's score of one class (B,) by its map, (B, C, h, w)."""
        import torch

        # Images do not meet in evaluation mode: the gradient of a sum is that of each.
        total = self.scores_bk.gather(1, targets_b[:, None]).sum()
        found: Tensor = torch.autograd.grad(total, self.maps_bchw, retain_graph=True)[0]
        return found


def look(module: nn.Module, images_bchw: Tensor, place: Place | None = None) -> Look:
    """Pass a batch through a model in evaluation mode, and keep its feature map.

    Args:
        module: images (B, C, H, W) -> logits (B, K).
        images_bchw: prepared images, on the model's device.
        place: where the map is, from :func:`find_place`, which is asked when it is None.

    Raises:
        ModelError: the model has no feature map, or one of a single place; scores that are not finite.
    """
    import torch

    place = place or find_place(module, images_bchw[:1])
    height, width = images_bchw.shape[-2:]
    kept: list[Tensor] = []

    def cut(found: Tensor) -> Tensor:
        kept.append(place.opened(found.detach(), (height, width)).clone().requires_grad_())
        return place.closed(kept[-1], found.detach())

    with torch.enable_grad(), _cutting(place, cut):
        scores = module(images_bchw)
    maps = kept[-1]
    if maps.shape[2] * maps.shape[3] < 2:
        raise ModelError(
            "a feature map of 2 places or more", got="one of 1 x 1", where=f"images of {height} x {width} pixels",
            fix="give the model larger images: data.image_size",
        )  # fmt: skip
    if not torch.isfinite(scores).all():
        raise ModelError(
            "scores that are finite", got="others", where=place.name, fix="check the weights: train or copy them again"
        )

    def score(inputs: Tensor) -> Tensor:
        with torch.no_grad():
            scored: Tensor = module(inputs)
        return scored

    return Look(images_bchw, maps, scores, score)


@contextlib.contextmanager
def _cutting(place: Place, cut: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Put `cut` behind what gives the map, as long as the block runs."""
    if not place.is_method:
        handle = place.owner.register_forward_hook(lambda _module, _given, found: cut(found))
        try:
            yield
        finally:
            handle.remove()
        return
    import torch

    original, own = getattr(place.owner, FEATURES), vars(place.owner)
    former = own.get(FEATURES)

    def features(*args: Any, **kwargs: Any) -> Any:
        with torch.no_grad():
            found = original(*args, **kwargs)
        return cut(found)

    own[FEATURES] = features
    try:
        yield
    finally:
        if former is None:
            del own[FEATURES]
        else:
            own[FEATURES] = former


def find_place(module: nn.Module, images_bchw: Tensor) -> Place:
    """Return where a model's last feature map comes out, from one pass of an image or more.

    Raises:
        ModelError: nowhere.
    """
    named = [(name, part) for name, part in module.named_modules() if callable(getattr(part, FEATURES, None))]
    for name, owner in named[:1]:  # the outermost: the parts of a hybrid have features of their own
        found = _returned(module, owner, images_bchw)
        shown = f"{name}.{FEATURES}" if name else FEATURES
        if found is not None and found.ndim == 4:
            return Place(shown, owner, True, _layout(owner, found))
        if found is not None and found.ndim == 3:
            return _of_tokens(shown, owner)
    return _last_map(module, images_bchw)


def _returned(module: nn.Module, owner: nn.Module, images_bchw: Tensor) -> Tensor | None:
    """Return what `owner.forward_features` gives while the model scores images; None when it is not asked."""
    import torch

    heard: list[Any] = []

    def hear(found: Any) -> Any:
        heard.append(found)
        return found

    with torch.no_grad(), _cutting(Place(FEATURES, owner, True, "NCHW"), hear):
        module(images_bchw)
    return heard[-1] if heard and isinstance(heard[-1], torch.Tensor) else None


def _layout(owner: nn.Module, found: Tensor) -> Layout:
    """Return where the channels of a map are: timm's models that put them last say so."""
    told = getattr(owner, "output_fmt", None)
    if told is not None:
        return "NHWC" if str(getattr(told, "value", told)) == "NHWC" else "NCHW"
    channels = getattr(owner, "num_features", None)
    return "NHWC" if found.shape[3] == channels != found.shape[1] else "NCHW"


def _of_tokens(name: str, owner: nn.Module) -> Place:
    """Return the place of a vision transformer: the patches as the last block's attention reads them.

    Behind that block a model that scores its class token does not look at them any more, and their gradient is zero.
    """
    patches = getattr(owner, "patch_embed", None)
    patch = getattr(patches, "patch_size", None)
    if patch is None:
        raise ModelError(
            "a feature map, or tokens of patches", got=f"tokens of {type(owner).__name__}", where=name,
            fix="heat maps need a model that keeps places: a convolutional one, Swin or ViT",
        )  # fmt: skip
    sides = (patch, patch) if isinstance(patch, int) else (int(patch[0]), int(patch[1]))
    prefix = int(getattr(owner, "num_prefix_tokens", 0))
    blocks = getattr(owner, "blocks", None)
    norm = getattr(blocks[-1], "norm1", None) if blocks is not None and len(blocks) else None
    if norm is not None:
        return Place(f"{name} (last norm1)", norm, False, "tokens", prefix, sides)
    return Place(name, owner, True, "tokens", prefix, sides)


def _last_map(module: nn.Module, images_bchw: Tensor) -> Place:
    import torch

    heard: list[tuple[str, nn.Module]] = []

    def hear(name: str) -> Callable[..., None]:
        def hook(part: nn.Module, _given: Any, found: Any) -> None:
            if isinstance(found, torch.Tensor) and found.ndim == 4 and found.shape[2] * found.shape[3] > 1:
                heard.append((name, part))

        return hook

    handles = [part.register_forward_hook(hear(name)) for name, part in module.named_modules() if part is not module]
    try:
        with torch.no_grad():
            module(images_bchw)
    finally:
        for handle in handles:
            handle.remove()
    if not heard:
        raise ModelError(
            "a model with a feature map", got=f"{type(module).__name__}, which has none", where="explain",
            fix="heat maps need a model that keeps places: a convolutional one, Swin or ViT",
        )  # fmt: skip
    name, part = heard[-1]
    return Place(name, part, False, "NCHW")
