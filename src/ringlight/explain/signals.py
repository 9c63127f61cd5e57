"""Which samples of which channels speak for a class: attributions of windows, computed by captum.

An attribution is signed and in units of the score (a logit): above 0 speaks for the class. What is taken away is
replaced by a baseline: the channel at rest.

Shapes: B windows, C channels, T samples, K classes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from ringlight.errors import ConfigError
from ringlight.optional import require
from ringlight.registry import Catalogue

if TYPE_CHECKING:
    from torch import Tensor

    Score = Callable[[Tensor], Tensor]

EXTRA = "explain"
AT_ONCE = 32
"""Changed copies of a batch that are scored together."""


class SignalMethod(Protocol):
    """From a batch of windows to an attribution of every sample."""

    needs_gradients: ClassVar[bool]
    """Whether the model must be differentiable: classical models are not."""

    def __call__(self, score: Score, windows_bct: Tensor, targets_b: Tensor, baselines_bct: Tensor) -> Tensor:
        """Return attributions (B, C, T) of the scores of the classes (B,); `score` gives logits (B, K)."""


class Occlusion:
    """What the score loses when a stretch of a channel is hidden (Zeiler & Fergus 2014, arXiv:1311.2901, section 4.2).

    A stretch is put in the place of the baseline's; each sample has the mean loss over the stretches that hide it. Only
    scores are needed, so that every model can be asked.

    Args:
        width: samples of a stretch; None is a sixteenth of the window.
        stride: samples from one stretch to the next; None is half a stretch.

    Raises:
        ConfigError: a width or a stride below 1, or a stride that leaves samples out.
        MissingExtraError: captum is not installed.
    """

    needs_gradients: ClassVar[bool] = False

    def __init__(self, *, width: int | None = None, stride: int | None = None) -> None:
        for name, value in (("width", width), ("stride", stride)):
            if value is not None and value < 1:
                raise ConfigError("1 sample or more", got=str(value), where=f"explanation.{name}", fix="try 16")
        if width is not None and stride is not None and stride > width:
            raise ConfigError(
                "a stride of at most the width", got=f"{stride} above {width}", where="explanation.stride",
                fix="samples between two stretches would never be hidden",
            )  # fmt: skip
        self.width = width
        self.stride = stride
        self._captum = _captum()

    def __call__(self, score: Score, windows_bct: Tensor, targets_b: Tensor, baselines_bct: Tensor) -> Tensor:
        """Return attributions (B, C, T)."""
        import torch

        length = windows_bct.shape[2]
        width = min(self.width or max(1, length // 16), length)
        stride = min(self.stride or max(1, width // 2), width)
        with torch.no_grad():
            found: Tensor = self._captum.Occlusion(score).attribute(
                windows_bct, sliding_window_shapes=(1, width), strides=(1, stride), baselines=baselines_bct,
                target=targets_b, perturbations_per_eval=AT_ONCE,
            )  # fmt: skip
        return found


class IntegratedGradients:
    """The gradient along the way from the baseline to the window (Sundararajan et al. 2017, arXiv:1703.01365).

    (x - x') times the mean gradient on the straight line (equation 1), by Gauss-Legendre quadrature. Complete: a
    window's attributions add up to S(x) - S(x') (proposition 1), but for the error of the quadrature, which shrinks
    with `steps`.

    Args:
        steps: points on the way.

    Raises:
        ConfigError: fewer than one step.
        MissingExtraError: captum is not installed.
    """

    needs_gradients: ClassVar[bool] = True

    def __init__(self, *, steps: int = 64) -> None:
        if steps < 1:
            raise ConfigError("1 step or more", got=str(steps), where="explanation.steps", fix="try 64")
        self.steps = steps
        self._captum = _captum()

    def __call__(self, score: Score, windows_bct: Tensor, targets_b: Tensor, baselines_bct: Tensor) -> Tensor:
        """Return attributions (B, C, T)."""
        found: Tensor = self._captum.IntegratedGradients(score).attribute(
            windows_bct, baselines=baselines_bct, target=targets_b, n_steps=self.steps,
            internal_batch_size=max(len(windows_bct), AT_ONCE),
        )  # fmt: skip
        return found.to(windows_bct.dtype)


def _captum() -> Any:
    return require("captum.attr", extra=EXTRA)


SIGNAL_METHODS: Catalogue[SignalMethod] = Catalogue(
    "explanation", {"occlusion": Occlusion, "integrated_gradients": IntegratedGradients}, name_key="method"
)
"""The attributions of windows."""
