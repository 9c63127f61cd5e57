"""Small arrays of four classes that can be told apart, and a configuration whose runs are quick."""

# ruff: noqa: N806 - X is what scikit-learn calls the records
from __future__ import annotations

import numpy as np
import pytest


def small(count=48, length=16, channels=3, classes=4, seed=0):
    """Windows (N, T, C) whose class is the level of a channel, and their classes."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(count) % classes)
    X = rng.normal(size=(count, length, channels)).astype(np.float32)
    X[:, :, 0] += 2.0 * y[:, None]
    return X, y


@pytest.fixture(scope="session")
def windows():
    return small()


@pytest.fixture(scope="session")
def vectors():
    X, y = small(channels=6)
    return np.ascontiguousarray(X.mean(axis=1)), y


@pytest.fixture(scope="session")
def config():
    return {
        "training": {"epochs": 2, "batch_size": 16, "learning_rate": 0.01},
        "evaluation": {"num_resamples": 100, "num_mistakes": 0},
    }
