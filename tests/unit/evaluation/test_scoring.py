"""Names of scores: Ringlight's, scikit-learn's with the same numbers, and those that are neither."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import get_scorer
from sklearn.naive_bayes import GaussianNB

from ringlight.errors import ConfigError
from ringlight.evaluation.metrics import classification_metrics, flatten
from ringlight.evaluation.scoring import THEIRS, scoring_of

THREE = ["a", "b", "c"]


@pytest.mark.parametrize("name", [name for name in THEIRS if "samples" not in name and name != "roc_auc"])
def test_scikit_learns_name_gives_scikit_learns_number(name: str) -> None:
    generator = np.random.default_rng(0)
    truth = generator.integers(0, 3, 90)
    X = generator.normal(size=(90, 2)) + truth[:, None] / 2  # noqa: N806
    model = GaussianNB().fit(X, truth)
    scores = flatten(classification_metrics(truth, model.predict_proba(X), THREE, "multiclass"))
    asked = scoring_of(name, THREE, "multiclass")
    theirs = "roc_auc_ovr" if name == "roc_auc" else name
    assert asked.sign * scores[asked.metric] == pytest.approx(get_scorer(theirs)(model, X, truth))


@pytest.mark.parametrize("name", ["f1", "precision", "recall", "roc_auc", "accuracy", "balanced_accuracy"])
def test_two_classes_too(name: str) -> None:
    generator = np.random.default_rng(1)
    truth = generator.integers(0, 2, 60)
    X = generator.normal(size=(60, 2)) + truth[:, None]  # noqa: N806
    model = GaussianNB().fit(X, truth)
    scores = flatten(classification_metrics(truth, model.predict_proba(X), ["ok", "leak"], "multiclass"))
    asked = scoring_of(name, ["ok", "leak"], "multiclass")
    assert asked.sign * scores[asked.metric] == pytest.approx(get_scorer(name)(model, X, truth))
    assert not scoring_of("accuracy", THREE, "multiclass").needs_scores


def test_what_a_score_needs_is_known() -> None:
    assert scoring_of("log_loss", THREE, "multiclass").needs_probabilities
    assert scoring_of("auroc", THREE, "multiclass").needs_scores
    assert not scoring_of("auroc", THREE, "multiclass").needs_probabilities
    assert not scoring_of("recall/a", THREE, "multiclass").needs_scores
    assert scoring_of("neg_log_loss", THREE, "multiclass").sign == -1


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("f1_weigthed", "scoring: expected a score, got `f1_weigthed`; did you mean `f1_weighted`?"),
        ("makro_f1", "scoring: expected a score, got `makro_f1`; did you mean `macro_f1`?"),
        (
            "f1",
            "scoring: expected a score of several classes, got `f1`, that of the second of two classes; use f1_macro, "
            "or f1/CLASS",
        ),
        ("top_3", "scoring: expected a score, got `top_3`; it is not defined for these classes"),
        ("loss", "scoring: expected a score, got `loss`; use log_loss"),
        ("recall/d", "scoring: expected a score, got `recall/d`; did you mean `recall/"),
    ],
)
def test_names_of_nothing_are_refused(name: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        scoring_of(name, THREE, "multiclass")
    assert str(caught.value).startswith(message)
