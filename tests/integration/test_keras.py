"""A Keras 3 model on its PyTorch backend is trained, judged, saved and loaded like a network of one's own."""

# ruff: noqa: N806 - X is what scikit-learn calls the records
from __future__ import annotations

import os

import numpy as np
import pytest
import torch

from ringlight.errors import ModelError
from ringlight.models.adapters import KerasNetwork
from ringlight.trainers import ModelTrainer

CONFIG = {
    "training": {"epochs": 2, "batch_size": 16, "learning_rate": 0.01},
    "evaluation": {"num_resamples": 100, "num_mistakes": 0},
}


@pytest.fixture(scope="module")
def keras(tmp_path_factory):
    """Keras on PyTorch; its configuration file goes to a folder of its own."""
    if "KERAS_BACKEND" not in os.environ:
        os.environ["KERAS_BACKEND"] = "torch"
    os.environ["KERAS_HOME"] = str(tmp_path_factory.mktemp("keras"))
    module = pytest.importorskip("keras")
    if module.backend.backend() != "torch":
        pytest.skip("keras was imported on another backend")
    return module


def windows(count=40, length=16, channels=3):
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], count // 2)
    X = rng.normal(size=(count, length, channels)).astype(np.float32)
    X[y == 1, :, 0] += 2.0
    order = rng.permutation(count)
    return X[order], y[order]


def network(keras):
    return keras.Sequential(
        [
            keras.layers.Input((16, 3)),
            keras.layers.Conv1D(4, 3, activation="relu"),
            keras.layers.BatchNormalization(),
            keras.layers.GlobalAveragePooling1D(),
            keras.layers.Dense(2, activation="softmax"),
        ]
    )


def test_time_comes_last_here_and_first_there_and_the_soft_max_is_undone(keras):
    model = network(keras)
    X, _ = windows(8)
    adapter = KerasNetwork(model, shape=(16, 3), outputs="probabilities").eval()
    scores = adapter(torch.from_numpy(X).transpose(1, 2))
    expected = model(torch.from_numpy(X), training=False)
    torch.testing.assert_close(scores.softmax(dim=1), expected)


def test_a_keras_model_is_an_ordinary_run_and_its_bundle_fits_a_model_built_again(keras, tmp_path):
    """Keras numbers layers through the whole process: weights under its names did not fit the next model."""
    import ringlight as rl

    X, y = windows()
    model = network(keras)
    before = [value.detach().clone() for value in KerasNetwork(model, shape=(16, 3)).parameters()]
    trainer = ModelTrainer(model, CONFIG, "keras", workspace=tmp_path)
    history = trainer.train(X[:28], y[:28], X[28:], y[28:])
    assert len(history.history["val_loss"]) == 2
    assert any(not torch.equal(old, new.value) for old, new in zip(before, model.variables, strict=True))
    loaded = rl.load(trainer.save_model(), module=network(keras))
    np.testing.assert_array_equal(loaded.predict(X).probabilities, trainer.predict(X))


def test_a_model_for_another_shape_is_refused_in_one_line(keras, tmp_path):
    X, y = windows(channels=2)
    with pytest.raises(
        ModelError, match=r"model: expected a model that takes windows \(\d, 16, 2\), got ValueError"
    ) as raised:
        ModelTrainer(network(keras), CONFIG, workspace=tmp_path).train(X, y)
    assert "\n" not in str(raised.value)
