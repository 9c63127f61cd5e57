"""The embedding of a record: what reaches the classifier of a trained model, and who has one.

It is the features of :func:`ringlight.models.heads.features_before_head`, without views or augmentation.

Shapes: N records, D features.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from ringlight.config.schema import EvaluationConfig
from ringlight.errors import ConfigError, ModelError
from ringlight.runtime import DeviceChoice, quiet_libraries
from ringlight.training.feeding import Feeder
from ringlight.types import Dataset

if TYPE_CHECKING:
    from torch import nn

Embeddings = npt.NDArray[np.float32]


class Embeds(Protocol):
    """A learner whose module has a classifier that features reach."""

    module: nn.Module
    feeder: Feeder
    device: DeviceChoice


def embedding_problems(settings: EvaluationConfig, data: Dataset) -> list[str]:
    """Return why an embedding that is asked for cannot be judged on these records, a line each."""
    if not settings.embedding:
        return []
    where, lines = "evaluation.embedding", []
    if data.signals is not None:
        lines.append(ConfigError("images", got="windows of a signal", where=where, fix=f"set {where}=false"))
    if data.task == "multilabel":
        lines.append(
            ConfigError(
                "records of one class each", got="multilabel data, where a neighbour may be right in part",
                where=where, fix=f"set {where}=false, or data.task=multiclass where each record has one label",
            )
        )  # fmt: skip
    return [str(line) for line in lines]


def check_embeds(module: nn.Module, key: str) -> None:
    """Refuse a model without one classifier that features reach, before it is trained.

    Raises:
        ConfigError: it is a vote of several models, or has a head of another kind; `key` is what asked for features.
    """
    from ringlight.models.heads import classifier_of

    try:
        classifier_of(module)
    except ModelError as error:
        raise ConfigError(
            "a model whose features reach one classifier", got=type(module).__name__, where=key,
            fix="choose another model, or leave it out",
        ) from error  # fmt: skip


def embeddings_of(learner: Embeds, data: Dataset) -> Embeddings:
    """Return the features (N, D) that reach the classifier, batch by batch.

    Raises:
        ModelError: the model has no such classifier, or gives numbers that are not finite.
        DataError: an image cannot be read.
    """
    import torch

    from ringlight.models.heads import features_before_head

    module, device = learner.module.to(learner.device.device).eval(), learner.device.device
    with quiet_libraries(), torch.inference_mode():
        parts = [
            features_before_head(module, batch["input"].to(device)).flatten(1).float().cpu().numpy()
            for batch in learner.feeder.loader(data)
        ]
    rows: Embeddings = np.concatenate(parts)
    broken = ~np.isfinite(rows).all(axis=1)
    if broken.any():
        raise ModelError(
            "finite features", got=f"others for {int(broken.sum())} of {len(rows)} images", where="embedding",
            fix="lower the learning rate, or check the weights it started from",
        )  # fmt: skip
    return rows
