"""Heat maps of images, from a predictor's model to the pixels of the pictures as they were given.

Shapes: B images together, Q classes asked for, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt

from ringlight.data.preprocess import InputSpec, fit_of, fit_size, read_image, to_tensor
from ringlight.explain.cam import METHODS, enlarged, scaled
from ringlight.explain.look import Place, find_place, look
from ringlight.inference.predictor import Image, Predictor

if TYPE_CHECKING:
    from torch import Tensor

Heat = npt.NDArray[np.float32]
DEFAULT_METHOD = "grad_cam"
"""On 60 magnetic tiles and 60 NEU pictures no method pointed better at the defect, and Eigen-CAM and Grad-CAM++ covered
less of it on NEU; with a random head its maps change the most, as they must. `python benchmarks/explain.py --images 60
--slow 10 --sanity 10`; the figures stand in docs/how-to/explain.md."""


class HeatMaps:
    """The maps of an image model, by one method; see :class:`ringlight.inference.explaining.Explainer`.

    Raises:
        Problems: an unknown method, or parameters that it does not take.
        DataError: PyTorch does not run the model.
    """

    def __init__(self, predictor: Predictor, spec: InputSpec, *, method: str | None, params: Mapping[str, Any]) -> None:
        self.method = method or DEFAULT_METHOD
        self._cam = METHODS.build(self.method, **params)
        self._module = predictor.module
        self._spec = spec
        self._place: Place | None = None

    def prepared(self, item: Image) -> tuple[Heat, tuple[int, int]]:
        """Return a picture as the model takes it (C, H, W), and its own height and width.

        Raises:
            DataError: it cannot be read.
        """
        pixels = read_image(item, in_chans=self._spec.in_chans)
        inputs = to_tensor(fit_size(pixels, self._spec), self._spec)
        return np.asarray(inputs.numpy()), (pixels.shape[0], pixels.shape[1])

    def maps(
        self, inputs: npt.NDArray[np.float32], targets_bq: Tensor, sizes: Sequence[tuple[int, int]]
    ) -> list[list[Heat]]:
        """Return the map of each class asked for of each image, (H, W) from 0 to 1, in pixels of the picture.

        Raises:
            ModelError: a model without a feature map, or with one of a single place.
        """
        import torch

        device = next(self._module.parameters()).device
        images = torch.from_numpy(inputs).to(device)
        self._place = self._place or find_place(self._module, images[:1])
        raw = self._cam(look(self._module, images, self._place), targets_bq.to(device))
        large = enlarged(scaled(raw), (images.shape[2], images.shape[3])).cpu().numpy()
        return [[as_given(one, size, self._spec) for one in maps] for maps, size in zip(large, sizes, strict=True)]


def as_given(heat: Heat, size: tuple[int, int], spec: InputSpec) -> Heat:
    """Return a map over a model's input as one over the picture of `size` (H, W): the way back of `fit_size`.

    What lies in the border of a letter-boxed picture is cut off.
    """
    fit = fit_of(size, spec)
    inner = np.ascontiguousarray(heat[fit.top : fit.top + fit.height, fit.left : fit.left + fit.width])
    if inner.shape != size:
        inner = np.asarray(cv2.resize(inner, (size[1], size[0]), interpolation=cv2.INTER_LINEAR))
    return np.asarray(inner, np.float32)
