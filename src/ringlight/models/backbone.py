"""ConvNeXt-Tiny (Liu et al. 2022, arXiv:2201.03545) with CBAM (Woo et al. 2018, arXiv:1807.06521) after late stages.

The ConvNeXt is timm's, unchanged, so that weights trained for `convnext_tiny` load into it; the attention starts from
scratch. The paper's form scales features by about a quarter at first (two sigmoids near one half). No identity start
is needed to save pretrained features from it: each stage's output next meets a layer normalisation (the following
stage's, or the head's), which takes the factor out again.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

from torch import Tensor, nn

from ringlight.errors import ModelError
from ringlight.models.cbam import CBAM
from ringlight.models.weights import Pretrained, choose_weights, read_state

STAGES = (1, 2, 3, 4)


class ConvNeXtTinyCBAM(nn.Module):
    """ConvNeXt-Tiny with CBAM after chosen stages: (B, in_chans, H, W) -> logits (B, num_classes).

    Any height and width of 32 pixels or more, 256 x 1600 strips included; about 28 million parameters.

    `drop_rate` is the dropout before the classifier, `drop_path_rate` the share of residual branches dropped in
    training. `cbam_stages` counts from 1 (96, 192, 384 and 768 channels; strides 4 to 32); empty leaves the plain
    ConvNeXt. `reduction` and `spatial_kernel_size` are CBAM's. `global_pool` is the pooling before the classifier
    (avg, max, avgmax). `pretrained` takes what weights.py says; a file may hold timm's `convnext_tiny` or a whole
    model of this class.

    Raises:
        ModelError: a stage outside 1 to 4 or given twice; weights that do not fit.
    """

    architecture = "convnext_tiny"

    def __init__(
        self,
        num_classes: int,
        *,
        in_chans: int = 3,
        drop_rate: float = 0.0,
        pretrained: Pretrained = False,
        cbam_stages: Sequence[int] = (3, 4),
        reduction: int = 16,
        spatial_kernel_size: int = 7,
        drop_path_rate: float = 0.0,
        global_pool: str = "avg",
    ) -> None:
        super().__init__()
        from ringlight.models.timm_family import create_timm, hub_of

        _check_stages(cbam_stages)
        hub = None if pretrained is False else hub_of(self.architecture)
        choice = choose_weights("convnext_tiny_cbam", pretrained, architecture=self.architecture, hub=hub)
        state = {} if choice.path is None else read_state(choice.path)
        own = {key.removeprefix("backbone."): value for key, value in state.items() if key.startswith("backbone.")}
        self.backbone = create_timm(
            self.architecture,
            num_classes=num_classes,
            in_chans=in_chans,
            drop_rate=drop_rate,
            pretrained=choice.argument,
            options={"drop_path_rate": drop_path_rate, "global_pool": global_pool},
            state=None if choice.path is None else own or state,
        )
        channels = [info["num_chs"] for info in cast("list[dict[str, int]]", self.backbone.feature_info)]
        self.cbam = nn.ModuleDict(
            {
                str(stage): CBAM(channels[stage - 1], reduction=reduction, kernel_size=spatial_kernel_size)
                for stage in sorted(cbam_stages)
            }
        )
        self.num_features = channels[-1]
        self.num_classes = num_classes
        if own and choice.path is not None:
            self._load_attention(state, choice.path)

    def _load_attention(self, state: dict[str, Tensor], path: Path) -> None:
        stored = {key.removeprefix("cbam."): value for key, value in state.items() if key.startswith("cbam.")}
        wanted = self.cbam.state_dict()
        for key in [*wanted, *stored]:
            shapes = [tuple(part[key].shape) if key in part else None for part in (wanted, stored)]
            if shapes[0] != shapes[1]:
                raise ModelError(
                    f"a tensor of shape {shapes[0]} for `cbam.{key}`" if shapes[0] else "no such stage's attention",
                    got=f"one of shape {shapes[1]}" if shapes[1] else "a file without it",
                    where=str(path),
                    fix="set model.cbam_stages, reduction and spatial_kernel_size as they were when it was saved",
                )
        self.cbam.load_state_dict(stored)

    def forward_features(self, x_bchw: Tensor) -> Tensor:
        """Return the last feature map, (B, 768, H/32, W/32)."""
        x: Tensor = self.backbone.get_submodule("stem")(x_bchw)
        for number, stage in enumerate(self.backbone.get_submodule("stages").children(), start=1):
            x = stage(x)
            if str(number) in self.cbam:
                x = self.cbam[str(number)](x)
        normed: Tensor = self.backbone.get_submodule("norm_pre")(x)
        return normed

    def forward_head(self, x_bchw: Tensor, *, pre_logits: bool = False) -> Tensor:
        """Return logits (B, num_classes) of a feature map, or with `pre_logits` the pooled features (B, 768)."""
        head = self.backbone.get_submodule("head")
        result: Tensor = head(x_bchw, pre_logits=pre_logits)
        return result

    def forward(self, x_bchw: Tensor) -> Tensor:
        """Return logits, (B, num_classes)."""
        return self.forward_head(self.forward_features(x_bchw))

    def get_classifier(self) -> nn.Module:
        """Return the last linear layer."""
        return self.backbone.get_submodule("head.fc")

    def new_parts(self) -> tuple[str, ...]:
        """Return the submodules that no trained weights fill: beside adapters they are trained as a whole."""
        return ("cbam",)

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Give the model a new, random classifier; 0 classes make it return features (B, 768)."""
        from timm.models.convnext import ConvNeXt

        cast("ConvNeXt", self.backbone).reset_classifier(num_classes, global_pool)
        self.num_classes = num_classes


def _check_stages(stages: Sequence[int]) -> None:
    if len(set(stages)) != len(stages) or not set(stages) <= set(STAGES):
        raise ModelError(
            "stages between 1 and 4, each at most once",
            got=str(list(stages)),
            where="model.cbam_stages",
            fix="stages count from 1; the default is [3, 4]",
        )
