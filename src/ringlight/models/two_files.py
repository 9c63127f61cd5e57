"""A model whose backbone and classifier lie in a file each, as some trainings keep them.

Shapes: D features, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from ringlight.errors import ModelError
from ringlight.models.heads import classifier_of
from ringlight.models.lora import merge_lora
from ringlight.models.weights import read_state


def load_two_files(whole: nn.Module, backbone: Path, head: Path, *, head_where: str | None = None) -> None:
    """Put the weights of a backbone and of a classifier into a model of their architecture.

    Args:
        whole: the model, whose weights are replaced.
        backbone: tensors by the names they have in the model, with or without `backbone.` before them; those of a
            classifier among them are left out.
        head: what the model's classifier holds, such as `weight` (K, D) and `bias` (K,), under whatever names they
            stand.
        head_where: what the head's file is called in an error.

    Raises:
        ModelError: a file is damaged, or its tensors do not fit.
    """
    names = last_layer(whole)
    state = {name.removeprefix("backbone."): tensor for name, tensor in read_state(backbone).items()}
    load_backbone(whole, {key: value for key, value in state.items() if key not in names}, names, str(backbone))
    layer, found = classifier_of(whole), head_state(head)
    wanted = {name: tuple(tensor.shape) for name, tensor in layer.state_dict().items()}
    shapes = {name: tuple(tensor.shape) for name, tensor in found.items()}
    if shapes != wanted:
        classes = next((shape[0] for shape in wanted.values()), 0)
        raise ModelError(
            f"a classifier with {wanted}", got=str(shapes), where=head_where or str(head),
            fix=f"save the classifier of a model of these {classes} classes",
        )  # fmt: skip
    layer.load_state_dict(found)


def head_state(head: Path) -> dict[str, Tensor]:
    """Return the tensors of a classifier by the last part of their names.

    Raises:
        ModelError: the file is damaged.
    """
    return {name.rpartition(".")[2]: tensor for name, tensor in read_state(head).items()}


def last_layer(module: nn.Module) -> set[str]:
    """Name the tensors of a model's last layer.

    Raises:
        ModelError: the model does not end in one linear layer or head.
    """
    layer = classifier_of(module)
    prefix = next(name for name, child in module.named_modules() if child is layer)
    return {f"{prefix}.{name}" for name in layer.state_dict()}


def load_backbone(whole: nn.Module, state: Mapping[str, Tensor], spared: set[str], where: str) -> None:
    """Load the tensors of a backbone into a model; those that are `spared` may be missing.

    Raises:
        ModelError: a tensor is missing, unknown or of another shape.
    """
    merge_lora(whole)  # untrained adapters change nothing but the names of the weights
    try:
        result = whole.load_state_dict(dict(state), strict=False)
    except RuntimeError as error:  # tensors of other shapes
        raise ModelError(
            "tensors that fit the backbone", got=str(error).splitlines()[-1].strip(), where=where,
            fix="set the section model as it was when they were trained",
        ) from error  # fmt: skip
    missing = [name for name in result.missing_keys if name not in spared]
    if missing or result.unexpected_keys:
        got = f"no `{missing[0]}`" if missing else f"the unknown `{result.unexpected_keys[0]}`"
        raise ModelError(
            "every tensor of the backbone, and no other", got=got, where=where,
            fix="set the section model as it was when they were trained",
        )  # fmt: skip
