"""Scores and labels of images from a loaded bundle: the same preparation and the same numbers as the run's own test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ringlight.data.preprocess import prepare
from ringlight.errors import DataError
from ringlight.inference.bundle import Bundle, read_bundle
from ringlight.runtime import choose_device
from ringlight.types import Prediction

if TYPE_CHECKING:
    from torch import Tensor, nn

Image = Path | str | npt.NDArray[Any]
"""What can be predicted: a path, or an array (H, W) or (H, W, C) as `data.preprocess.read_image` takes it."""


def forward(module: nn.Module, images_BCHW: Tensor, device: str) -> npt.NDArray[np.float32]:  # noqa: N803
    """Return raw scores (B, K) of prepared images; the one way from tensors to scores, for judging and for serving."""
    scores: npt.NDArray[np.float32] = module(images_BCHW.to(device)).float().cpu().numpy()
    return scores


@dataclass(frozen=True, slots=True)
class Result:
    """Scores of N images: `probabilities` (N, K) in double precision, `labels` the class names each image is given."""

    prediction: Prediction
    probabilities: npt.NDArray[np.float64]
    labels: list[list[str]]

    def rows(self) -> list[dict[str, Any]]:
        """Return one plain row an image: id, labels, and a score per class."""
        classes = self.prediction.classes
        return [
            {"id": key, "labels": ";".join(labels), **dict(zip(classes, map(float, scores), strict=True))}
            for key, labels, scores in zip(self.prediction.ids, self.labels, self.probabilities, strict=True)
        ]


class Predictor:
    """A loaded model.

    `threshold` in (0, 1) turns multi-label probabilities into labels; a multi-class image gets its best class.
    """

    def __init__(self, bundle: Bundle, module: nn.Module, *, device: str = "auto", threshold: float = 0.5) -> None:
        if not 0 < threshold < 1:
            raise DataError("a number in (0, 1)", got=repr(threshold), where="threshold", fix="use 0.5")
        self.bundle = bundle
        self.classes = bundle.classes
        self.task = bundle.task
        self.threshold = threshold
        self.device = choose_device(device).device
        self.module = module.to(self.device).eval()

    @classmethod
    def from_path(cls, path: Path | str, *, device: str = "auto", threshold: float = 0.5) -> Predictor:
        """Load a bundle folder or a finished run folder.

        Raises:
            BundleError: it is missing, damaged or of an unknown version.
        """
        bundle, module = read_bundle(Path(path))
        return cls(bundle, module, device=device, threshold=threshold)

    def predict(self, images: Image | Sequence[Image], *, batch_size: int = 8) -> Result:
        """Predict images given as paths or arrays, one or many.

        Images of one size go through the model together; where sizes differ, each batch holds one size.

        Raises:
            DataError: an image cannot be read, the list is empty, or the batch is.
        """
        if batch_size < 1:
            raise DataError("a batch of 1 or more", got=str(batch_size), where="predict", fix="use batch_size=8")
        items = [images] if isinstance(images, str | Path | np.ndarray) else list(images)
        if not items:
            raise DataError("at least one image", got="none", where="predict", fix="pass a path or an array")
        logits = np.concatenate(list(self._batches(items, batch_size)))
        ids = [str(item) if isinstance(item, str | Path) else f"array {row}" for row, item in enumerate(items)]
        prediction = Prediction(ids, logits, self.classes, self.task)
        probabilities = prediction.probabilities
        return Result(prediction, probabilities, self._labels(probabilities))

    def _batches(self, items: Sequence[Image], batch_size: int) -> Any:
        import torch

        waiting: list[Any] = []
        with torch.inference_mode():
            for item in items:
                tensor = prepare(item, self.bundle.input_spec)
                if waiting and (len(waiting) == batch_size or waiting[0].shape != tensor.shape):
                    yield self._scores(waiting)
                    waiting = []
                waiting.append(tensor)
            yield self._scores(waiting)

    def _scores(self, tensors: list[Any]) -> npt.NDArray[np.float32]:
        import torch

        return forward(self.module, torch.stack(tensors), self.device)

    def _labels(self, probabilities: npt.NDArray[np.float64]) -> list[list[str]]:
        if self.task == "multiclass":
            return [[self.classes[column]] for column in probabilities.argmax(1)]
        return [[self.classes[column] for column in np.flatnonzero(row >= self.threshold)] for row in probabilities]
