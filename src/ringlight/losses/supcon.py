"""Contrastive losses: embeddings of the same label come together, all others are pushed apart.

N embeddings (B images x V views, over all processes), D features; z_i the embedding i of length 1, tau the temperature,
P(i) the others of i's label. Everything is float32 whatever the embeddings' type, also under autocast.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - PyTorch's own name for it

from ringlight.errors import ConfigError, DataError, TrainingError
from ringlight.losses._gather import gathered

SHORTEST = 1e-3
"""Shorter embeddings are divided by this: their gradient, which goes with 1 / length, still fits half precision."""


class ContrastiveLoss(nn.Module):
    """What contrastive losses share: `loss(embeddings (N, D), labels (N,)) -> scalar`.

    The views of an image carry its label each, in any order. Embeddings are brought to length 1 here. Where several
    processes train together, each brings its share and gets the loss of the whole batch, with the gradients of one
    process that has it all (proved with two); each has to bring as many embeddings. A batch of one label alone
    counts 0.

    Args:
        temperature: tau, above 0: the smaller, the more the nearest others count.

    Raises:
        ConfigError: the temperature is not above 0.
    """

    name: ClassVar[str]

    def __init__(self, temperature: float = 0.1) -> None:
        super().__init__()
        if not (math.isfinite(temperature) and temperature > 0):
            raise ConfigError(
                "a number above 0", got=f"{temperature:g}", where="contrastive.temperature", fix="correct the value"
            )
        self.temperature = float(temperature)

    def forward(self, embeddings_nd: Tensor, labels_n: Tensor) -> Tensor:
        """Return the loss.

        Raises:
            DataError: embeddings or labels of another shape or type.
            TrainingError: no two embeddings of one label in the batch.
        """
        fits = embeddings_nd.ndim == 2 and labels_n.shape == embeddings_nd.shape[:1]
        if not fits or labels_n.is_floating_point():
            raise DataError(
                "embeddings (N, D) and a whole number each, (N,)",
                got=f"embeddings {tuple(embeddings_nd.shape)}, labels {tuple(labels_n.shape)} of {labels_n.dtype}",
                where=f"contrastive `{self.name}`",
                fix="repeat each label once a view; of several classes an image, use nt_xent with rows as labels",
            )
        with torch.autocast(embeddings_nd.device.type, enabled=False):
            units_nd = gathered(F.normalize(embeddings_nd.float(), dim=1, eps=SHORTEST))
            labels_n = gathered(labels_n)
            if self._has_pairs(labels_n):
                return self.of_units(units_nd, labels_n)
            return units_nd.sum() * 0.0  # one label alone: nothing to be pushed from

    def of_units(self, units_nd: Tensor, labels_n: Tensor) -> Tensor:
        """Return the loss of float32 embeddings of length 1 that hold pairs of both kinds."""
        raise NotImplementedError

    def _has_pairs(self, labels_n: Tensor) -> bool:
        """Return whether there are embeddings of different labels, as chance may leave out of a small batch."""
        counts = torch.unique(labels_n, return_counts=True)[1].tolist()
        if max(counts, default=0) < 2:
            raise TrainingError(
                "two embeddings of one label or more in every batch", got=f"{len(counts)}, each of a label of its own",
                where=f"contrastive `{self.name}`",
                fix="take two views of each image or more (supcon.num_views=2), or sampler=class_pairs",
            )  # fmt: skip
        return len(counts) > 1

    def get_params(self) -> dict[str, Any]:
        """Return the parameters, ready for JSON."""
        return {"temperature": self.temperature}


class SupCon(ContrastiveLoss):
    """Supervised contrastive loss L_out (Khosla et al. 2020, arXiv:2004.11362, equation 2), averaged over anchors.

        mean_i  -1 / |P(i)| sum_(p in P(i)) log( exp(z_i z_p / tau) / sum_(a != i) exp(z_i z_a / tau) )

    An embedding whose label no other has is nobody's anchor: it is pushed from the others as one of their negatives and
    does not count in the mean. The term of each anchor is pytorch-metric-learning's; its default mean, over losses
    above zero, would leave out anchors that are already as they should be.

    Args:
        temperature: tau, above 0; the paper's best is 0.1.

    Raises:
        ConfigError: the temperature is not above 0.

    Examples:
        Two pairs at right angles to each other, tau = 1: log((e + 1 + 1) / e)

        >>> loss = SupCon(temperature=1.0)
        >>> z = torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0], [0.0, 3.0]])
        >>> round(float(loss(z, torch.tensor([7, 7, 2, 2]))), 4)
        0.5514
    """

    name: ClassVar[str] = "supcon"

    def __init__(self, temperature: float = 0.1) -> None:
        super().__init__(temperature)
        from pytorch_metric_learning.distances import DotProductSimilarity
        from pytorch_metric_learning.losses import SupConLoss
        from pytorch_metric_learning.reducers import DoNothingReducer

        self._each = SupConLoss(
            temperature=self.temperature,
            distance=DotProductSimilarity(normalize_embeddings=False),
            reducer=DoNothingReducer(),
        )

    def of_units(self, units_nd: Tensor, labels_n: Tensor) -> Tensor:
        """Return the loss of float32 embeddings of length 1 that hold pairs of both kinds."""
        losses_n: Tensor = self._each(units_nd, labels_n)["loss"]["losses"]
        paired_n = (labels_n.unsqueeze(0) == labels_n.unsqueeze(1)).sum(dim=1) > 1
        return (losses_n * paired_n).sum() / paired_n.sum()


class NTXent(ContrastiveLoss):
    """Normalised temperature-scaled cross-entropy (Chen et al. 2020, SimCLR, arXiv:2002.05709, equation 1).

        mean over (i, p)  -log( exp(z_i z_p / tau) / (exp(z_i z_p / tau) + sum_n exp(z_i z_n / tau)) )

    (i, p) are the pairs of one label, n the embeddings of other labels. As a loss without labels, the label of an
    embedding is the row of its record in the data set (not its place in the batch, which is another record in another
    process). With two views it is SimCLR's, and the same as :class:`SupCon` of such labels; with more, views of one
    image do not compete.

    Args:
        temperature: tau, above 0; the paper's 0.5 is for large batches, 0.1 for long trainings.

    Raises:
        ConfigError: the temperature is not above 0.

    Examples:
        >>> loss = NTXent(temperature=1.0)
        >>> z = torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0], [0.0, 3.0]])
        >>> round(float(loss(z, torch.tensor([7, 7, 2, 2]))), 4)
        0.5514
    """

    name: ClassVar[str] = "nt_xent"

    def of_units(self, units_nd: Tensor, labels_n: Tensor) -> Tensor:
        """Return the loss of float32 embeddings of length 1 that hold pairs of both kinds."""
        scores_nn = units_nd @ units_nd.T / self.temperature
        same_nn = labels_n.unsqueeze(0) == labels_n.unsqueeze(1)
        others_n1 = scores_nn.masked_fill(same_nn, float("-inf")).logsumexp(dim=1, keepdim=True)
        positive_nn = same_nn & ~torch.eye(len(labels_n), dtype=torch.bool, device=labels_n.device)
        losses_nn = torch.logaddexp(scores_nn, others_n1) - scores_nn
        return losses_nn[positive_nn].mean()
