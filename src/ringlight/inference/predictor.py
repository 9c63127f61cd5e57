"""Decisions on images from a loaded bundle: the same preparation, numbers and rules as in the run's own test."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ringlight.data.preprocess import InputSpec, prepare
from ringlight.data.window_faults import require_finite
from ringlight.data.window_spec import WindowSpec, check_windows
from ringlight.data.window_store import blocks_of
from ringlight.errors import DataError
from ringlight.evaluation.calibration import Calibration, Calibrator
from ringlight.evaluation.open_set import OpenSetRule
from ringlight.evaluation.thresholds import OperatingPoint, decision_confidence
from ringlight.inference.bundle import DEFAULT_POINT, Bundle, read_bundle
from ringlight.inference.tta import Tta, averaged
from ringlight.runtime import LOGGER, choose_device
from ringlight.types import Dataset, Prediction

if TYPE_CHECKING:
    from torch import Tensor, nn

Image = Path | str | npt.NDArray[Any]
"""A picture to predict: a path, or an array (H, W) or (H, W, C) as `data.preprocess.read_image` takes it."""

EVIDENTIAL = "evidential"
"""The head whose logits are log Dirichlet parameters."""
Scored = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32] | None]
"""Logits (B, K), and what reaches the classifier (B, D) where decisions need it."""

WINDOWS_AT_ONCE = 256
"""Windows that go through a model together unless the caller says otherwise."""


def forward(module: nn.Module, inputs: Tensor, device: str) -> npt.NDArray[np.float32]:
    """Return raw scores (B, K) of prepared images (B, C, H, W) or windows (B, C, T).

    The one way from tensors to scores, for judging and for serving.
    """
    scores: npt.NDArray[np.float32] = module(inputs.to(device)).float().cpu().numpy()
    return scores


def dirichlet_uncertainty(logits_nk: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Return K / S (N,), the uncertainty mass of logits that are log(alpha), S the sum of alpha.

    Sensoy et al. 2018, arXiv:1806.01768, equation 1 and below. Of the logits as the model gave them: calibration moves
    probabilities, not evidence.

    Examples:
        No evidence for two classes, and a hundred pieces for one of them:

        >>> dirichlet_uncertainty(np.log(np.array([[1.0, 1.0], [101.0, 1.0]], np.float32))).round(4).tolist()
        [1.0, 0.0196]
    """
    return np.asarray(logits_nk.shape[1] / np.exp(logits_nk.astype(np.float64)).sum(axis=1))


@dataclass(frozen=True, slots=True)
class Result:
    """Scores and decisions of N images or windows.

    `prediction` holds the raw scores, `probabilities` (N, K) the calibrated ones in double precision. `decisions`
    (N, K) is what the operating point named `operating_point` made of them, `labels` the same as class names.
    `scores` (N,) says how sure each decision is, from 0 to 1; `rejected` (N,) which are not sure enough and need a
    human, None when the model has no such limit. `uncertainties` (N,) of an evidential model are K / S, from near 0 to
    1: no evidence at all; None for every other model. `unknown` (N,) are those of no known class, which need a human as
    well (they are in `rejected`), None when the model has no open-set rule.
    """

    prediction: Prediction
    probabilities: npt.NDArray[np.float64]
    labels: list[list[str]]
    decisions: npt.NDArray[np.bool_]
    scores: npt.NDArray[np.float64]
    operating_point: str = DEFAULT_POINT
    rejected: npt.NDArray[np.bool_] | None = None
    uncertainties: npt.NDArray[np.float64] | None = None
    unknown: npt.NDArray[np.bool_] | None = None

    def rows(self) -> list[dict[str, Any]]:
        """Return one plain row an image: id, labels, a probability per class; `to_human` where the model has a limit.

        An evidential model's rows have `uncertainty`; where the model has an open-set rule, `unknown` says that the
        record is of no known class. A class of such a name keeps its column.
        """
        rows = [
            {"id": key, "labels": ";".join(labels), **dict(zip(self.prediction.classes, map(float, row), strict=True))}
            for key, labels, row in zip(self.prediction.ids, self.labels, self.probabilities, strict=True)
        ]
        if self.rejected is not None:
            for row, rejected in zip(rows, self.rejected.tolist(), strict=True):
                row.setdefault("to_human", rejected)
        if self.uncertainties is not None:
            for row, uncertainty in zip(rows, self.uncertainties.tolist(), strict=True):
                row.setdefault("uncertainty", uncertainty)
        if self.unknown is not None:
            for row, unknown in zip(rows, self.unknown.tolist(), strict=True):
                row.setdefault("unknown", unknown)
        return rows


class Predictor:
    """A loaded model with the rules that were fixed on its validation part.

    Scores are averaged over the bundle's test-time views and calibrated; its operating point decides. Another stored
    point is chosen with `operating_point` ("default": the best class, or 0.5). `threshold` in (0, 1) puts one number
    in place of a multi-label point; a multi-class image has its class from the point, whatever the number.

    Raises:
        DataError: a threshold outside (0, 1) or beside an operating point; a point that the bundle does not have, or
            that was refused when it was to be fixed.
    """

    def __init__(
        self,
        bundle: Bundle,
        module: nn.Module,
        *,
        device: str = "auto",
        threshold: float | None = None,
        operating_point: str | None = None,
    ) -> None:
        self.bundle = bundle
        self.classes = bundle.classes
        self.task = bundle.task
        self.point = _choose_point(bundle, threshold, operating_point)
        self.calibrator = Calibration.from_dict(bundle.calibration).calibrator if bundle.calibration else Calibrator()
        self.tta = Tta.from_dict(bundle.tta, "bundle")
        self.open_set = OpenSetRule.from_dict(bundle.open_set) if bundle.open_set else None
        self.device = choose_device(device).device
        self.module = module.to(self.device).eval()
        self._is_evidential = (bundle.architecture.get("head") or {}).get("name") == EVIDENTIAL

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
        logits, features = _joined(self._batches(items, batch_size or 8, spec))
        ids = [str(item) if isinstance(item, str | Path) else f"array {row}" for row, item in enumerate(items)]
        return self._decided(Prediction(ids, logits, self.classes, self.task), features)

    def _windows(
        self, given: Any, spec: WindowSpec, batch_size: int, channels: Sequence[str] | None, ids: Sequence[str] | None
    ) -> Result:
        import torch

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
        with torch.inference_mode():
            logits, features = _joined(self._window_scores(windows, spec, batch_size))
        return self._decided(Prediction(names, logits, self.classes, self.task), features)

    def predict_records(self, data: Dataset) -> Result:
        """Predict the windows of a data set, block by block, so that memory stays flat.

        Raises:
            DataError: the model takes images, or windows of other channels or another length.
        """
        import torch

        spec = self.bundle.input_spec
        if not isinstance(spec, WindowSpec):
            raise DataError("images", got="windows of a signal", where=data.name, fix="name images for this model")
        spec.require(data.signals, data.name)
        scores: list[Scored] = []
        with torch.inference_mode():
            for _, windows in blocks_of(data):
                require_finite(windows, spec.channels, data.name)
                scores += self._window_scores(windows, spec, WINDOWS_AT_ONCE)
        logits, features = _joined(scores)
        return self._decided(Prediction(data.ids, logits, self.classes, self.task), features)

    def _window_scores(self, windows: npt.NDArray[np.float32], spec: WindowSpec, batch_size: int) -> Iterator[Scored]:
        for start in range(0, len(windows), batch_size):
            inputs = spec.apply(windows[start : start + batch_size])
            if self._embeds:
                yield self._embedded(inputs)
            else:
                yield forward(self.module, inputs, self.device), None

    def _decided(self, prediction: Prediction, features: npt.NDArray[np.float32] | None) -> Result:
        calibrated = replace(prediction, logits=self.calibrator.apply(prediction.logits))
        probabilities = calibrated.probabilities
        decisions = self.point.decide(probabilities)
        scores = decision_confidence(probabilities, self.point)
        limit = self.bundle.reject_threshold
        rejected = None if limit is None else scores < limit
        unknown = None
        if self.open_set is not None:
            unknown = self.open_set.strange(self.open_set.scores(prediction.logits, features))
            rejected = unknown if rejected is None else rejected | unknown
        return Result(
            prediction=prediction,
            probabilities=probabilities,
            labels=[[self.classes[column] for column in np.flatnonzero(row)] for row in decisions],
            decisions=decisions,
            scores=scores,
            operating_point=self.point.name,
            uncertainties=dirichlet_uncertainty(prediction.logits) if self._is_evidential else None,
            rejected=rejected,
            unknown=unknown,
        )

    def _batches(self, items: Sequence[Image], batch_size: int, spec: InputSpec) -> Iterator[Scored]:
        import torch

        waiting: list[Any] = []
        with torch.inference_mode():
            for item in items:
                tensor = prepare(item, spec)
                if waiting and (len(waiting) == batch_size or waiting[0].shape != tensor.shape):
                    yield self._scores(waiting)
                    waiting = []
                waiting.append(tensor)
            yield self._scores(waiting)

    @property
    def _embeds(self) -> bool:
        """Whether decisions need what reaches the classifier."""
        return self.open_set is not None and self.open_set.needs_embeddings

    def _embedded(self, inputs: Tensor) -> Scored:
        """Return logits and features of one pass."""
        from ringlight.models.heads import scores_and_features

        logits, features = scores_and_features(self.module, inputs.to(self.device))
        return logits.float().cpu().numpy(), features.flatten(1).float().cpu().numpy()

    def _scores(self, tensors: list[Any]) -> Scored:
        import torch

        images, features = torch.stack(tensors), None
        if self._embeds:
            logits, features = self._embedded(images)
            if self.tta.runs == 1:
                return logits, features

        def score(inputs: Tensor) -> npt.NDArray[np.float32]:
            return forward(self.module, inputs, self.device)

        return averaged(score, images, self.tta, self.task), features


def _joined(parts: Iterable[Scored]) -> Scored:
    """Put batches of logits and features together."""
    logits, features = zip(*parts, strict=True)
    kept = [part for part in features if part is not None]
    return np.concatenate(logits), np.concatenate(kept) if kept else None


def _choose_point(bundle: Bundle, threshold: float | None, name: str | None) -> OperatingPoint:
    """Return the point that decides: as asked, else the bundle's own."""
    if threshold is not None:
        if not 0 < threshold < 1:
            raise DataError("a number in (0, 1)", got=repr(threshold), where="threshold", fix="use 0.5")
        if name is not None:
            got = f"threshold {threshold:g} beside `{name}`"
            raise DataError("a threshold or an operating point", got=got, where="operating_point", fix="leave one out")
        if bundle.task == "multilabel":
            return replace(OperatingPoint.default(bundle.task, bundle.classes, threshold=threshold), name="threshold")
    point = bundle.point(bundle.operating_point if name is None else name)
    if point.refused and name is not None:
        raise DataError(
            "an operating point that could be fixed",
            got=f"`{name}`, refused: {point.reason}",
            where="operating_point",
            fix=f"use {DEFAULT_POINT}, or train with more validation data",
        )
    if point.refused:
        LOGGER.warning("operating point `%s` was refused, the default decides: %s", point.name, point.reason)
    return point
