"""Two backbones that see the same image, fused: by default ConvNeXt-V2 and Swin-V2, convolutions beside attention.

ConvNeXt-V2: Woo et al. 2023, arXiv:2301.00808; Swin-V2: Liu et al. 2022, arXiv:2111.09883; both timm's, unchanged, so
that trained weights load into them. What stands behind them starts from scratch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

from torch import Tensor, nn

from ringlight.errors import ModelError
from ringlight.models.branch import Branch, Renormalize
from ringlight.models.fusion import ChannelNorm, make_fusion, resample
from ringlight.models.pooling import make_pooling
from ringlight.models.weights import Pretrained, WeightsChoice


class Hybrid(nn.Module):
    """Two timm backbones, fused to one embedding: (B, in_chans, H, W) -> logits (B, num_classes).

    `first` and `second` are timm names; each map is normalised and projected to `embed_dim` channels, the second is
    resampled to the grid of the first, `fusion` makes one of both (`concat`, `gated`, `cross_attention` with
    `fusion_heads` heads), `pooling` (`avg`, `gem`) a vector, and a linear layer the embedding (B, embed_dim) that
    reaches the classifier, with `drop_rate` dropout between them. By default about 57 million parameters.

    `first_options` and `second_options` are arguments of the timm constructors, as `{depths: [1, 1, 1, 1]}`;
    `drop_path_rate` is the share of residual branches dropped in training. `frozen_branches` are not trained and keep
    their statistics; `first_lr_scale` and `second_lr_scale` multiply a branch's learning rate; `grad_checkpointing`
    trades time for memory. `pretrained` takes what weights.py says, for each branch by its own name, and `weights`
    tells what came of it. `image_size` (height, width) decides how backbones of fixed size are built, which
    `needs_size` names.

    Raises:
        ModelError: a name that timm does not know or that has no feature maps, refused options, a number out of range,
            weights that are missing or do not fit.
    """

    is_composite = True

    def __init__(
        self,
        num_classes: int,
        *,
        in_chans: int = 3,
        drop_rate: float = 0.0,
        pretrained: Pretrained = False,
        weights_folder: Path | None = None,
        image_size: tuple[int, int] | None = None,
        first: str = "convnextv2_tiny",
        second: str = "swinv2_tiny_window8_256",
        first_options: dict[str, Any] | None = None,
        second_options: dict[str, Any] | None = None,
        fusion: Literal["concat", "gated", "cross_attention"] = "gated",
        fusion_heads: int = 8,
        pooling: Literal["avg", "gem"] = "avg",
        embed_dim: int = 512,
        drop_path_rate: float = 0.0,
        grad_checkpointing: bool = False,
        frozen_branches: Sequence[Literal["first", "second"]] = (),
        first_lr_scale: float = 1.0,
        second_lr_scale: float = 1.0,
    ) -> None:
        super().__init__()
        _check(embed_dim, {"first_lr_scale": first_lr_scale, "second_lr_scale": second_lr_scale}, pretrained)
        names = {"first": first, "second": second}
        options = {"first": first_options, "second": second_options}
        built = {
            which: Branch(
                name, where=f"model.{which}", in_chans=in_chans, pretrained=pretrained, weights_folder=weights_folder,
                image_size=image_size, drop_path_rate=drop_path_rate, options=options[which],
            )
            for which, name in names.items()
        }  # fmt: skip
        self.branches = nn.ModuleDict(built)
        self.weights = combined([(names[which], branch.weights) for which, branch in built.items()])
        self.needs_size = [names[which] for which, branch in built.items() if branch.needs_size]
        self.mean, self.std = built["first"].mean, built["first"].std
        statistics = [(branch.mean, branch.std) for branch in built.values()]
        is_same = statistics[0] == statistics[1]
        self.renormalize = nn.Identity() if is_same else Renormalize(statistics[0], statistics[1], in_chans)
        self.align = nn.ModuleDict({which: _projection(branch.num_chs, embed_dim) for which, branch in built.items()})
        self.fusion = make_fusion(fusion, embed_dim, num_heads=fusion_heads)
        self.activation = nn.Sequential(ChannelNorm(embed_dim), nn.GELU())
        self.pooling = make_pooling(pooling)
        self.norm = nn.LayerNorm(embed_dim)
        self.embed = nn.Linear(embed_dim, embed_dim)
        self.drop = nn.Dropout(drop_rate)
        self.classifier: nn.Module = nn.Linear(embed_dim, num_classes)
        self.num_features = embed_dim
        self.num_classes = num_classes
        self.frozen_branches = tuple(frozen_branches)
        self._lr_scales = {"first": first_lr_scale, "second": second_lr_scale}
        for which, branch in built.items():
            if which in self.frozen_branches:
                branch.requires_grad_(False)
            elif grad_checkpointing:
                branch.checkpoint_gradients(names[which])
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Set training or evaluation mode; frozen branches stay in evaluation mode."""
        super().train(mode)
        for which in self.frozen_branches:
            self.branches[which].eval()
        return self

    def forward_features(self, x_bchw: Tensor) -> Tensor:
        """Return the fused feature map, (B, embed_dim, H', W') on the first branch's grid."""
        first_bdhw: Tensor = self.align["first"](self.branches["first"](x_bchw))
        second_bdhw: Tensor = self.align["second"](self.branches["second"](self.renormalize(x_bchw)))
        height, width = first_bdhw.shape[2:]
        fused = self.fusion(first_bdhw, resample(second_bdhw, (height, width)))
        activated: Tensor = self.activation(fused)
        return activated

    def forward_head(self, x_bdhw: Tensor, *, pre_logits: bool = False) -> Tensor:
        """Return logits (B, num_classes) of a fused map, or with `pre_logits` the embedding (B, embed_dim)."""
        embedding: Tensor = self.drop(self.embed(self.norm(self.pooling(x_bdhw))))
        if pre_logits:
            return embedding
        logits: Tensor = self.classifier(embedding)
        return logits

    def forward(self, x_bchw: Tensor) -> Tensor:
        """Return logits, (B, num_classes)."""
        return self.forward_head(self.forward_features(x_bchw))

    def get_classifier(self) -> nn.Module:
        """Return the last layer, which the embedding reaches."""
        return self.classifier

    def reset_classifier(self, num_classes: int) -> None:
        """Give the model a new, random classifier; 0 classes make it return embeddings (B, embed_dim)."""
        self.classifier = nn.Linear(self.num_features, num_classes) if num_classes else nn.Identity()
        self.num_classes = num_classes

    def no_weight_decay(self) -> set[str]:
        """Return the names of the parameters that the branches exempt from weight decay."""
        return {
            f"branches.{which}.{name}"
            for which, branch in self.branches.items()
            if isinstance(branch, Branch)
            for name in branch.no_weight_decay()
        }

    def lr_scales(self) -> Mapping[str, float]:
        """Return what multiplies the learning rate of the parameters whose names begin so."""
        return {f"branches.{which}.": scale for which, scale in self._lr_scales.items()}

    def new_parts(self) -> tuple[str, ...]:
        """Return the submodules that no trained weights fill: beside adapters they are trained as a whole."""
        return ("align", "fusion", "activation", "pooling", "norm", "embed")


def combined(choices: Sequence[tuple[str, WeightsChoice]]) -> WeightsChoice:
    """Return what several branches start from as one choice: its source is that of the first that has weights."""
    parts = tuple((name, choice) for name, choice in choices if choice.source != "random")
    trained = [choice for _, choice in parts]
    note = "; ".join(f"{name}: {choice.note}" for name, choice in choices)
    if not trained:
        return WeightsChoice(source="random", note=note)
    sums = [choice.sha256 for choice in trained if choice.sha256 is not None]
    return WeightsChoice(
        source=trained[0].source, note=note, path=trained[0].path, sha256=",".join(sums) or None,
        is_whole=len(trained) == len(choices), parts=parts,
    )  # fmt: skip


def _projection(num_chs: int, embed_dim: int) -> nn.Module:
    return nn.Sequential(ChannelNorm(num_chs), nn.Conv2d(num_chs, embed_dim, kernel_size=1))


def _check(embed_dim: int, scales: Mapping[str, float], pretrained: Pretrained) -> None:
    if embed_dim < 1:
        raise ModelError("1 dimension or more", got=str(embed_dim), where="model.embed_dim", fix="try 512")
    for key, scale in scales.items():
        if not (math.isfinite(scale) and scale > 0):
            raise ModelError(
                "a factor above 0", got=f"{scale:g}", where=f"model.{key}",
                fix=f"to keep the branch as it is, set model.frozen_branches=[{key.partition('_')[0]}]",
            )  # fmt: skip
    if isinstance(pretrained, Path):
        raise ModelError(
            "auto, true or false for a model of two branches", got=f"`{pretrained}`", where="model.pretrained",
            fix="put a file for each branch, NAME.safetensors, into weights.folder",
        )  # fmt: skip
