"""What augmenters of images and of windows share: the section they read, copies per class, where chance comes from."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from ringlight.data.augment_config import (
    Parts,
    augmentation_problems,
    class_factors,
    enabled_augmentations,
    heavy_augmentations,
)
from ringlight.data.augmentations_base import Kind
from ringlight.errors import Problems
from ringlight.types import Dataset


class SectionAugmenter:
    """Reads an augmentation section for records of one kind; what is done to them is its subclasses' business.

    Args:
        config: name -> null, false, true, a probability, or a mapping of parameters; and the two keys
            `per_class_factor` and `heavy`.
        seed: together with epoch and record id it determines what happens to a record.
        class_names: of the data; needed where `per_class_factor` names a class.
        kind: of the records; parts for another kind are refused. What blends whole batches is left to the training.

    Raises:
        Problems: the section has mistakes, or names a class that is not among `class_names`; all of them, a line each.
    """

    def __init__(self, config: Mapping[str, object], *, seed: int, class_names: Sequence[str], kind: Kind) -> None:
        lines = augmentation_problems(config, class_names or None, kind=kind)
        if lines:
            raise Problems(lines)
        self.enabled = enabled_augmentations(config)
        self.heavy = heavy_augmentations(config)
        self.class_factors = class_factors(config)
        self.class_names = tuple(class_names)
        self.seed = seed

    def parts_for(self, *, heavy: bool) -> Parts:
        """Return the parts a record goes through: the heavy pipeline's where it is meant and there is one."""
        return self.heavy if heavy and self.heavy is not None else self.enabled

    def factors(self, dataset: Dataset) -> npt.NDArray[np.int64]:
        """Return how often each record appears in an epoch, (N,): the largest factor of its labels, else 1.

        Raises:
            Problems: `per_class_factor` names a class that the data does not have.
        """
        by_class = self._by_class(dataset, absent=1)
        factors = (dataset.label_matrix().astype(np.int64) * by_class).max(axis=1, initial=1)
        return np.asarray(factors, np.int64)

    def heavy_rows(self, dataset: Dataset) -> npt.NDArray[np.bool_]:
        """Return which records (N,) go through the heavy pipeline: those of a class that `per_class_factor` lists.

        Raises:
            Problems: see :meth:`factors`.
        """
        listed = self._by_class(dataset, absent=0) > 0
        return np.asarray((dataset.label_matrix().astype(bool) & listed).any(axis=1))

    def _by_class(self, dataset: Dataset, *, absent: int) -> npt.NDArray[np.int64]:
        lines = augmentation_problems({"per_class_factor": self.class_factors}, dataset.classes)
        if lines:
            raise Problems(lines)
        return np.array([self.class_factors.get(name, absent) for name in dataset.classes], np.int64)


def entropy(seed: int, epoch: int, record_id: str, part: str) -> int:
    """Return the number that starts the chance of one part on one record in one epoch.

    Examples:
        >>> entropy(0, 1, "a", "jitter") == entropy(0, 1, "a", "jitter") != entropy(0, 1, "a", "scaling")
        True
    """
    key = repr((seed, epoch, record_id, part)).encode("utf-8", "surrogateescape")
    return int.from_bytes(hashlib.blake2b(key, digest_size=16).digest(), "big")
