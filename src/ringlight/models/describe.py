"""What the models of the catalogue are: their input and how many parameters they have."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ringlight.models.build import build_sequence_model, is_estimator, takes_of
from ringlight.registry import Catalogue


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """A model in a line: `takes` images or windows; `num_parameters` that training changes, None for an estimator."""

    takes: str
    num_parameters: int | None
    summary: str


def describe_models(in_chans: int = 9, length: int = 1024, num_classes: int = 4) -> dict[str, ModelFacts]:
    """Return the facts of every model of our own, by name, in the catalogue's order.

    Models of windows are built for `in_chans` channels and `length` time steps, models of images for colour; both for
    `num_classes`. Nothing is computed and no memory taken: the tensors have shapes only.

    Examples:
        >>> describe_models()["cnn1d"].takes
        'windows'
    """
    from ringlight.models import MODELS

    return {
        name: ModelFacts(takes_of(part), _count(MODELS, name, in_chans, length, num_classes), MODELS.describe()[name])
        for name, part in MODELS.parts.items()
    }


def _count(models: Catalogue[torch.nn.Module], name: str, in_chans: int, length: int, num_classes: int) -> int | None:
    factory = models.factory(name)
    if is_estimator(factory):
        return None
    with torch.device("meta"):
        if takes_of(factory) == "windows":
            module = build_sequence_model(name, num_classes=num_classes, in_chans=in_chans, length=length).module
        else:
            module = factory(num_classes=num_classes)
    return sum(parameter.numel() for parameter in module.parameters())
