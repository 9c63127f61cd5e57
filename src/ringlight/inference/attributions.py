"""Attributions of windows, from a predictor's model to samples and channels as they were given.

Shapes: B windows together, Q classes asked for, T samples, C channels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ringlight.data.window_spec import WindowSpec
from ringlight.errors import ModelError
from ringlight.explain.signals import SIGNAL_METHODS
from ringlight.inference.engines import TorchEngine
from ringlight.inference.predictor import Predictor

if TYPE_CHECKING:
    from torch import Tensor

Floats = npt.NDArray[np.float32]
DEFAULT_METHOD = "integrated_gradients"
WITHOUT_GRADIENTS = "occlusion"
"""What explains the windows of a classical model, or of one that another engine runs."""


class Attributions:
    """The attributions of a model of windows, by one method; see :class:`ringlight.inference.explaining.Explainer`.

    A channel at rest, which stands in for what is hidden, is its mean: over the training windows where the model's
    input specification knows it, else over the window.

    Raises:
        Problems: an unknown method, or parameters that it does not take.
        ModelError: gradients asked of a model that has none.
        MissingExtraError: captum is not installed.
    """

    def __init__(
        self, predictor: Predictor, spec: WindowSpec, *, method: str | None, params: Mapping[str, Any]
    ) -> None:
        has_gradients = _has_gradients(predictor)
        self.method = method or (DEFAULT_METHOD if has_gradients else WITHOUT_GRADIENTS)
        self._signal = SIGNAL_METHODS.build(self.method, **params)
        if self._signal.needs_gradients and not has_gradients:
            name = predictor.bundle.architecture.get("name", "this model")
            raise ModelError(
                "a model with gradients", got=f"`{name}`, run by {predictor.engine.name}, without",
                where=f"explanation.method={self.method}", fix=f"use {WITHOUT_GRADIENTS}, which needs scores only",
            )  # fmt: skip
        self._predictor = predictor
        self._spec = spec

    def prepared(self, item: Floats) -> tuple[Floats, tuple[int, int]]:
        """Return a window (T, C) as the model takes it (C, T), and its shape."""
        return self._predictor.prepared(item), (item.shape[0], item.shape[1])

    def maps(self, inputs: Floats, targets_bq: Tensor, sizes: Sequence[tuple[int, int]]) -> list[list[Floats]]:
        """Return the attribution of each class asked for of each window, (T, C)."""
        import torch

        engine = self._predictor.engine
        device = engine.device if isinstance(engine, TorchEngine) and self._signal.needs_gradients else "cpu"
        windows = torch.from_numpy(inputs).to(device)
        baselines = _at_rest(windows, self._spec)

        def score(changed: Tensor) -> Tensor:
            if not self._signal.needs_gradients:
                return torch.from_numpy(engine.run(changed.numpy())[0])
            scored: Tensor = self._predictor.module(changed)
            return scored

        made = [
            self._signal(score, windows, targets.to(device), baselines).detach().cpu().transpose(1, 2).numpy()
            for targets in targets_bq.unbind(1)
        ]
        return [[np.ascontiguousarray(one[row], np.float32) for one in made] for row in range(len(sizes))]


def _has_gradients(predictor: Predictor) -> bool:
    """Whether PyTorch runs the model, and every part of it is a network: no estimator among them."""
    if not isinstance(predictor.engine, TorchEngine):
        return False
    return not any(getattr(part, "is_estimator", False) for part in predictor.engine.module.modules())


def _at_rest(windows_bct: Tensor, spec: WindowSpec) -> Tensor:
    """Return what stands in for hidden samples, (B, C, T), normalised as the windows are."""
    import torch

    if spec.normalize != "none":
        return torch.zeros_like(windows_bct)
    if spec.mean:
        return torch.tensor(spec.mean).to(windows_bct).view(1, -1, 1).expand_as(windows_bct).contiguous()
    return windows_bct.mean(dim=2, keepdim=True).expand_as(windows_bct).contiguous()
