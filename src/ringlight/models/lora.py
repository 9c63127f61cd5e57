"""Low-rank adapters (LoRA: Hu et al. 2021, arXiv:2106.09685) on the layers of any image model.

The trained weight W0 (out, in) of a layer stays as it is; what is learned is a product beside it (equation 3):

    W = W0 + (alpha / rank) B A,    A (rank, in) uniform as a linear layer starts, B (out, rank) zero

so that at first the model is the one it was, to the bit, and an optimiser has rank (in + out) numbers a layer to keep
instead of in x out. The product is put onto the weight itself, as a parametrisation of PyTorch: Swin-V2, BEiT and EVA
never call their `qkv` layer but use its weight, where a wrapped layer would learn nothing
(docs/adr/0010-adapters-on-weights.md).

Dropout acts on what the product sees of a layer's input; as it is written into A, one draw holds for all images of a
step. Normalisation is not trained; the running statistics of batch normalisation go on being measured.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - PyTorch's own name for it
from torch.nn.utils import parametrize

from ringlight.errors import ModelError

Target = Literal["attention", "mlp", "conv1x1"]
TARGETS: tuple[Target, ...] = ("attention", "mlp", "conv1x1")

PLACES: dict[Target, tuple[str, ...]] = {
    "attention": ("attn", "attention"),
    "mlp": ("mlp", "ffn", "feedforward", "feed_forward"),
}
"""What the nearest enclosing module is called, by its name or its class, in timm and elsewhere."""
POSITIONS = ("cpb", "pos", "rel_")
"""Beginnings of the names of networks that compute a bias of positions: they see coordinates, no image."""


@dataclass(frozen=True, slots=True)
class Adapters:
    """What was put onto a model: the names of the layers, and how many of its numbers are trained now.

    `frozen` are the parameters that are not trained for the adapters' sake, by the names they have without them.
    """

    layers: tuple[str, ...]
    num_trained: int
    num_parameters: int
    frozen: tuple[str, ...] = field(default=(), repr=False)

    @property
    def sentence(self) -> str:
        """What a report says of it."""
        return (
            f"LoRA on {len(self.layers)} layers: {self.num_trained:,} of {self.num_parameters:,} parameters are trained"
        )


class LowRank(nn.Module):
    """The parametrisation of one weight: W0 -> W0 + (alpha / rank) B A, for a weight (out, in) or (out, in, 1, 1).

    Raises:
        ModelError: see :func:`add_lora`; `where` names the layer.
    """

    def __init__(self, weight: Tensor, *, rank: int, alpha: float, dropout: float, where: str) -> None:
        super().__init__()
        num_out, num_in = weight.shape[0], weight[0].numel()
        if not 1 <= rank <= min(num_out, num_in):
            raise ModelError(
                f"a rank from 1 to {min(num_out, num_in)}, the smaller side of `{where}` ({num_out} x {num_in})",
                got=str(rank), where="model.lora.rank",
                fix="lower it, or leave such layers out with model.lora.targets",
            )  # fmt: skip
        self.scale = alpha / rank
        self.dropout = dropout
        self.lora_a = nn.Parameter(torch.empty(rank, num_in, device=weight.device, dtype=weight.dtype))
        self.lora_b = nn.Parameter(torch.zeros(num_out, rank, device=weight.device, dtype=weight.dtype))
        nn.init.kaiming_uniform_(self.lora_a, a=math.sqrt(5))

    def forward(self, weight: Tensor) -> Tensor:
        """Return the adapted weight, in the shape of the given one."""
        seen: Tensor = self.lora_a
        if self.training and self.dropout > 0:
            seen = seen * F.dropout(torch.ones_like(seen[0]), self.dropout)
        return weight + (self.scale * (self.lora_b @ seen)).view(weight.shape)


def add_lora(
    module: nn.Module, *, rank: int = 8, alpha: float = 16.0, targets: Sequence[Target] = TARGETS, dropout: float = 0.0
) -> Adapters:
    """Put adapters onto a model, in place, and let nothing else but its head be trained.

    The head is the classifier, and what the model says in `new_parts()` was never trained before. What is frozen
    already stays so, and gets no adapter. What is returned is kept as the model's attribute `adapters`.

    Args:
        module: an image model of the catalogue, with its weights loaded.
        rank: of the products, at most the smaller side of every layer.
        alpha: a product counts alpha / rank times.
        targets: the kinds of layers: linear layers in attention, in multi-layer perceptrons, 1x1 convolutions without
            groups. A 1x1 convolution in the place of such a linear layer is one of both kinds.
        dropout: share of a layer's inputs that the product does not see in a training step, from 0 to below 1.

    Raises:
        ModelError: no layer of these kinds, a rank or another number out of range, a model that has adapters.
    """
    _check(module, alpha, targets, dropout)
    head = _head_of(module)
    found = ((name, layer) for name, layer in _layers(module, targets) if not f"{name}.".startswith(head))
    layers = [(name, layer) for name, layer in found if cast("Tensor", layer.weight).requires_grad]
    if not layers:
        raise ModelError(
            f"layers of the kinds {', '.join(targets)} in the model", got="none outside its head that may be trained",
            where="model.lora.targets", fix=_remedy(module, targets),
        )  # fmt: skip
    made = [
        LowRank(cast("Tensor", layer.weight), rank=rank, alpha=alpha, dropout=dropout, where=name)
        for name, layer in layers
    ]
    frozen = [
        name for name, one in module.named_parameters() if one.requires_grad and not name.startswith(head)
    ]  # fmt: skip
    for name in frozen:
        module.get_parameter(name).requires_grad_(False)
    for (_, layer), low_rank in zip(layers, made, strict=True):
        parametrize.register_parametrization(layer, "weight", low_rank.train(layer.training))
    trained = sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)
    total = sum(parameter.numel() for parameter in module.parameters())
    adapters = Adapters(tuple(name for name, _ in layers), trained, total, tuple(frozen))
    module.adapters = adapters  # type: ignore[assignment]  # it outlives the merging, for whoever tells of the run
    return adapters


def merge_lora(module: nn.Module) -> int:
    """Write every product into its weight, in place: an ordinary model with the same scores; return how many.

    Names and shapes in its state dict are again those before :func:`add_lora`, and what was frozen for the adapters may
    be trained again, so that further ones find the same layers. A model without adapters stays as it is.
    """
    merged = 0
    for layer in list(module.modules()):
        for low_rank in _adapters_of(layer):
            low_rank.eval()  # without dropout
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)
            merged += 1
    for part in module.modules() if merged else ():
        adapters = part.__dict__.get("adapters")
        for name in adapters.frozen if isinstance(adapters, Adapters) else ():
            part.get_parameter(name).requires_grad_(True)
    return merged


def has_lora(module: nn.Module) -> bool:
    """Return whether a model has adapters."""
    return any(_adapters_of(layer) for layer in module.modules())


def _adapters_of(layer: nn.Module) -> list[LowRank]:
    if not parametrize.is_parametrized(layer, "weight"):
        return []
    held = cast("nn.ModuleDict", layer.parametrizations)["weight"]
    return [one for one in cast("nn.ModuleList", held) if isinstance(one, LowRank)]


def _layers(module: nn.Module, targets: Sequence[Target]) -> Iterator[tuple[str, nn.Module]]:
    """Yield the layers of some kinds by name, each once."""
    for name, layer in module.named_modules():
        if not isinstance(layer, nn.Linear | nn.Conv2d) or parametrize.is_parametrized(layer, "weight"):
            continue
        place = _place(module, name)
        kinds: set[Target | None] = {place}
        if isinstance(layer, nn.Conv2d):
            if layer.kernel_size != (1, 1) or layer.groups != 1:
                continue
            kinds.add("conv1x1")
        if kinds & set(targets):
            yield name, layer


def _place(module: nn.Module, name: str) -> Target | None:
    """Return whether a layer stands in attention or in a perceptron: what the nearest module around it is called."""
    parts = name.split(".")
    for length in range(len(parts) - 1, 0, -1):
        own, kind = parts[length - 1].lower(), type(module.get_submodule(".".join(parts[:length]))).__name__.lower()
        if own.startswith(POSITIONS):
            return None
        for target, words in PLACES.items():
            if any(word in own or word in kind for word in words):
                return target
    return None


def _head_of(module: nn.Module) -> tuple[str, ...]:
    """Return the beginnings of the names of what is trained as a whole."""
    found = module.get_classifier() if hasattr(module, "get_classifier") else None  # type: ignore[operator]
    classifiers = found if isinstance(found, tuple | list) else (found,)
    names = [name for name, part in module.named_modules() if name and any(part is one for one in classifiers)]
    new_parts = getattr(module, "new_parts", None)
    names += list(new_parts()) if callable(new_parts) else []
    return tuple(f"{name}." for name in names)


def _remedy(module: nn.Module, targets: Sequence[Target]) -> str:
    """Say which kinds the model has."""
    head = _head_of(module)
    others = [
        target for target in TARGETS
        if target not in targets and any(not f"{name}.".startswith(head) for name, _ in _layers(module, [target]))
    ]  # fmt: skip
    return f"it has {', '.join(others)}" if others else "set model.lora=null: no layer of it can be adapted"


def _check(module: nn.Module, alpha: float, targets: Sequence[Target], dropout: float) -> None:
    if has_lora(module):
        raise ModelError(
            "a model without adapters", got="one that has them", where="model.lora", fix="merge them first"
        )
    if not (math.isfinite(alpha) and alpha > 0):
        raise ModelError("a number above 0", got=f"{alpha:g}", where="model.lora.alpha", fix="try twice the rank")
    if not 0 <= dropout < 1:
        raise ModelError(
            "a share of at least 0 and below 1", got=f"{dropout:g}", where="model.lora.dropout", fix="try 0.05"
        )
    unknown = [target for target in targets if target not in TARGETS]
    if unknown or not targets:
        raise ModelError(
            f"kinds of layers: {', '.join(TARGETS)}", got=str(unknown[0]) if unknown else "none",
            where="model.lora.targets", fix="leave it out for all three",
        )  # fmt: skip
