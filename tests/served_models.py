"""A served model that costs nothing: gray pictures of 8 x 8, or windows of three samples and two channels."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from PIL import Image

from ringlight.data.preprocess import InputSpec
from ringlight.data.window_spec import WindowSpec
from ringlight.inference.bundle import Bundle
from ringlight.inference.predictor import Predictor
from ringlight.services.serving import Served

CLASSES = ("good", "scratch", "dent")
IMAGES = InputSpec(in_chans=1, image_size=(8, 8), mean=(0.0,), std=(1.0,))
WINDOWS = WindowSpec(("flow", "t"), 3, normalize="none")


class Grey(torch.nn.Module):
    """Good where it is dark, scratched where it is bright."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        mean = inputs.flatten(1).mean(1)
        return torch.stack([2 - 4 * mean, 4 * mean - 2, torch.full_like(mean, -3)], dim=1)


def predictor_of(spec: Any = IMAGES, **rules: Any) -> Predictor:
    rules = {"good_class": "good", **rules}
    bundle = Bundle(architecture={}, task="multiclass", classes=CLASSES, input_spec=spec, **rules)
    return Predictor(bundle, Grey(), device="cpu")


class FakeModels:
    """Models without files; `activate` makes another version the active one, an exception breaks it."""

    def __init__(self, **predictors: Predictor) -> None:
        self.served = {
            name: Served(name=name, reference=f"{name}@1", version=1, checksum="c" * 64, predictor=predictor)
            for name, predictor in predictors.items()
        }
        self.active: dict[str, int | None] = {}
        self.broken: dict[str, Exception] = {}
        self.unanswered: Exception | None = None
        self.closed = False

    @property
    def names(self) -> list[str]:
        return list(self.served)

    def open(self, name: str) -> Served:
        if name in self.broken:
            raise self.broken[name]
        version = self.active.get(name, 1)
        return replace(self.served[name], version=version, reference=f"{name}@{version}")

    def moved(self, serving: Mapping[str, int | None]) -> dict[str, int | None]:
        if self.unanswered is not None:
            raise self.unanswered
        return {name: version for name, version in self.active.items() if version != serving[name]}

    def close(self) -> None:
        self.closed = True


def picture(brightness: int = 255, *, size: tuple[int, int] = (8, 8), form: str = "PNG", mode: str = "L") -> bytes:
    stream = io.BytesIO()
    Image.new(mode, size, brightness if mode == "L" else (brightness,) * 3).save(stream, form)
    return stream.getvalue()


def npy(array: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.asarray(array))
    return stream.getvalue()


def npz(**arrays: Any) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    return stream.getvalue()
