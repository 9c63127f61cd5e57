"""Decisions on images from a loaded bundle: the same preparation, numbers and rules as in the run's own test."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ringlight.data.preprocess import InputSpec, prepare
from ringlight.data.window_faults import require_finite
from ringlight.data.window_spec import WindowSpec, check_windows
from ringlight.data.window_store import blocks_of
from ringlight.errors import DataError
from ringlight.inference.bundle import Bundle, read_bundle
from ringlight.inference.decisions import Decider, Result
from ringlight.inference.engines import Engine, Scored, TorchEngine
from ringlight.inference.tta import Tta, averaged
from ringlight.runtime import choose_device
from ringlight.types import Dataset

if TYPE_CHECKING:
    from torch import Tensor, nn

Image = Path | str | npt.NDArray[Any]
"""A picture to predict: a path, or an array (H, W) or (H, W, C) as `data.preprocess.read_image` takes it."""

IMAGES_AT_ONCE, WINDOWS_AT_ONCE = 8, 256
"""How many go through a model together unless the caller says otherwise."""


class Predictor:
    """A loaded model with the rules that were fixed on its validation part.

    Scores are averaged over the bundle's test-time views and calibrated; its operating point decides
    (:class:`ringlight.inference.decisions.Decider`, which `threshold` and `operating_point` are given to). `engine`
    runs the model in place of PyTorch, which needs `module`.

    Raises:
        DataError: a threshold outside (0, 1) or beside an operating point; a point that the bundle does not have, or
            that was refused when it was to be fixed; neither a module nor an engine.
    """

    def __init__(
        self,
        bundle: Bundle,
        module: nn.Module | None = None,
        *,
        engine: Engine | None = None,
        device: str = "auto",
        threshold: float | None = None,
        operating_point: str | None = None,
    ) -> None:
        self.bundle = bundle
        self.classes = bundle.classes
        self.task = bundle.task
        self.decider = Decider(bundle, threshold=threshold, operating_point=operating_point)
        self.tta = Tta.from_dict(bundle.tta, "bundle")
        if engine is None:
            if module is None:
                raise DataError("a module or an engine", got="neither", where="Predictor", fix="pass one of them")
            engine = TorchEngine(module, choose_device(device).device, embeds=self.decider.needs_features)
        self.engine = engine

    @classmethod
    def from_path(
        cls,
        path: Path | str,
        *,
        device: str = "auto",
        threshold: float | None = None,
        operating_point: str | None = None,
        module: nn.Module | None = None,
    ) -> Predictor:
        """Load a bundle folder or a finished run folder.

        `module` is the model itself, built as for its training, where it is one of your own and in no catalogue.

        Raises:
            BundleError: it is missing, damaged or of an unknown version; a model of your own that was not passed.
            DataError: the threshold or the operating point cannot be used.
        """
        bundle, network = read_bundle(Path(path), module=module)
        return cls(bundle, network, device=device, threshold=threshold, operating_point=operating_point)

    def predict(
        self,
        images: Image | Sequence[Image],
        *,
        batch_size: int | None = None,
        channels: Sequence[str] | None = None,
        ids: Sequence[str] | None = None,
    ) -> Result:
        """Predict images given as paths or arrays, one or many; or windows, for a model of windows.

        Images of one size go through the model together; where sizes differ, each batch holds one size.

        Args:
            images: pictures; or windows (N, T, C) in physical units, as the training data were.
            batch_size: how many go through the model together; 8 images or 256 windows when None.
            channels: windows: the names of their channels, where they are known; another order is refused.
            ids: windows: what each is called in the result; `window 0`, `window 1` and so on when None.

        Raises:
            DataError: an image cannot be read, the list is empty, or the batch is; windows of another shape, with other
                channels or with values that are not finite.
        """
        if batch_size is not None and batch_size < 1:
            raise DataError("a batch of 1 or more", got=str(batch_size), where="predict", fix="use batch_size=8")
        spec = self.bundle.input_spec
        if isinstance(spec, WindowSpec):
            return self._windows(images, spec, batch_size or WINDOWS_AT_ONCE, channels, ids)
        if channels is not None:
            raise DataError("images", got="names of channels", where="predict", fix="leave `channels` out")
        items = [images] if isinstance(images, str | Path | np.ndarray) else list(images)
        if not items:
            raise DataError("at least one image", got="none", where="predict", fix="pass a path or an array")
        logits, features = _joined(self._batches(items, batch_size or IMAGES_AT_ONCE, spec))
        ids = [str(item) if isinstance(item, str | Path) else f"array {row}" for row, item in enumerate(items)]
        return self.decider.decide(ids, logits, features)

    @property
    def module(self) -> nn.Module:
        """The PyTorch model, on its device, in evaluation mode.

        Raises:
            DataError: another engine runs the model.
        """
        if not isinstance(self.engine, TorchEngine):
            raise DataError(
                "a model that PyTorch runs", got=f"one that {self.engine.name} runs", where="Predictor.module",
                fix="load the bundle it was exported from",
            )  # fmt: skip
        return self.engine.module

    def prepared(self, item: Image | npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return one picture as the model takes it (C, H, W), or one window (T, C) as (C, T).

        Raises:
            DataError: the image cannot be read; a window of another shape or with values that are not finite.
        """
        spec = self.bundle.input_spec
        if isinstance(spec, WindowSpec):
            windows = check_windows(np.asarray(item)[None], spec, channels=None, where="predict")
            return np.asarray(spec.apply(windows)[0].numpy())
        return np.asarray(prepare(item, spec).numpy())

    def predict_prepared(self, inputs: npt.NDArray[np.float32], ids: Sequence[str]) -> Result:
        """Predict what :meth:`prepared` made, stacked: (B, C, H, W) or (B, C, T), one id each."""
        import torch

        if isinstance(self.bundle.input_spec, WindowSpec):
            return self.decider.decide(ids, *self.engine.run(inputs))
        return self.decider.decide(ids, *self._scores(torch.from_numpy(inputs)))

    def _windows(
        self, given: Any, spec: WindowSpec, batch_size: int, channels: Sequence[str] | None, ids: Sequence[str] | None
    ) -> Result:
        if isinstance(given, str | Path) or (isinstance(given, list) and given and isinstance(given[0], str | Path)):
            raise DataError(
                "an array of windows", got=f"`{given}`", where="predict",
                fix="read it first, as numpy.load(FILE)['X']; ringlight predict MODEL FILE takes the file",
            )  # fmt: skip
        windows = check_windows(given, spec, channels=channels, where="predict")
        if not len(windows):
            raise DataError("at least one window", got="none", where="predict", fix="pass an array (N, T, C)")
        names = [f"window {row}" for row in range(len(windows))] if ids is None else list(ids)
        if len(names) != len(windows):
            raise DataError(f"{len(windows)} ids", got=str(len(names)), where="predict", fix="pass one per window")
        return self.decider.decide(names, *_joined(self._window_scores(windows, spec, batch_size)))

    def predict_records(self, data: Dataset) -> Result:
        """Predict the windows of a data set, block by block, so that memory stays flat.

        Raises:
            DataError: the model takes images, or windows of other channels or another length.
        """
        spec = self.bundle.input_spec
        if not isinstance(spec, WindowSpec):
            raise DataError("images", got="windows of a signal", where=data.name, fix="name images for this model")
        spec.require(data.signals, data.name)
        scores: list[Scored] = []
        for _, windows in blocks_of(data):
            require_finite(windows, spec.channels, data.name)
            scores += self._window_scores(windows, spec, WINDOWS_AT_ONCE)
        return self.decider.decide(data.ids, *_joined(scores))

    def _window_scores(self, windows: npt.NDArray[np.float32], spec: WindowSpec, batch_size: int) -> Iterator[Scored]:
        for start in range(0, len(windows), batch_size):
            yield self.engine.run(spec.apply(windows[start : start + batch_size]).numpy())

    def _batches(self, items: Sequence[Image], batch_size: int, spec: InputSpec) -> Iterator[Scored]:
        import torch

        waiting: list[Any] = []
        for item in items:
            tensor = prepare(item, spec)
            if waiting and (len(waiting) == batch_size or waiting[0].shape != tensor.shape):
                yield self._scores(torch.stack(waiting))
                waiting = []
            waiting.append(tensor)
        yield self._scores(torch.stack(waiting))

    def _scores(self, images: Tensor) -> Scored:
        """Return the logits averaged over the views of a batch, and the features of the images as they are."""
        features: list[npt.NDArray[np.float32] | None] = []

        def score(view: Tensor) -> npt.NDArray[np.float32]:
            logits, seen = self.engine.run(view.numpy())
            features.append(seen)
            return logits

        return averaged(score, images, self.tta, self.task), features[0]


def _joined(parts: Iterable[Scored]) -> Scored:
    """Put batches of logits and features together."""
    logits, features = zip(*parts, strict=True)
    kept = [part for part in features if part is not None]
    return np.concatenate(logits), np.concatenate(kept) if kept else None
