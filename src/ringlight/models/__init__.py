"""Classifiers of images (our own, and every timm classifier by its timm name) and of windows; all give logits (B, K).

A class attribute `takes` says which, `images` or `windows`; without it a model takes images.
"""

from __future__ import annotations

from torch import nn

from ringlight.models.backbone import ConvNeXtTinyCBAM
from ringlight.models.build import BuiltModel, build_model, build_sequence_model, is_estimator, takes_of
from ringlight.models.cbam import CBAM
from ringlight.models.classical import SVM, ExtraTrees, GradientBoosting, LogisticRegression, RandomForest
from ringlight.models.describe import ModelFacts, describe_models
from ringlight.models.ensemble import EnsembleModel
from ringlight.models.ensemble_members import is_ensemble
from ringlight.models.hybrid import Hybrid
from ringlight.models.margin_base import MarginHead
from ringlight.models.margins import MARGINS
from ringlight.models.rocket import MiniRocket, MultiRocket
from ringlight.models.sequence_cnn import CNN1D
from ringlight.models.sequence_inception import InceptionTime
from ringlight.models.sequence_resnet import ResNet1D
from ringlight.models.sequence_rnn import GRUClassifier, LSTMClassifier
from ringlight.models.sequence_tcn import TCN
from ringlight.models.timm_family import TimmClassifiers
from ringlight.models.weights import WeightsChoice, choose_weights
from ringlight.registry import Catalogue

MODELS: Catalogue[nn.Module] = Catalogue(
    "model",
    {
        "convnext_tiny_cbam": ConvNeXtTinyCBAM,
        "hybrid": Hybrid,
        "cnn1d": CNN1D,
        "lstm": LSTMClassifier,
        "gru": GRUClassifier,
        "inception_time": InceptionTime,
        "resnet1d": ResNet1D,
        "tcn": TCN,
        "random_forest": RandomForest,
        "extra_trees": ExtraTrees,
        "svm": SVM,
        "logistic_regression": LogisticRegression,
        "gradient_boosting": GradientBoosting,
        "minirocket": MiniRocket,
        "multirocket": MultiRocket,
        "ensemble": EnsembleModel,
    },
    supplied=(
        "num_classes",
        "in_chans",
        "drop_rate",
        "pretrained",
        "weights_folder",
        "image_size",
        "length",
        "task",
        "seed",
    ),
    fallback=TimmClassifiers(),
    entry_point_group="ringlight.models",
)
"""What `model.name` may be. A plug-in takes `num_classes` and, if it can, `in_chans`, `drop_rate` and `pretrained`
(False, or the path of a weights file). One of several backbones says `is_composite = True`: it is given
`weights_folder` and `image_size` as well, and tells what it took (`weights`, `mean`, `std`, `needs_size`). One of
windows says `takes = "windows"`; it takes `num_classes` and `in_chans` and, if it can, `drop_rate`, `length` (time
steps), `task` and `seed`."""

__all__ = [
    "CBAM", "CNN1D", "MARGINS", "MODELS", "SVM", "TCN", "BuiltModel", "ConvNeXtTinyCBAM", "EnsembleModel",
    "ExtraTrees", "GRUClassifier", "GradientBoosting", "Hybrid", "InceptionTime", "LSTMClassifier",
    "LogisticRegression", "MarginHead", "MiniRocket", "ModelFacts", "MultiRocket", "RandomForest", "ResNet1D",
    "WeightsChoice", "build_model", "build_sequence_model", "choose_weights", "describe_models",
    "is_ensemble", "is_estimator", "takes_of",
]  # fmt: skip
