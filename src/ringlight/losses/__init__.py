"""Losses: (logits (B, K), targets) -> a number. Each knows its tasks and reports its parameters.

Beside them, contrastive losses of embeddings (N, D) and labels (N,), and the loss of a student with a teacher.
"""

from __future__ import annotations

from typing import Final

from torch import nn

from ringlight.losses.adjust import post_hoc_logit_adjustment
from ringlight.losses.asymmetric import AsymmetricLoss
from ringlight.losses.cost import CostSensitive, LeakAwareLoss
from ringlight.losses.cross_entropy import BCEWithLogits, CrossEntropy, WeightedCrossEntropy
from ringlight.losses.distillation import DistillationLoss
from ringlight.losses.evidential import Evidential
from ringlight.losses.focal import FocalLoss
from ringlight.losses.ldam import LDAM
from ringlight.losses.priors import BalancedSoftmax, LogitAdjustment
from ringlight.losses.supcon import ContrastiveLoss, NTXent, SupCon
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
        "leak_aware_loss": LeakAwareLoss,
        "cost_sensitive": CostSensitive,
        "evidential": Evidential,
        "categorical_crossentropy": CrossEntropy,
        "weighted_categorical_crossentropy": WeightedCrossEntropy,
    },
    supplied=("num_classes", "task", "class_counts", "num_records", "classes", "good_class"),
    entry_point_group="ringlight.losses",
)
"""What `loss.name` may be. Each is built as `loss(num_classes, task=..., class_counts=..., num_records=..., ...)`,
names the `tasks` it has a meaning for, and has `get_params()`. One whose parameters name classes also takes `classes`
(their names) and `good_class` (the class of good parts, or None). One that changes in the course of a training has
`set_progress(epoch, num_epochs)`, called when an epoch (from 0) starts."""

CONTRASTIVE: Catalogue[ContrastiveLoss] = Catalogue(
    "contrastive", {"supcon": SupCon, "nt_xent": NTXent}, entry_point_group="ringlight.contrastive"
)
"""What `contrastive.name` may be. Each is called as `loss(embeddings (N, D), labels (N,))`."""

SAME_LOSS: Final = {
    "categorical_crossentropy": "cross_entropy",
    "weighted_categorical_crossentropy": "weighted_cross_entropy",
}
"""Keras' name of a loss: ours, which is the `name` of what it builds."""

__all__ = [
    "CONTRASTIVE",
    "LDAM",
    "LOSSES",
    "SAME_LOSS",
    "AsymmetricLoss",
    "BCEWithLogits",
    "BalancedSoftmax",
    "ContrastiveLoss",
    "CostSensitive",
    "CrossEntropy",
    "DistillationLoss",
    "Evidential",
    "FocalLoss",
    "LeakAwareLoss",
    "LogitAdjustment",
    "NTXent",
    "SupCon",
    "WeightedCrossEntropy",
    "post_hoc_logit_adjustment",
]
