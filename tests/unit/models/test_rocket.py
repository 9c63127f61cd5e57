"""MiniRocket and MultiRocket: sktime's numbers, kept as plain arrays, with a ridge that is scikit-learn's."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
import torch

from ringlight.errors import MissingExtraError, ModelError
from ringlight.models import build_sequence_model
from ringlight.models.rocket import ALPHAS, MiniRocket, MultiRocket

pytest.importorskip("numba")
pytest.importorskip("sktime")

# numba compiles once a machine and keeps the result: the first run of these tests takes half a minute longer
NAMES = ("minirocket", "multirocket")


def build(name: str, *, length: int = 32, seed: int = 0, **options: Any) -> Any:
    params = {"num_kernels": options.pop("num_kernels", 168)}
    return build_sequence_model(
        name, num_classes=3, in_chans=2, length=length, seed=seed, params=params, **options
    ).module


@pytest.fixture(scope="module")
def windows() -> torch.Tensor:
    """Windows (45, 2, 32) of three classes, told apart by their frequency; the channels have other units."""
    rng = np.random.default_rng(0)
    period = np.repeat([4.0, 8.0, 16.0], 15)[:, None, None]
    tone = np.sin(2 * np.pi * np.arange(32) / period + rng.uniform(0, 6, (45, 1, 1)))
    noisy = tone + rng.normal(0, 0.3, (45, 2, 32))
    return torch.from_numpy((noisy * np.array([1e-3, 50])[:, None] + np.array([0, 150])[:, None]).astype(np.float32))


TARGETS = np.repeat(np.arange(3), 15)


def fitted(name: str, windows: torch.Tensor, targets: Any = TARGETS, **options: Any) -> Any:
    model = build(name, length=windows.shape[2], **options)
    model.prepare(windows)
    model.fit_features(model.describe(windows).numpy(), targets)
    return model


def reference(name: str, windows: torch.Tensor) -> np.ndarray:
    """Return what sktime's public interface computes of standardised windows."""
    from sktime.transformations.rocket import MiniRocketMultivariate, MultiRocketMultivariate

    double = windows.double()
    deviation, mean = torch.std_mean(double, dim=(0, 2), correction=0)
    standard = ((windows - mean.float()[:, None]) / deviation.float()[:, None]).numpy()
    kind = MiniRocketMultivariate if name == "minirocket" else MultiRocketMultivariate
    if name == "multirocket":
        standard = standard.astype(np.float64)
    return kind(num_kernels=168, random_state=0).fit_transform(standard).to_numpy().astype(np.float32)


@pytest.mark.parametrize("name", NAMES)
def test_features_are_sktimes(name, windows):
    model = build(name)
    model.prepare(windows)
    found = model.describe(windows).numpy()
    assert found.shape == (45, 168 if name == "minirocket" else 168 * 4 * 2)
    np.testing.assert_array_equal(found, reference(name, windows))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_a_fresh_model_loads_the_kernels_and_predicts_the_same_bits(name, task, windows):
    targets = TARGETS if task == "multiclass" else np.eye(3, dtype=int)[TARGETS]
    model = fitted(name, windows, targets, task=task)
    state = model.state_dict()
    assert all(tensor.dtype in (torch.uint8, torch.int32, torch.int64, torch.float32) for tensor in state.values())
    fresh = build(name, seed=7, task=task)
    fresh.load_state_dict({key: value.clone() for key, value in state.items()}, strict=True)
    logits = model(windows)
    assert torch.equal(fresh(windows), logits)
    assert torch.equal(torch.cat([fresh(windows[:1]), fresh(windows[1:])]), logits)
    assert fresh.description == model.description


@pytest.mark.parametrize("name", NAMES)
def test_it_tells_frequencies_apart_in_channels_of_any_unit(name, windows):
    model = fitted(name, windows[::2], TARGETS[::2], num_kernels=504)
    assert (model(windows[1::2]).argmax(1).numpy() == TARGETS[1::2]).mean() > 0.85


def test_scores_are_those_of_scikit_learns_ridge(windows):
    from sklearn.linear_model import RidgeClassifierCV
    from sklearn.preprocessing import StandardScaler

    model = fitted("minirocket", windows)
    features = model.describe(windows).numpy().astype(np.float64)
    standard = StandardScaler().fit(features)
    ridge = RidgeClassifierCV(alphas=ALPHAS).fit(standard.transform(features), TARGETS)
    np.testing.assert_allclose(model(windows).numpy(), ridge.decision_function(standard.transform(features)), atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("length", [8, 9, 10])
def test_the_shortest_windows_are_continued_with_zeros(name, length, windows):
    model = fitted(name, windows[:, :, :length])
    assert torch.isfinite(model(windows[:, :, :length])).all()


@pytest.mark.parametrize("name", NAMES)
def test_a_constant_channel_stays_finite(name, windows):
    still = windows.clone()
    still[:, 1] = 150.3
    assert torch.isfinite(fitted(name, still)(still)).all()


def test_the_seed_draws_the_kernels_and_nobody_elses_numbers(windows):
    """sktime seeds numpy's global generator: whoever drew from it afterwards always got the same numbers."""
    np.random.seed(3)
    expected = np.random.random(4)
    np.random.seed(3)
    one = build("minirocket", seed=1)
    one.prepare(windows)
    assert np.random.random(4).tolist() == expected.tolist()
    again, other = build("minirocket", seed=1), build("minirocket", seed=2)
    again.prepare(windows)
    other.prepare(windows)
    assert one.description == again.description != other.description


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (
            lambda model, x: model.describe(x),
            "input of MiniRocket: expected a model that is prepared, got one that was",
        ),
        (lambda model, x: model(x), "MiniRocket: expected a fitted estimator, got one that was not fitted"),
        (
            lambda model, x: model.prepare(x[:, :1]),
            r"expected windows \(B, 2, T\): 2 channels, then time, got \(45, 1, ",
        ),
        (lambda model, x: model.prepare(x[:, :, :7]), "expected windows of 8 samples or more, got shape"),
        (lambda model, x: model.prepare(x[:0]), r"got shape \(0, 2, 32\)"),
    ],
)
def test_what_comes_too_early_or_does_not_fit_is_refused(call, told, windows):
    with pytest.raises(ModelError, match=told):
        call(build("minirocket"), windows)


def test_windows_of_another_length_are_refused(windows):
    with pytest.raises(
        ModelError, match="expected windows of 32 samples, as it was fitted to, got 31 samples; train it"
    ):
        fitted("minirocket", windows)(windows[:, :, 1:])


def test_fewer_kernels_than_there_are_patterns_are_refused():
    with pytest.raises(ModelError, match=r"model\.num_kernels: expected a number of at least 84, got 83"):
        build("minirocket", num_kernels=83)


@pytest.mark.parametrize("kind", [MiniRocket, MultiRocket])
@pytest.mark.parametrize("missing", ["numba", "sktime.transformations.rocket"])
def test_a_missing_extra_is_named_when_the_model_is_built(kind, missing, monkeypatch):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(MissingExtraError, match=r"install it with: pip install 'ringlight\[signals\]'"):
        kind(3, 2)
