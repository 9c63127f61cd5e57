# ruff: noqa: N806 - X is what scikit-learn calls the records
from __future__ import annotations

import pytest
from sklearn.dummy import DummyClassifier

from ringlight.errors import ModelError, RunError, UserError
from ringlight.trainers import MultiModelTrainer, RandomForestModel, SVMClassifier


@pytest.fixture(scope="module")
def trained(tmp_path_factory, vectors, config):
    X, y = vectors
    trainer = MultiModelTrainer(config, workspace=tmp_path_factory.mktemp("work"))
    trainer.add_model("blind", DummyClassifier())
    trainer.add_model("rf", RandomForestModel({"models": {"random_forest": {"n_estimators": 10}}}).model, config)
    trainer.add_model("svm", SVMClassifier().model)
    trainer.train_all(X[:24], y[:24], X[24:36], y[24:36], epochs=3)
    return trainer


def test_every_model_is_a_run_of_its_name(trained):
    runs = {name: one.run.folder.name for name, one in trained.trainers.items()}
    assert all(folder.startswith(f"{name}-") for name, folder in runs.items())
    assert trained.trainers["svm"].run.results["hyper_parameters"]["training.num_epochs"] == 3


def test_the_features_of_vectors_are_not_taken_for_sensors_that_stand_still(trained):
    """A vector is a window of one sample: every one of its channels was reported as dead."""
    notes = trained.trainers["rf"].run.results["notes"]
    assert notes
    assert not [note for note in notes if "a channel that moves" in note]


def test_models_are_compared_on_validation_and_then_on_what_they_were_judged_on(trained, vectors):
    X, y = vectors
    before = trained.compare_models("val_accuracy")
    assert before.metric == "accuracy"
    assert before.table.pairs[0].num_records == 12
    judged = trained.evaluate_all(X[36:], y[36:])
    found = trained.compare_models(metric="accuracy")
    assert [row["value"] for row in found.values()] == sorted(
        (one["accuracy"] for one in judged.values()), reverse=True
    )
    best, *others = found
    assert found.best == best == next(iter(found.keys())) != "blind"
    assert list(found)[-1] == "blind"
    assert found[best]["difference"] == 0.0
    for name in others:
        row = found[name]
        assert row["difference"] == pytest.approx(row["value"] - found[best]["value"])
        assert row["low"] <= row["difference"] <= row["high"]
    assert found["blind"]["verdict"] == "worse"
    assert "RandomForestClassifier" in str(found)


def test_of_a_loss_less_is_better(trained):
    rows = trained.compare_models("log_loss")
    values = [row["value"] for row in rows.values()]
    assert values == sorted(values)


def test_a_rate_of_a_class_is_compared_without_an_interval(trained):
    rows = trained.compare_models("recall/0")
    assert all(row["low"] is None for row in rows.values())


def test_an_unknown_metric_is_refused_with_the_nearest(trained):
    with pytest.raises(
        UserError, match="metric: expected a metric of the runs, got `acuracy`; did you mean `accuracy`"
    ):
        trained.compare_models("acuracy")


def test_calls_out_of_order_are_refused_in_one_line(vectors):
    trainer = MultiModelTrainer()
    with pytest.raises(UserError, match="train_all: expected a model or more, got none; call add_model first"):
        trainer.train_all(*vectors)
    trainer.add_model("rf", RandomForestModel().model)
    with pytest.raises(UserError, match="add_model: expected a name of its own, got `rf` again"):
        trainer.add_model("rf", RandomForestModel().model)
    with pytest.raises(
        RunError, match="compare_models: expected trained models, got `rf`, not trained; call train_all"
    ):
        trainer.compare_models()
    with pytest.raises(RunError, match="evaluate: expected a trained model"):
        trainer.evaluate_all(*vectors)
    with pytest.raises(ModelError, match=r"expected a torch.nn.Module, or an estimator"):
        trainer.add_model("text", "cnn1d")
