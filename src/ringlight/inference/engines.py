"""Engines: from prepared inputs to raw scores. What comes before and after is the same for each of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from torch import Tensor, nn

Scored = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32] | None]
"""Logits (B, K), and what reaches the classifier (B, D) where decisions need it."""


class Engine(Protocol):
    """Whatever runs a model.

    `name` is what a user calls it. `run` takes prepared images (B, C, H, W) or windows (B, C, T), float32, and returns
    raw logits (B, K), and with them what reaches the classifier (B, D) where the engine was asked for it.
    """

    name: str

    def run(self, inputs: npt.NDArray[np.float32]) -> Scored:  # noqa: D102 - told by the class
        ...


def forward(module: nn.Module, inputs: Tensor, device: str) -> npt.NDArray[np.float32]:
    """Return raw scores (B, K) of prepared images (B, C, H, W) or windows (B, C, T).

    The one way from tensors to scores, for judging and for serving.
    """
    scores: npt.NDArray[np.float32] = module(inputs.to(device)).float().cpu().numpy()
    return scores


class TorchEngine:
    """PyTorch, eager, in single precision: what every other engine is measured against.

    The module is moved to `device` and put into evaluation mode. With `embeds`, each run also returns what reaches its
    classifier (B, D).
    """

    name = "torch"

    def __init__(self, module: nn.Module, device: str, *, embeds: bool = False) -> None:
        self.module = module.to(device).eval()
        self.device = device
        self.embeds = embeds

    def run(self, inputs: npt.NDArray[np.float32]) -> Scored:
        """Return logits (B, K), and features (B, D) where they are asked for, of one pass."""
        import torch

        with torch.inference_mode():
            tensor = torch.from_numpy(inputs if inputs.flags.writeable else inputs.copy())  # torch refuses to share it
            if not self.embeds:
                return forward(self.module, tensor, self.device), None
            from ringlight.models.heads import scores_and_features

            logits, features = scores_and_features(self.module, tensor.to(self.device))
            return logits.float().cpu().numpy(), features.flatten(1).float().cpu().numpy()
