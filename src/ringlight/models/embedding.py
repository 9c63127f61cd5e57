"""A classifier taken apart, for trainings that look at its embedding: a trunk that embeds, and what stands behind it.

The trunk is the model without its last layer, so that it holds every weight of the backbone under the names it has in
the whole model; :meth:`EmbeddingModel.whole` puts a last layer back, and the result is an ordinary model.

B batch, D embedding, K classes, P projection.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - PyTorch's own name for it

from ringlight.errors import ModelError
from ringlight.models.heads import classifier_of, install_head


def take_apart(module: nn.Module) -> tuple[nn.Module, nn.Module]:
    """Take the last layer out of a model, in place; return the trunk, images or windows -> (B, D), and that layer.

    Raises:
        ModelError: the model does not end in one linear layer or head.
    """
    layer = classifier_of(module)
    install_head(module, nn.Identity())
    return module, layer


def put_together(trunk: nn.Module, head: nn.Module) -> nn.Module:
    """Put a last layer into the place that :func:`take_apart` left empty, and return the whole model.

    Raises:
        ModelError: the trunk's place is not empty.
    """
    place = trunk.get_classifier() if hasattr(trunk, "get_classifier") else None  # type: ignore[operator]
    if not isinstance(place, nn.Identity):
        raise ModelError(
            "a model without its last layer", got=f"one that ends in {type(place).__name__}", where="model",
            fix="take it apart with take_apart first",
        )  # fmt: skip
    name = next(name for name, child in trunk.named_modules() if child is place)
    trunk.set_submodule(name, head)
    return trunk


class EmbeddingModel(nn.Module):
    """Trunk and head side by side: the head may be told the true classes, and the embedding can be looked at.

    Args:
        trunk: images or windows -> (B, D).
        head: (B, D) -> (B, K); one whose `forward` has `targets` is told the true classes.

    Examples:
        >>> model = EmbeddingModel(nn.Flatten(), nn.Linear(12, 3))
        >>> model(torch.zeros(2, 3, 2, 2)).shape, model.embed(torch.zeros(2, 3, 2, 2)).shape
        (torch.Size([2, 3]), torch.Size([2, 12]))
    """

    def __init__(self, trunk: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.trunk = trunk
        self.head = head
        self.takes_targets = "targets" in inspect.signature(head.forward).parameters

    def embed(self, inputs: Tensor) -> Tensor:
        """Return the embedding (B, D)."""
        embedding_bd: Tensor = self.trunk(inputs)
        return embedding_bd

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compile the trunk, in place: every way into the model leads through it, not every one through `forward`."""
        self.trunk.compile(*args, **kwargs)

    def forward(self, inputs: Tensor, targets: Tensor | None = None) -> Tensor:
        """Return logits (B, K).

        Args:
            inputs: (B, ...).
            targets: the true classes, (B,), for a head that keeps a margin to the others; None scores plainly. Pairs of
                classes (B, 2), of mixed records, give logits (B, 2, K): one row for each of the two.
        """
        embedding_bd = self.embed(inputs)
        if targets is None or not self.takes_targets:
            logits: Tensor = self.head(embedding_bd)
            return logits
        if targets.ndim == 1:
            told: Tensor = self.head(embedding_bd, targets)
            return told
        return torch.stack([self.head(embedding_bd, some) for some in targets.unbind(1)], dim=1)

    def no_weight_decay(self) -> set[str]:
        """Name the parameters that the trunk wants undecayed."""
        return {f"trunk.{name}" for name in _undecayed(self.trunk)}

    def lr_scales(self) -> dict[str, float]:
        """Name the trunk's parameters, by the beginning of their names, that learn faster or slower than the rest."""
        scales = getattr(self.trunk, "lr_scales", None)
        return {f"trunk.{name}": scale for name, scale in scales().items()} if callable(scales) else {}


class Projection(nn.Module):
    """The small network between the embedding and a contrastive loss: (B, D) -> unit vectors (B, P).

    Linear, ReLU, linear, and length 1, as SupCon has it (Khosla et al. 2020, arXiv:2004.11362, section 3.1). It is
    thrown away afterwards: the embedding before it carries over better.

    Args:
        embedding_size: D.
        size: P.
        hidden: width of the layer between; None is D.
    """

    def __init__(self, embedding_size: int, size: int, *, hidden: int | None = None) -> None:
        super().__init__()
        width = embedding_size if hidden is None else hidden
        self.layers = nn.Sequential(nn.Linear(embedding_size, width), nn.ReLU(inplace=True), nn.Linear(width, size))

    def forward(self, embedding_bd: Tensor) -> Tensor:
        """Return unit vectors (B, P)."""
        return F.normalize(self.layers(embedding_bd).float(), dim=1)


class Student(EmbeddingModel):
    """Trunk and head, with the layer that turns the student's embedding into one the teacher's can be held against.

    Args:
        trunk: images or windows -> (B, D).
        head: (B, D) -> (B, K).
        projection: learned with the student and left behind; None compares nothing.
    """

    def __init__(self, trunk: nn.Module, head: nn.Module, projection: nn.Module | None) -> None:
        super().__init__(trunk, head)
        self.projection = projection

    def score_and_embed(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (B, K) and the embedding (B, D)."""
        embedding_bd = self.embed(inputs)
        return self.head(embedding_bd), embedding_bd


def _undecayed(module: nn.Module) -> set[str]:
    listed: Any = getattr(module, "no_weight_decay", None)
    return set(listed()) if callable(listed) else set()
