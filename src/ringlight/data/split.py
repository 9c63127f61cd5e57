"""Splitting: disjoint parts that each hold their share of every class and never divide a group.

How records are assigned is told in :mod:`ringlight.data.stratify`; how a split is saved in
:mod:`ringlight.data.split_file`. Here: arguments checked, strategies by name, and a saved split continued.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ringlight.data.faults import first_of
from ringlight.data.split_continue import continue_split, prescribed_parts
from ringlight.data.split_file import PARTS, SavedSplit, read_split, write_split
from ringlight.data.stratify import BoolArray, IntArray, group_codes, stratify
from ringlight.errors import SplitError, did_you_mean
from ringlight.types import Dataset, Split

__all__ = [
    "PARTS", "PREDEFINED", "STRATEGIES", "SavedSplit", "StratifiedSplitter", "read_split", "split_dataset",
    "write_split",
]  # fmt: skip

STRATEGIES: dict[str, tuple[float, float, float]] = {
    "stratified_70_15_15": (0.70, 0.15, 0.15),
    "stratified_80_10_10": (0.80, 0.10, 0.10),
    "stratified_80_20": (0.80, 0.00, 0.20),
}
"""Shares of train, val and test. `stratified_80_20` has no validation part: nothing is chosen on the test part, so
there is no early stopping and the last weights are the ones judged."""

PREDEFINED = "predefined"
"""The strategy that takes the parts which the source prescribes (the column `split`)."""


class StratifiedSplitter:
    """Splits labels into train, val and test by iterative stratification (Sechidis et al. 2011).

    Examples:
        >>> labels = np.array([[1, 0], [0, 1], [0, 0], [0, 0]] * 25)
        >>> train, val, test = StratifiedSplitter(random_state=42).split(labels, split_ratios=(0.6, 0.2, 0.2))
        >>> [labels[part].sum(axis=0).tolist() for part in (train, val, test)]
        [[15, 15], [5, 5], [5, 5]]
    """

    def __init__(self, random_state: int = 42) -> None:
        self.random_state = random_state

    def split(
        self,
        labels: npt.ArrayLike,
        split_ratios: Sequence[float] = (0.7, 0.15, 0.15),
        groups: Sequence[Any] | None = None,
    ) -> tuple[IntArray, IntArray, IntArray]:
        """Return the sorted rows of train, val and test; disjoint and complete.

        A class too rare to reach every part is named in a `UserWarning`; one that a single record carries is in train.

        Args:
            labels: binary matrix (N, K), multi-label (rows without a label are stratified too), or (N,) integers.
            split_ratios: shares of (train, val, test), summing to 1, val or test may be 0; two shares are
                (train, test) and leave val empty.
            groups: what each record belongs to, (N,); no group is divided. A record with None stands alone.

        Raises:
            SplitError: shares that are negative or do not sum to 1; labels of another shape, or not binary or whole;
                fewer records or groups than parts.
        """
        ratios = _checked_ratios(split_ratios)
        matrix = _label_matrix(labels)
        codes = None if groups is None else group_codes(groups)
        if codes is not None and len(codes) != len(matrix):
            raise _wrong("groups", f"{len(matrix)} groups, one per record", f"{len(codes)}", "pass one for each label")
        part = _fresh(matrix, ratios, codes, self.random_state, where="split")
        names = [f"{column}" for column in range(matrix.shape[1])]
        for line in _rare_classes(matrix, part, ratios, names):
            warnings.warn(line, stacklevel=2)
        train, val, test = (np.flatnonzero(part == index) for index in range(3))
        return train, val, test


def split_dataset(dataset: Dataset, *, strategy: str, seed: int, file: Path | None = None) -> Split:
    """Split a data set; the result depends on its records and the seed, not on their order.

    Args:
        dataset: what to split. Its groups, where it has any, are never divided.
        strategy: a key of :data:`STRATEGIES`, or :data:`PREDEFINED`.
        seed: the same seed gives the same parts.
        file: a saved split to continue: its ids keep their parts, and new records go to train and val in the
            strategy's ratio, so that the test set stays the test set. A new record whose group is in a part already
            follows its group, with a warning: a group on both sides would be worse.

    Raises:
        SplitError: unknown strategy, too few records or groups, a part missing that the source should prescribe, a
            group in two parts, a file that cannot be used.
        Problems: several faulty rows in the file.
    """
    if strategy != PREDEFINED and strategy not in STRATEGIES:
        known = [*STRATEGIES, PREDEFINED]
        raise _wrong("split.strategy", "a known strategy", f"`{strategy}`", did_you_mean(strategy, known))
    ratios = np.array(STRATEGIES.get(strategy, (0.0, 0.0, 0.0)))
    order = np.argsort(np.asarray(dataset.ids, dtype=object), kind="stable")
    data = dataset.take(order)
    matrix = data.label_matrix().astype(bool)
    codes = None if data.groups is None else group_codes(data.groups)
    notes: list[str] = []
    if file is not None:
        saved = read_split(file)
        part, notes = continue_split(
            data, matrix, saved, ratios, predefined=strategy == PREDEFINED, seed=seed, file=file
        )
    elif strategy == PREDEFINED:
        part, notes = prescribed_parts(data)
    else:
        part = _fresh(matrix, ratios, codes, seed, where=data.name)
        notes = _unequal_sizes(part, ratios)
    expected = ratios if strategy != PREDEFINED else np.bincount(part, minlength=3) / len(part)
    notes += _rare_classes(matrix, part, expected, [f"`{name}`" for name in data.classes])
    notes += _identical_files(data, part)
    train, val, test = (np.sort(order[part == index]).astype(np.int64) for index in range(3))
    return Split(train, val, test, strategy=strategy, warnings=tuple(notes))


def _fresh(
    matrix: BoolArray, ratios: npt.NDArray[np.float64], codes: IntArray | None, seed: int, *, where: str
) -> IntArray:
    wanted = np.flatnonzero(ratios > 0)
    units = len(matrix) if codes is None else len(np.unique(codes))
    if units < len(wanted):
        kind = "records" if codes is None else "groups"
        raise _wrong(where, f"at least {len(wanted)} {kind} for {len(wanted)} parts", f"{units}", "add data")
    part = stratify(matrix, ratios, seed=seed, groups=codes)
    empty = [PARTS[index] for index in wanted if not (part == index).any()]
    if empty:
        raise _wrong(
            where,
            f"records for every part ({', '.join(PARTS[index] for index in wanted)})",
            f"none for {' and '.join(empty)} without taking the last example of a class from train",
            "add records to the rare classes or choose a strategy with fewer parts",
        )
    return part


def _checked_ratios(ratios: Sequence[float]) -> npt.NDArray[np.float64]:
    got = tuple(float(ratio) for ratio in ratios)
    shares = (got[0], 0.0, got[1]) if len(got) == 2 else got
    fix = "use e.g. (0.7, 0.15, 0.15), or (0.8, 0.2) without validation"
    if len(shares) != 3:
        raise _wrong("split_ratios", "shares of train, val and test", str(got), fix)
    if not all(np.isfinite(shares)) or min(shares) < 0 or shares[0] == 0 or shares[1] + shares[2] == 0:
        raise _wrong("split_ratios", "a share above 0 for train and for val or test, none negative", str(got), fix)
    if abs(sum(shares) - 1) > 1e-6:
        raise _wrong("split_ratios", "shares that sum to 1", f"{got}, which sum to {sum(got):g}", fix)
    return np.array(shares) / sum(shares)


def _label_matrix(labels: npt.ArrayLike) -> BoolArray:
    """Return binary labels as they are and class numbers one-hot, after checking shape and values."""
    fix = "pass a binary matrix (N, K) or class numbers (N,)"
    try:
        values = np.asarray(labels)
    except ValueError:  # rows of different lengths
        raise _wrong("labels", "rows of equal length", "rows of different lengths", fix) from None
    if values.ndim not in (1, 2) or not values.size or values.dtype.kind not in "biuf":
        raise _wrong("labels", "numbers of shape (N, K) or (N,)", f"{values.dtype} of shape {values.shape}", fix)
    if not np.isfinite(values).all():
        raise _wrong("labels", "finite numbers", f"NaN or infinity in row {_first(~np.isfinite(values))}", fix)
    if values.ndim == 1:
        fractions = values != np.floor(values)
        if fractions.any():
            row = _first(fractions)
            raise _wrong("labels", "whole class numbers", f"{values[row]:g} in row {row}", fix)
        return np.asarray(values[:, None] == np.unique(values))
    other = (values != 0) & (values != 1)
    if other.any():
        row = _first(other)
        raise _wrong("labels", "only 0 and 1 in a label matrix", f"{values[row].tolist()} in row {row}", fix)
    return values.astype(bool)


def _first(mask: npt.NDArray[np.bool_]) -> int:
    return int(np.argmax(mask.reshape(len(mask), -1).any(axis=1)))


def _rare_classes(
    matrix: BoolArray, part: IntArray, ratios: npt.NDArray[np.float64], names: Sequence[str]
) -> list[str]:
    wanted = [index for index in range(3) if ratios[index] > 0]
    lines = []
    for column, name in enumerate(names):
        missing = [PARTS[index] for index in wanted if not matrix[part == index, column].any()]
        total = int(matrix[:, column].sum())
        if missing and total:
            records = "1 record" if total == 1 else f"{total} records"
            lines.append(f"class {name}: {records}, none in {' and '.join(missing)}; its scores there mean nothing")
    return lines


def _unequal_sizes(part: IntArray, ratios: npt.NDArray[np.float64]) -> list[str]:
    sizes = np.bincount(part, minlength=3)
    if np.abs(sizes - ratios * len(part)).max() <= max(2.0, 0.05 * len(part)):
        return []
    told = ", ".join(f"{PARTS[i]} {sizes[i] / len(part):.0%} instead of {ratios[i]:.0%}" for i in range(3))
    return [f"the parts are far from their shares ({told}): groups are large or classes rare"]


def _identical_files(data: Dataset, part: IntArray) -> list[str]:
    """Name files that are the same to the byte in two parts, where the contents are known: such a test is no test."""
    home: dict[str, tuple[str, int]] = {}
    pairs = []
    for key, content, index in zip(data.ids, data.table.column("content").to_pylist(), part.tolist(), strict=True):
        first = home.setdefault(content, (key, index)) if content is not None else (key, index)
        if first[1] != index:
            pairs.append(f"{first[0]} in {PARTS[first[1]]} and {key} in {PARTS[index]}")
    return [f"identical files in two parts: {first_of(pairs)}; remove one, or give them one group"] if pairs else []


def _wrong(where: str, expected: str, got: str, fix: str) -> SplitError:
    return SplitError(expected, got=got, where=where, fix=fix)
