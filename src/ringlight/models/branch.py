"""One timm model as a part of a larger one: its last feature map, in one layout, whatever the architecture.

What changes the tokens inside a backbone (merging similar ones: Bolya et al. 2023, arXiv:2210.09461) belongs into
:func:`_network`, which alone knows the timm model before anything is built on it: its blocks can be replaced there, as
long as `forward_intermediates` still gives a map (B, C, H, W).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from ringlight.errors import ModelError, did_you_mean
from ringlight.models.build import IMAGENET_MEAN, IMAGENET_STD
from ringlight.models.weights import Pretrained, WeightsChoice, choose_weights

SUPPLIED = frozenset({"num_classes", "in_chans", "drop_rate", "global_pool"})
"""Constructor arguments of a timm model that are not options: the engine sets them, or a feature map has no use for."""


class Branch(nn.Module):
    """A timm model up to its last feature map: (B, in_chans, H, W) -> (B, num_chs, H', W').

    timm's own `forward_intermediates` gives the map with channels first, also of models that compute with them last
    (Swin) or with tokens (ViT). What comes after the map (norm, classifier) is cut off, so that every parameter that is
    left is used.

    A model of fixed input size is built for `image_size`, which decides the windows of a Swin. Its size is not checked
    at run time, and timm's `set_input_size` is not used: it would scale the windows, and with them what the trained
    weights mean.

    Args:
        architecture: a timm name, perhaps `name.tag`.
        where: the configuration key that named it, for messages.
        pretrained: what weights.py says; `weights` tells what was chosen.
        weights_folder: where weights are looked for first.
        image_size: height and width in pixels; None takes the architecture's own.
        drop_path_rate: share of residual branches dropped in training, where the architecture has it.
        options: further arguments of the architecture's constructor (`depths`, `window_size`, ...), set by the key
            `where` with `_options` behind it.

    Raises:
        ModelError: no timm model of that name, one without feature maps, unknown or refused options, weights that are
            missing or do not fit.
    """

    def __init__(
        self,
        architecture: str,
        *,
        where: str,
        in_chans: int = 3,
        pretrained: Pretrained = False,
        weights_folder: Path | None = None,
        image_size: tuple[int, int] | None = None,
        drop_path_rate: float = 0.0,
        options: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__()
        from ringlight.models.timm_family import TimmClassifiers, hub_of, pretrained_cfg

        if TimmClassifiers().factory(architecture) is None:
            raise ModelError(
                "a timm model",
                got=f"`{architecture}`",
                where=where,
                fix="try convnextv2_atto or swinv2_tiny_window8_256",
            )
        cfg = pretrained_cfg(architecture)
        hub = None if pretrained is False else hub_of(architecture)
        self.weights: WeightsChoice = choose_weights(
            architecture, pretrained, architecture=architecture, folder=weights_folder, hub=hub
        )
        self.mean: tuple[float, ...] = tuple(cfg.get("mean") or IMAGENET_MEAN)
        self.std: tuple[float, ...] = tuple(cfg.get("std") or IMAGENET_STD)
        asked = {"drop_path_rate": drop_path_rate, **dict(options or {})}
        self.model, self.needs_size = _network(
            architecture, where, in_chans, self.weights.argument, image_size, asked, bool(cfg.get("fixed_input_size"))
        )
        info = cast("list[dict[str, Any]]", self.model.feature_info)
        self._last = [len(info) - 1]
        self.num_chs = int(info[-1]["num_chs"])
        self._prune()

    def _prune(self) -> None:
        """Cut off what comes after the last map, and take the index it has from then on."""
        prune = getattr(self.model, "prune_intermediate_layers", None)
        if callable(prune):
            self._last = list(prune(self._last, prune_norm=True, prune_head=True))

    def forward(self, x_bchw: Tensor) -> Tensor:
        """Return the last feature map (B, num_chs, H', W')."""
        maps = self.model.forward_intermediates(  # type: ignore[operator]
            x_bchw, indices=self._last, norm=False, output_fmt="NCHW", intermediates_only=True
        )
        last: Tensor = maps[-1]
        return last

    def no_weight_decay(self) -> set[str]:
        """Return the names of the parameters that timm exempts from weight decay."""
        listed = getattr(self.model, "no_weight_decay", None)
        return {f"model.{name}" for name in listed()} if callable(listed) else set()

    def checkpoint_gradients(self, where: str) -> None:
        """Compute activations again in the backward pass instead of keeping them: less memory, a third more time.

        Raises:
            ModelError: the architecture does not offer it.
        """
        try:
            self.model.set_grad_checkpointing(True)  # type: ignore[operator]
        except (AssertionError, AttributeError, TypeError) as error:
            raise ModelError(
                "models that can compute their activations again", got=f"`{where}`, which cannot",
                where="model.grad_checkpointing", fix="set it to false, or choose another model",
            ) from error  # fmt: skip


def _network(
    architecture: str,
    where: str,
    in_chans: int,
    pretrained: Pretrained,
    image_size: tuple[int, int] | None,
    asked: Mapping[str, object],
    is_fixed: bool,
) -> tuple[nn.Module, bool]:
    """Build the timm model without a classifier; return whether an image size decides how it is built."""
    from ringlight.models.timm_family import accepted_keywords, create_timm

    accepted = accepted_keywords(architecture)
    options = {key: value for key, value in asked.items() if key != "drop_path_rate" or key in accepted}
    for key in options:
        if key not in accepted - SUPPLIED:
            raise ModelError(
                f"an argument of `{architecture}`", got=f"`{key}`", where=f"{where}_options",
                fix=did_you_mean(key, sorted(accepted - SUPPLIED)),
            )  # fmt: skip
    needs_size = is_fixed and "img_size" in accepted
    if needs_size and image_size is not None:
        options.setdefault("img_size", image_size)
    if needs_size and "strict_img_size" in accepted:
        options.setdefault("strict_img_size", False)
    model = create_timm(
        architecture, num_classes=0, in_chans=in_chans, drop_rate=0.0, pretrained=pretrained, options=options
    )
    if not hasattr(model, "forward_intermediates") or not getattr(model, "feature_info", None):
        raise ModelError(
            "a timm model that gives feature maps", got=f"`{architecture}`, which gives none", where=where,
            fix="try convnextv2_atto or swinv2_tiny_window8_256",
        )  # fmt: skip
    return model, needs_size


class Renormalize(nn.Module):
    """Input normalised with one mean and deviation, turned into that of another: ((x s + m) - m') / s'.

    Two models were trained on different statistics, and an image is normalised once. Values are per channel; gray
    images take their average.
    """

    scale: Tensor
    shift: Tensor

    def __init__(
        self, given: tuple[tuple[float, ...], tuple[float, ...]], wanted: tuple[tuple[float, ...], tuple[float, ...]],
        in_chans: int,
    ) -> None:  # fmt: skip
        super().__init__()
        values = [torch.tensor(value) for pair in (given, wanted) for value in pair]
        if in_chans == 1:
            values = [value.mean(dim=0, keepdim=True) for value in values]
        mean, std, other_mean, other_std = (value.view(1, -1, 1, 1) for value in values)
        self.register_buffer("scale", std / other_std, persistent=False)
        self.register_buffer("shift", (mean - other_mean) / other_std, persistent=False)

    def forward(self, x_bchw: Tensor) -> Tensor:
        """Return the input as the other model expects it."""
        return x_bchw * self.scale + self.shift
