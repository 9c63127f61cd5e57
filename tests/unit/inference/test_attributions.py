"""Attributions of windows: complete, signed, by sample and channel, with gradients or without."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from torch import nn

from ringlight.data.window_spec import WindowSpec
from ringlight.errors import ConfigError, DataError, MissingExtraError, ModelError
from ringlight.inference.bundle import Bundle
from ringlight.inference.engines import Scored
from ringlight.inference.explaining import Explainer
from ringlight.inference.predictor import Predictor
from ringlight.models import CNN1D
from ringlight.models.classical import ExtraTrees

CLASSES = ("left", "right", "dark")
WINDOWS = WindowSpec(("p", "q"), 32, 100.0, normalize="channel", mean=(5.0, 0.0), std=(2.0, 1.0))
SIGNALS = np.random.default_rng(0).normal([5, 0], [2, 1], (3, 32, 2)).astype(np.float32)


class Other:
    """An engine that has no gradients."""

    name = "onnxruntime"

    def __init__(self, module: nn.Module) -> None:
        self.module_of_its_own = module

    def run(self, inputs: np.ndarray) -> Scored:
        with torch.no_grad():
            return self.module_of_its_own(torch.from_numpy(inputs)).numpy(), None


def window_predictor(
    module: nn.Module | None = None, spec: WindowSpec = WINDOWS, *, engine: Other | None = None
) -> Predictor:
    torch.manual_seed(0)
    network = CNN1D(3, 2, filters=(4, 4, 4)) if module is None else module
    bundle = Bundle(architecture={"name": "it"}, task="multiclass", classes=CLASSES, input_spec=spec)
    return Predictor(bundle, network, engine=engine, device="cpu")


def test_attributions_of_windows_add_up_to_what_the_score_gains() -> None:
    """The completeness of integrated gradients: S(x) - S(mean of the training windows)."""
    predictor = window_predictor()
    found = Explainer(predictor, classes=["dark"]).explain(SIGNALS)
    rest = np.broadcast_to(np.array([5, 0], np.float32), SIGNALS.shape)
    gained = predictor.predict(SIGNALS).prediction.logits[:, 2] - predictor.predict(rest).prediction.logits[:, 2]
    np.testing.assert_allclose([one.map.sum() for one in found], gained, atol=1e-3)
    one = found[0]
    assert (one.id, one.method, one.map.shape) == ("window 0", "integrated_gradients", (32, 2))
    assert (one.channels, one.sampling_rate) == (("p", "q"), 100.0)
    np.testing.assert_array_equal(one.item, SIGNALS[0])


class Late(nn.Module):
    """Scores of the first class: the sum of channel 1 from sample 16 on."""

    takes, is_estimator = "windows", True

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        late = windows[:, 1, 16:].sum(dim=1)
        return torch.stack([late, 0 * late, -late], dim=1)


@pytest.mark.parametrize("engine", ["torch", "onnxruntime"])
def test_occlusion_needs_scores_only(engine: str) -> None:
    """Of an estimator, or of a model that another engine runs, it is what is used without being asked for."""
    predictor = window_predictor(Late(), engine=Other(Late()) if engine == "onnxruntime" else None)
    explainer = Explainer(predictor, classes=["left"], params={"width": 1})
    (one,) = explainer.explain(SIGNALS[:1])
    assert explainer.method == "occlusion"
    expected = np.zeros((32, 2), np.float32)
    expected[16:, 1] = SIGNALS[0, 16:, 1]
    np.testing.assert_allclose(one.map, expected, atol=1e-4)
    with pytest.raises(ModelError, match=f"expected a model with gradients, got `it`, run by {engine}, without; use"):
        Explainer(predictor, method="integrated_gradients")


@pytest.mark.slow  # scikit-learn and skops are imported for it alone
def test_a_fitted_forest_is_explained() -> None:
    model = ExtraTrees(3, 2, n_estimators=5)
    rng = np.random.default_rng(0)
    windows = torch.from_numpy(rng.normal(size=(30, 2, 32)).astype(np.float32))
    windows[10:20, 1, 8:16] += 5
    model.prepare(windows)
    model.fit_features(model.describe(windows), np.repeat([0, 1, 2], 10))
    spec = WindowSpec(("p", "q"), 32, normalize="none")
    (one,) = Explainer(window_predictor(model, spec), classes=["right"]).explain(
        windows[12:13].transpose(1, 2).numpy().copy()
    )
    assert one.method == "occlusion"
    assert np.abs(one.map[:, 1]).sum() > np.abs(one.map[:, 0]).sum()


def test_a_channel_at_rest_is_its_own_mean_where_no_other_is_known() -> None:
    spec = WindowSpec(("p", "q"), 32, normalize="none")
    predictor = window_predictor(spec=spec)
    (one,) = Explainer(predictor, classes=["left"]).explain(SIGNALS[:1])
    rest = np.broadcast_to(SIGNALS[:1].mean(axis=1, keepdims=True), (1, 32, 2)).astype(np.float32)
    logits = [predictor.predict(values).prediction.logits[0, 0] for values in (SIGNALS[:1], rest)]
    assert one.map.sum() == pytest.approx(logits[0] - logits[1], rel=0.03)
    known = WindowSpec(("p", "q"), 32, normalize="none", mean=(5.0, 0.0), std=(2.0, 1.0))
    (other,) = Explainer(window_predictor(spec=known), classes=["left"]).explain(SIGNALS[:1])
    assert not np.allclose(one.map, other.map)


def test_windows_that_do_not_fit_are_told_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    predictor = window_predictor()
    with pytest.raises(ConfigError, match=r"expected a method for windows, which the model takes, got `grad_cam`"):
        Explainer(predictor, method="grad_cam")
    with pytest.raises(DataError, match=r"expected an array of windows \(N, T, C\), got `w.npz`; read it first"):
        Explainer(predictor).explain("w.npz")
    with pytest.raises(DataError, match="explain"):
        Explainer(predictor).explain(SIGNALS[:, :9])
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    with pytest.raises(MissingExtraError, match=r"install it with: pip install 'ringlight\[explain\]'"):
        Explainer(predictor)
