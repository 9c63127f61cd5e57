"""Test-time augmentation: a part is judged in several views, and the scores are averaged.

A view is one of the eight symmetries of a square: as it is, mirrored, turned. A quarter turn changes the shape of an
image that is not square, so such an image has four views. A mean of probabilities is what an ensemble means by voting
(the default); a mean of logits weighs a sure view more.

Shapes: B batch, C channels, H x W pixels, K classes, V views.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import numpy.typing as npt

from ringlight.errors import BundleError
from ringlight.types import Task

if TYPE_CHECKING:
    from torch import Tensor

Space = Literal["probability", "logit"]
Scores = npt.NDArray[np.float32]

# (quarter turns, mirrored): the order in which views are added, those that keep every shape first.
VIEWS = ((0, False), (0, True), (2, True), (2, False), (1, False), (3, False), (1, True), (3, True))
KEEP_SHAPE = 4
_EDGE = 1e-7
"""Probabilities are kept this far from 0 and 1 where they become logits again (single precision's own resolution)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tta:
    """How many views (1 to 8; 1 is off) and what is averaged over them."""

    runs: int = 1
    space: Space = "probability"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: str) -> Self:
        """Build from JSON values; nothing means off.

        Raises:
            BundleError: other keys or values than :meth:`to_dict` writes.
        """
        found = cls(runs=values.get("runs", 1), space=values.get("space", "probability"))
        if found.runs not in range(1, len(VIEWS) + 1) or found.space not in ("probability", "logit"):
            raise BundleError(
                "tta with runs from 1 to 8 and space probability or logit",
                got=str(dict(values)),
                where=where,
                fix="export the model again from its run",
            )
        return found


def num_views(tta: Tta, height: int, width: int) -> int:
    """Return how many views an image of this size is judged in.

    Examples:
        >>> num_views(Tta(runs=8), 224, 224), num_views(Tta(runs=8), 256, 1600)
        (8, 4)
    """
    return min(tta.runs, len(VIEWS) if height == width else KEEP_SHAPE)


def averaged(score: Callable[[Tensor], Scores], images_BCHW: Tensor, tta: Tta, task: Task) -> Scores:  # noqa: N803
    """Return logits (B, K) averaged over the views of a batch.

    Args:
        score: from prepared images (B, C, H, W) to logits (B, K).
        images_BCHW: the batch, all of one size.
        tta: the views; with one of them this is `score` itself, to the bit.
        task: how logits become probabilities.
    """
    import torch

    height, width = images_BCHW.shape[-2:]
    scores = []
    for turns, mirrored in VIEWS[: num_views(tta, height, width)]:
        view = images_BCHW.flip(-1) if mirrored else images_BCHW
        scores.append(score(torch.rot90(view, turns, (-2, -1)) if turns else view))
    return scores[0] if len(scores) == 1 else mean_scores(np.stack(scores), task, tta.space)


def mean_scores(logits_VBK: npt.NDArray[np.float32], task: Task, space: Space) -> Scores:  # noqa: N803
    """Return the logits (B, K) of the mean over V views, or over V members of an ensemble.

    A mean of soft-max probabilities comes back as logits whose log-sum-exp is the mean of the views', so that the
    energy score keeps its meaning.
    """
    from scipy.special import expit, logit, logsumexp

    logits = logits_VBK.astype(np.float64)
    if space == "logit":
        return np.asarray(logits.mean(axis=0), np.float32)
    if task == "multilabel":
        return np.asarray(logit(np.clip(expit(logits).mean(axis=0), _EDGE, 1 - _EDGE)), np.float32)
    level = logsumexp(logits, axis=-1, keepdims=True)
    mean = np.clip(np.exp(logits - level).mean(axis=0), _EDGE, None)
    return np.asarray(np.log(mean) + level.mean(axis=0), np.float32)
