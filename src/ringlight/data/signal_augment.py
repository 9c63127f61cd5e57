"""Augmentation of windows of a signal: the parts of the catalogue that take windows, one after the other.

What happens to a window is a function of the seed, the epoch, the record's id and the part's name, and of nothing else:
a part does the same whichever others are on. Windows come normalised, so that strengths are in deviations of a channel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np

from ringlight.data.augment_base import SectionAugmenter, entropy
from ringlight.data.augment_config import Parts
from ringlight.data.augmentations import AUGMENTATIONS
from ringlight.data.augmentations_base import SignalAugmentation, Window
from ringlight.errors import DataError


class SignalAugmenter(SectionAugmenter):
    """Applies an augmentation section to windows.

    Args:
        config: as for :class:`~ringlight.data.augment.Augmenter`, with parts that take windows. `mixup` is the
            training's.
        seed: together with epoch and record id it determines what happens to a window.
        class_names: of the data; needed where `per_class_factor` names a class.

    Raises:
        Problems: the section has mistakes, or a part that takes images; all of them, a line each.

    Examples:
        >>> augmenter = SignalAugmenter({"jitter": {"deviation": 0.1, "probability": 1.0}}, seed=0)
        >>> quiet = np.zeros((4, 2), np.float32)
        >>> noisy = augmenter(quiet, epoch=0, record_id="a")
        >>> noisy.shape, bool((noisy == augmenter(quiet, epoch=0, record_id="a")).all()), bool(noisy.any())
        ((4, 2), True, True)
    """

    def __init__(self, config: Mapping[str, object], *, seed: int, class_names: Sequence[str] = ()) -> None:
        super().__init__(config, seed=seed, class_names=class_names, kind="windows")
        self._plain = _built(self.enabled)
        self._heavy = None if self.heavy is None else _built(self.heavy)

    def __call__(self, window: Window, *, epoch: int, record_id: str, heavy: bool = False) -> Window:
        """Return a window (T, C) augmented, of the same shape; `window` is left alone.

        With `heavy` the heavy pipeline is applied instead of the plain one, if the section has one.

        Raises:
            DataError: it is not a float32 (T, C).
        """
        if window.ndim != 2 or window.dtype != np.float32:
            got = f"{window.dtype} {window.shape}"
            raise DataError("float32 (T, C)", got=got, where=record_id, fix="pass one normalised window")
        parts = self._heavy if heavy and self._heavy is not None else self._plain
        for name, part in parts.items():
            rng = np.random.default_rng(entropy(self.seed, epoch, record_id, name))
            if rng.random() < part.probability:
                window = part.apply(window, rng)
        return window


def _built(parts: Parts) -> dict[str, SignalAugmentation]:
    return {name: cast(SignalAugmentation, AUGMENTATIONS.build(name, **given)) for name, given in parts.items()}
