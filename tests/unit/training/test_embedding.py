"""What reaches the classifier: equal to the model's own pass, and refused where there is no such thing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from ringlight.config.schema import EvaluationConfig
from ringlight.errors import ConfigError, ModelError
from ringlight.training.embedding import check_embeds, embedding_problems, embeddings_of
from ringlight.training.learner import DeepLearner
from ringlight.training.plan import Plan
from ringlight.types import Dataset


@pytest.fixture
def learner(plan_of: Callable[..., Plan], tmp_path: Path) -> DeepLearner:
    return DeepLearner.from_plan(plan_of(), tmp_path, lambda *_: None)


def test_the_classifier_makes_the_logits_of_them(learner: DeepLearner) -> None:
    """Batches of four, in order: logits = W x + b for every record."""
    data = learner.plan.dataset
    found = embeddings_of(learner, data)
    assert found.shape == (15, 512)
    assert found.dtype == np.float32
    layer: Any = learner.module.get_classifier()  # type: ignore[operator]
    with torch.no_grad():
        logits = layer(torch.tensor(found)).numpy()
    np.testing.assert_allclose(logits, learner.predict(data).logits, atol=1e-5)


def test_features_that_are_not_finite_are_refused(learner: DeepLearner) -> None:
    with torch.no_grad():
        next(learner.module.parameters()).fill_(float("nan"))
    with pytest.raises(ModelError, match="embedding: expected finite features, got others for 15 of 15 images; lower"):
        embeddings_of(learner, learner.plan.dataset)


def test_windows_and_several_labels_are_refused_in_a_line_each(dataset_of: Callable[..., Dataset]) -> None:
    wanted = EvaluationConfig(embedding=True)
    single, several = dataset_of([0, 1]), dataset_of([[0, 1], []])
    assert embedding_problems(EvaluationConfig(), several) == []
    assert embedding_problems(wanted, single) == []
    assert embedding_problems(wanted, several) == [
        "evaluation.embedding: expected records of one class each, got multilabel data, where a neighbour may be right "
        "in part; set evaluation.embedding=false, or data.task=multiclass where each record has one label"
    ]
    signals: Any = object()
    assert embedding_problems(wanted, replace(single, signals=signals)) == [
        "evaluation.embedding: expected images, got windows of a signal; set evaluation.embedding=false"
    ]


def test_a_model_without_one_classifier_is_refused_before_it_is_trained() -> None:
    message = "key: expected a model whose features reach one classifier, got Sequential; choose another model, or"
    with pytest.raises(ConfigError, match=message):
        check_embeds(nn.Sequential(nn.Linear(2, 2)), "key")
