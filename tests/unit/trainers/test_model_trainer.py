# ruff: noqa: N803, N806 - X is what scikit-learn calls the records
from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from sklearn.ensemble import RandomForestClassifier
from torch import nn

import ringlight as rl
from ringlight.errors import BundleError, DataError, ModelError, Problems, RunError, SplitError
from ringlight.services.runs import resume
from ringlight.trainers import (
    CNN1DBuilder,
    EnsembleModel,
    LeakAwareLoss,
    ModelTrainer,
    get_learning_rate_schedule,
    get_optimizer,
)


def network(outputs=4, channels=3):
    return nn.Sequential(
        nn.Conv1d(channels, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(8, outputs)
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory, windows, config):
    X, y = windows
    torch.manual_seed(0)
    trainer = ModelTrainer(
        network(), config, "first", workspace=tmp_path_factory.mktemp("work"), channels=["p", "q", "a"]
    )
    trainer.train(X[:30], y[:30], X[30:38], y[30:38])
    return trainer


@pytest.fixture(scope="module")
def judged(trained, windows):
    X, y = windows
    return trained.evaluate(X[38:], y[38:])


def test_a_training_is_an_ordinary_run(trained):
    folder = trained.run.folder
    assert folder.name.startswith("first-")
    assert json.loads((folder / "manifest.json").read_text())["status"] == "completed"
    for name in ("config.yaml", "split.csv", "results.json", "report.html", "history.csv", "bundle/bundle.json"):
        assert (folder / name).is_file(), name
    results = trained.run.results
    assert results["model"]["params"]["module"] == "Sequential"
    assert results["split"]["strategy"] == "as given"
    assert {name: part["num_records"] for name, part in results["split"]["parts"].items()} == {"train": 30, "val": 8}


def test_the_history_is_keras_and_the_runs(trained):
    history = trained.history
    assert len(history.history["loss"]) == len(history.history["val_loss"]) == len(history["val_accuracy"]) == 2
    assert history.epoch == [0, 1]
    assert history.run is trained.run
    assert set(history) >= {"loss", "val_loss", "val_accuracy", "val_macro_f1", "lr"}


def test_the_callers_network_holds_the_trained_weights(trained, windows):
    _X, _ = windows
    bundle = rl.load(trained.save_model(), module=network())
    assert torch.equal(trained.model[0].weight.cpu(), bundle.module.module[0].weight.cpu())


def test_scores_have_intervals_a_report_and_the_training_loss(judged):
    assert judged["accuracy"] == pytest.approx(judged.results["test"]["scalars"]["accuracy"])
    low, high = judged.intervals["accuracy"]
    assert low <= judged["accuracy"] <= high
    assert {"macro_f1", "loss", "recall/0"} <= set(judged)
    assert (judged.folder / "report.html").is_file()


def test_probabilities_are_those_of_the_saved_model(trained, windows, tmp_path):
    X, _ = windows
    found = trained.predict(X[38:])
    assert found.shape == (10, 4)
    np.testing.assert_allclose(found.sum(axis=1), 1.0)
    folder = trained.save_model(tmp_path / "saved")
    again = rl.load(folder, module=network())
    np.testing.assert_array_equal(again.predict(X[38:]).probabilities, found)
    assert trained.save_model(tmp_path / "saved") == folder, "a saved model is replaced"
    assert trained.classes == ("0", "1", "2", "3")


def test_weights_alone_do_not_say_what_they_belong_to(trained):
    with pytest.raises(BundleError, match=r"got none; build it and pass it: ringlight.load\(FOLDER, module=Sequential"):
        rl.load(trained.save_model())


def test_a_folder_with_something_else_is_not_written_over(trained, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match="expected a new folder, or a saved model to replace, got something else"):
        trained.save_model(tmp_path)


def test_a_run_on_arrays_is_not_resumed_without_them(trained):
    manifest = trained.run.folder / "manifest.json"
    whole = manifest.read_text()
    try:
        manifest.write_text(whole.replace('"completed"', '"interrupted"'))
        with pytest.raises(RunError, match="got one on arrays from Python; pass the arrays again"):
            resume(trained.run.folder)
    finally:
        manifest.write_text(whole)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda X: X[:, :12], r"expected windows of 16 samples, got 12"),
        (lambda X: X[:, :, :2], r"expected 3 channels \(p, q, a\), got 2 \(shape \(1, 16, 2\)\)"),
        (lambda X: X.mean(axis=1), r"expected"),
        (lambda X: np.where(np.arange(3) == 1, np.nan, X), r"expected finite values"),
    ],
    ids=["length", "channels", "rank", "a dead channel"],
)
def test_other_records_than_in_training_are_refused_in_one_line(trained, windows, change, line):
    X, y = windows
    for call in (lambda: trained.predict(change(X)), lambda: trained.evaluate(change(X), y)):
        with pytest.raises(DataError) as raised:
            call()
        assert "\n" not in str(raised.value)
    assert len(list((trained.run.folder / "evaluations").glob("*"))) <= 1, "nothing was judged"


def test_channels_in_another_order_are_refused(trained, windows):
    with pytest.raises(DataError, match="predict: expected the channels p, q, a, got another order"):
        trained.predict(windows[0], channels=["q", "p", "a"])


def test_a_class_that_was_not_in_training_is_named(trained, windows):
    X, _y = windows
    with pytest.raises(DataError, match=r"got labels unseen in training: 1 \(7 on 1 records\)"):
        trained.evaluate(X[:4], [0, 1, 2, 7])


@pytest.mark.parametrize("call", ["evaluate", "predict", "save_model"])
def test_nothing_is_said_before_the_training(windows, call):
    trainer = ModelTrainer(network())
    with pytest.raises(RunError, match=f"{call}: expected a trained model, got one that was not trained; call train"):
        {"evaluate": lambda: trainer.evaluate(*windows), "predict": lambda: trainer.predict(windows[0])}.get(
            call, trainer.save_model
        )()


def test_without_a_validation_part_some_records_are_held_out_and_the_run_says_so(windows, config, tmp_path):
    """An estimator on text classes; its bundle loads by itself."""
    X, y = windows
    names = np.array(["no_leak", "small", "large", "blocked"])[y]
    trainer = ModelTrainer(RandomForestClassifier(10), config, "forest", workspace=tmp_path)
    trainer.train(X[:38], names[:38], groups=np.arange(38) // 2)
    notes = trainer.run.results["notes"]
    assert any("records of X are held out for validation (classes in proportion, groups whole)" in one for one in notes)
    assert trainer.classes == ("blocked", "large", "no_leak", "small")
    again = rl.load(trainer.save_model())
    np.testing.assert_array_equal(again.predict(X[38:]).probabilities, trainer.predict(X[38:]))
    assert 0 <= trainer.evaluate(X[38:], names[38:])["accuracy"] <= 1
    with pytest.raises(RunError, match="got one on arrays from Python; pass the arrays again"):
        rl.evaluate(trainer.run)


def test_a_network_of_the_catalogue_loads_by_its_name(windows, config, tmp_path):
    X, y = windows
    built = CNN1DBuilder({"models": {"cnn1d": {"filters": [8]}}}).build(input_shape=(16, 3), n_classes=4)
    trainer = ModelTrainer(built, config, workspace=tmp_path)
    trainer.compile(
        optimizer=get_optimizer(
            "adam", get_learning_rate_schedule("cosine", 0.01, {"total_steps": 9}), beta_1=0.8, weight_decay=0.1
        ),
        loss=LeakAwareLoss(leak_penalty=3.0),
        metrics=["accuracy", "worst_recall"],
    )
    history = trainer.train(X[:38], y[:38], X[38:], y[38:], epochs=1)
    assert "val_worst_recall" in history
    settings = trainer.run.results["hyper_parameters"]
    assert (settings["model.name"], settings["model.filters"], settings["loss.leak_penalty"]) == ("cnn1d", [8], 3.0)
    assert (settings["scheduler.name"], settings["scheduler.total_steps"]) == ("cosine", 9)
    assert (settings["optimizer.betas"], settings["optimizer.weight_decay"]) == ([0.8, 0.999], 0.1)
    assert type(rl.load(trainer.save_model()).module) is type(built.model)


@pytest.mark.parametrize(
    ("arrays", "kind", "line"),
    [
        (lambda X, y: (X[:, 0, 0], y), DataError, r"X: expected windows \(N, T, C\) or vectors .*, got shape \(48,\)"),
        (lambda X, y: (X, y[:-1]), DataError, r"y: expected 48 labels, one a row of X, got shape \(47,\)"),
        (lambda X, y: (X, y + 0.5), DataError, "y: expected classes, got numbers with a fraction or NaN"),
        (lambda X, y: (X, y * 0), DataError, "y: expected two classes or more, got 0 alone"),
        (lambda X, y: (X * np.nan, y), DataError, "X: row 0, channel 0: expected finite values, got nan"),
        (lambda X, y: (X, y, X), DataError, "train: expected X_val and y_val, got no y_val; pass y_val, or neither"),
        (
            lambda X, y: (X, y, X[:, :9], y), DataError,
            r"X_val: expected records \(N, 16, 3\), as in X, got shape \(48, 9, 3\)",
        ),
        (lambda X, y: (X, y, X, y[:3]), DataError, "y_val: expected 48 labels"),
        (lambda X, y: (X, y, X, y + 1), DataError, "y_val: expected labels the model was trained on"),
        (lambda X, y: (X[:1].repeat(2, 0), np.arange(2) + y[0]), SplitError, "X without X_val: .*; pass X_val and"),
    ],
)  # fmt: skip
def test_arrays_that_cannot_be_trained_on_are_refused_in_one_line(windows, config, tmp_path, arrays, kind, line):
    trainer = ModelTrainer(network(), config, workspace=tmp_path)
    with pytest.raises(kind, match=f"^{line}") as raised:
        trainer.train(*arrays(*windows))
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "runs").exists()


def test_a_network_for_other_records_is_refused_before_a_run_begins(windows, config, tmp_path):
    with pytest.raises(ModelError, match=r"model: expected a model that takes windows \(8, 3, 16\), got RuntimeError"):
        ModelTrainer(network(channels=5), config, workspace=tmp_path).train(*windows)
    with pytest.raises(ModelError, match=r"model: expected a score for each of 4 classes: \(8, 4\), got \(8, 2\)"):
        ModelTrainer(network(outputs=2), config, workspace=tmp_path).train(*windows)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("training", "line"),
    [
        ({"loss": "focal_los"}, "loss.name: expected a known loss, got `focal_los`; did you mean `focal_loss`"),
        ({"loss_config": {"gama": 2}}, "gama"),
        ({"optimizer": "adm"}, "adm"),
        (
            {"optimizer_config": {"beta_3": 0.9}},
            "optimizer_config: expected a parameter of optimizer `adam`, got `beta_3`",
        ),
        ({"epochs": 0}, "training.num_epochs: "),
        ({"metrics": ["acuracy"]}, "acuracy"),
        ({"epoch": 3}, "training.epoch: expected a key of the layout"),
    ],
)
def test_a_configuration_with_a_mistake_is_refused_when_it_is_compiled(training, line):
    with pytest.raises(rl.errors.UserError) as raised:
        ModelTrainer(network(), {"training": training}).compile()
    assert line in str(raised.value)
    assert "\n" not in str(raised.value)


def test_class_weights_reach_the_loss_or_are_refused(windows, config, tmp_path):
    X, y = windows
    weighted = {**config, "class_weights": {0: 1.0, 1: 1.5}, "training": {**config["training"], "epochs": 1}}
    trainer = ModelTrainer(network(), weighted, workspace=tmp_path)
    trainer.train(X, y)
    assert trainer.run.results["loss"]["name"] == "weighted_cross_entropy"
    assert trainer.run.results["loss"]["weights"] == [1.0, 1.5, 1.0, 1.0]
    weighted["training"] = {"loss": "leak_aware_loss"}
    with pytest.raises(rl.errors.ConfigError, match="class_weights: expected a loss that takes class weights"):
        ModelTrainer(network(), weighted, workspace=tmp_path).train(X, y)
    weighted = {**config, "class_weights": {9: 1.0}}
    with pytest.raises(rl.errors.ConfigError, match="class_weights: expected classes from 0 to 3, got 9"):
        ModelTrainer(network(), weighted, workspace=tmp_path).train(X, y)


@pytest.mark.slow
def test_an_ensemble_is_trained_members_first_and_loads_by_its_name(windows, config, tmp_path):
    X, y = windows
    settings = {
        **config,
        "models": {"ensemble": {"members": ["logistic_regression", {"name": "cnn1d", "filters": [8]}]}},
    }
    trainer = ModelTrainer(EnsembleModel(settings).build((16, 3), 4), settings, workspace=tmp_path)
    trainer.train(X[:38], y[:38], X[38:], y[38:], epochs=1)
    assert float(trainer.model.weights.sum()) == pytest.approx(1)
    again = rl.load(trainer.save_model())
    np.testing.assert_array_equal(again.predict(X).probabilities, trainer.predict(X))


def test_what_is_no_model_is_refused_at_once():
    with pytest.raises(ModelError, match=r"expected a torch.nn.Module, or an estimator of scikit-learn, got dict"):
        ModelTrainer({})
    with pytest.raises(Problems):
        ModelTrainer(network(), {"trainng": {}})
