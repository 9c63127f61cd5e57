"""What is exported: the model with what is asked for before and after it, as one graph.

    prepared images (B, C, H, W) or windows (B, C, T), float32         input `input`
    pixels uint8 (B, H, W, C), already of the model's size             input `pixels`    (with `preprocess`)
    windows (B, T, C) float32 in physical units                        input `windows`   (with `preprocess`)

        -> `logits` (B, K), always; `features` (B, D), what reaches the classifier, where the open-set rule needs it;
           `probabilities` (B, K), calibrated, with `calibrated`

**Resizing stays outside.** OpenCV's area average, which training shrinks pictures with, is no operator of ONNX: the
nearest (`Resize` with antialiasing) gave other pixels, and a model is only as good as the pixels it was trained on.
Normalisation is inside on request: (pixel - 255 mean) / (255 std) in single precision, within 1e-6 of the table that
training looks values up in (a test goes through all 256).

Shapes: B batch, C channels, H x W pixels, T time steps, K classes, D features.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ringlight.data.preprocess import InputSpec
from ringlight.data.specs import Spec
from ringlight.data.window_spec import STILL, WindowSpec
from ringlight.evaluation.calibration import Calibration, Calibrator
from ringlight.inference.bundle import Bundle
from ringlight.inference.export_files import FEATURES, LOGITS, PREPARED_INPUT, PROBABILITIES, RAW_INPUTS
from ringlight.models.heads import classifier_of


class PixelPreparation(nn.Module):
    """Normalise pixels: uint8 (B, H, W, C) -> float32 (B, C, H, W)."""

    mean: Tensor
    std: Tensor

    def __init__(self, spec: InputSpec) -> None:
        super().__init__()
        shape = (1, spec.in_chans, 1, 1)
        self.register_buffer("mean", torch.tensor([255 * mean for mean in spec.mean]).reshape(shape))
        self.register_buffer("std", torch.tensor([255 * std for std in spec.std]).reshape(shape))

    def forward(self, pixels_bhwc: Tensor) -> Tensor:
        """Return the model's input."""
        return (pixels_bhwc.permute(0, 3, 1, 2).to(torch.float32) - self.mean) / self.std


class WindowPreparation(nn.Module):
    """Normalise windows as their specification says: float32 (B, T, C) in physical units -> float32 (B, C, T)."""

    mean: Tensor
    std: Tensor

    def __init__(self, spec: WindowSpec) -> None:
        super().__init__()
        self.way = spec.normalize
        self.register_buffer("mean", torch.tensor(spec.mean, dtype=torch.float32))
        self.register_buffer("std", torch.tensor(spec.std, dtype=torch.float32))

    def forward(self, windows_btc: Tensor) -> Tensor:
        """Return the model's input."""
        if self.way == "channel":
            windows_btc = (windows_btc - self.mean) / self.std
        elif self.way == "window":
            windows_btc = _by_themselves(windows_btc)
        return windows_btc.transpose(1, 2).contiguous()


def _by_themselves(windows_btc: Tensor) -> Tensor:
    """Do what `WindowSpec` does with every window alone: sums in double precision, a channel that stands still is 0."""
    mean = windows_btc.double().mean(dim=1, keepdim=True)
    centred = windows_btc - mean.float()
    std = centred.double().square().mean(dim=1, keepdim=True).sqrt()
    moving = std > STILL * mean.abs()
    return torch.where(moving, centred / torch.where(moving, std, 1.0).float(), 0.0)


class ExportGraph(nn.Module):
    """A model with what is exported around it; the module that is passed stays as it is.

    Args:
        bundle: of the model: its input, classes and calibration.
        module: on the CPU.
        preprocess: take pixels or windows as they are.
        calibrated: give calibrated probabilities as well.
        embeds: give what reaches the classifier as well.
        half: compute in half precision; what goes in and comes out stays in single precision.

    Raises:
        ModelError: `embeds` of a model whose classifier is not one of Ringlight's.
    """

    def __init__(
        self, bundle: Bundle, module: nn.Module, *, preprocess: bool = False, calibrated: bool = False,
        embeds: bool = False, half: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        own = copy.deepcopy(module).cpu().eval().requires_grad_(False)
        self.module = own.half() if half else own
        self.half_precision = half
        self.spec = bundle.input_spec
        self.task = bundle.task
        self.preprocess = preprocess
        self.preparation: nn.Module = nn.Identity()
        if preprocess:
            self.preparation = (
                PixelPreparation(self.spec) if isinstance(self.spec, InputSpec) else WindowPreparation(self.spec)
            )
        calibrator = Calibration.from_dict(bundle.calibration).calibrator if bundle.calibration else Calibrator()
        self.calibrated = calibrated
        self.register_buffer("scale", torch.tensor(calibrator.scale, dtype=torch.float32))
        self.register_buffer("offset", torch.tensor(calibrator.offset or (0.0,), dtype=torch.float32))
        self.embeds = embeds
        self._heard: list[Tensor] = []
        if embeds:
            classifier_of(self.module).register_forward_pre_hook(lambda _layer, given: self._heard.append(given[0]))

    @property
    def input_name(self) -> str:
        """What the input is called."""
        if not self.preprocess:
            return PREPARED_INPUT
        return RAW_INPUTS["images" if isinstance(self.spec, InputSpec) else "windows"]

    @property
    def output_names(self) -> list[str]:
        """What the outputs are called, in order."""
        return [LOGITS, *[FEATURES] * self.embeds, *[PROBABILITIES] * self.calibrated]

    def forward(self, given: Tensor) -> tuple[Tensor, ...]:
        """Return logits, and features and probabilities where they were asked for."""
        inputs = self.preparation(given)
        logits = self.module(inputs.half() if self.half_precision else inputs).float()
        outputs = [logits]
        if self.embeds:
            outputs.append(self._heard.pop().flatten(1).float())
        if self.calibrated:
            moved = logits * self.get_buffer("scale") + self.get_buffer("offset")
            outputs.append(moved.sigmoid() if self.task == "multilabel" else moved.softmax(dim=1))
        return tuple(outputs)

    def example(self, prepared: npt.NDArray[np.float32]) -> Tensor:
        """Return what the graph takes in the place of prepared inputs: two records, since one would fix the batch."""
        two = np.concatenate([prepared, prepared])[:2]
        return torch.from_numpy(np.array(raw_of(two, self.spec) if self.preprocess else two))


def raw_of(prepared: npt.NDArray[np.float32], spec: Spec) -> npt.NDArray[Any]:
    """Undo the preparation: prepared images (B, C, H, W) to pixels uint8 (B, H, W, C), windows (B, C, T) to (B, T, C).

    Exact for pixels, each of which came out of a table of 256 different values. Windows that were normalised by
    channel come back within a unit in the last place. Windows normalised by themselves stay as they are: doing it
    again changes no more than single precision had lost of a large offset.

    Examples:
        >>> spec = InputSpec(1, 2, mean=(0.4,), std=(0.2,))
        >>> from ringlight.data.preprocess import prepare
        >>> pixels = np.array([[[0], [7]], [[128], [255]]], np.uint8)
        >>> bool((raw_of(prepare(pixels, spec).numpy()[None], spec)[0] == pixels).all())
        True
    """
    if isinstance(spec, InputSpec):
        std, mean = (np.array(values, np.float32).reshape(1, -1, 1, 1) for values in (spec.std, spec.mean))
        pixels = np.rint((prepared * std + mean) * 255)
        return np.ascontiguousarray(np.clip(pixels, 0, 255).astype(np.uint8).transpose(0, 2, 3, 1))
    windows = prepared.transpose(0, 2, 1)
    if spec.normalize == "channel":
        windows = windows.astype(np.float64) * np.array(spec.std) + np.array(spec.mean)
    return np.ascontiguousarray(windows, np.float32)
