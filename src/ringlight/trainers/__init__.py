"""The objects of the first air-leak system, each call an ordinary run on the engine.

`from src.training import ...` and `from src.models import ...` of that system become `from ringlight.trainers import
...`. Networks are PyTorch's, and Keras 3 models on its PyTorch backend; estimators are scikit-learn's. Records are
arrays: windows (N, T, C), which a network is given as (B, C, T), or vectors (N, D).
"""

from __future__ import annotations

from ringlight.trainers.builders import (
    CNN1DBuilder,
    EnsembleModel,
    LSTMBuilder,
    RandomForestModel,
    SVMClassifier,
)
from ringlight.trainers.losses import FocalLoss, LeakAwareLoss, WeightedCategoricalCrossentropy, get_loss_function
from ringlight.trainers.model_trainer import Evaluated, ModelTrainer, TrainingHistory
from ringlight.trainers.multi_trainer import ModelComparison, MultiModelTrainer
from ringlight.trainers.rates import get_learning_rate_schedule, get_optimizer
from ringlight.trainers.validation import (
    GridSearchTuner,
    HyperparameterTuner,
    KFoldValidator,
    RandomSearchTuner,
    evaluate_with_cross_validation,
)

__all__ = [
    "CNN1DBuilder", "EnsembleModel", "Evaluated", "FocalLoss", "GridSearchTuner", "HyperparameterTuner",
    "KFoldValidator", "LSTMBuilder", "LeakAwareLoss", "ModelComparison", "ModelTrainer", "MultiModelTrainer",
    "RandomForestModel", "RandomSearchTuner", "SVMClassifier", "TrainingHistory", "WeightedCategoricalCrossentropy",
    "evaluate_with_cross_validation", "get_learning_rate_schedule", "get_loss_function", "get_optimizer",
]  # fmt: skip
