"""Random convolutional kernels with a ridge classifier: MiniRocket and MultiRocket, by sktime (the extra `signals`).

MiniRocket (Dempster et al. 2021, arXiv:2012.08791) convolves a window with 84 fixed kernels at several dilations and
takes of each the proportion of positive values, PPV = mean(x * k > bias); MultiRocket (Tan et al. 2022,
arXiv:2102.00457) takes three numbers more, and all of them of the window's differences, too. Biases are quantiles of
convolved training windows: a model is prepared with these before it describes any. Channels are standardised first
with the training windows' mean and deviation, as kernels add them up.

What was fitted are plain arrays, which lie in the state dict; sktime only computes with them. It needs numba, which
compiles once a machine (about half a minute) and keeps the result.

Shapes: B windows, C channels, T samples, D features.
"""

from __future__ import annotations

import hashlib
import json
import threading
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ringlight.errors import ModelError
from ringlight.models.estimator import ClassWeight, EstimatorModel, check_least
from ringlight.models.ridge import fit_ridge_classifier
from ringlight.models.window_features import SHORTEST
from ringlight.optional import require
from ringlight.types import Task

ALPHAS = tuple(float(alpha) for alpha in np.logspace(-3, 3, 10))
"""Ridge penalties, of which leave-one-out errors choose one; those of the papers."""
SHORTEST_INSIDE = 10
"""Samples the transforms need; shorter windows are continued with their channels' means (0 once standardised)."""
KERNELS = 84


class KernelSet(NamedTuple):
    """What sktime's fit returns, in its order.

    `channels_of` (dilations x 84,) is how many channels each kernel adds up, `channels` their indices one kernel after
    the other, `dilations` samples between two taps, `features_of` biases of a kernel at each dilation (all int32);
    `biases` (D,) are float32.
    """

    channels_of: npt.NDArray[np.int32]
    channels: npt.NDArray[np.int32]
    dilations: npt.NDArray[np.int32]
    features_of: npt.NDArray[np.int32]
    biases: npt.NDArray[np.float32]


_ONE_AT_A_TIME = threading.Lock()  # numba's own threads do not bear two callers, and sktime draws from numpy's one RNG


class Rocket(EstimatorModel):
    """What the two have in common; `num_sets` sets of arrays are fitted."""

    needs_windows: ClassVar[bool] = True
    is_scaled: ClassVar[bool] = True
    num_sets: ClassVar[int] = 1
    length: Tensor
    mean: Tensor
    std: Tensor

    def __init__(
        self, num_classes: int, in_chans: int, *, task: Task, seed: int, class_weight: ClassWeight, num_kernels: int,
        max_dilations: int,
    ) -> None:  # fmt: skip
        super().__init__(num_classes, in_chans, task=task, seed=seed, class_weight=class_weight)
        check_least("num_kernels", num_kernels, KERNELS)
        check_least("max_dilations", max_dilations, 1)
        for package in ("numba", "sktime.transformations.rocket"):  # told before any data is read
            require(package, extra="signals")
        self.num_kernels = num_kernels
        self.max_dilations = max_dilations
        self.register_buffer("length", torch.zeros(1, dtype=torch.int64))
        self.register_buffer("mean", torch.zeros(in_chans))
        self.register_buffer("std", torch.ones(in_chans))
        for name in self._names():
            kind = torch.float32 if name.startswith("biases") else torch.int32
            self.register_buffer(name, torch.empty(0, dtype=kind))

    def _names(self) -> list[str]:
        return [f"{name}_{place}" for place in range(self.num_sets) for name in KernelSet._fields]

    @property
    def description(self) -> str:
        """What the features depend on beside the windows: the kernels as they were fitted."""
        digest = hashlib.sha256()
        for name in ("length", "mean", "std", *self._names()):
            digest.update(getattr(self, name).cpu().numpy().tobytes())
        return json.dumps([type(self).__name__, digest.hexdigest()])

    def prepare(self, windows_bct: Tensor) -> None:
        """Fit channels' means and deviations, dilations and biases to training windows, all of them or a sample.

        Raises:
            ModelError: another number of channels, too few samples, or no window.
        """
        self._check_windows(windows_bct)
        windows = windows_bct.detach().to("cpu", torch.float32)
        if windows.shape[2] < SHORTEST or not len(windows):
            raise ModelError(
                f"windows of {SHORTEST} samples or more", got=f"shape {tuple(windows.shape)}",
                where=f"input of {type(self).__name__}", fix="cut longer windows",
            )  # fmt: skip
        deviation, mean = torch.std_mean(windows.double(), dim=(0, 2), correction=0)
        self.mean = mean.float()
        self.std = torch.where(deviation > 0, deviation, torch.ones_like(deviation)).float()
        self.length = torch.tensor([windows.shape[2]])
        with _ONE_AT_A_TIME:
            state = np.random.get_state()  # the generator that sktime seeds
            try:
                sets = self._fit_kernels(self._standard(windows))
            finally:
                np.random.set_state(state)
        for place, arrays in enumerate(sets):
            for name, array in arrays._asdict().items():
                setattr(self, f"{name}_{place}", torch.from_numpy(np.array(array)))

    @property
    def kernel_sets(self) -> list[KernelSet]:
        """The fitted kernels: of the windows, and for MultiRocket of their differences."""
        return [
            KernelSet(*(getattr(self, f"{name}_{place}").cpu().numpy() for name in KernelSet._fields))
            for place in range(self.num_sets)
        ]

    def describe(self, windows_bct: Tensor) -> Tensor:
        """Return the kernels' features, float32 (B, D).

        Raises:
            ModelError: another number of channels or samples than it was fitted to, or it was not fitted.
        """
        self._check_windows(windows_bct)
        length = int(self.length)
        if length == 0 or windows_bct.shape[2] != length:
            raise ModelError(
                f"windows of {length} samples, as it was fitted to" if length else "a model that is prepared",
                got=f"{windows_bct.shape[2]} samples" if length else "one that was not", fix="train it on such windows",
                where=f"input of {type(self).__name__}",
            )  # fmt: skip
        standard = self._standard(windows_bct.detach().to("cpu", torch.float32))
        with _ONE_AT_A_TIME:
            found = self._transform(standard, self.kernel_sets)
        return torch.from_numpy(np.array(found, np.float32))

    def _standard(self, windows: Tensor) -> npt.NDArray[np.float32]:
        scaled = (windows - self.mean.cpu()[:, None]) / self.std.cpu()[:, None]
        missing = max(0, SHORTEST_INSIDE - scaled.shape[2])
        return np.ascontiguousarray(torch.nn.functional.pad(scaled, (0, missing)).numpy())

    def _fit_kernels(self, windows: npt.NDArray[np.float32]) -> list[KernelSet]:
        raise NotImplementedError(f"{type(self).__name__} fits no kernels")

    def _transform(self, windows: npt.NDArray[np.float32], sets: list[KernelSet]) -> npt.NDArray[Any]:
        raise NotImplementedError(f"{type(self).__name__} transforms nothing")

    def _num_threads(self) -> int:
        numba = require("numba", extra="signals")
        return int(min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS))

    def fit_estimator(
        self, matrix: npt.NDArray[Any], labels: npt.NDArray[np.int64], weights: npt.NDArray[np.float64] | None
    ) -> Any:
        """Return a ridge classifier whose penalty is the best of `ALPHAS`; its decision values are the logits."""
        return fit_ridge_classifier(matrix, labels, ALPHAS, weights)


# The transforms' `_fit` and `_transform` are the inner half of sktime's interface, which takes and keeps plain arrays;
# the outer half wraps them into pandas and asks for a state that only its own pickles restore.


class MiniRocket(Rocket):
    """MiniRocket (Dempster et al. 2021) and ridge: `num_kernels` proportions of positive values, by sktime."""

    def __init__(
        self, num_classes: int, in_chans: int, *, task: Task = "multiclass", seed: int = 0,
        num_kernels: int = 9996, max_dilations: int = 32, class_weight: ClassWeight = None,
    ) -> None:  # fmt: skip
        super().__init__(
            num_classes, in_chans, task=task, seed=seed, class_weight=class_weight, num_kernels=num_kernels,
            max_dilations=max_dilations,
        )  # fmt: skip

    def _transformer(self) -> Any:
        rocket = require("sktime.transformations.rocket", extra="signals")
        return rocket.MiniRocketMultivariate(
            num_kernels=self.num_kernels, max_dilations_per_kernel=self.max_dilations, random_state=self.seed,
            n_jobs=self._num_threads(),
        )  # fmt: skip

    def _fit_kernels(self, windows: npt.NDArray[np.float32]) -> list[KernelSet]:
        return [KernelSet(*self._transformer()._fit(windows).parameters)]

    def _transform(self, windows: npt.NDArray[np.float32], sets: list[KernelSet]) -> npt.NDArray[Any]:
        transformer = self._transformer()
        (transformer.parameters,) = map(tuple, sets)
        found: npt.NDArray[Any] = transformer._transform(windows).to_numpy()
        return found


class MultiRocket(Rocket):
    """MultiRocket (Tan et al. 2022) and ridge: four numbers a kernel, of windows and their differences, by sktime.

    Of the differences sktime 1.2 takes the first kernel's channels for every kernel, a fault
    (docs/adr/0008-rocket-comes-from-sktime.md): of several channels prefer `minirocket`.
    """

    num_sets: ClassVar[int] = 2

    def __init__(
        self, num_classes: int, in_chans: int, *, task: Task = "multiclass", seed: int = 0,
        num_kernels: int = 6216, max_dilations: int = 32, class_weight: ClassWeight = None,
    ) -> None:  # fmt: skip
        super().__init__(
            num_classes, in_chans, task=task, seed=seed, class_weight=class_weight, num_kernels=num_kernels,
            max_dilations=max_dilations,
        )  # fmt: skip

    def _transformer(self) -> Any:
        rocket = require("sktime.transformations.rocket", extra="signals")
        return rocket.MultiRocketMultivariate(
            num_kernels=self.num_kernels, max_dilations_per_kernel=self.max_dilations, random_state=self.seed,
            n_jobs=self._num_threads(),
        )  # fmt: skip

    def _fit_kernels(self, windows: npt.NDArray[np.float32]) -> list[KernelSet]:
        fitted = self._transformer()._fit(windows)
        return [KernelSet(*fitted.parameter), KernelSet(*fitted.parameter1)]

    def _transform(self, windows: npt.NDArray[np.float32], sets: list[KernelSet]) -> npt.NDArray[Any]:
        transformer = self._transformer()
        transformer.parameter, transformer.parameter1 = map(tuple, sets)
        found: npt.NDArray[Any] = transformer._transform(windows.astype(np.float64)).to_numpy()
        return found
