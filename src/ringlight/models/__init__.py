"""Image classifiers: our own by name, every timm classifier by its timm name. Modules map images to logits (B, K)."""

from __future__ import annotations

from torch import nn

from ringlight.models.backbone import ConvNeXtTinyCBAM
from ringlight.models.build import BuiltModel, build_model
from ringlight.models.cbam import CBAM
from ringlight.models.timm_family import TimmClassifiers
from ringlight.models.weights import WeightsChoice, choose_weights
from ringlight.registry import Catalogue

MODELS: Catalogue[nn.Module] = Catalogue(
    "model",
    {"convnext_tiny_cbam": ConvNeXtTinyCBAM},
    supplied=("num_classes", "in_chans", "drop_rate", "pretrained"),
    fallback=TimmClassifiers(),
    entry_point_group="ringlight.models",
)
"""What `model.name` may be. A plug-in takes `num_classes` and, if it can, `in_chans`, `drop_rate` and `pretrained`
(False, or the path of a weights file)."""

__all__ = ["CBAM", "MODELS", "BuiltModel", "ConvNeXtTinyCBAM", "WeightsChoice", "build_model", "choose_weights"]
