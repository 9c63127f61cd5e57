"""What stands behind a backbone: where its classifier is, what reaches it, and classifiers that are fitted.

B batch, D features, K classes, M kept records.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - PyTorch's own name for it

from ringlight.errors import ModelError, UserError
from ringlight.models.evidential import EvidentialHead
from ringlight.models.margin_base import MarginHead
from ringlight.models.margins import MARGINS
from ringlight.types import Task

LEAST = 1e-3
"""Added to every class's share of the neighbours: a class without one is unlikely, not impossible."""


class CosineHead(nn.Module):
    """Scores by the angle to a prototype of each class: features (B, D) -> logits (B, K).

    logit_k = scale_k cos(x, prototype_k) + bias_k, as in nearest-class-mean and imprinted classifiers (Qi et al. 2018,
    arXiv:1712.07136, equation 4). It needs few records a class and forgets nothing when one is added.
    """

    def __init__(self, num_features: int, num_classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(num_classes, num_features))
        self.scale = nn.Parameter(torch.ones(num_classes))
        self.bias = nn.Parameter(torch.zeros(num_classes))

    def cosines(self, x_bd: Tensor) -> Tensor:
        """Return the cosines (B, K) to the prototypes."""
        return F.linear(F.normalize(x_bd, dim=1), F.normalize(self.weight, dim=1))

    def forward(self, x_bd: Tensor) -> Tensor:
        """Return logits (B, K)."""
        return self.cosines(x_bd) * self.scale + self.bias


class NeighborsHead(nn.Module):
    """Scores by the labels of the nearest training records: features (B, D) -> logits (B, K).

    The `num_neighbors` records of the largest cosine vote with weights exp(cosine / temperature), as in the weighted
    k-NN that self-supervised features are judged with (Wu et al. 2018, arXiv:1805.01978, section 3.4: 0.07). The logits
    are the log of the votes' shares (multi-class) or their log odds (multi-label), plus a bias.
    """

    features: Tensor
    votes: Tensor
    bias: Tensor

    def __init__(
        self,
        num_features: int,
        num_classes: int,
        *,
        num_records: int,
        num_neighbors: int,
        temperature: float,
        task: Task,
    ) -> None:
        super().__init__()
        self.num_neighbors = num_neighbors
        self.temperature = temperature
        self.task: Task = task
        self.register_buffer("features", torch.zeros(num_records, num_features))
        self.register_buffer("votes", torch.zeros(num_records, num_classes))
        self.register_buffer("bias", torch.zeros(num_classes))

    def forward(self, x_bd: Tensor) -> Tensor:
        """Return logits (B, K)."""
        cosines_bm = F.linear(F.normalize(x_bd.float(), dim=1), self.features)
        nearest, rows = cosines_bm.topk(min(self.num_neighbors, len(self.features)), dim=1)
        weights = torch.softmax(nearest / self.temperature, dim=1)
        shares_bk = torch.einsum("bn,bnk->bk", weights, self.votes[rows])
        if self.task == "multilabel":
            return torch.logit((shares_bk + LEAST) / (1 + 2 * LEAST)) + self.bias
        return torch.log((shares_bk + LEAST) / (1 + LEAST * self.votes.shape[1])) + self.bias


def make_head(spec: Mapping[str, Any], num_features: int, num_classes: int) -> nn.Module:
    """Build an empty head as a bundle describes it.

    `{"name": "cosine"}` and `{"name": "knn", ...}` are fitted to frozen features; `{"family": "margin", ...}` is what
    the `spec()` of a margin head gives, `{"name": "evidential", "of": {...}}` that of an evidential one.

    Raises:
        ModelError: a name or a value that this release does not know.
    """
    params = {key: value for key, value in spec.items() if key not in ("family", "name")}
    kinds = {"cosine": CosineHead, "knn": NeighborsHead, "linear": nn.Linear}
    margins = spec.get("family") == "margin"
    try:
        if margins:
            return MARGINS.build(spec["name"], in_features=num_features, out_features=num_classes, **params)
        if spec["name"] == "evidential":
            scores = make_head(spec["of"], num_features, num_classes)
            if not isinstance(scores, nn.Linear | MarginHead):
                raise TypeError(f"evidence of {type(scores).__name__}")
            return EvidentialHead(scores)
        head: nn.Module = kinds[spec["name"]](num_features, num_classes, **params)
    except (AttributeError, KeyError, TypeError, UserError) as error:
        known = MARGINS if margins else [*kinds, "evidential"]
        raise ModelError(
            f"a head of {', '.join(known)} with its parameters", got=f"{dict(spec)!r}", where="head",
            fix="load it with the Ringlight that wrote it",
        ) from error  # fmt: skip
    return head


def install_evidential(module: nn.Module) -> None:
    """Let the model's classifier give log Dirichlet parameters, as the evidential loss expects them.

    Raises:
        ModelError: the model does not end in a linear layer or a margin head.
    """
    found = module.get_classifier() if hasattr(module, "get_classifier") else None  # type: ignore[operator]
    if isinstance(found, EvidentialHead):
        return
    if not isinstance(found, nn.Linear | MarginHead):
        raise ModelError(
            "a model that ends in one linear layer or a margin head for `evidential`",
            got=f"{type(module).__name__} that ends in {type(found).__name__}",
            where="loss.name",
            fix="choose another model, or loss=cross_entropy",
        )
    install_head(module, EvidentialHead(found))


def head_spec_of(module: nn.Module) -> dict[str, Any]:
    """Return what :func:`make_head` builds the model's classifier from; empty where it is the plain linear layer."""
    found = module.get_classifier() if hasattr(module, "get_classifier") else None  # type: ignore[operator]
    return found.spec() if isinstance(found, MarginHead | EvidentialHead) else {}


def classifier_of(module: nn.Module) -> nn.Module:
    """Return the last layer of a model, whose input are the features and whose output the logits.

    Raises:
        ModelError: the model has no such layer, or one that is not linear and not one of the heads above.
    """
    found = module.get_classifier() if hasattr(module, "get_classifier") else None  # type: ignore[operator]
    if isinstance(found, nn.Linear | CosineHead | NeighborsHead | MarginHead | EvidentialHead):
        return found
    raise ModelError(
        "a model that ends in one linear layer",
        got=f"{type(module).__name__} that ends in {type(found).__name__}",
        where="training.mode",
        fix="choose another model, or training.mode=finetune with imbalance=none",
    )


def num_features_of(module: nn.Module) -> int:
    """Return D, the number of features that reach the classifier.

    Raises:
        ModelError: see :func:`classifier_of`.
    """
    layer = classifier_of(module)
    if isinstance(layer, nn.Linear | MarginHead | EvidentialHead):
        return int(layer.in_features)
    kept = layer.weight if isinstance(layer, CosineHead) else layer.features
    return int(torch.as_tensor(kept).shape[1])


def install_head(module: nn.Module, head: nn.Module) -> None:
    """Put a head in the place of the model's classifier.

    Raises:
        ModelError: see :func:`classifier_of`.
    """
    former = classifier_of(module)
    name = next(name for name, child in module.named_modules() if child is former)
    module.set_submodule(name, head)


def set_linear(module: nn.Module, weight_kd: Tensor, bias_k: Tensor) -> None:
    """Give the model's linear classifier fitted values.

    Raises:
        ModelError: the classifier is not a linear layer with a bias of this size.
    """
    layer = classifier_of(module)
    if not isinstance(layer, nn.Linear) or layer.weight.shape != weight_kd.shape or layer.bias is None:
        raise ModelError(
            f"a linear classifier {tuple(weight_kd.shape)} with a bias", got=repr(layer), where="training.mode",
            fix="choose another model, or training.mode=finetune",
        )  # fmt: skip
    with torch.no_grad():
        layer.weight.copy_(weight_kd)
        layer.bias.copy_(bias_k)


def shift_scores(module: nn.Module, offsets_k: Tensor) -> None:
    """Add (K,) to every logit the model will give, by its classifier's bias.

    Raises:
        ModelError: the classifier has no bias.
    """
    bias = getattr(classifier_of(module), "bias", None)
    if bias is None:
        raise ModelError(
            "a classifier with a bias", got="one without", where="imbalance.method", fix="use balanced_softmax"
        )
    with torch.no_grad():
        bias += offsets_k.to(bias)


def features_before_head(module: nn.Module, inputs: Tensor) -> Tensor:
    """Return what reaches the model's classifier, (B, D), for images or windows: the backbone's features, pooled.

    The model runs as it always does and its classifier's input is overheard, so that these features are the very ones
    the finished model scores.

    Raises:
        ModelError: see :func:`classifier_of`.
    """
    return scores_and_features(module, inputs)[1]


@torch.no_grad()
def scores_and_features(module: nn.Module, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Return the logits (B, K) and what reached the classifier (B, D), of one pass.

    Raises:
        ModelError: see :func:`classifier_of`.
    """
    heard: list[Tensor] = []
    handle = classifier_of(module).register_forward_pre_hook(lambda _layer, given: heard.append(given[0]))
    try:
        logits: Tensor = module(inputs)
    finally:
        handle.remove()
    return logits, heard[0]
