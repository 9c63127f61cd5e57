"""Losses: (logits (B, K), targets) -> a number. Each knows its tasks and reports its parameters."""

from __future__ import annotations

from torch import nn

from ringlight.losses.adjust import post_hoc_logit_adjustment
from ringlight.losses.asymmetric import AsymmetricLoss
from ringlight.losses.cross_entropy import BCEWithLogits, CrossEntropy, WeightedCrossEntropy
from ringlight.losses.focal import FocalLoss
from ringlight.losses.ldam import LDAM
from ringlight.losses.priors import BalancedSoftmax, LogitAdjustment
from ringlight.registry import Catalogue

LOSSES: Catalogue[nn.Module] = Catalogue(
    "loss",
    {
        "focal_loss": FocalLoss,
        "bce_with_logits": BCEWithLogits,
        "cross_entropy": CrossEntropy,
        "weighted_cross_entropy": WeightedCrossEntropy,
        "balanced_softmax": BalancedSoftmax,
        "logit_adjustment": LogitAdjustment,
        "ldam": LDAM,
        "asymmetric_loss": AsymmetricLoss,
    },
    supplied=("num_classes", "task", "class_counts", "num_records"),
    entry_point_group="ringlight.losses",
)
"""What `loss.name` may be. Each is built as `loss(num_classes, task=..., class_counts=..., num_records=..., ...)`,
names the `tasks` it has a meaning for, and has `get_params()`. One that changes in the course of a training has
`set_progress(epoch, num_epochs)`, called when an epoch (from 0) starts."""

__all__ = [
    "LDAM",
    "LOSSES",
    "AsymmetricLoss",
    "BCEWithLogits",
    "BalancedSoftmax",
    "CrossEntropy",
    "FocalLoss",
    "LogitAdjustment",
    "WeightedCrossEntropy",
    "post_hoc_logit_adjustment",
]
