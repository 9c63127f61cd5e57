"""Where a loaded model looks: heat maps of images and attributions of windows, in the coordinates of what was given.

Shapes: N images or windows, B of them together, Q classes asked for, H x W pixels, T samples, C channels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ringlight.data.window_spec import WindowSpec, check_windows
from ringlight.errors import ConfigError, DataError, did_you_mean
from ringlight.explain.cam import METHODS
from ringlight.explain.signals import SIGNAL_METHODS
from ringlight.inference.attributions import Attributions
from ringlight.inference.decisions import Result
from ringlight.inference.explanation_files import Explanation as Explanation
from ringlight.inference.explanation_files import write_explanations as write_explanations
from ringlight.inference.heat_maps import HeatMaps
from ringlight.inference.predictor import IMAGES_AT_ONCE, Image, Predictor

Floats = npt.NDArray[np.float32]


class Explainer:
    """Explains a predictor's scores: a map for each class asked for.

    What is explained is the raw score of the class (a logit), of the image as it is: without the views of test-time
    augmentation, and before calibration. A heat map is bilinear between the places of the model's last feature map,
    which are mostly 32 pixels of the model's input apart.

    Args:
        predictor: a loaded model; heat maps need one that PyTorch runs.
        method: of images grad_cam, grad_cam_pp, hires_cam, score_cam or eigen_cam; of windows integrated_gradients or
            occlusion. None takes the default: grad_cam, than which none was measured better
            (`benchmarks/explain.py`); integrated_gradients, or occlusion where the model has no gradients.
        classes: those to explain; None explains what was decided, or the most probable class where nothing was.
        params: of the method, as `{"max_channels": 64}`.

    Raises:
        ConfigError: the method is for windows, and the model takes images, or the other way round.
        Problems: an unknown method, or parameters that it does not take.
        DataError: a class the model does not know; heat maps of a model that PyTorch does not run.
        ModelError: gradients asked of a model that has none.
        MissingExtraError: windows, and captum is not installed.
    """

    def __init__(
        self,
        predictor: Predictor,
        *,
        method: str | None = None,
        classes: Sequence[str] | None = None,
        params: Mapping[str, Any] | None = None,
    ) -> None:
        self.predictor = predictor
        self._columns = None if classes is None else _columns(classes, predictor.classes)
        spec = predictor.bundle.input_spec
        self._maps: Attributions | HeatMaps
        if isinstance(spec, WindowSpec):
            _refuse(method, METHODS, SIGNAL_METHODS, "windows")
            self._maps = Attributions(predictor, spec, method=method, params=params or {})
        else:
            _refuse(method, SIGNAL_METHODS, METHODS, "images")
            self._maps = HeatMaps(predictor, spec, method=method, params=params or {})
        self.method = self._maps.method

    def explain(
        self,
        images: Image | Sequence[Image],
        ids: Sequence[str] | None = None,
        *,
        result: Result | None = None,
        batch_size: int = IMAGES_AT_ONCE,
    ) -> list[Explanation]:
        """Return an explanation of each class asked for of each image, in order.

        Args:
            images: paths or arrays, one or many; or windows (N, T, C) in physical units, for a model of windows.
            ids: what each is called; the path, `array 0` or `window 0` when None.
            result: what the predictor said of them already, which then need not be predicted again.
            batch_size: how many go through the model together.

        Raises:
            DataError: nothing to explain, an image that cannot be read, windows that do not fit, or numbers of ids or
                results that differ from that of the images.
            ModelError: a model without a feature map, or with one of a single place.
        """
        items = _items(images, self.predictor)
        names = _names(items, ids, self.predictor)
        if batch_size < 1:
            raise DataError("a batch of 1 or more", got=str(batch_size), where="explain", fix="use batch_size=8")
        if result is not None and len(result.labels) != len(items):
            raise DataError(
                f"a result of {len(items)}", got=f"one of {len(result.labels)}", where="explain",
                fix="pass the result of the same images",
            )  # fmt: skip
        found: list[Explanation] = []
        for rows, inputs, sizes in self._batches(items, batch_size):
            if result is None:
                said = self.predictor.predict_prepared(inputs, [names[row] for row in rows])
                decisions, probabilities = said.decisions, said.probabilities
            else:
                decisions, probabilities = result.decisions[list(rows)], result.probabilities[list(rows)]
            asked = [self._asked(*one) for one in zip(decisions, probabilities, strict=True)]
            maps = self._maps.maps(inputs, _targets(asked), sizes)
            for place, row in enumerate(rows):
                for column, one in zip(asked[place], maps[place], strict=False):  # what was filled up is left out
                    found.append(self._told(names[row], column, float(probabilities[place, column]), one, items[row]))
        return found

    def _batches(self, items: Sequence[Any], batch_size: int) -> Iterator[tuple[range, Floats, list[tuple[int, int]]]]:
        """Yield rows, prepared inputs of one size (B, ...), and the size of what each was made of."""
        waiting: list[Floats] = []
        sizes: list[tuple[int, int]] = []
        for row, item in enumerate(items):
            inputs, size = self._maps.prepared(item)
            if waiting and (len(waiting) == batch_size or waiting[0].shape != inputs.shape):
                yield range(row - len(waiting), row), np.stack(waiting), sizes
                waiting, sizes = [], []
            waiting.append(inputs)
            sizes.append(size)
        yield range(len(items) - len(waiting), len(items)), np.stack(waiting), sizes

    def _asked(self, decisions_k: npt.NDArray[np.bool_], probabilities_k: npt.NDArray[np.float64]) -> list[int]:
        """Return the columns of the classes to explain: those asked for, those decided, or the most probable."""
        if self._columns is not None:
            return self._columns
        return [int(column) for column in np.flatnonzero(decisions_k)] or [int(probabilities_k.argmax())]

    def _told(self, key: str, column: int, probability: float, made: Floats, item: Any) -> Explanation:
        spec = self.predictor.bundle.input_spec
        channels, rate = (spec.channels, spec.sampling_rate) if isinstance(spec, WindowSpec) else ((), None)
        return Explanation(
            id=key, label=self.predictor.classes[column], probability=probability, map=made, method=self.method,
            item=item, channels=channels, sampling_rate=rate,
        )  # fmt: skip


def _targets(asked: Sequence[list[int]]) -> Any:
    """Return the columns as a tensor (B, Q); of a record that is asked for fewer classes the first is repeated."""
    import torch

    most = max(len(columns) for columns in asked)
    return torch.tensor([columns + columns[:1] * (most - len(columns)) for columns in asked])


def _items(given: Any, predictor: Predictor) -> Sequence[Any]:
    spec = predictor.bundle.input_spec
    if isinstance(spec, WindowSpec):
        if isinstance(given, str | Path) or (isinstance(given, list) and given and isinstance(given[0], str | Path)):
            raise DataError(
                "an array of windows (N, T, C)", got=f"`{given}`", where="explain",
                fix="read it first, as numpy.load(FILE)['X']",
            )  # fmt: skip
        items: Sequence[Any] = list(check_windows(given, spec, channels=None, where="explain"))
    else:
        items = [given] if isinstance(given, str | Path | np.ndarray) else list(given)
    if not len(items):
        raise DataError("at least one image or window", got="none", where="explain", fix="pass one")
    return items


def _names(items: Sequence[Any], ids: Sequence[str] | None, predictor: Predictor) -> list[str]:
    if ids is None:
        kind = "window" if isinstance(predictor.bundle.input_spec, WindowSpec) else "array"
        return [str(one) if isinstance(one, str | Path) else f"{kind} {row}" for row, one in enumerate(items)]
    if len(ids) != len(items):
        raise DataError(f"{len(items)} ids", got=str(len(ids)), where="explain", fix="pass one for each")
    return list(ids)


def _columns(asked: Sequence[str], classes: Sequence[str]) -> list[int]:
    for name in asked:
        if name not in classes:
            raise DataError("a class of the model", got=f"`{name}`", where="classes", fix=did_you_mean(name, classes))
    if not asked:
        raise DataError("at least one class", got="none", where="classes", fix="leave `classes` out for those decided")
    return [list(classes).index(name) for name in dict.fromkeys(asked)]


def _refuse(method: str | None, others: Any, known: Any, takes: str) -> None:
    if method in others and method not in known:
        raise ConfigError(
            f"a method for {takes}, which the model takes", got=f"`{method}`", where="explanation.method",
            fix=did_you_mean(str(method), known),
        )  # fmt: skip
