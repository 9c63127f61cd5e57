"""Losses: (logits (B, K), targets) -> a number. Each knows its task and reports its parameters."""

from __future__ import annotations

from torch import nn

from ringlight.losses.cross_entropy import BCEWithLogits, CrossEntropy, WeightedCrossEntropy
from ringlight.losses.focal import FocalLoss
from ringlight.registry import Catalogue

LOSSES: Catalogue[nn.Module] = Catalogue(
    "loss",
    {
        "focal_loss": FocalLoss,
        "bce_with_logits": BCEWithLogits,
        "cross_entropy": CrossEntropy,
        "weighted_cross_entropy": WeightedCrossEntropy,
    },
    supplied=("num_classes", "task", "class_counts"),
    entry_point_group="ringlight.losses",
)
"""What `loss.name` may be. Each is built as `loss(num_classes, task=..., class_counts=..., ...)` and has
`get_params()`."""

__all__ = ["LOSSES", "BCEWithLogits", "CrossEntropy", "FocalLoss", "WeightedCrossEntropy"]
